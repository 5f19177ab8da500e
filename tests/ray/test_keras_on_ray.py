"""Keras on the real engine: the script as it is, under HyperBand and under population based training."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")  # before anything imports Keras; workers take it over

import pytest

import tune_plugins as tune
from tune_plugins.results import ResultGrid
from tune_plugins.schedulers import HyperBandScheduler, PopulationBasedTraining

Fit = Callable[..., ResultGrid]
EPOCHS = 9


def data() -> tuple[Any, Any]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.data[:300].astype("float32") / 16, digits.target[:300]


def train(config: dict[str, Any]) -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    from tune_plugins.integrations.keras import TuneReportCheckpointCallback

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((64,)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dropout(0.1),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    optimizer = keras.optimizers.SGD(config["lr"], momentum=config["momentum"])
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = data()
    model.fit(
        *(x[:200], y[:200]),
        epochs=EPOCHS,
        validation_data=(x[200:], y[200:]),
        verbose=0,
        callbacks=[TuneReportCheckpointCallback()],
    )


def epochs_of(result: Any) -> list[int]:
    return [int(i) for i in result.metrics_dataframe["training_iteration"]]


def test_hyperband_works_on_the_script_as_it_is(fit: Fit) -> None:
    grid = fit(
        train,
        {"lr": {"grid_search": [1e-5, 0.3, 1e-3, 0.1, 1e-4, 0.03, 0.003, 1e-2, 3e-5]}, "momentum": 0.5},
        metric="val_loss",
        mode="min",
        seed=1,
        max_resident_trials=0,  # what is paused leaves its process, and goes on from its checkpoint
        scheduler=HyperBandScheduler(max_t=EPOCHS, reduction_factor=3),
    )
    assert not grid.errors
    for result in grid:
        # Each epoch is reported once and in order, also by a trial that was paused and went on from a checkpoint.
        assert epochs_of(result) == list(range(1, len(epochs_of(result)) + 1))
        assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(result.metrics)
    assert any(decision.action == "PAUSE" for decision in grid.decisions)
    reached = [result.metrics["training_iteration"] for result in grid]
    assert max(reached) == EPOCHS and min(reached) < EPOCHS
    assert grid.get_best_result().config["lr"] >= 0.03


@pytest.mark.parametrize("momentum", [False, True])
def test_population_exploits_in_place(fit: Fit, momentum: bool, tmp_path: Path) -> None:
    if momentum and os.environ["KERAS_BACKEND"] == "jax":
        pytest.skip("the compiled step of JAX has the momentum built in")

    def counted(config: dict[str, Any]) -> None:
        with open(tmp_path / tune.get_context().get_trial_id(), "a") as entries:
            entries.write("entered\n")
        train(config)

    mutations = {"lr": tune.loguniform(1e-3, 0.3), **({"momentum": tune.uniform(0.1, 0.9)} if momentum else {})}
    results = fit(
        counted,
        {"lr": {"grid_search": [1e-5, 0.1]}, "momentum": 0.5},
        metric="val_loss",
        mode="min",
        seed=1,
        num_to_keep=2,
        scheduler=PopulationBasedTraining(
            "training_iteration", perturbation_interval=3, hyperparam_mutations=mutations, synch=True
        ),
    )
    assert not results.errors and [r.metrics["training_iteration"] for r in results] == [EPOCHS] * 2
    done = [d for d in results.decisions if d.action in ("IN_PLACE", "RESTART")]
    assert done and all(d.action == "IN_PLACE" for d in done), results[0].explain()
    assert any("'lr'" in d.reason and "applied" in d.reason for d in done), results[0].explain()
    for result in results:
        assert (tmp_path / result.trial_id).read_text() == "entered\n", "the function was entered once"
        epochs = epochs_of(result)
        assert epochs == list(range(1, EPOCHS + 1)) or any(b <= a for a, b in pairwise(epochs))
    worse = results[0]
    assert worse.config["lr"] > 1e-4 and worse.metrics["val_loss"] < 2.0, "it went on from the better one"
