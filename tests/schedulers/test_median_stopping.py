"""Median stopping against the rule of the paper, computed the slow way."""

from __future__ import annotations

import math
import statistics
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mistakes import mistakes_of
from work import Watched, steps_of

from tune_plugins import Curve, RunConfig, SimulatedCluster, TuneConfig, simulate, uniform
from tune_plugins.core.scheduler import Decision
from tune_plugins.core.trial import Lease, Milestone, Trial, TrialStatus
from tune_plugins.schedulers import MedianStoppingRule
from tune_plugins.schedulers.trajectories import Trajectories

REPORTS = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.floats(0.01, 9).map(lambda x: round(x * 8) / 8 + 0.125),
        st.floats(-50, 50) | st.just(math.nan),
    ),
    max_size=80,
)


class Slow:
    """The rule as its definition says it, all results looked through at each decision."""

    def __init__(self, grace: float, least: int, slice_: float) -> None:
        self.grace, self.least, self.slice = grace, least, slice_
        self.results: dict[str, list[tuple[float, float]]] = {}
        self.compared: dict[str, float] = {}

    def stops(self, trial: str, now: float, score: float) -> bool:
        own = self.results.setdefault(trial, [])
        own.append((now, score))
        if now < self.grace or now < self.compared.get(trial, -math.inf) + self.slice:
            return False
        self.compared[trial] = now
        averages = []
        for other, results in self.results.items():
            counted = [s for t, s in results if self.grace <= t <= now]
            if other != trial and results[-1][0] >= now and counted:
                averages.append(math.fsum(counted) / len(counted))
        if len(averages) < self.least:
            return False
        best = math.inf if math.isinf(score) else min(s for _, s in own)
        median = statistics.median(averages)
        return best > median and not math.isclose(best, median, rel_tol=1e-9)


def scheduler_for(count: int, **arguments: Any) -> tuple[MedianStoppingRule, list[Trial]]:
    scheduler = MedianStoppingRule(**arguments)
    scheduler.setup(metric="loss", mode="min", seed=0)
    trials = [Trial(f"{i:05d}", i, {}, status=TrialStatus.RUNNING) for i in range(count)]
    for trial in trials:
        scheduler.on_trial_add(trial)
    return scheduler, trials


@pytest.mark.parametrize("attr", ["training_iteration", "time_total_s"])
@given(reports=REPORTS, grace=st.sampled_from([0, 1, 4]), least=st.integers(1, 3), slice_=st.sampled_from([0, 2.5]))
def test_decides_as_the_definition(
    attr: str, reports: list[tuple[int, float, float]], grace: float, least: int, slice_: float
) -> None:
    scheduler, trials = scheduler_for(
        6, time_attr=attr, grace_period=grace, min_samples_required=least, min_time_slice=slice_
    )
    slow, clocks = Slow(grace, least, slice_), [0.0] * 6
    for index, step, loss in reports:
        clocks[index] += math.ceil(step) if attr == "training_iteration" else step
        now, trial = clocks[index], trials[index]
        decided = scheduler.on_trial_result(trial, {attr: now, "loss": loss})
        stopped = isinstance(decided, Decision) and decided.action is decided.action.STOP
        assert stopped == slow.stops(trial.id, now, math.inf if math.isnan(loss) else loss), (trial.id, now, loss)


@given(
    st.lists(st.lists(st.tuples(st.integers(1, 40), st.integers(-9, 9)), min_size=1, max_size=8), max_size=8),
    st.integers(0, 200),
)
def test_standings_are_the_values_at_that_time(courses: list[list[tuple[int, int]]], asked: int) -> None:
    trajectories, expected = Trajectories(), []
    for number, course in enumerate(courses):
        now, seen = 0, []
        for step, value in course:
            now += step
            trajectories.advance(str(number), now)
            trajectories.note(str(number), now, float(value))
            seen.append((now, float(value)))
        if now >= asked:
            expected += [[v for t, v in seen if t <= asked][-1]] if seen[0][0] <= asked else []
        trajectories.end(str(number))
    standings = trajectories.at(asked)
    assert [standings[i] for i in range(len(standings))] == sorted(expected)
    for value in range(-10, 11):
        assert standings.below(value) == sum(v < value for v in expected)
        if expected:
            assert standings.is_above_median(value) == (value > statistics.median(expected))


def test_waits_at_the_grace_period_then_at_every_report_or_slice() -> None:
    scheduler, (trial, *_) = scheduler_for(1, time_attr="time_total_s", grace_period=10)
    assert scheduler.next_milestone(trial) == Milestone("time_total_s", 10)
    scheduler.on_trial_result(trial, {"time_total_s": 12.0, "loss": 1})
    assert scheduler.next_milestone(trial) == Milestone("time_total_s", math.nextafter(12.0, math.inf))
    scheduler.min_time_slice = 5
    assert scheduler.next_milestone(trial) == Milestone("time_total_s", 17)


def test_reason_tells_the_numbers() -> None:
    scheduler, trials = scheduler_for(4, time_attr="training_iteration", grace_period=1)
    for trial, loss in zip(trials, (4.0, 2.0, 1.0), strict=False):
        assert scheduler.on_trial_result(trial, {"training_iteration": 1, "loss": loss}) == "CONTINUE"
    decided = scheduler.on_trial_result(trials[3], {"training_iteration": 1, "loss": 2.5})
    assert decided == Decision(
        scheduler.STOP,
        "stopped at training_iteration 1: best 2.5, worse than the median 2 of the averages of 3 others",
    )
    assert scheduler.on_trial_result(trials[2], {"training_iteration": 2, "loss": math.nan}) == "CONTINUE"


def test_result_without_the_metric_or_told_twice_is_not_counted() -> None:
    scheduler, trials = scheduler_for(2, time_attr="training_iteration", grace_period=1, min_samples_required=1)
    scheduler.on_trial_result(trials[0], {"training_iteration": 1, "loss": 1.0})
    assert scheduler.on_trial_result(trials[1], {"training_iteration": 1, "other": 1.0}) == "CONTINUE"
    scheduler.on_trial_result(trials[0], {"training_iteration": 2, "loss": 3.0})
    for _ in range(5):
        scheduler.on_trial_result(trials[0], {"training_iteration": 2, "loss": 100.0})
    assert scheduler.on_trial_result(trials[1], {"training_iteration": 2, "loss": 2.0}) == "CONTINUE"
    decided = scheduler.on_trial_result(trials[1], {"training_iteration": 3, "loss": math.inf})
    assert decided == "CONTINUE", "nobody has been there"


def test_soft_stop_pauses_and_ends_every_trial_best_first() -> None:
    results = simulate(
        lambda config: Curve([config["x"]] * 10),
        param_space={"x": uniform(0, 1)},
        tune_config=TuneConfig(
            metric="value",
            mode="min",
            num_samples=12,
            seed=4,
            scheduler=MedianStoppingRule("training_iteration", grace_period=2, hard_stop=False),
        ),
        run_config=RunConfig(),
        cluster=SimulatedCluster(workers=2),
    )
    actions = [d.action for d in results.decisions]
    assert {"PAUSE", "RESUME"} <= set(actions) and "STOP" not in actions
    assert [r.metrics["training_iteration"] for r in results] == [10] * 12
    resumed = [d.trial_id for d in results.decisions if d.action == "RESUME"]
    created = [r.trial_id for r in results if r.trial_id not in resumed]
    first = min(i for i, d in enumerate(results.decisions) if d.action == "RESUME")
    paused = {d.trial_id for d in results.decisions[:first]}
    best = min(paused, key=lambda i: results[int(i)].config["x"])
    assert results.decisions[first].trial_id == best
    assert "best of the" in results.decisions[first].reason and created


def test_second_run_starts_afresh() -> None:
    scheduler = MedianStoppingRule("training_iteration", grace_period=1)

    def run() -> list[Any]:
        results = simulate(
            lambda config: [config["x"]] * 5,
            param_space={"x": uniform(0, 1)},
            tune_config=TuneConfig(metric="value", mode="max", num_samples=10, seed=1, scheduler=scheduler),
        )
        return results.decisions

    assert run() == run()


def test_every_mistake_at_once() -> None:
    found = mistakes_of(MedianStoppingRule, grace_period=-1, min_samples_required=0, min_time_slice="x", mode="best")
    assert [m.split(":")[0] for m in found] == [
        "mode", "grace_period", "min_time_slice", "min_samples_required",
    ]  # fmt: skip


@pytest.mark.parametrize("attr", ["training_iteration", "time_total_s"])
def test_a_report_costs_the_same_however_many_came_before(attr: str) -> None:
    """Counted, since a time depends on what else the machine does."""
    scheduler, _ = scheduler_for(0, time_attr=attr, grace_period=1, min_samples_required=10**9)
    rng, lease = Random(0), Lease()

    def trials(numbers: range) -> None:
        for index in numbers:
            trial = Trial(f"{index:05d}", index, {}, status=TrialStatus.RUNNING, lease=lease)
            scheduler.on_trial_add(trial)
            for step in range(1, 11):
                at = step if attr == "training_iteration" else step + rng.random()
                scheduler.on_trial_result(trial, {attr: at, "loss": Watched(rng.random())})
            scheduler.on_trial_complete(trial, None)

    trials(range(300))
    few = steps_of(lambda: trials(range(300, 400)))
    trials(range(400, 6000))
    assert steps_of(lambda: trials(range(6000, 6100))) < 2 * few
