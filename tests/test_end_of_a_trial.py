"""How a trial ends, and what is left of it: what it returns, what it says, which names must be there by then."""

from __future__ import annotations

import json
import tempfile
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tune_plugins as tune
from tune_plugins.callbacks import EndCause
from tune_plugins.errors import ArgumentError, TuneError
from tune_plugins.schedulers import ASHAScheduler, FIFOScheduler, HyperBandScheduler, PopulationBasedTraining


def fit(train: Any, folder: Path, **options: Any) -> tune.ResultGrid:
    run = {key: options.pop(key) for key in ("stop", "callbacks", "failure_config") if key in options}
    return tune.Tuner(
        train,
        param_space=options.pop("space", {"x": 1}),
        tune_config=tune.TuneConfig(**{"metric": "loss", "mode": "min", **options}),
        run_config=tune.RunConfig(verbose=0, storage_path=folder, runtime="inline", **run),
    ).fit()


def returning(config: dict[str, Any]) -> dict[str, Any]:
    """A script with an adapter: told to stop, the loop ends, and the function goes on to its end."""
    from tune_plugins import session

    here = session.current()
    assert here is not None
    for step in range(1, 9):
        if here.report({"loss": 1 / step}) is session.Verdict.STOP:
            break
    return {"accuracy": 0.9}


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({}, EndCause.FINISHED),
        ({"stop": {"training_iteration": 3}}, EndCause.THRESHOLD),
        ({"scheduler": ASHAScheduler(max_t=4, grace_period=4)}, EndCause.SCHEDULED_END),
        ({"stop": lambda trial_id, result: result["training_iteration"] == 2}, EndCause.STOPPER),
    ],
)
def test_what_a_function_returns_behind_a_stop_is_recorded(
    tmp_path: Path, options: dict[str, Any], cause: EndCause
) -> None:
    (result,) = fit(returning, tmp_path, **options)
    assert result.cause is cause
    assert result.metrics["accuracy"] == 0.9
    assert result.metrics["loss"] == 1 / result.metrics["training_iteration"]


def test_a_report_behind_the_training_leaves_the_metric_in_place(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=0.5)
        tune.report(accuracy=0.9)

    results = fit(train, tmp_path)
    assert results[0].metrics["accuracy"] == 0.9
    assert results[0].metrics["loss"] == 0.5
    assert results.get_best_result().metrics["accuracy"] == 0.9


# --------------------------------------------------------------------------- names, and when they must be there


def every_second(config: dict[str, Any]) -> None:
    """Keras with ``validation_freq=2``, or an evaluation by steps."""
    for epoch in range(1, 9):
        tune.report({"loss": config["x"] / epoch, **({"val_loss": config["x"]} if epoch % 2 == 0 else {})})


@pytest.mark.parametrize("scheduler", [None, ASHAScheduler(max_t=8, grace_period=1, reduction_factor=2)])
def test_a_metric_may_be_measured_now_and_then(tmp_path: Path, scheduler: Any) -> None:
    space = {"x": tune.grid_search([1, 2, 3, 4])}
    results = fit(every_second, tmp_path, metric="val_loss", scheduler=scheduler, space=space)
    assert results.get_best_result().config["x"] == 1
    assert results[0].metrics["val_loss"] == 1
    assert not any("no finite" in result.reason for result in results)
    if scheduler is not None:
        assert any(result.cause is EndCause.SCHEDULER for result in results)


def test_stop_by_one_metric_and_rank_by_another(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> dict[str, float]:
        for epoch in range(1, 9):
            tune.report(loss=config["x"] / epoch)
        return {"final": -config["x"]}

    scheduler = ASHAScheduler(metric="loss", mode="min", max_t=9, grace_period=1, reduction_factor=2)
    space = {"x": tune.grid_search([4, 3, 2, 1])}
    results = fit(train, tmp_path, metric="final", mode="max", scheduler=scheduler, space=space)
    assert results.get_best_result().metrics["final"] == -1
    (stopped,) = fit(train, tmp_path, metric="final", mode="max", stop={"loss": 0.5})
    assert "final" not in stopped.metrics  # the loop was left in the middle, which is no evidence of a wrong name


@pytest.mark.parametrize("metric", ["los", "val_loss", "Loss", "accuracy"])
def test_a_name_that_no_result_has_is_told_and_nothing_is_left_running(tmp_path: Path, metric: str) -> None:
    def train(config: dict[str, Any]) -> None:
        for step in range(3):
            tune.report(loss=step)

    with pytest.raises(tune.ArgumentError, match=f"metric: expected the name of a reported metric, got '{metric}'; "):
        fit(train, tmp_path, metric=metric, num_samples=3)
    (folder,) = tmp_path.iterdir()
    statuses = {result.status.value for result in tune.ResultGrid(folder)}
    assert statuses <= {"TERMINATED", "ERROR"}


def test_a_slip_is_told_with_the_first_result(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        for step in range(3):
            tune.report({"val_loss": step})

    # ASHA asks at the first report, and so the driver has seen it before there is a second one.
    scheduler = ASHAScheduler(metric="val_loss", mode="min")
    with pytest.raises(tune.ArgumentError, match="Did you mean 'val_loss'"):
        fit(train, tmp_path, metric="val-loss", scheduler=scheduler)
    (folder,) = tmp_path.iterdir()
    assert len(tune.ResultGrid(folder)[0].metrics_dataframe) <= 1


# ------------------------------------------------------------------------------------ other ways to say it


def test_done_ends_the_trial(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        for step in range(10):
            tune.report(loss=step, done=step == 2)

    (result,) = fit(train, tmp_path)
    assert (result.metrics["loss"], result.cause, result.reason) == (
        2,
        EndCause.FINISHED,
        "the trial reported done=True",
    )
    (result,) = fit(train, tmp_path, stop={"done": True})
    assert result.metrics["loss"] == 2


def test_a_flag_of_ones_own_ends_the_trial(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        for step in range(10):
            tune.report({"loss": step, **({"converged": True} if step == 4 else {})})

    (result,) = fit(train, tmp_path, stop={"converged": True})
    assert (result.metrics["loss"], result.cause) == (4, EndCause.THRESHOLD)


def test_numbers_that_are_returned_and_yielded(tmp_path: Path) -> None:
    def yielding(config: dict[str, Any]) -> Any:
        yield 3.5
        yield np.float32(2.5)

    for train, expected in ((lambda config: 3.5, [3.5]), (lambda config: np.int64(3), [3]), (yielding, [3.5, 2.5])):
        (result,) = fit(train, tmp_path, metric="_metric")
        assert list(result.metrics_dataframe["_metric"]) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.array(0.5), 0.5),
        (Decimal("0.5"), 0.5),
        (Fraction(1, 2), 0.5),
        (True, True),
    ],
)
def test_numbers_in_other_clothes_are_numbers(tmp_path: Path, value: Any, expected: Any) -> None:
    (result,) = fit(lambda config: tune.report(loss=value, other=value), tmp_path)
    assert result.metrics["loss"] == result.metrics["other"] == expected
    assert type(result.metrics["loss"]) in (int, float, bool)


@pytest.mark.parametrize(("value", "kind"), [("0.5", "str"), ([0.5], "list"), ({"a": 1}, "dict"), (np.ones(2), "list")])
def test_a_metric_that_is_no_number_fails_its_trial(tmp_path: Path, value: Any, kind: str) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=value if config["x"] == 1 else 2.0, other=value)

    results = fit(train, tmp_path, space={"x": tune.grid_search([1, 2])})
    assert f"the metric 'loss', by which trials are compared, must be a number, got {kind}" in str(results[0].error)
    assert results[1].metrics["loss"] == 2.0
    assert results[1].error is None


def test_none_is_missing(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=None if config["x"] == 1 else 2.0)

    results = fit(train, tmp_path, space={"x": tune.grid_search([1, 2])})
    assert results[0].reason == "the trial function returned; loss is None in all of its results"
    assert results.get_best_result().config["x"] == 2


# ---------------------------------------------------------------------- a scheduler that pauses, and no checkpoints


@pytest.mark.parametrize("swallow", [False, True])
@pytest.mark.parametrize(
    "scheduler",
    [
        HyperBandScheduler(max_t=9),
        PopulationBasedTraining(
            time_attr="training_iteration", perturbation_interval=2, hyperparam_mutations={"x": tune.uniform(0, 1)}
        ),
    ],
    ids=["hyperband", "pbt"],
)
def test_pauses_without_checkpoints_are_told_at_the_first_one(tmp_path: Path, scheduler: Any, swallow: bool) -> None:
    def train(config: dict[str, Any]) -> None:
        for step in range(1, 10):
            try:
                tune.report(loss=config["x"] / step)
            except Exception:
                if not swallow:
                    raise

    space = {"x": tune.uniform(0, 1)}
    with pytest.raises(tune.TuneError, match="The scheduler pauses trial 00000, and it has no checkpoint"):
        fit(train, tmp_path, scheduler=scheduler, space=space, num_samples=4)
    (folder,) = tmp_path.iterdir()
    assert {result.status.value for result in tune.ResultGrid(folder)} <= {"TERMINATED", "ERROR"}


# ------------------------------------------------------------------------------------------ nothing left to train


def test_a_function_that_fails_behind_its_training_is_not_entered_with_nothing_left(tmp_path: Path) -> None:
    """Its ending reads what the training leaves; the error that is told is the first one."""
    from sklearn.datasets import load_breast_cancer
    from xgboost import DMatrix, train

    from tune_plugins.integrations.xgboost import TuneReportCheckpointCallback

    data = DMatrix(*load_breast_cancer(return_X_y=True))
    entered: list[int] = []

    def boost(config: dict[str, Any]) -> dict[str, float]:
        log: dict[str, Any] = {}
        callback = TuneReportCheckpointCallback(frequency=2)
        train({"max_depth": 2}, data, 4, evals=[(data, "eval")], evals_result=log, callbacks=[callback], verbose_eval=0)
        entered.append(len(log["eval"]["rmse"]))
        if len(entered) == 1:
            raise OSError("the disk of the logger is full")
        return {"final": log["eval"]["rmse"][-1]}

    failures = tune.FailureConfig(max_failures=2)
    (result,) = fit(boost, tmp_path, metric="eval-rmse", failure_config=failures)
    assert entered == [4, 2]  # from the checkpoint of two rounds
    assert result.metrics["final"] == result.metrics["eval-rmse"]
    assert result.metrics["training_iteration"] == 4


@pytest.mark.parametrize("interval", [2, 4, 8])
def test_a_milestone_on_the_last_round_takes_nothing_away(tmp_path: Path, interval: int) -> None:
    from sklearn.datasets import load_breast_cancer
    from xgboost import DMatrix, train

    from tune_plugins.integrations.xgboost import TuneReportCheckpointCallback

    data = DMatrix(*load_breast_cancer(return_X_y=True))

    def boost(config: dict[str, Any]) -> dict[str, float]:
        log: dict[str, Any] = {}
        callbacks = [TuneReportCheckpointCallback()]
        train(config, data, 8, evals=[(data, "eval")], evals_result=log, callbacks=callbacks, verbose_eval=0)
        return {"final": log["eval"]["rmse"][-1]}

    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=interval,
        hyperparam_mutations={"eta": tune.uniform(0.01, 0.5)},
        quantile_fraction=0.5,
    )
    space = {"eta": tune.grid_search([0.01, 0.1, 0.2, 0.4])}
    results = fit(boost, tmp_path, metric="eval-rmse", scheduler=scheduler, space=space)
    assert [result.error for result in results] == [None] * 4
    for result in results:
        assert result.metrics["final"] == result.metrics["eval-rmse"]
        assert result.metrics["training_iteration"] == 8
    if interval == 8:
        assert [result.config["eta"] for result in results] == [0.01, 0.1, 0.2, 0.4]


def test_a_threshold_whose_name_is_mistyped_does_not_train_for_ever(tmp_path: Path) -> None:
    def endless(config: dict[str, Any]) -> None:
        while True:
            tune.report(loss=1.0)

    with pytest.raises(tune.ArgumentError, match="stop: expected the name of a reported metric, got 'los'"):
        fit(endless, tmp_path, stop={"los": 0.1})


def by_hand(config: dict[str, Any]) -> dict[str, float]:
    """A usual loop: what it returns is set in the loop, which has nothing to do in a trial that goes on at its end."""
    first, height = 0, 0.0
    if (checkpoint := tune.get_checkpoint()) is not None:
        first, height = json.loads(Path(checkpoint.path, "state.json").read_text())
    for step in range(first + 1, 9):
        height += config["x"]
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "state.json").write_text(json.dumps([step, height]))
            tune.report(height=height, rate=config["x"], checkpoint=tune.Checkpoint(folder))
        newest = height
    return {"final": newest}


@pytest.mark.parametrize("interval", [2, 4, 8])
@pytest.mark.parametrize("kept", [None, 1])
def test_the_ending_of_a_loop_finds_what_the_loop_sets(tmp_path: Path, interval: int, kept: int | None) -> None:
    """Paused, or exploited, at what was its last iteration: nobody knew; it goes on from before that."""
    scheduler = PopulationBasedTraining(
        "training_iteration", perturbation_interval=interval, hyperparam_mutations={"x": tune.uniform(0, 1)}
    )
    grid = tune.Tuner(
        by_hand,
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(metric="height", mode="max", num_samples=6, seed=2, scheduler=scheduler),
        run_config=tune.RunConfig(
            verbose=0,
            storage_path=tmp_path,
            runtime="inline",
            checkpoint_config=tune.CheckpointConfig(num_to_keep=kept),
        ),
    ).fit()
    for result in grid:
        assert result.metrics["rate"] == result.config["x"], "the config is not the one that has trained"
        if kept == 1 and "EXPLOIT" in result.explain() and result.error is not None:
            # Nothing is kept of what its training was before: it could only begin anew, which would be another one.
            assert result.error.type_name == "UnboundLocalError"
            continue
        assert result.status == "TERMINATED", result.explain()
        assert result.metrics["final"] == result.metrics["height"]
    assert grid.num_errors < len(grid) and (kept == 1 or not grid.num_errors)


def test_a_function_that_cannot_go_on_fails_all_the_same(tmp_path: Path) -> None:
    """What fails where a trial goes on, and fails again from before that, is an error; nothing goes in circles."""
    entries = []

    def train(config: dict[str, Any]) -> None:
        entries.append(tune.get_checkpoint())
        if entries[-1] is not None:
            raise FileNotFoundError("weights.bin")
        for step in range(1, 9):
            (tmp_path / "own").mkdir(exist_ok=True)
            tune.report(loss=1 / step, checkpoint=tune.Checkpoint(tmp_path / "own"))

    scheduler = HyperBandScheduler(time_attr="training_iteration", max_t=9, reduction_factor=3)
    grid = fit(train, tmp_path / "run", space={"x": tune.uniform(0, 1)}, num_samples=6, scheduler=scheduler)
    assert grid.num_errors and all(str(error).startswith("FileNotFoundError: weights.bin") for error in grid.errors)
    assert len(entries) <= 4 * len(grid)


def summing(saved_at: tuple[int, ...], length: int, falls: Any = lambda trial_id, step: False) -> Any:
    """A loop that sums up its hyper-parameter and saves now and then; its ending needs what the loop sets."""

    def train(config: dict[str, Any]) -> dict[str, float]:
        first, total = 0, 0.0
        if (checkpoint := tune.get_checkpoint()) is not None:
            first, total = json.loads(Path(checkpoint.path, "state.json").read_text())
            if falls(tune.get_context().get_trial_id(), first):
                raise RuntimeError("transient")
        for step in range(first + 1, length + 1):
            total += config["x"]
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "state.json").write_text(json.dumps([step, total]))
                tune.report(loss=-total, checkpoint=tune.Checkpoint(folder) if step in saved_at else None)
            newest = total
        return {"final": newest}

    return train


def test_a_training_that_was_taken_over_does_not_begin_anew(tmp_path: Path) -> None:
    """It goes on from what it has inherited: from the beginning, under its new config, it would be another one."""
    scheduler = PopulationBasedTraining(
        "training_iteration", perturbation_interval=4, hyperparam_mutations={"x": [10.0, 20.0]}, quantile_fraction=0.5
    )
    space = {"x": tune.grid_search([1.0, 2.0, 3.0, 4.0])}
    grid = fit(summing((4, 8), 8), tmp_path, space=space, scheduler=scheduler, seed=1)
    assert [str(result.status) for result in grid] == ["TERMINATED"] * 4
    exploited = {d.trial_id for d in grid.decisions if d.action == "EXPLOIT" and d.iteration == 4}
    assert exploited
    for result in grid:
        assert result.metrics["final"] == -result.metrics["loss"]
        counts = list(result.metrics_dataframe["training_iteration"])
        assert result.trial_id not in exploited or counts.count(1) == 1, counts


@pytest.mark.parametrize("saved_at", [(1, 3, 9), tuple(range(1, 10))])
def test_a_scheduler_is_asked_at_its_own_milestones_behind_a_fall(tmp_path: Path, saved_at: tuple[int, ...]) -> None:
    """Each rung judges a trial once; where it has come up to what it had, nobody is asked, and nothing is paused."""
    fallen: set[str] = set()

    def falls(trial_id: str, step: int) -> bool:
        if trial_id == "00000" and step == 1 and not fallen:
            fallen.add(trial_id)
            return True
        return False

    scheduler = ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3, variant="promotion")
    space = {"x": tune.grid_search([9.0, 8.0, 7.0, 6.0, 5.0, 4.0])}
    grid = fit(summing(saved_at, 9, falls), tmp_path, space=space, scheduler=scheduler)
    assert fallen and not grid.errors
    judged = [(d.trial_id, d.iteration) for d in grid.decisions if d.action == "PAUSE"]
    assert len(judged) == len(set(judged)) and {iteration for _, iteration in judged} <= {1, 3}
    assert grid.get_best_result().metrics["training_iteration"] == 9


def test_an_error_of_the_scheduler_is_not_caught_by_the_training(tmp_path: Path) -> None:
    """``except Exception`` around a report is the script's business, and not this."""
    caught = []

    class Broken(FIFOScheduler):
        def on_trial_result(self, trial: Any, result: dict[str, Any]) -> Any:
            raise ZeroDivisionError("sched")

    def train(config: dict[str, Any]) -> None:
        for step in range(5):
            try:
                tune.report(loss=step)
            except Exception as error:
                caught.append(error)

    with pytest.raises(TuneError, match="ZeroDivisionError in the scheduler"):
        fit(train, tmp_path, scheduler=Broken())
    assert not caught


def test_a_fall_is_told_with_its_error(tmp_path: Path) -> None:
    """What was tried again for that is in the decisions, and the exploit that was undone says why."""
    scheduler = PopulationBasedTraining(
        "training_iteration", perturbation_interval=4, hyperparam_mutations={"x": [10.0, 20.0]}, quantile_fraction=0.5
    )
    space = {"x": tune.grid_search([1.0, 2.0, 3.0, 4.0])}
    grid = fit(summing(tuple(range(1, 9)), 8), tmp_path, space=space, scheduler=scheduler, seed=1)
    told = [decision for decision in grid.decisions if decision.action == "RETRY"]
    assert told and all("once more from iteration 7: UnboundLocalError: " in decision.reason for decision in told)
    assert all(
        "where its function failed: UnboundLocalError" in d.reason for d in grid.decisions if d.action == "UNDONE"
    )
    assert all(result.metrics["training_iteration"] == 8 for result in grid)


def test_what_this_package_refuses_where_a_trial_goes_on_is_an_error(tmp_path: Path) -> None:
    """A checkpoint that does not fit the script, say: it is not tried again as if it were a script's ending."""

    def train(config: dict[str, Any]) -> None:
        if tune.get_checkpoint() is not None:
            raise ArgumentError("TrainState", ["model: the checkpoint to go on from has no state of it."])
        for step in range(1, 9):
            (tmp_path / "own").mkdir(exist_ok=True)
            tune.report(loss=1 / step, checkpoint=tune.Checkpoint(tmp_path / "own"))

    scheduler = HyperBandScheduler(max_t=9, reduction_factor=3)
    grid = fit(train, tmp_path / "run", space={"x": tune.uniform(0, 1)}, num_samples=6, scheduler=scheduler)
    assert grid.num_errors and not [d for d in grid.decisions if d.action == "RETRY"]


def test_hyperband_with_a_metric_that_comes_at_the_end_only(tmp_path: Path) -> None:
    with pytest.raises(TuneError, match=r"none of the \d+ trials of bracket 0 has reported 'final' by then"):
        fit(returning_final, tmp_path, metric="final", num_samples=9, scheduler=HyperBandScheduler(max_t=9))


def returning_final(config: dict[str, Any]) -> dict[str, float]:
    for step in range(1, 4):
        tune.report(loss=1 / step)
    return {"final": 0.5}


def test_none_in_the_last_result_hides_no_value(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        for loss in (0.5, 0.4, None):
            tune.report(loss=loss)

    grid = fit(train, tmp_path)
    assert grid.get_best_result().metrics["loss"] == 0.4


def test_what_a_generator_returns_is_recorded(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> Any:
        for step in range(3):
            yield {"loss": step}
        return {"final": 7}

    (result,) = fit(train, tmp_path)
    assert result.metrics["final"] == 7 and result.metrics["training_iteration"] == 3


def test_a_metric_that_no_result_has_ends_a_run_whose_trials_the_scheduler_ends(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        for epoch in range(8):
            tune.report(val_acc=epoch, val_loss=1 / (epoch + 1))

    tuner = tune.Tuner(
        train,
        tune_config=tune.TuneConfig(
            metric="the_score", mode="max", num_samples=4, scheduler=tune.schedulers.ASHAScheduler(max_t=8)
        ),
        run_config=tune.RunConfig(storage_path=tmp_path, verbose=0, runtime="inline"),
    )
    with pytest.raises(tune.ArgumentError, match=r"'the_score'.*val_acc") as caught:
        tuner.fit()
    assert "val_loss" in str(caught.value)
