"""Bad input without a run: told where it is given, all mistakes together, in the same words everywhere."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mistakes import mistakes_of

import tune_plugins as tune
from tune_plugins import stoppers
from tune_plugins.arguments import Mistakes, is_finite, is_number, is_whole
from tune_plugins.schedulers import (
    ASHAScheduler,
    MedianStoppingRule,
    MultiObjectiveASHA,
    PopulationBasedTraining,
    PopulationBasedTrainingReplay,
)
from tune_plugins.search import BasicVariantGenerator


def train(config: dict[str, Any]) -> dict[str, Any]:
    return {"loss": 1}


CALLS: dict[str, tuple[Any, dict[str, Any], list[str]]] = {
    "TuneConfig": (
        tune.TuneConfig,
        {"metric": 3, "mode": "best", "num_samples": 0, "time_budget_s": -5, "seed": -1, "scheduler": 3},
        ["metric", "mode", "scheduler", "num_samples", "time_budget_s", "seed"],
    ),
    "TuneConfig, more": (
        tune.TuneConfig,
        {
            "search_alg": "bayesian",
            "max_concurrent_trials": 0,
            "max_resident_trials": -1,
            "reuse_actors": "yes",
            "trial_name_creator": lambda: "x",
            "trial_dirname_creator": 3,
        },
        [
            "search_alg",
            "max_concurrent_trials",
            "max_resident_trials",
            "reuse_actors",
            "trial_name_creator",
            "trial_dirname_creator",
        ],
    ),
    "RunConfig": (
        tune.RunConfig,
        {"name": "../x", "verbose": -1, "stop": 3, "runtime": "spark", "storage_path": 3, "log_to_file": "a/b"},
        ["name", "storage_path", "stop", "verbose", "runtime", "log_to_file"],
    ),
    "RunConfig, more": (
        tune.RunConfig,
        {"storage_path": "s3://bucket", "checkpoint_config": {}, "callbacks": ["print"], "progress_reporter": 3},
        ["storage_path", "checkpoint_config", "callbacks[0]", "progress_reporter"],
    ),
    "CheckpointConfig": (
        tune.CheckpointConfig,
        {
            "num_to_keep": 0,
            "checkpoint_score_attribute": 3,
            "checkpoint_score_order": "up",
            "checkpoint_frequency": -1,
            "checkpoint_at_end": "always",
        },
        [
            "num_to_keep",
            "checkpoint_score_attribute",
            "checkpoint_score_order",
            "checkpoint_frequency",
            "checkpoint_at_end",
        ],
    ),
    "FailureConfig": (
        tune.FailureConfig,
        {"max_failures": -2, "fail_fast": "maybe", "retry": "often"},
        ["max_failures", "fail_fast", "retry"],
    ),
    "SimulatedCluster": (
        tune.SimulatedCluster,
        {"workers": 0, "start_delay_s": -1, "crash_probability": 2, "straggler_factor": 0},
        ["workers", "start_delay_s", "crash_probability", "straggler_factor"],
    ),
    "a scheduler": (
        ASHAScheduler,
        {"mode": "best", "max_t": "100", "brackets": 1.5},
        ["mode", "max_t", "brackets"],
    ),
    "another scheduler": (
        MedianStoppingRule,
        {"metric": "", "grace_period": math.nan, "time_attr": 3},
        ["metric", "time_attr", "grace_period"],
    ),
    "a scheduler that mutates": (
        PopulationBasedTraining,
        {"hyperparam_mutations": {"lr": 3}, "perturbation_interval": 0},
        ["hyperparam_mutations['lr']", "perturbation_interval"],
    ),
    "a searcher": (
        BasicVariantGenerator,
        {"points_to_evaluate": {"lr": 1}, "max_concurrent": -1, "random_state": "x"},
        ["points_to_evaluate", "random_state", "max_concurrent"],
    ),
    "a stopper": (
        stoppers.TrialPlateauStopper,
        {"metric": "", "std": -1, "num_results": 1, "mode": "best"},
        ["metric", "std", "num_results", "mode"],
    ),
    "several metrics": (
        MultiObjectiveASHA,
        {"metrics": ["loss", 3], "modes": ["min", ["max"]], "max_t": -1},
        ["max_t", "metrics", "modes"],
    ),
    "a schedule": (PopulationBasedTrainingReplay, {"policy": 3}, ["policy"]),
    "a curve": (tune.Curve, {"values": 3, "seconds": "x"}, ["values", "seconds"]),
    "a curve without a cost for each step": (tune.Curve, {"values": [1.0, 2.0], "seconds": [1.0]}, ["seconds"]),
    "simulate": (
        tune.simulate,
        {"training": lambda config: [1.0], "tune_config": 3, "run_config": {}, "cluster": 2},
        ["tune_config", "run_config", "cluster"],
    ),
    "no curve": (
        tune.simulate,
        {"training": lambda config: "abc", "run_config": tune.RunConfig(verbose=0)},
        ["values"],
    ),
    "a domain": (tune.loguniform, {"lower": 0, "upper": 1}, ["loguniform(0.0, 1.0)"]),
    "resources": (tune.with_resources, {"trainable": train, "resources": {"cpu": -1}}, ["resources"]),
    "resources of several bundles": (
        tune.PlacementGroupFactory,
        {"bundles": [{"CPU": -1}, 3, {}], "strategy": "NEAR"},
        ["bundles[0]", "bundles[1]", "bundles[2]", "strategy"],
    ),
    "no bundles": (tune.PlacementGroupFactory, {"bundles": []}, ["bundles"]),
    "a function of resources": (
        tune.with_resources,
        {"trainable": 3, "resources": lambda: {"cpu": 1}},
        ["resources", "trainable"],
    ),
    "parameters": (tune.with_parameters, {"trainable": 3, "data": []}, ["trainable"]),
    "points": (BasicVariantGenerator, {"points_to_evaluate": [3]}, ["points_to_evaluate[0]"]),
    "Tuner": (
        tune.Tuner,
        {"trainable": 3, "param_space": [1, 2], "tune_config": {}, "run_config": 3},
        ["trainable", "param_space", "tune_config", "run_config"],
    ),
    "Tuner, more": (
        tune.Tuner,
        {
            "trainable": lambda config, data: None,
            "param_space": {"x": {"grid_search": []}},
            "tune_config": tune.TuneConfig(scheduler=ASHAScheduler()),
        },
        ["trainable", "metric", "x"],
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_mistakes_are_told_where_they_are_made(name: str) -> None:
    call, arguments, wrong = CALLS[name]
    found = mistakes_of(call, **arguments)
    assert [mistake.partition(":")[0] for mistake in found] == wrong
    assert all("expected " in mistake or "needs" in mistake for mistake in found), found


def test_wrong_reports_are_told(tmp_path: Path) -> None:
    told: list[list[str]] = []

    def wrong(config: dict[str, Any]) -> None:
        told.append(mistakes_of(tune.report, 3, checkpoint="here"))
        tune.report(loss=1)

    tune.Tuner(wrong, run_config=tune.RunConfig(verbose=0, runtime="inline", storage_path=tmp_path)).fit()
    assert [mistake.partition(":")[0] for mistake in told[0]] == ["metrics", "checkpoint"]


def test_a_class_in_the_place_of_an_object_is_told() -> None:
    (mistake,) = mistakes_of(tune.TuneConfig, scheduler=ASHAScheduler)
    assert mistake.endswith("Write ASHAScheduler().")


def test_configs_that_have_changed_since_are_looked_at_again(tmp_path: Path) -> None:
    config, run = tune.TuneConfig(metric="loss", mode="min"), tune.RunConfig(verbose=0, storage_path=tmp_path)
    scheduler = config.scheduler = ASHAScheduler()
    tuner = tune.Tuner(train, tune_config=config, run_config=run)
    config.num_samples, run.runtime, scheduler.max_t = 0, "spark", -1
    run.checkpoint_config.num_to_keep = 0
    assert [mistake.partition(":")[0] for mistake in mistakes_of(tuner.fit)] == [
        "num_samples",
        "num_to_keep",
        "runtime",
        "ASHAScheduler max_t",
    ]


def test_what_needs_the_run_is_told_by_fit(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = tune.RunConfig(runtime="inline", storage_path=tmp_path / "file" / "results")
    tuner = tune.Tuner(train, run_config=run)
    assert [mistake.partition(":")[0] for mistake in mistakes_of(tuner.fit)] == ["storage_path"]


@pytest.mark.parametrize(
    ("value", "number", "finite", "whole"),
    [
        (1, True, True, True),
        (1.0, True, True, False),
        (np.int64(1), True, True, True),
        (np.float32(1), True, True, False),
        (math.inf, True, False, False),
        (math.nan, True, False, False),
        (10**400, True, False, True),
        (True, False, False, False),
        (np.bool_(True), False, False, False),
        ("1", False, False, False),
        (None, False, False, False),
        (1j, False, False, False),
        (np.array([1.0]), False, False, False),
    ],
)
def test_what_counts_as_a_number(value: Any, number: bool, finite: bool, whole: bool) -> None:
    assert (is_number(value), is_finite(value), is_whole(value)) == (number, finite, whole)


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    results = tune.Tuner(
        train,
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=np.int64(2),  # type: ignore[arg-type]
            seed=np.int32(7),  # type: ignore[arg-type]
            time_budget_s=np.float32(1000),  # type: ignore[arg-type]
            scheduler=ASHAScheduler(max_t=np.int64(9), grace_period=np.float64(1)),
        ),
        run_config=tune.RunConfig(
            verbose=0, storage_path=tmp_path, runtime="inline", stop={"training_iteration": np.int64(3)}
        ),
    ).fit()
    assert len(results) == 2


def test_numbers_of_numpy_reach_thresholds_and_milestones_in_a_simulation() -> None:
    results = tune.simulate(
        lambda config: tune.Curve([{"epoch": np.int64(n), "loss": np.float32(n)} for n in range(9)], np.float32(2)),
        param_space={"x": tune.grid_search([1, 2])},
        tune_config=tune.TuneConfig(scheduler=ASHAScheduler(metric="loss", mode="max", time_attr="epoch", max_t=4)),
        run_config=tune.RunConfig(verbose=0, stop={"loss": 3}),
    )
    assert [result.metrics["training_iteration"] for result in results] == [4, 4]


def test_one_wording() -> None:
    mistakes = Mistakes("f")
    assert mistakes.whole("a", 3, least=1) and mistakes.number("a", 0.5, above=0, below=1) and mistakes.flag("a", False)
    assert not mistakes.found
    assert not mistakes.whole("a", 2.5, least=1, none=True, remedy="Do this.")
    assert not mistakes.number("b", 2, least=0, most=1, what="a probability")
    assert not mistakes.one_of("c", True, (1, 2))
    assert not mistakes.one_of("d", "x", ("y",), none=True)
    assert mistakes.one_of("d", np.str_("y"), ("y",))
    assert not mistakes.function("e", lambda: 1, "of the config", arguments=1, remedy="Write lambda config: 1.")
    assert not mistakes.function("f", 3, "of the config", arguments=1)
    assert [mistake.partition(", got ")[0] for mistake in mistakes.found] == [
        "a: expected None or a whole number of at least 1",
        "b: expected a probability of at least 0 and at most 1",
        "c: expected 1 or 2",
        "d: expected None or 'y'",
        "e: expected a function of the config, called with 1 argument",
        "f: expected a function of the config",
    ]
    assert mistakes.found[4].endswith("got <lambda>(). Write lambda config: 1.")
    assert mistakes.found[0].endswith("got 2.5. Do this.")
