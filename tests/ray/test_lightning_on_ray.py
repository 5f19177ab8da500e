"""The Lightning adapter on the real engine: a population in place, ASHA, and trainings of two processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tune_plugins as tune
from tune_plugins.integrations.lightning import TuneReportCheckpointCallback
from tune_plugins.record.store import ExperimentStore
from tune_plugins.results import ResultGrid
from tune_plugins.schedulers import ASHAScheduler, HyperBandScheduler, PopulationBasedTraining

Fit = Callable[..., ResultGrid]
TrainedBy = Callable[..., str]
EPOCHS, INTERVAL = 8, 2
FEATURES = torch.linspace(-1, 1, 120).reshape(40, 3)
TARGETS = FEATURES @ torch.tensor([[1.0], [-2.0], [0.5]])


class Linear(LightningModule):
    """Logs a weight, its rate, and who and where it is."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.rate, self.layer = config["lr"], nn.Linear(3, 1)

    def training_step(self, batch: Any, index: int) -> Any:
        return nn.functional.mse_loss(self.layer(batch[0]), batch[1])

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("loss", nn.functional.mse_loss(self.layer(batch[0]), batch[1]), sync_dist=True)
        self.log("mean_weight", self.layer.weight[0, 0], sync_dist=True)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.rate, momentum=0.5)

    def loader(self) -> Any:
        return DataLoader(TensorDataset(FEATURES, TARGETS), batch_size=10)

    train_dataloader = val_dataloader = loader


class Facts(Callback):
    """What a metric of the module cannot tell; in the same row, as it stands before the adapter.

    So for the weight: what the module logs is a mean over the batches, which is rounded as the processor does it.
    """

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        facts = {"rate": rate, "pid": os.getpid(), "module": id(module), "rank": trainer.global_rank}
        trainer.callback_metrics.update(facts, weight=module.layer.weight[0, 0].item())


def trainer_of(epochs: int, *callbacks: Any, **options: Any) -> Any:
    torch.set_num_threads(1)
    return Trainer(
        max_epochs=epochs,
        callbacks=list(callbacks),
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def train(config: dict[str, Any]) -> None:
    trainer_of(EPOCHS, Facts(), TuneReportCheckpointCallback()).fit(Linear(config))


def train_on_two(config: dict[str, Any]) -> None:
    options = {"strategy": f"ddp_{config['method']}", "devices": 2}
    trainer_of(EPOCHS - 1, Facts(), TuneReportCheckpointCallback(), **options).fit(Linear(config))


def train_on_two_with_care(config: dict[str, Any]) -> None:
    """A script that goes on after errors; an eviction is none."""
    note = Path(config["notes"], str(config["lr"]))
    with note.open("a") as file:
        try:
            print("fit", file=file, flush=True)
            train_on_two(config)
        except Exception as error:
            print(type(error).__name__, file=file)
        print("behind it", file=file)


class UnderRate(Callback):
    def __init__(self, rate: float) -> None:
        self.rate = rate

    def on_train_start(self, trainer: Any, module: Any) -> None:
        trainer.optimizers[0].param_groups[0]["lr"] = self.rate


def one_epoch_from(path: Path, at: int, rate: float) -> float:
    """The first weight after an epoch of plain Lightning from a checkpoint, with another learning rate."""
    model = Linear({"lr": rate})
    trainer_of(at + 1, UnderRate(rate)).fit(model, ckpt_path=path)
    return model.layer.weight[0, 0].item()


def rates(*values: float, **more: Any) -> dict[str, Any]:
    return {"lr": tune.grid_search(list(values)), **more}


def population(**options: Any) -> PopulationBasedTraining:
    return PopulationBasedTraining(
        "training_iteration",
        perturbation_interval=INTERVAL,
        hyperparam_mutations={"lr": tune.loguniform(1e-4, 0.5)},
        **options,
    )


def test_a_population_larger_than_the_slots_exploits_in_place(fit: Fit, trained_by: TrainedBy) -> None:
    results = fit(train, rates(0.3, 0.2, 0.001, 0.0001), metric="loss", mode="min", seed=1, scheduler=population())
    assert not results.errors, results.errors
    done = [decision for decision in results.decisions if decision.action in ("IN_PLACE", "RESTART")]
    assert {decision.action for decision in done} == {"IN_PLACE"}
    with ExperimentStore.open(results.experiment_path) as store:
        exploits = store.exploits()
        rows = {result.trial_id: store.results(result.trial_id) for result in results}
        checkpoints = {result.trial_id: store.checkpoints(result.trial_id) for result in results}
    compared = 0
    for number, exploit in enumerate(exploits):
        following = [
            row
            for row in rows[exploit.trial_id]
            if row["rate"] == exploit.config["lr"] and row["training_iteration"] == exploit.source_iteration + 1
        ]
        donors = [
            c.record
            for c in checkpoints[trained_by(exploits, number)]
            if c.record.iteration == exploit.source_iteration
        ]
        for row in following:  # none after a donor that had trained to the end
            at = exploit.source_iteration
            assert row["epoch"] == at
            paths = [Path(donor.path, "checkpoint.ckpt") for donor in donors]
            assert any(one_epoch_from(path, at, row["rate"]) == row["weight"] for path in paths)
            compared += 1
        for fact in ("pid", "module"):
            assert len({row[fact] for row in rows[exploit.trial_id]}) == 1, f"another {fact}"
    assert compared
    for result in results:
        assert (Path(result.checkpoint.path) / "checkpoint.ckpt").exists()


def test_asha_stops_and_the_rest_trains_on(fit: Fit) -> None:
    results = fit(
        train,
        rates(0.0001, 0.3, 0.001, 0.2, 0.0005, 0.1),
        metric="loss",
        mode="min",
        scheduler=ASHAScheduler(max_t=EPOCHS, grace_period=2, reduction_factor=2),
    )
    assert not results.errors, results.errors
    reached = [result.metrics["training_iteration"] for result in results]
    assert max(reached) == EPOCHS and min(reached) < EPOCHS
    for result, epochs in zip(results, reached, strict=True):
        assert list(result.metrics_dataframe["epoch"]) == list(range(epochs))
        saved = torch.load(Path(result.checkpoint.path, "checkpoint.ckpt"), weights_only=True)
        weight = saved["state_dict"]["layer.weight"][0, 0].item()
        assert weight == result.metrics["weight"]
        # A mean of four numbers of 24 bits: a few roundings of 6e-8 each.
        assert result.metrics["mean_weight"] == pytest.approx(weight, rel=1e-6)


@pytest.mark.slow
def test_spawned_ranks_report_and_stop(fit: Fit) -> None:
    results = fit(train_on_two, {"lr": 0.1, "method": "spawn"}, stop={"training_iteration": 2})
    assert not results.errors, results.errors
    (result,) = results
    assert list(result.metrics_dataframe["epoch"]) == [0, 1]
    assert set(result.metrics_dataframe["rank"]) == {0} and result.metrics["step"] == 4


def test_a_population_of_forked_ranks(fit: Fit) -> None:
    results = fit(
        train_on_two,
        rates(0.3, 0.0001, method="fork"),
        metric="loss",
        mode="min",
        seed=1,
        scheduler=population(quantile_fraction=0.5, synch=True),
    )
    assert not results.errors, results.errors
    assert "IN_PLACE" in {decision.action for decision in results.decisions}
    for result in results:
        frame = result.metrics_dataframe
        assert set(frame["rank"]) == {0} and frame["epoch"].iloc[-1] == EPOCHS - 2
        assert frame["rate"].iloc[-1] == result.config["lr"]


def test_forked_ranks_are_evicted_and_go_on(fit: Fit, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    results = fit(
        train_on_two_with_care,
        rates(0.3, 0.1, 0.001, 0.0001, method="fork", notes=str(notes)),
        metric="loss",
        mode="min",
        scheduler=HyperBandScheduler(max_t=EPOCHS - 1, reduction_factor=2),
        max_resident_trials=0,  # what is paused leaves its process, and goes on from its checkpoint
    )
    assert not results.errors, results.errors
    entries = []
    for result in results:
        frame = result.metrics_dataframe
        assert list(frame["epoch"]) == list(range(len(frame))), "each epoch once"
        noted = Path(notes, str(result.config["lr"])).read_text().splitlines()
        fits = noted.count("fit")
        # One that is stopped while it is paused does not come back.
        assert noted in (["fit"] * fits, ["fit"] * fits + ["behind it"])
        assert frame["pid"].nunique() == fits
        entries.append((fits, noted[-1]))
    assert any(fits > 1 and last == "behind it" for fits, last in entries), "no trial was evicted, resumed and ended"
