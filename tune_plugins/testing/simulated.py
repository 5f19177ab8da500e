"""Runs under a virtual clock whose every step can be looked at."""

from __future__ import annotations

from collections.abc import Callable

from tune_plugins.core.events import Command, Event
from tune_plugins.driver.runner import Runner, Unrecorded
from tune_plugins.driver.simulated import SimulatedRuntime
from tune_plugins.testing.experiment import SearchedExperiment


def run_simulated(
    experiment: SearchedExperiment, runtime: SimulatedRuntime, each: Callable[[Event, list[Command]], None]
) -> None:
    """Run to the end by the loop of every run; nothing is recorded.

    Args:
        experiment: before its first event.
        runtime: its workers.
        each: called behind each event, with what answered it.

    Raises:
        TuneError: nothing will ever happen again, and the experiment is not over.
    """
    _Observed(experiment, runtime, each).run()


class _Observed(Runner):
    def __init__(
        self, experiment: SearchedExperiment, runtime: SimulatedRuntime, each: Callable[[Event, list[Command]], None]
    ) -> None:
        super().__init__(experiment, experiment.suggestions, runtime, Unrecorded())
        self._each = each

    def handle(self, event: Event) -> list[Command]:
        commands = super().handle(event)
        self._each(event, commands)
        return commands
