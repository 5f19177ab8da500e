"""Hyperband with synchronous successive halving.

Li, Jamieson, DeSalvo, Rostamizadeh, Talwalkar: *Hyperband: A Novel Bandit-Based Approach to Hyperparameter
Optimization*, JMLR 18(185), 2018, https://jmlr.org/papers/v18/16-558.html; "line" below is a line of its algorithm 1.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, NamedTuple

from tune_plugins.arguments import Mistakes
from tune_plugins.core.metrics import Mode, lookup
from tune_plugins.core.scheduler import Action, Decision, TrialScheduler
from tune_plugins.core.searcher import Fidelity
from tune_plugins.core.trial import Lease, Milestone, Trial
from tune_plugins.errors import TuneError
from tune_plugins.schedulers import why_not
from tune_plugins.schedulers.rungs import KEEPS, ceil, floor


class Stage(NamedTuple):
    """One rung of a bracket: `size` trials train up to `level`."""

    size: int
    level: float


def bracket_table(max_t: float, reduction_factor: float, whole: bool = True) -> list[list[Stage]]:
    """The brackets of one round of Hyperband, in the order in which they are filled.

    Bracket s (s_max first, 0 last) starts n = ceil(floor((s_max + 1) / (s + 1)) * eta^s) trials at level
    max_t * eta^-s, and stage i of it has floor(n * eta^-i) trials, which train up to max_t * eta^(i - s). Line 3 of the
    algorithm as printed has no inner floor; table 1 of the paper (R = 81, eta = 3) and the authors' code have it.

    Args:
        max_t: R, the most that one trial gets; at least 1.
        reduction_factor: eta, above 1.
        whole: levels are rounded to whole numbers (iterations); of stages that then have the same level, the last
            one stays. Without it levels are real numbers (seconds).

    >>> [[tuple(stage) for stage in bracket] for bracket in bracket_table(9, 3)]
    [[(9, 1), (3, 3), (1, 9)], [(3, 3), (1, 9)], [(3, 9)]]
    """
    eta = reduction_factor
    top = floor(math.log(max_t) / math.log(eta))  # line 1: s_max = floor(log_eta(R)), B = (s_max + 1) R
    table = []
    for s in range(top, -1, -1):
        n = ceil((top + 1) // (s + 1) * eta**s)  # line 3: n = ceil(floor(B / R / (s + 1)) eta^s), r = R eta^-s
        stages: dict[float, int] = {}
        for i in range(s + 1):  # lines 5 to 7: n_i = floor(n eta^-i), r_i = r eta^i
            level = max_t if i == s else max_t * eta ** (i - s)
            if whole:
                level = math.floor(max_t) if i == s else min(math.floor(max_t), max(1, round(level)))
            stages.pop(level, None)
            stages[level] = floor(n / eta**i)
        table.append([Stage(size, level) for level, size in stages.items()])
    return table


@dataclass(eq=False)
class Bracket:
    """Trials that go through the stages of one bracket together.

    Attributes:
        number: counts the brackets of the run, from 0.
        stages: sizes and levels; the last level is `max_t`, at which nothing is compared any more.
        stage: the one that its trials are in.
        size: number of trials that were put into it.
        closed: no more trials are put into it.
        running: ids of those on their way to the level of the stage.
        arrived: (score, index, trial) of those that wait there, best first.
        ready: those that were promoted and have not gone on yet, best first.
        unmeasured: number of those that had reported no value of the metric at their first level.
    """

    number: int
    stages: list[Stage]
    stage: int = 0
    size: int = 0
    closed: bool = False
    running: set[str] = field(default_factory=set)
    arrived: list[tuple[float, int, Trial]] = field(default_factory=list)
    ready: dict[str, tuple[Trial, str]] = field(default_factory=dict)
    unmeasured: int = 0

    @property
    def level(self) -> float | None:
        """Where its trials are compared next; None: never again."""
        return self.stages[self.stage].level if self.stage < len(self.stages) - 1 else None

    @property
    def first_stage_over(self) -> bool:
        """Whether all of its trials have been compared once, or have ended."""
        return self.closed and (self.stage > 0 or not self.running)

    def places(self) -> int:
        """How many trials go on from this stage.

        A bracket that was closed before it was full is halved at the same rate, down to one trial.
        """
        full, following = self.stages[0].size, self.stages[self.stage + 1].size
        return following if self.size == full else max(1, floor(self.size * following / full))


class HyperBandScheduler(TrialScheduler):
    """Hyperband: brackets of trials that wait for each other at each rung, of which the best 1/eta go on.

    Trials are put into brackets in the order of the paper: the widest one first (for ``max_t=81`` and eta 3: 81
    trials that are compared after 1 step), the one without comparisons last, then the same again. A trial pauses at
    its rung with a checkpoint. When all trials of the bracket have reached the rung, the best go on and the others end.
    While a bracket waits for its last trials, free slots start the next one.

    - A trial that fails, or ends by itself, before the comparison leaves its place to the next best one. One whose
      metric is no finite number ends at the rung and is never promoted.
    - A bracket for which the trials do not suffice is compared among those that it has, at the same rate.

    Args:
        time_attr: what rungs are counted in: ``training_iteration``, ``time_total_s`` (seconds) or a metric.
        metric: metric to compare; None: the one of `TuneConfig`.
        mode: "min" or "max"; None: the one of `TuneConfig`.
        max_t: R, the most that a trial gets, in units of `time_attr`; at least 1.
        reduction_factor: eta, above 1; need not be whole.
        stop_last_trials: whether a trial ends at `max_t`; False: it trains on to its own end.
    """

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: str | None = None,
        mode: Mode | None = None,
        max_t: float = 81,
        reduction_factor: float = 3,
        stop_last_trials: bool = True,
    ) -> None:
        super().__init__(metric=metric, mode=mode, time_attr=time_attr)
        self.max_t, self.reduction_factor, self.stop_last_trials = max_t, reduction_factor, stop_last_trials
        self._reset()

    def _reset(self) -> None:
        self._table: list[list[Stage]] = []
        self._count = 0
        self._filling: Bracket | None = None
        self._bracket_of: dict[str, Bracket] = {}
        self._with_ready: list[Bracket] = []  # oldest first
        self._open: dict[int, Bracket] = {}
        self._discarded: list[tuple[Trial, str]] = []
        self._why: dict[str, str] = {}
        self._compared: dict[float, list[float]] = {}  # by level: number of trials, best and worst score
        self._arrived = self._diverged = 0  # trials at their first rung with a finite score, and without
        self._ends = why_not.Ends()

    def mistakes(self) -> list[str]:
        """Everything that is wrong with the arguments, in words."""
        found = Mistakes(type(self).__name__, super().mistakes())
        found.number(
            "max_t", self.max_t, least=1, remedy=f"It is the most that a trial gets, in units of {self.time_attr}."
        )
        found.number("reduction_factor", self.reduction_factor, above=1, remedy=KEEPS)
        return found.found

    def setup(self, *, metric: str | None, mode: Mode | None, seed: int) -> None:
        """Compute the sizes of the brackets."""
        super().setup(metric=metric, mode=mode, seed=seed)
        self._reset()
        self._table = bracket_table(self.max_t, self.reduction_factor, self.time_attr == "training_iteration")

    @property
    def fidelity(self) -> Fidelity:
        """The rungs of all brackets."""
        levels = {stage.level for stages in self._table for stage in stages if stage.level < self.max_t}
        return Fidelity(self.time_attr, self.max_t, tuple(sorted(levels)))

    # ------------------------------------------------------------------------------- brackets

    def on_trial_add(self, trial: Trial) -> None:
        """Put the trial into the bracket that is being filled."""
        bracket = self._filling
        if bracket is None:
            bracket = self._filling = Bracket(self._count, self._table[self._count % len(self._table)])
            self._open[bracket.number] = bracket
            self._count += 1
        bracket.size += 1
        bracket.running.add(trial.id)
        self._bracket_of[trial.id] = bracket
        if bracket.size == bracket.stages[0].size:
            bracket.closed, self._filling = True, None

    def _close_filling(self) -> None:
        """There is nobody to fill the bracket with: it goes on with the trials that it has."""
        bracket, self._filling = self._filling, None
        if bracket is not None:
            bracket.closed = True
            self._compare_if_complete(bracket)

    def on_search_end(self) -> None:
        """Close the bracket that is being filled."""
        self._ends.on_search_end()
        self._close_filling()

    def on_idle(self, search_ended: bool) -> None:
        """The searcher waits for trials that wait for it: close the bracket that is being filled."""
        self._close_filling()

    def _compare_if_complete(self, bracket: Bracket) -> None:
        """When all trials of the stage are there, the best go on and the others end."""
        if bracket.running or not bracket.closed:
            return
        if not bracket.arrived:
            if bracket.unmeasured == bracket.size:
                raise TuneError(
                    f"{type(self).__name__} compares trials at {self.time_attr} {bracket.level:g}, and none of the "
                    f"{bracket.size} trials of bracket {bracket.number} has reported {self.metric!r} by then. Report "
                    "it with each result, give the scheduler another metric, or use ASHAScheduler, which lets trials "
                    "go on where nothing is measured yet."
                )
            if not bracket.ready:
                self._open.pop(bracket.number, None)
            return
        level, places, total = bracket.level, bracket.places(), len(bracket.arrived)
        assert level is not None
        bracket.stage += 1
        arrived, bracket.arrived = bracket.arrived, []
        before, best, worst = self._compared.get(level, (0, math.inf, -math.inf))
        self._compared[level] = [before + total, min(best, arrived[0][0]), max(worst, arrived[-1][0])]
        for rank, (score, _, trial) in enumerate(arrived, start=1):
            standing = f"at rung {level:g} of bracket {bracket.number}: {self.shown(score)} has rank {rank} of {total}"
            if rank <= places:
                bracket.running.add(trial.id)
                bracket.ready[trial.id] = (trial, f"promoted {standing}, the best {places} go on")
            else:
                self._discarded.append((trial, f"stopped {standing}, only the best {places} go on"))
        insort(self._with_ready, bracket, key=lambda b: b.number)

    # ------------------------------------------------------------------------------- decisions

    def next_milestone(self, trial: Trial) -> Lease:
        """The rung of the trial's bracket; it stops by itself at `max_t`."""
        bracket = self._bracket_of[trial.id]
        level = bracket.level
        return Lease(
            milestone=None if level is None else Milestone(self.time_attr, level),
            end=Milestone(self.time_attr, bracket.stages[-1].level) if self.stop_last_trials else None,
            save=level is not None,
        )

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> Decision | str:
        """Note the trial's score at its rung; the last one to arrive makes the comparison."""
        bracket = self._bracket_of[trial.id]
        level, reached = bracket.level, lookup(result, self.time_attr)
        if level is None or not isinstance(reached, (int, float)) or not reached >= level:
            return Action.CONTINUE
        if trial.id not in bracket.running:
            return Action.CONTINUE  # it reports once more while it stops
        score = self.score(result)
        bracket.running.discard(trial.id)
        where = f"at rung {level:g} of bracket {bracket.number}"
        if math.isinf(score):
            bracket.unmeasured += lookup(result, str(self.metric)) is None
            self._diverged += 1
            self._compare_if_complete(bracket)
            return Decision(Action.STOP, f"stopped {where}: no finite {self.metric}")
        self._arrived += 1
        insort(bracket.arrived, (score, trial.index, trial), key=lambda entry: entry[:2])
        before = len(self._discarded)
        self._compare_if_complete(bracket)
        if trial.id in bracket.ready:  # it is awake and goes on at once
            return Decision(Action.CONTINUE, self._go_on(bracket, trial))
        for position in range(before, len(self._discarded)):
            if self._discarded[position][0] is trial:
                return Decision(Action.STOP, self._discarded.pop(position)[1])
        missing = len(bracket.running) + (0 if bracket.closed else bracket.stages[0].size - bracket.size)
        there = f"{len(bracket.arrived)} are there, {missing} to come"
        return Decision(Action.PAUSE, f"paused {where} with {self.shown(score)}: {there}")

    def _go_on(self, bracket: Bracket, trial: Trial) -> str:
        _, reason = bracket.ready.pop(trial.id)
        if not bracket.ready:
            self._with_ready.remove(bracket)
        return reason

    def choose_trial_to_run(self, pending: Mapping[str, Trial], paused: Mapping[str, Trial]) -> Trial | None:
        """Trials never started or to be tried again come first; then the promoted ones of the oldest bracket."""
        for trial in pending.values():
            bracket = self._bracket_of[trial.id]
            if trial.id in bracket.running and trial.id not in bracket.ready:
                return trial
        for bracket in self._with_ready:
            for trial, _ in bracket.ready.values():
                if trial.id in paused or trial.id in pending:  # its process may have died while it waited
                    self._why[trial.id] = self._go_on(bracket, trial)
                    return trial
        return None

    def resume_reason(self, trial: Trial) -> str:
        """Its rank at the rung where it waited."""
        return self._why.pop(trial.id, "")

    def discarded(self) -> Iterable[tuple[Trial, str]]:
        """Those that lost the comparison at a rung."""
        discarded, self._discarded = self._discarded, []
        return discarded

    # ------------------------------------------------------------------------------------ ends

    def on_trial_complete(self, trial: Trial, result: dict[str, Any] | None) -> None:
        """Its bracket waits for it no longer."""
        self._ends.on_trial_complete(trial, result, self.time_attr)
        self._gone(trial)

    def on_trial_error(self, trial: Trial) -> None:
        """Its bracket waits for it no longer."""
        self._gone(trial)

    def _gone(self, trial: Trial) -> None:
        bracket = self._bracket_of.pop(trial.id)
        self._why.pop(trial.id, None)
        if trial.id in bracket.ready:
            self._go_on(bracket, trial)
        if trial.id in bracket.running:
            bracket.running.discard(trial.id)
        else:
            bracket.arrived = [entry for entry in bracket.arrived if entry[2] is not trial]
        self._compare_if_complete(bracket)

    def notes(self) -> list[str]:
        """Where each unfinished bracket stands."""
        lines = []
        for bracket in self._open.values():
            level = self.max_t if bracket.level is None else bracket.level
            filled = "" if bracket.closed else f", {bracket.size} of {bracket.stages[0].size} trials so far"
            lines.append(
                f"bracket {bracket.number}: {len(bracket.running)} on the way to {level:g}, "
                f"{len(bracket.arrived)} there{filled}"
            )
        return lines

    def warnings(self) -> list[str]:
        """Whether trials were compared at all, and whether the comparisons said anything."""
        if not self._compared:
            if self._diverged and not self._arrived:
                return [why_not.never_finite(self.metric, self._diverged)]
            first = self._table[0][0].level if self._table and len(self._table[0]) > 1 else None
            longest = self._ends.longest
            if first is None or longest is None or self._ends.cut_off:
                return []
            remedy = "Set max_t to what a whole training takes, or train longer."
            return [why_not.never_reached("the first rung", self.time_attr, first, longest, remedy)]
        levels = sorted(self._compared.items())
        equal = list(takewhile(lambda entry: entry[1][0] > 1 and entry[1][1] == entry[1][2], levels))
        if not equal:
            return []
        level, (count, score, _) = equal[-1][0], equal[0][1]
        remedy = (
            f"Take ASHAScheduler with a grace_period above {level:g}, where trials differ, or a metric that tells them "
            "apart."
        )
        return [why_not.all_equal(f"{self.metric}, {self.shown(score)}", int(count), self.time_attr, level, remedy)]


class HyperBandForBOHB(HyperBandScheduler):
    """Hyperband as BOHB wants it: the searcher has seen a whole rung before it is asked for the next bracket.

    Falkner, Klein, Hutter: *BOHB: Robust and Efficient Hyperparameter Optimization at Scale*, ICML 2018,
    https://arxiv.org/abs/1807.01774. Brackets are filled from the widest one on. All results of a rung are told to the
    searcher before any trial goes on from it, and no trial of a new bracket is created before the first rung of the
    one before it is complete, so that each bracket is sampled from a model that knows the last one. Slots may
    be idle while the last trials of a first rung run; `HyperBandScheduler` uses them and learns later.

    Arguments as for `HyperBandScheduler`. Use it with a searcher that models results at each level of training.
    """

    def accepts_trials(self) -> bool:
        """Not while the last bracket's first rung is incomplete."""
        last = self._open.get(self._count - 1)
        return last is None or not last.closed or last.first_stage_over
