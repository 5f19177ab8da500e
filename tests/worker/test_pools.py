"""Pools inside a trial: which of their processes and threads may report, and those that the next trial uses again."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor

import tune_plugins as tune
from tune_plugins.results import ResultGrid
from tune_plugins.schedulers import PopulationBasedTraining

pytestmark = pytest.mark.slow  # pools of processes, most of which import NumPy anew

Map = Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]


@pytest.fixture(autouse=True)
def _own_processes_of_joblib() -> None:
    """Not those that another test of this process has left, outside a trial: they know of none."""
    get_reusable_executor().shutdown(wait=True)


def _joblib(task: Callable[[Any], Any], given: Iterable[Any], **options: Any) -> list[Any]:
    return list(joblib.Parallel(n_jobs=2, **options)(joblib.delayed(task)(one) for one in given))


def _futures(task: Callable[[Any], Any], given: Iterable[Any]) -> list[Any]:
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(task, given))


def _pool(task: Callable[[Any], Any], given: Iterable[Any]) -> list[Any]:
    with multiprocessing.Pool(2) as pool:
        return pool.map(task, given)


def _threads(task: Callable[[Any], Any], given: Iterable[Any]) -> list[Any]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(task, given))


PROCESSES = {"joblib": _joblib, "futures": _futures, "multiprocessing": _pool}
THREADS = {"threads": _threads, "joblib-threads": partial(_joblib, prefer="threads")}


def run(function: Callable[[dict[str, Any]], Any], folder: Path, trials: int = 1, **options: Any) -> ResultGrid:
    tuning = {key: options.pop(key) for key in ("metric", "mode", "scheduler", "seed") if key in options}
    return tune.Tuner(
        function,
        param_space={"lr": tune.grid_search([0.1 * (1 + n) for n in range(trials)]), "folder": str(folder)},
        tune_config=tune.TuneConfig(**tuning),
        run_config=tune.RunConfig(storage_path=folder / "results", verbose=0, runtime="inline", **options),
    ).fit()


def wait_for_the_other(name: str, folder: str) -> None:
    """Return when two have come here."""
    Path(folder, f"here_{name}").touch()
    limit = threading.Event()
    for _ in range(6000):
        if len(list(Path(folder).glob("here_*"))) >= 2:
            return
        limit.wait(0.01)
    raise AssertionError("nobody came")


def reports_three_times(fold: int, folder: str) -> int:
    for step in range(3):
        try:
            tune.report(fold=fold, step=step)
        finally:
            wait_for_the_other(str(fold), folder)
    return fold


@pytest.mark.parametrize("name", [*PROCESSES, *THREADS])
def test_reports_at_the_same_time_are_refused(name: str, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> dict[str, float]:
        {**PROCESSES, **THREADS}[name](partial(reports_three_times, folder=config["folder"]), range(2))
        return {"score": 1.0}

    (result,) = run(train, tmp_path)
    assert result.error is not None
    said = str(result.error)
    assert "TuneError" in said and "tune.report(score=scores.mean())" in said and "n_jobs=1" in said


def test_processes_of_the_script_s_own_are_refused_where_nobody_looks_at_how_they_ended(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=reports_three_times, args=(fold, config["folder"])) for fold in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join()

    (result,) = run(train, tmp_path)
    assert result.error is not None and "report the mean behind the loop" in str(result.error)


def cross_validated(config: dict[str, Any]) -> dict[str, float]:
    import xgboost
    from sklearn.model_selection import cross_val_score

    from tune_plugins.integrations.xgboost import TuneReportCallback

    x = np.random.default_rng(0).normal(size=(60, 3))
    callbacks = [Together(config["folder"]), TuneReportCallback()]
    model = xgboost.XGBClassifier(n_estimators=3, n_jobs=1, callbacks=callbacks)
    return {"score": cross_val_score(model, x, x[:, 0] > 0, cv=4, n_jobs=2).mean()}


class Together:
    """Stands for `xgboost.callback.TrainingCallback`, which this module does not import for every test."""

    def __new__(cls, folder: str) -> Any:
        import xgboost

        class Waits(xgboost.callback.TrainingCallback):
            def before_training(self, model: Any) -> Any:
                import os

                wait_for_the_other(str(os.getpid()), folder)
                return model

        return Waits()


@pytest.mark.filterwarnings("ignore:.*fits failed")
def test_an_adapter_in_every_fold_of_a_cross_validation_is_refused(tmp_path: Path) -> None:
    """scikit-learn takes the error for one of the fold, and gives it a score of nan."""
    (result,) = run(cross_validated, tmp_path)
    assert result.error is not None and "give the callback to one fold only" in str(result.error)


def first_reports(fold: int) -> tuple[int, float]:
    if fold == 0:
        for _ in range(3):
            tune.report(lr=tune.get_context().config["lr"])
    return fold, tune.get_context().config["lr"]


@pytest.mark.parametrize("name", list(PROCESSES))
def test_one_fold_of_a_pool_reports_in_each_trial(name: str, tmp_path: Path) -> None:
    """joblib keeps its processes: what belonged to the trial before belongs to the one that uses it."""

    def train(config: dict[str, Any]) -> dict[str, Any]:
        known = PROCESSES[name](first_reports, range(4))
        return {"known": [lr for _, lr in known] == [config["lr"]] * 4}

    results = run(train, tmp_path, trials=3)
    assert not results.errors, results.errors
    for result in results:
        assert result.metrics["known"] and result.metrics["lr"] == result.config["lr"]
        assert [row["training_iteration"] for _, row in result.metrics_dataframe.iterrows()][:3] == [1, 2, 3]


def test_what_reports_nothing_is_free(tmp_path: Path) -> None:
    """The mean behind the loop, as the error says."""

    def train(config: dict[str, Any]) -> None:
        for _ in range(2):
            tune.report(score=sum(_joblib(abs, [1, 2, 3])))

    (result,) = run(train, tmp_path)
    assert result.error is None and result.metrics["score"] == 6 and result.metrics["training_iteration"] == 2


def two_reports(fold: int) -> None:
    for step in range(2):
        tune.report(fold=fold, step=step)


def test_one_process_after_another_reports(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(fold=-1)
        for fold in range(3):
            child = multiprocessing.get_context("fork").Process(target=two_reports, args=(fold,))
            child.start()
            child.join()
        with ProcessPoolExecutor(1) as pool:
            for fold in range(3, 5):
                pool.submit(two_reports, fold).result()
                tune.report(fold=fold)  # the function itself may, between them

    (result,) = run(train, tmp_path)
    assert result.error is None
    frame = result.metrics_dataframe
    assert list(frame["training_iteration"]) == list(range(1, 14))
    assert list(frame["fold"]) == [-1, 0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 4, 4]


def test_one_thread_after_another_reports(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        with ThreadPoolExecutor(2) as pool:
            for fold in range(4):
                pool.submit(two_reports, fold).result()

    (result,) = run(train, tmp_path)
    assert result.error is None and result.metrics["training_iteration"] == 8


@pytest.mark.parametrize("name", [*PROCESSES, *THREADS])
def test_a_stop_reaches_whoever_waits_for_the_pool(name: str, tmp_path: Path) -> None:
    """A worker of `multiprocessing` that ends by anything but an Exception leaves it waiting forever."""

    def train(config: dict[str, Any]) -> None:
        {**PROCESSES, **THREADS}[name](first_reports, range(1))
        raise AssertionError("was to be stopped")

    results = run(train, tmp_path, trials=2, stop={"training_iteration": 2})
    assert not results.errors, results.errors
    assert [result.metrics["training_iteration"] for result in results] == [2, 2]


def trains_in_a_pool(folder: str) -> float:
    checkpoint = tune.get_checkpoint()
    step = 0 if checkpoint is None else int(Path(checkpoint.path, "step").read_text())
    config = tune.get_context().config
    while step < 8:
        step += 1
        state = Path(folder, f"state_{config['lr']}_{step}")
        state.mkdir(exist_ok=True)
        (state / "step").write_text(str(step))
        tune.report(score=config["lr"], step=step, checkpoint=tune.Checkpoint.from_directory(state))
    return float(config["lr"])


@pytest.mark.parametrize("name", list(PROCESSES))
def test_processes_that_are_used_again_belong_to_the_new_entry(name: str, tmp_path: Path) -> None:
    """A pause and an exploit unwind the function, which uses the pool again."""

    def train(config: dict[str, Any]) -> None:
        (rate,) = PROCESSES[name](trains_in_a_pool, [config["folder"]])
        assert rate == config["lr"]

    pbt = PopulationBasedTraining(
        "training_iteration", perturbation_interval=2, hyperparam_mutations={"lr": tune.uniform(0.1, 1.0)}
    )
    results = run(train, tmp_path, trials=3, metric="score", mode="max", scheduler=pbt, seed=1)
    assert not results.errors, results.errors
    assert any(decision.action == "RESTART" for decision in results.decisions)
    for result in results:
        assert result.metrics["step"] == result.metrics["training_iteration"] == 8
        assert result.metrics["score"] == result.config["lr"]


def test_iterations_of_the_script_s_own_must_grow(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        for _ in range(2):
            for epoch in range(3):
                tune.report(training_iteration=epoch, loss=1.0)

    (result,) = run(train, tmp_path)
    assert result.error is not None
    assert "0 was reported after 2" in str(result.error) and "report no training_iteration" in str(result.error)


def test_a_pool_can_end_its_processes_inline(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """They are forked, and must not take the SIGTERM by which it ends them for one to the run."""

    def train(config: dict[str, Any]) -> dict[str, float]:
        with multiprocessing.get_context("fork").Pool(2) as pool:
            pool.map(partial(wait_for_the_other, folder=config["folder"]), ["a", "b"])
        return {"score": 3}

    (result,) = run(train, tmp_path)
    assert result.metrics["score"] == 3 and "KeyboardInterrupt" not in capfd.readouterr().err


def handlers(_: int) -> list[str]:
    return [repr(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]


def test_a_forked_process_has_the_handlers_of_signals_that_the_script_had(tmp_path: Path) -> None:
    """One of the run's would only be run behind the wait for a lock in which SIGTERM has found the process."""

    def train(config: dict[str, Any]) -> dict[str, Any]:
        with multiprocessing.get_context("fork").Pool(1) as pool:
            return {"theirs": pool.map(handlers, [0])[0], "ours": handlers(0)}

    (result,) = run(train, tmp_path)
    assert result.metrics["theirs"] == handlers(0)
    assert not set(result.metrics["ours"]) & set(handlers(0))


KEPT: dict[str, ProcessPoolExecutor] = {}


def reports_twice(fold: int) -> int:
    for step in range(2):
        tune.report(fold=fold, step=step)
    return fold


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_that_is_kept_reports_in_each_trial(method: str, tmp_path: Path) -> None:
    """A forked process has inherited the socket of the trial that forked it, which is closed behind that."""
    if method not in multiprocessing.get_all_start_methods():
        return

    def train(config: dict[str, Any]) -> None:
        if method not in KEPT:
            KEPT[method] = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method))
        for fold in range(2):
            assert KEPT[method].submit(reports_twice, fold).result(timeout=300) == fold

    try:
        results = run(train, tmp_path, trials=3)
    finally:
        KEPT.pop(method).shutdown()
    assert not results.errors, results.errors
    assert [result.metrics["training_iteration"] for result in results] == [4, 4, 4]


def test_an_iteration_is_reported_in_two_halves(tmp_path: Path) -> None:
    """Training and validation each report their metrics, with the same number; the same metric twice is a mistake."""

    def halves(config: dict[str, Any]) -> None:
        for epoch in range(3):
            tune.report(training_iteration=epoch, loss=1.0 - epoch)
        tune.report(training_iteration=2, accuracy=0.5)

    def twice(config: dict[str, Any]) -> None:
        for _ in range(2):
            tune.report(training_iteration=1, loss=1.0)

    (result,) = run(halves, tmp_path)
    assert result.error is None
    assert {name: result.metrics[name] for name in ("training_iteration", "loss", "accuracy")} == {
        "training_iteration": 2,
        "loss": -1.0,
        "accuracy": 0.5,
    }
    (result,) = run(twice, tmp_path / "twice")
    assert "1 was reported after 1" in str(result.error)


def test_a_script_that_counts_by_itself_is_tried_again(tmp_path: Path) -> None:
    """It saves, and never loads: the second attempt counts from the beginning."""

    def train(config: dict[str, Any]) -> None:
        fallen = Path(config["folder"], "fallen")
        for epoch in range(4):
            state = Path(config["folder"], f"state_{epoch}")
            state.mkdir(exist_ok=True)
            (state / "epoch").write_text(str(epoch))
            tune.report(training_iteration=epoch + 1, checkpoint=tune.Checkpoint.from_directory(state))
            if epoch == 2 and not fallen.exists():
                fallen.touch()
                raise OSError("the network is gone")

    (result,) = run(train, tmp_path, failure_config=tune.FailureConfig(max_failures=1))
    assert result.error is None and result.metrics["training_iteration"] == 4
