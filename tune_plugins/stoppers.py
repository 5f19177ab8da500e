"""Stop rules for trials and for the whole experiment.

Rules that need no judgement are carried out where they cost nothing: a threshold acts in the worker at the very
report that reaches it, a time limit between reports. Only the others see each result, for which every trial
waits at every report.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from sortedcontainers import SortedList

from tune_plugins._imports import unknown_name
from tune_plugins.arguments import Mistakes, is_callable, is_finite, is_number, override_mistakes
from tune_plugins.core.metrics import Mode, lookup
from tune_plugins.core.stopper import Stopper

__all__ = [
    "CombinedStopper",
    "ExperimentPlateauStopper",
    "FunctionStopper",
    "MaximumIterationStopper",
    "NoopStopper",
    "StopCondition",
    "Stopper",
    "TimeoutStopper",
    "TrialPlateauStopper",
]

if not TYPE_CHECKING:
    __getattr__ = unknown_name(__name__)


StopCondition: TypeAlias = Mapping[str, float] | Stopper | Callable[[str, dict[str, Any]], bool]
"""What ends a trial, or the experiment: ``{metric: threshold}``, a rule, or a function of trial id and result."""


class NoopStopper(Stopper):
    """Never ends anything, and costs nothing."""


class FunctionStopper(Stopper):
    """Ends a trial where ``function(trial_id, result)`` is true.

    Raises:
        ArgumentError: `function` cannot be called.
    """

    def __init__(self, function: Callable[[str, dict[str, Any]], bool]) -> None:
        mistakes = Mistakes("FunctionStopper")
        mistakes.function("function", function, "(trial_id, result) -> bool", arguments=2)
        mistakes.raise_if_any()
        self.function = function

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """What the function says."""
        said = bool(self.function(trial_id, result))
        if said:
            self.reason = (
                f"{getattr(self.function, '__name__', type(self.function).__name__)}(trial_id, result) is true"
            )
        return said


class MaximumIterationStopper(Stopper):
    """Ends each trial at iteration `max_iter`; the same as ``stop={"training_iteration": max_iter}``.

    Args:
        max_iter: last `training_iteration`; at least 1.

    Raises:
        ArgumentError: `max_iter` is something else.
    """

    def __init__(self, max_iter: int) -> None:
        mistakes = Mistakes("MaximumIterationStopper")
        mistakes.whole("max_iter", max_iter, least=1)
        mistakes.raise_if_any()
        self.max_iter = max_iter

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether the iteration is reached."""
        iteration = result["training_iteration"]
        self.reason = f"training_iteration = {iteration} >= {self.max_iter}"
        return bool(iteration >= self.max_iter)


class TimeoutStopper(Stopper):
    """Ends the experiment after some time, also between reports; the same as ``TuneConfig(time_budget_s=...)``.

    Args:
        timeout: seconds, or a `datetime.timedelta`. More than 0. Counted from the first event of the run.

    Raises:
        ArgumentError: `timeout` is something else.
    """

    def __init__(self, timeout: float | timedelta) -> None:
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        mistakes = Mistakes("TimeoutStopper")
        right = is_finite(seconds) and seconds > 0
        mistakes.check(right, "timeout", "a positive number of seconds or a timedelta", timeout)
        mistakes.raise_if_any()
        self.timeout = float(seconds)
        self._began: float | None = None
        self._now = 0.0
        self._used, self._asked_at = 0.0, math.nan

    def setup(self, *, metric: str | None = None, mode: Mode | None = None) -> None:
        """Start with no time used up."""
        self._began, self._used, self._asked_at = None, 0.0, math.nan

    def __getstate__(self) -> dict[str, Any]:
        """With the time used up so far: that until it is loaded again does not count."""
        return {**vars(self), "_used": self._seconds(), "_asked_at": math.nan}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Takes the time of the result; for rules of your own that ask this one."""
        self._now = float(result["timestamp"])
        if self._began is None:
            self._began = self._now
        return False

    def stop_all(self) -> bool:
        """Whether the newest result came so long after the first one.

        One that is shown no results, since it is used by hand, counts from the first time it is asked.
        """
        self.reason = f"{self.timeout:g} s are over"
        if self._began is not None:
            return self._now - self._began >= self.timeout
        self._used = self._seconds()
        self._asked_at = time.monotonic()
        return self._used >= self.timeout

    def _seconds(self) -> float:
        passed = time.monotonic() - self._asked_at
        return self._used + (passed if math.isfinite(passed) else 0.0)


class TrialPlateauStopper(Stopper):
    """Ends a trial when a metric does not change any more.

    That is when the standard deviation (of the population) of its last `num_results` values is below `std`. NaN,
    infinities, None and text are no values: with one of them among the last there is no plateau. A
    result without the metric is passed over.

    Args:
        metric: metric to watch.
        std: largest standard deviation of a plateau, in units of the metric; reached it is no plateau yet.
        num_results: how many values are looked at. At least 2.
        grace_period: no trial is stopped before it has reported so many values.
        metric_threshold: with it, a trial is stopped only at or past this value: at most it for mode "min", at
            least it for "max".
        mode: "min" or "max"; None: the one of `TuneConfig`. Only used with `metric_threshold`.

    Raises:
        ArgumentError: lists all mistakes.
    """

    def __init__(
        self,
        metric: str,
        std: float = 0.01,
        num_results: int = 4,
        grace_period: int = 4,
        metric_threshold: float | None = None,
        mode: Mode | None = None,
    ) -> None:
        mistakes = Mistakes("TrialPlateauStopper")
        mistakes.metric("metric", metric)
        mistakes.number("std", std, least=0, remedy="It is in units of the metric.")
        mistakes.whole("num_results", num_results, least=2)
        mistakes.whole("grace_period", grace_period, least=0)
        mistakes.number("metric_threshold", metric_threshold, none=True)
        mistakes.mode("mode", mode, none=True)
        mistakes.raise_if_any()
        self.metric, self.std, self.num_results, self.grace_period = metric, std, num_results, grace_period
        self.metric_threshold, self.mode = metric_threshold, mode
        self._run_mode = mode
        self._values: dict[str, deque[float]] = {}
        self._counts: dict[str, int] = {}

    def setup(self, *, metric: str | None, mode: Mode | None) -> None:
        """Start with no trials.

        Raises:
            ArgumentError: there is a threshold, and no mode that says which side of it is good.
        """
        self._run_mode = self.mode or mode
        mistakes = Mistakes("TrialPlateauStopper")
        if self.metric_threshold is not None and self._run_mode is None:
            mistakes.add("mode: expected 'min' or 'max' beside metric_threshold, got None. Add mode=.")
        mistakes.raise_if_any()
        self._values, self._counts = {}, {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether the trial stands still."""
        value = lookup(result, self.metric, _MISSING)
        if value is _MISSING:
            return False
        number = _finite(value)
        values = self._values.setdefault(trial_id, deque(maxlen=self.num_results))
        values.append(number)
        count = self._counts[trial_id] = self._counts.get(trial_id, 0) + 1
        if count < max(self.grace_period, self.num_results) or not all(map(math.isfinite, values)):
            return False
        threshold = self.metric_threshold
        if threshold is not None and (number > threshold if self._run_mode == "min" else number < threshold):
            return False
        spread = statistics.pstdev(values)
        if spread < self.std:
            self.reason = (
                f"standard deviation {spread:.3g} of the last {len(values)} {self.metric} is below {self.std:g}"
            )
            return True
        return False


class ExperimentPlateauStopper(Stopper):
    """Ends the experiment when its best trials do not differ any more.

    That is when the standard deviation (of the population) of the best values of the `top` best trials is at
    most `std`, and stays there for `patience` further results.

    Args:
        metric: metric to watch.
        std: largest standard deviation of a plateau, in units of the metric.
        top: how many trials are looked at, each at the best value it ever had. At least 2.
        mode: "min" or "max".
        patience: how many results to wait once a plateau is reached.

    Raises:
        ArgumentError: lists all mistakes.
    """

    def __init__(self, metric: str, std: float = 0.001, top: int = 10, mode: Mode = "min", patience: int = 0) -> None:
        mistakes = Mistakes("ExperimentPlateauStopper")
        mistakes.metric("metric", metric)
        mistakes.number("std", std, least=0, remedy="It is in units of the metric.")
        mistakes.whole("top", top, least=2)
        mistakes.whole("patience", patience, least=0)
        mistakes.mode("mode", mode)
        mistakes.raise_if_any()
        self.metric, self.std, self.top, self.mode, self.patience = metric, std, top, mode, patience
        self._reset()

    def _reset(self) -> None:
        self._best: dict[str, float] = {}
        self._scores: SortedList[float] = SortedList()
        self._spread = math.inf
        self._waited = -1

    def setup(self, *, metric: str | None, mode: Mode | None) -> None:
        """Start with no results."""
        self._reset()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Takes in a result; ends no single trial."""
        value = _finite(lookup(result, self.metric))
        score = value if self.mode == "min" else -value
        best = self._best.get(trial_id, math.inf)
        if score < best:
            if best < math.inf:
                self._scores.remove(best)
            self._scores.add(score)
            self._best[trial_id] = score
            if len(self._scores) >= self.top and score <= self._scores[self.top - 1]:
                self._spread = statistics.pstdev(self._scores[: self.top])
        self._waited = self._waited + 1 if self._spread <= self.std else -1
        return False

    def stop_all(self) -> bool:
        """Whether the plateau has lasted long enough."""
        self.reason = (
            f"standard deviation {self._spread:.3g} of {self.metric} of the best {self.top} trials is at most "
            f"{self.std:g}"
        )
        return self._waited >= self.patience


class CombinedStopper(Stopper):
    """Ends a trial, or the experiment, as soon as one of several stoppers does; the same as a list of them.

    Raises:
        ArgumentError: one of them is no `Stopper`.
    """

    def __init__(self, *stoppers: Stopper) -> None:
        mistakes = Mistakes("CombinedStopper")
        for number, stopper in enumerate(stoppers):
            if not isinstance(stopper, Stopper):
                mistakes.add(
                    f"stopper {number}: expected a Stopper, got {stopper!r}. Wrap a function: FunctionStopper."
                )
        mistakes.raise_if_any()
        self.stoppers = stoppers

    def setup(self, *, metric: str | None, mode: Mode | None) -> None:
        """Set all of them up."""
        for stopper in self.stoppers:
            stopper.setup(metric=metric, mode=mode)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether one of them ends the trial; all of them see the result."""
        return self._note([s for s in self.stoppers if s(trial_id, result)])

    def stop_all(self) -> bool:
        """Whether one of them ends the experiment."""
        return self._note([s for s in self.stoppers if s.stop_all()])

    def why(self) -> str:
        """Which of them it was, and why."""
        return self.reason

    def _note(self, those: list[Stopper]) -> bool:
        self.reason = "; ".join(stopper.why() for stopper in those)
        return bool(those)


# ------------------------------------------------------------------------ what `RunConfig.stop` says


def stop_mistakes(stop: Any) -> list[str]:
    """Everything that is wrong with the value of `RunConfig.stop`, in words."""
    found: list[str] = []
    thresholds: dict[str, float] = {}
    for part in _parts(stop):
        if isinstance(part, Mapping):
            for key, value in part.items():
                if not isinstance(key, str) or not (value is True or is_number(value)) or math.isnan(value):
                    remedy = "For anything else give a function: stop=lambda trial_id, result: ..."
                    given = f"{{{key!r}: {value!r}}}"
                    found.append(f"stop: expected {{metric: number}} or {{metric: True}}, got {given}. {remedy}")
                elif key not in _COUNTED and thresholds.setdefault(key, value) != value:
                    found.append(f"stop: two thresholds for {key!r}, {thresholds[key]!r} and {value!r}. Leave one out.")
        elif isinstance(part, Stopper):
            found += override_mistakes("stop", part, Stopper)
        elif isinstance(part, type) or not is_callable(part, 2):
            found.append(
                "stop: expected a dict of metric: threshold, a function (trial_id, result) -> bool, a Stopper or a "
                f"list of these, got {part!r}."
            )
    return found


def split_stop(stop: Any) -> tuple[dict[str, float], Stopper | None]:
    """Divide `RunConfig.stop` into thresholds, which act in the worker, and a rule that must see each result.

    Time limits are in neither, see `time_limit`.
    """
    thresholds: dict[str, float] = {}
    rules: list[Stopper] = []
    for part in _parts(stop):
        if type(part) is MaximumIterationStopper:
            part = {"training_iteration": part.max_iter}
        if isinstance(part, Mapping):
            for name, value in part.items():
                # Iterations and seconds only grow, so that the lesser limit is reached first.
                thresholds[str(name)] = min(float(value), thresholds.get(str(name), math.inf))
        elif type(part) not in (NoopStopper, TimeoutStopper):
            rules.append(part if isinstance(part, Stopper) else FunctionStopper(part))
    return thresholds, None if not rules else rules[0] if len(rules) == 1 else CombinedStopper(*rules)


def flags(stop: Any) -> set[str]:
    """Names that end a trial where they are true, as ``stop={"done": True}`` says; a result need not have them."""
    parts = [part for part in _parts(stop) if isinstance(part, Mapping)]
    return {name for part in parts for name, value in part.items() if value is True}


def time_limit(stop: Any) -> float | None:
    """Seconds after which `RunConfig.stop` ends the experiment; None: it does not."""
    return min((part.timeout for part in _parts(stop) if type(part) is TimeoutStopper), default=None)


def set_up(stop: Any, *, metric: str | None, mode: Mode | None) -> None:
    """Set all stoppers of `RunConfig.stop` up for a run."""
    for part in _parts(stop):
        if isinstance(part, Stopper):
            part.setup(metric=metric, mode=mode)


def _parts(stop: Any) -> Iterator[Any]:
    if stop is None:
        return
    inner = stop.stoppers if type(stop) is CombinedStopper else stop if isinstance(stop, (list, tuple)) else None
    if inner is None:
        yield stop
    else:
        for part in inner:
            yield from _parts(part)


_MISSING = object()
_COUNTED = ("training_iteration", "time_total_s")


def _finite(value: Any) -> float:
    """`value` as a finite float, or NaN."""
    try:
        number = float(value) if is_number(value) else math.nan
    except OverflowError:
        return math.nan
    return number if math.isfinite(number) else math.nan
