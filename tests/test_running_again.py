"""A script that runs a second time: what becomes of the name, and of what the first run has left."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins.core.ends import EndCause
from tune_plugins.core.events import RecordStatus, RecordTrial, ResultsReported
from tune_plugins.driver.plan import experiment_folder
from tune_plugins.record import folder
from tune_plugins.record.names import check_name, is_plain, numbered
from tune_plugins.record.store import FILE_NAME, ExperimentStore, StorageError


def fit(storage: Path, name: str | None = "x", *, x: Any = 1, fails: bool = False, **run: Any) -> tune.ResultGrid:
    """A run whose only trial reports its hyper-parameter and leaves a checkpoint, or fails before that."""

    def train(config: dict[str, Any]) -> None:
        if fails:
            raise ValueError("a slip")
        (Path(tune.get_context().get_trial_dir()) / "note").write_text(str(config["x"]))
        tune.report({"loss": config["x"]})

    return tune.Tuner(
        train,
        param_space={"x": x},
        tune_config=tune.TuneConfig(metric="loss", mode="min"),
        run_config=tune.RunConfig(name=name, storage_path=storage, runtime="inline", verbose=0, **run),
    ).fit()


def recorded(directory: Path, *values: float, trial: str = "a", **meta: Any) -> Path:
    """A record of one trial that has a folder, and reported these values."""
    with ExperimentStore.create(directory, {"metric": "loss", "mode": "min", **meta}) as store:
        results = tuple({"loss": value, "training_iteration": i} for i, value in enumerate(values, 1))
        status = RecordStatus(trial, "TERMINATED", "", 2.0, EndCause.FINISHED)
        store.commit(
            [ResultsReported(1.0, trial, results)] if results else [], [RecordTrial(trial, 0, {}, 0, 0.0), status]
        )
    (directory / f"trial_{trial}").mkdir()
    (directory / f"trial_{trial}" / "weights").write_text("w")
    return directory


def tree(root: Path) -> set[str]:
    """Everything below a folder but what SQLite makes in passing, with the text of small files."""
    return {
        f"{path.relative_to(root)}:{path.read_text() if path.name in ('note', 'weights', 'mine') else ''}"
        for path in root.rglob("*")
        if not path.name.endswith(("-wal", "-shm"))
    }


def losses(grid: tune.ResultGrid) -> list[float]:
    return [result.metrics["loss"] for result in tune.ResultGrid(grid.experiment_path)]


# --------------------------------------------------------------------------------- which names


@pytest.mark.parametrize(
    "name", ["x", "lr=0.1", "two words", "a+b,c", "Größe", "実験", "n" * 300, ".hidden", "100 %", "-1"]
)
def test_what_people_write_is_a_name(name: str, tmp_path: Path) -> None:
    assert check_name("name", name) is None
    for number in (1, 2, 1000):
        shown, folder_name = numbered(name, number)
        assert shown.startswith(name) and len(os.fsencode(folder_name)) <= 100 and folder_name.isascii()
        (tmp_path / folder_name).mkdir()
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    "name", ["", " ", ".", "..", ". .", "a/b", "a\\b", "/x", "a\nb", "a\x1b[2J", "\x00", "\ud800", 3]
)
def test_what_is_no_name(name: Any) -> None:
    with pytest.raises(tune.ArgumentError, match=r"name: expected text without .* put folders into storage_path"):
        tune.RunConfig(name=name)


def test_files_for_output_have_plain_names() -> None:
    assert is_plain("all.log") and not any(map(is_plain, ("a b", "..", "a/b", "", "x" * 101, "ü", None)))
    with pytest.raises(tune.ArgumentError, match="log_to_file"):
        tune.RunConfig(log_to_file="two words")


def test_a_name_is_kept_for_people(tmp_path: Path) -> None:
    first, second = fit(tmp_path, "lr=0.1, Größe 3"), fit(tmp_path, "lr=0.1, Größe_3")  # one folder for both
    assert Path(first.experiment_path) == tmp_path / "lr=0.1,_Gr_e_3" and first.info()["name"] == "lr=0.1, Größe 3"
    assert Path(second.experiment_path) == tmp_path / "lr=0.1,_Gr_e_3-2"
    assert second.info()["name"] == "lr=0.1, Größe_3-2"


# ------------------------------------------------------------------------------------- numbers


class Told(tune.Callback):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def setup(self, *arguments: Any, run: Any, **info: Any) -> None:
        self.lines.append(run.name)

    def on_trial_output(self, *, trial: Any, lines: Any, **info: Any) -> None:
        self.lines += [line for line in lines if trial is None]


def test_a_name_that_is_taken_gets_a_number_and_says_so_at_the_start(tmp_path: Path) -> None:
    told = Told()
    grids = [fit(tmp_path, x=x, callbacks=[told]) for x in (1, 2, 3)]
    assert [Path(grid.experiment_path).name for grid in grids] == ["x", "x-2", "x-3"]
    assert [losses(grid) for grid in grids] == [[1], [2], [3]]
    says = f"{str(tmp_path / 'x')!r} is taken; this run is called "
    assert told.lines == ["x", "x-2", f"{says}'x-2'.", "x-3", f"{says}'x-3'."]


def test_a_run_without_results_leaves_its_name_free(tmp_path: Path) -> None:
    told = Told()
    for x, fails in ((1, True), (2, True), (3, False)):
        grid = fit(tmp_path, x=x, fails=fails, callbacks=[told])
        assert Path(grid.experiment_path) == tmp_path / "x"
    assert losses(grid) == [3] and told.lines == ["x"] * 3
    assert Path(fit(tmp_path, fails=True).experiment_path).name == "x-2"
    assert Path(fit(tmp_path).experiment_path).name == "x-2"


def test_a_run_that_reports_nothing_and_one_that_left_files_keep_their_names(tmp_path: Path) -> None:
    """What it was run for may be in the folders of its trials."""

    def saves(config: dict[str, Any]) -> None:
        Path(tune.get_context().get_trial_dir(), "model.pt").write_text("weights")
        if config["fails"]:
            raise RuntimeError("after hours")

    for number, fails in enumerate((False, True, True), 1):
        run = tune.RunConfig(name="x", storage_path=tmp_path, verbose=0, runtime="inline")
        grid = tune.Tuner(saves, param_space={"fails": fails}, run_config=run).fit()
        assert Path(grid.experiment_path).name == ("x" if number == 1 else f"x-{number}")
        assert Path(grid[0].path, "model.pt").exists()
    grid = tune.Tuner(lambda config: None, run_config=run).fit()
    assert Path(grid.experiment_path).name == "x-4"
    assert Path(tune.Tuner(lambda config: None, run_config=run).fit().experiment_path).name == "x-5"


def test_names_that_share_a_folder_are_not_taken_for_each_other(tmp_path: Path) -> None:
    told = Told()
    first = fit(tmp_path, name="日本", x=1)
    with pytest.raises(tune.ArgumentError, match="holds the experiment '日本'"):
        fit(tmp_path, name="東京", if_exists="replace")
    second = fit(tmp_path, name="東京", x=2, callbacks=[told])
    assert told.lines == ["東京-2", f"{first.experiment_path!r} is taken; this run is called '東京-2'."]
    assert (losses(first), losses(second)) == ([1], [2])
    assert losses(fit(tmp_path, name="日本", x=3, if_exists="replace")) == [3]


def test_where_nothing_can_be_locked_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*arguments: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(tune.TuneError, match=r"Cannot lock .*experiment.lock: No locks available. Give"):
        fit(tmp_path)


def test_what_somebody_has_put_beside_a_run_without_results_stays(tmp_path: Path) -> None:
    recorded(tmp_path / "x")
    (tmp_path / "x" / "mine").write_text("my notes")
    before = tree(tmp_path / "x")
    assert Path(fit(tmp_path).experiment_path).name == "x-2"
    assert tree(tmp_path / "x") == before


def test_a_name_of_ours_is_never_freed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.strftime", lambda *arguments: "now")
    names = [Path(fit(tmp_path, None, fails=True, if_exists="replace").experiment_path).name for _ in range(3)]
    assert names == ["train_now", "train_now_1", "train_now_2"]


def test_folders_without_a_record_are_used_files_are_not(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "locked once").mkdir()
    (tmp_path / "locked once" / folder.LOCK_NAME).touch()  # killed before it had a record
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine").write_text("my notes")
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for name, expected in (("empty", "empty"), ("notes", "notes"), ("file", "file-2"), ("nowhere", "nowhere-2")):
        for rule in ("number", "replace", "error") if expected == name else ("number",):
            with experiment_folder(
                "Tuner", tune.RunConfig(name=name, storage_path=tmp_path, if_exists=rule), ""
            ) as found:
                assert found.path == tmp_path / expected
    folder.take(tmp_path / "locked once", "error").release()
    assert (tmp_path / "notes" / "mine").read_text() == "my notes"


def test_a_storage_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"Cannot make the folder /proc/x: .*Choose one that you may write to"):
        folder.take(Path("/proc/x"), "number")


# ----------------------------------------------------------------------------------- replacing


def test_replacing_leaves_nothing_of_the_old_run_and_all_else(tmp_path: Path) -> None:
    old = fit(tmp_path, x=tune.grid_search([1, 2]))
    beside = recorded(tmp_path / "beside", 1.0)
    before = tree(beside)
    (tmp_path / "x" / f".tmp-0123abcd-{FILE_NAME}").touch()  # of a run that was killed at its very beginning
    new = fit(tmp_path, x=3, if_exists="replace")
    assert new.experiment_path == old.experiment_path and losses(new) == [3]
    assert {name for name in tree(tmp_path / "x") if "trial" in name} == {"trial_00000:", "trial_00000/note:3"}
    assert not list((tmp_path / "x").glob(".tmp*")) and tree(beside) == before


def _foreign_file(x: Path) -> Path:
    (x / "mine").write_text("my notes")
    return x / "mine"


def _foreign_folder(x: Path) -> Path:
    (x / "trial_b").mkdir()  # of no trial that the record names
    return x / "trial_b"


def _linked_folder(x: Path) -> Path:
    x.rename(x.parent / "elsewhere")
    x.symlink_to(x.parent / "elsewhere")
    return x


def _linked_trial(x: Path) -> Path:
    (x / "trial_a").rename(x.parent / "elsewhere")
    (x / "trial_a").symlink_to(x.parent / "elsewhere")
    return x / "trial_a"


def _linked_record(x: Path) -> Path:
    (x / FILE_NAME).rename(x.parent / "elsewhere")
    (x / FILE_NAME).symlink_to(x.parent / "elsewhere")
    return x / FILE_NAME


def _file_for_a_trial(x: Path) -> Path:
    shutil.rmtree(x / "trial_a")
    (x / "trial_a").touch()
    return x / "trial_a"


def _no_record(x: Path) -> Path:
    for file in x.glob(f"{FILE_NAME}*"):
        file.unlink()
    (x / FILE_NAME).write_text("not an SQLite file")
    return x / FILE_NAME


def _damaged(x: Path) -> Path:
    (x / FILE_NAME).write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    return x / FILE_NAME


def _plain_file(x: Path) -> Path:
    shutil.rmtree(x)
    x.touch()
    return x


IN_THE_WAY = [
    _foreign_file,
    _foreign_folder,
    _linked_folder,
    _linked_trial,
    _linked_record,
    _file_for_a_trial,
    _no_record,
    _damaged,
    _plain_file,
]


@pytest.mark.parametrize("make", IN_THE_WAY, ids=lambda make: make.__name__)
@pytest.mark.parametrize("values", [(), (1.0,)], ids=["without results", "with results"])
def test_what_is_not_replaced(make: Any, values: tuple[float, ...], tmp_path: Path) -> None:
    offending = make(recorded(tmp_path / "x", *values))
    before = tree(tmp_path)
    with pytest.raises(tune.ArgumentError) as caught:
        fit(tmp_path, if_exists="replace")
    (mistake,) = caught.value.mistakes
    assert mistake.startswith("if_exists: expected an experiment that may be replaced") and str(offending) in mistake
    with pytest.raises(folder.Taken):
        folder.take(tmp_path / "x", "replace")
    assert tree(tmp_path) == before
    assert Path(fit(tmp_path).experiment_path).name == "x-2"  # by a number it goes on, silently
    assert before <= tree(tmp_path)


def test_a_refusal_is_one_of_all_mistakes(tmp_path: Path) -> None:
    _foreign_file(recorded(tmp_path / "x", 1.0))
    with pytest.raises(tune.ArgumentError) as caught:
        tune.simulate(
            3,  # type: ignore[arg-type]
            run_config=tune.RunConfig(name="x", storage_path=tmp_path, if_exists="replace"),
        )
    assert [mistake.partition(":")[0] for mistake in caught.value.mistakes] == ["if_exists", "training"]
    with pytest.raises(tune.ArgumentError, match="if_exists: expected 'number', 'replace' or 'error', got 'overwrite'"):
        tune.RunConfig(if_exists="overwrite")  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [(), (1.0,)], ids=["without results", "with results"])
def test_error_refuses_and_names_the_choices(values: tuple[float, ...], tmp_path: Path) -> None:
    before = tree(recorded(tmp_path / "x", *values))
    with pytest.raises(tune.ArgumentError, match=r"name: expected a new one, got 'x'") as caught:
        fit(tmp_path, if_exists="error")
    assert all(f"if_exists={choice!r}" in str(caught.value) for choice in ("number", "replace", "error"))
    assert tree(tmp_path / "x") == before
    assert Path(fit(tmp_path, "y", if_exists="error").experiment_path).name == "y"


def test_an_interrupted_removal_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(tmp_path, x=tune.grid_search([1, 2, 3]))
    removed: list[str] = []

    def interrupted(path: str) -> None:
        if removed:
            raise KeyboardInterrupt
        removed.append(path)
        rmtree(path)

    rmtree = shutil.rmtree
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path, x=4, if_exists="replace")
    assert len(removed) == 1 and not os.path.exists(removed[0])
    assert len(tune.ResultGrid(tmp_path / "x")) == 3 and folder.is_held(tmp_path / "x") is False
    assert losses(fit(tmp_path, x=4, if_exists="replace")) == [4]


def test_a_record_that_somebody_has_open_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_BUSY_MS", 1)
    before = tree(recorded(tmp_path / "x", 1.0))
    with (
        ExperimentStore.open(tmp_path / "x") as reader,
        pytest.raises(folder.Taken, match=r"experiment.db is open in another process"),
    ):
        reader.trials()
        folder.take(tmp_path / "x", "replace")
    assert tree(tmp_path / "x") - {f"{folder.LOCK_NAME}:"} == before
    folder.take(tmp_path / "x", "replace").release()
    assert tree(tmp_path / "x") == {f"{folder.LOCK_NAME}:"}


def test_no_trial_gets_a_folder_of_the_name_of_the_lock(tmp_path: Path) -> None:
    grid = tune.Tuner(
        lambda config: {"loss": 1},
        tune_config=tune.TuneConfig(trial_dirname_creator=lambda trial: folder.LOCK_NAME),
        run_config=tune.RunConfig(name="x", storage_path=tmp_path, runtime="inline", verbose=0),
    ).fit()
    assert Path(grid[0].path).name == f"{folder.LOCK_NAME}_00000"


# ------------------------------------------------------------------------------------ the lock

OWNER = """
import os, sys
from pathlib import Path
from tune_plugins.record.folder import take
lock = take(Path(sys.argv[1]), "replace")
if "fork" not in sys.argv or os.fork() == 0:
    print("has it", flush=True)
sys.stdin.read()
"""


@contextmanager
def owner(directory: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs an experiment in the folder; it, and what it forks, end when the block does."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(directory), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout
    with process:
        assert process.stdout.readline() == "has it\n"
        yield process
        process.kill()


def test_a_living_owner_is_seen_and_a_killed_one_leaves_its_folder_free(tmp_path: Path) -> None:
    with owner(tmp_path / "x") as process:
        ExperimentStore.create(tmp_path / "x", {"metric": "loss"}).close()  # without the lock it would be free
        assert folder.is_held(tmp_path / "x") is True
        for rule in ("replace", "error"):
            with pytest.raises(tune.ArgumentError, match=r"it runs: a living process holds .*x/experiment\.lock"):
                fit(tmp_path, if_exists=rule)
        assert Path(fit(tmp_path).experiment_path).name == "x-2"
        assert [each.state for each in tune.experiments(tmp_path) if each.name == "x"] == ["running"]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert folder.is_held(tmp_path / "x") is False
    assert Path(fit(tmp_path).experiment_path).name == "x"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_what_a_killed_owner_has_forked_does_not_keep_its_folder(tmp_path: Path) -> None:
    with owner(tmp_path / "x", "fork") as process:
        process.kill()
        process.wait()
        assert folder.is_held(tmp_path / "x") is False  # the child waits for the end of our pipe


def test_a_run_whose_process_was_killed_is_listed_as_such(tmp_path: Path) -> None:
    with ExperimentStore.create(tmp_path / "x", {"name": "x"}) as store:
        store.commit([], [RecordTrial("a", 0, {}, 0, 0.0), RecordStatus("a", "RUNNING", "", 1.0)])
    assert [each.state for each in tune.experiments(tmp_path)] == ["was killed"]


def test_a_run_holds_its_folder_until_it_is_over(tmp_path: Path) -> None:
    class Look(tune.Callback):
        def setup(self, *arguments: Any, run: Any, **info: Any) -> None:
            held.append(folder.is_held(Path(run.path)))

        on_experiment_end = lambda self, **info: held.append(folder.is_held(tmp_path / "x"))  # noqa: E731

    held: list[bool | None] = []
    fit(tmp_path, callbacks=[Look()])
    assert held == [True, True] and folder.is_held(tmp_path / "x") is False


def test_threads_that_start_at_once_get_folders_of_their_own(tmp_path: Path) -> None:
    many = 8
    begin, end = threading.Barrier(many), threading.Barrier(many)

    def run(number: int) -> str:
        begin.wait(60)
        with experiment_folder("Tuner", tune.RunConfig(name="x", storage_path=tmp_path), "") as found:
            recorded(found.path)
            end.wait(60)
            return found.path.name

    with ThreadPoolExecutor(many) as pool:
        names = list(pool.map(run, range(many)))
    assert sorted(names) == sorted(["x", *(f"x-{number}" for number in range(2, many + 1))])


AT_ONCE = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_running_again import fit
print("ready", flush=True)
sys.stdin.read()
print(Path(fit(Path(sys.argv[1])).experiment_path).name)
"""


def test_processes_that_start_at_once_get_folders_of_their_own(tmp_path: Path) -> None:
    with ExitStack() as stack:
        command = [sys.executable, "-c", AT_ONCE, str(tmp_path), str(Path(__file__).parent)]
        runs = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(3)
        ]
        assert [run.stdout.readline() for run in runs if run.stdout] == ["ready\n"] * 3
        for run in runs:
            assert run.stdin
            run.stdin.close()
        names = [run.stdout.read().strip() for run in runs if run.stdout]
    assert sorted(names) == ["x", "x-2", "x-3"]
    assert [each.trials for each in tune.experiments(tmp_path)] == [1, 1, 1]


# ----------------------------------------------------------------------------------- the list


def test_experiments_newest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(tmp_path / "b", 3.0, 0.5, created_at=100.0, name="b: the first")
    recorded(tmp_path / "a", 2.0, float("nan"), created_at=300.0)
    recorded(tmp_path / "c", created_at=200.0, metrics=["loss", "size"])
    (tmp_path / "no experiment").mkdir()
    monkeypatch.setenv("TUNE_STORAGE_PATH", str(tmp_path))
    found = tune.experiments()
    assert [(each.name, each.time, each.trials, each.failed) for each in found] == [
        ("a", 300.0, 1, 0),
        ("c", 200.0, 1, 0),
        ("b: the first", 100.0, 1, 0),
    ]
    assert [(each.metric, each.mode, each.best) for each in found] == [
        ("loss", "min", None),
        (None, None, None),
        ("loss", "min", 0.5),
    ]
    assert not any(each.running or each.trouble for each in found)
    head, *rows = repr(found).splitlines()
    assert head.split() == ["name", "folder", "began", "trials", "failed", "best", "state"]
    assert rows[2].startswith("b: the first  b ") and "loss=0.5" in rows[2] and rows[2].endswith("over")
    (one,) = tune.experiments(tmp_path / "b")
    assert one == found[2]


def test_failed_trials_are_counted_and_the_best_is_that_of_the_grid(tmp_path: Path) -> None:
    fit(tmp_path, fails=True)
    best = fit(tmp_path, "y", x=tune.grid_search([3, 1, 2])).get_best_result().metrics["loss"]
    newest, oldest = tune.experiments(tmp_path)
    assert (newest.name, newest.trials, newest.failed, newest.best) == ("y", 3, 0, best)
    assert (oldest.name, oldest.trials, oldest.failed, oldest.best) == ("x", 1, 1, None)


@pytest.mark.parametrize("make", [_no_record, _damaged], ids=lambda make: make.__name__)
def test_damaged_experiments_are_listed_with_their_trouble(make: Any, tmp_path: Path) -> None:
    file = make(recorded(tmp_path / "x", 1.0))
    recorded(tmp_path / "y", 1.0, created_at="\x1b[2J")
    recorded(tmp_path / "z", 1.0, metric=7, name="\x1b[2J")
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / FILE_NAME).symlink_to(tmp_path / "gone")
    found = {Path(each.path).name: each for each in tune.experiments(tmp_path)}
    assert str(file) in found["x"].trouble and found["x"].trials == 0 and found["x"].time > 0
    assert found["y"].trouble and found["z"].trouble and "w" not in found
    assert "\x1b" not in repr(tune.experiments(tmp_path))


def test_where_there_are_no_experiments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_STORAGE_PATH", str(tmp_path / "not yet"))
    assert tune.experiments() == [] and repr(tune.experiments()) == "no experiments"
    with pytest.raises(tune.ArgumentError, match=r"path: expected a folder, got .*mistyped'\. Give the storage_path"):
        tune.experiments(tmp_path / "mistyped")


def test_a_folder_of_experiments_is_no_experiment_and_says_which_there_are(tmp_path: Path) -> None:
    for time, name in enumerate(("b", "c", "a"), 1):
        os.utime(recorded(tmp_path / name, 1.0) / FILE_NAME, (time, time))
    with pytest.raises(
        StorageError, match=r"no experiment in .* newest first: a, c, b\. .*tune_plugins\.experiments\("
    ):
        tune.ResultGrid(tmp_path)


# ------------------------------------------------------------------------ reported of others


def test_a_second_run_of_one_name_leaves_the_first_as_it_was(tmp_path: Path) -> None:
    """ray-project/ray#35812: the files of the first run were replaced by those of the second."""
    first = fit(tmp_path)
    before = tree(tmp_path / "x")
    fit(tmp_path, x=2)
    assert tree(tmp_path / "x") == before and losses(first) == [1]


def test_two_runs_one_after_the_other_have_only_their_own_trials(tmp_path: Path) -> None:
    """ray-project/ray#43469: the folder of the second run also held the trials of the first."""
    for name, values in (("one", [1, 2]), ("two", [3, 4])):
        fit(tmp_path / name, x=tune.grid_search(values))
    notes = [{file.read_text() for file in (tmp_path / name).rglob("note")} for name in ("one", "two")]
    assert notes == [{"1", "2"}, {"3", "4"}]


def test_another_search_space_under_the_same_name(tmp_path: Path) -> None:
    """keras-team/keras-tuner#290: trials of before, without the new parameter, were taken over and raised."""
    grids = []
    for space in ({"x": 1}, {"depth": 2}):
        grids.append(
            tune.Tuner(
                lambda config: {"loss": sum(config.values())},
                param_space=space,
                run_config=tune.RunConfig(
                    name="x", storage_path=tmp_path, runtime="inline", verbose=0, if_exists="replace"
                ),
            ).fit()
        )
    assert [result.config for result in tune.ResultGrid(grids[1].experiment_path)] == [{"depth": 2}]


def test_a_refusal_says_how_to_overwrite(tmp_path: Path) -> None:
    """keras-team/keras-tuner#143: the error did not tell of the argument that helps."""
    recorded(tmp_path / "x", 1.0)
    with pytest.raises(tune.ArgumentError, match="if_exists='replace' to remove what is there"):
        fit(tmp_path, if_exists="error")


def test_results_are_found_by_name_and_by_the_file_of_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNE_STORAGE_PATH", str(tmp_path))
    recorded(tmp_path / "lr=0.1_Adam", 0.5, name="lr=0.1 Adam")
    for path in ("lr=0.1 Adam", tmp_path / "lr=0.1_Adam", tmp_path / "lr=0.1_Adam" / FILE_NAME):
        assert losses(tune.ResultGrid(path)) == [0.5]
    with pytest.raises(StorageError, match=r"There is no experiment in .*lr=0\.2"):
        tune.ResultGrid("lr=0.2")
    with pytest.raises(tune.ArgumentError, match="path: expected the folder of an experiment, got None"):
        tune.ResultGrid(None)  # type: ignore[arg-type]


def test_a_run_that_was_over_before_any_result_says_so(tmp_path: Path) -> None:
    with ExperimentStore.create(tmp_path / "x", {"metric": "loss", "mode": "min"}) as store:
        status = RecordStatus("a", "TERMINATED", "the time budget of 6 s is used up", 1.0, EndCause.TIME_BUDGET)
        store.commit([], [RecordTrial("a", 0, {}, 0, 0.0), status])
    with pytest.raises(tune.TuneError, match=r"the run was over before \(the time budget of 6 s is used up\)"):
        tune.ResultGrid(tmp_path / "x").get_best_result()
