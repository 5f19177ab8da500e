"""What a training function may do: report, return, yield, checkpoints, context, errors."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tune_plugins as tune
from tune_plugins.results import Result


def _steps(result: Result, name: str) -> list[Any]:
    return list(result.metrics_dataframe[name])


def test_report_takes_a_dict_or_keywords_or_both(fit: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report({"a": 1})
        tune.report(a=2)
        tune.report({"a": 3}, b=4)
        tune.report()

    result = fit(train)[0]
    assert _steps(result, "a")[:3] == [1, 2, 3]
    assert _steps(result, "training_iteration") == [1, 2, 3, 4]
    assert _steps(result, "b")[2] == 4


def test_a_returned_dict_is_a_report(fit: Any) -> None:
    result = fit(lambda config: {"loss": config["x"]}, {"x": 5})[0]
    assert result.metrics["loss"] == 5
    assert result.metrics["training_iteration"] == 1
    assert result.reason == "the trial function returned"


def test_yielded_dicts_are_reports(fit: Any) -> None:
    def train(config: dict[str, Any]) -> Any:
        for step in range(5):
            yield {"step": step}

    assert _steps(fit(train)[0], "step") == [0, 1, 2, 3, 4]


def test_a_generator_is_closed_at_its_stop_rule(fit: Any, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> Any:
        try:
            for step in range(100):
                yield {"step": step}
        finally:
            Path(config["file"]).write_text("closed")

    grid = fit(train, {"file": str(tmp_path / "closed")}, stop={"training_iteration": 3})
    assert _steps(grid[0], "step") == [0, 1, 2]
    assert (tmp_path / "closed").read_text() == "closed"


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda config: "0.5", "must return None, a dict of metrics or a number, got str: 0.5"),
        (lambda config: (x for x in ["1"]), "must yield dicts of metrics, or numbers, got '1'"),
        (lambda config: tune.report(0.5), "metrics: expected a dict, or metrics as keywords, got 0.5"),
    ],
)
def test_anything_else_is_an_error_of_the_trial(fit: Any, function: Any, told: str) -> None:
    result = fit(function)[0]
    assert result.status == "ERROR"
    assert told in str(result.error)
    assert "Error" in str(result.error)


def test_the_context_tells_the_trial_about_itself(fit: Any, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> dict[str, Any]:
        context = tune.get_context()
        directory = Path(context.get_trial_dir())
        assert directory.is_dir()
        return {
            "id": context.get_trial_id(),
            "name": context.get_trial_name(),
            "dir": str(directory),
            "resources": dict(context.get_trial_resources()),
            "experiment": context.get_experiment_name(),
            "storage": context.get_storage_path(),
            "main_thread": threading.current_thread() is threading.main_thread(),
        }

    grid = fit(
        tune.with_resources(train, {"cpu": 2}),
        name="mine",
        num_samples=2,
        trial_name_creator=lambda trial: f"trial number {trial.index}",
        trial_dirname_creator=lambda trial: f"folder_{trial.index}",
    )
    metrics = grid[1].metrics
    assert metrics["id"] == grid[1].trial_id == "00001"
    assert metrics["name"] == grid[1].trial_name == "trial number 1"
    assert metrics["dir"] == grid[1].path == str(tmp_path / "results" / "mine" / "folder_1")
    assert metrics["resources"] == {"CPU": 2.0}
    assert (metrics["experiment"], metrics["storage"]) == ("mine", str(tmp_path / "results"))
    assert metrics["main_thread"] is True


def test_outside_a_trial_there_is_nobody_to_report_to() -> None:
    with pytest.raises(tune.TuneError, match="outside a trial"):
        tune.report(loss=1)
    assert tune.get_checkpoint() is None


def test_metrics_of_all_kinds_never_crash_a_trial(fit: Any) -> None:
    class Scalar:
        """Like a 0-d tensor."""

        shape = ()

        def item(self) -> float:
            return 2.5

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    def train(config: dict[str, Any]) -> None:
        loop: dict[str, Any] = {}
        loop["self"] = loop
        tune.report(
            {
                "eval": {"loss": np.float32(0.5), "n": np.int64(3)},
                "scalar": Scalar(),
                "flag": np.bool_(True),
                "array": np.arange(10_000),
                "lock": threading.Lock(),
                "broken": Broken(),
                "loop": loop,
                "nan": float("nan"),
                "infinite": np.inf,
                "none": None,
                7: "a key that is no text",
                "list": [np.float64(1.5), (2, 3)],
            }
        )

    result = fit(train)[0]
    assert result.status == "TERMINATED", result.error
    metrics = result.metrics
    assert metrics["eval"] == {"loss": 0.5, "n": 3}
    assert (metrics["scalar"], metrics["flag"], metrics["none"]) == (2.5, True, None)
    assert metrics["list"] == [1.5, [2, 3]]
    assert metrics["infinite"] == float("inf")
    assert metrics["nan"] != metrics["nan"]
    assert "lock" in metrics["lock"]
    assert "repr failed" in metrics["broken"]


def test_an_error_that_cannot_be_pickled_is_told_with_type_message_and_traceback(fit: Any) -> None:
    class Odd(Exception):
        def __init__(self, code: int, lock: Any) -> None:
            super().__init__(f"code {code}")
            self.lock = lock

    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1)
        raise Odd(7, threading.Lock())

    result = fit(train)[0]
    assert result.status == "ERROR"
    assert isinstance(result.error, tune.TrialError)
    assert result.error.type_name.endswith("Odd")
    assert result.error.message == "code 7"
    assert "raise Odd(7, threading.Lock())" in result.error.traceback
    assert "tune_plugins/worker" not in result.error.traceback
    assert result.metrics["loss"] == 1


def test_an_error_without_usable_text_is_still_an_error(fit: Any) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError("cannot say")

    def train(config: dict[str, Any]) -> None:
        raise Mute

    assert "Mute" in str(fit(train)[0].error)


def test_exit_is_an_end_and_exit_with_a_code_an_error(fit: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1)
        raise SystemExit(config["code"])

    good, bad = fit(train, {"code": tune.grid_search([0, 3])})
    assert good.status == "TERMINATED"
    assert bad.status == "ERROR"
    assert "SystemExit: 3" in str(bad.error)


def test_an_interrupt_raised_by_user_code_is_an_error_of_that_trial_only(fit: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        if config["x"] == 0:
            raise KeyboardInterrupt("mine")
        tune.report(x=config["x"])

    grid = fit(train, {"x": tune.grid_search([0, 1, 2])})
    assert [r.status for r in grid] == ["ERROR", "TERMINATED", "TERMINATED"]


# ------------------------------------------------------------------------------------- checkpoints


def _counting(config: dict[str, Any]) -> None:
    """Counts to `last` and goes on where its checkpoint was taken; fails at the counts given, once each."""
    first, checkpoint = 0, tune.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as directory:
            first = json.loads(Path(directory, "state.json").read_text())["count"]
    for count in range(first + 1, config["last"] + 1):
        folder = Path(tune.get_context().get_trial_dir(), "scratch")
        folder.mkdir(exist_ok=True)
        (folder / "state.json").write_text(json.dumps({"count": count}))
        tune.report(
            {"count": count, "from": first, "score": -abs(count - 3)}, checkpoint=tune.Checkpoint.from_directory(folder)
        )
        marker = folder.parent / f"failed_at_{count}"
        if count in config.get("fail_at", ()) and not marker.exists():
            marker.touch()
            raise RuntimeError(f"failed at {count}")


def test_a_reported_checkpoint_is_that_of_the_result(fit: Any) -> None:
    result = fit(_counting, {"last": 4})[0]
    assert json.loads(Path(result.checkpoint.path, "state.json").read_text()) == {"count": 4}
    assert len(result.best_checkpoints) == 4
    best = result.get_best_checkpoint("score", "max")
    assert json.loads(Path(best.path, "state.json").read_text()) == {"count": 3}


def test_retention_keeps_the_best_and_the_newest(fit: Any) -> None:
    result = fit(
        _counting, {"last": 6}, num_to_keep=2, checkpoint_score_attribute="score", checkpoint_score_order="max"
    )[0]
    kept = [metrics["count"] for _, metrics in result.best_checkpoints]
    assert 3 in kept and kept[-1] == 6
    on_disk = [name for name in os.listdir(result.path) if name.startswith("checkpoint_")]
    assert len(on_disk) == len(kept) <= 3


def test_retention_by_age_keeps_the_newest(fit: Any) -> None:
    result = fit(_counting, {"last": 6}, num_to_keep=2)[0]
    assert [metrics["count"] for _, metrics in result.best_checkpoints] == [5, 6]


def test_a_failed_trial_goes_on_from_its_newest_checkpoint(fit: Any) -> None:
    result = fit(_counting, {"last": 6, "fail_at": [2, 5]}, max_failures=2)[0]
    assert result.status == "TERMINATED", result.error
    # Each attempt starts at the checkpoint that was reported right before the failure: no step is done twice.
    assert _steps(result, "count") == [1, 2, 3, 4, 5, 6]
    assert _steps(result, "from") == [0, 0, 2, 2, 2, 5]
    assert _steps(result, "training_iteration") == [1, 2, 3, 4, 5, 6]


def test_the_number_of_retries_is_exact(fit: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        with open(config["file"], "a") as file:
            file.write("attempt\n")
        raise RuntimeError("always")

    for max_failures in (0, 2):
        log = Path(tune.config.default_storage_path()) / f"attempts_{max_failures}"
        result = fit(train, {"file": str(log)}, max_failures=max_failures)[0]
        assert result.status == "ERROR"
        assert log.read_text().count("attempt") == max_failures + 1


def test_a_checkpoint_that_cannot_be_saved_is_an_error_of_the_trial(fit: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        directory = Path(tune.get_context().get_trial_dir())
        (directory / "state").mkdir()
        directory.rename(directory.with_name("elsewhere"))
        directory.write_text("a file in place of the trial's folder")
        source = directory.with_name("elsewhere") / "state"
        for step in range(50):
            tune.report(step=step, checkpoint=tune.Checkpoint.from_directory(source))

    result = fit(train)[0]
    assert result.status == "ERROR"
    assert "trial_00000" in str(result.error)
    assert any(word in str(result.error) for word in ("FileExistsError", "NotADirectoryError"))


def test_trouble_behind_the_back_of_training_is_an_error_even_if_user_code_swallows_it(fit: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        import tune_plugins.record.checkpoint as module

        def full(*args: Any, **kwargs: Any) -> None:
            raise OSError(28, "No space left on device", "checkpoint_000001")

        source = Path(tune.get_context().get_trial_dir(), "state")
        source.mkdir()
        (source / "weights").write_text("1")
        flush, module.flush_and_hash = module.flush_and_hash, full
        try:
            tune.report(step=0, checkpoint=tune.Checkpoint.from_directory(source))
            while True:
                try:
                    tune.report(step=1)
                except Exception:
                    return
        finally:
            module.flush_and_hash = flush

    result = fit(train)[0]
    assert result.status == "ERROR"
    assert "No space left on device" in str(result.error)
    assert "checkpoint_000001" in str(result.error)
