"""Forks of every framework, mixed, none of which may hang or compute something else than the first.

A short form always runs; ``TUNE_SOAK_FORKS=500 pytest tests/ray/test_fork_soak.py`` is the long one (half an hour).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import jax.numpy
import keras
import lightgbm
import lightning.pytorch
import numpy as np
import pytest
import sklearn.ensemble
import sklearn.linear_model
import torch
import xgboost
from torch import nn

import tune_plugins as tune

FORKS = int(os.environ.get("TUNE_SOAK_FORKS", "5"))


def _data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 8)).astype(np.float32)
    return features, (features[:, 0] * features[:, 1] > 0).astype(np.int32)


def _xgboost() -> float:
    x, y = _data()
    model = xgboost.train({"objective": "binary:logistic", "nthread": 2}, xgboost.DMatrix(x, y), 5)
    return float(model.predict(xgboost.DMatrix(x)).sum())


def _lightgbm() -> float:
    x, y = _data()
    parameters = {"objective": "binary", "verbose": -1, "num_threads": 2, "deterministic": True}
    return float(lightgbm.train(parameters, lightgbm.Dataset(x, y), 5).predict(x).sum())


def _sklearn() -> float:
    x, y = _data()
    forest = sklearn.ensemble.RandomForestClassifier(5, random_state=0, n_jobs=2).fit(x, y)
    linear = sklearn.linear_model.LogisticRegression().fit(x, y)
    return float(forest.predict_proba(x).sum() + linear.decision_function(x).sum())


class _Module(lightning.pytorch.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 1)

    def training_step(self, batch: Any, index: int) -> Any:
        x, y = batch
        return nn.functional.mse_loss(self.layer(x)[:, 0], y)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _lightning() -> float:
    x, y = _data()
    lightning.pytorch.seed_everything(0, verbose=False)
    module = _Module()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.pytorch.Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **quiet)
    data = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y).float())
    trainer.fit(module, torch.utils.data.DataLoader(data, 50))
    return float(module.layer.weight.sum())


def _keras() -> float:
    x, y = _data()
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, activation="relu"), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, y, epochs=1, verbose=0)
    return float(sum(abs(weight).sum() for weight in model.get_weights()))


def _jax() -> float:
    x, y = _data()
    gradient = jax.jit(jax.grad(lambda w: ((jax.numpy.tanh(x @ w) - y) ** 2).mean()))
    weights = jax.numpy.zeros(8)
    for _ in range(3):
        weights = weights - 0.1 * gradient(weights)
    return float(weights.sum())


WORK: dict[str, Callable[[], float]] = {
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "sklearn": _sklearn,
    "lightning": _lightning,
    "keras": _keras,
    "jax": _jax,
}


def _train(config: dict[str, Any]) -> dict[str, Any]:
    start = time.perf_counter()
    return {"value": WORK[config["work"]](), "seconds": time.perf_counter() - start}


@pytest.mark.parametrize("cpus", [1, 2], ids=["one thread", "two threads"])
def test_no_fork_is_lost_and_all_compute_the_same(fit: Any, cpus: int) -> None:
    names = sorted(WORK)
    space = {"number": tune.grid_search(list(range(FORKS))), "work": tune.grid_search(names)}
    trial = tune.with_resources(_train, {"cpu": cpus})
    grid = fit(trial, space, reuse_actors=False)
    assert not grid.errors, grid.errors[0]
    assert len(grid) == FORKS * len(names)
    for name in names:
        values = [result.metrics["value"] for result in grid if result.config["work"] == name]
        assert len(values) == FORKS and len(set(values)) == 1, (name, sorted(set(values)))
