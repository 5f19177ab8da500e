"""A mode and no metric: trials are compared by the plain number that a training returns or yields."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mistakes import mistakes_of

import tune_plugins as tune
from tune_plugins.results import ResultGrid
from tune_plugins.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
)


def returns(config: dict[str, Any]) -> float:
    return float(config["value"])


def yields(config: dict[str, Any]) -> Iterator[float]:
    for step in range(3):
        yield config["value"] + step


def reports(config: dict[str, Any]) -> dict[str, float]:
    return {"accuracy": config["value"]}


def fit(function: Any, folder: Path, *, samples: int = 3, **options: Any) -> ResultGrid:
    return tune.Tuner(
        function,
        param_space={"value": tune.uniform(-2.0, 2.0)},
        tune_config=tune.TuneConfig(num_samples=samples, seed=1, **options),
        run_config=tune.RunConfig(verbose=0, runtime="inline", storage_path=folder),
    ).fit()


SCHEDULERS = [
    FIFOScheduler(),
    ASHAScheduler(),
    MedianStoppingRule(),
    HyperBandScheduler(max_t=1),
    PopulationBasedTraining(hyperparam_mutations={"value": [1.0]}),
    "asha",
    None,
]


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=str)
@pytest.mark.parametrize("function", [returns, yields])
def test_every_scheduler_compares_by_it(function: Any, scheduler: Any, tmp_path: Path) -> None:
    results = fit(function, tmp_path, mode="max", scheduler=scheduler)
    best = results.get_best_result()
    assert best.metrics["_metric"] == max(result.metrics["_metric"] for result in results) and len(results) == 3


@pytest.mark.parametrize("searcher", ["random", "evolutionary"])
def test_searchers_compare_by_it(searcher: str, tmp_path: Path) -> None:
    results = fit(returns, tmp_path, mode="min", search_alg=searcher, samples=20)
    assert results.get_best_result().config["value"] == min(result.config["value"] for result in results)


def test_the_mode_may_be_that_of_the_scheduler(tmp_path: Path) -> None:
    results = fit(yields, tmp_path, scheduler=ASHAScheduler(mode="max", max_t=3, reduction_factor=2))
    assert results.get_best_result().metrics["_metric"] == max(result.metrics["_metric"] for result in results)


def test_run_of_ray_tune_finds_the_best(tmp_path: Path) -> None:
    options: dict[str, Any] = {"verbose": 0, "runtime": "inline", "storage_path": tmp_path}
    analysis = tune.run(returns, config={"value": tune.grid_search([1, 3, 2])}, mode="max", **options)
    assert analysis.best_config == {"value": 3} and analysis.best_trial is not None


def test_a_simulation_names_numbers_alike() -> None:
    results = tune.simulate(
        lambda config: [config["x"]] * 4,
        param_space={"x": tune.grid_search([1, 2])},
        tune_config=tune.TuneConfig(mode="max", scheduler="asha"),
        run_config=tune.RunConfig(verbose=0),
    )
    assert results.get_best_result().metrics["_metric"] == 2


def test_a_training_that_returns_no_number_is_told_so(tmp_path: Path) -> None:
    wrong = r"metric \(none was given: the plain number .*got '_metric'; trial 00000 reported: accuracy, "
    with pytest.raises(tune.TuneError, match=wrong):
        fit(reports, tmp_path, mode="max", scheduler="asha")
    with pytest.raises(tune.TuneError, match=wrong):
        fit(reports, tmp_path, mode="max", search_alg="evolutionary")


def test_where_nobody_compares_it_is_missed_only_when_asked_for(tmp_path: Path) -> None:
    results = fit(reports, tmp_path, mode="max")
    assert results.get_best_result("accuracy").metrics["accuracy"] == max(r.metrics["accuracy"] for r in results)
    with pytest.raises(tune.TuneError, match=r"'_metric' was not reported by any trial\. Those reported: accuracy"):
        results.get_best_result()


def test_neither_metric_nor_mode_is_still_a_mistake(tmp_path: Path) -> None:
    found = mistakes_of(lambda: fit(returns, tmp_path, scheduler="asha"))
    assert found == [
        "metric: expected the name of a metric, since ASHAScheduler compares trials by it, got None. "
        "Add TuneConfig(metric='...', mode='min' or 'max')."
    ]
