"""A race between candidates on the same folds."""

from __future__ import annotations

import math
from typing import Any

from tune_plugins.core.scheduler import Action, Decision, TrialScheduler
from tune_plugins.core.trial import Trial
from tune_plugins.integrations._sklearn.evaluation import SPLITS

_LEAST = 2  # folds, of which a standard deviation can be had


class PairedRace(TrialScheduler):
    """Stops a candidate that has surely lost on the folds that it shares with the best one.

    Compared are the differences of their scores fold by fold, by a one-sided t-test (racing: Maron and Moore, 1994,
    Hoeffding Races; Birattari et al., 2002, A Racing Algorithm for Configuring Metaheuristics). Training data of folds
    overlap, so that scores vary less than those of independent trainings: the variance is corrected after Nadeau and
    Bengio (2003), Inference for the Generalization Error, section 3.

    Args:
        confidence: of the test.
        test_share: number of test samples for each training sample, in a fold.
    """

    def __init__(self, confidence: float = 0.9, test_share: float = 0.25) -> None:
        super().__init__()
        self.confidence, self.test_share = confidence, test_share
        self._scores: dict[str, list[float]] = {}

    def setup(self, *, metric: str | None, mode: Any, seed: int) -> None:
        """Forget an earlier run."""
        super().setup(metric=metric, mode=mode, seed=seed)
        self._scores = {}

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> Decision | str:
        """Compare with the best one on the same folds."""
        mine = self._of_folds(result)
        if not all(map(math.isfinite, mine)):
            return Decision(Action.CONTINUE, f"continued after {len(mine)} folds: a score is not finite")
        self._scores[trial.id] = mine
        count = len(mine)
        if count < _LEAST:
            return Action.CONTINUE
        others = {i: scores[:count] for i, scores in self._scores.items() if i != trial.id and len(scores) >= count}
        if not others:
            return Action.CONTINUE
        best_id, best = max(others.items(), key=lambda item: sum(item[1]))
        mean, p = self._test([b - m for b, m in zip(best, mine, strict=True)])
        said = f"{mean:.4g} worse than trial {best_id} on the same {count} folds (p = {p:.2g})"
        if mean > 0 and p < 1 - self.confidence:
            return Decision(Action.STOP, f"stopped: {said}")
        return Decision(Action.CONTINUE, f"continued: {said}")

    def _of_folds(self, result: dict[str, Any]) -> list[float]:
        assert self.metric is not None
        name, sign = self.metric.removeprefix("mean_test_"), -1.0 if self.mode == "min" else 1.0
        scores = [out["test_scores"] for out in result.get(SPLITS, ())]
        return [sign * float(score[name] if isinstance(score, dict) else score) for score in scores]

    def _test(self, differences: list[float]) -> tuple[float, float]:
        """Mean, and the probability of one so large among equals."""
        from scipy.stats import t

        count = len(differences)
        mean = sum(differences) / count
        variance = sum((each - mean) ** 2 for each in differences) / (count - 1)
        error = math.sqrt(variance * (1 / count + self.test_share))
        if error == 0:
            return mean, 0.0 if mean > 0 else 1.0
        return mean, float(t.sf(mean / error, count - 1))
