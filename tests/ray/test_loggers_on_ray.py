"""Loggers of runs whose trials are in other processes, several at a time."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import tune_plugins as tune
from tune_plugins.logger import (
    CSVLoggerCallback,
    JsonLoggerCallback,
    LoggerCallback,
    MLflowLoggerCallback,
    TBXLoggerCallback,
    setup_mlflow,
    setup_wandb,
)
from tune_plugins.schedulers import PopulationBasedTraining


def steps(config: dict[str, Any]) -> None:
    checkpoint = tune.get_checkpoint()
    done = 0 if checkpoint is None else int((Path(checkpoint.path) / "iteration").read_text())
    for iteration in range(done + 1, 7):
        folder = Path(tune.get_context().get_trial_dir()) / "state"
        folder.mkdir(exist_ok=True)
        (folder / "iteration").write_text(str(iteration))
        tune.report({"loss": config["lr"] / iteration}, checkpoint=tune.Checkpoint(folder))


def test_files_have_the_config_in_force_after_an_exploit(fit: Any) -> None:
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=2,
        hyperparam_mutations={"lr": [0.05, 0.05]},
        quantile_fraction=0.5,
        resample_probability=1.0,
        synch=True,
    )
    results = fit(
        steps,
        {"lr": tune.grid_search([0.1, 0.4])},
        metric="loss",
        mode="min",
        scheduler=scheduler,
        callbacks=[CSVLoggerCallback(), JsonLoggerCallback()],
    )
    worse = Path(results[1].path)
    table = pd.read_csv(worse / "progress.csv")
    lines = [json.loads(line) for line in (worse / "result.json").read_text().splitlines()]
    assert list(table["config/lr"]) == [line["config"]["lr"] for line in lines] == [0.4, 0.4, *[0.05] * 4]
    assert list(table["loss"]) == [line["loss"] for line in lines] == list(results[1].metrics_dataframe["loss"])
    assert json.loads((worse / "params.json").read_text()) == {"lr": 0.05}


def test_trials_end_while_a_logger_waits(fit: Any) -> None:
    released = threading.Event()
    told: list[str] = []

    class Slow(LoggerCallback):
        def log_trial_start(self, trial):
            released.wait()

        def log_trial_result(self, iteration, trial, result):
            told.append(result["trial_id"])

    class Release(tune.Callback):
        def on_experiment_end(self, trials, **info):
            assert told == [] and all(trial.status.finished for trial in trials)
            released.set()

    class Broken(LoggerCallback):
        def log_trial_result(self, iteration, trial, result):
            raise ConnectionError("no server")

    callbacks = [Broken(), CSVLoggerCallback(), Release(), Slow()]
    results = fit(steps, {"lr": tune.grid_search([1, 2, 3])}, metric="loss", mode="min", callbacks=callbacks)
    assert released.is_set() and results.errors == []
    assert sorted(told) == [f"0000{trial}" for trial in (0, 1, 2) for _ in range(6)]
    for result in results:
        assert len(pd.read_csv(Path(result.path, "progress.csv"))) == 6


@pytest.mark.slow  # needs optional libraries
def test_trackers_in_the_driver_and_in_two_trials_at_a_time(
    fit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.chdir(tmp_path)  # MLflow makes a folder there

    address = f"sqlite:///{tmp_path}/runs.db"
    client = mlflow.MlflowClient(address)
    client.search_experiments()  # makes the tables

    def train(config: dict[str, Any]) -> None:
        inside = setup_mlflow(config, tracking_uri=address)
        run = setup_wandb(config, mode="offline", project="inside")
        inside.log_metric("own", config["lr"])
        run.log({"own": config["lr"]})
        steps(config)

    logger = MLflowLoggerCallback(address, experiment_name="outside", save_artifact=True)
    results = fit(
        train,
        {"lr": tune.grid_search([0.1, 0.4])},
        metric="loss",
        mode="min",
        name="inside",
        working_dir="trial",
        callbacks=[logger, TBXLoggerCallback()],
    )
    assert results.errors == []
    for experiment, metric in (("outside", "loss"), ("inside", "own")):
        found = client.get_experiment_by_name(experiment)
        runs = sorted(client.search_runs([found.experiment_id]), key=lambda run: run.info.run_name)
        assert [(run.info.run_name, run.info.status, run.data.params["lr"]) for run in runs] == [
            ("train_00000", "FINISHED", "0.1"),
            ("train_00001", "FINISHED", "0.4"),
        ]
        for run, result in zip(runs, results, strict=True):
            assert run.data.metrics[metric] == (result.metrics["loss"] if metric == "loss" else result.config["lr"])
            files = {file.path for file in client.list_artifacts(run.info.run_id)}
            assert ("checkpoint_000006" in files) is (experiment == "outside")
    for result in results:
        assert len(list(Path(result.path).glob("events.out.tfevents.*"))) == 1
        (file,) = Path(result.path).rglob("*.wandb")
        assert file.stat().st_size > 100
