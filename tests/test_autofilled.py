"""What results have beside what was reported, wherever they are read: of scripts that were written for Ray Tune."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins.core.autofill import AUTOFILLED, Attempt, date_of

EVERYWHERE = AUTOFILLED | {"training_iteration", "time_total_s", "timestamp", "loss"}


def train(config: dict[str, Any]) -> None:
    for step in range(config.get("steps", 4)):
        tune.report(loss=config["x"] * step)


def fit(tmp_path: Path, function: Any = train, space: Any = None, **options: Any) -> tune.ResultGrid:
    run = tune.RunConfig(storage_path=tmp_path, verbose=0, runtime="inline", **options)
    space = {"x": tune.grid_search([1, 2]), "steps": 4} if space is None else space
    return tune.Tuner(function, param_space=space, run_config=run).fit()


class Seen(tune.Callback):
    def __init__(self) -> None:
        self.results: list[dict[str, Any]] = []

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self.results.append(result)


def test_results_callbacks_and_tables_have_them(tmp_path: Path) -> None:
    seen = Seen()
    grid = fit(tmp_path, callbacks=[seen])
    assert all(result.keys() >= EVERYWHERE for result in [*seen.results, *(each.metrics for each in grid)])
    last = grid[1].metrics
    assert (last["trial_id"], last["experiment_tag"], last["config"]) == ("00001", "1_x=2", {"x": 2, "steps": 4})
    assert (last["pid"], last["hostname"], last["done"]) == (os.getpid(), platform.node(), True)
    assert last["date"] == date_of(last["timestamp"]) and last["node_ip"].count(".") == 3
    assert last["iterations_since_restore"] == 4 and last["time_since_restore"] == last["time_total_s"]
    table = grid[1].metrics_dataframe
    assert set(table.columns) >= (EVERYWHERE - {"config"}) | {"config/x", "config/steps"}
    assert list(table["iterations_since_restore"]) == [1, 2, 3, 4] and list(table["done"]) == [False] * 3 + [True]
    assert table["time_this_iter_s"].sum() == pytest.approx(last["time_total_s"])
    assert [row["time_this_iter_s"] for row in seen.results[4:]] == list(table["time_this_iter_s"])
    assert table["time_this_iter_s"].iloc[-1] == last["time_this_iter_s"]
    for frame in (grid.get_dataframe(), grid.get_dataframe("loss", "max")):
        assert set(frame.columns) >= (EVERYWHERE - {"config"}) | {"config/x", "status"}
        assert list(frame["training_iteration"]) == [4, 4]


@pytest.mark.parametrize(
    ("stop", "last"),
    [
        ({"iterations_since_restore": 2}, 2),
        ({"time_since_restore": 0.0}, 1),
        ({"time_this_iter_s": 0}, 1),
        ({"timesteps_total": 30}, 3),
        ({"episodes_total": 4}, 2),
        (lambda trial_id, result: result["iterations_since_restore"] == 3 and result["config"]["x"] == 2, None),
        (lambda trial_id, result: result["trial_id"] == trial_id and result["experiment_tag"].endswith("x=1"), None),
        (lambda trial_id, result: result["pid"] == os.getpid() and result["date"] > "2020", 1),
        ({"done": True}, 4),
    ],
)
def test_a_run_may_be_stopped_by_each_of_them(tmp_path: Path, stop: Any, last: int | None) -> None:
    def counts(config: dict[str, Any]) -> None:
        for step in range(4):
            tune.report(loss=step, timesteps_this_iter=10, episodes_this_iter=2)

    grid = fit(tmp_path, counts, {"x": tune.grid_search([1, 2])}, stop=stop)
    ends = [result.metrics["training_iteration"] for result in grid]
    assert ends == [last] * 2 if last is not None else ends in ([4, 3], [1, 4])


def test_what_is_reported_under_these_names_stays(tmp_path: Path) -> None:
    def own(config: dict[str, Any]) -> None:
        tune.report(loss=1, time_this_iter_s=7.5, date="yesterday", hostname="mine", timesteps_total=5)
        tune.report(loss=1, time_this_iter_s=8.5, date="today", hostname="mine", timesteps_this_iter=3)

    (result,) = fit(tmp_path, own, {})
    assert list(result.metrics_dataframe["time_this_iter_s"]) == [7.5, 8.5]
    assert (result.metrics["date"], result.metrics["hostname"], result.metrics["timesteps_total"]) == (
        "today",
        "mine",
        3,
    )


class Failing(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.marker = Path(config["marker"])

    def step(self) -> dict[str, Any]:
        if self.iteration == 3 and not self.marker.exists():
            self.marker.touch()
            raise OSError("once")
        return {"loss": 1, "timesteps_this_iter": 2, "done": self.iteration == 5}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        pass

    def load_checkpoint(self, checkpoint: Any) -> None:
        pass


def test_they_are_counted_from_where_a_trial_was_restored(tmp_path: Path) -> None:
    seen = Seen()
    (result,) = fit(
        tmp_path,
        Failing,
        {"marker": str(tmp_path / "marker")},
        callbacks=[seen],
        failure_config=tune.FailureConfig(max_failures=1),
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=2),
    )
    table = result.metrics_dataframe
    assert list(table["training_iteration"]) == [1, 2, 3, 3, 4, 5, 6]
    assert list(table["iterations_since_restore"]) == [1, 2, 3, 1, 2, 3, 4]
    assert list(table["timesteps_total"]) == [2, 4, 6, 6, 8, 10, 12]
    restored = table["time_since_restore"]
    assert (
        all(restored.diff()[1:3] > 0)
        and restored[3] < table["time_total_s"][3]
        and (table["time_this_iter_s"] > 0).all()
    )
    for name in ("iterations_since_restore", "time_since_restore", "time_this_iter_s"):
        assert [row[name] for row in seen.results] == list(table[name]), name
    assert result.metrics["iterations_since_restore"] == 4
    assert result.metrics["time_this_iter_s"] == table["time_this_iter_s"].iloc[-1]


class Mixing(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.x = config["x"]

    def step(self) -> dict[str, Any]:
        return {"loss": self.x}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}

    def load_checkpoint(self, checkpoint: Any) -> None:
        pass

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.x = new_config["x"]
        return True


@pytest.mark.parametrize("resets", [True, False])
def test_an_exploit_counts_as_a_restore_and_has_its_own_config(tmp_path: Path, resets: bool) -> None:
    kind = Mixing if resets else type("Anew", (Mixing,), {"reset_config": tune.Trainable.reset_config})
    seen = Seen()
    grid = tune.Tuner(
        kind,
        param_space={"x": tune.grid_search([0.1, 0.9])},
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="max",
            seed=0,
            scheduler=tune.schedulers.PopulationBasedTraining(
                perturbation_interval=3,
                hyperparam_mutations={"x": tune.uniform(0, 1)},
                quantile_fraction=0.5,
                time_attr="training_iteration",
            ),
        ),
        run_config=tune.RunConfig(
            storage_path=tmp_path, verbose=0, runtime="inline", stop={"training_iteration": 8}, callbacks=[seen]
        ),
    ).fit()
    exploited = next(result for result in grid if result.metrics["iterations_since_restore"] < 8)
    table = exploited.metrics_dataframe
    assert len(set(table["config/x"])) > 1 and list(table["config/x"]) == list(table["loss"])
    told = [row for row in seen.results if row["trial_id"] == exploited.trial_id]
    assert [row["config"]["x"] for row in told] == list(table["config/x"])
    assert [row["iterations_since_restore"] for row in told] == list(table["iterations_since_restore"])
    assert 1 in list(table["iterations_since_restore"])[1:]


def test_an_attempt_counts_an_iteration_once_that_is_reported_in_parts() -> None:
    attempt = Attempt(iteration=2, elapsed=5.0)
    rows = [(3, 6.0), (3, 6.5), (4, 8.0)]
    counted = [attempt.counted({"training_iteration": i, "time_total_s": t}) for i, t in rows]
    assert [c["time_this_iter_s"] for c in counted] == [1.0, 1.5, 1.5]
    assert [c["iterations_since_restore"] for c in counted] == [1, 1, 2]
    assert attempt.counted({"loss": 1}) == {}
    assert date_of(float("nan")) == date_of(None) == date_of(1e30) == ""


@pytest.mark.parametrize(
    "stop", [{"pid": 1}, {"config/x": 2}, {"config/net/width": 8}, lambda trial_id, result: result["config"]["x"] == 2]
)
def test_a_run_may_be_stopped_by_facts_and_hyper_parameters(tmp_path: Path, stop: Any) -> None:
    grid = fit(tmp_path, space={"x": tune.grid_search([1, 2]), "net": {"width": 8}}, stop=stop)
    ends = [result.metrics["training_iteration"] for result in grid]
    assert ends == ([1, 1] if stop in ({"pid": 1}, {"config/net/width": 8}) else [4, 1])


def test_text_is_no_threshold() -> None:
    with pytest.raises(ValueError, match=r"got \{'hostname': 'here'\}. For anything else give a function"):
        tune.RunConfig(stop={"hostname": "here"})  # type: ignore[dict-item]


def test_an_iteration_in_parts_is_counted_the_same_everywhere(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        for iteration in (1, 2, 3):
            tune.report(training_iteration=iteration, loss=1)
            tune.report(training_iteration=iteration, other=1)

    (result,) = fit(tmp_path, train, {})
    table = result.metrics_dataframe
    assert list(table["iterations_since_restore"]) == [1, 1, 2, 2, 3, 3]
    assert result.metrics["time_this_iter_s"] == table["time_this_iter_s"].iloc[-1]
    assert result.metrics["iterations_since_restore"] == 3


def test_what_is_counted_may_be_compared(tmp_path: Path) -> None:
    grid = fit(tmp_path, space={"x": 1, "steps": tune.grid_search([2, 3])})
    for scope in ("last", "all", "avg"):
        best = grid.get_best_result("iterations_since_restore", "max", scope)
        assert best.config["steps"] == 3


def test_arrays_come_back_as_lists(tmp_path: Path) -> None:
    import numpy as np

    def train(config: dict[str, Any]) -> None:
        tune.report(matrix=np.eye(2), ids=np.arange(3), nested={"none": np.zeros((0, 2))}, large=np.zeros(10_001))

    (result,) = fit(tmp_path, train, {})
    assert result.metrics["matrix"] == [[1.0, 0.0], [0.0, 1.0]] and result.metrics["ids"] == [0, 1, 2]
    assert result.metrics["nested"] == {"none": []} and result.metrics["large"].startswith("array([0., 0.")
