"""Objects of a class derived from `Trainable` that are used without a run, and those that serve several trials."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any, ClassVar

import pytest

import tune_plugins as tune
from tune_plugins.core.autofill import AUTOFILLED
from tune_plugins.errors import TuneError
from tune_plugins.session import TrialContext
from tune_plugins.testing import RecordingSession
from tune_plugins.trainable import STATE_FILE, validate_save_restore
from tune_plugins.worker.class_trial import run_class


class Halving(tune.Trainable):
    calls: ClassVar[list[str]] = []

    def setup(self, config: dict[str, Any]) -> None:
        self.x = 8.0

    def step(self) -> dict[str, Any]:
        self.x /= 2
        return {"x": self.x, "done": self.iteration == 5}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "x.json").write_text(json.dumps(self.x))

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.x = json.loads(Path(checkpoint, "x.json").read_text())

    def cleanup(self) -> None:
        self.calls.append("cleanup")


class Resettable(Halving):
    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.x = 8.0
        return True


@pytest.fixture(autouse=True)
def _calls() -> None:
    Halving.calls.clear()


def trial(kind: type[tune.Trainable], **script: Any) -> RecordingSession:
    with RecordingSession(context=TrialContext("7", "d_7"), **script) as session:
        run_class(kind, {})
    return session


def test_train_adds_what_a_run_adds() -> None:
    logged: list[Any] = []

    class Logging(Halving):
        def log_result(self, result: dict[str, Any]) -> None:
            logged.append(result)

    trainable = Logging({"lr": 0.5})
    first, second = trainable.train(), trainable.train()
    assert (first["x"], second["x"], trainable.iteration) == (4.0, 2.0, 2) and logged == [first, second]
    assert second.keys() >= AUTOFILLED | {"training_iteration", "time_total_s", "timestamp", "x"}
    assert second["iterations_since_restore"] == 2 and second["config"] == trainable.get_config() == {"lr": 0.5}
    assert second["time_total_s"] == pytest.approx(first["time_this_iter_s"] + second["time_this_iter_s"])
    trainable.stop()
    assert Halving.calls == ["cleanup"]
    assert trial(Logging, stop_at=2).iterations == [1, 2]
    assert [result["training_iteration"] for result in logged] == [1, 2, 1, 2] and logged[-1].keys() >= AUTOFILLED


@pytest.mark.parametrize("form", ["returned", "path", "checkpoint", "folder"])
def test_save_and_restore(tmp_path: Path, form: str) -> None:
    trainable = Halving()
    trainable.train()
    folder = tmp_path / "a" / "b"
    saved = trainable.save(None if form == "checkpoint" else folder)
    assert saved.metrics["x"] == 4.0 and sorted(os.listdir(saved)) == [STATE_FILE, "x.json"]
    trainable.train()
    given = {"returned": saved, "path": saved.path, "checkpoint": saved.checkpoint, "folder": folder}[form]
    if form == "folder":
        trainable.save(folder)  # a later state in its place
        trainable.train()
    for each in (trainable, Halving().restore(given)):
        each.restore(given)
        at = 2 if form == "folder" else 1
        assert each.iteration == at
        result = each.train()
        assert (result["x"], result["training_iteration"], result["iterations_since_restore"]) == (4 / 2**at, at + 1, 1)
        assert result["time_since_restore"] < result["time_total_s"]
    assert pickle.loads(pickle.dumps(saved)).path == saved.path
    with pytest.raises(TuneError, match="was not written by a Trainable"):
        trainable.restore(tmp_path)


def test_a_trial_and_an_object_by_hand_read_each_others_states(tmp_path: Path) -> None:
    session = trial(Halving, save_at={3}, directory=tmp_path / "trial")
    by_hand = Halving().restore(session.checkpoints[3])
    assert by_hand.iteration == 3 and by_hand.train()["x"] == 0.5
    session = trial(Halving, start_checkpoint=by_hand.save().checkpoint, start_iteration=4)
    assert session.iterations == [5, 6] and session.values("x") == [0.25, 0.125]


def test_reset_begins_anew_where_the_class_can() -> None:
    assert not Halving({"lr": 0.5}).reset({"lr": 0.25})
    trainable = Resettable({"lr": 0.5})
    trainable.train()
    assert trainable.reset({"lr": 0.25}) and (trainable.iteration, trainable.config) == (0, {"lr": 0.25})
    assert trainable.train()["training_iteration"] == 1


def test_export_is_the_classs_own(tmp_path: Path) -> None:
    class Exporting(Halving):
        def _export_model(self, export_formats: list[str], export_dir: str) -> dict[str, str]:
            return {each: f"{export_dir}/{each}" for each in export_formats}

    assert Exporting().export_model("onnx", str(tmp_path)) == {"onnx": f"{tmp_path}/onnx"}
    with pytest.raises(NotImplementedError, match="Halving does not define _export_model"):
        Halving().export_model(["onnx"], str(tmp_path))


def test_validate_save_restore() -> None:
    class Forgets(Halving):
        def step(self) -> dict[str, Any]:
            return {**super().step(), **({"warm": 1} if self.x == 0.5 else {})}

        def load_checkpoint(self, checkpoint: Any) -> None:
            pass

    assert validate_save_restore(Halving, {"lr": 0.5}) is True
    with pytest.raises(TuneError, match="Forgets reports other metrics after a restore: warm"):
        validate_save_restore(Forgets, {"lr": 0.5})
    assert Halving.calls == ["cleanup"] * 4


class Counting(tune.Trainable):
    """Says how often the object was reset, and notes when one is set up and cleaned up."""

    resets = 0

    def setup(self, config: dict[str, Any], log: Path) -> None:
        self.log = log
        self._note("setup")

    def step(self) -> dict[str, Any]:
        if self.config["x"] == 7:
            raise ValueError("seven")
        return {"resets": self.resets, "id": self.trial_id, "done": self.training_iteration == 1}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.resets += 1
        return bool(new_config["x"] != 4)

    def cleanup(self) -> None:
        self._note("cleanup")

    def _note(self, what: str) -> None:
        with self.log.open("a") as file:
            print(what, self.config["x"], file=file)


@pytest.mark.parametrize("reuse", [True, None, False])
def test_an_object_serves_one_trial_after_the_other_if_asked_for(tmp_path: Path, reuse: bool | None) -> None:
    log = tmp_path / "log"
    grid = tune.Tuner(
        tune.with_parameters(Counting, log=log),
        param_space={"x": tune.grid_search([1, 2, 3, 4, 5, 7, 8])},
        tune_config=tune.TuneConfig(reuse_actors=reuse),
        run_config=tune.RunConfig(storage_path=tmp_path, verbose=0, runtime="inline"),
    ).fit()
    lines = log.read_text().splitlines()
    resets = [result.metrics.get("resets") for result in grid]
    assert grid.num_errors == 1 and [result.metrics.get("id") for result in grid][-1] == "00006"
    assert [result.metrics.get("training_iteration") for result in grid] == [2, 2, 2, 2, 2, None, 2]
    if reuse:
        assert resets == [0, 1, 2, 0, 1, None, 0]
        assert lines == ["setup 1", "cleanup 4", "setup 4", "cleanup 7", "setup 8", "cleanup 8"]
    else:
        assert resets == [0, 0, 0, 0, 0, None, 0] and lines.count("setup 3") == lines.count("cleanup 3") == 1


def test_a_class_whose_reset_begins_anew_goes_on_from_its_own_state(tmp_path: Path) -> None:
    """As with `reuse_actors=True` of Ray Tune, where `reset_config` makes a new training of the object."""

    class Anew(Resettable):
        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.x = 8.0
            return True

        def step(self) -> dict[str, Any]:
            if self.iteration == 3 and not (tmp_path / "failed").exists():
                (tmp_path / "failed").touch()
                raise OSError("once")
            return super().step()

    (result,) = tune.Tuner(
        Anew,
        run_config=tune.RunConfig(
            storage_path=tmp_path,
            verbose=0,
            runtime="inline",
            failure_config=tune.FailureConfig(max_failures=1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
        ),
    ).fit()
    assert result.metrics_dataframe["x"].tolist() == [8 / 2**n for n in range(1, 7)]


def test_an_object_that_cannot_begin_anew_is_cleaned_up_and_a_new_one_trains(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Fragile(Halving):
        def reset_config(self, new_config: dict[str, Any]) -> bool:
            raise ValueError("cannot")

        def cleanup(self) -> None:
            super().cleanup()
            raise OSError("nor this")

    grid = tune.Tuner(
        Fragile,
        param_space={"lr": tune.grid_search([1, 2, 3])},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(storage_path=tmp_path, verbose=0, runtime="inline"),
    ).fit()
    assert grid.num_errors == 0 and [result.metrics["training_iteration"] for result in grid] == [6, 6, 6]
    assert Halving.calls == ["cleanup"] * 3
    assert "reset_config() of Fragile failed; the trial gets a new object" in caplog.text


def test_sums_by_hand_are_those_of_a_run(tmp_path: Path) -> None:
    class Steps(Halving):
        def step(self) -> dict[str, Any]:
            return {**super().step(), "timesteps_this_iter": 5}

    trainable = Steps()
    assert [trainable.train()["timesteps_total"] for _ in range(2)] == [5, 10]
    assert Steps().restore(trainable.save(tmp_path)).train()["timesteps_total"] == 15


def test_a_second_object_that_cannot_be_made_leaves_none_behind() -> None:
    class Once(Halving):
        made = 0

        def setup(self, config: dict[str, Any]) -> None:
            super().setup(config)
            Once.made += 1
            if Once.made == 2:
                raise MemoryError

    with pytest.raises(MemoryError):
        validate_save_restore(Once)
    assert Halving.calls == ["cleanup"]
