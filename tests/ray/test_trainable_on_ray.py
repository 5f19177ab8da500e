"""Classes as trainables in worker processes."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

import tune_plugins as tune
from tune_plugins.record.store import ExperimentStore
from tune_plugins.results import ResultGrid
from tune_plugins.schedulers import PopulationBasedTraining

Fit = Callable[..., ResultGrid]
TrainedBy = Callable[..., str]
STEPS, INTERVAL = 14, 4


class Sum(tune.Trainable):
    """Adds the rate at each step."""

    def setup(self, config: dict[str, Any], data: np.ndarray[Any, Any] | None = None) -> None:
        self.total, self.rate = 0.0, config["rate"]
        self.bonus = 0.0 if data is None else float(data.sum())
        self.log = Path(self.trial_dir, "calls")
        self.note("setup")

    def step(self) -> dict[str, Any]:
        if self.rate > 1:
            raise KeyError("inner")
        self.total += self.rate + self.bonus
        done = self.iteration + 1 >= STEPS
        return {"score": self.total, "rate": self.rate, "object": id(self), "pid": os.getpid(), "done": done}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"total": self.total, "rate": self.rate}

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.total = checkpoint["total"]

    def cleanup(self) -> None:
        self.note("cleanup")

    def note(self, call: str) -> None:
        with self.log.open("a") as file:
            file.write(f"{call}\n")


class ResettableSum(Sum):
    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.rate = new_config["rate"]
        self.note("reset")
        return True


def notes(result: tune.Result) -> list[str]:
    return Path(result.path, "calls").read_text().split()


@pytest.mark.parametrize(("trainable", "in_place"), [(ResettableSum, True), (Sum, False)])
def test_population(fit: Fit, trained_by: TrainedBy, trainable: type[Sum], in_place: bool) -> None:
    scheduler = PopulationBasedTraining(
        "training_iteration",
        perturbation_interval=INTERVAL,
        hyperparam_mutations={"rate": tune.uniform(0.0, 1.0)},
        synch=True,
    )
    space = {"rate": tune.grid_search([0.1, 0.4, 0.9])}  # on two slots
    results = fit(trainable, space, scheduler=scheduler, metric="score", mode="max", seed=1)
    assert not results.errors
    with ExperimentStore.open(results.experiment_path) as store:
        exploits = store.exploits()
        rows = {result.trial_id: store.results(result.trial_id) for result in results}
    assert exploits
    for number, exploit in enumerate(exploits):
        before, after = next(
            (a, b)
            for a, b in pairwise(rows[exploit.trial_id])
            if b["rate"] == exploit.config["rate"] and b["training_iteration"] == exploit.source_iteration + 1
        )
        donor = [r for r in rows[trained_by(exploits, number)] if r["training_iteration"] == exploit.source_iteration]
        assert any(r["score"] + after["rate"] == pytest.approx(after["score"]) for r in donor)
        assert before["pid"] == after["pid"], "no process was restarted"
        if in_place:
            assert before["object"] == after["object"]
    how = [(d.action, d.reason) for d in results.decisions if d.action in ("IN_PLACE", "RESTART")]
    assert len(how) == len(exploits)
    for action, reason in how:
        assert action == ("IN_PLACE" if in_place else "RESTART")
        assert ("'rate' applied" if in_place else "Sum does not define reset_config") in reason
    for result in results:
        assert result.metrics["training_iteration"] == STEPS
        assert result.metrics["rate"] == result.config["rate"], "the mutated config wins"
        calls = notes(result)
        assert calls.count("setup") == calls.count("cleanup"), calls
    copies = {exploit.trial_id for exploit in exploits}
    assert any("reset" in notes(r) for r in results if r.trial_id in copies) is in_place


def test_parameters_resources_and_errors(fit: Fit) -> None:
    trainable = tune.with_resources(tune.with_parameters(Sum, data=np.ones(1000)), {"cpu": 1})
    results = fit(trainable, {"rate": tune.grid_search([0.5, 2.0])}, stop={"training_iteration": 3})
    assert results[0].metrics["score"] == 3 * 1000.5 and results[0].metrics["training_iteration"] == 3
    assert notes(results[0]) == notes(results[1]) == ["setup", "cleanup"]
    assert "KeyError: 'inner'" in str(results.errors[0]) and "class_trial" not in str(results.errors[0])


def test_what_cannot_be_pickled_is_named() -> None:
    lock = threading.Lock()

    class Locked(Sum):
        guard = threading.Lock()

        def step(self) -> dict[str, Any]:
            with lock:
                return super().step()

    with pytest.raises(tune.ArgumentError) as caught:
        tune.Tuner(Locked, run_config=tune.RunConfig(verbose=0)).fit()
    (mistake,) = caught.value.mistakes
    assert "the class attribute 'guard' of type lock" in mistake and "the variable 'lock' of type lock" in mistake
    assert "__class__" not in mistake


class Reused(tune.Trainable):
    """Says how often the object was reset, and notes it when it is cleaned up."""

    resets = 0

    def setup(self, config: dict[str, Any], log: str) -> None:
        self.log = log

    def step(self) -> dict[str, Any]:
        return {"resets": self.resets, "process": os.getpid(), "done": self.training_iteration == 1}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.resets += 1
        return True

    def cleanup(self) -> None:
        Path(self.log, f"{os.getpid()}-{self.resets}").touch()


@pytest.mark.parametrize("workers", ["auto", "actors"])
def test_an_object_serves_the_trials_of_its_process(tmp_path: Path, workers: Any) -> None:
    log = tmp_path / "log"
    log.mkdir()
    grid = tune.Tuner(
        tune.with_parameters(Reused, log=str(log)),
        param_space={"x": tune.grid_search(list(range(6)))},
        tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=2),
        run_config=tune.RunConfig(storage_path=tmp_path, verbose=0, workers=workers),
    ).fit()
    by_process: dict[int, list[int]] = {}
    for result in grid:
        assert result.metrics["pid"] == result.metrics["process"] and result.metrics["hostname"] == platform.node()
        by_process.setdefault(result.metrics["pid"], []).append(result.metrics["resets"])
    assert len(grid) == 6 and grid.num_errors == 0 and len(by_process) <= 2
    assert all(sorted(resets) == list(range(len(resets))) for resets in by_process.values())
    # A process that waits for the next run has not cleaned up yet.
    assert set(os.listdir(log)) <= {f"{process}-{len(resets) - 1}" for process, resets in by_process.items()}


def test_a_parameter_may_lie_in_the_object_store_already(tmp_path: Path) -> None:
    def train(config: dict[str, Any], data: Any, more: float) -> dict[str, Any]:
        return {"total": float(data.sum()) + more}

    trainable = tune.with_parameters(train, data=ray.put(np.ones(10)), more=5.0)
    (result,) = tune.Tuner(trainable, run_config=tune.RunConfig(storage_path=tmp_path, verbose=0)).fit()
    assert result.metrics["total"] == 15.0
