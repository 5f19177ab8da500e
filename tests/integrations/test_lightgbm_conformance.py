"""The conformance suite for adapters, with LightGBM."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import lightgbm as lgb
from sklearn.datasets import load_breast_cancer

from tune_plugins import Checkpoint
from tune_plugins.integrations.lightgbm import TuneReportCallback, TuneReportCheckpointCallback
from tune_plugins.testing.adapters import AdapterConformance, Script

X, Y = load_breast_cancer(return_X_y=True)
FIXED = {"objective": "binary", "num_threads": 1, "verbosity": -1, "seed": 7, "deterministic": True, "bagging_freq": 1}
METRICS = {"metric": ["binary_logloss", "auc"]}
MODEL = "model.txt"


def data_sets() -> tuple[lgb.Dataset, lgb.Dataset]:
    training = lgb.Dataset(X[:200], Y[:200])
    return training, lgb.Dataset(X[200:300], Y[200:300], reference=training)


class NanOnce:
    """A metric of the user's own, which replaces the log loss: NaN in round 2."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, predictions: Any, data: Any) -> tuple[str, float, bool]:
        self.calls += 1
        return "binary_logloss", float("nan") if self.calls == 2 else 0.5, False


class TestLightGBM(AdapterConformance):
    module = "tune_plugins.integrations.lightgbm"
    adapters = (TuneReportCheckpointCallback, TuneReportCallback)
    framework = extra = "lightgbm"
    label = "LightGBM"
    iterations = 6
    config: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 0.3,
        "num_leaves": 7,
        "bagging_fraction": 0.5,
        "feature_fraction": 0.5,
        "lambda_l2": 1.0,
        "max_bin": 63,
    }
    live: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 0.1,
        "num_leaves": 9,
        "bagging_fraction": 0.6,
        "feature_fraction": 0.7,
        "lambda_l2": 3.0,
        "max_bin": 63,
    }
    entering: ClassVar[Mapping[str, Any]] = {**config, "max_bin": 31}
    reshaped: ClassVar[Mapping[str, Any]] = {**config, "boosting": "dart"}
    metrics = ("eval-binary_logloss", "eval-auc")
    declared: ClassVar[Mapping[str, str]] = {
        "exploit_from_another_iteration": "`lightgbm.train` fixes its number of rounds when it begins: a donor that "
        "needs more rounds than are left cannot be taken to the end in it. One that is ahead can."
    }

    def train(self, script: Script) -> Any:
        training, held_out = data_sets()
        adapter = (TuneReportCheckpointCallback if script.saves else TuneReportCallback)(**script.adapter)
        metrics = {"metric": "auc"} if script.nan else METRICS
        log: dict[str, Any] = {}
        model = lgb.train(
            {**FIXED, **metrics, **script.config},
            training,
            num_boost_round=script.iterations,
            valid_sets=[held_out],
            valid_names=["eval"],
            feval=NanOnce() if script.nan else None,
            callbacks=[adapter, lgb.record_evaluation(log), lambda env: script.models.append(env.model)],
        )
        script.ended += 1
        script.history |= {f"eval-{name}": list(values) for name, values in log.get("eval", {}).items()}
        return model

    def train_alone(self, config: Mapping[str, Any], iterations: int) -> Any:
        return lgb.train({**FIXED, **METRICS, **config}, data_sets()[0], iterations)

    def go_on_alone(self, config: Mapping[str, Any], iterations: int, directory: Path, at: int) -> Any:
        if at == iterations:
            return lgb.Booster(model_file=directory / MODEL)
        params = {**FIXED, **METRICS, **config}
        return lgb.train(params, data_sets()[0], iterations - at, init_model=directory / MODEL)

    def state(self, model: Any) -> Any:
        return {"file": model.model_to_string(), "best": max(model.best_iteration, 0), "predictions": model.predict(X)}

    def predictions(self, checkpoint: Checkpoint, config: Mapping[str, Any]) -> Any:
        return checkpoint.load_model().predict(X)
