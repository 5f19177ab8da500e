"""`tune.run` and what goes with it, by scripts in the style of Ray Tune's users."""

from __future__ import annotations

import gc
import math
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from functools import partial
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
        tune.run(easy, resume="LOCAL", sync_config=object(), num_sampels=3, storage_path="a", local_dir="b")
    told = str(caught.value)
    assert "4 mistakes" in told
    for part in (
        "resume: expected nothing, got 'LOCAL'. Runs cannot be resumed yet",
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


def test_what_was_written_with_checkpoint_dir_is_what_a_trial_goes_on_from(tmp_path: Path) -> None:
    def train(config: dict[str, Any], checkpoint_dir: str | None = None) -> None:
        start = 0 if checkpoint_dir is None else int(Path(checkpoint_dir, "step").read_text())
        for step in range(start, 5):
            with tune.checkpoint_dir(step=step) as folder:
                Path(folder, "step").write_text(str(step + 1))
            tune.report(loss=config["x"] / (step + 1), start=start)
            if step == 2 and not (tmp_path / "failed").exists():
                (tmp_path / "failed").touch()
                raise OSError("once")

    space = {"x": tune.grid_search([1, 2])}
    analysis = tune.run(train, config=space, name="first", resume="AUTO", max_failures=1, **COMMON)
    first, second = analysis.trials
    assert first.result.metrics_dataframe["start"].tolist() == [0, 0, 0, 3, 3]
    assert second.last_result["start"] == 0 and len(second.result.best_checkpoints) == 5
    middle = second.result.best_checkpoints[1][0]
    for given in (middle, middle.path):
        again = tune.run(train, config={"x": 1}, restore=given, **COMMON)
        assert again.trials[0].result.metrics_dataframe["start"].tolist() == [2, 2, 2]
    with pytest.raises(tune.ArgumentError, match="restore: expected the folder of a checkpoint, got '/nowhere'"):
        tune.run(train, config={"x": 1}, restore="/nowhere", **COMMON)
    with pytest.raises(tune.ArgumentError, match="resume: expected nothing, got 'AUTO'"):
        tune.run(train, config=space, name="first", resume="AUTO", **COMMON)
    with pytest.raises(tune.TuneError, match=r"checkpoint_dir\(\) was called outside a trial"), tune.checkpoint_dir(1):
        pass


def test_a_folder_that_was_not_filled_is_no_checkpoint(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        with suppress(ValueError), tune.checkpoint_dir() as folder:
            folders.append(folder)
            raise ValueError
        with tune.checkpoint_dir() as folder:
            folders.append(folder)
        with tune.checkpoint_dir() as folder:
            folders.append(folder)
            Path(folder, "second").touch()
        tune.report(loss=1)
        tune.report(loss=2)

    folders: list[str] = []
    (trial,) = tune.run(train, **COMMON).trials
    ((checkpoint, result),) = trial.result.best_checkpoints
    assert result["loss"] == 1 and Path(checkpoint.path, "second").exists()
    assert not any(Path(folder).exists() for folder in folders) and len(folders) == 3


def test_restore_of_a_class(tmp_path: Path) -> None:
    class Counting(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.count = 0

        def step(self) -> dict[str, Any]:
            self.count += 1
            return {"count": self.count}

        def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
            return {"count": self.count}

        def load_checkpoint(self, checkpoint: Any) -> None:
            self.count = checkpoint["count"]

    by_hand = Counting()
    by_hand.train()
    by_hand.train()
    analysis = tune.run(Counting, restore=by_hand.save(tmp_path / "state").path, stop={"count": 4}, **COMMON)
    assert analysis.trials[0].last_result["training_iteration"] == analysis.trials[0].last_result["count"] == 4


def test_names_of_a_trial_and_its_checkpoints(analysis: tune.ExperimentAnalysis) -> None:
    trial = analysis.trials[1]
    assert (trial.trainable_name, trial.experiment_tag, trial.experiment_dir_name) == ("easy", "1_width=1", "mine")
    assert not trial.has_checkpoint() and analysis.get_trial_checkpoints_paths(trial) == []
    assert trial.last_result["done"] is True and set(trial.metric_analysis) >= {"mean_loss", "time_this_iter_s"}
    assert not {"timestamp", "pid", "config/width"} & set(trial.metric_analysis)
    assert [r.config for r in tune.ResultGrid(analysis)] == [t.config for t in analysis.trials]
    assert tune.Result.from_path(trial.local_path).metrics == trial.result.metrics
    with pytest.raises(tune.ArgumentError, match=r"expected the folder of a trial \(trial_00000, .*got '.*/other'"):
        tune.Result.from_path(Path(trial.local_path).parent / "other")
    with pytest.raises(ValueError, match="experiment_path: expected the folder of an experiment, got '/nowhere'"):
        tune.ExperimentAnalysis("/nowhere")


def test_an_experiment_of_something_else_is_refused() -> None:
    for wrong in (3, easy, tune.Trainable):
        with pytest.raises(TypeError, match="Experiment"):
            tune.Experiment("" if wrong is easy else "name", wrong)  # type: ignore[arg-type]


def test_resources_of_a_trial_have_the_attributes_of_a_placement_group() -> None:
    def train(config: dict[str, Any]) -> dict[str, Any]:
        given = tune.get_context().get_trial_resources()
        assert given == given.required_resources == {"CPU": 1.0} and given.bundles == [{"CPU": 1.0}]
        return {"cpus": given.head_cpus, "strategy": given.strategy}

    (trial,) = tune.run(train, **COMMON).trials
    assert (trial.last_result["cpus"], trial.last_result["strategy"]) == (1.0, "PACK")


def test_configs_of_other_systems_say_what_to_write() -> None:
    with pytest.raises(tune.ArgumentError) as caught:
        tune.RunConfig(verbose=-1, local_dir="x", sync_config=object(), storage_filesystem=None)  # type: ignore[call-arg]
    assert [m.partition(":")[0] for m in caught.value.mistakes] == ["local_dir", "sync_config", "verbose"]
    assert caught.value.mistakes[0].endswith("Write storage_path=.")
    assert tune.RunConfig(storage_filesystem=None, verbose=True) == tune.RunConfig()  # type: ignore[call-arg]
    with pytest.raises(tune.ArgumentError, match=r"keep_checkpoints_num: .* Write num_to_keep="):
        tune.CheckpointConfig(keep_checkpoints_num=2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        tune.RunConfig(nmae="x")  # type: ignore[call-arg]


@pytest.mark.parametrize(("verbose", "silent"), [(False, True), (0, True), (True, False), (3, False)])
def test_verbose_as_in_ray(verbose: Any, silent: bool, capsys: pytest.CaptureFixture[str]) -> None:
    tune.run(easy, config={"width": 1, "height": 1}, verbose=verbose, runtime="inline")
    assert (capsys.readouterr().out == "") is silent


def test_what_compares_asks_for_the_mode() -> None:
    space = {"width": tune.grid_search([2.0, 1.0]), "height": 0.5}
    analysis = tune.run(easy, config=space, metric="mean_loss", **COMMON)
    with pytest.raises(tune.ArgumentError, match="mode"):
        _ = analysis.best_trial
    assert analysis.get_best_config(mode="min") == {"width": 1.0, "height": 0.5}
    for options in ({"scheduler": "asha"}, {"search_alg": "evolutionary"}):
        with pytest.raises(tune.ArgumentError, match="mode: expected 'min' or 'max'"):
            tune.run(easy, config={"width": tune.uniform(0, 1), "height": 1}, metric="mean_loss", **options, **COMMON)
    assert tune.run(easy, config={"width": 1, "height": 1}, time_budget_s=timedelta(hours=1), **COMMON).trials
    assert tune.run(lambda config: {"loss": len(config)}, config={}, **COMMON).trials[0].last_result["loss"] == 0


def test_names_and_modules_of_ray_are_found() -> None:
    code = """
import tune_plugins.stopper.maximum_iteration as deep
from tune_plugins import CLIReporter, JupyterNotebookReporter, ProgressReporter, ResumeConfig, Stopper, stoppers
from tune_plugins.analysis import ExperimentAnalysis
from tune_plugins.experiment import Experiment, Trial
from tune_plugins.experiment.trial import Trial as Same
from tune_plugins.integration.xgboost import TuneReportCallback
from tune_plugins.logger.csv import CSVLoggerCallback
from tune_plugins.registry import register_trainable
from tune_plugins.result import TRAINING_ITERATION, DEFAULT_METRIC, TIME_TOTAL_S
from tune_plugins.schedulers.async_hyperband import ASHAScheduler, AsyncHyperBandScheduler
from tune_plugins.schedulers.trial_scheduler import FIFOScheduler, TrialScheduler
from tune_plugins.stopper import *
from tune_plugins.tune import run, run_experiments
from tune_plugins.tune_config import ResumeConfig, TuneConfig
from tune_plugins.utils import flatten_dict, merge_dicts, validate_save_restore
from tune_plugins.utils.log import Verbosity
assert deep.MaximumIterationStopper is stoppers.MaximumIterationStopper is MaximumIterationStopper
assert Trial is Same and Trial.TERMINATED == "TERMINATED" and TRAINING_ITERATION == "training_iteration"
import sys
assert "ray" not in sys.modules, "names cost nothing"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_checkpoint_handed_over_takes_the_place_of_a_folder_that_was_filled(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        with tune.checkpoint_dir() as folder:
            folders.append(folder)
            Path(folder, "v").write_text("old")
        given = tmp_path / "given"
        given.mkdir()
        (given / "v").write_text("new")
        tune.report(loss=1, checkpoint=tune.Checkpoint.from_directory(given))
        tune.report(loss=2)
        with tune.checkpoint_dir() as folder:
            folders.append(folder)

    folders: list[str] = []
    (trial,) = tune.run(train, **COMMON).trials
    assert [Path(kept.path, "v").read_text() for kept, _ in trial.result.best_checkpoints] == ["new"]
    gc.collect()
    assert not any(Path(folder).exists() for folder in folders)


def test_a_run_without_trials_has_empty_tables() -> None:
    analysis = tune.run(easy, config={"width": 1, "height": 1}, time_budget_s=1e-9, **COMMON)
    assert analysis.trials == [] and list(analysis.dataframe().columns) == ["trial_id", "logdir"]
    assert analysis.results_df.empty


def test_several_experiments_are_for_another_function() -> None:
    with pytest.raises(TypeError, match="Call run_experiments, which runs several"):
        tune.run([tune.Experiment("a", easy)], **COMMON)  # type: ignore[arg-type]


def test_modules_of_ray_are_attributes_before_they_are_imported() -> None:
    code = "import tune_plugins as tune; print(tune.stopper.MaximumIterationStopper(3).max_iter, dir(tune.stopper)[:2])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "3 ['CombinedStopper', 'ExperimentPlateauStopper']\n", done.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("from tune_plugins.suggest.ax import AxSearch", r"OptunaSearch\(sampler='gp'\)"),
        ("from tune_plugins.search.bohb.bohb_search import TuneBOHB", r"OptunaSearch\(\) with HyperBandForBOHB\(\)"),
        ("from tune_plugins.syncer import SyncConfig", r"RunConfig\(storage_path=\.\.\.\)"),
        ("import tune_plugins.execution.tune_controller", r"tune_plugins\.callbacks\.Callback"),
        ("import tune_plugins.search.there_is_none", r"'tune_plugins\.search\.there_is_none'$"),
        ("import tune_plugins.there_is_none", r"'tune_plugins\.there_is_none'$"),
    ],
)
def test_a_module_of_ray_that_is_not_here_says_what_to_write(line: str, said: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=said):
        exec(line, {})


def test_a_module_of_ray_that_is_not_here_is_no_attribute() -> None:
    assert not hasattr(tune, "syncer") and getattr(tune.search, "ax", None) is None
    with pytest.raises(AttributeError, match=r"RunConfig\(storage_path=\.\.\.\)"):
        tune.syncer  # noqa: B018
    with pytest.raises(ImportError, match=r"cannot import name 'syncer'.*RunConfig\(storage_path=\.\.\.\)"):
        from tune_plugins import syncer  # type: ignore[attr-defined] # noqa: F401


def test_modules_that_ray_has_renamed_are_found() -> None:
    code = """
from tune_plugins.execution.placement_groups import PlacementGroupFactory
from tune_plugins.integration.mlflow import MLflowLoggerCallback
from tune_plugins.integration.wandb import WandbLoggerCallback, setup_wandb
from tune_plugins.sample import Domain
from tune_plugins.suggest import ConcurrencyLimiter, Searcher
from tune_plugins.suggest.hyperopt import HyperOptSearch
from tune_plugins.suggest.optuna import OptunaSearch
from tune_plugins.trial import Trial
from tune_plugins.utils.placement_groups import PlacementGroupFactory as Same
from tune_plugins.utils.trainable import with_parameters
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_run_that_was_cut_off_says_what_to_do(tmp_path: Path) -> None:
    assert tune.Tuner.can_restore(str(tmp_path)) is False
    with pytest.raises(RuntimeError, match=r"runs cannot be resumed yet. .*ResultGrid\('/x'\)"):
        tune.Tuner.restore("/x", easy, resume_errored=True)


def test_a_callback_finds_the_folder_of_a_trial_and_a_partial_function_has_a_name(tmp_path: Path) -> None:
    class Writes(tune.Callback):
        def on_trial_result(self, trial: Any, result: dict[str, Any], **info: Any) -> None:
            assert trial.init_local_path() == trial.logdir
            Path(trial.local_path, "seen").touch()

        def on_trial_complete(self, trial: Any, **info: Any) -> None:
            assert trial.is_finished() and trial.last_result["done"] is True
            Path(trial.local_path, "complete").touch()

        def set_state(self, kept: Any) -> None:
            """Any name will do."""

    (trial,) = tune.run(partial(easy), config={"width": 1, "height": 1}, callbacks=[Writes()], **COMMON).trials
    assert Path(trial.local_path, "complete").exists() and trial.trainable_name == "easy"
