"""Asynchronous successive halving, stopping form.

Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht, Talwalkar: *A System for Massively Parallel
Hyperparameter Tuning*, MLSys 2020, https://arxiv.org/abs/1810.05934 (algorithm 2 is the promotion form; the
stopping form lets a trial train on unless it is outside the best 1/eta of those that reached the rung so far).
"""

from __future__ import annotations

import math
from random import Random
from typing import Any

from sortedcontainers import SortedList

from tune_plugins.schedulers.scheduler import Action, Decision, TrialScheduler
from tune_plugins.trial import Lease, Milestone, Trial, lookup


class Rung:
    """The results of all trials that reached one level of one bracket.

    Attributes:
        level: value of the time attribute at which trials are compared.
        scores: less is better, ascending; +inf for failed ones (NaN and the like), so these rank last.
    """

    def __init__(self, level: float) -> None:
        self.level = level
        self.scores: SortedList[float] = SortedList()

    def add(self, score: float) -> int:
        """Note a score and return its rank from 1; equal scores share the better rank."""
        self.scores.add(score)
        return self.scores.bisect_left(score) + 1

    def cut(self, reduction_factor: float) -> float:
        """The 1/reduction_factor quantile of the scores, linearly interpolated; +inf with no scores."""
        if not self.scores:
            return math.inf
        position = (len(self.scores) - 1) / reduction_factor
        low = math.floor(position)
        below = float(self.scores[low])
        if low == position:
            return below
        above = float(self.scores[low + 1])
        # An infinite neighbour would turn the whole quantile infinite: then the worst finite score is the cut.
        return below if math.isinf(above) else below + (above - below) * (position - low)


class ASHAScheduler(TrialScheduler):
    """ASHA, stopping form: at each rung a trial goes on if it is among the best 1/reduction_factor so far.

    Rungs are at ``grace_period * reduction_factor**k`` below ``max_t``. A trial waits only there.

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
        min_results_per_rung: nothing is stopped at a rung before so many trials have reached it; None: as many
            as the reduction factor, rounded up (with fewer, the best 1/eta would be less than one trial).
    """

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: str | None = None,
        mode: str | None = None,
        max_t: float = 100,
        grace_period: float = 1,
        reduction_factor: float = 4,
        brackets: int = 1,
        stop_last_trials: bool = True,
        min_results_per_rung: int | None = None,
    ) -> None:
        super().__init__(metric=metric, mode=mode, time_attr=time_attr)
        self.max_t, self.grace_period, self.reduction_factor = max_t, grace_period, reduction_factor
        self.stop_last_trials = stop_last_trials
        self.brackets = brackets
        self.min_results_per_rung = min_results_per_rung
        self._rungs: list[list[Rung]] = []
        self._bracket_of: dict[str, int] = {}
        self._judged: dict[str, float] = {}  # level of the last rung at which a trial was compared
        self._least = min_results_per_rung or 0

    def mistakes(self) -> list[str]:
        """Everything that is wrong with the arguments, in words."""
        found = super().mistakes()
        name = type(self).__name__
        if not _positive(self.grace_period):
            found.append(f"{name} grace_period: expected a positive number, got {self.grace_period!r}.")
        if not _positive(self.max_t) or (_positive(self.grace_period) and self.max_t < self.grace_period):
            found.append(
                f"{name} max_t: expected at least grace_period={self.grace_period!r}, got {self.max_t!r}. "
                f"max_t is where a trial ends at the latest, in units of {self.time_attr}."
            )
        if not _positive(self.reduction_factor) or self.reduction_factor <= 1:
            found.append(
                f"{name} reduction_factor: expected a number above 1, got {self.reduction_factor!r}. "
                "3 or 4 keeps the best third or quarter at each rung."
            )
        if not isinstance(self.brackets, int) or self.brackets < 1:
            found.append(f"{name} brackets: expected a whole number of at least 1, got {self.brackets!r}.")
        least = self.min_results_per_rung
        if least is not None and (not isinstance(least, int) or least < 1):
            found.append(f"{name} min_results_per_rung: expected None or at least 1, got {least!r}.")
        return found

    def setup(self, *, metric: str | None, mode: str | None, seed: int) -> None:
        """Lay out the rungs of each bracket."""
        super().setup(metric=metric, mode=mode, seed=seed)
        self._least = self.min_results_per_rung or math.ceil(self.reduction_factor)
        # The epsilon keeps a level that equals max_t but for rounding from becoming a rung of its own.
        levels: list[float] = []
        while (level := self.grace_period * self.reduction_factor ** len(levels)) < self.max_t * (1 - 1e-9):
            levels.append(round(level, 9))
        count = max(1, min(self.brackets, len(levels)))
        self._rungs = [[Rung(level) for level in levels[s:]] for s in range(count)]
        # Hyperband starts n_s = ceil((s_max+1)/(s+1) * eta^s) trials in its bracket s (JMLR 2018, algorithm 1);
        # bracket 0 here is its most aggressive one.
        top = len(levels)
        self._weights = [
            (top + 1) / (top - s + 1) * self.reduction_factor ** (top - s) for s in range(len(self._rungs))
        ]

    def on_trial_add(self, trial: Trial) -> None:
        """Deal the trial to a bracket."""
        bracket = 0
        if len(self._rungs) > 1:
            rng = Random(f"{self.seed}:bracket:{trial.index}")
            bracket = rng.choices(range(len(self._rungs)), self._weights)[0]
        self._bracket_of[trial.id] = bracket

    def next_milestone(self, trial: Trial) -> Lease:
        """The next rung of the trial's bracket; it stops by itself at `max_t`."""
        # Not by its iteration: a trial that was tried again is not compared twice at the same rung.
        judged = self._judged.get(trial.id, 0.0)
        rung = next((r for r in self._rungs[self._bracket_of[trial.id]] if r.level > judged), None)
        return Lease(
            milestone=None if rung is None else Milestone(self.time_attr, rung.level),
            end=Milestone(self.time_attr, self.max_t) if self.stop_last_trials else None,
        )

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> Decision | str:
        """Compare the trial with all that reached the same rung before."""
        milestone = trial.lease.milestone
        reached = lookup(result, self.time_attr)
        if milestone is None or not isinstance(reached, (int, float)) or not reached >= milestone.value:
            return Action.CONTINUE
        # A report may have jumped over a rung: it counts at the highest one it reached.
        rung = [r for r in self._rungs[self._bracket_of[trial.id]] if r.level <= reached][-1]
        self._judged[trial.id] = rung.level
        score = self.score(result)
        rank = rung.add(score)
        total = len(rung.scores)
        where = f"at rung {rung.level:g}"
        if math.isinf(score):
            return Decision(Action.STOP, f"stopped {where}: no finite {self.metric}, rank {rank} of {total}")
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
        return Decision(
            Action.STOP,
            f"stopped {where}: {self.shown(score)} worse than the cut {self.shown(cut)}, rank {rank} of {total}",
        )

    def on_trial_complete(self, trial: Trial, result: dict[str, Any] | None) -> None:
        """Forget the trial; its results stay in the rungs."""
        self._forget(trial)

    def on_trial_error(self, trial: Trial) -> None:
        """Forget the trial."""
        self._forget(trial)

    def _forget(self, trial: Trial) -> None:
        self._bracket_of.pop(trial.id, None)
        self._judged.pop(trial.id, None)

    def notes(self) -> list[str]:
        """The cut of each rung, lowest first."""
        lines = []
        for number, bracket in enumerate(self._rungs):
            prefix = f"bracket {number} " if len(self._rungs) > 1 else ""
            for rung in bracket:
                if rung.scores:
                    cut = self.shown(rung.cut(self.reduction_factor)) if len(rung.scores) >= self._least else "none yet"
                    lines.append(f"{prefix}rung {rung.level:g}: cut {cut} of {len(rung.scores)} results")
        return lines


AsyncHyperBandScheduler = ASHAScheduler


def _positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf
