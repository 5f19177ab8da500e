"""The Lightning adapter through the conformance suite, with the Trainer of each of the two packages."""

from __future__ import annotations

import importlib
import logging
import sys
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch
import pytest
import pytorch_lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tune_plugins import Checkpoint
from tune_plugins.errors import MissingDependencyError
from tune_plugins.integrations import lightning as lightning_adapter
from tune_plugins.integrations.lightning import TuneReportCallback, TuneReportCheckpointCallback
from tune_plugins.testing.adapters import AdapterConformance, Script


@pytest.fixture(autouse=True)
def _quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    for name in ("lightning.pytorch", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def without(absent: Collection[str], forgotten: Collection[str]) -> Iterator[None]:
    """Packages cannot be imported, as if they were not installed, and modules are imported anew; put back behind it."""
    before = dict(sys.modules)
    for name in before:
        if name.partition(".")[0] in absent or name in forgotten:
            del sys.modules[name]
    sys.modules.update(dict.fromkeys(absent))
    try:
        yield
    finally:
        sys.modules.clear()
        sys.modules.update(before)
        # The package has its modules as attributes, too.
        for name in forgotten:
            package, _, last = name.rpartition(".")
            setattr(sys.modules[package], last, before[name])


def loaders(batch_size: int) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(48, 6, generator=generator)
    y = (x @ torch.randn(6, generator=generator) > 0).long()
    train, val = TensorDataset(x[:32], y[:32]), TensorDataset(x[32:], y[32:])
    return DataLoader(train, batch_size=batch_size), DataLoader(val, batch_size=8)


def make_module(package: Any, config: Mapping[str, Any], nan_at: int | None = None) -> Any:
    class Net(package.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(5)
            self.net = nn.Sequential(nn.Linear(6, config["width"]), nn.ReLU(), nn.Linear(config["width"], 2))

        def training_step(self, batch: Any, index: int) -> Any:
            loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            self.log("train_loss", loss, on_step=False, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            self.log("val_loss", loss * float("nan") if self.current_epoch == nan_at else loss)

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(
                self.parameters(),
                lr=config["lr"],
                momentum=config["momentum"],
                weight_decay=config["weight_decay"],
            )
            return {
                "optimizer": optimizer,
                "lr_scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9),
            }

    return Net()


def trainer_of(package: Any, iterations: int, *callbacks: Any) -> Any:
    return package.Trainer(
        max_epochs=iterations,
        callbacks=list(callbacks),
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


class TestLightning(AdapterConformance):
    package: Any = lightning.pytorch
    module = "tune_plugins.integrations.lightning"
    adapters = (TuneReportCheckpointCallback, TuneReportCallback)
    framework, extra, label = "lightning", "lightning", "Lightning"
    iterations = 6
    config: Mapping[str, Any] = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01, "width": 8}
    live: Mapping[str, Any] = {"lr": 0.2, "momentum": 0.5, "weight_decay": 0.003, "width": 8}
    entering: Mapping[str, Any] = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01, "width": 8, "batch_size": 4}
    reshaped: Mapping[str, Any] = {**config, "width": 12}
    metrics = ("val_loss", "train_loss")
    always = ("epoch", "step")

    def train(self, script: Script) -> Any:
        package = self.package

        class Notes(package.Callback):
            def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
                script.models.append(module)
                for name in ("val_loss", "train_loss"):
                    script.history.setdefault(name, []).append(trainer.callback_metrics[name].item())

        kind = TuneReportCheckpointCallback if script.saves else TuneReportCallback
        model = make_module(package, script.config, nan_at=1 if script.nan else None)
        trainer = trainer_of(package, script.iterations, kind(**script.adapter), Notes())
        trainer.fit(model, *loaders(script.config.get("batch_size", 8)))
        script.ended += 1
        return trainer

    def train_alone(self, config: Mapping[str, Any], iterations: int) -> Any:
        trainer = trainer_of(self.package, iterations)
        trainer.fit(make_module(self.package, config), *loaders(config.get("batch_size", 8)))
        return trainer

    def go_on_alone(self, config: Mapping[str, Any], iterations: int, directory: Path, at: int) -> Any:
        class UnderThisConfig(self.package.Callback):  # what Lightning restores are those that were stored
            def on_train_start(self, trainer: Any, module: Any) -> None:
                (group,) = trainer.optimizers[0].param_groups
                group["lr"] = (
                    config["lr"]
                    if group["lr"] == group["initial_lr"]
                    else (group["lr"] * (config["lr"] / group["initial_lr"]))
                )
                group["initial_lr"] = config["lr"]
                group["momentum"], group["weight_decay"] = config["momentum"], config["weight_decay"]
                trainer.lr_scheduler_configs[0].scheduler.base_lrs = [config["lr"]]

        trainer = trainer_of(self.package, iterations, UnderThisConfig())
        data = loaders(config.get("batch_size", 8))
        trainer.fit(make_module(self.package, config), *data, ckpt_path=str(directory / "checkpoint.ckpt"))
        return trainer

    def state(self, model: Any) -> Any:
        module = model.lightning_module
        with torch.no_grad():
            predictions = module.net(torch.linspace(-1, 1, 30).reshape(5, 6)).numpy()
        optimizer = model.optimizers[0].state_dict()
        return {
            "weights": {name: value.numpy() for name, value in module.state_dict().items()},
            "momentum": {key: value["momentum_buffer"].numpy() for key, value in optimizer["state"].items()},
            "groups": [{k: v for k, v in group.items() if k != "params"} for group in optimizer["param_groups"]],
            "predictions": predictions,
            "counters": [model.current_epoch, model.global_step],
        }

    def predictions(self, checkpoint: Checkpoint, config: Mapping[str, Any]) -> Any:
        module = checkpoint.load_model(lambda config: make_module(self.package, config), config=config)
        with torch.no_grad():
            return module.net(torch.linspace(-1, 1, 30).reshape(5, 6)).numpy()

    def test_missing_framework_is_named(self) -> None:
        """Without both packages the import fails; each of them alone does.

        The adapter is imported anew in this process, which has both: a process for each case would import one of them
        for ten seconds.
        """
        both = ("lightning", "pytorch_lightning")
        own = [name for name in sys.modules if name.startswith("tune_plugins.integrations.")]
        for absent, present in (((both[0],), both[1]), ((both[1],), both[0])):
            with without(absent, own):
                adapter = importlib.import_module(self.module)
                assert adapter is not lightning_adapter
                bases = {base.__module__.partition(".")[0] for base in adapter.TuneReportCallback.__mro__}
                assert present in bases and not set(absent) & bases
        with without(both, own), pytest.raises(MissingDependencyError) as caught:
            importlib.import_module(self.module)
        assert "'lightning.pytorch'" in str(caught.value) and f"tune-plugins[{self.extra}]" in str(caught.value)
        assert sys.modules[self.module] is lightning_adapter


class TestPytorchLightning(TestLightning):
    package = pytorch_lightning
    label = "pytorch_lightning"
