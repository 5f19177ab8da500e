"""Several metrics: fronts against their definition, the cut, and the usual laws."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import numpy as np
import pytest
from halving_runs import NAN, Endless, replayed, run
from hypothesis import given, settings
from hypothesis import strategies as st
from mistakes import mistakes_of

import tune_plugins as tune
from tune_plugins.schedulers import MultiObjectiveASHA
from tune_plugins.schedulers.pareto import Fronts, spread_rank
from tune_plugins.simulation import SimulatedCluster


def make(**arguments: Any) -> MultiObjectiveASHA:
    return MultiObjectiveASHA(["loss", "size"], "min", **{"max_t": 27, "reduction_factor": 3, **arguments})


def fronts_by_definition(points: list[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    left, fronts = list(points), []
    while left:
        best = [p for p in left if not any(all(a <= b for a, b in zip(q, p, strict=True)) and q != p for q in left)]
        fronts.append(sorted(best))
        left = [p for p in left if p not in best]
    return fronts


@given(st.integers(1, 4).flatmap(lambda m: st.lists(st.tuples(*[st.integers(0, 6)] * m), min_size=1, max_size=40)))
def test_fronts_are_those_of_the_definition(points: list[tuple[int, ...]]) -> None:
    fronts = Fronts()
    for count, point in enumerate(points, start=1):
        number = fronts.add(point)
        expected = fronts_by_definition(points[:count])
        assert [sorted(map(tuple, fronts.front(i).tolist())) for i in range(len(fronts.sizes))] == expected
        assert point in expected[number] and tuple(fronts.front(number)[-1]) == point
        assert sum(fronts.sizes) == len(fronts) == count


def test_spread_takes_far_points_first() -> None:
    # On a line from (0, 1000) to (4, 0); distances are in units of the ranges.
    front = np.array([[0.0, 1000], [1, 750], [2, 500], [3, 250], [4, 0]])
    ranks = [spread_rank(front, number, 5) for number in range(5)]
    assert ranks == [1, 4, 3, 5, 2]
    assert [spread_rank(front, number, 3) for number in range(5)] == [1, None, 3, None, 2]


def test_spread_of_equal_points_takes_the_older_one() -> None:
    front = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    assert [spread_rank(front, number, 2) for number in range(3)] == [1, 2, None]


def constant(loss: Any, size: Any) -> list[dict[str, Any]]:
    return [{"loss": loss, "size": size}] * 40


def test_dominated_trials_stop_and_both_extremes_go_on() -> None:
    points = [(0, 9), (9, 0), (8, 8), (9, 9), (10, 10), (1, 8), (11, 11), (12, 12), (13, 13)]
    done = run(make(), lambda index: constant(*points[index]), 9, 1)
    assert done.reached()[0] == done.reached()[1] == 27
    assert done.reached()[6:] == [1, 1, 1]
    assert any("in front" in reason and "better fronts" in reason for *_, reason in done.decisions)


def test_modes() -> None:
    scheduler = MultiObjectiveASHA(["acc", "size"], ["max", "min"])
    assert scheduler.point({"acc": 0.9, "size": 3}) == [-0.9, 3.0]
    for wrong in (NAN, math.inf, -math.inf, None, "text"):
        assert scheduler.point({"acc": 0.9, "size": wrong}) is None
    assert scheduler.point({"acc": 0.9}) is None


def test_a_metric_that_is_no_number_stops_the_trial() -> None:
    done = run(make(), lambda index: constant(NAN if index % 2 else 1.0 / (index + 1), index), 12, 2)
    assert done.reached()[1::2] == [1] * 6
    assert "not all of loss, size are finite numbers" in done.trials[1].reason


@settings(max_examples=30)
@given(
    slots=st.integers(1, 8),
    trials=st.integers(1, 40),
    eta=st.floats(1.2, 6),
    max_t=st.integers(1, 40),
    seed=st.integers(0, 99),
    crash=st.sampled_from([0.0, 0.02]),
    brackets=st.integers(1, 3),
)
def test_laws(slots: int, trials: int, eta: float, max_t: int, seed: int, crash: float, brackets: int) -> None:
    def curve(index: int) -> list[dict[str, Any]]:
        rng = Random(f"{seed}:{index}")
        return [
            {"loss": NAN if rng.random() < 0.05 else rng.random() / (step + 1), "size": rng.choice([1, 2, 3])}
            for step in range(60)
        ]

    def once() -> Any:
        return run(make(max_t=max_t, reduction_factor=eta, brackets=brackets), curve, trials, slots, crash=crash)

    done = once()
    assert all(trial.status.finished and trial.reason for trial in done.trials)
    assert max(done.reached()) <= max_t
    assert once().commands == done.commands
    again = make(max_t=max_t, reduction_factor=eta, brackets=brackets)
    assert replayed(done, again, Endless(trials)) == done.commands


def test_arguments() -> None:
    assert make().mistakes() == []
    found = mistakes_of(MultiObjectiveASHA, ["loss"], ["least", "min"], reduction_factor=0)
    assert len(found) == 4 and all("expected" in text and "got" in text for text in found)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), [("cloud", 5000), ("line", 1000)])
def test_thousands_of_trials(kind: str, count: int) -> None:
    """Also where no trial dominates another, and each decision looks at all of them."""

    def curve(config: dict[str, Any]) -> list[dict[str, float]]:
        other = config["y"] if kind == "cloud" else 1 - config["x"]
        return [{"loss": config["x"], "size": other}] * 81

    results = tune.simulate(
        curve,
        param_space={"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig("loss", "min", num_samples=count, seed=1, scheduler=make(max_t=81)),
        cluster=SimulatedCluster(workers=16),
    )
    assert len(results) == count
