"""A class says what its trials take, and a scheduler may give them more while they run."""

from __future__ import annotations

from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins.errors import ArgumentError
from tune_plugins.schedulers import (
    DistributeResources,
    DistributeResourcesToTopJob,
    ResourceChangingScheduler,
    TrialScheduler,
)


class Asks(tune.Trainable):
    """Takes what its config says."""

    def setup(self, config: dict[str, Any]) -> None:
        self.steps = 0

    def step(self) -> dict[str, Any]:
        self.steps += 1
        return {"step": self.steps, "cpus": self.trial_resources.required_resources["CPU"]}

    def save_checkpoint(self, directory: str) -> dict[str, int]:
        return {"steps": self.steps}

    def load_checkpoint(self, state: Any) -> None:
        self.steps = state["steps"]

    @classmethod
    def default_resource_request(cls, config: dict[str, Any], /) -> Any:
        return tune.PlacementGroupFactory([{"CPU": config["cpus"], "GPU": 0}])


def test_trials_take_what_their_class_asks_for(fit: Any) -> None:
    results = fit(Asks, {"cpus": tune.grid_search([1, 2])}, stop={"training_iteration": 1})
    assert [result.metrics["cpus"] for result in results] == [1, 2]
    with_less = fit(tune.with_resources(Asks, {"cpu": 0.5}), {"cpus": 2}, stop={"training_iteration": 1})
    assert with_less[0].metrics["cpus"] == 0.5, "what the script says counts"


def test_a_class_that_asks_for_too_much_is_told_so(fit: Any) -> None:
    with pytest.raises(ArgumentError, match="resources: a trial asks for CPU: 100, and no node has more than 2"):
        fit(Asks, {"cpus": 100}, stop={"training_iteration": 1})


@pytest.mark.parametrize(
    ("allocate", "cpus"),
    [
        (DistributeResources(), [1, 2, 2]),
        (DistributeResources(increase_by={"CPU": 0.5}, increase_by_times=1), [1, 1.5, 1.5]),
        (DistributeResourcesToTopJob(metric="step", mode="max"), [1, 2, 2]),
        (lambda trials, trial, result, scheduler: None, [1, 1, 1]),
    ],
)
def test_a_trial_alone_gets_what_is_free(fit: Any, allocate: Any, cpus: list[float]) -> None:
    scheduler = ResourceChangingScheduler(resources_allocation_function=allocate)
    results = fit(Asks, {"cpus": 1}, stop={"training_iteration": 3}, scheduler=scheduler)
    assert list(results[0].metrics_dataframe["cpus"]) == cpus


def test_nobody_gets_less_than_its_class_asks_for_nor_moves_in_vain(fit: Any) -> None:
    results = fit(
        Asks,
        {"cpus": 2},
        stop={"training_iteration": 3},
        scheduler=ResourceChangingScheduler(resources_allocation_function=DistributeResources()),
    )
    assert results[0].metrics["cpus"] == 2 and not [d for d in results.decisions if d.action == "PAUSE"]


class Moves(TrialScheduler):
    """Written for Ray Tune."""

    def on_trial_result(self, tune_controller, trial, result):  # type: ignore[no-untyped-def, override]
        return TrialScheduler.PAUSE if result["training_iteration"] == 1 else TrialScheduler.CONTINUE


def test_a_scheduler_of_ray_tunes_pauses_on_ray(fit: Any) -> None:
    results = fit(Asks, {"cpus": tune.grid_search([1, 1, 1])}, stop={"training_iteration": 3}, scheduler=Moves())
    assert [result.metrics["step"] for result in results] == [3, 3, 3]
    assert len([d for d in results.decisions if d.action == "PAUSE"]) == 3
