"""The Keras adapter in the conformance suite, on PyTorch and on JAX.

The back end of Keras is fixed when it is imported: the suite of the one that this process has runs here, that of the
other runs in a process of its own, and each of its cases passes here if it has passed there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

os.environ.setdefault("KERAS_BACKEND", "torch")

import json
import random

import keras
import numpy as np
import pytest

from tune_plugins import Checkpoint
from tune_plugins.integrations.keras import TuneReportCallback, TuneReportCheckpointCallback
from tune_plugins.testing.adapters import AdapterConformance, Script

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras with NumPy 2
HERE = keras.backend.backend()
OTHER = "jax" if HERE == "torch" else "torch"

_random = np.random.default_rng(0)
X = _random.normal(size=(48, 6)).astype("float32")
Y = (X.sum(1) > 0).astype("int32") + (X[:, 0] > 1)
TRAIN, VALID = slice(0, 32), slice(32, None)


def build(config: Mapping[str, Any], nan: bool = False) -> Any:
    """A model with all that has a state: dropout, batch normalisation, momentum, data that are shuffled."""
    keras.utils.set_random_seed(11)
    model = keras.Sequential(
        [
            keras.layers.Input((6,)),
            keras.layers.Dense(config["units"], activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    optimizer = keras.optimizers.SGD(config["lr"], momentum=config["momentum"], weight_decay=config["weight_decay"])
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def fit(model: Any, epochs: int, *callbacks: Any, **options: Any) -> Any:
    return model.fit(
        X[TRAIN],
        Y[TRAIN],
        epochs=epochs,
        batch_size=8,
        validation_data=(X[VALID], Y[VALID]),
        verbose=0,
        callbacks=list(callbacks),
        **options,
    )


class Notes(keras.callbacks.Callback):
    """Notes the live model, and spoils a metric if told to."""

    def __init__(self, script: Script, metric: str) -> None:
        super().__init__()
        self.script, self.metric = script, metric

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.script.models.append(self.model)
        if self.script.nan and epoch == 1:
            logs[self.metric] = float("nan")


NO_COUNTER = "Keras' loop counter cannot be set: from the state of another epoch it goes on by a new entry."


class KerasConformance(AdapterConformance):
    module = "tune_plugins.integrations.keras"
    adapters = (TuneReportCheckpointCallback, TuneReportCallback)
    framework, extra = "keras", "keras"
    config: ClassVar[dict[str, Any]] = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "units": 8}
    entering: ClassVar[dict[str, Any]] = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "units": 8, "batch": 16}
    reshaped: ClassVar[dict[str, Any]] = {**config, "units": 12}
    metrics = ("loss", "accuracy", "val_loss", "val_accuracy")
    declared: ClassVar[dict[str, str]] = {
        "exploit_from_another_iteration": NO_COUNTER,
        "exploit_from_a_donor_ahead": NO_COUNTER,
    }

    def train(self, script: Script) -> Any:
        model = build(script.config)
        callback = (TuneReportCheckpointCallback if script.saves else TuneReportCallback)(**script.adapter)
        record = fit(model, script.iterations, Notes(script, self.metrics[0]), callback)
        script.ended += 1
        script.history |= record.history
        return model

    def train_alone(self, config: Mapping[str, Any], iterations: int) -> Any:
        model = build(config)
        fit(model, iterations)
        return model

    def go_on_alone(self, config: Mapping[str, Any], iterations: int, directory: Path, at: int) -> Any:
        model = build(config)
        model.optimizer.build(model.trainable_variables)
        model.load_weights(directory / "model.weights.h5")
        model.optimizer.learning_rate = config["lr"]
        # What Keras' weights file lacks: the states of dropout and of the shuffling.
        saved = json.loads((directory / "training_state.json").read_text())
        assert saved["epoch"] == at
        (dropout,) = saved["seed_generators"]
        next(v for v in model.variables if v.name == "seed_generator_state").assign(np.array(dropout, "uint32"))
        generators = saved["generators"]

        def set_generators(logs: Any = None) -> None:
            random.setstate((generators["python"][0], tuple(generators["python"][1]), generators["python"][2]))
            np.random.set_state(tuple(generators["numpy"]))
            if HERE == "torch":
                import torch

                torch.set_rng_state(torch.tensor(list(bytes.fromhex(generators["torch"])), dtype=torch.uint8))

        # In `fit`, since building the metrics there takes a first batch from the data and shuffles for it.
        fit(model, iterations, keras.callbacks.LambdaCallback(on_train_begin=set_generators), initial_epoch=at)
        return model

    def state(self, model: Any) -> Any:
        arrays = [keras.ops.convert_to_numpy(v) for v in (*model.weights, *model.optimizer.variables)]
        return {"variables": arrays, "predictions": model.predict(X[VALID], verbose=0)}

    def predictions(self, checkpoint: Checkpoint, config: Mapping[str, Any]) -> Any:
        return checkpoint.load_model(build, config=config).predict(X[VALID], verbose=0)


LABELS = {"torch": "Keras (PyTorch)", "jax": "Keras (JAX)"}
# A step that is compiled has the attributes of the optimizer built in; the learning rate is a variable.
LIVE = {
    "torch": {"lr": 0.03, "momentum": 0.8, "weight_decay": 0.02, "units": 8},
    "jax": {"lr": 0.03, "momentum": 0.9, "weight_decay": 0.01, "units": 8},
}


def elsewhere(backend: str) -> type[AdapterConformance]:
    """The suite on a back end that this process does not have: a process that has it runs the cases."""
    name = f"TestKeras{backend.capitalize()}"

    def case(test: str) -> Callable[..., None]:
        def method(self: Any, other_back_end: Mapping[str, Mapping[str, str]]) -> None:
            outcomes = other_back_end.get(f"{Path(__file__).stem}.{name}", {})
            failed = {key: said for key, said in outcomes.items() if key.partition("[")[0] == test and said}
            assert any(key.partition("[")[0] == test for key in outcomes), f"{test} did not run"
            assert not failed, "\n".join(failed.values())

        method.__doc__ = getattr(AdapterConformance, test).__doc__
        return method

    cases = {test: case(test) for test in vars(AdapterConformance) if test.startswith("test_")}
    suite = {"label": LABELS[backend], "live": LIVE[backend]}
    return pytest.mark.slow(type(name, (KerasConformance,), {**suite, **cases, "__module__": __name__}))


@pytest.fixture(scope="session")
def other_back_end(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """{file or file.class: {case: why it did not pass, empty where it did}}: one process runs both files of Keras."""
    directory = tmp_path_factory.mktemp(OTHER)
    report = directory / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow and not one_back_end"]
    done = subprocess.run(
        [*command, f"--junitxml={report}", str(Path(__file__).with_name("test_keras.py")), __file__],
        env={
            **os.environ,
            "KERAS_BACKEND": OTHER,
            # The cases make the same model again and again: compile it once.
            "JAX_COMPILATION_CACHE_DIR": str(directory / "jax"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        },
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.exists(), done.stdout + done.stderr
    outcomes: dict[str, dict[str, str]] = {}
    for one in ElementTree.parse(report).getroot().iter("testcase"):
        where = one.attrib["classname"].partition("tests.integrations.")[2]
        outcomes.setdefault(where, {})[one.attrib["name"]] = "\n".join(part.text or part.tag for part in one)
    return outcomes


def here(backend: str) -> type[AdapterConformance]:
    space = {"label": LABELS[backend], "live": LIVE[backend], "__module__": __name__}
    return type(f"TestKeras{backend.capitalize()}", (KerasConformance,), space)


TestKerasTorch = (here if HERE == "torch" else elsewhere)("torch")
TestKerasJax = (here if HERE == "jax" else elsewhere)("jax")


@pytest.mark.slow
def test_the_cases_of_the_adapter_on_the_other_back_end(other_back_end: Mapping[str, Mapping[str, str]]) -> None:
    """Those of test_keras.py that depend on it."""
    outcomes = other_back_end["test_keras"]
    assert len(outcomes) > 40
    assert not any(outcomes.values()), "\n".join(outcomes.values())
