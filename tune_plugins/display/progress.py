"""Running aggregates of a run: counts, ranking, the best trial, time left. No output, no clock, no rich."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tune_plugins.callbacks import RunInfo
from tune_plugins.core.autofill import AUTOFILLED
from tune_plugins.core.metrics import lookup
from tune_plugins.core.trial import Trial, TrialStatus
from tune_plugins.display.text import leaves, short, to_float

OWN_METRICS = AUTOFILLED | {"training_iteration", "time_total_s", "timestamp"}

_PARAMETERS = 100
"""Hyper-parameters looked at; more than could ever be shown."""

Key = tuple[int, float, str]
"""Rank of a trial: 0 and its loss, or 1 and its age where it has no usable metric; then its id."""


@dataclass(slots=True)
class _Known:
    trial: Trial
    status: TrialStatus
    key: Key | None  # its place in the ranking; None while the trial holds a slot
    config: dict[str, Any] | None = None  # as last noted; an exploit gives the trial another one


class Progress:
    """What the hooks have told so far.

    The cost of `update` is that of the trials that changed since the last one plus the running ones, never that
    of all trials: only `rescan` reads all of them (once when a resumed run begins, once at the end).

    Attributes:
        run: facts about the run.
        touched: trials that changed since the last `update`; a hook just puts its trial here.
        active: trials that hold a slot.
        counts: trials by status, of those that were started at all.
        reads: number of trials read so far (for tests of the cost).
        stages: how many trials that are to run wait for what, e.g. "importing", in words.
    """

    def __init__(self, run: RunInfo) -> None:
        self.run = run
        self.touched: dict[str, Trial] = {}
        self.active: dict[str, Trial] = {}
        self.counts: Counter[TrialStatus] = Counter()
        self.created = 0
        self.reads = 0
        self.metric = run.metric
        self._compares = run.metric is not None and run.mode is not None
        self.stages: Counter[str] = Counter()
        self._known: dict[str, _Known] = {}
        self._ranking: list[Key] = []
        self._busy_s = 0.0
        self._finished_before = 0
        self._values: dict[str, str] = {}
        self._varying: set[str] = set()

    # ------------------------------------------------------------------ taking in

    def update(self, trials: Sequence[Trial], passed: float = 0.0) -> None:
        """Take in what changed; `passed` seconds went by since the last update."""
        self._busy_s += max(passed, 0.0) * len(self.active)
        touched, self.touched = {**self.active, **self.touched}, {}
        for trial in touched.values():
            self._place(trial)
        self.created = len(trials)

    def rescan(self, trials: Sequence[Trial], at_start: bool = False) -> None:
        """Read all trials, for what no hook has told."""
        for trial in trials:
            if trial.id in self._known or trial.status is not TrialStatus.PENDING:
                self._place(trial)
        self.update(trials)
        if at_start:
            self._finished_before = self.finished

    def _place(self, trial: Trial) -> None:
        self.reads += 1
        known = self._known.get(trial.id)
        if known is None:
            known = self._known[trial.id] = _Known(trial, trial.status, None)
        else:
            self.counts[known.status] -= 1
            if known.key is not None:
                del self._ranking[bisect_left(self._ranking, known.key)]
        if known.config is not trial.config:
            known.config = trial.config
            self._note_config(trial)
        known.status = trial.status
        self.counts[trial.status] += 1
        if self.metric is None and trial.last_result:
            self.metric = self._first_metric(trial)
        if trial.status.holds_slot:
            self.active[trial.id] = trial
            known.key = None
        else:
            self.active.pop(trial.id, None)
            known.key = self._key(trial)
            insort(self._ranking, known.key)

    def _key(self, trial: Trial) -> Key:
        value = self.value(trial)
        if not self._compares or not math.isfinite(value):
            return (1, -(trial.ended_at or float(trial.index)), trial.id)
        return (0, value if self.run.mode == "min" else -value, trial.id)

    def _first_metric(self, trial: Trial) -> str | None:
        numbers = (name for name, value in leaves(trial.last_result) if not math.isnan(to_float(value)))
        return next((name for name in numbers if name not in OWN_METRICS), None)

    def _note_config(self, trial: Trial) -> None:
        config = trial.config
        if self.run.parameters:
            return
        for name, value in islice(leaves(config), _PARAMETERS):
            if name not in self._varying and self._values.setdefault(name, text := short(value)) != text:
                self._varying.add(name)

    # ------------------------------------------------------------------ giving out

    def value(self, trial: Trial) -> float:
        """The metric in the trial's last result; NaN where there is none."""
        if self.metric is None or not trial.last_result:
            return math.nan
        return to_float(lookup(trial.last_result, self.metric))

    @property
    def last_seen(self) -> dict[str, Any] | None:
        """The last result of one of the running trials, or of one that has ended; None: there is no result yet."""
        trials = (*self.active.values(), *(known.trial for known in self._known.values()))
        return next((trial.last_result for trial in trials if trial.last_result), None)

    @property
    def best(self) -> Trial | None:
        """The trial whose last result is best; never one with NaN or an infinite value."""
        keys = [self._key(trial) for trial in self.active.values()] if self._compares else []
        keys += self._ranking[:1]
        rank, _, trial_id = min(keys, default=(1, 0.0, ""))
        return None if rank else self._known[trial_id].trial

    def rows(self, limit: int) -> list[Trial]:
        """At most `limit` trials to show: running ones by id, then the best of the others.

        A third of the rows is left to the others where there are more running ones than fit.
        """
        others = min(len(self._ranking), max(limit - len(self.active), limit // 3))
        running = heapq.nsmallest(limit - others, self.active)
        return [self.active[trial_id] for trial_id in running] + list(islice(self._others(), others))

    def _others(self) -> Iterator[Trial]:
        for _, _, trial_id in self._ranking:
            yield self._known[trial_id].trial

    @property
    def finished(self) -> int:
        """Number of trials that ended, with or without error."""
        return self.counts[TrialStatus.TERMINATED] + self.counts[TrialStatus.ERROR]

    @property
    def total(self) -> int | None:
        """Number of trials there will be; None where unknown."""
        return None if self.run.total_trials is None else max(self.run.total_trials, self.created)

    @property
    def waiting(self) -> int:
        """Number of trials that were created and never started, or wait to be tried again; those in `stages` apart."""
        there = max(self.created - len(self._known), 0) + self.counts[TrialStatus.PENDING]
        return max(there - self.stages.total(), 0)

    @property
    def running(self) -> int:
        """Number of trials that hold a slot and have begun."""
        return sum(trial.status is not TrialStatus.STARTING for trial in self.active.values())

    @property
    def shown_parameters(self) -> Sequence[str]:
        """Names of the hyper-parameters that the search space leaves open, in the order in which the user wrote them.

        Where it tells none, since the searcher makes them up, those with more than one value so far.
        """
        return self.run.parameters or [name for name in self._values if name in self._varying]

    def seconds_left(self, elapsed: float) -> tuple[float, bool] | None:
        """Seconds until the end, and whether that is an estimate (True) or just the time budget (False).

        The mean time of a trial is estimated as slot time spent / trials finished, which also counts the time of
        those that still run (the maximum likelihood estimate under censoring, exact for exponential durations):
        the mean of the finished ones alone would be too short while early stopping ends the bad ones first.
        None where nothing can be said: too few trials finished, or nobody knows how many there will be.
        """
        limit = None if self.run.virtual_clock else self.run.time_budget_s  # virtual seconds do not go by
        budget = None if limit is None else max(limit - elapsed, 0.0)
        finished = self.finished - self._finished_before
        total, slots = self.total, max(self.run.slots, len(self.active), 1)
        if total is not None and self._busy_s > 0:
            left = max(total - self.finished, 0)
            enough = min(max(2, slots), max(1, total // 4))
            if finished >= enough and left:
                estimate = self._busy_s / finished * left / slots
                return (estimate, True) if budget is None else (min(estimate, budget), True)
        return None if budget is None else (budget, False)
