"""Exploration: every value stays in its domain, and none gets stuck."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tune_plugins as tune
from tune_plugins.schedulers.explore import changes, complete, explore, mutation_mistakes

DOMAINS: dict[str, Any] = {
    "uniform": tune.uniform(0.1, 0.9),
    "below zero": tune.uniform(-2.0, 1.0),
    "loguniform": tune.loguniform(1e-5, 1e-1),
    "quniform": tune.quniform(0.0, 1.0, 0.25),
    "qloguniform": tune.qloguniform(0.25, 16.0, 0.25),
    "randint": tune.randint(1, 7),
    "qrandint": tune.qrandint(0, 40, 5),
    "lograndint": tune.lograndint(1, 1000),
    "normal": tune.randn(0.0, 3.0),
    "qrandn": tune.qrandn(0.0, 3.0, 0.5),
    "choice": tune.choice(["sgd", "adam", "lion"]),
    "numbers": tune.choice([64, 8, 128]),
}


def moved(value: Any, domain: Any, factor: float = 1.2, resample: float = 0.0, seed: int = 0) -> Any:
    config = explore({"x": value}, {"x": domain}, resample_probability=resample, factors=[factor], rng=Random(seed))
    return config["x"]


@pytest.mark.parametrize("name", DOMAINS)
@given(seed=st.integers(0, 10**6), resample=st.sampled_from([0.0, 0.5, 1.0]))
def test_stays_in_the_domain(name: str, seed: int, resample: float) -> None:
    domain = DOMAINS[name]
    value = domain.sample(Random(seed))
    for step in range(12):
        rng = Random(f"{seed}:{step}")
        value = explore({"x": value}, {"x": domain}, resample_probability=resample, factors=(1.2, 0.8, 3.0), rng=rng)[
            "x"
        ]
        assert domain.contains(value), value


@pytest.mark.parametrize(
    ("value", "domain", "up", "down"),
    [
        (0.5, tune.uniform(0.1, 0.9), 0.6, 0.4),
        (0.85, tune.uniform(0.1, 0.9), 0.9, 0.68),
        (-1.0, tune.uniform(-1.1, 1.0), -1.1, -0.8),
        (1, tune.randint(1, 100), 2, 1),  # 1 x 1.2 rounds to 1
        (2, tune.randint(1, 100), 3, 1),
        (10, tune.randint(1, 100), 12, 8),
        (5, tune.qrandint(0, 40, 5), 10, 0),
        (0.25, tune.quniform(0.0, 1.0, 0.25), 0.5, 0.0),
        (99, tune.randint(1, 100), 99, 79),
        (3.0, tune.randn(0, 1), 3.6, 2.4),
        (2, lambda: 5, 3, 1),
        (0.5, lambda: 5.0, 0.6, 0.4),
        (500, tune.randint(1, 100), 99, 99),
    ],
)
def test_moves_by_the_factor_and_never_sticks(value: Any, domain: Any, up: Any, down: Any) -> None:
    assert moved(value, domain, 1.2) == pytest.approx(up) and type(moved(value, domain, 1.2)) is type(up)
    assert moved(value, domain, 0.8) == pytest.approx(down) and type(moved(value, domain, 0.8)) is type(down)


@pytest.mark.parametrize("domain", [tune.uniform(0, 1), tune.randint(0, 100), lambda: 7.0, tune.randn()])
def test_zero_does_not_absorb(domain: Any) -> None:
    assert sum(moved(0 if "randint" in repr(domain) else 0.0, domain, seed=seed) != 0 for seed in range(20)) >= 18


@pytest.mark.parametrize("options", [["a", "b", "c", "d"], tune.choice(["a", "b", "c", "d"])])
def test_categories_move_to_a_neighbour(options: Any) -> None:
    assert {moved("b", options, seed=seed) for seed in range(30)} == {"a", "c"}
    assert {moved("a", options, seed=seed) for seed in range(30)} == {"a", "b"}
    assert {moved("gone", options, seed=seed) for seed in range(60)} == {"a", "b", "c", "d"}


def test_numbers_are_neighbours_by_value() -> None:
    assert {moved(64, [64, 8, 128], seed=seed) for seed in range(30)} == {8, 128}


def test_other_values_under_a_function_are_drawn() -> None:
    assert moved("relu", lambda: "gelu") == "gelu"
    assert moved(True, lambda: False) is False


def test_functions_may_read_the_config_and_follow_the_seed() -> None:
    import random

    domain = tune.sample_from(lambda config: config["width"] * random.random())
    config = {"width": 10, "x": 0.5}
    first, again, other = (
        explore(config, {"x": domain}, resample_probability=1.0, factors=[1.2], rng=Random(seed))["x"]
        for seed in (1, 1, 2)
    )
    assert first == again != other and 0 <= first <= 10


def test_nested_keys_and_paths() -> None:
    config = {"model": {"lr": 0.5, "layers": [8, 8]}, "epochs": 3}
    for mutations in ({"model": {"lr": tune.uniform(0, 1)}}, {"model/lr": tune.uniform(0, 1)}):
        new = explore(config, mutations, resample_probability=0.0, factors=[0.8], rng=Random(0))
        assert new == {"model": {"lr": 0.4, "layers": [8, 8]}, "epochs": 3}
    assert config["model"] == {"lr": 0.5, "layers": [8, 8]}
    flat = explore({"a/b": 0.5}, {"a/b": tune.uniform(0, 1)}, resample_probability=0.0, factors=[0.8], rng=Random(0))
    assert flat == {"a/b": 0.4}
    branch = explore({"opt": "sgd"}, {"opt": {"beta": [1, 2]}}, resample_probability=0.0, factors=[2], rng=Random(0))
    assert branch == {"opt": "sgd"}, "the branch of a conditional space that is not there"


def test_what_is_missing_is_drawn() -> None:
    full = complete({"a": 1}, {"a": [5], "b": [6], "c/d": [7], "e": {"f": [8]}}, Random(0))
    assert full == {"a": 1, "b": 6, "c": {"d": 7}, "e": {"f": 8}}


def test_changes_in_words() -> None:
    before = {"lr": 0.01, "opt": {"name": "sgd", "momentum": 0.9}, "n": 2}
    after = {"lr": 0.012, "opt": {"name": "adam"}, "n": 2, "new": 1}
    assert changes(before, after) == ("lr 0.01 -> 0.012, opt/name sgd -> adam, new nothing -> 1, opt/momentum dropped")
    assert changes(before, before) == "no hyper-parameter changed"


def test_all_mistakes_of_mutations() -> None:
    found = mutation_mistakes(
        {"a": 3, "b": {"c": []}, "d": tune.space.Float(2, 1), "e": lambda x, y: 1, "ok": [1]}, "m"
    )
    assert len(found) == 4
    assert found[0].startswith("m['a']: expected a domain, a list of values, a function")
    assert found[1].startswith("m['b']['c']: choice([])")
