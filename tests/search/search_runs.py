"""Runs of searchers without an engine, and problems for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tune_plugins import space as sp
from tune_plugins.core.searcher import Outcome, Searcher, SearchTask
from tune_plugins.space import Space

Config = dict[str, Any]
Objective = Callable[[Config], float]
Event = tuple[Any, ...]
"""("suggested", trial id, index, config) or ("complete", trial id, result, outcome)."""


def task_of(space: Any, num_samples: int = 100, **more: Any) -> SearchTask:
    space = space if isinstance(space, Space) else Space(space)
    return SearchTask(space, **{"metric": "loss", "mode": "min", "seed": 1, "num_samples": num_samples, **more})


def prepared(searcher: Searcher, space: Any, num_samples: int = 100, **more: Any) -> Searcher:
    searcher.prepare(task_of(space, num_samples, **more))
    return searcher


def ask(searcher: Searcher, index: int) -> Config:
    config = searcher.ask(f"{index:05d}", index)
    assert isinstance(config, dict), config
    return config


class Run:
    """Trials one after another, or some at a time of which the oldest ends first; keeps a log of events."""

    def __init__(self, searcher: Searcher, objective: Objective, slots: int = 1) -> None:
        self.searcher, self.objective, self.slots = searcher, objective, slots
        self.log: list[Event] = []
        self.configs: list[Config] = []
        self.losses: list[float] = []
        self.running: list[tuple[str, Config]] = []

    def go(self, trials: int) -> Run:
        while len(self.configs) < trials:
            index = len(self.configs)
            config = ask(self.searcher, index)
            self.configs.append(config)
            self.log.append(("suggested", f"{index:05d}", index, config))
            self.running.append((f"{index:05d}", config))
            if len(self.running) == self.slots:
                self.end_one()
        return self

    def end_one(self) -> None:
        trial_id, config = self.running.pop(0)
        loss = self.objective(config)
        failed = isinstance(loss, float) and math.isnan(loss)
        self.losses.append(loss)
        outcome = Outcome.FAILED if failed else Outcome.COMPLETED
        result = None if failed else {"loss": loss, "config": config}
        self.log.append(("complete", trial_id, result, outcome))
        self.searcher.on_trial_complete(trial_id, result, outcome)


def replayed(searcher: Searcher, log: list[Event], *, suggestions_first: bool = False) -> Searcher:
    """Tell a searcher what an earlier one lived through."""
    for kind, trial_id, *rest in sorted(log, key=lambda event: event[0], reverse=True) if suggestions_first else log:
        method = searcher.on_suggested if kind == "suggested" else searcher.on_trial_complete
        method(trial_id, *rest)
    return searcher


def sphere(dimensions: int) -> tuple[Space, Objective]:
    space = Space({f"x{number}": sp.uniform(-5, 5) for number in range(dimensions)})
    return space, lambda config: sum((value - 1.3) ** 2 for value in config.values())


def mixed() -> tuple[Space, Objective]:
    space = Space(
        {
            "lr": sp.loguniform(1e-5, 1),
            "depth": sp.randint(1, 16),
            "units": sp.ordinal([16, 32, 64, 128, 256]),
            "activation": sp.choice(["relu", "tanh", "gelu", "elu"]),
            "dropout": sp.quniform(0, 0.9, 0.05),
        }
    )
    cost = {"relu": 0.5, "tanh": 1.0, "gelu": 0.0, "elu": 0.7}

    def objective(config: Config) -> float:
        numbers = (math.log10(config["lr"]) + 3) ** 2 + ((config["depth"] - 6) / 4) ** 2
        numbers += (math.log2(config["units"]) - 7) ** 2 / 2 + 4 * (config["dropout"] - 0.25) ** 2
        return float(numbers) + cost[config["activation"]]

    return space, objective


def conditional() -> tuple[Space, Objective]:
    space = Space(
        {
            "opt": sp.choice(
                [
                    {"kind": "sgd", "lr": sp.loguniform(1e-3, 1), "momentum": sp.uniform(0, 0.99)},
                    {"kind": "adam", "lr": sp.loguniform(1e-5, 1e-2), "beta": sp.uniform(0.8, 0.999)},
                    {"kind": "none"},
                ]
            ),
            "decay": sp.loguniform(1e-6, 1e-1),
            "width": sp.randint(1, 65),
        }
    )

    def objective(config: Config) -> float:
        opt = config["opt"]
        loss = 3.0
        if opt["kind"] == "sgd":
            loss = 0.2 + (math.log10(opt["lr"]) + 1) ** 2 + 4 * (opt["momentum"] - 0.9) ** 2
        elif opt["kind"] == "adam":
            loss = (math.log10(opt["lr"]) + 3.5) ** 2 + 50 * (opt["beta"] - 0.9) ** 2
        return float(loss + (math.log10(config["decay"]) + 4) ** 2 / 2 + ((config["width"] - 40) / 20) ** 2)

    return space, objective


PROBLEMS = {"sphere": sphere(4), "mixed": mixed(), "conditional": conditional()}


def best_by_chance(space: Space, objective: Objective, seed: int, trials: int = 100) -> float:
    return min(objective(space.sample(index, seed)) for index in range(trials))
