"""Drives Optuna and HyperOpt by themselves: ``python -m benchmarks.search.peers METHOD TABLE SEED``.

Run by the Python of their own environment, see `benchmarks.environment.HPO`; prints the losses and the seconds as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from benchmarks.search.tables import EVALUATIONS, Table, table

METHODS = ("Optuna TPE", "HyperOpt TPE")


def optuna_tpe(task: Table, seed: int) -> tuple[list[float], float]:
    """As its documentation has it: numbers by their place, categories by name."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    losses, seconds = [], 0.0
    for _ in range(EVALUATIONS):
        start = time.perf_counter()
        trial = study.ask()
        config: dict[str, Any] = {}
        for name, values in task.options.items():
            if isinstance(values[0], str):
                config[name] = trial.suggest_categorical(name, values)
            else:
                config[name] = values[trial.suggest_int(name, 0, len(values) - 1)]
        seconds += time.perf_counter() - start
        losses.append(task.loss(config))
        start = time.perf_counter()
        study.tell(trial, losses[-1])
        seconds += time.perf_counter() - start
    return losses, seconds / EVALUATIONS


def hyperopt_tpe(task: Table, seed: int) -> tuple[list[float], float]:
    """With `fmin`, as its documentation has it."""
    import numpy as np
    from hyperopt import fmin, hp, tpe

    space = {
        name: hp.choice(name, values) if isinstance(values[0], str) else hp.uniformint(name, 0, len(values) - 1)
        for name, values in task.options.items()
    }
    losses: list[float] = []
    spent = 0.0

    def objective(config: dict[str, Any]) -> float:
        nonlocal spent
        start = time.perf_counter()
        found = {
            name: config[name] if isinstance(values[0], str) else values[int(config[name])]
            for name, values in task.options.items()
        }
        losses.append(task.loss(found))
        spent += time.perf_counter() - start
        return losses[-1]

    start = time.perf_counter()
    fmin(
        objective,
        space,
        algo=tpe.suggest,
        max_evals=EVALUATIONS,
        rstate=np.random.default_rng(seed),
        show_progressbar=False,
        verbose=False,
    )
    return losses, (time.perf_counter() - start - spent) / EVALUATIONS


if __name__ == "__main__":
    method, name = sys.argv[1:3]
    drive = {"Optuna TPE": optuna_tpe, "HyperOpt TPE": hyperopt_tpe}[method]
    for seed in map(int, sys.argv[3:]):
        print(json.dumps({"seed": seed, "run": drive(table(name), seed)}), flush=True)
