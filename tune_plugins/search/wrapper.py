"""What searchers that stand around another one have in common."""

from __future__ import annotations

from typing import Any

from tune_plugins.arguments import Mistakes
from tune_plugins.core.metrics import Mode
from tune_plugins.core.searcher import Searcher
from tune_plugins.search.by_name import as_searcher
from tune_plugins.search.ray_style import is_ray_style


class Wrapper(Searcher):
    """Stands between a run and another searcher; metric, points and seed are given to that.

    One of your own overrides `setup`, which prepares the searcher inside, `suggest`, `on_suggested` and
    `on_trial_complete`.

    Args:
        searcher: the searcher, or the name of one.
    """

    searcher: Searcher

    def __init__(self, searcher: Any) -> None:
        # What is no searcher stays as it is, to be named as a mistake.
        fits = isinstance(searcher, (str, Searcher)) or is_ray_style(searcher)
        self.searcher = as_searcher(searcher) if fits else searcher
        super().__init__()
        self.take_over()

    def take_over(self) -> None:
        """How the searcher inside wants to be called."""
        inner = self.searcher
        self.reads_results, self.learns = inner.reads_results, inner.learns
        self.instant, self.timeout_s = inner.instant, inner.timeout_s

    def mistakes(self) -> list[str]:
        """See `Searcher.mistakes`."""
        found = Mistakes(type(self).__name__)
        right = isinstance(self.searcher, Searcher)
        found.check(right, "searcher", "a searcher or the name of one", self.searcher, "Write e.g. OptunaSearch().")
        return found.found

    @property
    def own_objectives(self) -> tuple[tuple[str, ...], tuple[Mode, ...]]:
        """See `Searcher.own_objectives`: those of the searcher inside."""
        return self.searcher.own_objectives

    @property
    def label(self) -> str:
        """See `Searcher.label`: that of the searcher inside."""
        return self.searcher.label

    def add_evaluated_point(self, config: dict[str, Any], value: Any) -> None:
        """See `Searcher.add_evaluated_point`."""
        self.searcher.add_evaluated_point(config, value)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """See `Searcher.on_trial_result`."""
        self.searcher.on_trial_result(trial_id, result)
