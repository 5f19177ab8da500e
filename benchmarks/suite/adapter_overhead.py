"""What the callbacks add to a training: the same one with and without the callback, in turn, in one process.

All trainings are trials of one tuning run that has one slot, so that the session is a real one: results travel to the
driver and are recorded. Half of the trials train without the callback: nothing of the engine is called between their
first and their last step. Trainings stand in the order A B B A, so that a machine that gets slower or faster meets both
alike. Both sides leave their final model in a file, as scripts do. Many short trainings and not a few long ones: a
shared machine gets slower and faster by 10 per cent and more within seconds, and only trainings that follow closely on
each other meet the same.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import digits
from benchmarks.engine import Engine
from benchmarks.registry import AtMost, Benchmark, Job, Row, Side
from benchmarks.suite import xgboost_rounds


def xgboost(callbacks: list[Any], rounds: int) -> Callable[[Path], None]:
    """Boosting rounds; returns how the model is saved."""
    booster = xgboost_rounds.train(0, rounds, callbacks)
    return lambda folder: booster.save_model(folder / "model.ubj")


def keras(callbacks: list[Any], rounds: int) -> Callable[[Path], None]:
    """Epochs on digits."""
    model = digits.train_keras(rounds, callbacks)
    return lambda folder: model.save_weights(folder / "model.weights.h5")


def lightning(callbacks: list[Any], rounds: int) -> Callable[[Path], None]:
    """Epochs on digits."""
    trainer = digits.train_lightning({"lr": 0.05, "momentum": 0.9}, rounds, callbacks)
    return lambda folder: trainer.save_checkpoint(folder / "model.ckpt")


TRAININGS = {"xgboost": xgboost, "keras": keras, "lightning": lightning}
METRICS = {"xgboost": "eval-logloss", "keras": "loss", "lightning": "val_loss"}
"""By which trials are compared, and the best model of each is kept."""


def overhead(engine: Engine, *, framework: str, pairs: int, rounds: int) -> dict[str, float]:
    """Time `pairs` trainings with and as many without the callback, each of `rounds` rounds or epochs.

    Returns:
        Medians of one training of either kind in ms, and the median over the pairs of their ratio.
    """
    os.environ["KERAS_BACKEND"] = "torch"  # before anything imports Keras; workers take it over
    tune, training, storage = engine.tune, TRAININGS[framework], engine.storage
    callback_type, metric = engine.adapter(framework).TuneReportCheckpointCallback, METRICS[framework]

    def trainable(config: dict[str, Any]) -> dict[str, Any]:
        callbacks = [callback_type()] if config["callback"] else []
        start = time.perf_counter()
        save = training(callbacks, rounds)
        if not callbacks:
            save(storage)
        found = {"seconds": time.perf_counter() - start, "pid": os.getpid()}
        return found if callbacks else {**found, metric: 0.0}

    def fit(pairs: int) -> tuple[list[float], list[float]]:
        order = [pair % 2 == turn for pair in range(pairs) for turn in range(2)]
        space = {"callback": tune.grid_search(order)}
        best = {"metric": metric, "mode": "min"}
        grid = engine.fit(trainable, space, trials=2 * pairs, iterations=0, concurrent=1, options=best).grid
        if [result.metrics["training_iteration"] for result in grid] != [rounds if on else 1 for on in order]:
            raise RuntimeError("a training did not report its rounds.")
        if len({result.metrics["pid"] for result in grid}) != 1:
            raise RuntimeError("the trainings were not made in one process.")
        seconds = [(on, result.metrics["seconds"]) for on, result in zip(order, grid, strict=True)]
        return [s for on, s in seconds if on], [s for on, s in seconds if not on]

    with engine.cluster():
        fit(1)  # imports, and all that happens once
        with_callback, bare = fit(pairs)
    ratios = [a / b for a, b in zip(with_callback, bare, strict=True)]
    return {
        "ratio": statistics.median(ratios),
        "callback_ms": statistics.median(with_callback) * 1e3,
        "bare_ms": statistics.median(bare) * 1e3,
    }


XGBOOST, KERAS, LIGHTNING = "XGBoost", "Keras", "Lightning"

BENCHMARK = Benchmark(
    name="adapter_overhead",
    title="Training with the callback beside the same one without, in one process",
    module=__name__,
    jobs=(
        Job(XGBOOST, Side.OURS, "overhead", {"framework": "xgboost", "pairs": 40, "rounds": 200}, quick={"pairs": 10}),
        Job(KERAS, Side.OURS, "overhead", {"framework": "keras", "pairs": 40, "rounds": 2}, quick={"pairs": 2}),
        Job(LIGHTNING, Side.OURS, "overhead", {"framework": "lightning", "pairs": 50, "rounds": 3}, quick={"pairs": 2}),
    ),
    rows=(
        Row("200 XGBoost rounds, with the callback", "ratio", "x bare", ours=XGBOOST, goal=AtMost(1.05)),
        Row("2 Keras epochs on digits, with the callback", "ratio", "x bare", ours=KERAS, goal=AtMost(1.03)),
        Row("3 Lightning epochs on digits, with the callback", "ratio", "x bare", ours=LIGHTNING, goal=AtMost(1.03)),
    ),
)
