"""Population based training on Ray, in a loop written by hand that restores from `get_checkpoint`."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins import session as tune_session
from tune_plugins.record.store import ExperimentStore
from tune_plugins.results import ResultGrid
from tune_plugins.schedulers import (
    PopulationBasedTraining,
    PopulationBasedTrainingReplay,
    ResourceChangingScheduler,
)
from tune_plugins.search import BasicVariantGenerator, Outcome

Fit = Callable[..., ResultGrid]
TrainedBy = Callable[..., str]
STEPS, INTERVAL = 22, 5


def meet_the_others(config: dict[str, Any]) -> None:
    """Where as many trials as slots do not wait for each other, the first may be ready before the other one begins."""
    if "meet" in config:
        place, count = config["meet"]
        Path(place, tune.get_context().get_trial_id()).touch()
        while len(os.listdir(place)) < count:
            time.sleep(0.001)


def train(config: dict[str, Any]) -> None:
    meet_the_others(config)
    step, learned, rate_of_donor = 0, 0.0, None
    checkpoint = tune.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as directory:
            state = json.loads((Path(directory) / "state.json").read_text())
        step, learned, rate_of_donor = state["step"], state["learned"], state["rate"]
    while step < STEPS:
        step, learned = step + 1, learned + config["rate"]
        with tempfile.TemporaryDirectory() as directory:
            state = {"step": step, "learned": learned, "rate": config["rate"]}
            (Path(directory) / "state.json").write_text(json.dumps(state))
            tune.report(
                {
                    "score": learned,
                    "rate": config["rate"],
                    "step": step,
                    "pid": os.getpid(),
                    "restored_rate": rate_of_donor,
                    "cpus": tune.get_context().get_trial_resources()["CPU"],
                },
                checkpoint=tune.Checkpoint.from_directory(directory),
            )


def pbt(**arguments: Any) -> PopulationBasedTraining:
    return PopulationBasedTraining(
        "training_iteration",
        perturbation_interval=INTERVAL,
        hyperparam_mutations={"rate": tune.uniform(0.0, 1.0)},
        **arguments,
    )


def space(count: int) -> dict[str, Any]:
    return {"rate": tune.grid_search([0.1 + 0.8 * i / count for i in range(count)])}


@pytest.mark.parametrize("synch", [False, True])
@pytest.mark.parametrize("trials", [2, 5])  # on two slots
def test_population(fit: Fit, trained_by: TrainedBy, tmp_path: Path, trials: int, synch: bool) -> None:
    scheduler, meeting = pbt(synch=synch), tmp_path / "meeting"
    meeting.mkdir()
    configs = space(trials) | ({"meet": (str(meeting), trials)} if trials == 2 else {})
    results = fit(train, configs, scheduler=scheduler, metric="score", mode="max", num_to_keep=1, seed=1)
    assert not results.errors and [r.metrics["step"] for r in results] == [STEPS] * trials
    with ExperimentStore.open(results.experiment_path) as store:
        exploits = store.exploits()
        rows = {result.trial_id: store.results(result.trial_id) for result in results}
    assert exploits
    for number, exploit in enumerate(exploits):
        own = rows[exploit.trial_id]
        # What came after the exploit: the next result at the donor's iteration plus one, under the mutated config.
        before, after = next(
            (a, b)
            for a, b in pairwise(own)
            if b["rate"] == exploit.config["rate"] and b["training_iteration"] == exploit.source_iteration + 1
        )
        assert before["pid"] == after["pid"], "no process was restarted"
        assert after["step"] == exploit.source_iteration + 1, "the state is the donor's"
        donor = [r for r in rows[trained_by(exploits, number)] if r["step"] == exploit.source_iteration]
        assert any(r["score"] + after["rate"] == pytest.approx(after["score"]) for r in donor)
        assert after["restored_rate"] is not None
    for result in results:
        assert result.metrics["rate"] == result.config["rate"], "the mutated config wins"
        assert len(result.best_checkpoints) == 1 and result.checkpoint is not None


def test_schedule_of_a_trial_can_be_replayed(fit: Fit) -> None:
    results = fit(train, space(3), scheduler=pbt(synch=True), metric="score", mode="max", seed=1)
    copy = next(result for result in results if result.pbt_schedule)
    again = fit(train, None, scheduler=PopulationBasedTrainingReplay(copy.pbt_schedule))[0]
    assert again.metrics["score"] == pytest.approx(copy.metrics["score"])
    assert again.config == copy.config


def test_resources_change_while_a_trial_runs(fit: Fit) -> None:
    def uneven(config: dict[str, Any]) -> None:
        if config["rate"] < 0.3:
            tune.report({"score": 0.0, "step": 1, "cpus": 1.0})
        else:
            train(config)

    grid = {"rate": tune.grid_search([0.1, 0.5])}
    results = fit(uneven, grid, scheduler=ResourceChangingScheduler(interval=6), metric="score", mode="max")
    assert not results.errors
    long = list(results[1].metrics_dataframe["cpus"])
    assert long == [1.0] * 6 + [2.0] * (STEPS - 6), results[1].explain()


def test_the_ending_of_a_loop_finds_what_the_loop_sets(fit: Fit) -> None:
    """Waiting at what was its last iteration, and entered anew there: nobody knew; it goes on from before that."""

    def by_hand(config: dict[str, Any]) -> dict[str, float]:
        first, height = 0, 0.0
        if (checkpoint := tune.get_checkpoint()) is not None:
            first, height = json.loads(Path(checkpoint.path, "state.json").read_text())
        for step in range(first + 1, 9):
            height += config["rate"]
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "state.json").write_text(json.dumps([step, height]))
                tune.report(height=height, rate=config["rate"], checkpoint=tune.Checkpoint(folder))
            newest = height
        return {"final": newest}

    scheduler = PopulationBasedTraining(
        "training_iteration", perturbation_interval=4, hyperparam_mutations={"rate": tune.uniform(0, 1)}, synch=True
    )
    grid = fit(
        by_hand,
        {"rate": tune.uniform(0, 1)},
        metric="height",
        mode="max",
        num_samples=6,
        seed=2,
        scheduler=scheduler,
        max_resident_trials=0,
    )
    assert [str(result.status) for result in grid] == ["TERMINATED"] * 6
    for result in grid:
        assert result.metrics["final"] == result.metrics["height"] and result.metrics["rate"] == result.config["rate"]


class _Seen(tune.Callback):
    def __init__(self) -> None:
        self.results: list[tuple[float, ...]] = []

    def on_trial_result(self, iteration: Any, trials: Any, trial: Any, result: Any, **info: Any) -> None:
        self.results.append((result["score"], result["known"], result["config"]["lr"]))


class _Learns(BasicVariantGenerator):
    reads_results = True

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[float, float]] = []

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.told.append((result["score"], result["config"]["lr"]))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None, outcome: Outcome = Outcome.COMPLETED
    ) -> None:
        assert result is not None
        self.on_trial_result(trial_id, result)


@pytest.mark.parametrize("live", [True, False])
def test_callbacks_searchers_and_results_know_the_config_in_force(fit: Fit, live: bool) -> None:
    class Model:
        step = 0

        def save_state(self, directory: Path) -> None:
            (directory / "step").write_text(str(self.step))

        def load_state(self, directory: Path, iteration: int) -> None:
            self.step = int((directory / "step").read_text())

        def apply_config(self, changed: Any, before: Any) -> Any:
            return changed if live else ()

    def train(config: dict[str, Any]) -> None:
        session, model = tune_session.current(), Model()
        assert session is not None
        if session.start_checkpoint is not None:
            model.load_state(Path(session.start_checkpoint.path), 0)
        while model.step < 8:
            model.step += 1
            metrics = {"score": config["lr"], "known": tune.get_context().config["lr"]}
            session.report(metrics, iteration=model.step, model=model, last=model.step == 8)

    pbt = PopulationBasedTraining(
        "training_iteration", perturbation_interval=2, hyperparam_mutations={"lr": tune.uniform(0.1, 1.0)}
    )
    seen, searcher = _Seen(), _Learns()
    results = fit(
        train,
        {"lr": tune.grid_search([0.1, 0.3, 0.5, 0.9])},
        metric="score",
        mode="max",
        scheduler=pbt,
        search_alg=searcher,
        callbacks=[seen],
        seed=1,
    )
    assert not results.errors, results.errors
    assert {d.action for d in results.decisions} & {"IN_PLACE" if live else "RESTART"}
    assert seen.results and all(len(set(each)) == 1 for each in seen.results), seen.results
    assert searcher.told and all(score == rate for score, rate in searcher.told)
    for result in results:
        assert result.config["lr"] == result.metrics["score"] == result.metrics["known"]
