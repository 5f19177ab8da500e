"""Percentile stopping with patience: a trial that stays behind for several reports is stopped.

The percentile rule with start-up trials and warm-up steps is that of Optuna's ``PercentilePruner`` (Akiba, Sano,
Yanase, Ohta, Koyama: *Optuna: A Next-generation Hyperparameter Optimization Framework*, KDD 2019,
https://arxiv.org/abs/1907.10902), patience that of early stopping within one training (Prechelt: *Early Stopping - But
When?*, 1998), here put on the comparison with other trials.
"""

from __future__ import annotations

import math
from typing import Any

from tune_plugins.arguments import Mistakes
from tune_plugins.core.ends import EndCause
from tune_plugins.core.metrics import Mode, lookup
from tune_plugins.core.scheduler import Action, Decision, TrialScheduler
from tune_plugins.core.trial import Milestone, Trial
from tune_plugins.schedulers.trajectories import Trajectories
from tune_plugins.schedulers.why_not import Compared

_MISSING = object()


class PercentileStopping(TrialScheduler):
    """Stops a trial that was among the worst `percentile` percent at `patience` reports in a row.

    A value is compared with those that the other trials stood at at the same time, if they have reached it. A single
    bad report harms nobody, so that noisy metrics are no reason for a gentle percentile.

    Past the warm-up a trial waits for a verdict at every report. A report without the metric is no report to this
    rule; a value that is NaN, infinite, None or text ranks behind all others. The cost of a report does not
    grow with the number of reports before it.

    Args:
        percentile: the worst so many percent are behind. Above 0, below 100.
        patience: a trial is stopped at so many reports behind in a row. At least 1.
        n_startup_trials: nothing is behind before so many other trials have reached the same time.
        n_warmup_steps: reports up to there are not judged, in units of `time_attr`.
        time_attr: what time is counted in: ``training_iteration``, ``time_total_s`` (seconds) or a metric.
        metric: metric to compare; None: the one of `TuneConfig`.
        mode: "min" or "max"; None: the one of `TuneConfig`.
    """

    def __init__(
        self,
        percentile: float = 50.0,
        patience: int = 3,
        n_startup_trials: int = 5,
        n_warmup_steps: float = 0,
        time_attr: str = "training_iteration",
        metric: str | None = None,
        mode: Mode | None = None,
    ) -> None:
        super().__init__(metric=metric, mode=mode, time_attr=time_attr)
        self.percentile, self.patience = percentile, patience
        self.n_startup_trials, self.n_warmup_steps = n_startup_trials, n_warmup_steps
        self._reset()

    def _reset(self) -> None:
        self._values = Trajectories(1 if self.time_attr == "training_iteration" else 1024)
        self._time: dict[str, float] = {}
        self._behind: dict[str, int] = {}
        self._stopped = 0
        self._compared = Compared()

    def mistakes(self) -> list[str]:
        """Everything that is wrong with the arguments, in words."""
        found = Mistakes(type(self).__name__, super().mistakes())
        found.number(
            "percentile",
            self.percentile,
            above=0,
            below=100,
            remedy="25 stops what stays among the worst quarter.",
        )
        found.whole("patience", self.patience, least=1)
        found.whole("n_startup_trials", self.n_startup_trials, least=1)
        found.number("n_warmup_steps", self.n_warmup_steps, least=0)
        return found.found

    def setup(self, *, metric: str | None, mode: Mode | None, seed: int) -> None:
        """Start with no trials."""
        super().setup(metric=metric, mode=mode, seed=seed)
        self._reset()

    def on_trial_add(self, trial: Trial) -> None:
        """Nothing is known of the trial."""
        self._time[trial.id], self._behind[trial.id] = -math.inf, 0

    def next_milestone(self, trial: Trial) -> Milestone:
        """The first report past the warm-up, then every report."""
        # Past what was counted: one that is tried again does not wait where it has been before.
        return Milestone(self.time_attr, math.nextafter(max(self._time[trial.id], self.n_warmup_steps), math.inf))

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> Decision | str:
        """Count how many reports in a row the trial has been behind."""
        time = lookup(result, self.time_attr)
        # What a trial reports again, since it was tried again from a checkpoint, has been counted.
        if not isinstance(time, (int, float)) or not self._time[trial.id] < time < math.inf:
            return Action.CONTINUE
        assert self.metric is not None
        if lookup(result, self.metric, _MISSING) is _MISSING:
            return Action.CONTINUE
        self._time[trial.id] = time
        if time <= self.n_warmup_steps:
            return Action.CONTINUE
        score = self.score(result)
        # Counted before its own value is noted: the others.
        self._values.advance(trial.id, time)
        others = self._values.at(time)
        count, better = len(others), others.below(score)
        self._compared.note(trial.id, time, score, count)
        self._values.note(trial.id, time, score)
        if count < self.n_startup_trials:
            self._behind[trial.id] = 0
            return Action.CONTINUE
        # With itself there are count + 1. The better ones are to be all but the worst `percentile` percent of these.
        if better < (count + 1) * (1 - self.percentile / 100) or better == 0:
            self._behind[trial.id] = 0
            return Action.CONTINUE
        self._behind[trial.id] += 1
        if self._behind[trial.id] < self.patience:
            return Action.CONTINUE
        reports = f"the {self.patience}th report in a row" if self.patience > 3 else _IN_A_ROW[self.patience]
        return Decision(
            Action.STOP,
            f"stopped at {self.time_attr} {time:.6g}: {self.metric} {self.shown(score)} is behind {better} of {count} "
            f"others, {reports} among the worst {self.percentile:g}%",
        )

    def on_search_end(self) -> None:
        """Known for the warnings."""
        self._compared.ends.on_search_end()

    def on_trial_complete(self, trial: Trial, result: dict[str, Any] | None) -> None:
        """Forget the trial; its values stay."""
        self._stopped += trial.cause is EndCause.SCHEDULER
        self._compared.ends.on_trial_complete(trial, result, self.time_attr)
        self._forget(trial)

    def on_trial_error(self, trial: Trial) -> None:
        """Forget the trial; its values stay."""
        self._forget(trial)

    def _forget(self, trial: Trial) -> None:
        del self._time[trial.id], self._behind[trial.id]
        self._values.end(trial.id)

    def notes(self) -> list[str]:
        """How many were stopped."""
        return [f"percentile stopping: {self._stopped} trials stopped"]

    def warnings(self) -> list[str]:
        """Whether trials were compared at all, and whether the comparisons said anything."""
        return self._compared.warnings(
            self, ("n_warmup_steps", self.n_warmup_steps), ("n_startup_trials", self.n_startup_trials)
        )


_IN_A_ROW = {1: "a report", 2: "the 2nd report in a row", 3: "the 3rd report in a row"}
