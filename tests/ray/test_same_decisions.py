"""The same order of results, the same decisions: real trials on Ray against the simulated runtime.

A simulated run says in which order trials come to their milestones and to their ends. The real trials are held at
these points until all earlier ones have been dealt with, so that the core hears of them in the same order; and
nothing else of the simulation gets to the run on Ray. Then the logs of decisions are compared, word for word.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins.callbacks import Callback
from tune_plugins.core.events import ResultsReported, TrialFinished
from tune_plugins.record.checkpoint import Checkpoint
from tune_plugins.record.store import ExperimentStore
from tune_plugins.results import ResultGrid
from tune_plugins.schedulers import (
    ASHAScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PercentileStopping,
    PopulationBasedTraining,
    TrialScheduler,
)

STEPS, TRIALS, SLOTS = 9, 12, 2
SPACE = {"x": tune.uniform(0, 1), "y": tune.uniform(0.5, 2)}


def loss(config: Mapping[str, Any], step: int) -> float:
    """Curves that cross: a low end is reached late."""
    return float((1 - config["x"]) + config["x"] * 2.0 ** (-step * config["y"]) + 0.05 * ((7 * step) % 5))


class Stepwise:
    """The same training for the simulation; its state is the number of steps done."""

    def start(self, index: int, config: dict[str, Any], seed: int) -> int:
        return 0

    def step(self, state: int, config: dict[str, Any]) -> tuple[int, dict[str, Any], float] | None:
        return (state + 1, {"loss": loss(config, state + 1)}, config["y"]) if state < STEPS else None


def in_turn(config: dict[str, Any], plan: dict[str, int], folder: str) -> None:
    """Reports `loss`, and waits before a report of the plan until it is its turn."""
    gate, trial = Path(folder), tune.get_context().trial_id
    begun = 0
    if (checkpoint := tune.get_checkpoint()) is not None:
        begun = json.loads(Path(checkpoint.path, "step").read_text())
    for step in range(begun + 1, STEPS + 1):
        place = plan.get(f"{trial}:{step}")
        deadline = time.monotonic() + 600
        while place is not None and len(list(gate.iterdir())) < place:
            assert time.monotonic() < deadline, f"place {place} of trial {trial} at {step} never came"
            time.sleep(0.002)
        state = gate.parent / f"state-{trial}-{step}"
        state.mkdir(exist_ok=True)
        (state / "step").write_text(json.dumps(step))
        tune.report({"loss": loss(config, step)}, checkpoint=Checkpoint(state))


class TurnTaker(Callback):
    """Lets the next one go when the core has dealt with what was to come before it."""

    def __init__(self, order: list[tuple[str, int]], folder: Path) -> None:
        self.order, self.folder, self.seen, self.done = order, folder, set[tuple[str, int]](), 0

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        self._see(trial.id, int(result["training_iteration"]))

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._see(trial.id, 0)

    def _see(self, trial_id: str, iteration: int) -> None:
        self.seen.add((trial_id, iteration))
        while self.done < len(self.order) and self.order[self.done] in self.seen:
            (self.folder / str(self.done)).touch()
            self.done += 1


def order_of(results: ResultGrid) -> list[tuple[str, int]]:
    """(trial, iteration) of the results for which trials waited, and (trial, 0) of their ends, as they happened."""
    order: list[tuple[str, int]] = []
    with ExperimentStore.open(results.experiment_path) as store:
        for event in store.events():
            if isinstance(event, ResultsReported) and event.waiting:
                order.append((event.trial_id, event.results[-1]["training_iteration"]))
            elif isinstance(event, TrialFinished):
                order.append((event.trial_id, 0))
    return order


@pytest.mark.parametrize(
    "make",
    [
        lambda: ASHAScheduler(max_t=9, reduction_factor=3),
        lambda: ASHAScheduler(max_t=9, reduction_factor=3, variant="promotion"),
        lambda: MedianStoppingRule("training_iteration", grace_period=2),
        lambda: MedianStoppingRule("training_iteration", grace_period=2, hard_stop=False),
        lambda: PercentileStopping(40, patience=2, n_startup_trials=3),
        lambda: HyperBandScheduler(max_t=9, reduction_factor=3),
        lambda: PopulationBasedTraining("training_iteration", perturbation_interval=3, hyperparam_mutations=SPACE),
    ],
    ids=["asha", "asha-promotion", "median", "median-pausing", "percentile", "hyperband", "pbt"],
)
def test_real_trials_are_decided_as_simulated_ones(make: Any, tmp_path: Path) -> None:
    def config(scheduler: TrialScheduler) -> tune.TuneConfig:
        return tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=TRIALS,
            seed=3,
            scheduler=scheduler,
            max_concurrent_trials=SLOTS,
        )

    simulated = tune.simulate(
        Stepwise(),
        param_space=SPACE,
        tune_config=config(make()),
        cluster=tune.SimulatedCluster(workers=SLOTS),
    )
    order = order_of(simulated)
    assert len(set(order)) == len(order), "choose another seed: a trial comes to the same point twice"
    # A trial that ends by itself is held before its last report, and so is its end.
    last = {result.trial_id: int(result.metrics["training_iteration"]) for result in simulated}
    plan = {f"{trial}:{step or last[trial]}": place for place, (trial, step) in reversed(list(enumerate(order)))}
    folder = tmp_path / "turns"
    folder.mkdir()
    turns = TurnTaker(order, folder)
    real = tune.Tuner(
        tune.with_parameters(in_turn, plan=plan, folder=str(folder)),
        param_space=SPACE,
        tune_config=config(make()),
        run_config=tune.RunConfig(storage_path=tmp_path / "results", verbose=0, callbacks=[turns]),
    ).fit()

    def log(results: ResultGrid) -> list[tuple[str, int, str, str]]:
        """What was decided, without how the worker carried it out."""
        done = ("IN_PLACE", "RESTART")
        return [(d.trial_id, d.iteration, d.action, d.reason) for d in results.decisions if d.action not in done]

    assert log(real) == log(simulated)
    assert len(log(real)) >= 3
    assert turns.done == len(order)
    assert [(r.config, r.reason, r.metrics["loss"]) for r in real] == [
        (r.config, r.reason, r.metrics["loss"]) for r in simulated
    ]
