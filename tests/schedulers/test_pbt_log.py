"""The files that population based training leaves in the folder of an experiment, as Ray Tune writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mistakes import mistakes_of
from pbt_runs import Walk

import tune_plugins as tune
from tune_plugins.results import ResultGrid
from tune_plugins.schedulers import (
    PB2,
    PBTSchedule,
    PopulationBasedTraining,
    PopulationBasedTrainingReplay,
    ResourceChangingScheduler,
    TrialScheduler,
)

PBT: dict[str, Any] = {"time_attr": "training_iteration", "perturbation_interval": 3}
RATES = {"rate": tune.uniform(0.0, 1.0)}


def train(scheduler: TrialScheduler, folder: Path, seed: int = 1, workers: int = 4, crashes: float = 0.0) -> ResultGrid:
    return tune.simulate(
        Walk(30, spread=0.2),
        param_space={"rate": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(metric="score", mode="max", num_samples=8, seed=seed, scheduler=scheduler),
        run_config=tune.RunConfig(
            verbose=0,
            name="walk",
            storage_path=folder,
            failure_config=tune.FailureConfig(max_failures=-1),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=2 if seed % 2 else None),
        ),
        cluster=tune.SimulatedCluster(workers=workers, crash_probability=crashes),
    )


def steps(schedule: PBTSchedule | None) -> list[tuple[int, dict[str, Any]]]:
    return [] if schedule is None else [(step.iteration, step.config) for step in schedule.steps]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("options", "workers", "crashes"),
    [({}, 8, 0.0), ({}, 3, 0.02), ({"synch": True}, 8, 0.0), ({"synch": True, "quantile_fraction": 0.5}, 3, 0.02)],
    ids=["all-at-once", "taking-turns", "synchronous", "synchronous-taking-turns"],
)
def test_the_policy_of_a_trial_is_its_schedule_in_the_record(
    options: dict[str, Any], workers: int, crashes: float, seed: int, tmp_path: Path
) -> None:
    scheduler = PopulationBasedTraining(**PBT, hyperparam_mutations=RATES, **options)
    results = train(scheduler, tmp_path, seed, workers, crashes)
    exploits = [d for d in results.decisions if d.action == "EXPLOIT"]
    undone = [d for d in results.decisions if d.action == "UNDONE"]
    lines = (tmp_path / "walk" / "pbt_global.txt").read_text().splitlines()
    assert len(lines) == len(exploits) - len(undone) > 0
    for result in results:
        file = tmp_path / "walk" / f"pbt_policy_{result.trial_id}.txt"
        policy = PBTSchedule.load(file) if file.exists() else None
        assert steps(policy) == steps(result.pbt_schedule), result.trial_id


def test_lines_are_those_of_ray_tune_and_can_be_replayed(tmp_path: Path) -> None:
    results = train(PopulationBasedTraining(**PBT, hyperparam_mutations=RATES), tmp_path)
    result = max(results, key=lambda each: len(steps(each.pbt_schedule)))
    file = tmp_path / "walk" / f"pbt_policy_{result.trial_id}.txt"
    trial, source, iteration, source_iteration, old, new = json.loads(file.read_text().splitlines()[-1])
    assert trial == result.trial_id != source and iteration % 3 == source_iteration % 3 == 0
    assert old.keys() == new.keys() == {"rate"} and new == result.config
    again = train(PopulationBasedTrainingReplay(str(file)), tmp_path / "again")
    assert {each.config["rate"] for each in again} == {result.config["rate"]}
    with pytest.raises(ValueError, match=r"policy: expected a file with a schedule, got '/nowhere/pbt_policy_0\.txt'"):
        PopulationBasedTrainingReplay("/nowhere/pbt_policy_0.txt")


@pytest.mark.parametrize("scheduler", [None, "inside"])
def test_nothing_is_written_without_log_config(scheduler: Any, tmp_path: Path) -> None:
    pbt = PopulationBasedTraining(**PBT, hyperparam_mutations=RATES, log_config=False)
    results = train(pbt if scheduler is None else ResourceChangingScheduler(pbt), tmp_path)
    assert any(d.action == "EXPLOIT" for d in results.decisions) and not [*(tmp_path / "walk").glob("pbt_*")]


def test_one_inside_a_changer_of_resources_writes_too(tmp_path: Path) -> None:
    train(ResourceChangingScheduler(PopulationBasedTraining(**PBT, hyperparam_mutations=RATES)), tmp_path)
    assert [*(tmp_path / "walk").glob("pbt_policy_*")]


def test_samples_from_the_config_are_no_mutations() -> None:
    found = mistakes_of(
        PopulationBasedTraining,
        hyperparam_mutations={"a": tune.sample_from(lambda spec: 1), "b": {"c": tune.sample_from(lambda spec: 2)}},
    )
    assert [mistake.split(":")[0] for mistake in found] == [
        "hyperparam_mutations['a']",
        "hyperparam_mutations['b']['c']",
    ]
    assert found[0].endswith("Write the function itself: lambda: value.")


@pytest.mark.slow
def test_a_bandit_takes_an_exploration_of_the_users(tmp_path: Path) -> None:
    def explore(config: dict[str, Any]) -> dict[str, Any]:
        return {**config, "marked": True}

    results = train(PB2(**PBT, hyperparam_bounds={"rate": [0.0, 1.0]}, custom_explore_fn=explore), tmp_path)
    copies = [result for result in results if result.pbt_schedule is not None]
    assert copies and all(result.config["marked"] and 0 <= result.config["rate"] <= 1 for result in copies)
    assert mistakes_of(PB2, custom_explore_fn=3)[0].startswith("custom_explore_fn: expected a function of the config")
