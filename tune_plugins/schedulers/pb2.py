"""Population based bandits.

Parker-Holder, Nguyen, Roberts: *Provably Efficient Online Hyperparameter Optimization with Population-Based
Bandits*, NeurIPS 2020, https://arxiv.org/abs/2002.02518. The exploration of population based training becomes a
choice: a Gaussian process that forgets (section 3.1) models how much the metric gains in one interval, and the
config with the highest upper confidence bound is tried next (section 3.2, algorithm 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from tune_plugins._imports import require
from tune_plugins.arguments import Mistakes, is_finite
from tune_plugins.core.metrics import Mode
from tune_plugins.core.trial import Trial
from tune_plugins.schedulers.explore import Explore, specs
from tune_plugins.schedulers.pbt import Member, PopulationBasedTraining
from tune_plugins.space.domains import Float, Integer
from tune_plugins.space.nested import copy_of

_MOST_OBSERVATIONS = 120  # the newest ones; older ones have been forgotten by the kernel anyway
_CANDIDATES = 200


class PB2(PopulationBasedTraining):
    """PBT whose new hyper-parameters come from a time-varying Gaussian process bandit; good with few trials.

    Needs scipy (``pip install 'tune-plugins[sklearn]'``).

    Args:
        time_attr, metric, mode, perturbation_interval, quantile_fraction: as for `PopulationBasedTraining`.
        log_config, require_attrs, synch, custom_explore_fn: as for `PopulationBasedTraining`.
        hyperparam_bounds: ``{name: [low, high]}``, nested like the config; every value chosen lies within, and
            stays a whole number where the config has one.
    """

    def __init__(
        self,
        time_attr: str = "time_total_s",
        metric: str | None = None,
        mode: Mode | None = None,
        perturbation_interval: float = 60.0,
        hyperparam_bounds: Mapping[str, Any] | None = None,
        quantile_fraction: float = 0.25,
        log_config: bool = True,
        require_attrs: bool = True,
        synch: bool = False,
        custom_explore_fn: Explore | None = None,
    ) -> None:
        super().__init__(
            time_attr=time_attr,
            metric=metric,
            mode=mode,
            perturbation_interval=perturbation_interval,
            quantile_fraction=quantile_fraction,
            log_config=log_config,
            require_attrs=require_attrs,
            synch=synch,
            custom_explore_fn=custom_explore_fn,
        )
        self.hyperparam_bounds = hyperparam_bounds

    def _reset(self) -> None:
        super()._reset()
        self._observed: list[tuple[float, list[float], float]] = []  # time, config in [0, 1], gain per unit of time
        self._before: dict[str, tuple[float, float]] = {}  # time and score at the last milestone
        self._trying: dict[str, tuple[float, list[float]]] = {}  # chosen, with no result yet

    def _exploration_mistakes(self) -> list[str]:
        found, bounds = Mistakes(type(self).__name__), self.hyperparam_bounds
        found.function("custom_explore_fn", self.custom_explore_fn, "of the config", arguments=1, none=True)
        if isinstance(bounds, Mapping) and bounds:
            return found.found + _bound_mistakes(bounds, "hyperparam_bounds")
        found.add(
            f"hyperparam_bounds: expected {{name: [low, high]}}, got {bounds!r}. "
            'Write hyperparam_bounds={"lr": [1e-4, 1e-1]}.'
        )
        return found.found

    def setup(self, *, metric: str | None, mode: Mode | None, seed: int) -> None:
        """Look for scipy, so that it is not missed in the middle of a run.

        Raises:
            MissingDependencyError: it is not installed.
        """
        super().setup(metric=metric, mode=mode, seed=seed)
        require("scipy.linalg", extra="sklearn", needed_by="PB2")
        assert self.hyperparam_bounds is not None
        self.hyperparam_mutations = _domains(self.hyperparam_bounds)

    def _note(self, member: Member, result: dict[str, Any], time: float) -> None:
        super()._note(member, result, time)
        trial_id = member.trial.id
        before = self._before.pop(trial_id, None)
        self._trying.pop(trial_id, None)
        score = member.score
        if score is None or not math.isfinite(score):
            return
        if before is not None and time > before[0]:
            # Less is better in scores, so that a gain is what they lose.
            gain = (before[1] - score) / (time - before[0])
            self._observed.append((time, self._unit(member.trial.config), gain))
            del self._observed[:-_MOST_OBSERVATIONS]
        self._before[trial_id] = (time, score)

    def _changed(self, member: Member, donor: Member, rng: Random) -> dict[str, Any]:
        """The donor's config with the most promising values inside the bounds."""
        trial_id = member.trial.id
        at = self._before.get(donor.trial.id)
        if at is not None:
            self._before[trial_id] = at
        else:
            self._before.pop(trial_id, None)
        now = at[0] if at is not None else 0.0
        self._trying.pop(trial_id, None)
        start = self._unit(donor.trial.config)
        unit = best_point(self._observed, list(self._trying.values()), now, start, self.perturbation_interval, rng)
        self._trying[trial_id] = (now, unit)
        return self._config(donor.trial.config, unit)

    def _remove(self, trial: Trial) -> None:
        super()._remove(trial)
        self._before.pop(trial.id, None)
        self._trying.pop(trial.id, None)

    # ------------------------------------------------------------------- configs as points

    def _unit(self, config: Mapping[str, Any]) -> list[float]:
        """Where a config lies within the bounds, each from 0 to 1."""
        point = []
        for path, domain in specs(self.hyperparam_mutations or {}, config):
            assert isinstance(domain, Float)
            value: Any = config
            for part in path:
                value = value[part]
            point.append((domain.clip(value) - domain.lower) / (domain.upper - domain.lower))
        return point

    def _config(self, config: Mapping[str, Any], unit: Sequence[float]) -> dict[str, Any]:
        changed = copy_of(config)
        for (path, domain), part in zip(specs(self.hyperparam_mutations or {}, config), unit, strict=True):
            assert isinstance(domain, Float)
            *parents, last = path
            place = changed
            for name in parents:
                place = place[name]
            value = domain.clip(domain.lower + part * (domain.upper - domain.lower))
            if isinstance(place[last], int) and not isinstance(place[last], bool):
                # Rounding must not leave the bounds.
                place[last] = Integer(math.ceil(domain.lower), math.floor(domain.upper)).clip(round(value))
            else:
                place[last] = value
        return changed


def best_point(
    observed: Sequence[tuple[float, Sequence[float], float]],
    trying: Sequence[tuple[float, Sequence[float]]],
    now: float,
    start: Sequence[float],
    interval: float,
    rng: Random,
) -> list[float]:
    """The point of the unit cube with the highest upper confidence bound of the gain, at time `now`.

    Args:
        observed: time, point, gain.
        trying: time and point of those whose gain is not known yet: they lower the variance around them only.
        now: time for which to predict.
        start: point of the donor; the search for the maximum also begins there.
        interval: one step of time for the forgetting.
        rng: everything random.
    """
    count = len(start)
    if len(observed) < 2:
        return [rng.random() for _ in range(count)]
    import numpy as np

    generator = np.random.default_rng(rng.getrandbits(63))
    times = np.array([time for time, _, _ in observed]) / interval
    points = np.array([point for _, point, _ in observed], dtype=float)
    gains = np.array([gain for _, _, gain in observed], dtype=float)
    spread = gains.std()
    gains = (gains - gains.mean()) / (spread if spread > 0 else 1.0)
    model = ForgettingProcess.fit(points, times, gains)
    more = np.array([point for _, point in trying], dtype=float).reshape(len(trying), count)
    model = model.hallucinate(more, np.array([time for time, _ in trying]) / interval)
    # beta_t = c1 + c2 log t, after theorem 2, with the constants of GP-UCB practice.
    beta = 0.2 + math.log(1 + len(observed)) * 0.4 * count

    def bound(candidates: Any) -> Any:
        mean, deviation = model.predict(candidates, now / interval)
        return mean + math.sqrt(beta) * deviation

    candidates = np.vstack([generator.random((_CANDIDATES, count)), np.array(start)[None], points[-20:]])
    best = candidates[int(np.argmax(bound(candidates)))]
    width = 0.1
    for _ in range(5):  # refine around the best, ever closer
        near = np.clip(best + width * generator.standard_normal((50, count)), 0.0, 1.0)
        near = np.vstack([best[None], near])
        best = near[int(np.argmax(bound(near)))]
        width /= 2
    return [float(part) for part in best]


class ForgettingProcess:
    """A Gaussian process over points and time: k = k_SE(x, x') (1 - epsilon)^(|t - t'| / 2) (section 3.1).

    Args:
        points: observations x dimensions, in the unit cube.
        times: of the observations, in intervals.
        gains: standardised.
        length: scale of the squared exponential kernel.
        epsilon: rate of forgetting, 0 to 1.
        noise: variance of an observation, relative to that of the process.
    """

    def __init__(self, points: Any, times: Any, gains: Any, *, length: float, epsilon: float, noise: float) -> None:
        import numpy as np

        linalg = require("scipy.linalg", extra="sklearn", needed_by="PB2")
        self.points, self.times, self.gains = points, times, gains
        self.length, self.epsilon, self.noise = length, epsilon, noise
        covariance = self._kernel(points, times, points, times) + (noise + 1e-8) * np.eye(len(points))
        self._factor = linalg.cho_factor(covariance, lower=True)
        self._solve = linalg.cho_solve
        self._weights = self._solve(self._factor, gains)

    @classmethod
    def fit(cls, points: Any, times: Any, gains: Any) -> ForgettingProcess:
        """The process whose parameters make the observations most likely, out of a grid: the same on every machine."""
        found = [
            cls(points, times, gains, length=length, epsilon=epsilon, noise=noise)
            for length in (0.1, 0.2, 0.4, 0.8)
            for epsilon in (0.0, 0.05, 0.2)
            for noise in (0.01, 0.1, 0.5)
        ]
        return max(found, key=lambda model: model.log_likelihood)

    def _kernel(self, points: Any, times: Any, others: Any, other_times: Any) -> Any:
        import numpy as np

        squared = ((points[:, None, :] - others[None, :, :]) ** 2).sum(axis=2)
        apart = np.abs(times[:, None] - other_times[None, :])
        kernel: Any = np.exp(-squared / (2 * self.length**2)) * (1 - self.epsilon) ** (apart / 2)
        return kernel

    @property
    def log_likelihood(self) -> float:
        """Of the observations, up to a constant."""
        import numpy as np

        return float(-0.5 * self.gains @ self._weights - np.log(np.diag(self._factor[0])).sum())

    def hallucinate(self, points: Any, times: Any) -> ForgettingProcess:
        """The process as if these points had given what it expects of them (GP-BUCB): surer there, same means."""
        if not len(points):
            return self
        import numpy as np

        expected = [float(self.predict(p[None], t)[0][0]) for p, t in zip(points, times, strict=True)]
        return ForgettingProcess(
            np.vstack([self.points, points]),
            np.concatenate([self.times, times]),
            np.concatenate([self.gains, expected]),
            length=self.length,
            epsilon=self.epsilon,
            noise=self.noise,
        )

    def predict(self, points: Any, time: float) -> tuple[Any, Any]:
        """Mean and standard deviation of the gain at `points` (n x dimensions) and `time`."""
        import numpy as np

        cross = self._kernel(points, np.full(len(points), time), self.points, self.times)
        variance = 1.0 - (cross * self._solve(self._factor, cross.T).T).sum(axis=1)
        return cross @ self._weights, np.sqrt(np.clip(variance, 1e-12, None))


def _domains(bounds: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _domains(pair) if isinstance(pair, Mapping) else Float(pair[0], pair[1]) for name, pair in bounds.items()
    }


def _bound_mistakes(bounds: Mapping[str, Any], where: str) -> list[str]:
    found = []
    for name, pair in bounds.items():
        if isinstance(pair, Mapping):
            found += _bound_mistakes(pair, f"{where}[{name!r}]")
        elif (
            not isinstance(pair, (list, tuple))
            or len(pair) != 2
            or not all(map(is_finite, pair))
            or not pair[0] < pair[1]
        ):
            found.append(f"{where}[{name!r}]: expected [low, high] with low < high, got {pair!r}.")
    return found
