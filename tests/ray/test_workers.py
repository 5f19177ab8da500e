"""The processes that run trials: warm ones, fresh ones, dying ones; what passes from one trial to the next."""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tune_plugins as tune
from tune_plugins.schedulers import PopulationBasedTraining

pytestmark = pytest.mark.both_kinds


def _pids(grid: Any) -> set[int]:
    return {result.metrics["pid"] for result in grid}


def _peak_bytes() -> int:
    """Most memory this process has ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _pid(config: dict[str, Any]) -> dict[str, Any]:
    return {"pid": os.getpid()}


def test_workers_stay_warm_within_a_run_and_from_run_to_run(fit: Any) -> None:
    first = _pids(fit(_pid, num_samples=20))
    second = _pids(fit(lambda config: {"pid": os.getpid(), "another": "function"}, num_samples=20))
    assert len(first) <= 2 and len(second) <= 2
    assert os.getpid() not in first
    assert first & second


def test_processes_of_a_population_that_takes_turns_stay_warm(fit: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        for step in range(8):
            tune.report(score=config["x"] * step, pid=os.getpid())

    def population() -> set[int]:
        scheduler = PopulationBasedTraining(
            "training_iteration", perturbation_interval=2, hyperparam_mutations={"x": tune.uniform(0, 1)}
        )
        return _pids(
            fit(train, {"x": tune.uniform(0, 1)}, num_samples=5, metric="score", mode="max", scheduler=scheduler)
        )

    first, second = population(), population()
    assert len(first) > 2, "each paused trial waits in a process of its own"
    # Not all of them: a slot may have had two in the first run and need three in the second.
    assert len(first & second) > 2, "more than one for each slot is kept"
    assert _pids(fit(_pid, num_samples=4)) <= first | second, "and these serve a run that needs fewer"


def test_without_reuse_each_trial_has_a_process_of_its_own(fit: Any) -> None:
    warm = _pids(fit(_pid))  # idle workers must not keep the new ones out
    fresh = [result.metrics["pid"] for result in fit(_pid, num_samples=3, reuse_actors=False)]
    assert len(set(fresh)) == 3
    assert not warm & set(fresh)


def test_a_trial_leaves_no_traces_for_the_next(fit: Any) -> None:
    def train(config: dict[str, Any]) -> dict[str, Any]:
        found = {
            "cwd": os.getcwd(),
            "mark": os.environ.get("TUNE_TEST_MARK", "none"),
            "python": random.random(),
            "numpy": float(np.random.rand()),
        }
        os.environ["TUNE_TEST_MARK"] = "left behind"
        os.chdir(tempfile.mkdtemp())
        os.rmdir(os.getcwd())
        return found

    runs = [fit(train, num_samples=6, max_concurrent_trials=1, seed=5) for _ in range(2)]
    for result in (*runs[0], *runs[1]):
        assert result.metrics["cwd"] == os.getcwd()
        assert result.metrics["mark"] == "none"
    for name in ("python", "numpy"):
        values = [[result.metrics[name] for result in run] for run in runs]
        assert values[0] == values[1]  # the seed of the run decides
        assert len(set(values[0])) == 6  # and each trial has its own


def test_trials_run_in_the_directory_of_the_driver(fit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert fit(lambda config: {"cwd": os.getcwd()})[0].metrics["cwd"] == str(tmp_path)
    assert Path.cwd() == tmp_path


def test_modules_that_the_driver_can_import_can_be_imported_in_trials(
    fit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_training_code.py").write_text("def train(config):\n    return {'answer': 42}\n")
    monkeypatch.syspath_prepend(tmp_path)
    import my_training_code

    assert fit(my_training_code.train)[0].metrics["answer"] == 42


# ------------------------------------------------------------------------------------- large data


def test_large_parameters_are_shared_and_loaded_once_a_process(fit: Any) -> None:
    data = np.arange(2_000_000, dtype=np.float64)

    def train(config: dict[str, Any], data: Any, scale: float) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "address": data.__array_interface__["data"][0],
            "owned": bool(data.flags.owndata),
            "sum": float(data.sum()) * scale,
        }

    grid = fit(tune.with_parameters(train, data=data, scale=2.0), num_samples=8)
    assert {result.metrics["sum"] for result in grid} == {float(data.sum()) * 2}
    assert {result.metrics["owned"] for result in grid} == {False}  # a view of the object store
    assert len({(r.metrics["pid"], r.metrics["address"]) for r in grid}) == len(_pids(grid))


# ------------------------------------------------------------------------------------- lost workers


def _go_on(config: dict[str, Any]) -> None:
    checkpoint = tune.get_checkpoint()
    first = 0 if checkpoint is None else int(Path(checkpoint.path, "count").read_text())
    directory = Path(tune.get_context().get_trial_dir())
    (directory / "attempts").open("a").write(f"{first}\n")
    for count in range(first + 1, 7):
        folder = directory / "scratch"
        folder.mkdir(exist_ok=True)
        (folder / "count").write_text(str(count))
        tune.report(count=count, pid=os.getpid(), checkpoint=tune.Checkpoint.from_directory(folder))
        if count == 3 and config["how"] and first == 0:
            # What this trial has reported has to be durable for the test to be exact.
            while not (directory / "checkpoint_000003").exists() or not Path(config["seen"]).exists():
                time.sleep(0.005)
            config["how"]()


class _Seen(tune.callbacks.Callback):
    """Says in a file that the third checkpoint is in the record."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_checkpoint(self, iteration: int, trials: Any, trial: Any, checkpoint: Any, **info: Any) -> None:
        if checkpoint.iteration == 3:
            self.file.touch()


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _exit() -> None:
    os._exit(3)


@pytest.mark.parametrize("how", [_kill, _exit])
def test_a_lost_worker_is_replaced_and_its_trial_goes_on(fit: Any, tmp_path: Path, how: Any) -> None:
    recovered: list[str] = []

    class Recovered(_Seen):
        def on_trial_recover(self, iteration: int, trials: Any, trial: Any, *, error: Any, **info: Any) -> None:
            assert error.type == "WorkerLostError"
            recovered.append(trial.id)

    seen = tmp_path / "seen"
    grid = fit(_go_on, {"how": how, "seen": str(seen)}, max_failures=1, callbacks=[Recovered(seen)])
    result = grid[0]
    assert result.status == "TERMINATED", result.error
    assert Path(result.path, "attempts").read_text() == "0\n3\n"
    assert list(result.metrics_dataframe["count"]) == [1, 2, 3, 4, 5, 6]
    assert result.metrics_dataframe["pid"].nunique() == 2
    assert recovered == ["00000"]


def test_without_retries_a_lost_worker_is_an_error_in_plain_words(fit: Any, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    grid = fit(_go_on, {"how": tune.grid_search([_kill, None]), "seen": str(seen)}, callbacks=[_Seen(seen)])
    lost, other = grid
    assert lost.status == "ERROR"
    assert "died suddenly" in str(lost.error)
    assert lost.metrics["count"] == 3
    assert other.status == "TERMINATED"
    assert Path(lost.path, "attempts").read_text() == "0\n"


def test_a_silent_trial_is_ended_and_its_slot_is_used_again(fit: Any) -> None:
    """One that reports now and then is not; what waits behind the silent one is not lost."""

    def train(config: dict[str, Any]) -> None:
        for step in range(12):
            tune.report(step=step)
            if config["silent"] and step == 1:
                threading.Event().wait()
            time.sleep(0.1)

    space = {"silent": tune.grid_search([True, True, False, False])}
    grid = fit(train, space, report_timeout_s=1.0)
    assert [str(result.cause) for result in grid] == ["SILENT", "SILENT", "FINISHED", "FINISHED"]
    assert [result.metrics["step"] for result in grid] == [1, 1, 11, 11]
    text = str(grid[0].error)
    assert (
        "had not reported for" in text and "report_timeout_s=1" in text and grid[0].metrics["training_iteration"] == 2
    )


def test_a_silent_trial_is_tried_again_from_its_checkpoint(fit: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        checkpoint = tune.get_checkpoint()
        for step in range(1 if checkpoint is None else 3, 5):
            with tempfile.TemporaryDirectory() as folder:
                tune.report(step=step, checkpoint=tune.Checkpoint.from_directory(folder))
            if step == 2:
                time.sleep(3600)

    (result,) = fit(train, report_timeout_s=2.0, max_failures=1, retry="lost")
    assert result.metrics["step"] == 4 and result.error is None


def test_cpus_that_a_run_uses_no_more_are_there_for_another(fit: Any, tmp_path: Path) -> None:
    """Two CPUs: one trial of the first run is over, the other one goes on until the second run is over."""
    over = tmp_path / "over"

    def long(config: dict[str, Any]) -> None:
        while config["waits"] and not over.exists():
            time.sleep(0.05)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(fit, long, {"waits": tune.grid_search([False, True])})
        second = fit(_pid)
        assert not first.done()
        over.touch()
        assert not first.result().errors and len(second) == 1


def test_a_crash_harms_neither_the_trials_before_nor_those_in_line_behind(fit: Any) -> None:
    def train(config: dict[str, Any]) -> dict[str, Any]:
        if config["x"] == 50:
            os._exit(1)
        return {"x": config["x"]}

    grid = fit(train, {"x": tune.grid_search(list(range(100)))})
    assert [i for i, result in enumerate(grid) if result.status == "ERROR"] == [50]
    assert [result.metrics["x"] for result in grid if result.status == "TERMINATED"] == [
        x for x in range(100) if x != 50
    ]


def test_warm_workers_that_died_between_runs_are_replaced(fit: Any) -> None:
    for _ in range(2):
        for pid in _pids(fit(_pid, num_samples=10)):
            os.kill(pid, signal.SIGKILL)
    assert fit(_pid, num_samples=4).num_terminated == 4


def test_a_long_trial_hands_back_those_in_line_behind_it(fit: Any, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> dict[str, Any]:
        if config["x"] == 60:
            # Goes on until all others are done, which are not behind it, then.
            done = Path(config["directory"])
            while len(list(done.iterdir())) < 99:
                time.sleep(0.005)
        Path(config["directory"], str(config["x"])).touch()
        return {"x": config["x"]}

    grid = fit(train, {"x": tune.grid_search(list(range(100))), "directory": str(tmp_path)})
    assert grid.num_terminated == 100


def test_a_stop_reaches_trials_in_line_behind_a_long_one(fit: Any, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    ran.mkdir()

    def train(config: dict[str, Any]) -> dict[str, Any]:
        Path(config["directory"], str(config["x"])).touch()
        if config["x"] >= 60:
            threading.Event().wait(3600)
        return {"x": config["x"]}

    class Stop(tune.callbacks.Callback):
        long = 0

        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            self.long += trial.index >= 60
            if self.long == 2:  # one in each of both workers; which ones hangs on who takes how many at a time
                signal.raise_signal(signal.SIGINT)

    grid = fit(train, {"x": tune.grid_search(list(range(200))), "directory": str(ran)}, callbacks=[Stop()])
    assert {result.status for result in grid} == {"TERMINATED"}
    begun = {int(path.name) for path in ran.iterdir()}
    assert begun > set(range(60)) and len(begun) == 62
    assert all("Ctrl-C" in result.reason for result in grid if not result.metrics)


def test_a_config_that_cannot_travel_is_told(fit: Any) -> None:
    with pytest.raises(tune.TuneError, match=r"config of trial 00000 cannot be sent to another process.*lock"):
        fit(_pid, {"lock": threading.Lock()})


class _Unloadable:
    """Can be pickled, but not be loaded anywhere else."""

    def __init__(self, home: int) -> None:
        self.home = home
        if home != os.getpid():
            raise RuntimeError("cannot live in another process")

    def __reduce__(self) -> Any:
        return _Unloadable, (self.home,)


def test_a_config_that_cannot_be_loaded_in_a_worker_is_an_error_of_its_trial(fit: Any) -> None:
    grid = fit(_pid, {"x": tune.grid_search([1, _Unloadable(os.getpid())])})
    assert [result.status for result in grid] == ["TERMINATED", "ERROR"]
    assert "cannot live in another process" in str(grid[1].error)


def test_a_function_that_cannot_be_loaded_in_a_worker_ends_the_run(fit: Any) -> None:
    thing = _Unloadable(os.getpid())

    def train(config: dict[str, Any]) -> dict[str, Any]:
        return {"x": str(thing)}

    with pytest.raises(tune.TuneError, match=r"could not be loaded in a worker process: [A-Z]"):
        fit(train)


def test_trials_run_in_the_main_thread_where_frameworks_set_signal_handlers(fit: Any) -> None:
    def train(config: dict[str, Any]) -> dict[str, Any]:
        signal.signal(signal.SIGUSR2, lambda *_: None)
        return {"main": threading.current_thread() is threading.main_thread()}

    assert fit(train)[0].metrics["main"] is True


def test_many_quick_reports_are_all_recorded_in_bounded_memory(fit: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        before = _peak_bytes()
        for step in range(200_000):
            tune.report(step=step)
        tune.report(step=step + 1, grown=_peak_bytes() - before)

    fit(train, stop={"training_iteration": 1000})
    before = _peak_bytes()
    grid = fit(train)
    grown = _peak_bytes() - before
    from tune_plugins.record.store import ExperimentStore

    with ExperimentStore.open(grid.experiment_path) as store:
        steps = [result["step"] for _, result in store.all_results()]
    assert steps == list(range(200_001))
    assert grid[0].metrics["grown"] < 60e6
    assert grown < 150e6


def test_many_runs_leave_nothing_behind(fit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    make, made = tempfile.mkdtemp, set[str]()

    def noted(*arguments: Any, **options: Any) -> str:
        made.add(folder := make(*arguments, **options))
        return folder

    monkeypatch.setattr(tempfile, "mkdtemp", noted)

    def count() -> tuple[int, int, int]:
        return threading.active_count(), len(os.listdir("/dev/fd")), sum(map(os.path.exists, made))

    for _ in range(3):
        fit(_pid, num_samples=3)
    threads, files, folders = count()
    for _ in range(20):
        fit(_pid, num_samples=3)
    assert made, "the socket of a run lies in a folder of its own"
    assert count()[0] <= threads
    assert count()[1] <= files + 1
    assert count()[2] <= folders


@pytest.mark.ends_ray
def test_a_worker_loads_only_what_a_trial_needs(fit: Any) -> None:
    def train(config: dict[str, Any]) -> dict[str, Any]:
        import sys

        return {"loss": 1, "loaded": " ".join(sys.modules)}

    tune.shutdown()
    (result,) = fit(train, scheduler=tune.schedulers.ASHAScheduler(metric="loss", mode="min"))
    loaded = set(result.metrics["loaded"].split())
    assert "tune_plugins.worker.process" in loaded
    unwanted = ("schedulers", "search", "stoppers", "core.experiment", "record.store", "space.domains", "driver.runner")
    assert not loaded & {f"tune_plugins.{name}" for name in unwanted}
    found = loaded & {"sortedcontainers", "pandas", "rich", "fsspec", "sqlite3"}
    assert not found, sorted(loaded)
