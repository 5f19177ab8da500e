"""Asynchronous successive halving, stopping and promotion form.

Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht, Talwalkar: *A System for Massively Parallel
Hyperparameter Tuning*, MLSys 2020, https://arxiv.org/abs/1810.05934 (algorithm 2 is the promotion form; the
stopping form lets a trial train on unless it is outside the best 1/eta of those that reached the rung so far).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import takewhile
from random import Random
from typing import Any, Literal, get_args

from tune_plugins.arguments import Mistakes, is_finite
from tune_plugins.core.metrics import Mode, lookup
from tune_plugins.core.scheduler import Action, Decision, TrialScheduler
from tune_plugins.core.searcher import Fidelity
from tune_plugins.core.trial import Lease, Milestone, Trial
from tune_plugins.schedulers import why_not
from tune_plugins.schedulers.rungs import KEEPS, PromotionRung, Rung

Variant = Literal["stopping", "promotion"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)


class ASHAScheduler(TrialScheduler):
    """ASHA: at each rung the best 1/reduction_factor of the trials that have reached it go on.

    Rungs are at ``grace_period * reduction_factor**k`` below ``max_t``. A trial waits only there.

    - ``variant="stopping"``: a trial that reaches a rung goes on if it is among the best floor(n / eta) of the n
      results there so far, or the best of all, and is stopped for good otherwise. Needs no checkpoints.
    - ``variant="promotion"``: each trial pauses at each rung with a checkpoint. A free slot resumes, from the
      highest rung where there is one, the best trial among the first floor(n / eta) that has not gone on yet; only
      when there is none a new trial starts. A trial that was judged early is not lost: it goes on once enough worse
      ones have come after it. When no trial can come any more and nothing may be promoted, the best trial of the
      highest rung is trained on alone, unless some trial has been trained to its end: a run ends with at least one
      full training. What then still waits ends with the reason noted.

    Args:
        time_attr: what rungs are counted in: ``training_iteration``, ``time_total_s`` (seconds) or a metric.
        metric: metric to compare; None: the one of `TuneConfig`.
        mode: "min" or "max"; None: the one of `TuneConfig`.
        max_t: a trial ends there, in units of `time_attr`.
        grace_period: no trial is stopped before, in units of `time_attr`.
        reduction_factor: eta; one trial in so many goes on from a rung. More than 1.
        brackets: bracket s starts its rungs at ``grace_period * reduction_factor**s``; trials are dealt out at
            random so that each bracket gets about the same training budget (Hyperband, JMLR 2018, algorithm 1).
        stop_last_trials: whether a trial ends at `max_t`; False: it trains on to its own end.
        min_results_per_rung: nothing is stopped (promoted) at a rung before so many trials have reached it; None: as
            many as the reduction factor, rounded up (with fewer, the best 1/eta would be less than one trial).
        variant: "stopping" or "promotion", see above.
    """

    reads_every_result = False

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: str | None = None,
        mode: Mode | None = None,
        max_t: float = 100,
        grace_period: float = 1,
        reduction_factor: float = 4,
        brackets: int = 1,
        stop_last_trials: bool = True,
        min_results_per_rung: int | None = None,
        variant: Variant = "stopping",
    ) -> None:
        super().__init__(metric=metric, mode=mode, time_attr=time_attr)
        self.max_t, self.grace_period, self.reduction_factor = max_t, grace_period, reduction_factor
        self.stop_last_trials = stop_last_trials
        self.brackets = brackets
        self.min_results_per_rung = min_results_per_rung
        self.variant = variant
        self._least = min_results_per_rung or 0
        self._reset()

    def _reset(self) -> None:
        self._rungs: list[list[Rung]] = []
        self._weights: list[float] = []
        self._bracket_of: dict[str, int] = {}
        self._judged: dict[str, float] = {}  # level of the last rung at which a trial was compared
        self._leases: dict[tuple[int, float], Lease] = {}  # by bracket and the level of the last rung
        self._dealt: Counter[int] = Counter()  # trials by bracket
        self._unmeasured_at = math.inf  # lowest rung at which a trial came without the metric
        self._ends = why_not.Ends()
        # Promotion only.
        self._from_the_top: list[PromotionRung] = []
        self._waiting: dict[str, tuple[PromotionRung, float]] = {}  # where a trial waits, and its score there
        self._why: dict[str, str] = {}
        self._chosen_when_idle: Trial | None = None
        self._trained_to_the_end = False

    def mistakes(self) -> list[str]:
        """Everything that is wrong with the arguments, in words."""
        found = Mistakes(type(self).__name__, super().mistakes())
        found.number("grace_period", self.grace_period, above=0)
        least = self.grace_period if is_finite(self.grace_period) and self.grace_period > 0 else None
        found.number(
            "max_t",
            self.max_t,
            least=least,
            above=0 if least is None else None,
            remedy=f"It is where a trial ends at the latest, in {self.time_attr}, and not before grace_period.",
        )
        found.number("reduction_factor", self.reduction_factor, above=1, remedy=KEEPS)
        found.whole("brackets", self.brackets, least=1)
        found.whole("min_results_per_rung", self.min_results_per_rung, least=1, none=True)
        found.one_of("variant", self.variant, VARIANTS)
        return found.found

    def setup(self, *, metric: str | None, mode: Mode | None, seed: int) -> None:
        """Lay out the rungs of each bracket."""
        super().setup(metric=metric, mode=mode, seed=seed)
        self._reset()
        self._least = self.min_results_per_rung or math.ceil(self.reduction_factor)
        # The epsilon keeps a level that equals max_t but for rounding from becoming a rung of its own.
        levels: list[float] = []
        while (level := self.grace_period * self.reduction_factor ** len(levels)) < self.max_t * (1 - 1e-9):
            levels.append(round(level, 9))
        count = max(1, min(self.brackets, len(levels)))
        self._rungs = [[self._make_rung(level, s) for level in levels[s:]] for s in range(count)]
        promoting = [rung for bracket in self._rungs for rung in bracket if isinstance(rung, PromotionRung)]
        self._from_the_top = sorted(promoting, key=lambda rung: (-rung.level, rung.number))
        # Hyperband starts n_s = ceil((s_max+1)/(s+1) * eta^s) trials in its bracket s (JMLR 2018, algorithm 1);
        # bracket 0 here is its most aggressive one.
        top = len(levels)
        self._weights = [
            (top + 1) / (top - s + 1) * self.reduction_factor ** (top - s) for s in range(len(self._rungs))
        ]

    @property
    def fidelity(self) -> Fidelity:
        """The rungs of the first bracket, which has those of all others."""
        return Fidelity(self.time_attr, self.max_t, tuple(rung.level for rung in self._rungs[0]) if self._rungs else ())

    def _make_rung(self, level: float, bracket: int) -> Rung:
        return PromotionRung(level, bracket) if self.variant == "promotion" else Rung(level)

    def on_trial_add(self, trial: Trial) -> None:
        """Deal the trial to a bracket."""
        bracket = 0
        if len(self._rungs) > 1:
            rng = Random(f"{self.seed}:bracket:{trial.index}")
            bracket = rng.choices(range(len(self._rungs)), self._weights)[0]
        self._bracket_of[trial.id] = bracket
        self._dealt[bracket] += 1

    def next_milestone(self, trial: Trial) -> Lease:
        """The next rung of the trial's bracket; it stops by itself at `max_t`."""
        # Not by its iteration: a trial that was tried again is not compared twice at the same rung.
        bracket, judged = self._bracket_of[trial.id], self._judged.get(trial.id, 0.0)
        lease = self._leases.get((bracket, judged))
        if lease is None:
            lease = self._leases[bracket, judged] = self._lease_after(bracket, judged)
        return lease

    def _lease_after(self, bracket: int, judged: float) -> Lease:
        rung = next((r for r in self._rungs[bracket] if r.level > judged), None)
        return Lease(
            milestone=None if rung is None else Milestone(self.time_attr, rung.level),
            end=Milestone(self.time_attr, self.max_t) if self.stop_last_trials else None,
            save=self.variant == "promotion" and rung is not None,
        )

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> Decision | str:
        """Compare the trial with all that reached the same rung before."""
        milestone = trial.lease.milestone
        reached = lookup(result, self.time_attr)
        if milestone is None or not isinstance(reached, (int, float)) or not reached >= milestone.value:
            return Action.CONTINUE
        if self._judged.get(trial.id, 0.0) >= milestone.value:
            return Action.CONTINUE  # it reports once more while it stops
        # A report may have jumped over a rung: it counts at the highest one it reached.
        rung = [r for r in self._rungs[self._bracket_of[trial.id]] if r.level <= reached][-1]
        self._judged[trial.id] = rung.level
        return self._judge(trial, result, rung)

    def _judge(self, trial: Trial, result: dict[str, Any], rung: Rung) -> Decision:
        """Compare the trial at a rung that it has just reached."""
        score = self.score(result)
        if self._not_measured(result):
            self._unmeasured_at = min(self._unmeasured_at, rung.level)
            return Decision(
                Action.CONTINUE, f"continued at rung {rung.level:g}: no {self.metric} has been reported yet"
            )
        if math.isinf(score):
            rank = rung.add(score)
            self._judged[trial.id] = math.inf
            reason = f"no finite {self.metric}, rank {rank} of {len(rung.scores)}"
            return Decision(Action.STOP, f"stopped at rung {rung.level:g}: {reason}")
        if isinstance(rung, PromotionRung):
            return self._pause_or_promote(trial, score, rung)
        return self._continue_or_stop(trial, score, rung)

    def _not_measured(self, result: dict[str, Any]) -> bool:
        """The metric may come later, e.g. where a validation is rarer than an epoch: that is no failure."""
        return self.metric is not None and lookup(result, self.metric) is None

    def _continue_or_stop(self, trial: Trial, score: float, rung: Rung) -> Decision:
        where = f"at rung {rung.level:g}"
        rank = rung.add(score)
        total = len(rung.scores)
        if total < self._least:
            return Decision(
                Action.CONTINUE,
                f"continued {where}: {self.shown(score)} is result {total} there, decided from {self._least} on",
            )
        cut = rung.cut(self.reduction_factor)
        if score <= cut:
            return Decision(
                Action.CONTINUE,
                f"continued {where}: {self.shown(score)} within the cut {self.shown(cut)}, rank {rank} of {total}",
            )
        self._judged[trial.id] = math.inf
        return Decision(
            Action.STOP,
            f"stopped {where}: {self.shown(score)} worse than the cut {self.shown(cut)}, rank {rank} of {total}",
        )

    # ------------------------------------------------------------------------------- promotion

    def _pause_or_promote(self, trial: Trial, score: float, rung: PromotionRung) -> Decision:
        rung.wait(score, trial)
        self._waiting[trial.id] = (rung, score)
        # If the free slot would go to this very trial, it need not be put to sleep and woken.
        if next(self._promotable(), None) is trial:
            return Decision(Action.CONTINUE, self._promote(trial))
        return Decision(Action.PAUSE, f"paused {self._standing(trial)}")

    def _promotable(self) -> Iterator[Trial]:
        """The trials that may go on, in the order in which they should."""
        for rung in self._from_the_top:
            if rung.waiting and len(rung.scores) >= self._least:
                for _, _, trial in rung.promotable(rung.places(self.reduction_factor)):
                    yield trial

    def _standing(self, trial: Trial) -> str:
        rung, score = self._waiting[trial.id]
        best = f"best {rung.places(self.reduction_factor)}" if len(rung.scores) >= self._least else "none yet"
        return (
            f"at rung {rung.level:g}: {self.shown(score)} has rank {rung.rank(score, trial)} of {len(rung.scores)}, "
            f"of which {best} may go on"
        )

    def _promote(self, trial: Trial) -> str:
        """The trial leaves its rung; returns why."""
        reason = f"promoted {self._standing(trial)}"
        self._leave(trial)
        return reason

    def _leave(self, trial: Trial) -> bool:
        """Whether the trial was waiting at a rung; it does no longer."""
        rung, score = self._waiting.pop(trial.id, (None, 0.0))
        if rung is not None:
            rung.leave(score, trial)
        return rung is not None

    def choose_trial_to_run(self, pending: Mapping[str, Trial], paused: Mapping[str, Trial]) -> Trial | None:
        """Trials never started or to be tried again come first; then the promotable ones, from the highest rung."""
        for trial in pending.values():
            if trial.id not in self._waiting:  # its process may have died while it waited
                return trial
        for trial in self._promotable():
            if trial.id in paused or trial.id in pending:
                self._why[trial.id] = self._promote(trial)
                return trial
        last, self._chosen_when_idle = self._chosen_when_idle, None
        if last is not None:
            self._why[last.id] = f"nothing else is left to run: {self._standing(last)}; goes on as the best there"
            self._leave(last)
        return last

    def resume_reason(self, trial: Trial) -> str:
        """Its rank at the rung where it waited."""
        return self._why.pop(trial.id, "")

    def on_idle(self, search_ended: bool) -> None:
        """At the very end the best trial of the highest rung goes on, unless one was trained to its end."""
        if not search_ended or self._trained_to_the_end:
            return
        best = next((rung.waiting[0] for rung in self._from_the_top if rung.waiting), None)
        self._chosen_when_idle = None if best is None else best[2]

    # ------------------------------------------------------------------------------------- ends

    def on_search_end(self) -> None:
        """Known for the warnings."""
        self._ends.on_search_end()

    def on_trial_complete(self, trial: Trial, result: dict[str, Any] | None) -> None:
        """Forget the trial; its results stay in the rungs."""
        self._trained_to_the_end |= not self._leave(trial) and self._judged.get(trial.id) != math.inf
        self._ends.on_trial_complete(trial, result, self.time_attr)
        self._forget(trial)

    def on_trial_error(self, trial: Trial) -> None:
        """Forget the trial."""
        self._forget(trial)

    def _forget(self, trial: Trial) -> None:
        self._leave(trial)
        self._why.pop(trial.id, None)
        self._bracket_of.pop(trial.id, None)
        self._judged.pop(trial.id, None)

    def notes(self) -> list[str]:
        """The cut of each rung, lowest first."""
        lines = []
        for number, bracket in enumerate(self._rungs):
            prefix = f"bracket {number} " if len(self._rungs) > 1 else ""
            for rung in bracket:
                if isinstance(rung, PromotionRung):
                    if rung.scores:
                        best = rung.places(self.reduction_factor) if len(rung.scores) >= self._least else 0
                        lines.append(
                            f"{prefix}rung {rung.level:g}: best {best} of {len(rung.scores)} go on, "
                            f"{len(rung.waiting)} paused"
                        )
                elif rung.scores:
                    cut = self.shown(rung.cut(self.reduction_factor)) if len(rung.scores) >= self._least else "none yet"
                    lines.append(f"{prefix}rung {rung.level:g}: cut {cut} of {len(rung.scores)} results")
        return lines

    def warnings(self) -> list[str]:
        """Whether trials were compared at all, and whether the comparisons said anything."""
        rungs = [rung for bracket in self._rungs for rung in bracket]
        used = [rung for rung in rungs if rung.scores]
        if not used and self._unmeasured_at < math.inf:
            return [why_not.never_measured(self._compared_by, self.time_attr, self._unmeasured_at)]
        if not used:
            return self._why_none_reached(rungs)
        most = max(rung.competed for rung in used)
        reached, finite = max((len(rung.scores), rung.competed) for rung in used)
        if not most:
            return [why_not.never_finite(self._compared_by, reached)]
        if most < self._least <= reached:
            return [why_not.seldom_finite(self._compared_by, finite, reached)]
        if most < self._least:
            if self._ends.cut_off:
                return []
            remedy = f"{self._one_bracket()}Run more trials, or lower min_results_per_rung or reduction_factor."
            return [why_not.too_few(most, self._least, "trials with a finite value at a rung", remedy)]
        return [warning for bracket in self._rungs if (warning := self._why_all_equal(bracket))]

    @property
    def _compared_by(self) -> str | None:
        return self.metric

    def _one_bracket(self) -> str:
        """What is to be said where all trials are in the bracket that compares last."""
        last = len(self._rungs) - 1
        if not last or set(self._dealt) != {last}:
            return ""
        return f"All {self._dealt[last]} were dealt to the last of {last + 1} brackets; take brackets=1. "

    def _why_none_reached(self, rungs: list[Rung]) -> list[str]:
        longest = self._ends.longest
        if longest is None:
            return []
        if not rungs:
            return [
                f"There is no rung, since grace_period={self.grace_period:g} is not less than max_t={self.max_t:g}: no "
                "trial could be stopped early. Lower grace_period."
            ]
        if self._ends.cut_off:
            return []
        first = min(self._rungs[bracket][0].level for bracket in self._dealt)
        remedy = f"{self._one_bracket()}Lower grace_period below what a trial trains, or train longer."
        return [why_not.never_reached("the first rung", self.time_attr, first, longest, remedy)]

    def _why_all_equal(self, bracket: list[Rung]) -> str:
        """All trials were equal at the first rung, and perhaps at those behind it."""
        equal = list(takewhile(lambda rung: rung.competed >= self._least and rung.all_equal, bracket))
        if not equal:
            return ""
        level = equal[-1].level
        return why_not.all_equal(
            self._what_is_equal(equal[0]),
            equal[0].competed,
            self.time_attr,
            level,
            f"Set grace_period above {level:g}, to where trials differ, or take a metric that tells them apart.",
        )

    def _what_is_equal(self, rung: Rung) -> str:
        return f"{self.metric}, {self.shown(rung.scores[0])}"


AsyncHyperBandScheduler = ASHAScheduler
