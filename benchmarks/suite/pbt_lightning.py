"""Population based training of a real model: 8 Lightning trainings on digits, an exploit every 2 epochs, two slots.

What it may cost is told by the same 8 trainings without an engine, two at a time in processes that have everything
imported: the time that they take together, divided by the slots. Ours is the second `fit` of a process, when its
workers are warm; the first one, which starts Ray and imports Lightning in each process of the population, stands
beside it. A trial that adopts a state which is ahead of its own skips epochs, so that the time is also judged by epoch
trained.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from benchmarks import digits
from benchmarks.engine import CORES, OURS, Engine
from benchmarks.registry import AtMostTimes, Benchmark, Job, Row, Side

TRIALS, EPOCHS, INTERVAL = 8, 20, 2


def configs() -> list[dict[str, float]]:
    """The hyper-parameters that the population begins with, the same on every side."""
    rng = random.Random(0)
    return [{"lr": 10 ** rng.uniform(-3.0, -1.0), "momentum": 0.8} for _ in range(TRIALS)]


def population(
    engine: Engine,
    *,
    epochs: int,
    options: Mapping[str, Any],
    cold: bool = True,
    warm: bool = True,
    run: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Time two populations, one after the other.

    Args:
        engine: whose.
        epochs: of each trial.
        options: further arguments of `TuneConfig`.
        cold: False: the first one is of 2 epochs, for a slow peer.
        warm: False: there is only the first one.
        run: further arguments of `RunConfig`.
    """
    tune = engine.tune
    get_checkpoint, callback_type = tune.get_checkpoint, engine.adapter("lightning").TuneReportCheckpointCallback
    restores = engine.package == OURS

    def trainable(config: dict[str, Any]) -> None:
        callbacks = [callback_type()]
        checkpoint = None if restores else get_checkpoint()
        if checkpoint is None:
            digits.train_lightning(config, config["epochs"], callbacks)
        else:  # Ray Tune's users load it by themselves
            with checkpoint.as_directory() as folder:
                digits.train_lightning(config, config["epochs"], callbacks, os.path.join(folder, "checkpoint"))

    def fit(epochs: int) -> dict[str, float]:
        scheduler = engine.schedulers.PopulationBasedTraining(
            time_attr="training_iteration",
            perturbation_interval=INTERVAL,
            hyperparam_mutations={"lr": tune.loguniform(1e-3, 1e-1), "momentum": tune.uniform(0.5, 0.95)},
        )
        begin = configs()
        done = engine.fit(
            trainable,
            {"lr": tune.grid_search([config["lr"] for config in begin]), "momentum": 0.8, "epochs": epochs},
            trials=TRIALS,
            iterations=0,
            options={**options, "metric": "val_loss", "mode": "min", "scheduler": scheduler},
            concurrent=None,  # all trials of a population live at once, two of them run
            run=run,
        )
        # A trial that adopts the state of one that is ready has nothing left to do, and reports no more.
        last = sorted(result.metrics["training_iteration"] for result in done.grid)
        if last[0] < epochs - INTERVAL or last[-1] != epochs:
            raise RuntimeError(f"expected {TRIALS} trials trained for {epochs} epochs, got epochs {last}.")
        figures = {"wall_s": done.wall_s, "epochs": float(sum(len(r.metrics_dataframe) for r in done.grid))}
        if engine.package == OURS:
            actions = [decision.action for decision in done.grid.decisions]
            figures |= {"in_place": float(actions.count("IN_PLACE")), "restarts": float(actions.count("RESTART"))}
        return figures

    with engine.cluster():
        first = fit(epochs if cold else INTERVAL)
        figures = fit(epochs) if warm else dict(first)
    figures["s_per_epoch"] = figures["wall_s"] / figures["epochs"]
    return figures | ({"cold_s": first["wall_s"]} if cold else {})


def in_pool(task: tuple[dict[str, float], int]) -> float:
    """One training in a process of the pool; returns its own duration in seconds."""
    config, epochs = task
    start = time.perf_counter()
    digits.train_lightning(config, epochs, [])
    return time.perf_counter() - start


def bare(engine: Engine, *, epochs: int) -> dict[str, float]:
    """The same trainings without an engine, two at a time; `wall_s` is their time together divided by the slots."""
    del engine
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(CORES, mp_context=spawn) as pool:
        list(pool.map(in_pool, [(config, 2) for config in configs()[: 2 * CORES]]))
        start = time.perf_counter()
        durations = list(pool.map(in_pool, [(config, epochs) for config in configs()]))
        pool_s = time.perf_counter() - start
    wall_s = sum(durations) / CORES
    return {
        "wall_s": wall_s,
        "cold_s": wall_s,
        "epochs": float(TRIALS * epochs),
        "s_per_epoch": wall_s / (TRIALS * epochs),
        "pool_s": pool_s,
    }


BARE = "bare / slots"
DEFAULT, REUSE = "Ray Tune", "Ray Tune, reuse"
NAME = f"PBT, {TRIALS} Lightning trials x {EPOCHS} epochs"

BENCHMARK = Benchmark(
    name="pbt_lightning",
    title=f"PBT of {TRIALS} Lightning trials x {EPOCHS} epochs on digits, interval {INTERVAL}, {CORES} slots",
    module=__name__,
    jobs=(
        Job(BARE, Side.BARE, "bare", {"epochs": EPOCHS}, quick={"epochs": 4}),
        Job("ours", Side.OURS, "population", {"epochs": EPOCHS, "options": {}}, quick={"epochs": 4}, timeout_s=600.0),
        Job(
            DEFAULT,
            Side.RAY_TUNE,
            "population",
            {"epochs": 6, "cold": False, "options": {"reuse_actors": False}},
            quick={"epochs": 4},
            rounds=1,
            timeout_s=600.0,
        ),
        Job(
            REUSE,
            Side.RAY_TUNE,
            "population",
            {"epochs": EPOCHS, "options": {"reuse_actors": True}},
            quick={"epochs": 4},
            rounds=1,
            timeout_s=600.0,
        ),
    ),
    rows=(
        Row(f"{NAME}, second fit", "wall_s", "s", BARE, AtMostTimes(1.3)),
        Row("... first fit", "cold_s", "s", BARE),
        Row("... second fit, wall / epochs trained", "s_per_epoch", "s", BARE, AtMostTimes(1.3)),
        Row("... second fit, wall / epochs trained", "s_per_epoch", "s", REUSE),
        Row("... second fit, wall / epochs trained", "s_per_epoch", "s", DEFAULT),
        Row("... first fit", "cold_s", "s", REUSE),
    ),
)
