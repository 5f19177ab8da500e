"""A task for XGBoost, and what tests of its adapter share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xgboost as xgb
from sklearn.datasets import load_breast_cancer

from tune_plugins.record.checkpoint import Checkpoint

X, Y = load_breast_cancer(return_X_y=True)
TRAIN, VALID = slice(0, 300), slice(300, None)
PARAMS = {"objective": "binary:logistic", "tree_method": "hist", "nthread": 1, "max_depth": 3, "eta": 0.2}
SAMPLED = {**PARAMS, "subsample": 0.5, "colsample_bytree": 0.5, "colsample_bynode": 0.5, "seed": 7}


def matrix(rows: slice = TRAIN) -> Any:
    return xgb.DMatrix(X[rows], Y[rows])


def fit(*callbacks: Any, params: Any = PARAMS, rounds: int = 6, evals: bool = True, **kwargs: Any) -> Any:
    dtrain = matrix()
    watched = [(dtrain, "train"), (matrix(VALID), "eval")] if evals else None
    return xgb.train(params, dtrain, rounds, evals=watched, callbacks=callbacks, verbose_eval=False, **kwargs)


def raw(model: Any) -> bytes:
    return bytes(model.save_raw("ubj"))


def load(checkpoint: Checkpoint | None, filename: str = "model.ubj") -> Any:
    assert checkpoint is not None
    return xgb.Booster(model_file=str(Path(checkpoint.path, filename)))


def checkpoint_of(model: Any, directory: Path, filename: str = "model.ubj") -> Checkpoint:
    directory.mkdir(exist_ok=True)
    model.save_model(directory / filename)
    return Checkpoint.from_directory(directory)


class Recorder(xgb.callback.TrainingCallback):
    """Counts the rounds that it is told of, and may end the training."""

    def __init__(self, stop_before: int = -1, stop_after: int = -1) -> None:
        super().__init__()
        self.rounds = 0
        self.stop_before, self.stop_after = stop_before, stop_after

    def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        return epoch == self.stop_before

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        self.rounds += 1
        return self.rounds == self.stop_after


def early_log() -> dict[str, Any]:
    return {**PARAMS, "eta": 1.0, "max_depth": 6}
