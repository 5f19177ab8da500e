"""Tune a small CNN on handwritten digits with ASHA, in Lightning.

Run it with ``python examples/lightning_digits.py``; ``--help`` lists the options, ``--alone`` trains once by itself.
`train` is an ordinary Lightning script. This is all that was changed in it, beside reading `config`::

    +from tune_plugins.integrations.lightning import TuneReportCheckpointCallback
     ...
    -    trainer = Trainer(max_epochs=config["epochs"], **QUIET)
    +    callbacks = [TuneReportCheckpointCallback()]
    +    trainer = Trainer(max_epochs=config["epochs"], callbacks=callbacks, **QUIET)

Outside a tuning run the callback does nothing.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tune_plugins as tune
from tune_plugins.integrations.lightning import TuneReportCheckpointCallback
from tune_plugins.schedulers import ASHAScheduler

SPACE = {
    "lr": tune.loguniform(1e-4, 1e-1),
    "weight_decay": tune.loguniform(1e-6, 1e-2),
    "channels": tune.choice([8, 16, 32]),
    "dropout": tune.uniform(0.0, 0.5),
}
QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Digits(LightningModule):
    """A CNN for images of 8 x 8 pixels and 10 classes."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config, channels = config, config["channels"]
        self.net = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(config["dropout"]),
            nn.Linear(8 * channels, 10),
        )

    def training_step(self, batch: Any, index: int) -> Any:
        """Cross entropy of a batch."""
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, index: int) -> None:
        """Logs loss and accuracy."""
        scores = self.net(batch[0])
        self.log("val_loss", nn.functional.cross_entropy(scores, batch[1]))
        self.log("val_accuracy", (scores.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        """AdamW with the learning rate and weight decay of the configuration."""
        return torch.optim.AdamW(self.parameters(), lr=self.config["lr"], weight_decay=self.config["weight_decay"])


def loaders(size: int) -> tuple[Any, Any]:
    """Batches for training and for validation, of the first `size` digits."""
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images[:size], dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    y = torch.tensor(labels[:size])
    held_out = size // 4
    training, validation = TensorDataset(x[held_out:], y[held_out:]), TensorDataset(x[:held_out], y[:held_out])
    return DataLoader(training, batch_size=64, shuffle=True), DataLoader(validation, batch_size=256)


def train(config: dict[str, Any]) -> None:
    """One trial: plain Lightning, and one argument of the Trainer."""
    seed_everything(1, verbose=False)
    torch.set_num_threads(1)  # trials run side by side
    callbacks = [TuneReportCheckpointCallback()]
    trainer = Trainer(max_epochs=config["epochs"], callbacks=callbacks, **QUIET)
    trainer.fit(Digits(config), *loaders(config["size"]))


def main() -> None:
    """Tune, and show the best trial."""
    args = parse_arguments()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")

    fixed = {"epochs": args.epochs, "size": args.size}
    if args.alone:
        train({"lr": 0.01, "weight_decay": 1e-4, "channels": 16, "dropout": 0.1, **fixed})
        print(f"trained alone for {args.epochs} epochs")
        return
    results = tune.Tuner(
        train,
        param_space={**SPACE, **fixed},
        tune_config=tune.TuneConfig(
            metric="val_accuracy",
            mode="max",
            num_samples=args.trials,
            seed=1,
            scheduler=ASHAScheduler(max_t=args.epochs, grace_period=2, reduction_factor=3),
        ),
        run_config=tune.RunConfig(storage_path=args.storage_path),
    ).fit()
    best = results.get_best_result()
    epochs = sum(result.metrics.get("training_iteration", 0) for result in results)
    shown = ", ".join(f"{name}={best.config[name]:.4g}" for name in SPACE)
    print(f"best of {len(results)} trials: {shown}")
    print(f"validation accuracy {best.metrics['val_accuracy']:.4f}, log loss {best.metrics['val_loss']:.4f}")
    model = best.get_best_checkpoint().load_model(Digits)  # of the best epoch; best.load_model(Digits): of the last
    images, labels = loaders(args.size)[1].dataset.tensors
    print(f"accuracy of the model of the best epoch {(model.net(images).argmax(1) == labels).float().mean():.4f}")
    print(f"epochs trained: {epochs} of {args.trials * args.epochs}")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Tune a small CNN on handwritten digits with ASHA, in Lightning.")
    parser.add_argument("--trials", type=int, default=16, help="configurations to try (default: 16)")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of a whole training (default: 20)")
    parser.add_argument("--size", type=int, default=1797, help="digits to use (default: all 1797)")
    parser.add_argument("--storage-path", help="folder for the experiment (default: ~/tune_results)")
    parser.add_argument("--alone", action="store_true", help="one training by itself, without a tuning run")
    args = parser.parse_args()
    for name, least in (("trials", 1), ("epochs", 1), ("size", 4)):
        if getattr(args, name) < least:
            parser.error(f"--{name}: expected at least {least}, got {getattr(args, name)}")
    return args


if __name__ == "__main__":
    main()
