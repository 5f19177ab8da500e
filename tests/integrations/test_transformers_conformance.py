"""The adapter for the Trainer of transformers in the conformance suite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import transformers_task as task
from transformers import Trainer, TrainerCallback

from tune_plugins import Checkpoint
from tune_plugins.integrations.transformers import TuneReportCallback, TuneReportCheckpointCallback
from tune_plugins.testing.adapters import AdapterConformance, Script


class PutBack(TrainerCallback):
    """What a user of the plain Trainer writes to go on with hyper-parameters other than the checkpoint's."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config

    def on_train_begin(
        self, args: Any, state: Any, control: Any, optimizer: Any = None, lr_scheduler: Any = None, **kwargs: Any
    ) -> None:
        new = self.config["learning_rate"]
        for group in optimizer.param_groups:
            group["lr"] *= new / group["initial_lr"]
            group["initial_lr"] = new
            group["betas"] = (self.config["adam_beta1"], group["betas"][1])
            if group["weight_decay"]:
                group["weight_decay"] = self.config["weight_decay"]
        lr_scheduler.base_lrs = [new for _ in optimizer.param_groups]


NO_COUNTER = "The Trainer's loop counter cannot be set: from the state of another epoch it goes on by a new entry."


class TestTransformers(AdapterConformance):
    module = "tune_plugins.integrations.transformers"
    adapters = (TuneReportCheckpointCallback, TuneReportCallback)
    framework, extra, label = "transformers", "transformers", "Transformers"
    config: ClassVar[dict[str, Any]] = task.CONFIG
    live: ClassVar[dict[str, Any]] = task.LIVE
    entering: ClassVar[dict[str, Any]] = {**task.CONFIG, "dropout": 0.3}
    reshaped: ClassVar[dict[str, Any]] = {**task.CONFIG, "intermediate_size": 24}
    metrics = ("eval_accuracy", "eval_loss", "loss", "grad_norm", "learning_rate")
    always = ("epoch", "global_step")
    declared: ClassVar[dict[str, str]] = {
        "exploit_from_another_iteration": NO_COUNTER,
        "exploit_from_a_donor_ahead": NO_COUNTER,
    }

    @pytest.fixture(autouse=True)
    def _one_thread(self, tmp_path: Path) -> Iterator[None]:
        self.output = tmp_path / "output"
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)
        assert not self.output.exists() or not any(self.output.iterdir()), "something was written into output_dir"

    def train(self, script: Script) -> Trainer:
        kind = TuneReportCheckpointCallback if script.saves else TuneReportCallback
        evaluations = 0

        def accuracy(prediction: Any) -> dict[str, float]:
            nonlocal evaluations
            evaluations += 1
            return {"accuracy": float("nan")} if script.nan and evaluations == 2 else task.accuracy(prediction)

        trainer = task.make(
            script.config,
            self.output,
            task.Notes(script.models),
            kind(**script.adapter),
            epochs=script.iterations,
            metrics=accuracy,
        )
        trainer.train()
        script.ended += 1
        script.history |= task.history(trainer)
        return trainer

    def train_alone(self, config: Mapping[str, Any], iterations: int) -> Trainer:
        trainer = task.make(config, self.output, epochs=iterations)
        trainer.train()
        return trainer

    def go_on_alone(self, config: Mapping[str, Any], iterations: int, directory: Path, at: int) -> Trainer:
        trainer = task.make(config, self.output, PutBack(config), epochs=iterations)
        trainer.train(resume_from_checkpoint=str(directory))
        return trainer

    def state(self, model: Trainer) -> Any:
        return task.state(model)

    def predictions(self, checkpoint: Checkpoint, config: Mapping[str, Any]) -> Any:
        model = checkpoint.load_model()
        model.set_attn_implementation("eager")  # as it was built: no hyper-parameter, which is not stored
        return task.predictions(model)
