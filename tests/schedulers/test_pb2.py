"""Population based bandits: bounds, forgetting, and better choices than chance."""

from __future__ import annotations

import builtins
import statistics
from random import Random
from typing import Any

import numpy as np
import pytest
from mistakes import mistakes_of
from pbt_runs import Run, run

from tune_plugins.core.events import ExploitTrial, StartTrial
from tune_plugins.errors import MissingDependencyError
from tune_plugins.schedulers import PB2, PopulationBasedTraining
from tune_plugins.schedulers.pb2 import ForgettingProcess, best_point
from tune_plugins.space import randint, uniform


class Hill:
    """What a step gains is highest at lr = 3 and width = 7."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def start(self, index: int, config: dict[str, Any], seed: int) -> tuple[int, float]:
        return 0, 0.0

    def step(self, state: tuple[int, float], config: dict[str, Any]) -> Any:
        step, learned = state
        if step == self.steps:
            return None
        learned += 1 - ((config["lr"] - 3) / 3) ** 2 - ((config["net"]["width"] - 7) / 10) ** 2
        return (step + 1, learned), {"score": learned}, 1.0


BOUNDS: dict[str, Any] = {"lr": [0.0, 10.0], "net": {"width": [1, 20]}}


def climb(scheduler: PopulationBasedTraining, seed: int, **options: Any) -> Run:
    rng = Random(seed)
    configs = [{"lr": rng.uniform(0, 10), "net": {"width": rng.randint(1, 20)}} for _ in range(4)]
    return run(scheduler, configs, Hill(62), workers=4, seed=seed, **options)


def pb2(**arguments: Any) -> PB2:
    return PB2("training_iteration", perturbation_interval=5, hyperparam_bounds=BOUNDS, **arguments)


def best(found: Run) -> float:
    return max(float(t.last_result["score"]) for t in found.experiment.trials.values() if t.last_result)


@pytest.mark.parametrize("synch", [False, True])
def test_every_value_is_within_its_bounds_and_keeps_its_kind(synch: bool) -> None:
    found = climb(pb2(synch=synch), 0, crash_probability=0.02)
    exploits = found.commands(ExploitTrial)
    assert len(exploits) >= 5
    for command in exploits:
        lr, width = command.config["lr"], command.config["net"]["width"]
        assert 0.0 <= lr <= 10.0 and type(lr) is float
        assert 1 <= width <= 20 and type(width) is int


def test_deterministic_by_seed() -> None:
    first, again, other = (climb(pb2(), seed) for seed in (5, 5, 6))
    assert [d.reason for d in first.decisions] == [d.reason for d in again.decisions]
    assert [d.reason for d in first.decisions] != [d.reason for d in other.decisions]


def test_beats_blind_exploration_in_the_median() -> None:
    mutations = {"lr": uniform(0, 10), "net": {"width": randint(1, 21)}}
    blind = [
        best(
            climb(
                PopulationBasedTraining("training_iteration", perturbation_interval=5, hyperparam_mutations=mutations),
                s,
            )
        )
        for s in range(5)
    ]
    guided = [best(climb(pb2(), s)) for s in range(5)]
    assert statistics.median(guided) > statistics.median(blind)


def test_missing_values_are_drawn_within_the_bounds() -> None:
    found = run(pb2(), [{}, {"net": {}}], Hill(4))
    configs = [c.config for c in found.commands(StartTrial)]
    assert all(0 <= c["lr"] <= 10 and 1 <= c["net"]["width"] <= 20 for c in configs)


def test_one_observation_is_no_model() -> None:
    point = best_point([(5.0, [0.5], 1.0)], [], 5.0, [0.5], 5.0, Random(0))
    assert 0 <= point[0] <= 1


def test_finds_the_top_of_what_it_has_seen() -> None:
    seen = [(5.0, [x / 20], -((x / 20 - 0.7) ** 2)) for x in range(21)]
    assert best_point(seen, [], 5.0, [0.1], 5.0, Random(0))[0] == pytest.approx(0.7, abs=0.1)


def test_what_is_being_tried_is_tried_only_once() -> None:
    seen = [(5.0, [0.0], -1.0), (5.0, [1.0], -1.0), (5.0, [0.4], 0.1)]
    points: list[list[float]] = []
    for _ in range(3):
        points.append(best_point(seen, [(5.0, p) for p in points], 5.0, [0.4], 5.0, Random(1)))
    assert len({round(p[0], 2) for p in points}) == 3


def test_old_observations_are_forgotten() -> None:
    points, gains = np.array([[0.5], [0.5]]), np.array([-1.0, 1.0])
    model = ForgettingProcess(points, np.array([0.0, 20.0]), gains, length=0.2, epsilon=0.2, noise=0.01)
    mean, deviation = model.predict(np.array([[0.5]]), 20.0)
    later, wider = model.predict(np.array([[0.5]]), 60.0)
    assert mean[0] > 0.9 and abs(later[0]) < 0.1
    assert deviation[0] < 0.2 and wider[0] > 0.9


def test_all_mistakes_at_once() -> None:
    assert len(mistakes_of(PB2, hyperparam_bounds={"a": [1], "b": [2, 1], "c": {"d": "x"}, "e": [0, 1]})) == 3
    assert "expected {name: [low, high]}, got None" in mistakes_of(PB2)[0]


def test_missing_scipy_is_named_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    def no_scipy(name: str, package: str | None = None) -> Any:
        if name.startswith("scipy"):
            raise ModuleNotFoundError(f"No module named {name!r}", name="scipy")
        return builtins.__import__(name)

    monkeypatch.setattr(importlib, "import_module", no_scipy)
    with pytest.raises(MissingDependencyError, match=r"PB2 needs the module 'scipy.linalg'.*tune-plugins\[sklearn\]"):
        pb2().setup(metric="score", mode="max", seed=0)
