"""Random search and grid search, and both together."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from tune_plugins.arguments import Mistakes
from tune_plugins.core.searcher import NEXT, DrawsBytes, Outcome, Searcher, SearchTask, Signal

logger = logging.getLogger(__name__)


class BasicVariantGenerator(Searcher):
    """Goes through the grid `num_samples` times and draws everything else at random; the default searcher.

    A configuration depends on the seed and on the number of its trial alone, not on results or on timing.

    Args:
        points_to_evaluate: configurations to try first, nested or flat (``{"model/lr": 0.1}``). Each takes the place
            of one of the `num_samples`; more points than samples are all tried. What a point leaves out is drawn, and
            grids that it leaves out are gone through: only the rest of the grid. A value that is not in its grid, or
            another one than a constant, is tried as it is, and told in a warning.
        max_concurrent: at most so many trials at a time; 0: no limit.
        constant_grid_search: draw random values once for each pass through the grid instead of for each trial.
        random_state: seed of this searcher, or a generator of NumPy's that draws it; default: the seed of the run.
        evaluated_rewards: what the metric is for the points, as for every `Searcher`; those with one are not tried.
        warm_start: as for every `Searcher`; what is drawn is the same whatever is known.

    Raises:
        ArgumentError: lists all mistakes; those of points that concern the space are raised by `prepare`.

    >>> from tune_plugins.space import Space, grid_search, uniform
    >>> searcher = BasicVariantGenerator(points_to_evaluate=[{"depth": 4, "lr": 0.5}])
    >>> space = Space({"depth": grid_search([2, 4]), "lr": uniform(0, 1)})
    >>> searcher.prepare(SearchTask(space, num_samples=3))
    >>> searcher.total_trials
    5
    >>> searcher.suggest("00000", 0)
    {'depth': 4, 'lr': 0.5}
    """

    instant, learns = True, False

    def __init__(
        self,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        max_concurrent: int = 0,
        constant_grid_search: bool = False,
        random_state: int | DrawsBytes | None = None,
        *,
        evaluated_rewards: Sequence[Any] | None = None,
        warm_start: Any = None,
    ) -> None:
        self.max_concurrent, self.constant_grid_search = max_concurrent, constant_grid_search
        self.live: set[str] = set()
        self._pins: list[Mapping[str, Any]] = []
        self._pin_sizes: list[int] = []
        self._total: int | None = 0
        super().__init__(
            points_to_evaluate=points_to_evaluate,
            evaluated_rewards=evaluated_rewards,
            warm_start=warm_start,
            random_state=random_state,
        )

    def mistakes(self) -> list[str]:
        """See `Searcher.mistakes`."""
        found = Mistakes("BasicVariantGenerator", super().mistakes())
        found.whole("max_concurrent", self.max_concurrent, least=0, remedy="Use 0 for no limit.")
        found.flag("constant_grid_search", self.constant_grid_search)
        return found.found

    def point_mistakes(self, task: SearchTask, point: Mapping[str, Any]) -> list[str]:
        """See `Searcher.point_mistakes`."""
        return task.space.check_point(point, loose=True)

    def prepare(self, task: SearchTask) -> None:
        """See `Searcher.prepare`."""
        super().prepare(task)
        self.points_to_try = ()  # they are not tried before the rest, but where the grid has them
        for number, point in enumerate(self._pins):
            for why in self.space.check_point(point):
                logger.warning("points_to_evaluate[%d]: %s It is tried as it is.", number, why)

    def setup(self, task: SearchTask) -> None:
        """See `Searcher.setup`."""
        super().setup(task)
        self.live.clear()
        rewards = self.evaluated_rewards or [None] * len(self.points_to_evaluate)
        self._pins = [point for point, reward in zip(self.points_to_evaluate, rewards, strict=True) if reward is None]
        self._pin_sizes = [task.space.size_with(point) for point in self._pins]
        self._total = None
        if task.num_samples is not None:
            self._total = sum(self._pin_sizes) + max(0, task.num_samples - len(self._pins)) * task.space.grid_size

    @property
    def total_trials(self) -> int | None:
        """The trials of the points, plus the whole grid for each of the remaining `num_samples`."""
        return self._total

    def suggest(self, trial_id: str, index: int = NEXT) -> dict[str, Any] | Signal | None:
        """See `Searcher.suggest`."""
        if self._total is not None and index >= self._total:
            return Signal.COMPLETE
        if self.max_concurrent and len(self.live) >= self.max_concurrent:
            return Signal.NOT_READY
        config = self._config(index)
        self.live.add(trial_id)
        return config

    def on_suggested(self, trial_id: str, index: int, config: dict[str, Any]) -> None:
        """See `Searcher.on_suggested`."""
        self.live.add(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None, outcome: Outcome = Outcome.COMPLETED
    ) -> None:
        """See `Searcher.on_trial_complete`."""
        self.live.discard(trial_id)

    def _config(self, index: int) -> dict[str, Any]:
        place = index
        for number, (point, size) in enumerate(zip(self._pins, self._pin_sizes, strict=True)):
            if place < size:
                draw = number if self.constant_grid_search else f"{number}.{place}"
                return self.space.variant(f"{self.seed}:point{draw}", place, point)
            place -= size
        return self.space.sample(place, self.seed, constant_grid_search=self.constant_grid_search)
