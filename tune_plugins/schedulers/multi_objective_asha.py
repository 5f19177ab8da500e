"""Asynchronous successive halving for several metrics.

Schmucker, Donini, Zafar, Salinas, Archambeau: *Multi-objective Asynchronous Successive Halving*, 2021,
https://arxiv.org/abs/2106.12639. Trials at a rung are ranked by non-dominated sorting, and within a front by an
epsilon-net; the rest is ASHA, here in its stopping form.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from tune_plugins.arguments import Mistakes, shown_call
from tune_plugins.core.metrics import Mode, lookup
from tune_plugins.core.scheduler import Action, Decision
from tune_plugins.core.trial import Trial
from tune_plugins.schedulers.asha import ASHAScheduler
from tune_plugins.schedulers.pareto import Fronts, spread_rank
from tune_plugins.schedulers.rungs import Rung


class ParetoRung(Rung):
    """The results of all trials that reached one level, in fronts.

    Attributes:
        fronts: of the trials whose metrics are all finite.
    """

    def __init__(self, level: float) -> None:
        super().__init__(level)
        self.fronts = Fronts()

    @property
    def all_equal(self) -> bool:
        """Whether several have competed, and none was better than another in anything."""
        return self.competed > 1 and len(self.fronts.sizes) == 1 and len({tuple(p) for p in self.fronts.front(0)}) == 1


class MultiObjectiveASHA(ASHAScheduler):
    """ASHA for several metrics at once: at each rung a trial goes on if it is among the best 1/eta.

    Trials at a rung are ranked by non-dominated fronts: first those that no other trial betters in every respect,
    then those that only they better, and so on. Where the cut runs through a front, those go on that lie far apart:
    first the best in the first metric, then always the one farthest from those taken, each metric divided by its
    range in that front; of equal ones the one that came first. A trial with a metric that is no finite number stops.

    A decision costs time in proportion to the trials at the rung, and to n * n / eta where hardly any of the n trials
    betters another (some 10 ms with 5,000 trials).

    Args:
        metrics: names of the metrics, two or more; None: those of `TuneConfig`.
        modes: "min" or "max" for each metric, or one for all; None: those of `TuneConfig`.
        time_attr: what rungs are counted in: ``training_iteration``, ``time_total_s`` (seconds) or a metric.
        max_t: a trial ends there, in units of `time_attr`.
        grace_period: no trial is stopped before, in units of `time_attr`.
        reduction_factor: eta; one trial in so many goes on from a rung. More than 1.
        brackets: as for `ASHAScheduler`.
        stop_last_trials: whether a trial ends at `max_t`; False: it trains on to its own end.
        min_results_per_rung: as for `ASHAScheduler`.
    """

    takes_several = True

    def __init__(
        self,
        metrics: Sequence[str] | None = None,
        modes: Mode | Sequence[Mode] | None = None,
        time_attr: str = "training_iteration",
        max_t: float = 100,
        grace_period: float = 1,
        reduction_factor: float = 4,
        brackets: int = 1,
        stop_last_trials: bool = True,
        min_results_per_rung: int | None = None,
    ) -> None:
        self._given = metrics is not None or modes is not None
        self._take(metrics, modes)
        super().__init__(
            time_attr=time_attr,
            metric=self.metrics[0] if self.metrics else None,
            mode=self.modes[0] if self.modes and self.modes[0] in ("min", "max") else None,
            max_t=max_t,
            grace_period=grace_period,
            reduction_factor=reduction_factor,
            brackets=brackets,
            stop_last_trials=stop_last_trials,
            min_results_per_rung=min_results_per_rung,
        )

    def __repr__(self) -> str:
        metrics, modes = (self.metrics, self.modes) if self._given else (None, None)
        return shown_call(self, metrics=metrics, modes=modes)

    def mistakes(self) -> list[str]:
        """Everything that is wrong with the arguments, in words."""
        found = Mistakes(type(self).__name__, super().mistakes())
        if not self._given:
            return found.found
        found.check(
            len(self.metrics) >= 2
            and all(isinstance(metric, str) and metric for metric in self.metrics)
            and len(set(self.metrics)) == len(self.metrics),
            "metrics",
            "the names of at least two different metrics",
            self.metrics,
            "For one metric use ASHAScheduler.",
        )
        for place, mode in enumerate(self.modes):
            if mode not in self.modes[:place]:
                found.mode("modes", mode)
        if len(self.modes) != len(self.metrics):
            found.add(
                f"modes: expected one for all, or one for each of the {len(self.metrics)} metrics, got "
                f"{len(self.modes)}: {self.modes!r}."
            )
        return found.found

    def setup(self, *, metric: str | Sequence[str] | None, mode: Mode | Sequence[Mode] | None, seed: int) -> None:
        """Take the metrics of the run where there are none of its own, and lay out the rungs."""
        if not self._given:
            self._take(metric, mode)
        super().setup(metric=self.metrics[0], mode=self.modes[0], seed=seed)

    def _take(self, metrics: Any, modes: Any) -> None:
        named = [] if metrics is None else [metrics]
        self.metrics: list[Any] = list(metrics) if _several(metrics) else named
        self.modes: list[Any] = list(modes) if _several(modes) else [modes] * len(self.metrics)

    def _make_rung(self, level: float, bracket: int) -> ParetoRung:
        return ParetoRung(level)

    def point(self, result: dict[str, Any]) -> list[float] | None:
        """The metrics of a result as numbers of which less is better; None unless all are finite."""
        values = []
        for metric, mode in zip(self.metrics, self.modes, strict=True):
            try:
                value = float(lookup(result, metric))
            except (TypeError, ValueError, OverflowError):
                return None
            if not math.isfinite(value):
                return None
            values.append(-value if mode == "max" else value)
        return values

    def _judge(self, trial: Trial, result: dict[str, Any], rung: Rung) -> Decision:
        assert isinstance(rung, ParetoRung)
        where = f"at rung {rung.level:g}"
        point = self.point(result)
        rung.scores.add(math.inf if point is None else 0.0)
        total = len(rung.scores)
        if point is None:
            self._judged[trial.id] = math.inf
            return Decision(Action.STOP, f"stopped {where}: not all of {', '.join(self.metrics)} are finite numbers")
        fronts = rung.fronts
        number = fronts.add(point)
        shown = ", ".join(
            f"{m} {-v if mode == 'max' else v:.4g}" for m, mode, v in zip(self.metrics, self.modes, point, strict=True)
        )
        standing = f"{shown} in front {number + 1} of {len(fronts.sizes)}"
        if total < self._least:
            return Decision(
                Action.CONTINUE, f"continued {where}: {standing}; result {total} there, decided from {self._least} on"
            )
        places = max(1, rung.places(self.reduction_factor))
        better = sum(fronts.sizes[:number])
        left = places - better
        front = fronts.front(number)
        if left >= len(front):
            rank: str | None = f"all {len(front)} of this front are within the best {places} of {total}"
        elif left > 0:
            within = spread_rank(front, len(front) - 1, left)
            rank = None if within is None else f"number {better + within} of the best {places} of {total}"
            standing += ", through which the cut runs"
        else:
            rank = None
        if rank is not None:
            return Decision(Action.CONTINUE, f"continued {where}: {standing}, {rank}")
        self._judged[trial.id] = math.inf
        return Decision(
            Action.STOP,
            f"stopped {where}: {standing}, not among the best {places} of {total} ({better} are in better fronts)",
        )

    def notes(self) -> list[str]:
        """The size of the best front of each rung, lowest first."""
        lines = []
        for number, bracket in enumerate(self._rungs):
            prefix = f"bracket {number} " if len(self._rungs) > 1 else ""
            for rung in bracket:
                if isinstance(rung, ParetoRung) and rung.scores:
                    best = rung.fronts.sizes[0] if len(rung.fronts) else 0
                    lines.append(f"{prefix}rung {rung.level:g}: {best} of {len(rung.scores)} are Pareto-optimal")
        return lines

    @property
    def _compared_by(self) -> str:
        return " and ".join(self.metrics)

    def _what_is_equal(self, rung: Rung) -> str:
        return self._compared_by


def _several(given: object) -> bool:
    return isinstance(given, Iterable) and not isinstance(given, str)
