"""MLflow, by a real server."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from logged_runs import TWO_RATES, fit, one_exploit, save, six_steps

import tune_plugins as tune
from tune_plugins.logger import MLflowLoggerCallback, setup_mlflow

pytestmark = pytest.mark.slow  # needs an optional library


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an MLflow server with a database and artifacts of its own."""
    home = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{home}/runs.db", "--artifacts-destination", str(home / "artifacts")]
    with (home / "log").open("w") as log:
        # Without the processes for jobs of its own, eight more.
        environ = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, cwd=home, env=environ, start_new_session=True
        )
    try:
        address, pause = f"http://127.0.0.1:{port}", threading.Event()
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=60).close()
                break
            except OSError:
                assert process.poll() is None, (home / "log").read_text()
                pause.wait(0.2)  # until the server listens, which no event tells
        yield address
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """What MLflow notes for the whole process is put back."""
    import mlflow

    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    yield
    while mlflow.active_run() is not None:
        mlflow.end_run()
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)
    os.environ.clear()
    os.environ.update(before)


def runs_of(server: str, experiment: str) -> list[Any]:
    """The runs of an experiment, by their names."""
    import mlflow

    client = mlflow.MlflowClient(server)
    found = client.get_experiment_by_name(experiment)
    return sorted(client.search_runs([found.experiment_id]), key=lambda run: str(run.info.run_name))


def history(server: str, run: Any, metric: str) -> list[tuple[int, float]]:
    import mlflow

    return [(one.step, one.value) for one in mlflow.MlflowClient(server).get_metric_history(run.info.run_id, metric)]


def artifacts(server: str, run: Any, path: str = "") -> set[str]:
    import mlflow

    return {file.path for file in mlflow.MlflowClient(server).list_artifacts(run.info.run_id, path)}


def test_runs_parameters_metrics_and_tags(server: str, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        for step in (1, 2):
            values = {"loss": config["lr"] / step, "eval": {"auc": step / 10}, "word": "no number", "nan": math.nan}
            tune.report(values)
        if config["lr"] == 0.4:
            raise ValueError("for good")

    logger = MLflowLoggerCallback(server, experiment_name="two", tags={"team": "blue", "number": 3})
    space = {**TWO_RATES, "deep": {"layers": [8, 8]}, "odd name?": "x" * 7000, "none": None}
    results = fit(tmp_path, train, space, logger)
    good, failed = runs_of(server, "two")
    assert (good.info.status, failed.info.status) == ("FINISHED", "FAILED")
    assert [run.info.run_name for run in (good, failed)] == ["train_00000", "train_00001"]
    params = good.data.params
    assert (params["lr"], params["deep/layers"], params["none"]) == ("0.1", "[8, 8]", "null")
    assert params["odd name_"] == "x" * 6000
    assert history(server, good, "loss") == [(1, 0.1), (2, 0.05)]
    assert history(server, failed, "eval/auc") == [(1, 0.1), (2, 0.2)]
    assert "word" not in good.data.metrics and math.isnan(good.data.metrics["nan"])
    tags = failed.data.tags
    assert (tags["team"], tags["number"], tags["trial_id"]) == ("blue", "3", "00001")
    assert tags["trial_dir"] == results[1].path
    assert artifacts(server, good) == set()


def test_report_27783_parameters_with_an_exploit(server: str, tmp_path: Path) -> None:
    """ray-project/ray#27783: with PBT only the first parameters were there, which are almost never the best ones."""
    at_the_end = MLflowLoggerCallback(server, experiment_name="final", log_params_on_trial_end=True)
    at_the_start = MLflowLoggerCallback(server, experiment_name="first")
    fit(tmp_path, six_steps, TWO_RATES, at_the_end, at_the_start, scheduler=one_exploit())
    final, first = runs_of(server, "final")[1], runs_of(server, "first")[1]
    assert final.data.params == {"lr": "0.05"} and first.data.params == {"lr": "0.4"}
    assert history(server, first, "config/lr") == [(step, 0.05) for step in (3, 4, 5, 6)]
    assert [step for step, _ in history(server, first, "loss")] == [1, 2, 3, 4, 5, 6]


def test_artifacts_are_the_folder_of_the_trial(server: str, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        folder = Path(tune.get_context().get_trial_dir())
        (folder / "notes.txt").write_text("mine")
        tune.report({"loss": 1.0}, checkpoint=save(1))

    fit(tmp_path, train, {"lr": 1}, MLflowLoggerCallback(server, experiment_name="files", save_artifact=True))
    (run,) = runs_of(server, "files")
    assert {"notes.txt", "checkpoint_000001"} <= artifacts(server, run)
    assert "checkpoint_000001/iteration" in artifacts(server, run, "checkpoint_000001")


def test_many_metrics_go_out_in_parts(server: str, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        for _ in (1, 2):
            tune.report({"loss": 1.0, **{f"m{number}": number for number in range(500)}})

    space = {f"p{number}": number for number in range(101)}
    fit(tmp_path, train, space, MLflowLoggerCallback(server, experiment_name="many"))
    (run,) = runs_of(server, "many")
    assert len(run.data.params) == 101 and len(run.data.metrics) > 500
    assert history(server, run, "m499") == [(1, 499), (2, 499)]


def test_the_experiment_is_named_by_the_environment_or_the_run(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(tmp_path, six_steps, {"lr": 1}, MLflowLoggerCallback(server), name="of the run")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of the environment")
    fit(tmp_path, six_steps, {"lr": 1}, MLflowLoggerCallback(server), name="other")
    assert len(runs_of(server, "of_the_run")) == len(runs_of(server, "of the environment")) == 1


def test_report_36257_the_callback_leaves_the_process_as_it_is(server: str, tmp_path: Path) -> None:
    """ray-project/ray#36257: which server the callback uses says nothing about that of the training."""
    import mlflow

    before = mlflow.get_tracking_uri()
    fit(tmp_path, six_steps, {"lr": 1}, MLflowLoggerCallback(server, experiment_name="apart"))
    assert mlflow.get_tracking_uri() == before and mlflow.active_run() is None


def test_a_server_that_is_not_there_harms_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
        (result,) = fit(tmp_path, six_steps, {"lr": 1}, MLflowLoggerCallback(nobody, experiment_name="x"))
    assert result.metrics["training_iteration"] == 6
    assert caplog.text.count("MLflowLoggerCallback.log_trial_result raised") == 1


def test_arguments_that_are_wrong() -> None:
    with pytest.raises(tune.ArgumentError) as caught:
        MLflowLoggerCallback(tags=["a"], save_artifact="yes", log_params_on_trial_end=1)  # type: ignore[arg-type]
    assert [mistake.partition(":")[0] for mistake in caught.value.mistakes] == [
        "tags",
        "save_artifact",
        "log_params_on_trial_end",
    ]


# ----------------------------------------------------------------------------------------- inside the trial


def test_a_run_inside_each_trial_ends_with_it(server: str, tmp_path: Path) -> None:
    """Though all trials are in one process."""

    def train(config: dict[str, Any]) -> None:
        mlflow = setup_mlflow(
            config, tracking_uri=server, experiment_name="inside", create_experiment_if_not_exists=True, tags={"a": 1}
        )
        for step in (1, 2):
            mlflow.log_metric("own", config["lr"] * step, step=step)
            tune.report(loss=config["lr"])

    results = fit(tmp_path, train, TWO_RATES)
    assert results.errors == []
    runs = runs_of(server, "inside")
    assert [(run.info.run_name, run.info.status, run.data.params["lr"]) for run in runs] == [
        ("train_00000", "FINISHED", "0.1"),
        ("train_00001", "FINISHED", "0.4"),
    ]
    assert history(server, runs[1], "own") == [(1, 0.4), (2, 0.8)]
    assert runs[1].data.tags["a"] == "1" and runs[1].data.tags["trial_id"] == "00001"


def test_report_30649_a_trial_that_goes_on_has_one_run_and_no_conflict(server: str, tmp_path: Path) -> None:
    """ray-project/ray#30649: "Changing param values is not allowed"; here a trial is entered anew with another lr."""

    def train(config: dict[str, Any]) -> None:
        setup_mlflow(config, tracking_uri=server)
        six_steps(config)

    results = fit(tmp_path, train, TWO_RATES, scheduler=one_exploit(), name="anew")
    assert results.errors == [] and results[1].config == {"lr": 0.05}
    runs = runs_of(server, "anew")
    assert [run.data.params for run in runs] == [{"lr": "0.1"}, {"lr": "0.4"}]
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]


def test_however_a_trial_ends_its_run_does_at_once(server: str, tmp_path: Path) -> None:
    """Not when the garbage collector looks."""

    def train(config: dict[str, Any]) -> None:
        setup_mlflow(config, tracking_uri=server)
        tune.report(loss=config["lr"])
        if config["lr"] == 0.1:
            raise ValueError("failed")
        tune.report(loss=config["lr"])  # it is stopped here
        raise AssertionError("not stopped")

    fit(tmp_path, train, TWO_RATES, name="at_once", stop={"training_iteration": 2})
    import mlflow

    client = mlflow.MlflowClient(server)
    found = client.get_experiment_by_name("at_once")
    assert [run.info.status for run in client.search_runs([found.experiment_id])] == ["FINISHED"] * 2


def test_what_is_left_to_be_entered_anew_is_not_ended(caplog: pytest.LogCaptureFixture) -> None:
    """A trial that is paused or restarted goes on, perhaps in another process, and its run with it."""
    from tune_plugins import session

    told: list[str] = []
    session.at_end_of_trial(lambda: told.append("outside of a trial"))
    for name in ("left", "ended"):
        trial: Any = type("Session", (), {})()
        leave = session.enter(trial)
        session.at_end_of_trial(lambda name=name: told.append(name))  # type: ignore[misc]
        session.at_end_of_trial(lambda: [][0])
        leave()
        if name == "ended":
            session.ended(trial)
            session.ended(trial)
    assert told == ["ended"] and caplog.text.count("What was to be done at the end of a trial failed") == 1


def test_outside_a_trial_and_other_ranks(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(tune.ArgumentError, match="expected an experiment that MLflow has, got 'none such'"):
        setup_mlflow({}, tracking_uri=server, experiment_name="none such")
    mlflow = setup_mlflow(
        {"lr": 1}, server, experiment_name="plain", create_experiment_if_not_exists=True, run_name="mine"
    )
    mlflow.end_run()
    (run,) = runs_of(server, "plain")
    assert (run.info.run_name, run.data.params, run.info.status) == ("mine", {"lr": "1"}, "FINISHED")
    monkeypatch.setenv("RANK", "1")
    nothing = setup_mlflow({}, tracking_uri=server, experiment_name="none such")
    nothing.log_metrics({"a": 1})
    with nothing.start_run() as run:
        run.anything.at_all()
    again = setup_mlflow(
        {}, tracking_uri=server, experiment_id=runs_of(server, "plain")[0].info.experiment_id, rank_zero_only=False
    )
    assert again is mlflow and again.active_run() is not None
