"""Hyperband: its table, exact rungs, and that it never stalls."""

from __future__ import annotations

import math
from typing import Any

import pytest
from halving_runs import Endless, counts, noisy, ranked, replayed, run
from hypothesis import given, settings
from hypothesis import strategies as st
from mistakes import mistakes_of

import tune_plugins as tune
from tune_plugins.core.trial import Trial, TrialStatus
from tune_plugins.schedulers import HyperBandForBOHB, HyperBandScheduler
from tune_plugins.schedulers.hyperband import bracket_table
from tune_plugins.simulation import SimulatedCluster

# Table 1 of the JMLR paper (R = 81 and eta = 3), bracket s = 4 first: (n_i, r_i).
PUBLISHED = [
    [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
    [(27, 3), (9, 9), (3, 27), (1, 81)],
    [(9, 9), (3, 27), (1, 81)],
    [(6, 27), (2, 81)],
    [(5, 81)],
]


def test_published_table() -> None:
    assert bracket_table(81, 3) == PUBLISHED
    assert sum(bracket[0][0] for bracket in PUBLISHED) == 128


@given(st.floats(1, 1e4), st.floats(1.05, 12), st.booleans())
def test_table_of_any_size(max_t: float, eta: float, whole: bool) -> None:
    table = bracket_table(max_t, eta, whole)
    top = len(table) - 1
    assert eta**top <= max_t * (1 + 1e-6) and eta ** (top + 1) > max_t * (1 - 1e-6)
    for bracket in table:
        levels = [stage.level for stage in bracket]
        sizes = [stage.size for stage in bracket]
        assert levels == sorted(set(levels)) and levels[-1] == (math.floor(max_t) if whole else max_t)
        assert levels[0] >= 1 - 1e-9
        assert sizes == sorted(sizes, reverse=True) and sizes[-1] >= 1


@pytest.mark.parametrize(("max_t", "eta"), [(1000, 10), (243, 3), (125, 5), (64, 4), (2**10, 2), (2.5**3, 2.5)])
def test_powers_are_not_lost_to_rounding(max_t: float, eta: float) -> None:
    first = bracket_table(max_t, eta, whole=False)[0]
    assert [stage.level for stage in first] == pytest.approx([eta**i for i in range(len(first))])
    assert first[-1] == (1, max_t)


def level_counts(done: Any) -> dict[int, int]:
    reached = done.reached()
    return {level: sum(r == level for r in reached) for level in sorted(set(reached))}


@pytest.mark.parametrize("slots", [1, 4, 37, 200])
def test_one_round_trains_exactly_what_the_paper_says(slots: int) -> None:
    done = run(HyperBandScheduler(), ranked, 128, slots)
    expected: dict[int, int] = {}
    first = 0
    for bracket in PUBLISHED:
        for (size, level), (following, _) in zip(bracket, [*bracket[1:], (0, 0)], strict=True):
            expected[level] = expected.get(level, 0) + size - following
        # Curves are flat and later trials are better: the last ones of each bracket are trained in full.
        last = first + bracket[0][0]
        assert done.reached()[last - bracket[-1][0] : last] == [81] * bracket[-1][0]
        first = last
    assert level_counts(done) == expected
    assert all(t.status is TrialStatus.TERMINATED and t.reason for t in done.trials)
    assert counts(done, "^(promoted|stopped)")["promoted"] == (27 + 9 + 3 + 1) + (9 + 3 + 1) + (3 + 1) + 2


def test_trials_go_on_where_they_were() -> None:
    done = run(HyperBandScheduler(max_t=9), ranked, 9, 2)
    assert done.starts() == 9  # all were resumed in memory
    # The last one to arrive makes the comparison and goes on at once; at the next rung it waits for two others.
    assert [action for trial, _, action, _ in done.decisions if trial == "00008"] == ["CONTINUE", "PAUSE", "RESUME"]
    evicted = run(HyperBandScheduler(max_t=9), ranked, 9, 2, max_resident_trials=1)
    assert evicted.reached() == done.reached() == [1] * 6 + [3, 3, 9]
    assert evicted.starts() > 9


@pytest.mark.parametrize("trials", [1, 2, 5, 10, 80, 82, 100])
def test_incomplete_last_bracket(trials: int) -> None:
    done = run(HyperBandScheduler(), ranked, trials, 4)
    reached = done.reached()
    assert all(t.status.finished for t in done.trials)
    if trials <= 81:
        sizes = [trials if i == 0 else max(1, trials // 3**i) for i in range(5)]
        assert [sum(r >= 3**i for r in reached) for i in range(5)] == sizes
        assert reached[-1] == 81
    else:
        assert reached[80] == 81 and 81 in reached[81:]
    assert not any("never resumed" in t.reason for t in done.trials)


@pytest.mark.parametrize("at_a_time", [1, 2, 3])
def test_searcher_that_waits_for_trials_that_wait(at_a_time: int) -> None:
    done = run(HyperBandScheduler(max_t=9), ranked, 7, 4, at_a_time=at_a_time)
    assert len(done.trials) == 7 and all(t.status is TrialStatus.TERMINATED for t in done.trials)
    assert 9 in done.reached()


def test_trials_that_end_by_themselves_leave_their_places_to_others() -> None:
    done = run(HyperBandScheduler(max_t=9), lambda index: ranked(index)[: 2 if index >= 7 else 200], 9, 3)
    # Numbers 7 and 8 are best after one step, go on, and end at 2; of the rung of three only number 6 is left.
    assert done.reached() == [1] * 6 + [9, 2, 2]


def test_failed_trials_leave_their_places_to_others() -> None:
    done = run(
        HyperBandScheduler(max_t=9), lambda index: [float("nan")] * 9 if index in (1, 8) else ranked(index), 9, 3
    )
    assert done.reached() == [1, 1, 1, 1, 1, 3, 3, 9, 1]
    assert "no finite loss" in done.trials[8].reason


def test_all_trials_diverge() -> None:
    done = run(HyperBandScheduler(max_t=9), lambda index: [float("nan")] * 9, 20, 3)
    assert all(t.status is TrialStatus.TERMINATED and t.iteration <= 9 for t in done.trials)
    assert max(done.reached()[:12]) == 3  # the brackets that compare at 1 and at 3


def test_trials_without_end() -> None:
    done = run(HyperBandScheduler(max_t=9, stop_last_trials=False), ranked, 9, 3)
    assert max(done.reached()) == 200


def test_time_as_resource() -> None:
    scheduler = HyperBandScheduler(time_attr="time_total_s", max_t=20, reduction_factor=4)
    done = run(scheduler, ranked, 8, 2, seconds=lambda index: 0.5)
    # Levels 20/16 = 1.25 s, 5 s and 20 s: steps 3, 10 and 40.
    assert sorted(set(done.reached())) == [3, 10, 40]


@settings(max_examples=60)
@given(
    slots=st.integers(1, 12),
    trials=st.integers(1, 60),
    eta=st.floats(1.2, 6),
    max_t=st.floats(1, 90),
    seed=st.integers(0, 99),
    crash=st.sampled_from([0.0, 0.0, 0.02]),
    failing=st.sampled_from([0.0, 0.1]),
    residents=st.sampled_from([None, 0, 2]),
    at_a_time=st.sampled_from([None, None, 3]),
    max_failures=st.sampled_from([-1, 1]),
    cls=st.sampled_from([HyperBandScheduler, HyperBandForBOHB]),
)
def test_never_stalls_and_never_exceeds(
    slots: int,
    trials: int,
    eta: float,
    max_t: float,
    seed: int,
    crash: float,
    failing: float,
    residents: int | None,
    at_a_time: int | None,
    max_failures: int,
    cls: type[HyperBandScheduler],
) -> None:
    def once() -> Any:
        return run(
            cls(max_t=max_t, reduction_factor=eta),
            noisy(seed, 100, failing),
            trials,
            slots,
            seconds=lambda index: 0.5 + index % 3,
            seed=seed,
            crash=crash,
            at_a_time=at_a_time,
            max_resident_trials=residents,
            max_failures=max_failures,
        )

    done = once()
    assert len(done.trials) == trials
    assert all(trial.status.finished and trial.reason for trial in done.trials)
    assert max(done.reached()) <= max_t
    assert not any("never resumed" in t.reason or "never started" in t.reason for t in done.trials)
    again = once()
    assert again.events == done.events and again.commands == done.commands
    searcher = Endless(trials, at_a_time)
    rules = {"max_resident_trials": residents, "max_failures": max_failures}
    assert replayed(done, cls(max_t=max_t, reduction_factor=eta), searcher, **rules) == done.commands


@settings(max_examples=25)
@given(slots=st.integers(1, 50), eta=st.floats(1.5, 5), max_t=st.integers(2, 90), seed=st.integers(0, 99))
def test_rungs_of_full_brackets_are_exact(slots: int, eta: float, max_t: int, seed: int) -> None:
    table = bracket_table(max_t, eta)
    trials = sum(bracket[0].size for bracket in table)
    done = run(HyperBandScheduler(max_t=max_t, reduction_factor=eta), noisy(seed), trials, slots, check=False)
    reached, first = done.reached(), 0
    for bracket in table:
        own = reached[first : first + bracket[0].size]
        first += bracket[0].size
        assert [sum(r >= stage.level for r in own) for stage in bracket] == [stage.size for stage in bracket]


def test_bohb_sees_a_whole_rung_before_the_next_bracket() -> None:
    def told(scheduler: HyperBandScheduler) -> list[Any]:
        searcher = Endless(22)
        run(scheduler, ranked, 22, 4, seconds=lambda index: 1.0 + index % 5, searcher=searcher)
        return searcher.told

    order = told(HyperBandForBOHB(max_t=9))
    # Brackets of 9, 3, 3 and again 9 trials, compared first at 1, 3, (never), 1.
    for first, count, level in ((0, 9, 1), (9, 3, 3)):
        asked = order.index(("asked", first + count))
        assert all((f"{i:05d}", level) in order[:asked] for i in range(first, first + count))
    early = told(HyperBandScheduler(max_t=9))
    asked = early.index(("asked", 9))
    assert not all((f"{i:05d}", 1) in early[:asked] for i in range(9))


def test_arguments() -> None:
    assert HyperBandScheduler().mistakes() == []
    found = mistakes_of(HyperBandScheduler, max_t=0.5, reduction_factor=1, mode="least")
    assert len(found) == 3 and all("expected" in text and "got" in text for text in found)


def test_reused_for_another_run() -> None:
    scheduler = HyperBandScheduler(max_t=9)
    assert run(scheduler, ranked, 20, 3).commands == run(scheduler, ranked, 20, 3).commands


def test_live_notes() -> None:
    scheduler = HyperBandScheduler(max_t=9)
    scheduler.setup(metric="loss", mode="min", seed=0)
    scheduler.on_trial_add(Trial("00000", 0, {}))
    assert scheduler.notes() == ["bracket 0: 1 on the way to 1, 0 there, 1 of 9 trials so far"]


@pytest.mark.slow
def test_five_thousand_trials() -> None:
    results = tune.simulate(
        lambda config: [config["x"] + 1 / (step + 1) for step in range(81)],
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig("value", "min", num_samples=5000, seed=1, scheduler=HyperBandScheduler()),
        cluster=SimulatedCluster(workers=16),
    )
    assert len(results) == 5000
