"""The model that comes back, in cases of public reports: early stopping, averaged copies, modules of many shapes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightgbm
import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import xgboost
from catboost import CatBoostClassifier
from lightning.pytorch.callbacks import EMAWeightAveraging
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import log_loss, roc_auc_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tune_plugins as tune
from tune_plugins.errors import ArgumentError
from tune_plugins.integrations import catboost as catboost_adapter
from tune_plugins.integrations import lightgbm as lightgbm_adapter
from tune_plugins.integrations import lightning as lightning_adapter
from tune_plugins.integrations import xgboost as xgboost_adapter

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
X, Y = load_breast_cancer(return_X_y=True)
X = X + np.random.default_rng(0).normal(size=X.shape) * X.std(0) * 3
TRAIN, TEST = slice(0, 300), slice(300, None)


def run(train: Any, folder: Path, metric: str, mode: Any, space: Any = None) -> tune.Result:
    tuner = tune.Tuner(
        train,
        param_space=space,
        tune_config=tune.TuneConfig(metric=metric, mode=mode),
        run_config=tune.RunConfig(storage_path=folder, verbose=0, runtime="inline"),
    )
    return tuner.fit()[0]


def auc(model: Any) -> float:
    data = xgboost.DMatrix(X[TEST]) if isinstance(model, xgboost.Booster) else X[TEST]
    return float(roc_auc_score(Y[TEST], model.predict(data)))


@pytest.mark.parametrize(
    ("booster", "options"),
    [
        ("gbtree", {"early_stopping_rounds": 5}),
        ("gbtree", {"callbacks": [xgboost.callback.EarlyStopping(5, save_best=True)]}),
        ("gblinear", {"early_stopping_rounds": 3, "updater": "coord_descent"}),  # dmlc/xgboost#10893
        ("dart", {"rate_drop": 0.5}),
    ],
)
def test_best_and_last_booster_of_xgboost(tmp_path: Path, booster: str, options: dict[str, Any]) -> None:
    """The score listed is that of the model that comes back (ray-project/ray#20267, dmlc/xgboost#8868, #4052)."""

    def train(config: dict[str, Any]) -> None:
        own = [*options.get("callbacks", ()), xgboost_adapter.TuneReportCheckpointCallback()]
        arguments = {"eval_metric": "auc", "learning_rate": 0.7, "n_estimators": 12, "n_jobs": 1, "max_depth": 3}
        model = xgboost.XGBClassifier(**{**arguments, "booster": booster, **options, "callbacks": own})
        model.fit(X[TRAIN], Y[TRAIN], eval_set=[(X[TEST], Y[TEST])], verbose=0)

    result = run(train, tmp_path, "validation_0-auc", "max")
    history = result.metrics_dataframe["validation_0-auc"]
    assert auc(result.get_best_checkpoint().load_model()) == pytest.approx(history.max(), abs=1e-5)
    assert auc(result.load_model()) == pytest.approx(result.metrics["validation_0-auc"], abs=1e-5)


@pytest.mark.parametrize("boosting", ["gbdt", "dart", "goss", "rf"])
def test_best_and_last_booster_of_lightgbm(tmp_path: Path, boosting: str) -> None:
    def train(config: dict[str, Any]) -> None:
        bagging = {"subsample": 0.5, "subsample_freq": 1} if boosting == "rf" else {}
        model = lightgbm.LGBMClassifier(
            n_estimators=20, learning_rate=0.5, boosting_type=boosting, verbose=-1, n_jobs=1, **bagging
        )
        callbacks = [lightgbm_adapter.TuneReportCheckpointCallback()]
        if boosting == "gbdt":
            callbacks.append(lightgbm.early_stopping(5, verbose=False))
        model.fit(X[TRAIN], Y[TRAIN], eval_set=[(X[TEST], Y[TEST])], eval_metric="auc", callbacks=callbacks)

    result = run(train, tmp_path, "valid_0-auc", "max")
    history = result.metrics_dataframe["valid_0-auc"]
    assert auc(result.get_best_checkpoint().load_model()) == pytest.approx(history.max(), abs=1e-9)
    assert auc(result.load_model()) == pytest.approx(history.iloc[-1], abs=1e-9)


class Module(pl.LightningModule):
    """Loss 0 in its second epoch only; keeps a value of its own in its checkpoints, as averaged weights are kept."""

    def __init__(self, width: int = 4, lr: float = 0.1, criterion: Any = None) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["criterion"])
        self.net, self.kept, self.criterion = nn.Linear(2, width), -1, criterion or nn.MSELoss()

    def training_step(self, batch: Any, index: int) -> Any:
        return self.criterion(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", float(self.current_epoch != 1))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["kept"] = self.current_epoch

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.kept = checkpoint["kept"]

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams.get("lr", 0.1))


class LateModule(Module):
    """Makes its layers in `configure_model`."""

    def __init__(self, width: int = 4) -> None:
        super().__init__(width)
        self.net = None

    def configure_model(self) -> None:
        if self.net is None:
            self.net = nn.Linear(2, self.hparams["width"])


class ConfigModule(Module):
    """Gets the whole config, as many scripts do (Lightning-AI/pytorch-lightning#525)."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config["width"])
        self.save_hyperparameters()


class NeedyModule(Module):
    """Gets what is no hyper-parameter, and saves none."""

    def __init__(self, width: int, criterion: Any) -> None:
        pl.LightningModule.__init__(self)
        self.net, self.kept, self.criterion = nn.Linear(2, width), -1, criterion


def lightning_trial(make: Any) -> Any:
    def train(config: dict[str, Any]) -> None:
        data = TensorDataset(torch.randn(8, 2), torch.randn(8, config["width"]))
        trainer = pl.Trainer(
            max_epochs=4,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="cpu",
            callbacks=[lightning_adapter.TuneReportCheckpointCallback()],
        )
        trainer.fit(make(config), DataLoader(data), DataLoader(data))

    return train


@pytest.mark.parametrize(
    ("make", "builders"),
    [
        (lambda c: Module(c["width"]), [Module, lambda c: Module(c["width"]), Module(3)]),
        (lambda c: LateModule(c["width"]), [LateModule, lambda c: LateModule(c["width"])]),
        (ConfigModule, [ConfigModule]),
        (lambda c: NeedyModule(c["width"], nn.MSELoss()), [lambda c: NeedyModule(c["width"], nn.MSELoss())]),
    ],
)
def test_modules_of_lightning(tmp_path: Path, make: Any, builders: list[Any]) -> None:
    """What a module keeps in its checkpoints is of the same epoch as its weights."""
    result = run(lightning_trial(make), tmp_path, "val_loss", "min", {"width": 3})
    for build in builders:
        best = result.get_best_checkpoint().load_model(build)
        assert best.kept == 2 and best.net.weight.shape == (3, 2)
        last = result.load_model(build)
        assert (last.kept == 4 and not torch.equal(best.net.weight, last.net.weight)) or best is last
    if builders[0] is not ConfigModule and len(builders) == 1:
        with pytest.raises(
            ArgumentError, match=r"'NeedyModule' needs 'width', 'criterion', and the config has 'width'"
        ):
            result.load_model(NeedyModule)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"model_shrink_rate": 0.1},
        {"model_shrink_rate": 0.1, "model_shrink_mode": "Decreasing"},
        {"langevin": True, "diffusion_temperature": 1000},
    ],
)
def test_best_model_of_catboost_is_never_a_wrong_one(tmp_path: Path, params: dict[str, Any]) -> None:
    """Where each round weighs those before it anew, the first rounds are not taken for the earlier model."""

    def train(config: dict[str, Any]) -> None:
        model = CatBoostClassifier(iterations=20, learning_rate=0.5, verbose=0, thread_count=1, **params)
        callback = catboost_adapter.TuneReportCheckpointCallback()
        model.fit(X[TRAIN], Y[TRAIN], eval_set=(X[TEST], Y[TEST]), callbacks=[callback])

    result = run(train, tmp_path, "validation-Logloss", "min")
    history = result.metrics_dataframe["validation-Logloss"]

    def loss(model: Any) -> float:
        return float(log_loss(Y[TEST], model.predict_proba(X[TEST])))

    assert loss(result.load_model()) == pytest.approx(history.iloc[-1], rel=1e-6)
    expected = history.iloc[-1] if params else history.min()
    assert loss(result.get_best_checkpoint().load_model()) == pytest.approx(expected, rel=1e-6)


class Line(pl.LightningModule):
    """Its one weight grows; the loss is its distance to 2.5 times the learning rate."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Any, index: int) -> Any:
        return -self.weight.sum()

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", float((self.weight.detach() - 2.5).abs()))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.25)


def grow(trainer_options: dict[str, Any], *callbacks: Any, epochs: int = 6) -> Any:
    """Four batches an epoch: the weight grows by 1."""

    def train(config: dict[str, Any]) -> None:
        data = TensorDataset(torch.zeros(4, 1))
        trainer = pl.Trainer(
            max_epochs=epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="cpu",
            callbacks=[*(callback() for callback in callbacks), lightning_adapter.TuneReportCheckpointCallback()],
            **trainer_options,
        )
        trainer.fit(Line(), DataLoader(data), DataLoader(data))

    return train


class EndAfter(pl.Callback):
    """Ends the training behind its third epoch, between two validations."""

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        trainer.should_stop = trainer.current_epoch == 2


class Averaging(EMAWeightAveraging):
    """Validated is an average."""

    def __init__(self) -> None:
        super().__init__(decay=0.5)


@pytest.mark.parametrize(
    ("options", "callbacks"),
    [
        ({}, ()),
        ({"val_check_interval": 0.75}, ()),
        ({"check_val_every_n_epoch": 2}, (EndAfter,)),
        ({}, (Averaging,)),
    ],
)
def test_the_best_module_is_the_one_that_was_validated(
    tmp_path: Path, options: dict[str, Any], callbacks: tuple[Any, ...]
) -> None:
    """Inside of an epoch; with an end behind the last validation; by averaged weights."""
    result = run(grow(options, *callbacks), tmp_path, "val_loss", "min")
    best = result.get_best_checkpoint().load_model(Line)
    assert abs(best.weight.item() - 2.5) == pytest.approx(result.metrics_dataframe["val_loss"].min(), abs=1e-6)
