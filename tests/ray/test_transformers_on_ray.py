"""The Trainer of transformers on the real engine: an unchanged script in a population, and stopped by ASHA."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

import tune_plugins as tune
from tune_plugins.integrations.transformers import TuneReportCheckpointCallback, hyperparameter_search
from tune_plugins.record.store import ExperimentStore
from tune_plugins.results import ResultGrid
from tune_plugins.schedulers import ASHAScheduler, PopulationBasedTraining

Fit = Callable[..., ResultGrid]
TrainedBy = Callable[..., str]
EPOCHS, INTERVAL = 6, 2
FEATURES = torch.linspace(-1, 1, 120).reshape(40, 3)
TARGETS = FEATURES @ torch.tensor([1.0, -2.0, 0.5])
ROWS = [{"x": x, "labels": y} for x, y in zip(FEATURES, TARGETS, strict=True)]


class Line(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.line = torch.nn.Linear(3, 1)

    def forward(self, x: Any, labels: Any = None) -> Any:
        y = self.line(x).squeeze(-1)
        return {"loss": torch.nn.functional.mse_loss(y, labels), "y": y}


def trainer(config: dict[str, Any], output: str, *callbacks: Any) -> Trainer:
    torch.set_num_threads(1)
    model = Line()

    def measure(prediction: Any) -> dict[str, float]:
        return {"weight": model.line.weight[0, 0].item(), "model": id(model), "pid": os.getpid()}

    made = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=output,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=10,
            eval_strategy="epoch",
            logging_strategy="epoch",
            save_strategy="no",
            lr_scheduler_type="constant",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            **config,
        ),
        train_dataset=ROWS,
        eval_dataset=ROWS[::2],
        compute_metrics=measure,
        callbacks=list(callbacks),
    )
    made.remove_callback(PrinterCallback)
    return made


def train(config: dict[str, Any]) -> None:
    context = tune.get_context()
    trainer(dict(config), f"{context.get_trial_dir()}/output", TuneReportCheckpointCallback()).train()


def weight_after_an_epoch(directory: Path, rate: float, output: Path) -> float:
    """The first weight after an epoch of the plain Trainer from a checkpoint, with another learning rate."""

    class Another(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any) -> None:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] = rate
            kwargs["lr_scheduler"].base_lrs = [rate] * len(optimizer.param_groups)

        def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = True

    plain = trainer({"learning_rate": rate}, str(output), Another())
    plain.train(resume_from_checkpoint=str(directory))
    return plain.model.line.weight[0, 0].item()


def rates(*values: float) -> dict[str, Any]:
    return {"learning_rate": tune.grid_search(list(values))}


@pytest.mark.parametrize("synch", [True, False])
def test_population(fit: Fit, trained_by: TrainedBy, tmp_path: Path, synch: bool) -> None:
    results = fit(
        train,
        rates(0.3, 0.2, 0.001, 0.0001),
        metric="eval_loss",
        mode="min",
        seed=1,
        stop={"training_iteration": EPOCHS},
        scheduler=PopulationBasedTraining(
            "training_iteration",
            perturbation_interval=INTERVAL,
            hyperparam_mutations={"learning_rate": tune.loguniform(1e-4, 0.5)},
            synch=synch,
        ),
    )
    assert not results.errors, results.errors
    done = [decision for decision in results.decisions if decision.action in ("IN_PLACE", "RESTART")]
    assert done and all(decision.reason for decision in done)
    if synch:  # all donors are at the epoch of the one that takes over
        assert {decision.action for decision in done} == {"IN_PLACE"}
    else:
        assert all("loop is at step" in d.reason for d in done if d.action == "RESTART")
    with ExperimentStore.open(results.experiment_path) as store:
        exploits = store.exploits()
        rows = {result.trial_id: store.results(result.trial_id) for result in results}
        checkpoints = {result.trial_id: store.checkpoints(result.trial_id) for result in results}
    for number, exploit in enumerate(exploits):
        after = next(
            row
            for row in rows[exploit.trial_id]
            if row["learning_rate"] == exploit.config["learning_rate"]
            and row["training_iteration"] == exploit.source_iteration + 1
        )
        assert after["epoch"] == exploit.source_iteration + 1
        assert len({row["eval_pid"] for row in rows[exploit.trial_id]}) == 1, "no process was restarted"
        if synch:
            assert len({row["eval_model"] for row in rows[exploit.trial_id]}) == 1, "the model stayed the same object"
        donors = [
            c.record
            for c in checkpoints[trained_by(exploits, number)]
            if c.record.iteration == exploit.source_iteration
        ]
        continued = [weight_after_an_epoch(Path(d.path), after["learning_rate"], tmp_path) for d in donors]
        assert after["eval_weight"] in continued
    for result in results:
        assert result.metrics["epoch"] == EPOCHS
        assert result.metrics["learning_rate"] == result.config["learning_rate"]


def test_asha(fit: Fit) -> None:
    results = fit(
        train,
        rates(0.0001, 0.3, 0.001, 0.2, 0.0005, 0.1),
        metric="eval_loss",
        mode="min",
        scheduler=ASHAScheduler(max_t=EPOCHS, grace_period=2, reduction_factor=2),
    )
    assert not results.errors
    reached = [result.metrics["training_iteration"] for result in results]
    assert max(reached) == EPOCHS and min(reached) < EPOCHS
    for result, epochs in zip(results, reached, strict=True):
        assert list(result.metrics_dataframe["epoch"]) == [float(epoch) for epoch in range(1, epochs + 1)]
        assert result.checkpoint is not None
        saved = load_file(Path(result.checkpoint.path, "model.safetensors"))
        assert saved["line.weight"][0, 0].item() == result.metrics["eval_weight"]


class Measured(Trainer):
    """Adds to each evaluation what is known of the process that it is in."""

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        found = {"data": id(self.train_dataset), "pid": os.getpid(), "ray_tune": float("ray.tune" in sys.modules)}
        return {**super().evaluate(*args, **kwargs), **found, "weight": self.model.line.weight[0, 0].item()}


@pytest.mark.parametrize("synch", [True, False])
def test_search_by_the_trainer(tmp_path: Path, synch: bool) -> None:
    seen: dict[str, Any] = {}

    def objective(metrics: dict[str, float]) -> float:
        assert not metrics["ray_tune"], "Ray Tune is imported by nobody"
        data = seen.setdefault("data", metrics["data"])
        assert metrics["data"] == data, "trials of a process share the data"
        return metrics["eval_loss"]

    made = Measured(
        model_init=Line,
        args=TrainingArguments(
            output_dir=str(tmp_path / "output"),
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=10,
            eval_strategy="epoch",
            logging_strategy="epoch",
            save_strategy="no",
            lr_scheduler_type="constant",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=ROWS,
        eval_dataset=ROWS[::2],
    )
    made.remove_callback(PrinterCallback)
    best = hyperparameter_search(
        made,
        lambda _: rates(0.3, 0.2, 0.001, 0.0001),
        1,
        compute_objective=objective,
        scheduler=PopulationBasedTraining(
            "training_iteration",
            perturbation_interval=INTERVAL,
            hyperparam_mutations={
                "learning_rate": tune.loguniform(1e-4, 0.5),
                "per_device_train_batch_size": [5, 10, 20],
            },
            synch=synch,
        ),
        seed=1,
        storage_path=tmp_path / "results",
        verbose=0,
    )
    grid = best.run_summary.grid
    assert not grid.errors and "ray.tune" not in sys.modules
    assert best.objective == min(result.metrics["objective"] for result in grid)
    assert {decision.action for decision in grid.decisions} & {"IN_PLACE", "RESTART"}
    for result in grid:
        assert result.metrics["epoch"] == EPOCHS
        assert result.metrics["global_step"] == EPOCHS * len(ROWS) // result.config["per_device_train_batch_size"]
