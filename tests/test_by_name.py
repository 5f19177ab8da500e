"""Schedulers and searchers by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins.schedulers.by_name import SCHEDULERS

NEED_ARGUMENTS: dict[str, dict[str, Any]] = {
    "pbt": {"hyperparam_mutations": {"x": [1, 2]}},
    "pb2": {"hyperparam_bounds": {"x": [0.0, 1.0]}},
    "pbt_replay": {"policy": "nowhere"},
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_each_name_makes_its_scheduler(name: str) -> None:
    if name == "pbt_replay":
        with pytest.raises(tune.ArgumentError, match="missing 1 required positional argument: 'policy'"):
            tune.create_scheduler(name)
        return
    made = tune.create_scheduler(name, **NEED_ARGUMENTS.get(name, {}))
    assert type(made) is getattr(tune.schedulers, SCHEDULERS[name])


@pytest.mark.slow  # not in the fast half, which installs no library for search
def test_arguments_are_those_of_the_class() -> None:
    assert repr(tune.create_scheduler("asha", max_t=50)) == "ASHAScheduler(max_t=50)"
    assert repr(tune.create_searcher("tpe", seed=3)) == "OptunaSearch(sampler='tpe', seed=3)"
    with pytest.raises(tune.ArgumentError, match=r"max_time: there is no such argument. Did you mean 'max_t'"):
        tune.create_scheduler("asha", max_time=50)
    with pytest.raises(tune.ArgumentError, match=r"samplers: there is no such argument. Did you mean 'sampler'"):
        tune.create_searcher("tpe", samplers="x")


def test_names_that_are_wrong_are_told_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(tune.ArgumentError) as caught:
        tune.TuneConfig(scheduler="ashaa", search_alg="tpee")
    told = str(caught.value)
    assert "scheduler: expected 'fifo', 'asha'" in told and "Did you mean 'asha'?" in told
    assert "search_alg: expected 'random', " in told and "Did you mean 'tpe'?" in told
    with pytest.raises(tune.ArgumentError, match="scheduler: 'pbt' needs arguments: hyperparam_mutations: expected"):
        tune.TuneConfig(scheduler="pbt")
    # All mistakes at once, those that follow from the scheduler by name included.
    with pytest.raises(tune.ArgumentError) as caught:
        run = tune.RunConfig(storage_path=tmp_path, verbose=0)
        tune.Tuner(lambda config: None, tune_config=tune.TuneConfig(scheduler="asha"), run_config=run)
    assert "ASHAScheduler compares trials by it" in str(caught.value)


def test_a_run_with_a_scheduler_by_name(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        for step in range(1, 28):
            tune.report(loss=config["x"] / step)

    grid = tune.Tuner(
        train,
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(metric="loss", mode="min", scheduler="asha", search_alg="sobol", num_samples=16),
        run_config=tune.RunConfig(storage_path=tmp_path, verbose=0, runtime="inline"),
    ).fit()
    assert len(grid) == 16 and any(result.cause == "SCHEDULER" for result in grid)
