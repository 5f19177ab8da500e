"""Where trials end: thresholds, callables, schedulers, time budgets, failures of others."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins.schedulers import ASHAScheduler, TrialScheduler

pytestmark = pytest.mark.both_kinds


def _count(config: dict[str, Any]) -> None:
    for step in range(1, 1001):
        tune.report(step=step, loss=1.0 / step, nested={"loss": 100 - step})


@pytest.mark.parametrize(
    ("stop", "reports", "reason"),
    [
        ({"training_iteration": 7}, 7, "training_iteration = 7 >= 7"),
        ({"step": 41.5}, 42, "step = 42 >= 41.5"),
        # Less of the optimised metric is better, so its threshold is reached from above.
        ({"loss": 0.1}, 10, "loss = 0.1 <= 0.1"),
        ({"nested/loss": 98, "training_iteration": 50}, 1, "nested/loss = 99 >= 98"),
        ({"training_iteration": 3, "step": 900}, 3, "training_iteration = 3 >= 3"),
    ],
)
def test_a_threshold_acts_at_the_very_report(fit: Any, stop: dict[str, float], reports: int, reason: str) -> None:
    for result in fit(_count, num_samples=3, stop=stop, metric="loss", mode="min"):
        assert len(result.metrics_dataframe) == reports
        assert result.status == "TERMINATED"
        assert reason in result.reason


def test_a_stop_function_sees_each_result(fit: Any) -> None:
    seen: list[tuple[str, int]] = []

    def stop(trial_id: str, result: dict[str, Any]) -> bool:
        seen.append((trial_id, result["step"]))
        return result["step"] >= 5

    grid = fit(_count, num_samples=2, stop=stop)
    assert [len(r.metrics_dataframe) for r in grid] == [5, 5]
    assert sorted(seen) == [(t, s) for t in ("00000", "00001") for s in range(1, 6)]


def test_a_stopped_trial_ends_at_once_though_it_catches_exceptions(fit: Any, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        log = open(config["log"], "a")  # noqa: SIM115
        for step in range(10):
            try:
                tune.report(step=step)
                log.write(f"{step} ")
                log.flush()
            except Exception:
                log.write("swallowed ")

    result = fit(train, {"log": str(tmp_path / "log")}, stop={"training_iteration": 3})[0]
    assert (tmp_path / "log").read_text() == "0 1 "
    assert len(result.metrics_dataframe) == 3


def test_a_report_after_the_stop_raises_again_and_does_not_count(fit: Any, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> dict[str, Any]:
        raised = 0
        for step in range(5):
            try:
                tune.report(step=step)
            except tune.TrialStopped:
                raised += 1
        Path(config["log"]).write_text(str(raised))
        return {"step": 99}

    result = fit(train, {"log": str(tmp_path / "log")}, stop={"training_iteration": 2})[0]
    assert (tmp_path / "log").read_text() == "4"
    assert list(result.metrics_dataframe["step"]) == [0, 1, 99]  # what the function returns at its end is recorded
    assert result.status == "TERMINATED"


# ------------------------------------------------------------------------------------------- ASHA


def test_asha_stops_the_worse_at_their_rungs_and_says_why(fit: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        for _ in range(100):
            tune.report(loss=config["x"])

    grid = fit(
        train,
        {"x": tune.grid_search([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])},
        metric="loss",
        mode="min",
        max_concurrent_trials=1,
        scheduler=ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3),
    )
    # One after another, best first: the first two are not compared yet, then all are worse than the best third.
    lengths = [len(result.metrics_dataframe) for result in grid]
    assert lengths == [9, 9, 1, 1, 1, 1]
    assert "end the scheduler set" in grid[0].reason
    assert "rung 1" in grid[2].reason and "rank 3 of 3" in grid[2].reason
    stops = [d for d in grid.decisions if d.action == "STOP"]
    assert [(d.trial_id, d.iteration) for d in stops] == [(f"{i:05d}", 1) for i in range(2, 6)]
    assert all(d.reason == grid[int(d.trial_id)].reason for d in stops)
    assert grid.get_best_result().config == {"x": 1.0}


def test_the_core_replayed_from_the_record_takes_the_same_decisions(fit: Any) -> None:
    from tune_plugins.core.events import RecordDecision
    from tune_plugins.core.experiment import Experiment, Rules
    from tune_plugins.record.store import ExperimentStore

    def train(config: dict[str, Any]) -> None:
        for step in range(1, 28):
            tune.report(loss=config["x"] + 1 / step)

    space = {"x": tune.uniform(0, 1)}

    def scheduler() -> ASHAScheduler:
        return ASHAScheduler(max_t=27, grace_period=1, reduction_factor=3)

    grid = fit(train, space, metric="loss", mode="min", num_samples=20, seed=3, scheduler=scheduler())
    again = scheduler()
    again.setup(metric="loss", mode="min", seed=3)
    rules = Rules(metric="loss", mode="min", seed=3, trial_limit=20, searcher_reads_results=False)
    core = Experiment(again, rules)  # without a searcher: what it said is in the record
    with ExperimentStore.open(grid.experiment_path) as store:
        commands = core.replay(store.events())
    replayed = [(c.trial_id, c.iteration, c.action, c.reason) for c in commands if isinstance(c, RecordDecision)]
    assert replayed == [(d.trial_id, d.iteration, d.action, d.reason) for d in grid.decisions]
    assert [trial.config for trial in core.trials.values()] == [result.config for result in grid]
    assert sum(len(r.metrics_dataframe) for r in grid) < 20 * 27


def test_trials_under_fifo_never_wait(fit: Any, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> dict[str, Any]:
        for step in range(500):
            tune.report(step=step)
        Path(config["folder"], tune.get_context().get_trial_id()).touch()
        return {"step": 500}

    class Busy(tune.callbacks.Callback):
        """Holds the driver until the trial has made all its reports: if one waited for the driver, none would end."""

        def __init__(self) -> None:
            self.came: list[bool] = []

        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            limit = time.monotonic() + 300
            while not (came := (tmp_path / trial.id).exists()) and time.monotonic() < limit:
                time.sleep(0.005)
            self.came.append(came)

    grid = fit(train, {"folder": str(tmp_path)}, num_samples=2, callbacks=[busy := Busy()])
    assert busy.came == [True, True]
    assert all(len(result.metrics_dataframe) == 501 for result in grid)


# ------------------------------------------------------------------------------- schedulers of users


class _Pausing(TrialScheduler):
    """Lets all trials reach step 2 before any goes on: more trials are paused than there are slots."""

    needs_metric = False

    def __init__(self, trials: int) -> None:
        super().__init__()
        self.trials, self.there = trials, 0

    def on_trial_result(self, trial: Any, result: dict[str, Any]) -> str:
        if result["training_iteration"] == 2:
            self.there += 1
            return self.PAUSE
        return self.CONTINUE

    def choose_trial_to_run(self, pending: Any, paused: Any) -> Any:
        if self.there >= self.trials and paused:
            return next(iter(paused.values()))
        return next(iter(pending.values()), None)


def test_paused_trials_wait_in_memory_and_go_on_where_they_were(fit: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        memory = [config["x"]]
        for step in range(1, 5):
            memory.append(step)
            tune.report(memory=list(memory), pid=os.getpid())

    grid = fit(train, {"x": tune.grid_search(list(range(5)))}, scheduler=_Pausing(5))
    for x, result in enumerate(grid):
        assert result.status == "TERMINATED", result.error
        assert result.metrics["memory"] == [x, 1, 2, 3, 4]
        assert result.metrics_dataframe["pid"].nunique() == 1
    assert len({result.metrics["pid"] for result in grid}) == 5
    paused = [d for d in grid.decisions if d.action == "PAUSE"]
    assert len(paused) == 5


def test_paused_trials_do_not_hold_up_those_sent_ahead_behind_them(fit: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(x=config["x"])
        tune.report(x=config["x"])

    # Many short ones first, so that trials are sent ahead, then those that pause.
    class PauseLate(_Pausing):
        def on_trial_result(self, trial: Any, result: dict[str, Any]) -> str:
            return super().on_trial_result(trial, result) if trial.index >= 40 else self.CONTINUE

        def next_milestone(self, trial: Any) -> Any:
            return None if trial.index < 40 else super().next_milestone(trial)

    grid = fit(train, {"x": tune.grid_search(list(range(46)))}, scheduler=PauseLate(6))
    assert [len(r.metrics_dataframe) for r in grid] == [2] * 46


def test_a_trial_woken_at_once_is_not_taken_for_paused(fit: Any) -> None:
    class Nervous(TrialScheduler):
        """Pauses at each report and resumes in the same breath."""

        needs_metric = False

        def on_trial_result(self, trial: Any, result: dict[str, Any]) -> str:
            return self.PAUSE

        def choose_trial_to_run(self, pending: Any, paused: Any) -> Any:
            return next(iter(paused.values()), None) or next(iter(pending.values()), None)

    def train(config: dict[str, Any]) -> None:
        for step in range(30):
            tune.report(step=step)

    grid = fit(train, num_samples=4, scheduler=Nervous())
    assert [len(r.metrics_dataframe) for r in grid] == [30] * 4


def test_a_scheduler_that_raises_ends_the_run_with_what_there_is(fit: Any) -> None:
    class Faulty(TrialScheduler):
        needs_metric = False

        def on_trial_result(self, trial: Any, result: dict[str, Any]) -> str:
            if result["training_iteration"] == 4:
                raise ZeroDivisionError("my rule divides by zero")
            return self.CONTINUE

    with pytest.raises(tune.TuneError, match=r"ZeroDivisionError in the scheduler.*my rule divides by zero") as caught:
        fit(_count, name="faulty", max_concurrent_trials=1, scheduler=Faulty())
    path = str(caught.value).rpartition("in ")[2].rstrip(".")
    assert len(tune.ResultGrid(path)[0].metrics_dataframe) == 4


# ---------------------------------------------------------------------------------- others decide


def test_a_time_budget_acts_between_reports(fit: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(step=1)
        threading.Event().wait(3600)  # an epoch that never ends

    began = time.monotonic()
    grid = fit(train, num_samples=4, time_budget_s=1)
    assert time.monotonic() - began < 600
    assert [r.status for r in grid] == ["TERMINATED"] * len(grid)
    assert "time budget of 1 s" in grid[0].reason
    assert len(grid[0].metrics_dataframe) == 1


def test_fail_fast_ends_the_run_at_the_first_failure(fit: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(x=config["x"])
        if config["x"] == 0:
            raise ValueError("bad luck")
        for step in range(100_000_000):
            tune.report(x=step)

    space = {"x": tune.grid_search([0, 1, 2, 3])}
    grid = fit(train, space, fail_fast=True)
    assert grid.num_errors == 1
    assert len(grid) <= 4
    assert all("fail_fast" in r.reason for r in grid if r.status == "TERMINATED")
    with pytest.raises(tune.TrialError, match="bad luck"):
        fit(train, space, fail_fast="raise")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"metric": "lossy", "mode": "min"}, "metric: expected the name of a reported metric, got 'lossy'"),
        (
            {"stop": {"training_iterations": 3}},
            "stop: expected the name of a reported metric, got 'training_iterations'",
        ),
        (
            {"scheduler": ASHAScheduler("epochs", "loss", "min")},
            "ASHAScheduler time_attr: expected the name of a reported metric, got 'epochs'",
        ),
    ],
)
def test_a_name_that_nobody_reports_is_told_at_the_first_report(fit: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(tune.ArgumentError) as caught:
        fit(_count, **options)
    assert f"{told}; trial 00000 reported: loss, nested/loss, step" in str(caught.value)
