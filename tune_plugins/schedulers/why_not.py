"""Why early stopping could not work in a run, in plain sentences, each with its remedy: the same for all schedulers."""

from __future__ import annotations

import math
from typing import Any

from tune_plugins.core.ends import EndCause
from tune_plugins.core.metrics import lookup
from tune_plugins.core.scheduler import TrialScheduler
from tune_plugins.core.trial import Trial


def never_reached(what: str, time_attr: str, at: float, longest: float, remedy: str) -> str:
    """No trial came as far as where the scheduler has its first say, or none went on from there.

    >>> never_reached("the first rung", "training_iteration", 100, 20, "Lower grace_period.")
    'No trial reached the first rung, at training_iteration 100: the longest ended at 20. Lower grace_period.'
    """
    if longest >= at:
        where = "there" if longest == at else f"at {longest:.4g}"
        ended = f"the longest ended {where}, before anything was compared"
        return f"No trial went on from {what}, at {time_attr} {at:g}: {ended}. {remedy}"
    return f"No trial reached {what}, at {time_attr} {at:g}: the longest ended at {longest:.4g}. {remedy}"


def never_finite(metric: str | None, trials: int) -> str:
    """None of the values that were looked at was a finite number."""
    who = f"any of the {trials} trials" if trials > 1 else "the only trial"
    return (
        f"{metric} was no finite number in {who} where trials are compared, so that none could be told from another. "
        "Look for what makes it diverge, or name another metric."
    )


def seldom_finite(metric: str | None, finite: int, trials: int) -> str:
    """Hardly any of the trials that were looked at had a finite value.

    >>> seldom_finite("error", 3, 30).split(",")[0]
    '27 of the 30 trials had no finite error where trials are compared'
    """
    return (
        f"{trials - finite} of the {trials} trials had no finite {metric} where trials are compared, which leaves too "
        "few to tell good from bad. Look for what makes it diverge, or name another metric."
    )


def never_measured(metric: str | None, time_attr: str, at: float) -> str:
    """The metric had not been reported where trials are compared."""
    return (
        f"No trial that reached {time_attr} {at:g} had reported {metric} with that result, so that none could be "
        f"compared. Report {metric} with each result, or at those where trials are compared."
    )


def all_equal(what: str, trials: int, time_attr: str, at: float, remedy: str) -> str:
    """Nobody was better than anybody.

    >>> all_equal("error, 0.5", 16, "training_iteration", 8, "Train longer.")
    'All 16 trials compared had the same error, 0.5, up to training_iteration 8: that says nothing. Train longer.'
    """
    return f"All {trials} trials compared had the same {what}, up to {time_attr} {at:g}: that says nothing. {remedy}"


def too_few(most: int, least: int, who: str, remedy: str) -> str:
    """There were never enough trials to compare.

    >>> too_few(2, 4, "trials at a rung", "Run more.")
    'The most trials at a rung were 2, and nothing is decided with fewer than 4. Run more.'
    """
    return f"The most {who} were {most}, and nothing is decided with fewer than {least}. {remedy}"


class Ends:
    """How the trials of a run have ended, as far as warnings need it.

    Attributes:
        longest: how far a training went that came to its own end; None: none did.
    """

    def __init__(self) -> None:
        self.longest: float | None = None
        self._search_over = self._interrupted = False

    def on_search_end(self) -> None:
        """There are as many trials as there were to be."""
        self._search_over = True

    def on_trial_complete(self, trial: Trial, result: dict[str, Any] | None, time_attr: str) -> None:
        """A trial has ended without error; `result` is its last one."""
        self._interrupted |= trial.cause in (EndCause.TIME_BUDGET, EndCause.USER, EndCause.FAIL_FAST)
        reached = None if result is None else lookup(result, time_attr)
        if trial.cause is not None and trial.cause.full and isinstance(reached, (int, float)):
            self.longest = reached if self.longest is None else max(self.longest, reached)

    @property
    def cut_off(self) -> bool:
        """Whether the run was ended before all trials were there and had ended: what is missing might have come."""
        return self._interrupted or not self._search_over


class Compared:
    """What a scheduler that compares trials at every report has seen, as far as its warnings need it."""

    def __init__(self) -> None:
        self.ends = Ends()
        self._trials: set[str] = set()
        self._finite: set[str] = set()  # of them, those with a finite score
        self._most_others = 0
        self._until = 0.0
        self._best, self._worst = math.inf, -math.inf  # of the finite scores

    def note(self, trial_id: str, time: float, score: float, others: int) -> None:
        """A trial was compared at `time`, with so many others."""
        self._trials.add(trial_id)
        self._until, self._most_others = max(self._until, time), max(self._most_others, others)
        if score < math.inf:
            self._finite.add(trial_id)
            self._best, self._worst = min(self._best, score), max(self._worst, score)

    def warnings(self, scheduler: TrialScheduler, grace: tuple[str, float], least: tuple[str, int]) -> list[str]:
        """Why nothing could be stopped; empty where something could.

        Args:
            scheduler: with its metric, mode and time attribute.
            grace: name and value of the argument before which nothing is compared.
            least: name and value of the argument that says with how many others a trial is compared at least.
        """
        metric, time_attr = scheduler.metric, scheduler.time_attr
        count, finite, longest = len(self._trials), len(self._finite), self.ends.longest
        if not count:
            if longest is not None and longest > grace[1]:
                return [never_measured(metric, time_attr, grace[1])]
            if longest is None or self.ends.cut_off:
                return []
            remedy = f"Lower {grace[0]} below what a trial trains, or train longer."
            return [never_reached("the end of the grace period", time_attr, grace[1], longest, remedy)]
        if not finite:
            return [never_finite(metric, count)]
        if self._most_others < least[1]:
            if self.ends.cut_off:
                return []
            remedy = f"Run more trials, or lower {least[0]}."
            return [too_few(self._most_others, least[1], "others to compare a trial with", remedy)]
        if finite == 1:
            return [seldom_finite(metric, finite, count)]
        if self._best < self._worst:
            return []
        what, remedy = f"{metric}, {scheduler.shown(self._best)}", "Take a metric that tells trials apart."
        return [all_equal(what, finite, time_attr, self._until, remedy)]
