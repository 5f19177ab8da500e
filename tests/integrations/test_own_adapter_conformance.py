"""The conformance suite for adapters, with the one in examples/ for a framework of one's own."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from tune_plugins import Checkpoint
from tune_plugins.errors import ArgumentError
from tune_plugins.testing import RecordingSession
from tune_plugins.testing.adapters import AdapterConformance, Script

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
if str(EXAMPLES) not in sys.path:
    sys.path.append(str(EXAMPLES))

import own_adapter  # noqa: E402
import own_framework  # noqa: E402

RANDOM = np.random.default_rng(3)
X = RANDOM.random((80, 4))
Y = (X[:, 0] + X[:, 1] > 1).astype(int)
TRAIN, HELD_OUT = (X[:60], Y[:60]), (X[60:], Y[60:])


class Watch(own_framework.Callback):
    """What a user's own callback sees."""

    def __init__(self, script: Script) -> None:
        self.script = script

    def on_epoch_end(self, trainer: Any, logs: dict[str, float]) -> None:
        self.script.models.append(trainer.model)
        for name, value in logs.items():
            self.script.history.setdefault(name, []).append(value)


class NanOnce(own_framework.Callback):
    """The first metric is NaN in epoch 2, for the callbacks behind."""

    def on_epoch_end(self, trainer: Any, logs: dict[str, float]) -> None:
        if trainer.epoch == 2:
            logs["loss"] = float("nan")


def new_trainer(config: Mapping[str, Any]) -> Any:
    return own_framework.Trainer(own_framework.Model(config["features"], 2), config["lr"], config["momentum"], seed=5)


class TestOwnAdapter(AdapterConformance):
    module = "own_adapter"
    adapters = (own_adapter.TuneReportCheckpointCallback, own_adapter.TuneReportCallback)
    framework = "own_framework"
    label = "one's own (example)"
    config: ClassVar[Mapping[str, Any]] = {"lr": 0.5, "momentum": 0.9, "features": 4, "batch_size": 16}
    live: ClassVar[Mapping[str, Any]] = {**config, "lr": 0.1, "momentum": 0.5}
    entering: ClassVar[Mapping[str, Any]] = {**config, "batch_size": 20}
    reshaped: ClassVar[Mapping[str, Any]] = {**config, "features": 3}
    metrics = ("loss", "accuracy")

    def train(self, script: Script) -> Any:
        adapter = own_adapter.TuneReportCheckpointCallback if script.saves else own_adapter.TuneReportCallback
        trainer = new_trainer(script.config)
        callbacks = [*([NanOnce()] if script.nan else []), Watch(script), adapter(**script.adapter)]
        trainer.fit(TRAIN, HELD_OUT, script.iterations, script.config["batch_size"], callbacks)
        script.ended += 1
        return trainer

    def train_alone(self, config: Mapping[str, Any], iterations: int) -> Any:
        trainer = new_trainer(config)
        trainer.fit(TRAIN, HELD_OUT, iterations, config["batch_size"])
        return trainer

    def go_on_alone(self, config: Mapping[str, Any], iterations: int, directory: Path, at: int) -> Any:
        trainer = new_trainer(config)
        trainer.load(directory / "state.npz")
        trainer.fit(TRAIN, HELD_OUT, iterations, config["batch_size"])
        return trainer

    def state(self, model: Any) -> Any:
        return {"weights": model.model.weights, "velocity": model.velocity, "predictions": model.model.predict(X)}

    def predictions(self, checkpoint: Checkpoint, config: Mapping[str, Any]) -> Any:
        return own_adapter.TuneReportCheckpointCallback.get_model(checkpoint).predict(X)


def test_common_arguments_are_checked_and_a_pair_acts_as_one() -> None:
    """Without a line in the adapter."""
    with pytest.raises(ArgumentError) as caught:
        own_adapter.TuneReportCheckpointCallback(metrics=3, filename="a/b", frequency=-1, checkpoint_at_end="no")
    assert len(caught.value.mistakes) == 4 and "ending in .npz" in str(caught.value)
    trainer = new_trainer(TestOwnAdapter.config)
    with RecordingSession() as session:
        pair = [own_adapter.TuneReportCallback(), own_adapter.TuneReportCheckpointCallback()]
        trainer.fit(TRAIN, HELD_OUT, 2, callbacks=pair)
    assert session.iterations == [1, 2] and list(session.checkpoints) == [2]
    both = [own_adapter.TuneReportCheckpointCallback(), own_adapter.TuneReportCheckpointCallback()]
    trainer = new_trainer(TestOwnAdapter.config)
    with RecordingSession(), pytest.raises(ArgumentError, match="expected one callback that saves"):
        trainer.fit(TRAIN, HELD_OUT, 2, callbacks=both)
    assert trainer.epoch == 0
