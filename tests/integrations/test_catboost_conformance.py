"""The conformance suite for adapters, with CatBoost."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from catboost import CatBoostClassifier, CatBoostError
from sklearn.datasets import load_breast_cancer

from tune_plugins import Checkpoint
from tune_plugins.integrations.catboost import TuneReportCallback, TuneReportCheckpointCallback
from tune_plugins.testing.adapters import AdapterConformance, Script

X, Y = load_breast_cancer(return_X_y=True)
FIXED = {"thread_count": 1, "verbose": False, "random_seed": 7, "allow_writing_files": False}
MODEL = "model.cbm"


class NanOnce:
    """A metric of the user's own: NaN in round 2, of the held-out data, which come after the training data."""

    def __init__(self) -> None:
        self.calls = 0

    def evaluate(self, approxes: Any, target: Any, weight: Any) -> tuple[float, float]:
        self.calls += 1
        return float("nan") if self.calls == 4 else 0.5, 1.0

    def get_final_error(self, error: float, weight: float) -> float:
        return error

    def is_max_optimal(self) -> bool:
        return False


class Noting:
    """A callback of the user's own."""

    def __init__(self, model: Any, models: list[Any]) -> None:
        self.model, self.models = model, models

    def after_iteration(self, info: Any) -> bool:
        self.models.append(self.model)
        return True


class TestCatBoost(AdapterConformance):
    module = "tune_plugins.integrations.catboost"
    adapters = (TuneReportCheckpointCallback, TuneReportCallback)
    framework = extra = "catboost"
    label = "CatBoost"
    iterations = 6
    config: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 0.1,
        "depth": 3,
        "l2_leaf_reg": 3.0,
        "subsample": 0.5,
        "rsm": 0.5,
        "border_count": 63,
    }
    live: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 0.2,
        "depth": 4,
        "l2_leaf_reg": 5.0,
        "subsample": 0.6,
        "rsm": 0.7,
        "border_count": 63,
    }
    entering: ClassVar[Mapping[str, Any]] = {**config, "border_count": 31}
    reshaped: ClassVar[Mapping[str, Any]] = {**config, "grow_policy": "Lossguide"}
    metrics = ("validation-Logloss", "validation-AUC")

    def train(self, script: Script) -> Any:
        adapter = (TuneReportCheckpointCallback if script.saves else TuneReportCallback)(**script.adapter)
        metrics: dict[str, Any] = {"custom_metric": "AUC"}
        if script.nan:
            metrics = {"eval_metric": NanOnce()}
            adapter = (TuneReportCheckpointCallback if script.saves else TuneReportCallback)(
                {"validation-Logloss": "validation-NanOnce"}
            )
        model = CatBoostClassifier(**{**FIXED, **metrics, **script.config, "iterations": script.iterations})
        # CatBoost writes the metrics into the model that it makes in the end, in a format without NaN.
        with suppress(*([CatBoostError] if script.nan else [])):
            self.fit(model, callbacks=[adapter, Noting(model, script.models)])
        script.ended += 1
        for data, metrics in {} if script.nan else model.evals_result_.items():
            script.history |= {f"{data}-{name}": list(values) for name, values in metrics.items()}
        return model

    def train_alone(self, config: Mapping[str, Any], iterations: int) -> Any:
        return self.fit(CatBoostClassifier(**{**FIXED, **config, "custom_metric": "AUC", "iterations": iterations}))

    def go_on_alone(self, config: Mapping[str, Any], iterations: int, directory: Path, at: int) -> Any:
        if at == iterations:
            return CatBoostClassifier().load_model(directory / MODEL)
        params = {**FIXED, **config, "custom_metric": "AUC"}
        begun = directory / "init_model.cbm"  # what the snapshot's training began with
        start = {"init_model": begun} if begun.exists() else {}
        left = iterations - (CatBoostClassifier().load_model(begun).tree_count_ if start else 0)
        with tempfile.TemporaryDirectory() as folder:
            snapshot = Path(folder, "snapshot")
            shutil.copyfile(directory / "snapshot", snapshot)
            writing = {"allow_writing_files": True, "train_dir": folder, "iterations": left}
            try:
                model = CatBoostClassifier(**{**params, **writing})
                return self.fit(model, save_snapshot=True, snapshot_file=snapshot, **start)
            except CatBoostError as error:  # other parameters than the snapshot's
                assert "differ from the params saved in snapshot" in str(error)
        return self.fit(CatBoostClassifier(**params, iterations=iterations - at), init_model=directory / MODEL)

    def fit(self, model: Any, **options: Any) -> Any:
        return model.fit(X[:200], Y[:200], eval_set=(X[200:300], Y[200:300]), **options)

    def state(self, model: Any) -> Any:
        return {
            "trees": model.tree_count_,
            "leaves": model.get_leaf_values(),
            "scale": model.get_scale_and_bias(),
            "predictions": model.predict_proba(X),
        }

    def predictions(self, checkpoint: Checkpoint, config: Mapping[str, Any]) -> Any:
        return checkpoint.load_model().predict_proba(X)
