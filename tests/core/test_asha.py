"""ASHA against its definition, by whole runs of the core and by its parts."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from core_driver import CheckedExperiment, Driver, ListSearcher, Workers
from hypothesis import given
from hypothesis import strategies as st
from mistakes import mistakes_of

from tune_plugins.core.ends import ErrorInfo
from tune_plugins.core.experiment import Rules
from tune_plugins.core.trial import Lease, Milestone, Trial
from tune_plugins.schedulers import ASHAScheduler, AsyncHyperBandScheduler
from tune_plugins.schedulers.asha import Rung


def run(
    configs: list[dict[str, Any]],
    curve: Any,
    *,
    mode: str = "min",
    slots: int = 2,
    seed: int = 0,
    iterations: int = 200,
    trouble: dict[tuple[str, int], str] | None = None,
    save_every: int = 0,
    batch: int = 3,
    **arguments: Any,
) -> Driver:
    scheduler = ASHAScheduler(**arguments)
    assert scheduler.mistakes() == []
    scheduler.setup(metric="score", mode=mode, seed=seed)
    experiment = CheckedExperiment(
        ListSearcher(configs), scheduler, Rules(metric="score", mode=mode, seed=seed, max_failures=1)
    )
    workers = Workers(curve, iterations, save_every=save_every, batch=batch)
    return Driver(experiment, workers, slots).run(trouble)


def constant(config: dict[str, Any], iteration: int) -> dict[str, Any]:
    return {"score": config["x"]}


def xs(*values: Any) -> list[dict[str, Any]]:
    return [{"x": value} for value in values]


def rungs(**arguments: Any) -> list[list[float]]:
    scheduler = ASHAScheduler(**arguments)
    assert scheduler.mistakes() == []
    scheduler.setup(metric="score", mode="min", seed=0)
    return [[rung.level for rung in bracket] for bracket in scheduler._rungs]


# ------------------------------------------------------------------------------------------ rungs


@pytest.mark.parametrize(
    ("max_t", "grace_period", "reduction_factor", "levels"),
    [
        (100, 1, 4, [1, 4, 16, 64]),
        (81, 1, 3, [1, 3, 9, 27]),  # max_t is the end and no rung
        (82, 1, 3, [1, 3, 9, 27, 81]),
        (100, 10, 3, [10, 30, 90]),
        (10, 10, 4, []),
        (16, 1, 1.5, [1, 1.5, 2.25, 3.375, 5.0625, 7.59375, 11.390625]),
        (2.5, 0.5, 2, [0.5, 1, 2]),
        (0.9, 0.1, 3, [0.1, 0.3]),  # 0.1 * 3 * 3 is 0.9 but for rounding
        (1000, 5, 10, [5, 50, 500]),
    ],
)
def test_levels(max_t: float, grace_period: float, reduction_factor: float, levels: list[float]) -> None:
    assert rungs(max_t=max_t, grace_period=grace_period, reduction_factor=reduction_factor) == [levels]


def test_brackets_start_later_one_by_one() -> None:
    assert rungs(max_t=81, reduction_factor=3, brackets=3) == [[1, 3, 9, 27], [3, 9, 27], [9, 27]]
    assert rungs(max_t=81, reduction_factor=3, brackets=99) == [[1, 3, 9, 27], [3, 9, 27], [9, 27], [27]]
    assert rungs(max_t=1, brackets=5) == [[]]


def test_name_in_ray_tune() -> None:
    assert AsyncHyperBandScheduler is ASHAScheduler


# ------------------------------------------------------------------------------------------ cut


@pytest.mark.parametrize(
    ("scores", "eta", "cut"),
    [
        ([1, 2, 3, 4, 5], 4, 1.0),  # floor(5 / 4) = 1 goes on
        ([1, 2], 4, 1.0),  # the best one always does
        ([7], 3, 7.0),
        ([5, 3, 6, 1, 4, 2], 3, 2.0),
        ([0.3, 0.2, 0.1], 3 / 2, 0.2),
        ([1, 2, 3, math.inf, math.inf, math.inf], 3, 1.0),  # failed ones do not lift the cut
        ([math.inf, math.inf], 2, math.inf),
        ([], 3, math.inf),
    ],
)
def test_cut_by_hand(scores: list[float], eta: float, cut: float) -> None:
    rung = Rung(1)
    for score in scores:
        rung.add(score)
    assert rung.cut(eta) == pytest.approx(cut)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50, unique=True), st.integers(2, 20))
def test_as_many_are_within_the_cut_as_go_on(scores: list[float], eta: int) -> None:
    rung = Rung(1)
    for score in scores:
        rung.add(score)
    assert sum(score <= rung.cut(eta) for score in scores) == max(1, len(scores) // eta)


def test_equal_scores_share_the_better_rank() -> None:
    rung = Rung(1)
    assert [rung.add(score) for score in (5, 5, 7, 5, 1)] == [1, 1, 3, 1, 1]


# ------------------------------------------------------------------------------------------ decisions


def test_reasons_in_words_and_numbers() -> None:
    driver = run(xs(0.3, 0.1, 0.4, 0.2), constant, max_t=9, reduction_factor=3, slots=1)
    first = [c for c in driver.decisions() if c.iteration == 1]
    assert [(c.trial_id, c.action, c.reason) for c in first] == [
        ("00000", "CONTINUE", "continued at rung 1: 0.3 is result 1 there, decided from 3 on"),
        ("00001", "CONTINUE", "continued at rung 1: 0.1 is result 2 there, decided from 3 on"),
        ("00002", "STOP", "stopped at rung 1: 0.4 worse than the cut 0.1, rank 3 of 3"),
        ("00003", "STOP", "stopped at rung 1: 0.2 worse than the cut 0.1, rank 2 of 4"),
    ]
    trial = driver.experiment.trials["00002"]
    assert (trial.status, trial.reason, trial.iteration) == ("TERMINATED", first[2].reason, 1)
    assert driver.experiment.trials["00001"].reason == "reached the end the scheduler set"


def test_mode_max_shows_the_metric_as_people_know_it() -> None:
    driver = run(xs(0.7, 0.9, 0.6, 0.8), constant, mode="max", max_t=9, reduction_factor=3, slots=1)
    first = [c.reason for c in driver.decisions() if c.iteration == 1]
    assert first[2:] == [
        "stopped at rung 1: 0.6 worse than the cut 0.9, rank 3 of 3",
        "stopped at rung 1: 0.8 worse than the cut 0.9, rank 2 of 4",
    ]


def test_max_is_min_of_the_opposite() -> None:
    values = [((i * 37) % 23) / 23 for i in range(23)]
    low = run(xs(*values), constant, max_t=30, reduction_factor=3)
    high = run(xs(*[-v for v in values]), constant, mode="max", max_t=30, reduction_factor=3)
    assert [(c.trial_id, c.iteration, c.action) for c in low.decisions()] == [
        (c.trial_id, c.iteration, c.action) for c in high.decisions()
    ]


def test_nothing_is_stopped_before_enough_trials_have_come() -> None:
    for least, expected in ((None, 4), (1, 1), (7, 7)):
        worse_and_worse = xs(*range(10))
        driver = run(worse_and_worse, constant, max_t=2, slots=1, min_results_per_rung=least)
        stopped = [c.trial_id for c in driver.decisions() if c.action == "STOP"]
        # The first one is the best of one, and cannot be worse than the cut.
        assert stopped[0] == f"{max(expected - 1, 1):05d}"
        assert len(stopped) == 10 - max(expected - 1, 1)
    assert run(xs(*range(9)), constant, max_t=2, reduction_factor=2.5, slots=1).decisions()[1].action == "CONTINUE"


def test_ties_go_on_together() -> None:
    driver = run(xs(*[0.5] * 9), constant, max_t=9, reduction_factor=3)
    assert {c.action for c in driver.decisions()} == {"CONTINUE"}
    assert {t.iteration for t in driver.experiment.trials.values()} == {9}


BAD = [math.nan, math.inf, -math.inf, "diverged", [1.0]]


def test_a_rung_is_passed_where_nothing_has_been_measured_yet() -> None:
    def curve(config: dict[str, Any], iteration: int) -> dict[str, Any]:
        return {"score": config["x"]} if iteration % 3 == 0 else {"score": None} if iteration % 3 == 1 else {}

    driver = run(xs(1, 2, 3, 4), curve, max_t=8, grace_period=1, reduction_factor=2, slots=1)
    assert [d.action for d in driver.decisions() if d.iteration in (1, 2)] == ["CONTINUE"] * 8
    assert [d.reason for d in driver.decisions()][:1] == ["continued at rung 1: no score has been reported yet"]
    assert "stopped at rung 4" in driver.experiment.trials["00003"].reason


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_no_number_is_ranked_last_and_stopped(bad: Any, mode: str) -> None:
    def curve(config: dict[str, Any], iteration: int) -> dict[str, Any]:
        return {"score": bad if config["x"] == "bad" else config["x"]}

    driver = run(xs("bad", 3, 2, "bad", 1), curve, mode=mode, max_t=8, grace_period=2, reduction_factor=2, slots=1)
    trials = driver.experiment.trials
    assert trials["00000"].reason == "stopped at rung 2: no finite score, rank 1 of 1"
    assert trials["00003"].reason == "stopped at rung 2: no finite score, rank 3 of 4"
    best = "00004" if mode == "min" else "00001"
    assert trials[best].iteration == 8


def test_a_metric_that_is_not_measured_each_time_counts_as_last_known() -> None:
    def curve(config: dict[str, Any], iteration: int) -> dict[str, Any]:
        return {"other": 1} if iteration % 2 == 0 else {"score": config["x"]}

    driver = run(xs(3, 2, 1, 4), curve, max_t=8, grace_period=2, reduction_factor=2, slots=1)
    assert driver.experiment.trials["00002"].iteration == 8
    assert driver.experiment.trials["00003"].reason.startswith("stopped at rung 2: 4 worse than the cut")
    assert driver.experiment.trials["00003"].last_result["score"] == 4


def test_numbers_in_other_clothes_count() -> None:
    import numpy as np

    curve = {0: np.float32(0.5), 1: True, 2: "0.25", 3: 2}
    driver = run(xs(0, 1, 2, 3), lambda c, i: {"score": curve[c["x"]]}, max_t=2, reduction_factor=2, slots=1)
    assert [c.action for c in driver.decisions()] == ["CONTINUE", "STOP", "CONTINUE", "STOP"]


def test_best_configuration_survives_and_most_work_is_saved() -> None:
    configs = xs(*[((i * 37) % 64) / 64 for i in range(64)])
    driver = run(configs, lambda c, i: {"score": c["x"] + 1 / i}, max_t=64, reduction_factor=4, slots=4)
    trials = list(driver.experiment.trials.values())
    best = min(trials, key=lambda t: t.config["x"])
    assert best.iteration == 64
    assert sum(driver.workers.iterations_run.values()) < 0.25 * 64 * 64


# ------------------------------------------------------------------------------------------ waiting, the end


def test_trials_wait_at_rungs_only() -> None:
    driver = run(xs(*[((i * 7) % 20) / 20 for i in range(20)]), constant, max_t=100, reduction_factor=4)
    assert {iteration for _, iteration in driver.workers.waits} <= {1, 4, 16, 64}
    assert len(driver.workers.waits) == len(driver.decisions()) == len(set(driver.workers.waits))
    for trial in driver.experiment.trials.values():
        passed = [level for level in (1, 4, 16, 64) if level <= trial.iteration]
        assert [i for trial_id, i in driver.workers.waits if trial_id == trial.id] == passed


def test_max_t_acts_by_the_end_of_the_lease() -> None:
    driver = run(xs(1, 1), constant, max_t=20, reduction_factor=4)
    assert {t.iteration for t in driver.experiment.trials.values()} == {20}
    assert not [i for _, i in driver.workers.waits if i == 20]


def test_last_trials_may_train_on() -> None:
    driver = run(xs(1, 1), constant, max_t=20, reduction_factor=4, stop_last_trials=False, iterations=35)
    assert {t.iteration for t in driver.experiment.trials.values()} == {35}
    assert {t.reason for t in driver.experiment.trials.values()} == {"the trial function returned"}


@pytest.mark.parametrize("time_attr", ["time_total_s", "epochs/done"])
def test_reports_that_jump_over_rungs_count_at_the_highest(time_attr: str) -> None:
    def curve(config: dict[str, Any], iteration: int) -> dict[str, Any]:
        time = [0.5, 5.0, 7.0, 40.0, 99.0, 130.0][iteration - 1]
        return {"score": config["x"], "time_total_s": time, "epochs": {"done": time}}

    driver = run(xs(1, 1), curve, time_attr=time_attr, max_t=100, reduction_factor=4, slots=1, iterations=6)
    assert driver.workers.waits == [(trial, i) for trial in ("00000", "00001") for i in (2, 4, 5)]
    assert [c.reason.partition(":")[0] for c in driver.decisions("00000")] == [
        "continued at rung 4",
        "continued at rung 16",
        "continued at rung 64",
    ]
    assert {t.iteration for t in driver.experiment.trials.values()} == {6}
    counts = [len(rung.scores) for rung in driver.experiment.scheduler._rungs[0]]  # type: ignore[attr-defined]
    assert counts == [0, 2, 2, 2]


@pytest.mark.parametrize("odd", [None, "two", math.nan])
def test_time_attribute_without_a_number_is_no_crash(odd: Any) -> None:
    def curve(config: dict[str, Any], iteration: int) -> dict[str, Any]:
        return {"score": config["x"], "clock": odd if iteration % 2 else iteration}

    driver = run(xs(1, 2), curve, time_attr="clock", max_t=8, reduction_factor=2, iterations=10)
    assert [i for trial, i in driver.workers.waits if trial == "00000"] == [2, 4]
    assert driver.experiment.trials["00000"].iteration == 8


def test_result_that_ended_a_trial_at_a_rung_counts_there() -> None:
    scheduler = ASHAScheduler(max_t=100)
    scheduler.setup(metric="score", mode="min", seed=0)
    trial = Trial("00000", 0, {})
    scheduler.on_trial_add(trial)
    trial.lease = scheduler.next_milestone(trial)
    assert trial.lease == Lease(Milestone("training_iteration", 1), Milestone("training_iteration", 100))
    scheduler.on_trial_result(trial, {"training_iteration": 1, "score": 0.5})
    scheduler.on_trial_complete(trial, None)
    assert list(scheduler._rungs[0][0].scores) == [0.5]


def test_trial_tried_again_counts_once_at_each_rung() -> None:
    trouble = {("00001", 10): "lost", ("00002", 3): "failed"}
    for save_every in (0, 2, 9):
        driver = run(xs(1, 1, 1, 1), constant, max_t=100, reduction_factor=4, trouble=trouble, save_every=save_every)
        assert len(driver.workers.waits) == len(set(driver.workers.waits)) == 16
        counts = [len(rung.scores) for rung in driver.experiment.scheduler._rungs[0]]  # type: ignore[attr-defined]
        assert counts == [4, 4, 4, 4]


def test_rung_is_not_skipped_when_its_result_was_lost_before_the_verdict() -> None:
    """The report at rung 4 had arrived, the process died before it stood there: the retry is compared at 4."""
    from tune_plugins.core.events import ResultsReported, SlotsChanged, StartTrial, TrialStarted, WorkerLost

    scheduler = ASHAScheduler(max_t=100)
    scheduler.setup(metric="score", mode="min", seed=0)
    experiment = CheckedExperiment(ListSearcher([{}]), scheduler, Rules(metric="score", mode="min", max_failures=1))
    experiment.replay([SlotsChanged(0.0, 1), TrialStarted.dummy()])
    experiment.handle(ResultsReported.dummy(iteration=1, waiting=True, score=1))
    experiment.handle(ResultsReported.dummy(iteration=4, score=1))
    (start,) = [
        c
        for c in experiment.handle(WorkerLost(0.0, "00000", ErrorInfo("WorkerLostError", "gone")))
        if isinstance(c, StartTrial)
    ]
    assert start.lease.milestone == Milestone("training_iteration", 4)


# ------------------------------------------------------------------------------------------ brackets, determinism


def test_brackets_are_dealt_as_hyperband_would() -> None:
    scheduler = ASHAScheduler(max_t=81, reduction_factor=3, brackets=3)
    scheduler.setup(metric="score", mode="min", seed=5)
    for index in range(6000):
        scheduler.on_trial_add(Trial(f"{index:05d}", index, {}))
    shares = Counter(scheduler._bracket_of.values())
    # JMLR 2018, algorithm 1 with R = 81, eta = 3: s_max = 4, n_s = (s_max + 1) / (s + 1) * eta^s for s = 4, 3, 2.
    expected = [5 / 5 * 81, 5 / 4 * 27, 5 / 3 * 9]
    for bracket, weight in enumerate(expected):
        assert shares[bracket] / 6000 == pytest.approx(weight / sum(expected), abs=0.02)


def test_same_seed_same_decisions() -> None:
    def decisions(seed: int) -> list[Any]:
        configs = [{"x": ((i * 37) % 41) / 41, "seconds": 1 + (i * 13) % 5} for i in range(41)]
        driver = run(configs, constant, max_t=81, reduction_factor=3, brackets=3, seed=seed, slots=3)
        return driver.decisions()

    assert decisions(1) == decisions(1)
    assert decisions(1) != decisions(2)


def test_bracket_does_not_depend_on_the_order_of_trials() -> None:
    def brackets(order: list[int]) -> dict[str, int]:
        scheduler = ASHAScheduler(max_t=81, reduction_factor=3, brackets=3)
        scheduler.setup(metric="score", mode="min", seed=1)
        for index in order:
            scheduler.on_trial_add(Trial(f"{index:05d}", index, {}))
        return scheduler._bracket_of

    assert brackets([0, 1, 2, 3, 4, 5]) == brackets([3, 5, 0, 4, 1, 2])


def test_each_bracket_waits_at_its_own_rungs() -> None:
    driver = run(xs(*[1] * 30), constant, max_t=81, reduction_factor=3, brackets=3, seed=1)
    per_trial = {trial: [i for t, i in driver.workers.waits if t == trial] for trial in driver.experiment.trials}
    assert {tuple(waits) for waits in per_trial.values()} == {(1, 3, 9, 27), (3, 9, 27), (9, 27)}


def test_ended_trials_are_forgotten() -> None:
    driver = run(xs(*range(30)), constant, max_t=81, reduction_factor=3, brackets=2, trouble={("00003", 1): "fatal"})
    scheduler = driver.experiment.scheduler
    assert scheduler._bracket_of == {} and scheduler._judged == {}  # type: ignore[attr-defined]


def test_notes_tell_the_cut_of_each_rung() -> None:
    scheduler = run(xs(0.1, 0.2, 0.3), constant, max_t=10, reduction_factor=3, slots=1).experiment.scheduler
    assert scheduler.notes() == [
        "rung 1: cut 0.1 of 3 results",
        "rung 3: cut none yet of 2 results",
        "rung 9: cut none yet of 2 results",
    ]
    brackets = run(xs(*[0.5] * 20), constant, max_t=9, reduction_factor=3, brackets=2).experiment.scheduler
    assert [note.partition(":")[0] for note in brackets.notes()] == [
        "bracket 0 rung 1",
        "bracket 0 rung 3",
        "bracket 1 rung 3",
    ]
    assert ASHAScheduler().notes() == []


# ------------------------------------------------------------------------------------------ arguments


def test_all_argument_mistakes_at_once() -> None:
    wrong: dict[str, Any] = {
        "mode": "best",
        "max_t": 0,
        "grace_period": -1,
        "reduction_factor": 1,
        "brackets": 0,
        "min_results_per_rung": 0,
    }
    found = mistakes_of(ASHAScheduler, **wrong)
    assert len(found) == len(wrong)
    for name, value in wrong.items():
        (mistake,) = [m for m in found if m.startswith(f"{name}: expected ")]
        assert f"got {value!r}" in mistake


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_t", "100"),
        ("max_t", math.inf),
        ("max_t", math.nan),
        ("max_t", 0.5),  # below the grace period
        ("grace_period", 0),
        ("grace_period", None),
        ("grace_period", True),
        ("reduction_factor", 0.5),
        ("reduction_factor", "4"),
        ("brackets", 1.5),
        ("min_results_per_rung", 2.5),
    ],
)
def test_one_mistake(name: str, value: Any) -> None:
    arguments: dict[str, Any] = {name: value}
    found = mistakes_of(ASHAScheduler, **arguments)
    assert any(m.startswith(f"{name}: expected ") and f"got {value!r}" in m for m in found), found


def test_no_mistakes() -> None:
    assert ASHAScheduler().mistakes() == []
    assert ASHAScheduler("time_total_s", "loss", "max", 2.5, 0.5, 1.5, 3, False, 2).mistakes() == []


def test_metric_and_mode_of_the_constructor_win() -> None:
    scheduler = ASHAScheduler(metric="auc", mode="max")
    scheduler.setup(metric="loss", mode="min", seed=1)
    assert (scheduler.metric, scheduler.mode, scheduler.seed) == ("auc", "max", 1)
    other = ASHAScheduler()
    other.setup(metric="loss", mode="min", seed=1)
    assert (other.metric, other.mode) == ("loss", "min")
