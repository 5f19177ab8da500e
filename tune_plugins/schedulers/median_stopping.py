"""The median stopping rule.

Golovin, Solnik, Moitra, Kochanski, Karro, Sculley: *Google Vizier: A Service for Black-Box Optimization*, KDD 2017,
section 3.2.1, https://doi.org/10.1145/3097983.3098043: stop a trial at step s if its best objective value by step s is
strictly worse than the median of the running averages, up to step s, of all other trials.

Two things differ from the paper, as is usual: a trial that has reached s counts whether or not it has ended (else
nothing could be stopped while the first trials run), and averages start at the grace period (the wild values of the
first steps say nothing about later ones).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sortedcontainers import SortedList

from tune_plugins.arguments import Mistakes
from tune_plugins.core.ends import EndCause
from tune_plugins.core.metrics import Mode, lookup
from tune_plugins.core.scheduler import Action, Decision, TrialScheduler
from tune_plugins.core.trial import Milestone, Trial, TrialStatus
from tune_plugins.schedulers.trajectories import Trajectories
from tune_plugins.schedulers.why_not import Compared

_MISSING = object()


class _Course:
    """What is known of one trial: its best score, and the sum and number of its scores past the grace period."""

    __slots__ = ("best", "count", "time", "total")

    def __init__(self) -> None:
        self.best, self.total, self.count, self.time = math.inf, 0.0, 0, -math.inf


class MedianStoppingRule(TrialScheduler):
    """Stops a trial whose best value so far is worse than the median of the others' running averages.

    Compared are averages up to the same time, of the trials that have reached it. The cost of a report does not grow
    with the number of reports before it, see `tune_plugins.schedulers.trajectories`; times are told apart down
    to 1/1024 of their unit.

    Past the grace period a trial waits for a verdict at every report, or every `min_time_slice`. A report without the
    metric is no report to this rule; a value that is NaN, infinite, None or text ranks behind all others.

    Args:
        time_attr: what time is counted in: ``training_iteration``, ``time_total_s`` (seconds) or a metric.
        metric: metric to compare; None: the one of `TuneConfig`.
        mode: "min" or "max"; None: the one of `TuneConfig`.
        grace_period: no trial is stopped before, and no value before counts in an average; in units of `time_attr`.
        min_samples_required: a trial is compared with so many others at least. More than 0.
        min_time_slice: a trial is left alone for so long after each comparison, in units of `time_attr`.
        hard_stop: True: stop; False: pause instead, and go on when there is nothing else to do, best one first.
    """

    def __init__(
        self,
        time_attr: str = "time_total_s",
        metric: str | None = None,
        mode: Mode | None = None,
        grace_period: float = 60.0,
        min_samples_required: int = 3,
        min_time_slice: float = 0,
        hard_stop: bool = True,
    ) -> None:
        super().__init__(metric=metric, mode=mode, time_attr=time_attr)
        self.grace_period, self.min_samples_required = grace_period, min_samples_required
        self.min_time_slice, self.hard_stop = min_time_slice, hard_stop
        self._reset()

    def _reset(self) -> None:
        self._averages = Trajectories(1 if self.time_attr == "training_iteration" else 1024)
        self._courses: dict[str, _Course] = {}
        self._compared_at: dict[str, float] = {}
        self._waiting: SortedList[tuple[float, int, str]] = SortedList()
        self._waits: dict[str, tuple[float, int, str]] = {}
        self._nothing_new = False
        self._stopped = 0
        self._compared = Compared()

    def mistakes(self) -> list[str]:
        """Everything that is wrong with the arguments, in words."""
        found = Mistakes(type(self).__name__, super().mistakes())
        found.number("grace_period", self.grace_period, least=0)
        found.number("min_time_slice", self.min_time_slice, least=0)
        found.whole(
            "min_samples_required",
            self.min_samples_required,
            least=1,
            remedy="It is the number of other trials that a median is taken of.",
        )
        return found.found

    def setup(self, *, metric: str | None, mode: Mode | None, seed: int) -> None:
        """Start with no trials."""
        super().setup(metric=metric, mode=mode, seed=seed)
        self._reset()

    # ------------------------------------------------------------------------------- decisions

    def on_trial_add(self, trial: Trial) -> None:
        """Nothing is known of the trial."""
        self._courses[trial.id] = _Course()

    def next_milestone(self, trial: Trial) -> Milestone:
        """The end of the grace period, then every report, or every `min_time_slice`."""
        compared = self._compared_at.get(trial.id)
        if compared is None:
            return Milestone(self.time_attr, self.grace_period)
        if self.min_time_slice > 0:
            return Milestone(self.time_attr, compared + self.min_time_slice)
        # The first report past what was counted: one that is tried again does not wait where it has been before.
        return Milestone(self.time_attr, math.nextafter(self._courses[trial.id].time, math.inf))

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> Decision | str:
        """Compare the trial with all others at the same time; see Vizier, section 3.2.1."""
        course = self._courses[trial.id]
        time = lookup(result, self.time_attr)
        # What a trial reports again, since it was tried again from a checkpoint, has been counted.
        if not isinstance(time, (int, float)) or not course.time < time < math.inf:
            return Action.CONTINUE
        assert self.metric is not None
        if lookup(result, self.metric, _MISSING) is _MISSING:
            return Action.CONTINUE
        course.time = time
        score = self.score(result)
        course.best = min(course.best, score)
        if time < self.grace_period:
            return Action.CONTINUE
        # Compared before its own average is noted: the others.
        self._averages.advance(trial.id, time)
        decision = self._compare(trial, course, time, score)
        course.total, course.count = course.total + score, course.count + 1
        self._averages.note(trial.id, time, course.total / course.count)
        return decision

    def _compare(self, trial: Trial, course: _Course, time: float, score: float) -> Decision | str:
        compared = self._compared_at.get(trial.id)
        if compared is not None and time < compared + self.min_time_slice:
            return Action.CONTINUE
        self._compared_at[trial.id] = time
        others = self._averages.at(time)
        self._compared.note(trial.id, time, score, len(others))
        best = course.best if score < math.inf else math.inf
        if len(others) < self.min_samples_required or not others.is_above_median(best):
            return Action.CONTINUE
        what = f"best {self.shown(best)}" if best < math.inf else f"no finite {self.metric}"
        why = (
            f"at {self.time_attr} {time:.6g}: {what}, worse than the median {self.shown(others.median)} of the "
            f"averages of {len(others)} others"
        )
        if self.hard_stop:
            return Decision(Action.STOP, f"stopped {why}")
        self._leave(trial)
        # Ranked by what it has reached, also where its last value is not a number.
        self._waits[trial.id] = entry = (course.best, trial.index, trial.id)
        self._waiting.add(entry)
        return Decision(Action.PAUSE, f"paused {why}")

    def choose_trial_to_run(self, pending: Mapping[str, Trial], paused: Mapping[str, Trial]) -> Trial | None:
        """A trial that has not run yet; the best one of those paused when no more are to come."""
        if pending:
            return next(iter(pending.values()))
        if self._nothing_new:
            for _, _, trial_id in self._waiting:
                if trial_id in paused:
                    return paused[trial_id]
        return None

    def resume_reason(self, trial: Trial) -> str:
        """Nothing else waits; the trial is taken off the list here."""
        entry, count = self._waits.get(trial.id), len(self._waiting)
        self._leave(trial)
        if entry is None or trial.status is not TrialStatus.PAUSED:
            return ""
        return f"resumed: nothing else to run, best of the {count} paused with {self.shown(entry[0])}"

    def on_search_end(self) -> None:
        """From now on paused trials are all there is."""
        self._compared.ends.on_search_end()
        self._nothing_new = True

    def on_idle(self, search_ended: bool) -> None:
        """Nothing runs, and the searcher waits for something: let paused trials go on."""
        self._nothing_new = True

    def on_trial_complete(self, trial: Trial, result: dict[str, Any] | None) -> None:
        """Forget the trial; its averages stay."""
        self._stopped += trial.cause is EndCause.SCHEDULER
        self._compared.ends.on_trial_complete(trial, result, self.time_attr)
        self._forget(trial)

    def on_trial_error(self, trial: Trial) -> None:
        """Forget the trial; its averages stay."""
        self._forget(trial)

    def _forget(self, trial: Trial) -> None:
        del self._courses[trial.id]
        self._compared_at.pop(trial.id, None)
        self._averages.end(trial.id)
        self._leave(trial)

    def _leave(self, trial: Trial) -> None:
        """Take the trial off the list of those paused."""
        if (entry := self._waits.pop(trial.id, None)) is not None:
            self._waiting.remove(entry)

    def notes(self) -> list[str]:
        """How many were stopped, or wait."""
        if self.hard_stop:
            return [f"median stopping: {self._stopped} trials stopped"]
        return [f"median stopping: {len(self._waiting)} trials paused"]

    def warnings(self) -> list[str]:
        """Whether trials were compared at all, and whether the comparisons said anything."""
        return self._compared.warnings(
            self, ("grace_period", self.grace_period), ("min_samples_required", self.min_samples_required)
        )
