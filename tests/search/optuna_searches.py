"""Spaces and helpers of the tests of `OptunaSearch`."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.samplers import (
    BaseSampler,
    NSGAIISampler,
    RandomSampler,
)
from scipy import stats
from search_runs import Run, task_of

from tune_plugins import space as sp
from tune_plugins.search import Outcome, Searcher
from tune_plugins.search.optuna import OptunaSearch
from tune_plugins.search.optuna_samplers import NAMES

Config = dict[str, Any]
SLOW = {"gp"}  # fits Gaussian processes by PyTorch
NAMED = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in NAMES]
FLOAT = {"x": sp.uniform(0, 1)}


def relu() -> None: ...


EVERYTHING = {
    "lr": sp.loguniform(1e-5, 1e-1),
    "momentum": sp.uniform(0, 1),
    "layers": sp.randint(1, 9),
    "units": sp.lograndint(1, 100),
    "drop": sp.quniform(0.05, 1, 0.1),
    "decay": sp.qloguniform(0.1, 10, 0.1),
    "batch": sp.qrandint(3, 32, 8),
    "width": sp.qlograndint(4, 1024, 4),
    "noise": sp.randn(0, 1),
    "shift": sp.qrandn(0, 2, 0.5),
    "beta": sp.distribution(stats.beta(2, 5)),
    "count": sp.distribution(stats.poisson(3)),
    "drawn": sp.distribution(lambda random: random.random()),
    "double": sp.sample_from(lambda config: 2 * config["layers"]),
    "fold": sp.grid_search([1, 2, 3]),
    "size": sp.ordinal([16, 32, 64]),
    "shape": sp.choice([(1, 2), (3, 4)]),
    "mixed": sp.choice([True, 1, 1.0, None, "a", relu, float("nan")]),
    "opt": sp.choice(
        [
            {"kind": "sgd", "lr": sp.uniform(0, 1)},
            {"kind": "adam", "inner": sp.choice([{"eps": sp.loguniform(1e-9, 1e-1)}, "none"])},
            "plain",
        ]
    ),
    "domain": sp.choice([sp.uniform(0, 1), sp.randint(10, 20)]),
    "net": {"sizes": [sp.randint(1, 4), sp.uniform(0, 1)]},
    "one": sp.choice(["only"]),
    "same": sp.qrandint(7, 15, 8),
    "huge": sp.randint(0, 10**30),
    "wide": sp.uniform(-1.7e308, 1.7e308),
    "fine": sp.quniform(0, 1, 1e-9),
    "constant": 5,
}


def loss_of(config: Config) -> float:
    opt = config["opt"]
    inner = opt["lr"] if isinstance(opt, dict) and "lr" in opt else 1.0
    return (config["momentum"] - 0.3) ** 2 + (config["layers"] - 4) ** 2 / 10 + inner


def started(space: Any = FLOAT, /, *, sampler: Any = "random", num_samples: int = 100, **options: Any) -> OptunaSearch:
    task = {name: options.pop(name) for name in ("metric", "mode", "seed", "slots", "fidelity") if name in options}
    searcher = OptunaSearch(sampler=sampler, **options)
    searcher.prepare(task_of(space, num_samples, **task))
    return searcher


def states(searcher: OptunaSearch) -> list[str]:
    return [trial.state.name for trial in searcher.study.trials]


def result(loss: Any, iteration: int = 1, **more: Any) -> Config:
    return {"loss": loss, "training_iteration": iteration, **more}


class Life(Run):
    """A run in which trials report, are stopped, fail, and are interrupted."""

    def end_one(self) -> None:
        trial_id, config = self.running.pop(0)
        number, loss = int(trial_id), self.objective(config)
        self.losses.append(loss)
        self._tell("on_trial_result", trial_id, result(loss + 1, 1, config=config))
        outcomes = [Outcome.COMPLETED, Outcome.STOPPED, Outcome.COMPLETED, Outcome.COMPLETED, Outcome.FAILED]
        outcome = Outcome.INTERRUPTED if number % 17 == 16 else outcomes[number % 5]
        self._tell("on_trial_complete", trial_id, result(loss, 2, config=config), outcome)

    def _tell(self, method: str, *told: Any) -> None:
        self.log.append((method, *told))
        getattr(self.searcher, method)(*told)


def relived(searcher: Searcher, log: list[Any]) -> Searcher:
    for kind, *told in log:
        getattr(searcher, "on_suggested" if kind == "suggested" else kind)(*told)
    return searcher


def contents(searcher: OptunaSearch) -> list[Any]:
    return [
        (trial.state, trial.values, trial.params, trial.distributions, trial.intermediate_values)
        for trial in searcher.study.trials
    ]


FLAT = {
    "x": sp.uniform(-5, 5),
    "lr": sp.loguniform(1e-5, 1),
    "n": sp.randint(1, 65),
    "q": sp.qrandint(8, 64, 8),
    "act": sp.choice(["relu", "tanh", "gelu"]),
}


def flat_loss(config: Config) -> float:
    loss = (config["x"] - 1) ** 2 + (math.log10(config["lr"]) + 3) ** 2 + ((config["n"] - 20) / 16) ** 2
    return loss + (config.get("act", "tanh") != "tanh") + ((config["q"] - 32) / 32) ** 2


def small() -> NSGAIISampler:
    return NSGAIISampler(population_size=8)


class Shuffling(BaseSampler):
    """A sampler with generators of all kinds, some of them inside of another."""

    def __init__(self) -> None:
        self.python, self.new, self.old = Random(), np.random.default_rng(), np.random.RandomState()
        self.others = [RandomSampler()]

    def infer_relative_search_space(self, study: Any, trial: Any) -> Config:
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Config:
        return {}

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        inner = self.others[0].sample_independent(study, trial, param_name, param_distribution)
        return (self.python.random() + self.new.random() + self.old.rand() + inner) / 4


def define(trial: optuna.Trial) -> Config:
    kind = trial.suggest_categorical("model/kind", ["linear", "net"])
    if kind == "net":
        trial.suggest_int("model/layers", 1, 4)
    trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    return {"epochs": 10, "model/name": kind.upper()}


def define_loss(config: Config) -> float:
    return (math.log10(config["lr"]) + 3) ** 2 + float(config["model"].get("layers", 9))
