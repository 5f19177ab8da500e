"""Drives the searchers of this package over a table."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.search.tables import EVALUATIONS, Table

FAST = ("random", "sobol", "evolutionary", "tpe", "cmaes", "nsgaii", "qmc", "hyperopt")
SLOW = ("gp",)
MODELS = ("evolutionary", "tpe", "cmaes", "gp", "hyperopt")
"""Those that are to beat random search; NSGA-II is meant for several metrics, QMC for even cover."""


def takes(method: str, name: str) -> bool:
    """Whether a searcher can search the space of a table: CMA-ES moves numbers, and NAS-Bench-201 has none."""
    return method != "cmaes" or not name.startswith("nasbench201")


def space_of(table: Table) -> Any:
    """The search space: numbers are ordinals."""
    from tune_plugins.space import Space, choice, ordinal

    return Space(
        {
            name: choice(values) if isinstance(values[0], str) else ordinal(values)
            for name, values in table.options.items()
        }
    )


def run(method: str, table: Table, seed: int, late: int = 0) -> tuple[list[float], float]:
    """Losses in order of evaluation, and seconds for a suggestion with what is told.

    Args:
        method: name of a searcher.
        table: the task.
        seed: of the run.
        late: by so many trials results are told later, as where that many more run at a time.
    """
    from tune_plugins.search import Outcome, SearchTask
    from tune_plugins.search.by_name import create_searcher

    searcher = create_searcher(method)
    searcher.prepare(SearchTask(space_of(table), "loss", "min", seed, EVALUATIONS, slots=1 + late))
    waiting: list[tuple[str, dict[str, Any]]] = []
    losses, seconds = [], 0.0
    for index in range(EVALUATIONS):
        trial_id = f"{index:05d}"
        start = time.perf_counter()
        config = searcher.ask(trial_id, index)
        seconds += time.perf_counter() - start
        assert isinstance(config, dict)
        losses.append(table.loss(config))
        waiting.append((trial_id, {"loss": losses[-1], "training_iteration": 1, "config": config}))
        start = time.perf_counter()
        while len(waiting) > late:
            searcher.on_trial_complete(*waiting.pop(0), outcome=Outcome.COMPLETED)
        seconds += time.perf_counter() - start
    return losses, seconds / EVALUATIONS


def overhead(trials: int = 1000) -> dict[str, float]:
    """Milliseconds a trial for ask and tell, drawing at random: of Optuna by itself and of `OptunaSearch` around it."""
    import optuna

    from tune_plugins.search import Outcome, SearchTask
    from tune_plugins.search.optuna import OptunaSearch
    from tune_plugins.space import Space, choice, loguniform, randint, uniform

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def bare() -> None:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        for _ in range(trials):
            trial = study.ask()
            trial.suggest_float("lr", 1e-5, 1, log=True)
            trial.suggest_float("x", 0, 1)
            trial.suggest_int("n", 1, 100)
            trial.suggest_categorical("kind", ["a", "b", "c"])
            study.tell(trial, 1.0)

    def ours() -> None:
        searcher = OptunaSearch(sampler="random")
        space = {"lr": loguniform(1e-5, 1), "x": uniform(0, 1), "n": randint(1, 101), "kind": choice(["a", "b", "c"])}
        searcher.prepare(SearchTask(Space(space), "loss", "min", 0, trials))
        for index in range(trials):
            config = searcher.ask(f"{index:05d}", index)
            result = {"loss": 1.0, "training_iteration": 1, "config": config}
            searcher.on_trial_complete(f"{index:05d}", result, outcome=Outcome.COMPLETED)

    return {name: _milliseconds(function, trials) for name, function in (("bare", bare), ("ours", ours))}


def _milliseconds(function: Callable[[], None], trials: int) -> float:
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return 1000 * best / trials
