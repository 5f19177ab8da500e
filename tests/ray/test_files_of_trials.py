"""Where files of trials go: those of frameworks, relative ones, and those that several trials write."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import Trainer as HuggingFaceTrainer
from transformers import TrainingArguments

import tune_plugins as tune
from tune_plugins.driver import shared_files
from tune_plugins.integrations import lightning, transformers

BOTH = pytest.mark.parametrize("runtime", ["ray", "inline"])
ROWS = [{"x": [x, -x], "labels": 2.0 * x} for x in (0.1, 0.5, 0.9, 1.3)]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of the script."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder


class Lines(tune.Callback):
    """Keeps what the run itself has said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_trial_output(self, iteration: int, trials: Any, trial: Any, lines: Any, **info: Any) -> None:
        if trial is None:
            self.lines += lines


# --------------------------------------------------------------------------------------- working directory


@BOTH
def test_each_trial_may_run_in_its_own_folder(fit: Any, here: Path, runtime: Any) -> None:
    (here / "data.txt").write_text("7")

    def train(config: dict[str, Any]) -> dict[str, Any]:
        Path("best.txt").write_text(str(config["x"]))
        data = Path(os.environ["TUNE_ORIG_WORKING_DIR"], "data.txt").read_text()
        return {"read": Path("best.txt").read_text(), "data": data, "x": config["x"]}

    space = {"x": tune.grid_search([1, 2, 3, 4])}
    grid = fit(train, space, working_dir="trial", runtime=runtime)
    assert [result.metrics["read"] for result in grid] == ["1", "2", "3", "4"], grid.errors
    assert {result.metrics["data"] for result in grid} == {"7"}
    assert [Path(result.path, "best.txt").read_text() for result in grid] == ["1", "2", "3", "4"]
    assert [path.name for path in here.iterdir()] == ["data.txt"]
    # It is the affair of that run alone.
    (result,) = fit(lambda config: {"cwd": os.getcwd(), "x": os.environ.get("TUNE_ORIG_WORKING_DIR", "")})
    assert result.metrics["cwd"] == str(here) and result.metrics["x"] == str(here)


def test_a_trial_that_goes_on_is_in_its_folder_again(fit: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        step = int(Path("step").read_text()) if Path("step").exists() else 0
        for number in range(step + 1, 4):
            Path("step").write_text(str(number))
            tune.report(step=number, checkpoint=tune.Checkpoint.from_directory("."))
            if number == 2 and not Path("once").exists():
                Path("once").touch()
                os._exit(1)

    (result,) = fit(train, working_dir="trial", max_failures=1)
    assert result.metrics["step"] == 3, result.error
    kept = {path.name for path in Path(result.checkpoint.path).iterdir()}
    assert kept <= {"step", "once", ".manifest.json"}, "a checkpoint holds no other ones"


def test_mistakes_are_told() -> None:
    with pytest.raises(tune.ArgumentError) as caught:
        tune.RunConfig(
            working_dir="elsewhere",  # type: ignore[arg-type]
            runtime="inline",
            runtime_env={"working_dir": ".", "py_modules": ["./code"], "env_vars": {"A": "1"}},
        )
    told = str(caught.value)
    assert "working_dir: expected None or 'trial', got 'elsewhere'" in told
    assert "runtime_env: expected None with runtime='inline'" in told
    assert "got the local '.'" in told and "got the local './code'" in told and "ray.init(runtime_env=...)" in told


# ------------------------------------------------------------------------------------ files of frameworks


class Linear(LightningModule):
    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate, self.layer = rate, nn.Linear(2, 1)

    def forward(self, batch: Any) -> Any:
        return self.layer(batch)

    def training_step(self, batch: Any, index: int) -> Any:
        loss = nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.rate)

    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(torch.ones(8, 2), torch.ones(8, 1)), batch_size=4)


def _train_lightning(config: dict[str, Any], saving: Any = None, **options: Any) -> Any:
    callbacks: list[Any] = [lightning.TuneReportCallback(on="train_epoch_end")]
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=[*callbacks, *([saving] if saving else [])],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        **options,
    )
    trainer.fit(Linear(config["lr"]))
    return trainer


RATES = {"lr": tune.grid_search([0.1, 0.2, 0.3, 0.4])}


def _files(folder: str | Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}


@BOTH
def test_lightning_writes_into_the_folder_of_each_trial(fit: Any, here: Path, runtime: Any) -> None:
    """By default 4 trials would share lightning_logs/version_0 to version_3, two of them one."""
    lines = Lines()
    grid = fit(_train_lightning, RATES, runtime=runtime, callbacks=[lines])
    assert not grid.errors and not list(here.iterdir())
    for result in grid:
        files = _files(result.path)
        assert "lightning_logs/version_0/metrics.csv" in files or any("events.out" in name for name in files), files
        assert any(name.startswith("lightning_logs/version_0/checkpoints/") for name in files)
    assert len([line for line in lines.lines if "Lightning writes goes to the folder of each trial" in line]) == 1


def test_paths_of_a_lightning_script(fit: Any, here: Path, tmp_path: Path) -> None:
    """Relative ones go to the trial; one that is absolute, or names the trial, is left where the script wants it."""
    logger = CSVLogger("logs", name="mine")  # one object for all trials of a process
    outside = tmp_path / "outside"

    def train(config: dict[str, Any]) -> None:
        _train_lightning(config, logger=logger, default_root_dir="out")
        number = tune.get_context().get_trial_id()
        _train_lightning(config, logger=CSVLogger(f"by_id/{number}"), enable_checkpointing=False)
        _train_lightning(config, logger=CSVLogger(outside, version=number), enable_checkpointing=False)

    grid = fit(train, RATES, max_concurrent_trials=1)
    assert not grid.errors, grid.errors
    assert {path.name for path in here.iterdir()} == {"by_id"}
    for result in grid:
        assert "logs/mine/version_0/metrics.csv" in _files(result.path)
        assert any(name.startswith("logs/mine/version_0/checkpoints") for name in _files(result.path))
        assert "lightning_logs/version_0/metrics.csv" in _files(here / "by_id" / result.trial_id)
        assert f"lightning_logs/{result.trial_id}/metrics.csv" in _files(outside)


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(2, 1)

    def forward(self, x: Any, labels: Any = None) -> Any:
        y = self.line(x).squeeze(-1)
        return {"loss": nn.functional.mse_loss(y, labels), "y": y}


def _trainer_of_transformers(config: dict[str, Any], *callbacks: Any, **options: Any) -> Any:
    arguments = TrainingArguments(
        output_dir="out",
        num_train_epochs=2,
        eval_strategy="epoch",
        save_strategy="epoch",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        learning_rate=config["lr"],
        **options,
    )
    rows: Any = ROWS
    return HuggingFaceTrainer(
        model=Line(), args=arguments, train_dataset=rows, eval_dataset=rows, callbacks=list(callbacks)
    )


@BOTH
def test_transformers_write_into_the_folder_of_each_trial(fit: Any, here: Path, runtime: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        _trainer_of_transformers(config, transformers.TuneReportCallback()).train()

    lines = Lines()
    grid = fit(train, {"lr": tune.grid_search([0.1, 0.2])}, runtime=runtime, callbacks=[lines])
    assert not grid.errors, grid.errors
    assert not _files(here)  # an empty folder, which the Trainer makes
    for result in grid:
        assert any(name.startswith("out/checkpoint-") for name in _files(result.path))
    assert len([line for line in lines.lines if "Transformers writes" in line]) == 1


# --------------------------------------------------------------------------- scripts and reports of others


def test_a_logger_that_a_script_has_put_into_the_folder_of_the_trial(fit: Any, here: Path) -> None:
    """ray-project/ray 8976, 9451: the way that Ray's tutorials show."""

    def train(config: dict[str, Any]) -> None:
        logger = CSVLogger(tune.get_context().get_trial_dir(), name="", version=".")
        _train_lightning(config, logger=logger)

    for result in fit(train, RATES):
        assert "metrics.csv" in _files(result.path), result.error
    assert not list(here.iterdir())


def test_a_checkpoint_folder_of_lightning_that_names_the_trial(fit: Any, here: Path) -> None:
    """optuna/optuna 584, and what is loaded from there afterwards."""

    def train(config: dict[str, Any]) -> None:
        folder = f"results/trial_{tune.get_context().get_trial_id()}"
        saving = ModelCheckpoint(dirpath=folder, filename="best")
        trainer = _train_lightning(config, saving=saving)
        assert os.path.samefile(Path(folder, "best.ckpt"), saving.best_model_path)
        trainer.predict(Linear(0.1), DataLoader(torch.ones(4, 2)), ckpt_path="best", weights_only=False)

    grid = fit(train, {"lr": tune.grid_search([0.1, 0.2])})
    assert not grid.errors, grid.errors
    assert _files(here) == {"results/trial_00000/best.ckpt", "results/trial_00001/best.ckpt"}


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_ranks_of_a_lightning_training_write_into_the_folder_of_the_trial(fit: Any, here: Path, method: str) -> None:
    def train(config: dict[str, Any]) -> None:
        _train_lightning(config, strategy=f"ddp_{method}", devices=2)

    lines = Lines()
    (result,) = fit(train, {"lr": 0.1}, callbacks=[lines])
    assert result.error is None and not list(here.iterdir())
    files = _files(result.path)
    assert any(name.startswith("lightning_logs/version_0/checkpoints/") for name in files), files
    assert "Lightning writes" in "".join(lines.lines)


def test_the_best_model_of_a_transformers_script(fit: Any, here: Path) -> None:
    """``load_best_model_at_end``, ``save_model`` and ``resume_from_checkpoint=True`` look in `output_dir`."""

    def train(config: dict[str, Any]) -> None:
        callback = transformers.TuneReportCallback()
        trainer = _trainer_of_transformers(config, callback, load_best_model_at_end=True)
        trainer.train()
        assert trainer.state.best_model_checkpoint.startswith(tune.get_context().get_trial_dir())
        trainer.save_model()
        assert Path(trainer.args.output_dir, "config.json").exists() or _files(trainer.args.output_dir)

    grid = fit(train, {"lr": tune.grid_search([0.1, 0.2])})
    assert not grid.errors, grid.errors
    assert not _files(here)


def test_a_folder_that_a_transformers_script_has_made_stays(fit: Any, here: Path) -> None:
    """Also where the callback is added to the Trainer afterwards."""

    def train(config: dict[str, Any]) -> None:
        os.makedirs("out", exist_ok=True)
        trainer = _trainer_of_transformers(config)
        trainer.add_callback(transformers.TuneReportCallback())
        trainer.train()
        Path("out", f"summary_{config['lr']}.json").write_text("{}")

    grid = fit(train, {"lr": tune.grid_search([0.1, 0.2])})
    assert not grid.errors, grid.errors
    assert _files(here) == {"out/summary_0.1.json", "out/summary_0.2.json"}
    assert all(any(name.startswith("out/checkpoint-") for name in _files(result.path)) for result in grid)


def test_loggers_that_write_elsewhere_are_left_alone(fit: Any, here: Path) -> None:
    """As that of Weights & Biases, which is given a run of its own; written here, since that is not installed."""

    class Elsewhere(CSVLogger.__mro__[1]):  # type: ignore[misc]
        name, version = "mine", 0

        def __init__(self) -> None:
            super().__init__()
            self._save_dir, self._experiment = "runs", object()

        def log_metrics(self, *arguments: Any, **keywords: Any) -> None: ...
        def log_hyperparams(self, *arguments: Any, **keywords: Any) -> None: ...

        experiment = property(lambda self: self._experiment)

    def train(config: dict[str, Any]) -> dict[str, Any]:
        logger = Elsewhere()
        mine = logger._experiment
        _train_lightning(config, logger=logger, enable_checkpointing=False)
        return {"kept": logger._experiment is mine and logger._save_dir == "runs"}

    (result,) = fit(train, {"lr": 0.1})
    assert result.error is None and result.metrics["kept"]


@BOTH
def test_a_file_of_the_script_that_is_looked_for_in_the_folder_of_the_trial(fit: Any, here: Path, runtime: Any) -> None:
    (here / "train.csv").write_text("1")
    (result,) = fit(lambda config: {"x": Path("train.csv").read_text()}, working_dir="trial", runtime=runtime)
    told = str(result.error)
    assert "FileNotFoundError" in told and "'train.csv' is in that of the script; open os.path.join(os.environ[" in told
    (result,) = fit(lambda config: {"x": Path("other.csv").read_text()}, working_dir="trial", runtime=runtime)
    assert "of the script" not in str(result.error)


def test_a_script_whose_search_path_is_the_working_directory(
    fit: Any, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -c`, or an interactive session; inline."""
    (here / "helper_beside_the_script.py").write_text("ANSWER = 42")
    monkeypatch.setattr(sys, "path", ["", *sys.path])

    def train(config: dict[str, Any]) -> dict[str, Any]:
        import helper_beside_the_script  # type: ignore[import-not-found]

        return {"x": helper_beside_the_script.ANSWER}

    (result,) = fit(train, working_dir="trial", runtime="inline")
    assert result.error is None and result.metrics["x"] == 42 and sys.path[0] == ""


@BOTH
def test_a_class_that_writes_relative_files(fit: Any, here: Path, runtime: Any) -> None:
    """ray-project/ray 29894, 6228: its own folder, in each step, also without other processes."""

    class Trains(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            Path("setup.txt").write_text("x")

        def step(self) -> dict[str, Any]:
            with Path("steps.txt").open("a") as file:
                file.write("x")
            return {"steps": len(Path("steps.txt").read_text()), "done": self.iteration == 2}

    grid = fit(Trains, {"x": tune.grid_search([1, 2])}, working_dir="trial", runtime=runtime)
    assert [result.metrics["steps"] for result in grid] == [3, 3], grid.errors
    assert not list(here.iterdir())


def test_processes_that_a_trial_starts_are_in_its_folder(fit: Any, here: Path) -> None:
    def train(config: dict[str, Any]) -> dict[str, Any]:
        import subprocess

        subprocess.run(["touch", "by_child"], check=True)
        return {"there": Path(tune.get_context().get_trial_dir(), "by_child").exists()}

    assert all(result.metrics["there"] for result in fit(train, num_samples=2, working_dir="trial"))
    assert not list(here.iterdir())


# ------------------------------------------------------------------------- files that several trials write


def _saves(config: dict[str, Any]) -> None:
    """As scripts do: at the end."""
    tune.report(x=1)
    time.sleep(0.3)
    Path(config["file"].format(tune.get_context().get_trial_id())).write_text("weights")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """At trials of tenths of a second, and all the time."""
    monkeypatch.setattr(shared_files, "_SHORTEST_S", 0.0)
    monkeypatch.setattr(shared_files, "_EACH_S", 0.02)
    monkeypatch.setattr(shared_files, "_SHARE", 1.0)


@BOTH
@pytest.mark.usefixtures("looks")
@pytest.mark.parametrize(("name", "told"), [("best.pt", 1), ("best_{}.pt", 0)], ids=["one for all", "one each"])
def test_a_file_that_several_trials_have_written_is_told_at_the_end(
    fit: Any, runtime: Any, name: str, told: int
) -> None:
    found = fit(_saves, {"file": name}, num_samples=4, runtime=runtime).warnings
    assert len(found) == told, found
    for line in found:
        assert line.startswith("best.pt in ") and "RunConfig(working_dir='trial')" in line


@pytest.mark.usefixtures("looks")
def test_files_that_the_script_itself_writes_are_its_own(fit: Any, here: Path) -> None:
    """Results beside; one that it holds open; one that it writes anew with each result; one that it appends to."""

    class Writes(tune.Callback):
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            log.seek(0)
            print(trial.id, file=log, flush=True)
            with (here / "results.csv").open("a") as table:
                print(trial.id, file=table)

    with (here / "log.txt").open("w") as log:
        grid = fit(_saves, {"file": "best_{}.pt"}, num_samples=6, callbacks=[Writes()], storage_path=here / "results")
        assert not grid.warnings


def test_short_trials_are_not_looked_at(fit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_files.SharedFiles, "_listing", lambda self: pytest.fail("it was"))
    assert not fit(lambda config: {"x": 1}, num_samples=20).warnings


# ------------------------------------------------------------------------------------------ runtime_env


def test_an_environment_of_rays_for_the_workers(fit: Any) -> None:
    def train(config: dict[str, Any]) -> dict[str, Any]:
        return {"foo": os.environ.get("FOO", ""), "pid": os.getpid()}

    first = fit(train, num_samples=2, runtime_env={"env_vars": {"FOO": "one"}})
    other = fit(train, num_samples=2, runtime_env={"env_vars": {"FOO": "two"}})
    none = fit(train, num_samples=2)
    assert [{r.metrics["foo"] for r in grid} for grid in (first, other, none)] == [{"one"}, {"two"}, {""}]


def test_an_environment_that_cannot_be_made_is_an_error_at_once(fit: Any, tmp_path: Path) -> None:
    with pytest.raises(tune.TuneError, match=r"the runtime_env of the workers cannot be made: .*") as caught:
        fit(lambda config: {"x": 1}, num_samples=4, runtime_env={"working_dir": (tmp_path / "missing.zip").as_uri()})
    assert "missing.zip" in str(caught.value)


_PACKAGE = """
import ray

if __name__ == "__main__":
    os.makedirs("package/inner")
    open("package/data.txt", "w").write("found")
    open("package/helper_of_package.py", "w").write("ANSWER = 42")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"working_dir": "package"})

    def train(config):
        import helper_of_package
        return {"read": open("data.txt").read(), "answer": helper_of_package.ANSWER}

    tuning = tune.TuneConfig(num_samples=2)
    grid = tune.Tuner(train, tune_config=tuning, run_config=tune.RunConfig(verbose=0)).fit()
    print("read", {(result.metrics["read"], result.metrics["answer"]) for result in grid}, grid.errors)

    def train(config):  # ray-project/ray 29128: the directory before is that of the package
        return {"read": open(os.environ["TUNE_ORIG_WORKING_DIR"] + "/data.txt").read()}

    grid = tune.Tuner(train, run_config=tune.RunConfig(verbose=0, working_dir="trial")).fit()
    print("from elsewhere", grid[0].metrics["read"])
"""


def test_files_of_a_package_given_to_ray_are_found_by_relative_path(ok: Callable[..., str]) -> None:
    out = ok(_PACKAGE)
    assert "read {('found', 42)} []" in out and "from elsewhere found" in out
