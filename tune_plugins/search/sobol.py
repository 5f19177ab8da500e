"""Quasi-random search: the points of a Sobol' sequence, which fill the space more evenly than random ones.

Sobol' (1967), On the distribution of points in a cube and the approximate evaluation of integrals; scrambled as in
Owen (1998), Scrambling Sobol' and Niederreiter-Xing points, by `scipy.stats.qmc`. Bergstra and Bengio (2012), Random
search for hyper-parameter optimization, section 4, compare it with random search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from tune_plugins._imports import require
from tune_plugins.core.searcher import NEXT, Searcher, SearchTask, Signal
from tune_plugins.errors import ArgumentError
from tune_plugins.space import Parameter

_MOST_PARAMETERS = 21201  # for which scipy has direction numbers
_MOST_SKIPPED = 1000


class SobolSearch(Searcher):
    """Goes through a scrambled Sobol' sequence, a point of the unit cube for each trial.

    Every parameter is a dimension, a grid too: it is not gone through, but covered evenly. Dimensions of options that a
    point does not take have no effect. What has no quantiles, `sample_from` functions and distributions of one's own,
    is computed or drawn. A configuration depends on the seed and on the number of its trial alone; the sequence is most
    even where `num_samples` is a power of 2.

    Args:
        random_state: seed of this searcher; default: the seed of the run.
        points_to_evaluate, evaluated_rewards, warm_start: as for every `Searcher`; the sequence goes on behind the
            points, and is the same whatever is known.

    Raises:
        MissingDependencyError: scipy is not installed.
        ArgumentError: lists all mistakes; those of the space are raised by `prepare`.

    >>> from tune_plugins.space import Space, uniform
    >>> searcher = SobolSearch()
    >>> searcher.prepare(SearchTask(Space({"x": uniform(0, 1)}), seed=1, num_samples=4))
    >>> sorted(int(4 * searcher.ask(f"{i}", i)["x"]) for i in range(4))  # one in each quarter
    [0, 1, 2, 3]
    """

    instant = True

    def __init__(
        self,
        random_state: int | None = None,
        *,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        evaluated_rewards: Sequence[Any] | None = None,
        warm_start: Any = None,
    ) -> None:
        super().__init__(
            points_to_evaluate=points_to_evaluate,
            evaluated_rewards=evaluated_rewards,
            warm_start=warm_start,
            random_state=random_state,
        )
        require("scipy.stats.qmc", extra="sobol", needed_by="tune_plugins.search.SobolSearch")
        self._parameters: list[Parameter] = []
        self._engine: Any = None
        self._drawn = 0  # points that the engine has gone through
        self._configs: list[dict[str, Any]] = []

    def setup(self, task: SearchTask) -> None:
        """See `Searcher.setup`.

        Raises:
            ArgumentError: there are more parameters than the sequence has dimensions.
        """
        super().setup(task)
        self._parameters = [parameter for parameter in task.space.walk() if parameter.domain.has_quantiles]
        if len(self._parameters) > _MOST_PARAMETERS:
            raise ArgumentError(
                "SobolSearch",
                [
                    f"param_space: expected at most {_MOST_PARAMETERS:,} parameters, got {len(self._parameters):,}. "
                    "Use random search: BasicVariantGenerator()."
                ],
            )
        self._configs, self._drawn, self._engine = [], 0, None

    def suggest(self, trial_id: str, index: int = NEXT) -> dict[str, Any] | Signal | None:
        """See `Searcher.suggest`."""
        place = index - len(self.points_to_try)
        while len(self._configs) <= place:
            self._configs.append(self._next())
        return self._configs[place]

    def _next(self) -> dict[str, Any]:
        """The config of the next point that is legal by the constraints of the space."""
        if not self._parameters:
            return self.space.config_of({}, f"{self.seed}:{len(self._configs)}")
        if self._engine is None:
            qmc = import_module("scipy.stats.qmc")
            self._engine = qmc.Sobol(len(self._parameters), scramble=True, rng=self.rng(-1).getrandbits(32))
        for _ in range(_MOST_SKIPPED):
            point = self._engine.random(1)[0].tolist()
            self._drawn += 1
            config = self.space.config_of(self._values(point), f"{self.seed}:{self._drawn}")
            if not self.space.broken(config):
                return config
        # So few points are legal that evenness means nothing; the space says which constraint is in the way.
        return self.space.variant(f"{self.seed}:{self._drawn}")

    def _values(self, point: list[float]) -> dict[str, Any]:
        return {parameter.name: parameter.at(u) for parameter, u in zip(self._parameters, point, strict=True)}
