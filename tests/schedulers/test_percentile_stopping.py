"""Percentile stopping with patience against its definition."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from mistakes import mistakes_of

from tune_plugins import SimulatedCluster, TuneConfig, choice, randint, simulate
from tune_plugins.core.scheduler import Decision
from tune_plugins.core.trial import Milestone, Trial, TrialStatus
from tune_plugins.schedulers import PercentileStopping


def scheduler_for(count: int, **arguments: Any) -> tuple[PercentileStopping, list[Trial]]:
    scheduler = PercentileStopping(**arguments)
    assert scheduler.mistakes() == []
    scheduler.setup(metric="loss", mode="min", seed=0)
    trials = [Trial(f"{i:05d}", i, {}, status=TrialStatus.RUNNING) for i in range(count)]
    for trial in trials:
        scheduler.on_trial_add(trial)
    return scheduler, trials


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 2), st.floats(-9, 9) | st.just(math.nan)), max_size=60),
    st.sampled_from([10, 25, 50, 90]),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(0, 3),
)
def test_decides_as_the_definition(
    reports: list[tuple[int, int, float]], percentile: float, patience: int, startup: int, warmup: int
) -> None:
    scheduler, trials = scheduler_for(
        6, percentile=percentile, patience=patience, n_startup_trials=startup, n_warmup_steps=warmup
    )
    courses: list[list[tuple[int, float]]] = [[] for _ in trials]
    behind = [0] * 6
    for index, step, loss in reports:
        now = (courses[index][-1][0] if courses[index] else 0) + step
        score = math.inf if math.isnan(loss) else loss
        courses[index].append((now, score))
        decided = scheduler.on_trial_result(trials[index], {"training_iteration": now, "loss": loss})
        others = []
        for other, course in enumerate(courses):
            counted = [s for t, s in course if warmup < t <= now]
            if other != index and course and course[-1][0] >= now and counted:
                others.append(counted[-1])
        better = sum(s < score for s in others)
        judged = now > warmup and len(others) >= startup
        worst = judged and better > 0 and better >= (len(others) + 1) * (1 - percentile / 100)
        behind[index] = behind[index] + 1 if worst else 0
        stopped = isinstance(decided, Decision) and decided.action is decided.action.STOP
        assert stopped == (worst and behind[index] >= patience)


def test_reason_tells_the_numbers() -> None:
    scheduler, trials = scheduler_for(5, percentile=25, patience=2, n_startup_trials=4)
    for step in (1, 2):
        for trial in trials[:4]:
            scheduler.on_trial_result(trial, {"training_iteration": step, "loss": trial.index})
    assert scheduler.on_trial_result(trials[4], {"training_iteration": 1, "loss": 7.5}) == "CONTINUE"
    decided = scheduler.on_trial_result(trials[4], {"training_iteration": 2, "loss": 8.5})
    assert decided == Decision(
        scheduler.STOP,
        "stopped at training_iteration 2: loss 8.5 is behind 4 of 4 others, the 2nd report in a row among the worst "
        "25%",
    )


def test_waits_past_the_warm_up_only() -> None:
    scheduler, (trial,) = scheduler_for(1, n_warmup_steps=5)
    assert scheduler.next_milestone(trial) == Milestone("training_iteration", math.nextafter(5, 6))
    scheduler.on_trial_result(trial, {"training_iteration": 8, "loss": 1.0})
    assert scheduler.next_milestone(trial) == Milestone("training_iteration", math.nextafter(8, 9))


def test_patience_forgives_single_bad_reports() -> None:
    """The good trials have a spike now and then; the others are steadily worse."""

    def curve(config: dict[str, Any]) -> list[float]:
        base = 1.0 if config["good"] else 2.0
        return [base + (5.0 if config["good"] and (step + config["phase"]) % 4 == 0 else 0.0) for step in range(12)]

    def stopped(patience: int) -> tuple[int, int]:
        results = simulate(
            curve,
            param_space={"good": choice([True, False]), "phase": randint(0, 4)},
            tune_config=TuneConfig(
                metric="value",
                mode="min",
                num_samples=40,
                seed=34,
                scheduler=PercentileStopping(50, patience=patience, n_startup_trials=10),
            ),
            cluster=SimulatedCluster(workers=4),
        )
        ended = [r.config["good"] for r in results if r.cause == "SCHEDULER"]
        return ended.count(True), ended.count(False)

    hasty, patient = stopped(1), stopped(3)
    assert hasty[0] > 5 and patient[0] == 0, (hasty, patient)
    assert patient[1] > 5, (hasty, patient)


def test_every_mistake_at_once() -> None:
    found = mistakes_of(PercentileStopping, 100, patience=0, n_startup_trials=1.5, n_warmup_steps=-1, mode="best")
    assert [m.split(":")[0] for m in found] == [
        "mode", "percentile", "patience", "n_startup_trials", "n_warmup_steps",
    ]  # fmt: skip
