"""A user's scripts with the frameworks; see engine.py. What the frameworks themselves are is not looked at."""

from typing import Any

import keras
import lightgbm
import lightning
import torch
import transformers
import xgboost

import tune_plugins as tune
from tune_plugins.integrations import keras as tune_keras, lightgbm as tune_lightgbm, lightning as tune_lightning
from tune_plugins.integrations import torch as tune_torch, transformers as tune_transformers
from tune_plugins.integrations.xgboost import TuneReportCallback, TuneReportCheckpointCallback


def with_xgboost(config: dict[str, Any], data: xgboost.DMatrix) -> None:
    xgboost.train(
        config,
        data,
        evals=[(data, "train")],
        callbacks=[TuneReportCheckpointCallback({"loss": "train-logloss"}, frequency=5)],
    )
    TuneReportCallback(["train-logloss"], results_postprocessing_fn=lambda results: {"loss": min(results.values())})
    TuneReportCallback(metrics=3)  # wrong
    TuneReportCheckpointCallback(frequency="often")  # wrong
    TuneReportCheckpointCallback(every=5)  # wrong


def with_lightgbm(config: dict[str, Any], data: lightgbm.Dataset) -> None:
    lightgbm.train(config, data, callbacks=[tune_lightgbm.TuneReportCheckpointCallback("valid_0-loss", frequency=2)])
    tune_lightgbm.TuneReportCallback(metrics={"loss": 3})  # wrong


def with_keras(config: dict[str, Any], model: keras.Model) -> None:
    model.fit(epochs=3, callbacks=[tune_keras.TuneReportCheckpointCallback(checkpoint_on="train_batch_end")])
    tune_keras.TuneReportCallback(report_metrics_on="epoch_begin")  # wrong
    tune_keras.TuneReportCheckpointCallback(checkpoint_on="train_begin")  # wrong


def with_lightning(config: dict[str, Any], model: lightning.LightningModule) -> None:
    lightning.Trainer(callbacks=[tune_lightning.TuneReportCheckpointCallback(on=["validation_end", "train_end"])])
    tune_lightning.TuneReportCallback("loss", on="train_epoch_end")
    tune_lightning.TuneReportCallback("loss", on="epoch_end")  # wrong
    tune_lightning.TuneReportCallback(on=["validation_end", "test_end"])  # wrong


def with_torch(config: dict[str, Any], model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    state = tune_torch.TrainState(model=model, optimizer=optimizer, metrics=["loss"])
    for epoch in state.epochs(10):
        state.report(loss=1.0 / (epoch + 1))
    state.epocs(10)  # wrong
    tune_torch.TrainState(model=model, filename=3)  # wrong


def with_transformers(config: dict[str, Any], model: Any, arguments: transformers.TrainingArguments) -> None:
    transformers.Trainer(model, arguments, callbacks=[tune_transformers.TuneReportCheckpointCallback(on="epoch_end")])
    tune_transformers.TuneReportCallback(on="step_end")  # wrong


tune.Tuner(tune.with_parameters(with_xgboost, data=None), param_space={"eta": tune.loguniform(1e-3, 1.0)})

# By its full name, or by another one.
import tune_plugins.integrations.torch

tune_plugins.integrations.torch.TrainState(filename="state.pt")
tune_torch.TrainState(filename="state.pt")
names: list[str] = ["loss"]
renamed: dict[str, str] = {"loss": "train-logloss"}
TuneReportCallback(names)
TuneReportCallback(renamed)
