"""Stop rules: each by itself, and in runs under a virtual clock."""

from __future__ import annotations

import math
import pickle
import statistics
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tune_plugins import ArgumentError, Curve, RunConfig, SimulatedCluster, TuneConfig, simulate, uniform
from tune_plugins.core.trial import TrialStatus
from tune_plugins.driver.plan import Plan, rules_for
from tune_plugins.results import ResultGrid
from tune_plugins.schedulers import FIFOScheduler
from tune_plugins.search import BasicVariantGenerator
from tune_plugins.space import Space
from tune_plugins.stoppers import (
    CombinedStopper,
    ExperimentPlateauStopper,
    FunctionStopper,
    MaximumIterationStopper,
    NoopStopper,
    Stopper,
    TimeoutStopper,
    TrialPlateauStopper,
    split_stop,
    time_limit,
)


def run(
    stop: Any, curve: Any = None, *, trials: int = 4, workers: int = 2, seconds: float = 1.0, **tune: Any
) -> ResultGrid:
    curve = curve or (lambda config: [1.0 / step for step in range(1, 21)])
    return simulate(
        lambda config: Curve(curve(config), seconds),
        param_space={"x": uniform(0, 1)},
        tune_config=TuneConfig(metric="value", mode="min", num_samples=trials, seed=1, **tune),
        run_config=RunConfig(stop=stop),
        cluster=SimulatedCluster(workers=workers),
    )


def ask(stopper: Stopper, values: list[Any], trial: str = "a") -> list[bool]:
    return [stopper(trial, {"loss": v, "training_iteration": i, "timestamp": i}) for i, v in enumerate(values, 1)]


@pytest.mark.parametrize(
    "stop",
    [
        {"training_iteration": 3},
        MaximumIterationStopper(3),
        [MaximumIterationStopper(5), {"training_iteration": 3}],
        CombinedStopper(NoopStopper(), MaximumIterationStopper(3)),
        lambda trial_id, result: result["training_iteration"] >= 3,
        [FunctionStopper(lambda trial_id, result: result["training_iteration"] >= 3), {"value": 0.01}],
        {"value": 1 / 3},
    ],
)
def test_every_form_ends_trials_where_it_says(stop: Any) -> None:
    results = run(stop)
    assert [r.metrics["training_iteration"] for r in results] == [3] * 4
    assert all(r.reason and r.status is TrialStatus.TERMINATED for r in results)


def test_rules_that_need_no_judgement_never_make_a_trial_wait() -> None:
    stop = [{"acc": 0.9}, MaximumIterationStopper(7), NoopStopper(), TimeoutStopper(timedelta(minutes=1))]
    assert split_stop(CombinedStopper(*(s for s in stop if isinstance(s, Stopper)))) == (
        {"training_iteration": 7},
        None,
    )
    assert split_stop(stop) == ({"acc": 0.9, "training_iteration": 7}, None)
    assert time_limit(stop) == 60


@pytest.mark.parametrize("combined", [False, True])
def test_timeout_acts_between_reports(combined: bool) -> None:
    stop: Any = TimeoutStopper(15)
    results = run(CombinedStopper(stop) if combined else [stop], seconds=10.0)
    assert [len(r.metrics_dataframe) if r.metrics else 0 for r in results] == [1, 1]
    assert all(r.reason == "the time budget of 15 s is used up" for r in results)


def test_the_least_of_several_time_limits_counts(tmp_path: Path) -> None:
    tune = TuneConfig(time_budget_s=20.0)
    run_config = RunConfig(stop=[TimeoutStopper(30), TimeoutStopper(12)])
    plan = Plan("train", tune, run_config, Space(None), FIFOScheduler(), BasicVariantGenerator(), 0)
    rules = rules_for(plan, residents=0, slots=1)
    assert rules.time_budget_s == 12


def test_timeout_inside_a_rule_of_ones_own() -> None:
    class Either(Stopper):
        def __init__(self) -> None:
            self.timeout = TimeoutStopper(5)

        def setup(self, *, metric: str | None, mode: str | None) -> None:
            self.timeout.setup(metric=metric, mode=mode)

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return self.timeout(trial_id, result)

        def stop_all(self) -> bool:
            return self.timeout.stop_all()

    stopper = Either()
    for _ in range(2):
        results = run(stopper, workers=1, trials=1)
        assert results[0].metrics["training_iteration"] == 6
        assert results[0].reason == "ended by Either"


@given(
    st.lists(st.floats(-1, 1) | st.sampled_from([math.nan, math.inf, None, "text"]), max_size=15),
    st.integers(2, 5),
    st.integers(0, 8),
    st.floats(0, 0.5),
)
def test_trial_plateau_as_defined(values: list[Any], window: int, grace: int, std: float) -> None:
    stopper = TrialPlateauStopper("loss", std=std, num_results=window, grace_period=grace)
    stopper.setup(metric=None, mode=None)
    for count, said in enumerate(ask(stopper, values), 1):
        last = values[max(0, count - window) : count]
        whole = len(last) == window and all(isinstance(v, float) and math.isfinite(v) for v in last)
        assert said == (whole and count >= grace and statistics.pstdev(last) < std)


@pytest.mark.parametrize(("mode", "threshold", "stops"), [("min", 1.0, True), ("min", 0.5, False), ("max", 1.5, False)])
def test_trial_plateau_waits_for_the_threshold(mode: str, threshold: float, stops: bool) -> None:
    stopper = TrialPlateauStopper("loss", metric_threshold=threshold, mode=mode)
    stopper.setup(metric="loss", mode="max")
    assert ask(stopper, [1.0] * 4)[-1] is stops


def test_trial_plateau_takes_the_mode_of_the_run_or_says_that_it_needs_one() -> None:
    stopper = TrialPlateauStopper("loss", metric_threshold=1.0)
    with pytest.raises(ArgumentError, match=r"mode: expected 'min' or 'max' beside metric_threshold"):
        stopper.setup(metric=None, mode=None)
    stopper.setup(metric="loss", mode="min")
    assert ask(stopper, [2.0] * 4)[-1] is False
    assert ask(stopper, [0.5] * 4, "b")[-1] is True


def test_trial_plateau_passes_over_results_without_the_metric() -> None:
    stopper = TrialPlateauStopper("loss", num_results=2, grace_period=2)
    said = [stopper("a", {"other": 1, **extra}) for extra in ({"loss": 1}, {}, {}, {"loss": 1})]
    assert said == [False, False, False, True]


def test_trial_plateau_in_a_run_tells_why() -> None:
    results = run(TrialPlateauStopper("value", std=1e-6), lambda config: [1.0, 0.5] + [0.1] * 18)
    assert [r.metrics["training_iteration"] for r in results] == [6] * 4
    assert results[0].reason == (
        "stopped by TrialPlateauStopper: standard deviation 0 of the last 4 value is below 1e-06"
    )


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.floats(0, 1) | st.just(math.nan)), max_size=40),
    st.integers(2, 4),
    st.integers(0, 3),
    st.sampled_from(["min", "max"]),
)
def test_experiment_plateau_as_defined(results: list[tuple[str, float]], top: int, patience: int, mode: str) -> None:
    stopper = ExperimentPlateauStopper("loss", std=0.1, top=top, mode=mode, patience=patience)
    stopper.setup(metric=None, mode=None)
    best: dict[str, float] = {}
    streak = 0
    pick = min if mode == "min" else max
    for trial, value in results:
        assert stopper(trial, {"loss": value}) is False
        if not math.isnan(value):
            best[trial] = pick(value, best.get(trial, value))
        leaders = sorted(best.values(), reverse=mode == "max")[:top]
        spread = statistics.pstdev(leaders) if len(leaders) == top else math.inf
        streak = streak + 1 if spread <= 0.1 else 0
        assert stopper.stop_all() == (streak > patience)


def test_experiment_plateau_ends_all_trials_and_a_second_run_starts_afresh() -> None:
    stopper = ExperimentPlateauStopper("value", std=0.0, top=3, mode="min")
    reasons = []
    for _ in range(2):
        results = run(stopper, lambda config: [1.0] * 5, trials=20)
        assert len(results) == 4
        reasons.append([r.reason for r in results])
    assert reasons[0] == reasons[1]
    assert reasons[0][-1].startswith("ended by ExperimentPlateauStopper: standard deviation 0")


def test_combined_asks_all_and_names_the_one_that_said_yes() -> None:
    seen: list[str] = []

    def watch(trial_id: str, result: dict[str, Any]) -> bool:
        seen.append(trial_id)
        return False

    results = run([lambda trial_id, result: trial_id == "00001", watch])
    assert results[1].reason == "stopped by FunctionStopper: <lambda>(trial_id, result) is true"
    assert seen.count("00001") == 1 and seen.count("00000") == 20


def test_rules_are_rebuilt_from_the_results_alone() -> None:
    """Told the same results after an interruption, a stopper says the same."""
    values = [1.0, 0.5, 0.3, 0.3, 0.3, 0.3]
    for make in (
        lambda: TrialPlateauStopper("loss"),
        lambda: ExperimentPlateauStopper("loss", top=2),
        lambda: CombinedStopper(MaximumIterationStopper(4), TimeoutStopper(3)),
    ):
        one, two = make(), make()
        two.setup(metric=None, mode=None)
        assert ask(one, values) == ask(two, values)
        assert one.stop_all() == two.stop_all()


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: MaximumIterationStopper(0), ["max_iter"]),
        (lambda: TimeoutStopper(-1), ["timeout"]),
        (lambda: TimeoutStopper("10 s"), ["timeout"]),  # type: ignore[arg-type]
        (lambda: FunctionStopper(3), ["function"]),  # type: ignore[arg-type]
        (lambda: CombinedStopper({"a": 1}), ["stopper 0"]),  # type: ignore[arg-type]
        (
            lambda: TrialPlateauStopper("", -1, 1, -1, "x", "best"),  # type: ignore[arg-type]
            ["metric", "std", "num_results", "grace_period", "metric_threshold", "mode"],
        ),
        (lambda: ExperimentPlateauStopper(None, math.nan, 1, "", -1), ["metric", "std", "top", "patience", "mode"]),  # type: ignore[arg-type]
    ],
)
def test_every_mistake_at_once(make: Any, names: list[str]) -> None:
    with pytest.raises(ArgumentError) as caught:
        make()
    assert [m.split(":")[0] for m in caught.value.mistakes] == names


def test_mistakes_in_the_run_configuration() -> None:
    stop = [{"loss": "low", 3: 1}, [{"loss": 0.1}, {"loss": 0.2}], 7, None]
    with pytest.raises(ArgumentError) as caught:
        run(stop)
    wanted = [
        "stop: expected {metric: number} or {metric: True}, got {'loss': 'low'}",
        "stop: expected {metric: number} or {metric: True}, got {3: 1}",
        "stop: two thresholds for 'loss', 0.1 and",
        "stop: expected a dict of metric: threshold",
    ]
    assert len(caught.value.mistakes) == len(wanted)
    assert all(mistake.startswith(start) for mistake, start in zip(caught.value.mistakes, wanted, strict=True))


@pytest.mark.parametrize("timeout", [5, timedelta(seconds=5)])
def test_a_timeout_that_is_asked_by_hand_counts_from_then_and_not_while_it_is_stored(
    monkeypatch: pytest.MonkeyPatch, timeout: Any
) -> None:
    now = [100.0]
    monkeypatch.setattr("tune_plugins.stoppers.time.monotonic", lambda: now[0])
    stopper = TimeoutStopper(timeout)
    now[0] += 50
    assert not stopper.stop_all()
    now[0] += 3
    assert not stopper.stop_all()
    stored = pickle.dumps(stopper)
    now[0] += 1000
    again = pickle.loads(stored)
    assert not again.stop_all() and stopper.stop_all()
    now[0] += 2
    assert again.stop_all() and again.reason == "5 s are over"
    assert pickle.loads(pickle.dumps(again)).stop_all()
    again.setup()
    assert not again.stop_all()
