"""The conformance suite for adapters, with XGBoost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import xgboost as xgb
from sklearn.datasets import load_breast_cancer

from tune_plugins import Checkpoint
from tune_plugins.integrations.xgboost import TuneReportCallback, TuneReportCheckpointCallback
from tune_plugins.testing.adapters import AdapterConformance, Script

X, Y = load_breast_cancer(return_X_y=True)
FIXED = {"objective": "binary:logistic", "eval_metric": ["logloss", "auc"], "nthread": 1, "seed": 7}
MODEL = "model.ubj"


def matrices() -> tuple[Any, Any]:
    return xgb.DMatrix(X[:200], Y[:200]), xgb.DMatrix(X[200:300], Y[200:300])


class Watch(xgb.callback.TrainingCallback):
    """What a user's own callback sees: the model."""

    def __init__(self, models: list[Any]) -> None:
        super().__init__()
        self.models = models

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        self.models.append(model)
        return False


class NanOnce:
    """A metric of the user's own, which replaces the log loss: NaN in round 2."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, predictions: Any, data: Any) -> tuple[str, float]:
        self.calls += 1
        return "logloss", float("nan") if self.calls == 2 else 0.5


class TestXGBoost(AdapterConformance):
    module = "tune_plugins.integrations.xgboost"
    adapters = (TuneReportCheckpointCallback, TuneReportCallback)
    framework = extra = "xgboost"
    label = "XGBoost"
    iterations = 6
    config: ClassVar[Mapping[str, Any]] = {
        "eta": 0.3,
        "max_depth": 3,
        "subsample": 0.5,
        "lambda": 1.0,
        "colsample_bytree": 0.5,
        "tree_method": "hist",
    }
    live: ClassVar[Mapping[str, Any]] = {
        "eta": 0.1,
        "max_depth": 4,
        "subsample": 0.6,
        "lambda": 3.0,
        "colsample_bytree": 0.7,
        "tree_method": "hist",
    }
    entering: ClassVar[Mapping[str, Any]] = {**config, "tree_method": "approx"}
    reshaped: ClassVar[Mapping[str, Any]] = {**config, "booster": "dart"}
    metrics = ("eval-logloss", "eval-auc")
    declared: ClassVar[Mapping[str, Any]] = {
        "exploit_from_another_iteration": "`xgboost.train` fixes its number of rounds when it begins: a donor that "
        "needs more rounds than are left cannot be taken to the end in it. One that is ahead can."
    }

    def train(self, script: Script) -> Any:
        training, held_out = matrices()
        adapter = (TuneReportCheckpointCallback if script.saves else TuneReportCallback)(**script.adapter)
        custom = {"custom_metric": NanOnce()} if script.nan else {}
        params = {**FIXED, **script.config}
        if script.nan:
            params |= {"eval_metric": "auc", "disable_default_eval_metric": 1}
        log: dict[str, Any] = {}
        model = xgb.train(
            params,
            training,
            num_boost_round=script.iterations,
            evals=[(held_out, "eval")],
            evals_result=log,
            verbose_eval=False,
            callbacks=[adapter, Watch(script.models)],
            **custom,
        )
        script.ended += 1
        script.history |= {f"eval-{name}": list(values) for name, values in log.get("eval", {}).items()}
        return model

    def train_alone(self, config: Mapping[str, Any], iterations: int) -> Any:
        return xgb.train({**FIXED, **config}, matrices()[0], iterations)

    def go_on_alone(self, config: Mapping[str, Any], iterations: int, directory: Path, at: int) -> Any:
        if at == iterations:
            return xgb.Booster(model_file=directory / MODEL)
        return xgb.train({**FIXED, **config}, matrices()[0], iterations - at, xgb_model=directory / MODEL)

    def state(self, model: Any) -> Any:
        return {
            "trees": model.get_dump(with_stats=True),
            "file": bytes(model.save_raw("ubj")),
            "predictions": predict(model),
        }

    def predictions(self, checkpoint: Checkpoint, config: Mapping[str, Any]) -> Any:
        return predict(checkpoint.load_model())


def predict(model: Any) -> np.ndarray:
    return np.asarray(model.predict(xgb.DMatrix(X[300:])))
