"""Weights & Biases, offline: the files that ``wandb sync`` would send are read back."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from logged_runs import TWO_RATES, fit, one_exploit, save, six_steps

import tune_plugins as tune
from tune_plugins.logger import WandbLoggerCallback, setup_wandb

pytestmark = pytest.mark.slow  # needs an optional library


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    import wandb

    before = dict(os.environ)
    monkeypatch.chdir(tmp_path)
    os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_CONFIG_DIR": str(tmp_path / "config")}
    wandb.teardown()  # what it knows of the environment
    yield
    os.environ.clear()
    os.environ.update(before)


def records(path: Path) -> Iterator[Any]:
    """Records of a ``.wandb`` file: behind 7 bytes the log format of LevelDB, in blocks of 32 kB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


class Run:
    """What is in the files of one run, in the order in which they were written."""

    def __init__(self, folder: str | Path) -> None:
        self.config: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.exits: list[int] = []
        self.artifacts: list[dict[str, Any]] = []
        self.metrics: list[Any] = []
        self.ids: set[str] = set()
        self.files = sorted(Path(folder).rglob("*.wandb"), key=lambda path: path.stat().st_mtime_ns)
        for path in self.files:
            for record in records(path):
                self._add(record)

    def _add(self, record: Any) -> None:
        kind = record.WhichOneof("record_type")
        if kind == "run":
            self.run = record.run
            self.ids.add(record.run.run_id)
        if kind in ("run", "config"):
            updates = record.run.config.update if kind == "run" else record.config.update
            self.config |= {one.key: json.loads(one.value_json) for one in updates}
        elif kind == "history":
            self.history.append(
                {one.key or one.nested_key[0]: json.loads(one.value_json) for one in record.history.item}
            )
        elif kind == "exit":
            self.exits.append(record.exit.exit_code)
        elif kind == "artifact":
            self.artifacts.append(json.loads(record.artifact.metadata) | {"type": record.artifact.type})
        elif kind == "metric":
            self.metrics.append(record.metric)

    def column(self, name: str) -> list[Any]:
        return [line[name] for line in self.history if name in line]


def test_a_run_for_each_trial_with_an_exploit(tmp_path: Path) -> None:
    logger = WandbLoggerCallback("mine", excludes=["time_total_s"], tags=["quick"], config={"shared": 1})
    results = fit(tmp_path, six_steps, TWO_RATES, logger, scheduler=one_exploit())
    better, worse = (Run(result.path) for result in results)
    assert better.ids != worse.ids and len(better.ids) == len(worse.ids) == 1
    assert (worse.run.project, worse.run.run_group, worse.run.display_name) == ("mine", "run", "six_steps_00001")
    assert list(worse.run.tags) == ["quick"]
    assert worse.config["lr"] == 0.05 and worse.config["trial_id"] == "00001" and worse.config["shared"] == 1
    assert worse.column("loss") == [0.4, 0.2, 0.05 / 3, 0.05 / 4, 0.05 / 5, 0.05 / 6]
    assert worse.column("eval/auc") == [i / 10 for i in range(1, 7)]
    assert worse.exits == better.exits == [0]
    assert worse.column("time_total_s") == worse.column("config/lr") == []


def test_report_10900_each_iteration_is_logged(tmp_path: Path) -> None:
    """ray-project/ray#10900: with iterations as wandb's steps, those that come again after a restart were dropped."""
    failed: list[int] = []

    def train(config: dict[str, Any]) -> None:
        for iteration in range(1, 4):  # from the beginning each time
            tune.report(loss=1 / iteration)
            if iteration == 3 and not failed:
                failed.append(iteration)
                raise OSError("once")

    (result,) = fit(
        tmp_path, train, {"lr": 1}, WandbLoggerCallback("p"), failure_config=tune.FailureConfig(max_failures=1)
    )
    run = Run(result.path)
    assert run.column("training_iteration")[:3] == [1, 2, 3] and len(run.history) >= 4
    assert any(metric.step_metric == "training_iteration" for metric in run.metrics)
    assert len(run.ids) == 1


def test_a_trial_that_failed_and_the_config_beside_results(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report({"loss": config["deep"]["lr"], "word": "text", "some": [1, 2]})
        raise ValueError("for good")

    space = {"deep": {"lr": 0.1, "path": Path("a")}}
    logger = WandbLoggerCallback("p", "g", log_config=True, excludes=["config/deep/path", "word"])
    run = Run(fit(tmp_path, train, space, logger)[0].path)
    assert run.exits == [1] and run.run.run_group == "g"
    assert run.column("config/deep/lr") == [0.1] and run.column("loss") == [0.1]
    assert run.column("config/deep/path") == run.column("word") == run.column("some") == []
    assert run.config["deep"]["lr"] == 0.1


def test_checkpoints_are_artifacts(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        for iteration in (1, 2):
            tune.report({"loss": 1.0}, checkpoint=save(iteration))

    run = Run(fit(tmp_path, train, {"lr": 1}, WandbLoggerCallback("p", upload_checkpoints=True))[0].path)
    names = [artifact["checkpoint"] for artifact in run.artifacts]
    assert names == ["checkpoint_000001", "checkpoint_000002"] and run.artifacts[0]["type"] == "model"
    assert len(run.ids) == 1


def test_a_checkpoint_that_was_removed_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def train(config: dict[str, Any]) -> None:
        for iteration in range(1, 6):
            tune.report({"loss": 1.0}, checkpoint=save(iteration))

    class Late(WandbLoggerCallback):
        def on_checkpoint(self, iteration, trials, trial, checkpoint, **info):
            if checkpoint.iteration == 1:
                import shutil

                shutil.rmtree(checkpoint.path)
            super().on_checkpoint(iteration, trials, trial, checkpoint, **info)

    run = Run(fit(tmp_path, train, {"lr": 1}, Late("p", save_checkpoints=True))[0].path)
    assert len(run.artifacts) == 4
    assert "checkpoint_000001 of trial 00000 was removed before it could be copied" in caplog.text


def test_a_run_inside_each_trial_ends_with_it(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        run = setup_wandb(config, project="inside", job_type="kind")
        for step in (1, 2):
            run.log({"own": config["lr"] * step})
            tune.report(loss=config["lr"])

    results = fit(tmp_path, train, TWO_RATES)
    assert results.errors == []
    for result in results:
        run = Run(result.path)
        assert run.column("own") == [result.config["lr"], result.config["lr"] * 2]
        assert run.exits == [0] and run.run.project == "inside" and run.run.job_type == "kind"
        assert run.config["lr"] == result.config["lr"] and run.run.run_group == "run"


def test_other_ranks_log_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RANK", "1")
    run = setup_wandb({"lr": 1})
    run.log({"a": 1})
    run.finish()
    assert list(tmp_path.rglob("*.wandb")) == []


def test_keys_and_arguments_that_are_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    with pytest.raises(tune.ArgumentError) as caught:
        WandbLoggerCallback(api_key="secret", api_key_file="file", excludes="loss", log_config="yes")  # type: ignore[arg-type]
    told = str(caught.value)
    assert "got both" in told and "excludes: expected" in told and "log_config: expected" in told
    assert "secret" not in told
    with pytest.raises(tune.ArgumentError, match="api_key_file: expected a file that can be read"):
        setup_wandb(api_key_file=tmp_path / "none")
    # Online, a key must be known: asked for in the middle of a run, nobody could type it.
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    wandb.teardown()
    with pytest.raises(tune.ArgumentError, match="api_key: expected a key, none is known"):
        WandbLoggerCallback("p")
    (tmp_path / "key").write_text("k" * 40 + "\n")
    WandbLoggerCallback("p", api_key_file=tmp_path / "key", mode="offline")
    assert os.environ["WANDB_API_KEY"] == "k" * 40
