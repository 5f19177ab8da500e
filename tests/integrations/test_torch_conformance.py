"""The helper for loops written by hand against the conformance suite, with a real tiny network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from tune_plugins import Checkpoint
from tune_plugins.integrations.torch import TrainState
from tune_plugins.testing.adapters import AdapterConformance, Script

FEATURES = torch.linspace(-1, 1, 120).reshape(40, 3)
LABELS = (FEATURES.sum(1) > 0).long()


class Training:
    """Network with dropout, shuffled batches, momentum, a schedule: all that has a state."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(7)
        hidden = config.get("hidden", 8)
        self.model = nn.Sequential(nn.Linear(3, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, 2))
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=config["lr"],
            momentum=config["momentum"],
            weight_decay=config["weight_decay"],
            nesterov=config["nesterov"],
        )
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 2, gamma=config["gamma"])

    def epoch(self) -> float:
        self.model.train()
        total = 0.0
        for batch in torch.randperm(40).split(10):
            self.optimizer.zero_grad()
            loss = nn.functional.cross_entropy(self.model(FEATURES[batch]), LABELS[batch])
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        self.scheduler.step()
        return total

    @torch.no_grad()
    def accuracy(self) -> float:
        self.model.eval()
        return float((self.model(FEATURES).argmax(1) == LABELS).float().mean())


class TestTorch(AdapterConformance):
    module = "tune_plugins.integrations.torch"
    adapters = (TrainState,)
    framework, extra, label = "torch", "torch", "PyTorch"
    config: ClassVar[dict[str, Any]] = {
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.01,
        "nesterov": False,
        "gamma": 0.5,
    }
    live: ClassVar[dict[str, Any]] = {"lr": 0.03, "momentum": 0.5, "weight_decay": 0.1, "nesterov": True, "gamma": 0.5}
    entering: ClassVar[dict[str, Any]] = {
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.01,
        "nesterov": False,
        "gamma": 0.1,
    }
    reshaped: ClassVar[dict[str, Any]] = {**config, "hidden": 12}
    metrics = ("loss", "accuracy")

    def train(self, script: Script) -> Any:
        training = Training(script.config)
        state = TrainState(
            model=training.model,
            optimizer=training.optimizer,
            scheduler=training.scheduler,
            save_checkpoints=script.saves,
            **script.adapter,
        )
        for epoch in state.epochs(script.iterations):
            loss, accuracy = training.epoch(), training.accuracy()
            if script.nan and epoch == 1:
                loss = float("nan")
            script.models.append(training.model)
            script.history.setdefault("loss", []).append(loss)
            script.history.setdefault("accuracy", []).append(accuracy)
            state.report(loss=loss, accuracy=accuracy)
        script.ended += 1
        return training

    def train_alone(self, config: Mapping[str, Any], iterations: int) -> Any:
        training = Training(config)
        for _ in range(iterations):
            training.epoch(), training.accuracy()
        return training

    def go_on_alone(self, config: Mapping[str, Any], iterations: int, directory: Path, at: int) -> Any:
        training = Training(config)
        saved = torch.load(directory / "state.pt", weights_only=True)
        states = SimpleNamespace(**saved["objects"])
        training.model.load_state_dict(states.model)
        training.optimizer.load_state_dict(states.optimizer)
        training.scheduler.load_state_dict(states.scheduler)
        (group,) = training.optimizer.param_groups
        base = group["initial_lr"]
        if saved["objects"]["scheduler"]["gamma"] != config["gamma"]:
            rate = config["lr"]  # the schedule as the script has it, at this point
            for epoch in range(1, at + 1):
                rate = rate * config["gamma"] if epoch % 2 == 0 else rate
            group["lr"] = rate
        elif group["lr"] == base:
            group["lr"] = config["lr"]
        else:
            group["lr"] *= config["lr"] / base
        group["initial_lr"] = config["lr"]
        group |= {name: config[name] for name in ("momentum", "weight_decay", "nesterov")}
        training.scheduler.base_lrs, training.scheduler.gamma = [config["lr"]], config["gamma"]
        torch.set_rng_state(saved["random"][0]["torch"])
        for _ in range(at, iterations):
            training.epoch(), training.accuracy()
        return training

    def state(self, model: Any) -> Any:
        optimizer = model.optimizer.state_dict()
        model.model.eval()
        with torch.no_grad():
            predictions = model.model(FEATURES).numpy()
        return {
            "weights": {name: value.numpy() for name, value in model.model.state_dict().items()},
            "momentum": [np.asarray(one["momentum_buffer"]) for one in optimizer["state"].values()],
            "settings": [{k: v for k, v in g.items() if k != "params"} for g in optimizer["param_groups"]],
            "schedule": [model.scheduler.last_epoch, model.scheduler.base_lrs, model.scheduler.get_last_lr()],
            "predictions": predictions,
        }

    def predictions(self, checkpoint: Checkpoint, config: Mapping[str, Any]) -> Any:
        model = checkpoint.load_model(lambda config: Training(config).model, config=config).eval()
        with torch.no_grad():
            return model(FEATURES).numpy()
