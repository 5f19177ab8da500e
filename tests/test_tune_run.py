"""`tune.run` and what goes with it, by scripts in the style of Ray Tune's users."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins.driver import trial_function
from tune_plugins.schedulers import ASHAScheduler

COMMON: dict[str, Any] = {"verbose": 0, "runtime": "inline"}


def easy(config: dict[str, Any]) -> None:
    for step in range(1, 11):
        tune.report({"mean_loss": config["width"] / step + config["height"], "neg": -step})


@pytest.fixture(autouse=True)
def _storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_STORAGE_PATH", str(tmp_path))
    monkeypatch.setattr(trial_function, "_registered", {})


@pytest.fixture
def analysis() -> tune.ExperimentAnalysis:
    space = {"width": tune.grid_search([2.0, 1.0, 3.0]), "height": 0.5}
    return tune.run(easy, config=space, metric="mean_loss", mode="min", name="mine", **COMMON)


def test_the_best_of_a_run(analysis: tune.ExperimentAnalysis) -> None:
    assert analysis.best_config == {"width": 1.0, "height": 0.5}
    assert analysis.best_trial == analysis.trials[1] == analysis.get_best_trial("mean_loss", "min", "last")
    assert analysis.best_result["mean_loss"] == analysis.best_trial.last_result["mean_loss"] == 0.6
    assert analysis.best_result["config"] == analysis.best_config
    assert analysis.best_logdir == analysis.get_best_logdir() == analysis.best_trial.local_path
    assert analysis.get_best_config("mean_loss", "max", "all") == {"width": 3.0, "height": 0.5}
    assert analysis.best_dataframe["mean_loss"].tolist() == [1.0 / n + 0.5 for n in range(1, 11)]
    assert analysis.best_result_df["config/width"].tolist() == [1.0]
    assert analysis.best_trial.status == "TERMINATED" and analysis.best_trial.config == analysis.best_config
    found = analysis.best_trial.metric_analysis["mean_loss"]
    assert (found["min"], found["max"], found["last"]) == (0.6, 1.5, 0.6)
    assert math.isclose(found["last-5-avg"], sum(1.0 / n + 0.5 for n in range(6, 11)) / 5)


def test_all_trials_of_a_run(analysis: tune.ExperimentAnalysis, tmp_path: Path) -> None:
    ids = [trial.trial_id for trial in analysis.trials]
    assert list(analysis.results) == list(analysis.trial_dataframes) == list(analysis.get_all_configs()) == ids
    assert analysis.get_all_configs(prefix=True)[ids[0]] == {"config/width": 2.0, "config/height": 0.5}
    assert analysis.results_df.loc[ids[2], "config/width"] == 3.0
    frame = analysis.dataframe("mean_loss", "max")
    assert frame["training_iteration"].tolist() == [1, 1, 1] and frame["logdir"].tolist() == [
        trial.logdir for trial in analysis.trials
    ]
    assert analysis.dataframe()["mean_loss"].tolist() == [0.7, 0.6, 0.8]
    again = tune.ExperimentAnalysis(tmp_path / "mine")
    assert again.best_config == analysis.best_config and again.experiment_path == analysis.experiment_path


def test_without_a_metric_the_best_has_to_be_named(caplog: pytest.LogCaptureFixture) -> None:
    analysis = tune.run(easy, config={"width": 1.0, "height": tune.grid_search([1, 2])}, **COMMON)
    with pytest.raises(ValueError, match="metric: expected a name, since trials are compared") as caught:
        _ = analysis.best_trial
    assert "mode: expected 'min' or 'max'" in str(caught.value)
    best = analysis.get_best_trial("mean_loss", "min")
    assert best is not None and best.config["height"] == 1
    assert analysis.get_best_trial("typo", "min") is None and "There is no best trial" in caplog.text


def test_checkpoints(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        for step in range(1, 4):
            folder = Path(tune.get_context().get_trial_dir(), "state")
            folder.mkdir(exist_ok=True)
            (folder / "step").write_text(str(step))
            tune.report({"score": -abs(step - 2)}, checkpoint=tune.Checkpoint.from_directory(folder))

    analysis = tune.run(train, metric="score", mode="max", **COMMON)
    best, last = analysis.best_checkpoint, analysis.get_last_checkpoint()
    assert best is not None and Path(best.path, "step").read_text() == "2"
    assert last is not None and Path(last.path, "step").read_text() == "3"


def test_names_in_place_of_objects() -> None:
    tune.register_trainable("easy", easy)
    space = {"width": tune.uniform(0, 1), "height": 0}
    options = {"metric": "mean_loss", "mode": "min", "num_samples": 8}
    analysis = tune.run("easy", config=space, scheduler="asha", search_alg="sobol", **options, **COMMON)
    assert len(analysis.trials) == 8
    grid = tune.Tuner(
        "easy",
        param_space={"width": 1, "height": 1},
        run_config=tune.RunConfig(verbose=0, runtime="inline"),
    ).fit()
    assert grid[0].metrics["mean_loss"] == 1.1
    with pytest.raises(tune.ArgumentError, match=r"a registered name \(there are: 'easy'\), got 'easyy'. Did you mean"):
        tune.run("easyy", **COMMON)


def test_arguments_reach_their_place() -> None:
    analysis = tune.run(
        easy,
        name="lr=0.1 and more",
        config={"width": tune.uniform(0, 1), "height": 0},
        stop={"training_iteration": 3},
        num_samples=4,
        time_budget_s=timedelta(hours=1),
        scheduler=ASHAScheduler(metric="mean_loss", mode="min", grace_period=3),
        resources_per_trial={"cpu": 1},
        max_failures=2,
        local_dir=None,
        seed=7,
        sync_config=None,
        **COMMON,
    )
    info = analysis.grid.info()
    assert {trial.metrics["training_iteration"] for trial in analysis.trials} == {3}
    assert info["time_budget_s"] == 3600 and info["seed"] == 7 and info["name"] == "lr=0.1 and more"


def test_arguments_that_have_no_place_say_what_to_write() -> None:
    with pytest.raises(tune.ArgumentError) as caught:
        tune.run(easy, resume="AUTO", sync_config=object(), num_sampels=3, storage_path="a", local_dir="b")
    told = str(caught.value)
    assert "4 mistakes" in told
    for part in (
        "resume: expected nothing, got 'AUTO'. Runs cannot be resumed yet",
        "sync_config: expected nothing",
        "num_sampels: there is no such argument. Did you mean 'num_samples'?",
        "local_dir: expected one folder, got 'b' beside storage_path='a'",
    ):
        assert part in told


def test_failed_trials_are_an_error_at_the_end_unless_told_otherwise() -> None:
    def train(config: dict[str, Any]) -> dict[str, Any]:
        if config["x"] == 1:
            raise ZeroDivisionError("no")
        return {"x": config["x"]}

    space = {"x": tune.grid_search([0, 1, 2])}
    with pytest.raises(tune.TuneError, match="1 of 3 trials failed") as caught:
        tune.run(train, config=space, **COMMON)
    assert "ZeroDivisionError: no" in str(caught.value) and isinstance(caught.value.__cause__, ZeroDivisionError)
    analysis = tune.run(train, config=space, raise_on_failed_trial=False, **COMMON)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "ERROR", "TERMINATED"]


def test_experiments_as_objects_and_as_dicts() -> None:
    one = tune.Experiment("one", easy, config={"width": 1, "height": 0}, stop={"training_iteration": 2})
    assert tune.run(one, **COMMON).trials[0].metrics["training_iteration"] == 2
    two = tune.Experiment("two", easy, config={"width": 2, "height": 0}, num_samples=2)
    assert len(tune.run_experiments([one, two], **COMMON)) == 3
    trials = tune.run_experiments({"three": {"run": easy, "config": {"width": 1, "height": 5}}}, **COMMON)
    assert [trial.last_result["mean_loss"] for trial in trials] == [5.1]
    with pytest.raises(tune.ArgumentError, match=r"experiments\['four'\]: expected a dict with 'run'"):
        tune.run_experiments({"four": {"config": {}}}, **COMMON)
