"""What searchers that stand around another one have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tune_plugins.arguments import Mistakes
from tune_plugins.core.metrics import Mode
from tune_plugins.core.searcher import Searcher
from tune_plugins.search.by_name import as_searcher
from tune_plugins.search.ray_style import is_ray_style


class Wrapper(Searcher):
    """Stands between a run and another searcher; metric, points and seed are given to that.

    One of your own overrides `setup`, which prepares the searcher inside, `suggest`, `on_suggested` and
    `on_trial_complete`. It calls `inner`.

    Args:
        searcher: the searcher, or the name of one.

    Attributes:
        searcher: the one inside, as it was given; of a name, the one of that name.
        inner: the same one; where it is written for Ray Tune, as a searcher of this package.
    """

    searcher: Any
    inner: Searcher

    def __init__(self, searcher: Any) -> None:
        # What is no searcher stays as it is, to be named as a mistake.
        fits = isinstance(searcher, (str, Searcher)) or is_ray_style(searcher)
        self.inner = as_searcher(searcher) if fits else searcher
        self.searcher = self.inner if isinstance(searcher, str) else searcher
        super().__init__()
        self.take_over()

    def take_over(self) -> None:
        """How the searcher inside wants to be called."""
        inner = self.inner
        self.reads_results, self.learns = inner.reads_results, inner.learns
        self.instant, self.timeout_s = inner.instant, inner.timeout_s

    def mistakes(self) -> list[str]:
        """See `Searcher.mistakes`."""
        found = Mistakes(type(self).__name__)
        right = isinstance(self.inner, Searcher)
        found.check(right, "searcher", "a searcher or the name of one", self.searcher, "Write e.g. OptunaSearch().")
        return found.found

    @property
    def own_objectives(self) -> tuple[tuple[str, ...], tuple[Mode, ...]]:
        """See `Searcher.own_objectives`: those of the searcher inside."""
        return self.inner.own_objectives

    @property
    def label(self) -> str:
        """See `Searcher.label`: that of the searcher inside."""
        return self.inner.label

    def add_evaluated_point(
        self,
        config: dict[str, Any],
        value: Any,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: Sequence[Any] | None = None,
    ) -> None:
        """See `Searcher.add_evaluated_point`."""
        self._begin_by_hand()
        self.inner.add_evaluated_point(config, value, error, pruned, intermediate_values)  # type: ignore[call-arg]

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """See `Searcher.on_trial_result`."""
        self.inner.on_trial_result(trial_id, result)

    def save(self, checkpoint_path: str) -> None:
        """See `Searcher.save`: what the searcher inside knows."""
        self.inner.save(checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        """See `Searcher.restore`: what the searcher inside has saved, maybe on its own."""
        self.inner.restore(checkpoint_path)

    def _take_properties(self, metric: Any, mode: Any, config: Any) -> bool:
        self.__dict__.pop("task", None)
        return self.inner._take_properties(metric, mode, config)

    def _keep_known(self, key: str, config: dict[str, Any], value: Any) -> None:
        """The searcher inside does."""
