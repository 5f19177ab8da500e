"""A core and its searcher in one, for tests and measurements without a runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tune_plugins.core.events import Command, Event, SearcherCommand
from tune_plugins.core.experiment import Experiment, Rules
from tune_plugins.core.scheduler import FIFOScheduler, TrialScheduler
from tune_plugins.core.searcher import Searcher
from tune_plugins.core.stopper import Stopper
from tune_plugins.driver.suggestions import Suggestions

__all__ = ["SearchedExperiment"]


class SearchedExperiment(Experiment):
    """An experiment whose searcher answers at once: `handle` returns what follows from its answers, too.

    Args:
        searcher: prepared by the caller.
        scheduler, rules, stopper: as of `Experiment`.
        suggestions: configs by number of the trial that the searcher is told of instead of being asked.
    """

    def __init__(
        self,
        searcher: Searcher,
        scheduler: TrialScheduler | None = None,
        rules: Rules | None = None,
        stopper: Stopper | None = None,
        suggestions: Mapping[int, dict[str, Any]] | None = None,
    ) -> None:
        rules = replace(
            Rules() if rules is None else rules,
            searcher=type(searcher).__name__,
            searcher_reads_results=searcher.reads_results,
        )
        self.searcher, self.suggestions = searcher, Suggestions(searcher, recorded=suggestions)
        super().__init__(FIFOScheduler() if scheduler is None else scheduler, rules, stopper)

    def handle(self, event: Event) -> list[Command]:
        """See `Experiment.handle`; the commands are those for trials and for the record."""
        commands: list[Command] = []
        coming = [event]
        while coming:
            answer = super().handle(coming.pop(0))
            commands += [command for command in answer if not isinstance(command, SearcherCommand)]
            for_searcher = [command for command in answer if isinstance(command, SearcherCommand)]
            if for_searcher:
                answers = self.suggestions.perform(for_searcher)
                coming = [*(replace(answer, time=event.time) for answer in answers), *coming]
        return commands
