"""Random search and grid search, and both together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tune_plugins.arguments import Mistakes, is_whole
from tune_plugins.core.metrics import Mode
from tune_plugins.core.searcher import Searcher, Signal
from tune_plugins.space import Space


class BasicVariantGenerator(Searcher):
    """Goes through the grid `num_samples` times and draws everything else at random; the default searcher.

    A configuration depends on the seed and on the number of its trial alone, not on results or on timing.

    Args:
        points_to_evaluate: configurations to try first, nested or flat (``{"model/lr": 0.1}``). Each takes the place
            of one of the `num_samples`; more points than samples are all tried. What a point leaves out is drawn, and
            grids that it leaves out are gone through: only the rest of the grid.
        max_concurrent: at most so many trials at a time; 0: no limit.
        constant_grid_search: draw random values once for each pass through the grid instead of for each trial.
        random_state: seed of this searcher; default: the seed of the run.

    Raises:
        ArgumentError: lists all mistakes; those of points that concern the space are raised by `setup`.

    >>> from tune_plugins.space import grid_search, uniform
    >>> searcher = BasicVariantGenerator(points_to_evaluate=[{"depth": 4, "lr": 0.5}])
    >>> space = Space({"depth": grid_search([2, 4]), "lr": uniform(0, 1)})
    >>> searcher.setup(space, metric=None, mode=None, seed=0, num_samples=3)
    >>> searcher.total_trials
    5
    >>> searcher.suggest("00000", 0)
    {'depth': 4, 'lr': 0.5}
    """

    reads_results = False

    def __init__(
        self,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        max_concurrent: int = 0,
        constant_grid_search: bool = False,
        random_state: int | None = None,
    ) -> None:
        mistakes = Mistakes("BasicVariantGenerator")
        if points_to_evaluate is not None and (
            isinstance(points_to_evaluate, (str, Mapping)) or not isinstance(points_to_evaluate, Sequence)
        ):
            mistakes.add(f"points_to_evaluate: expected a list of dicts, got {points_to_evaluate!r}. Write [{{...}}].")
        else:
            for number, point in enumerate(points_to_evaluate or ()):
                mistakes.check(isinstance(point, Mapping), f"points_to_evaluate[{number}]", "a dict", point)
        mistakes.whole("max_concurrent", max_concurrent, least=0, remedy="Use 0 for no limit.")
        mistakes.flag("constant_grid_search", constant_grid_search)
        seed = random_state is None or is_whole(random_state)
        mistakes.check(seed, "random_state", "None or a whole number", random_state, "Give a seed.")
        mistakes.raise_if_any()
        self.points = list(points_to_evaluate or ())
        self.max_concurrent = max_concurrent
        self.constant_grid_search = constant_grid_search
        self.random_state = None if random_state is None else int(random_state)
        self.live: set[str] = set()
        self._point_sizes: list[int] = []
        self._total = 0

    def setup(self, space: Space, *, metric: str | None, mode: Mode | None, seed: int, num_samples: int) -> None:
        """See `Searcher.setup`.

        Raises:
            ArgumentError: lists all mistakes of the space and of the points.
        """
        super().setup(space, metric=metric, mode=mode, seed=seed, num_samples=num_samples)
        if self.random_state is not None:
            self.seed = self.random_state
        mistakes = Mistakes("BasicVariantGenerator")
        mistakes.found.extend(space.mistakes())
        for number, point in enumerate(self.points):
            mistakes.found.extend(f"points_to_evaluate[{number}]: {why}" for why in space.check_point(point))
        mistakes.raise_if_any()
        self.live.clear()
        self._point_sizes = [space.size_with(point) for point in self.points]
        self._total = sum(self._point_sizes) + max(0, num_samples - len(self.points)) * space.grid_size

    @property
    def total_trials(self) -> int:
        """The trials of the points, plus the whole grid for each of the remaining `num_samples`."""
        return self._total

    def suggest(self, trial_id: str, index: int) -> dict[str, Any] | Signal:
        """See `Searcher.suggest`."""
        if index >= self._total:
            return Signal.COMPLETE
        if self.max_concurrent and len(self.live) >= self.max_concurrent:
            return Signal.NOT_READY
        config = self._config(index)
        self.live.add(trial_id)
        return config

    def on_suggested(self, trial_id: str, index: int, config: dict[str, Any]) -> None:
        """See `Searcher.on_suggested`."""
        self.live.add(trial_id)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None, error: bool = False) -> None:
        """See `Searcher.on_trial_complete`."""
        self.live.discard(trial_id)

    def _config(self, index: int) -> dict[str, Any]:
        place = index
        for number, (point, size) in enumerate(zip(self.points, self._point_sizes, strict=True)):
            if place < size:
                draw = number if self.constant_grid_search else f"{number}.{place}"
                return self.space.variant(f"{self.seed}:point{draw}", place, point)
            place -= size
        return self.space.sample(place, self.seed, constant_grid_search=self.constant_grid_search)
