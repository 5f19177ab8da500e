"""What tuning adds to real training: 64 trials of 200 XGBoost rounds, each reported, beside a plain process pool."""

from __future__ import annotations

import functools
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.engine import CORES, Engine
from benchmarks.registry import AtMostTimes, Benchmark, Job, Row, Side

ROWS, FEATURES, HELD_OUT = 1_500, 16, 300
ROUNDS = 200


@functools.cache
def arrays() -> tuple[Any, Any]:
    """Features (float32, rows x features) and binary labels, the same on every side; made once a process."""
    import numpy as np

    rng = np.random.default_rng(0)
    features = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    signal = features[:, 0] * features[:, 1] + np.sin(2 * features[:, 2]) + 0.5 * features[:, 3:8].sum(axis=1)
    labels = (signal + rng.normal(size=ROWS) > 0).astype(np.int8)
    return features, labels


def parameters(index: int) -> dict[str, Any]:
    """Hyper-parameters of trial number `index`, the same on every side."""
    rng = random.Random(index)
    return {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "tree_method": "hist",
        "nthread": 1,
        "seed": index,
        "max_depth": rng.randint(3, 6),
        "eta": 10 ** rng.uniform(-2.0, -0.5),
        "min_child_weight": rng.uniform(1.0, 10.0),
        "subsample": rng.uniform(0.6, 1.0),
    }


def train(index: int, rounds: int, callbacks: list[Any]) -> Any:
    """One training, as a user's script has it; returns the booster."""
    import xgboost

    features, labels = arrays()
    training = xgboost.DMatrix(features[HELD_OUT:], labels[HELD_OUT:], nthread=1)
    held_out = xgboost.DMatrix(features[:HELD_OUT], labels[:HELD_OUT], nthread=1)
    return xgboost.train(
        parameters(index),
        training,
        num_boost_round=rounds,
        evals=[(held_out, "eval")],
        callbacks=callbacks,
        verbose_eval=False,
    )


def tuned(
    engine: Engine, *, trials: int, warm_up_trials: int, warm_up_rounds: int, options: Mapping[str, Any]
) -> dict[str, float]:
    """Time the trainings as trials with the engine's own XGBoost callback, which also saves the final model."""
    tune = engine.tune
    callback: Callable[..., Any] = engine.adapter("xgboost").TuneReportCheckpointCallback

    def trainable(config: dict[str, Any]) -> None:
        train(config["index"], config["rounds"], [callback(metrics=["eval-logloss"])])

    def space(trials: int, rounds: int) -> dict[str, Any]:
        return {"index": tune.grid_search(list(range(trials))), "rounds": rounds}

    with engine.cluster():
        warm = space(warm_up_trials, warm_up_rounds)
        engine.fit(trainable, warm, trials=warm_up_trials, iterations=0, options=options)
        fit = engine.fit(trainable, space(trials, ROUNDS), trials=trials, iterations=0, options=options)
        _check([(result.metrics["training_iteration"], result.checkpoint is not None) for result in fit.grid])
    return {"wall_s": fit.wall_s, "ms_per_trial": fit.wall_s / trials * 1e3}


def _check(trials: list[tuple[int, bool]]) -> None:
    """Every trial must have reported its rounds (Ray Tune reports the last one twice) and kept its model."""
    reports = [count for count, _ in trials]
    if min(reports) < ROUNDS or max(reports) > ROUNDS + 1:
        raise RuntimeError(f"expected {ROUNDS} reports of every trial, got {min(reports)} to {max(reports)}.")
    if missing := sum(not kept for _, kept in trials):
        raise RuntimeError(f"{missing} of {len(trials)} trials kept no checkpoint.")


def in_pool(task: tuple[int, int, str]) -> float:
    """One training in a process of the pool; saves the final model; returns its own duration in seconds."""
    index, rounds, folder = task
    start = time.perf_counter()
    train(index, rounds, []).save_model(Path(folder) / f"model_{index}.ubj")
    return time.perf_counter() - start


def pooled(engine: Engine, *, trials: int, warm_up_trials: int) -> dict[str, float]:
    """Time the same trainings in a plain process pool that has them imported and loaded already."""
    spawn = multiprocessing.get_context("spawn")
    folder = str(engine.storage)
    with ProcessPoolExecutor(CORES, mp_context=spawn, initializer=arrays) as pool:
        list(pool.map(in_pool, [(index, ROUNDS, folder) for index in range(warm_up_trials)]))
        start = time.perf_counter()
        durations = list(pool.map(in_pool, [(index, ROUNDS, folder) for index in range(trials)]))
        wall_s = time.perf_counter() - start
    return {
        "wall_s": wall_s,
        "ms_per_trial": wall_s / trials * 1e3,
        "training_ms": statistics.median(durations) * 1e3,
    }


POOL = "process pool"
DEFAULT = "Ray Tune"
REUSE = "Ray Tune, reuse"
PEER_WARM_UP = {"warm_up_trials": 2, "warm_up_rounds": 2}

BENCHMARK = Benchmark(
    name="xgboost_rounds",
    title="64 trials x 200 XGBoost rounds with the callback, 2 slots",
    module=__name__,
    jobs=(
        Job(POOL, Side.BARE, "pooled", {"trials": 64, "warm_up_trials": 8}, quick={"trials": 16}),
        Job(
            "ours",
            Side.OURS,
            "tuned",
            {"trials": 64, "warm_up_trials": 8, "warm_up_rounds": ROUNDS, "options": {}},
            quick={"trials": 16},
        ),
        Job(
            DEFAULT,
            Side.RAY_TUNE,
            "tuned",
            {"trials": 8, **PEER_WARM_UP, "options": {"reuse_actors": False}},
            quick={"trials": 2},
            rounds=1,
        ),
        Job(
            REUSE,
            Side.RAY_TUNE,
            "tuned",
            {"trials": 8, **PEER_WARM_UP, "options": {"reuse_actors": True}},
            quick={"trials": 2},
            rounds=1,
        ),
    ),
    rows=(
        Row("64 trials x 200 XGBoost rounds", "wall_s", "s", peer=POOL, goal=AtMostTimes(1.10)),
        Row("... training alone, a trial", "training_ms", "ms", peer=POOL, ours=None),
        Row("... wall / trials", "ms_per_trial", "ms", peer=DEFAULT),
        Row("... wall / trials", "ms_per_trial", "ms", peer=REUSE),
    ),
)
