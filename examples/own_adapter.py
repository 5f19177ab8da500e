"""An adapter for a framework of one's own, and population based training with it.

Run it with ``python examples/own_adapter.py``; ``--help`` lists the options, ``--alone`` runs the training alone.
The framework is ``own_framework.py``: a training loop with callbacks, a counter of epochs, save and load. The two
classes here are the part to copy; they pass the suite that the adapters of this project pass.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from own_framework import Callback, Data, Model, Trainer

import tune_plugins as tune
from tune_plugins.errors import WarmRestartNeeded
from tune_plugins.integrations import Adapter, Fit
from tune_plugins.schedulers import PopulationBasedTraining

# ------------------------------------------------------------------------------------------------ the adapter


@dataclass(slots=True)
class OwnFit(Fit):
    """What the adapter needs to know of a call of `fit`."""

    trainer: Any = None

    @property
    def model(self) -> Any:
        """The model that is trained."""
        return self.trainer.model


class TuneReportCallback(Callback, Adapter):
    """Reports every epoch to the tuning run; saves no checkpoints."""

    def __init__(self, metrics: Any = None) -> None:
        self.set_up(metrics=metrics)

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Begin a fit; in a trial that is to go on from a checkpoint, load it."""
        fit = self.begin_fit(OwnFit, trainer.callbacks)
        if fit is None:
            return  # outside a tuning run
        fit.trainer = trainer
        if fit.start is not None:
            with fit.start.as_directory() as directory:
                trainer.load(self.checkpoint_file(directory))

    def on_epoch_end(self, trainer: Trainer, logs: dict[str, float]) -> None:
        """Report the epoch, which is where a trial waits, is stopped, or takes over the state of another one."""
        if self._fit is not None:
            values = {name: logs[source] for name, source in self.select(logs).items()}
            stop = self.send(values, trainer.epoch, last=trainer.stop or trainer.epoch == trainer.epochs)
            trainer.stop = trainer.stop or stop

    def on_fit_end(self, trainer: Trainer) -> None:
        """Leave the last checkpoint."""
        self.finish_fit()
        self._fit = None


class TuneReportCheckpointCallback(TuneReportCallback):
    """Reports every epoch and saves checkpoints; goes on from one, and exploits another trial, by itself."""

    saves = True
    endings = (".npz",)

    def __init__(
        self, metrics: Any = None, filename: str = "state.npz", frequency: int = 0, checkpoint_at_end: bool = True
    ) -> None:
        self.set_up(metrics=metrics, filename=filename, frequency=frequency, checkpoint_at_end=checkpoint_at_end)

    def save_state(self, directory: Path) -> None:
        """Write everything from which the training can go on."""
        self.trainer.save(directory / self.filename)

    def copy_model(self) -> Callable[[Path], None]:
        """Keep the model as it is now, the best one so far; what is returned writes it."""
        weights = self.model.weights.copy()
        return lambda directory: np.savez(directory / self.filename, weights=weights)

    @classmethod
    def read_model(cls, directory: Path, filename: str, build: Any, config: Mapping[str, Any]) -> Model:
        """Load the model alone, to predict with it."""
        with np.load(directory / filename) as saved:
            model = Model(*saved["weights"].shape)
            model.weights = saved["weights"]
        return model

    def load_state(self, directory: Path, iteration: int) -> None:
        """Make the running fit go on from another trial's state."""
        try:
            self.trainer.load(self.checkpoint_file(directory))
        except ValueError as error:  # of another shape: the function is entered anew, and builds the model anew
            raise WarmRestartNeeded(f"the donor's state does not fit: {error}") from error

    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
        """Change what the loop reads in each step, where the script passes it as it stands in the config."""
        applied = set()
        for name in ("lr", "momentum"):
            if name in changed and getattr(self.trainer, name) == before.get(name):
                setattr(self.trainer, name, changed[name])
                applied.add(name)
        return applied


# -------------------------------------------------------------------------------------------------- a script


def train_digits(config: dict[str, Any], epochs: int) -> None:
    """One trial: the framework's own code, and one callback."""
    train, held_out = digits()
    trainer = Trainer(Model(64, 10), config["lr"], config["momentum"])
    trainer.fit(train, held_out, epochs, callbacks=[TuneReportCheckpointCallback()])
    print(f"loss: {trainer.model.loss(*held_out):.4f}")


def digits() -> tuple[Data, Data]:
    """Images of 8 x 8 grey values and their digits, for training and validation."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x[:1200] / 16, y[:1200]), (x[1200:] / 16, y[1200:])


def main() -> None:
    """Tune by a population that exchanges its states in the running fits."""
    parser = argparse.ArgumentParser(description="Tune a framework of one's own with population based training.")
    parser.add_argument("--population", type=int, default=8, help="number of trials (default: 8)")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of each trial (default: 20)")
    parser.add_argument("--storage-path", help="folder for the experiment (default: ~/tune_results)")
    parser.add_argument("--alone", action="store_true", help="one training by itself, without a tuning run")
    args = parser.parse_args()
    if args.alone:
        train_digits({"lr": 0.1, "momentum": 0.5}, args.epochs)  # outside a tuning run the callback does nothing
        return
    space = {"lr": tune.loguniform(0.001, 1.0), "momentum": tune.uniform(0.0, 0.95)}
    scheduler = PopulationBasedTraining("training_iteration", perturbation_interval=4, hyperparam_mutations=space)
    results = tune.Tuner(
        tune.with_parameters(train_digits, epochs=args.epochs),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="loss", mode="min", num_samples=args.population, scheduler=scheduler, seed=1
        ),
        run_config=tune.RunConfig(storage_path=args.storage_path),
    ).fit()
    best = results.get_best_result()
    print(f"\nBest configuration at the end: {best.config}")
    print(f"Validation loss {best.metrics['loss']:.4f}, accuracy {best.metrics['accuracy']:.4f}")
    model = TuneReportCheckpointCallback.get_model(best.get_best_checkpoint())
    print(f"Loss of its best model since the last exploit, loaded: {model.loss(*digits()[1]):.4f}")


if __name__ == "__main__":
    main()
