"""Runs for the tests of loggers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tune_plugins as tune
from tune_plugins.schedulers import PopulationBasedTraining


def fit(folder: Path, train: Callable[..., Any], space: dict[str, Any], *callbacks: Any, **options: Any) -> Any:
    """A run in this process, named ``run``; `options` are those of `RunConfig`, three of them of `TuneConfig`."""
    chosen = {name: options.pop(name) for name in ("scheduler", "seed", "num_samples") if name in options}
    return tune.Tuner(
        train,
        param_space=space,
        tune_config=tune.TuneConfig(metric="loss", mode="min", **chosen),
        run_config=tune.RunConfig(
            **{"name": "run", "runtime": "inline", **options}, storage_path=folder, verbose=0, callbacks=callbacks
        ),
    ).fit()


def save(iteration: int) -> tune.Checkpoint:
    """A checkpoint in the folder of the trial."""
    folder = Path(tune.get_context().get_trial_dir()) / "state"
    folder.mkdir(exist_ok=True)
    (folder / "iteration").write_text(str(iteration))
    return tune.Checkpoint(folder)


def begun_at() -> int:
    """The iteration behind the checkpoint that the trial is to go on from."""
    checkpoint = tune.get_checkpoint()
    return 1 if checkpoint is None else int((Path(checkpoint.path) / "iteration").read_text()) + 1


def six_steps(config: dict[str, Any]) -> None:
    """Reports ``loss = lr / iteration`` with a checkpoint each."""
    for iteration in range(begun_at(), 7):
        tune.report({"loss": config["lr"] / iteration, "eval": {"auc": iteration / 10}}, checkpoint=save(iteration))


def one_exploit() -> PopulationBasedTraining:
    """At iteration 2 the worse one of `TWO_RATES` goes on from the other one's state, with ``lr = 0.05``."""
    return PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=2,
        hyperparam_mutations={"lr": [0.05, 0.05]},
        quantile_fraction=0.5,
        resample_probability=1.0,
    )


TWO_RATES = {"lr": tune.grid_search([0.1, 0.4])}
