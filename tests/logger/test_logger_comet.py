"""Comet, offline: the archives that ``comet upload`` would send are read back."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from logged_runs import TWO_RATES, fit, one_exploit, save, six_steps

import tune_plugins as tune
from tune_plugins.logger import CometLoggerCallback

pytestmark = pytest.mark.slow  # needs an optional library


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


class Archive:
    """What is in the archive of one trial."""

    def __init__(self, path: str) -> None:
        (file,) = Path(path).glob("*.zip")
        with zipfile.ZipFile(file) as archive:
            self.about = json.loads(archive.read("experiment.json"))
            lines = [json.loads(line) for line in archive.read("messages.json").splitlines()]
        self.parameters: dict[str, Any] = {}
        self.metrics: dict[str, list[tuple[int, float]]] = {}
        self.others: dict[str, Any] = {}
        for line in lines:
            said = line["payload"]
            if line["type"] == "parameter_msg":
                self.parameters[said["param"]["paramName"]] = said["param"]["paramValue"]
            elif line["type"] == "metric_msg":
                metric = said["metric"]
                self.metrics.setdefault(metric["metricName"], []).append((metric["step"], metric["metricValue"]))
            elif line["type"] == "log_other":
                self.others[said["key"]] = said["value"]


def test_an_experiment_for_each_trial_with_an_exploit(tmp_path: Path) -> None:
    logger = CometLoggerCallback(online=False, tags=["quick"], project_name="mine")
    results = fit(tmp_path, six_steps, TWO_RATES, logger, scheduler=one_exploit())
    better, worse = (Archive(result.path) for result in results)
    assert worse.about["project_name"] == "mine" and worse.about["tags"] == ["quick"]
    assert worse.others["Name"] == "six_steps_00001" and worse.others["trial_id"] == "00001"
    assert worse.metrics["eval/auc"] == [(i, i / 10) for i in range(1, 7)]
    assert worse.metrics["loss"] == [(i, (0.4 if i < 3 else 0.05) / i) for i in range(1, 7)]
    assert worse.parameters["lr"] == "0.05" and better.others["failed"] in (False, "false", "False")


def test_a_trial_that_failed(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)
        raise ValueError("for good")

    run = Archive(fit(tmp_path, train, {"deep": {"lr": 1}}, CometLoggerCallback(online=False))[0].path)
    assert run.others["failed"] in (True, "true", "True") and run.parameters["deep/lr"] == "1"


def test_a_checkpoint_after_the_end_continues_the_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Artifacts are taken online only; everything but the upload is done."""
    import comet_ml

    logged: list[tuple[str, str]] = []
    monkeypatch.setattr(
        comet_ml.OfflineExperiment,
        "log_artifact",
        lambda self, artifact: logged.append((self.get_key(), str(artifact))),
    )
    logger = CometLoggerCallback(online=False, offline_directory=str(tmp_path))
    logger.save_checkpoints = True

    def train(config: dict[str, Any]) -> None:
        tune.report({"loss": 1.0}, checkpoint=save(1))

    trials: list[Any] = []

    class Keep(tune.Callback):
        def on_checkpoint(self, trial, checkpoint, **info):
            trials.append((trial, checkpoint))

    fit(tmp_path, train, {"lr": 1}, logger, Keep())
    ((trial, checkpoint),) = trials
    logger.on_checkpoint(0, [], trial, checkpoint)
    logger.on_experiment_end([])
    assert len(logged) == 2 and logged[0] == logged[1]
    assert logger._experiments == {}


def test_arguments_that_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMET_API_KEY", raising=False)
    with pytest.raises(tune.ArgumentError, match="api_key: expected a key, none is known"):
        CometLoggerCallback()
    with pytest.raises(tune.ArgumentError) as caught:
        CometLoggerCallback(online=False, tags="one", save_checkpoints=True)
    told = str(caught.value)
    assert "tags: expected" in told and "Comet takes them online only" in told
