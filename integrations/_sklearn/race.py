"""A race between candidates on the same folds."""

from __future__ import annotations

import math
from typing import Any

from tune_plugins.core.scheduler import Action, Decision, TrialScheduler
from tune_plugins.core.trial import Trial
from tune_plugins.integrations._sklearn.evaluation import SCORES

_LEAST = 2  # folds, of which a standard deviation can be had


class PairedRace(TrialScheduler):
    """Stops a candidate that has most likely lost, on the folds that it shares with the best one.

    Compared are the differences of their scores fold by fold, by a one-sided t-test (racing: Maron and Moore, 1994,
    Hoeffding Races; Birattari et al., 2002, A Racing Algorithm for Configuring Metaheuristics). Training data of folds
    overlap, so that scores vary less than those of independent trainings: the variance is corrected after Nadeau and
    Bengio (2003), Inference for the Generalization Error, section 3.

    Args:
        confidence: of the test.
        test_share: number of test samples for each training sample, in a fold.
    """

    def __init__(self, confidence: float = 0.95, test_share: float = 0.25) -> None:
        super().__init__()
        self.confidence, self.test_share = confidence, test_share
        self._reset()

    def _reset(self) -> None:
        self._scores: dict[str, list[float]] = {}
        self._best: dict[int, str] = {}  # who was best on the first so many folds
        self._variances: list[float] = []

    def setup(self, *, metric: str | None, mode: Any, seed: int) -> None:
        """Forget an earlier run."""
        super().setup(metric=metric, mode=mode, seed=seed)
        self._reset()

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> Decision | str:
        """Compare with the best one on the same folds."""
        sign = -1.0 if self.mode == "min" else 1.0
        mine = [sign * float(score) for score in result[SCORES]]
        count = len(mine)
        if not all(map(math.isfinite, mine)):
            self._withdraw(trial.id)
            return Decision(Action.STOP, f"stopped after {count} folds: no finite score")
        self._scores[trial.id] = mine
        best_id = self._best.get(count)
        best = None if best_id is None else self._scores[best_id][:count]
        if best is None or sum(mine) > sum(best):
            self._best[count] = trial.id
        if best is None or count < _LEAST:
            return Action.CONTINUE
        mean, p = self._test([b - m for b, m in zip(best, mine, strict=True)])
        said = f"{mean:.4g} worse than trial {best_id} on the same {count} folds (p = {p:.2g})"
        if mean > 0 and p < 1 - self.confidence:
            return Decision(Action.STOP, f"stopped: {said}")
        return Decision(Action.CONTINUE, f"continued: {said}")

    def _withdraw(self, trial_id: str) -> None:
        """One that has failed in the end is no measure for others."""
        self._scores.pop(trial_id, None)
        for count in [count for count, best_id in self._best.items() if best_id == trial_id]:
            sums = {i: sum(scores[:count]) for i, scores in self._scores.items() if len(scores) >= count}
            if sums:
                self._best[count] = max(sums, key=lambda i: sums[i])
            else:
                del self._best[count]

    def _test(self, differences: list[float]) -> tuple[float, float]:
        """Mean, and the probability of one so large among equals.

        By chance a few differences may be alike: the variance is taken to be no less than it is on the average.
        """
        from scipy.stats import t

        count = len(differences)
        mean = sum(differences) / count
        self._variances.append(sum((each - mean) ** 2 for each in differences) / (count - 1))
        variance = max(self._variances[-1], sum(self._variances) / len(self._variances))
        if variance == 0:
            return mean, 1.0  # there is nothing to go by yet
        return mean, float(t.sf(mean / math.sqrt(variance * (1 / count + self.test_share)), count - 1))
