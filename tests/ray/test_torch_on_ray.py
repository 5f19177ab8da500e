"""Loops written by hand on the real engine: exploits in place, ASHA, two ranks; the plain form without the helper."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

import tune_plugins as tune
from tune_plugins.integrations.torch import TrainState
from tune_plugins.record.store import ExperimentStore
from tune_plugins.results import ResultGrid
from tune_plugins.schedulers import ASHAScheduler, HyperBandScheduler, PopulationBasedTraining

Fit = Callable[..., ResultGrid]
TrainedBy = Callable[..., str]
EPOCHS, INTERVAL = 12, 3
FEATURES = torch.linspace(-1, 1, 120).reshape(40, 3)
TARGETS = FEATURES @ torch.tensor([[1.0], [-2.0], [0.5]])


def network() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.set_num_threads(1)
    torch.manual_seed(5)
    return (model := nn.Linear(3, 1)), torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(FEATURES), TARGETS)
    loss.backward()
    optimizer.step()
    return loss.item()


def train(config: dict[str, Any]) -> None:
    model, optimizer = network()
    optimizer.param_groups[0]["lr"] = config["lr"]
    state = TrainState(model=model, optimizer=optimizer)
    for epoch in state.epochs(EPOCHS):
        loss = step(model, optimizer)
        weight = model.weight[0, 0].item()  # type: ignore[index,operator]
        rate = optimizer.param_groups[0]["lr"]
        state.report(loss=loss, weight=weight, rate=rate, epoch=epoch, model=id(model), pid=os.getpid())


def plain(config: dict[str, Any]) -> None:
    """The form without the helper: an exploit enters it anew."""
    model, optimizer = network()
    epoch = 0
    if (checkpoint := tune.get_checkpoint()) is not None:
        with checkpoint.as_directory() as directory:
            saved = torch.load(Path(directory, "state.pt"), weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        epoch = saved["epoch"]
    optimizer.param_groups[0]["lr"] = config["lr"]
    while True:
        loss, epoch = step(model, optimizer), epoch + 1
        with tempfile.TemporaryDirectory() as directory:
            saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
            torch.save(saved, Path(directory, "state.pt"))
            weight = model.weight[0, 0].item()  # type: ignore[index,operator]
            tune.report(
                loss=loss,
                weight=weight,
                rate=config["lr"],
                epoch=epoch - 1,
                pid=os.getpid(),
                checkpoint=tune.Checkpoint.from_directory(directory),
            )


def one_step_from(path: Path, rate: float) -> float:
    """The first weight after an epoch of plain PyTorch from a checkpoint, with another learning rate."""
    model, optimizer = network()
    saved = torch.load(path, weights_only=True)
    states = saved.get("objects", saved)
    model.load_state_dict(states["model"])
    optimizer.load_state_dict(states["optimizer"])
    optimizer.param_groups[0]["lr"] = rate
    step(model, optimizer)
    return model.weight[0, 0].item()  # type: ignore[index,operator]


def rates(*values: float, **fixed: Any) -> dict[str, Any]:
    return {"lr": tune.grid_search(list(values)), **fixed}


@pytest.mark.parametrize("function", [train, plain])
def test_population(fit: Fit, trained_by: TrainedBy, function: Any) -> None:
    results = fit(
        function,
        rates(0.3, 0.2, 0.001, 0.0001),
        metric="loss",
        mode="min",
        seed=1,
        stop={"training_iteration": EPOCHS},
        scheduler=PopulationBasedTraining(
            "training_iteration",
            perturbation_interval=INTERVAL,
            hyperparam_mutations={"lr": tune.loguniform(1e-4, 0.5)},
        ),
    )
    assert not results.errors, results.errors
    done = [decision for decision in results.decisions if decision.action in ("IN_PLACE", "RESTART")]
    assert {decision.action for decision in done} == {"IN_PLACE" if function is train else "RESTART"}
    assert all(decision.reason for decision in done)
    with ExperimentStore.open(results.experiment_path) as store:
        exploits = store.exploits()
        rows = {result.trial_id: store.results(result.trial_id) for result in results}
        checkpoints = {result.trial_id: store.checkpoints(result.trial_id) for result in results}
    for number, exploit in enumerate(exploits):
        after = next(
            row
            for row in rows[exploit.trial_id]
            if row["rate"] == exploit.config["lr"] and row["training_iteration"] == exploit.source_iteration + 1
        )
        assert after["epoch"] == exploit.source_iteration
        donors = [
            c.record
            for c in checkpoints[trained_by(exploits, number)]
            if c.record.iteration == exploit.source_iteration
        ]
        assert any(one_step_from(Path(d.path, "state.pt"), after["rate"]) == after["weight"] for d in donors)
        assert len({row["pid"] for row in rows[exploit.trial_id]}) == 1, "no process was restarted"
        if function is train:
            assert len({row["model"] for row in rows[exploit.trial_id]}) == 1, "the model stayed the same object"
    for result in results:
        assert result.metrics["epoch"] == EPOCHS - 1 and result.metrics["rate"] == result.config["lr"]
        assert result.checkpoint is not None
        assert (Path(result.checkpoint.path) / "state.pt").exists()


def test_asha(fit: Fit) -> None:
    results = fit(
        train,
        rates(0.0001, 0.3, 0.001, 0.2, 0.0005, 0.1),
        metric="loss",
        mode="min",
        scheduler=ASHAScheduler(max_t=EPOCHS, grace_period=3, reduction_factor=2),
    )
    assert not results.errors
    reached = [result.metrics["training_iteration"] for result in results]
    assert max(reached) == EPOCHS and min(reached) < EPOCHS
    for result, epochs in zip(results, reached, strict=True):
        assert list(result.metrics_dataframe["epoch"]) == list(range(epochs))
        saved = torch.load(Path(result.checkpoint.path, "state.pt"), weights_only=True)
        assert saved["epoch"] == epochs
        assert saved["objects"]["model"]["weight"][0, 0].item() == result.metrics["weight"]


def rank_main(rank: int, config: dict[str, Any], rendezvous: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    module, optimizer = network()
    optimizer.param_groups[0]["lr"] = config["lr"]
    model = DistributedDataParallel(module)
    state = TrainState(model=model, optimizer=optimizer)
    for epoch in state.epochs(5):
        loss = step(model, optimizer)
        state.report(loss=loss, rate=optimizer.param_groups[0]["lr"], epoch=epoch, rank=rank, pid=os.getpid())
    distributed.destroy_process_group()
    os._exit(0)  # see tests/integrations/test_torch.py


def two_ranks(config: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        arguments = (dict(config), f"{directory}/rendezvous")
        multiprocessing.start_processes(rank_main, arguments, nprocs=2, start_method=config.get("method", "spawn"))


@pytest.mark.slow
def test_population_of_spawned_ranks(fit: Fit) -> None:
    results = fit(
        two_ranks,
        rates(0.3, 0.0001),
        metric="loss",
        mode="min",
        seed=1,
        scheduler=PopulationBasedTraining(
            "training_iteration",
            perturbation_interval=2,
            quantile_fraction=0.5,
            synch=True,
            hyperparam_mutations={"lr": tune.loguniform(1e-4, 0.5)},
        ),
    )
    assert not results.errors, results.errors
    assert "IN_PLACE" in {decision.action for decision in results.decisions}
    for result in results:
        frame = result.metrics_dataframe
        assert set(frame["rank"]) == {0} and frame["epoch"].iloc[-1] == 4
        assert frame["rate"].iloc[-1] == result.config["lr"]


def test_forked_ranks_are_evicted_and_go_on(fit: Fit) -> None:
    results = fit(
        two_ranks,
        rates(0.3, 0.1, 0.001, 0.0001, method="fork"),
        metric="loss",
        mode="min",
        scheduler=HyperBandScheduler(max_t=4, reduction_factor=2),
        max_resident_trials=0,  # what is paused leaves its processes, and goes on from its checkpoint
    )
    assert not results.errors, results.errors
    entered = []
    for result in results:
        frame = result.metrics_dataframe
        assert list(frame["epoch"]) == list(range(len(frame))), "each epoch once"
        assert set(frame["rank"]) == {0}
        entered.append(frame["pid"].nunique())
    assert max(len(result.metrics_dataframe) for result in results) == 4
    assert max(entered) > 1, "no trial was evicted and resumed"
