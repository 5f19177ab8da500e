"""ASHA by promotion: who goes on and when, and that it never stalls. The stopping form is in tests/core."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from halving_runs import NAN, Endless, counts, noisy, ranked, replayed, run
from hypothesis import given, settings
from hypothesis import strategies as st
from mistakes import mistakes_of
from work import Watched, steps_of

import tune_plugins as tune
from tune_plugins.core.events import StartTrial
from tune_plugins.core.trial import Trial, TrialStatus
from tune_plugins.schedulers import ASHAScheduler
from tune_plugins.schedulers.rungs import PromotionRung
from tune_plugins.simulation import SimulatedCluster


def promotion(**arguments: Any) -> ASHAScheduler:
    return ASHAScheduler(variant="promotion", **{"max_t": 9, "reduction_factor": 3, **arguments})


def test_algorithm_2_step_by_step() -> None:
    """One slot, later trials are better: each third one is promoted at once, and each ninth of them twice."""
    done = run(promotion(), ranked, 9, 1)
    assert [(trial, iteration, action) for trial, iteration, action, _ in done.decisions] == [
        ("00000", 1, "PAUSE"),
        ("00001", 1, "PAUSE"),
        ("00002", 1, "CONTINUE"),
        ("00002", 3, "PAUSE"),
        ("00003", 1, "CONTINUE"),  # the best of four, and number 2 has left its place at rung 1 to it
        ("00003", 3, "PAUSE"),
        ("00004", 1, "CONTINUE"),
        ("00004", 3, "CONTINUE"),
        ("00005", 1, "CONTINUE"),
        ("00005", 3, "CONTINUE"),
        ("00006", 1, "CONTINUE"),
        ("00006", 3, "CONTINUE"),
        ("00007", 1, "CONTINUE"),
        ("00007", 3, "CONTINUE"),
        ("00008", 1, "CONTINUE"),
        ("00008", 3, "CONTINUE"),
    ]


def test_early_trials_are_promoted_once_worse_ones_came() -> None:
    done = run(promotion(), lambda index: ranked(100 - index), 9, 1)
    assert [trial for trial, _, action, _ in done.decisions if action == "RESUME"] == [
        "00000",
        "00001",
        "00002",
        "00000",
    ]
    assert done.reached() == [9, 3, 3, 1, 1, 1, 1, 1, 1]
    assert counts(done, "^(promoted at rung [13])") == {"promoted at rung 1": 3, "promoted at rung 3": 1}


@pytest.mark.parametrize("slots", [1, 3, 10])
@pytest.mark.parametrize("order", ["best first", "best last", "mixed"])
def test_at_least_the_best_third_goes_on(slots: int, order: str) -> None:
    places = list(range(60))
    if order == "best last":
        places.reverse()
    elif order == "mixed":
        Random(3).shuffle(places)
    done = run(promotion(max_t=27), lambda index: [float(places[index])] * 99, 60, slots)
    reached = dict(zip(places, done.reached(), strict=True))
    assert all(reached[place] >= 3 for place in range(20))
    for level in (3, 9):
        there = sorted(place for place, longest in reached.items() if longest >= level)
        assert all(reached[place] > level for place in there[: len(there) // 3])


def test_the_last_one_is_trained_to_the_end() -> None:
    """Four trials fill no rung of three beyond the first: the best is trained on when nothing else is left."""
    done = run(promotion(max_t=27), ranked, 4, 2)
    assert done.reached()[-1] == 27 and sorted(done.reached())[:-1] < [27] * 3
    assert any(reason.startswith("nothing else is left to run") for *_, reason in done.decisions)
    left = [t.reason for t in done.trials if "never resumed" in t.reason]
    assert left and all("has rank" in reason for reason in left)


def test_diverged_trials_are_never_promoted() -> None:
    done = run(promotion(), lambda index: [NAN] * 9 if index % 2 else ranked(index), 30, 3)
    assert all(longest == 1 for longest in done.reached()[1::2])
    assert all(t.status is TrialStatus.TERMINATED and "no finite loss" in t.reason for t in done.trials[1::2])
    everything = run(promotion(), lambda index: [NAN] * 9, 10, 3)
    assert everything.reached() == [1] * 10


def test_evicted_trials_go_on_from_their_checkpoints() -> None:
    done = run(promotion(), noisy(1), 40, 3, max_resident_trials=0)
    resumed = [c for c in done.commands if isinstance(c, StartTrial) and c.iteration > 0]
    assert resumed and all(c.checkpoint is not None and c.checkpoint.iteration == c.iteration for c in resumed)


def test_brackets_start_at_their_own_rungs() -> None:
    done = run(promotion(max_t=27, brackets=3), noisy(2), 60, 4, seed=5)
    assert {min(iteration for t, iteration, *_ in done.decisions if t == trial.id) for trial in done.trials} == {
        1,
        3,
        9,
    }


@settings(max_examples=60)
@given(
    slots=st.integers(1, 12),
    trials=st.integers(1, 50),
    eta=st.floats(1.2, 6),
    max_t=st.integers(1, 60),
    brackets=st.integers(1, 3),
    seed=st.integers(0, 99),
    crash=st.sampled_from([0.0, 0.0, 0.02]),
    failing=st.sampled_from([0.0, 0.1]),
    residents=st.sampled_from([None, 0, 2]),
    at_a_time=st.sampled_from([None, None, 3]),
    max_failures=st.sampled_from([-1, 1]),
    length=st.sampled_from([100, 7]),
)
def test_never_stalls_and_never_exceeds(
    slots: int,
    trials: int,
    eta: float,
    max_t: int,
    brackets: int,
    seed: int,
    crash: float,
    failing: float,
    residents: int | None,
    at_a_time: int | None,
    max_failures: int,
    length: int,
) -> None:
    rules = {"max_resident_trials": residents, "max_failures": max_failures}

    def scheduler() -> ASHAScheduler:
        return promotion(max_t=max_t, reduction_factor=eta, brackets=brackets)

    def once() -> Any:
        return run(
            scheduler(),
            noisy(seed, length, failing),
            trials,
            slots,
            seconds=lambda index: 0.5 + index % 3,
            seed=seed,
            crash=crash,
            at_a_time=at_a_time,
            **rules,
        )

    done = once()
    assert len(done.trials) == trials
    assert all(trial.status.finished and trial.reason for trial in done.trials)
    assert max(done.reached()) <= max_t
    assert all(reason for *_, reason in done.decisions)
    if not failing and max_failures < 0:
        assert max(done.reached()) == min(max_t, length)
    again = once()
    assert again.events == done.events and again.commands == done.commands
    assert replayed(done, scheduler(), Endless(trials, at_a_time), **rules) == done.commands


def test_cost_of_a_decision_does_not_grow_with_the_paused_trials() -> None:
    """Logarithmically at most: counted, since a time depends on what else the machine does."""
    rng = Random(0)

    def steps_for(count: int) -> int:
        rung = PromotionRung(1.0)
        for index in range(count):
            rung.wait(Watched(rng.random()), Trial(f"{index:05d}", index, {}))

        def decide() -> None:
            for index in range(count, count + 100):
                trial, score = Trial(f"{index:05d}", index, {}), Watched(0.5)
                rung.wait(score, trial)
                next(rung.promotable(rung.places(4)), None)
                rung.leave(score, trial)

        return steps_of(decide)

    assert steps_for(50_000) < 3 * steps_for(1_000)


def test_arguments() -> None:
    assert promotion().mistakes() == []
    (found,) = mistakes_of(ASHAScheduler, variant="promoting")
    assert "expected 'stopping' or 'promotion', got 'promoting'" in found


def test_notes_tell_who_may_go_on() -> None:
    done = run(promotion(), ranked, 9, 1)
    assert done.experiment.scheduler.notes()[0] == "rung 1: best 3 of 9 go on, 0 paused"


@pytest.mark.slow
def test_five_thousand_trials() -> None:
    results = tune.simulate(
        lambda config: [config["x"] + 1 / (step + 1) for step in range(81)],
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            "value", "min", num_samples=5000, seed=1, scheduler=promotion(max_t=81, reduction_factor=3)
        ),
        cluster=SimulatedCluster(workers=16),
    )
    assert len(results) == 5000
