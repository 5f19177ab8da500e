"""A task for LightGBM, and what tests of its adapter share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm as lgb
from sklearn.datasets import load_breast_cancer

from tune_plugins.record.checkpoint import Checkpoint

X, Y = load_breast_cancer(return_X_y=True)
PARAMS: dict[str, Any] = {
    "objective": "binary",
    "metric": ["binary_logloss", "auc"],
    "num_threads": 1,
    "num_leaves": 7,
    "learning_rate": 0.2,
    "verbosity": -1,
}
SAMPLED: dict[str, Any] = {
    **PARAMS,
    "bagging_fraction": 0.5,
    "bagging_freq": 1,
    "feature_fraction": 0.5,
    "feature_fraction_bynode": 0.5,
    "seed": 7,
}
MODEL = "model.txt"


def data_sets(**options: Any) -> tuple[lgb.Dataset, lgb.Dataset]:
    training = lgb.Dataset(X[:300], Y[:300], **options)
    return training, lgb.Dataset(X[300:], Y[300:], reference=training, **options)


def fit(*callbacks: Any, params: Any = PARAMS, rounds: int = 6, evals: bool = True, **kwargs: Any) -> Any:
    training, held_out = data_sets()
    if evals:
        kwargs = {"valid_sets": [training, held_out], "valid_names": ["train", "eval"], **kwargs}
    return lgb.train(params, training, rounds, callbacks=list(callbacks), **kwargs)


def text(model: Any) -> str:
    """Trees, and the parameters that they were trained with."""
    return str(model.model_to_string(num_iteration=-1))


def trees(model: Any) -> str:
    return text(model).partition("\nparameters:")[0]


def load(checkpoint: Checkpoint | None, filename: str = MODEL) -> Any:
    assert checkpoint is not None
    return lgb.Booster(model_file=Path(checkpoint.path, filename))


def checkpoint_of(model: Any, directory: Path, filename: str = MODEL) -> Checkpoint:
    directory.mkdir(exist_ok=True)
    model.save_model(directory / filename, num_iteration=-1)
    return Checkpoint.from_directory(directory)


class Recorder:
    """A callback of the user's own: notes what it is told, and may end the training."""

    def __init__(self, stop_after: int = -1, order: int | None = None, before: bool = False) -> None:
        self.seen: list[tuple[int, int, int]] = []
        self.models: list[Any] = []
        self.stop_after, self.before_iteration = stop_after, before
        if order is not None:
            self.order = order

    def __call__(self, env: Any) -> None:
        self.seen.append((env.iteration, env.begin_iteration, env.end_iteration))
        self.models.append(env.model)
        if len(self.seen) == self.stop_after:
            raise lgb.EarlyStopException(env.iteration, env.evaluation_result_list)
