"""Domains and search spaces."""

from __future__ import annotations

import copy
import json
import math
import pickle
import random
import subprocess
import sys
from collections import Counter
from enum import IntEnum
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mistakes import mistakes_of
from scipy import stats

import tune_plugins as tune
from tune_plugins import space as sp
from tune_plugins.core.ends import EndCause
from tune_plugins.errors import ArgumentError, TuneError
from tune_plugins.space import Domain, Space
from tune_plugins.space.domains import same
from tune_plugins.space.encoding import NotInRecord, decode, encode
from tune_plugins.space.nodes import FREE, Draw
from tune_plugins.space.streams import hashed, started, unit, units

numbers = st.floats(-1e9, 1e9)
steps = st.sampled_from([1e-3, 0.05, 0.1, 0.25, 0.3, 1.0, 7.0])
seeds = st.integers(0, 2**32)


@st.composite
def float_domains(draw: Any) -> sp.Float:
    log = draw(st.booleans())
    lower = draw(st.floats(1e-6, 1e3) if log else st.floats(-1e3, 1e3))
    q = draw(st.none() | steps)
    width = draw(st.floats(0.01, 1e3)) + (q or 0.0)
    return sp.Float(lower, lower + width, log, q)


@st.composite
def int_domains(draw: Any) -> sp.Integer:
    log = draw(st.booleans())
    q = draw(st.integers(1, 9))
    lower = draw(st.integers(1 if log else -1000, 1000))
    return sp.Integer(lower, lower + q + draw(st.integers(0, 1000)), log, q)


normals = st.builds(sp.Normal, numbers, st.floats(1e-3, 1e3), st.none() | steps)
choices = st.lists(st.integers() | st.text() | st.booleans() | st.none(), min_size=1).map(sp.choice)
numeric_domains = float_domains() | int_domains() | normals
domains = numeric_domains | choices


@given(domains, seeds)
def test_samples_are_legal_and_depend_on_the_seed_only(domain: Domain, seed: int) -> None:
    assert domain.mistakes() == []
    value = domain.sample(random.Random(seed))
    assert domain.contains(value)
    assert value == domain.sample(random.Random(seed))
    clipped = domain.clip(value)
    assert clipped == value and type(clipped) is type(value)


@given(domains | choices.map(lambda choice: sp.ordinal(choice.options)), st.floats(0, 1))
def test_quantiles_go_both_ways(domain: Domain, u: float) -> None:
    """A value stands where it is found again; one that has a cell, in the middle of that."""
    value = domain.from_unit(u)
    assert domain.contains(value)
    place = domain.to_unit(value)
    assert 0 <= place <= 1
    again = domain.from_unit(place)
    assert again == value or again == pytest.approx(value, rel=1e-6, abs=1e-9) or same(again, value)
    if getattr(domain, "q", 1) is None:
        assert isinstance(domain, sp.Normal) or place == pytest.approx(u, abs=1e-6)


@given(numeric_domains, st.floats(0, 1), st.floats(0, 1))
def test_quantiles_grow(domain: Domain, u: float, v: float) -> None:
    low, high = sorted((u, v))
    assert domain.from_unit(low) <= domain.from_unit(high)


OPEN = {
    "lr": sp.loguniform(1e-4, 1),
    "layers": [sp.randint(1, 5), 64, (sp.quniform(0, 1, 0.1), "x")],
    "model": sp.choice(
        [{"kind": "sgd", "m": sp.uniform(0, 1)}, {"kind": "adam"}, None, sp.choice([1, sp.randn()]), {"kind": "sgd"}]
    ),
    "size": sp.ordinal([16, 32, 64]),
    "grid": sp.grid_search(["a", {"deep": sp.choice([sp.randint(0, 9), "none"])}]),
    "fixed": {"a": 1, "none": {}},
}


def below(config: dict[str, Any]) -> bool:
    return bool(config["a"] < config["b"])


def test_constraints_hold_for_everything_that_is_drawn() -> None:
    given = {"a": sp.uniform(0, 1), "b": sp.uniform(0, 1), "c": {"d": sp.randint(0, 9)}}
    space = Space(given, constraints=[sp.constraint(below), lambda config: config["c"]["d"] != 5])
    assert space.mistakes() == []
    configs = [space.sample(index, 7) for index in range(300)]
    assert all(config["a"] < config["b"] and config["c"]["d"] != 5 for config in configs)
    assert [Space(given, space.constraints).sample(index, 7) for index in range(300)] == configs
    # What was legal at once is what is drawn without constraints.
    free = [Space(given).sample(index, 7) for index in range(300)]
    assert all(config == other for config, other in zip(configs, free, strict=True) if not space.broken(other))
    assert space.variant("x", 0, {"b": 0.5})["a"] < 0.5
    with_function = Space({**given, "e": sp.sample_from(lambda config: config["a"] * 2)}, [below])
    assert all(with_function.sample(index, 7)["a"] < with_function.sample(index, 7)["b"] for index in range(50))


def test_points_of_a_grid_against_a_constraint_are_left_out() -> None:
    grid = {"a": sp.grid_search([1, 2, 3]), "b": sp.grid_search([1, 2, 3]), "fixed": 0}
    space = Space(grid, [below])
    assert space.grid_size == 3 and Space(grid).grid_size == 9
    assert [(c["a"], c["b"]) for c in (space.sample(index, 0) for index in range(4))] == [
        (1, 2),
        (1, 3),
        (2, 3),
        (1, 2),
    ]
    mixed = Space({**grid, "a": sp.randint(0, 5)}, [below])
    assert mixed.grid_size == 3 and all(below(mixed.sample(index, 0)) for index in range(30))


def test_constraints_that_cannot_hold_are_named() -> None:
    given = {"a": sp.uniform(0, 1), "b": sp.uniform(0, 1)}
    never = sp.constraint(lambda config: config["a"] > 2, "a above two")
    (why,) = Space(given, [below, never]).mistakes()
    assert "1,000 configs in a row were drawn in vain; broken were: a above two in 100%, below in" in why
    (why,) = Space({"a": sp.grid_search([1, 2])}, [never]).mistakes()
    assert why.startswith("param_space: no point of the grid is legal by the constraints a above two.")
    (why,) = Space(given, [lambda config: config["z"]]).mistakes()
    assert "raised KeyError: 'z'. It was given {'a': " in why
    assert Space(given, [3]).mistakes() == [  # type: ignore[list-item]
        "constraints: func: expected a function of the config, got 3. Write lambda config: config['a'] < config['b']."
    ]
    with pytest.raises(ArgumentError, match="1,000 configs in a row"):
        Space(given, [lambda config: config["a"] > config["b"]]).variant("x", 0, {"a": 0.0, "b": 0.5})


def test_a_space_may_be_given_as_it_is(tmp_path: Path) -> None:
    """With its constraints, which nothing but a space can have."""
    space = Space({"a": sp.uniform(0, 1), "b": sp.uniform(0, 1)}, [below])
    grid = tune.Tuner(
        lambda config: {"loss": config["a"]},
        param_space=space,
        tune_config=tune.TuneConfig(num_samples=30, seed=1),
        run_config=tune.RunConfig(verbose=0, runtime="inline", storage_path=tmp_path),
    ).fit()
    assert len(grid) == 30 and all(result.config["a"] < result.config["b"] for result in grid)
    simulated = tune.simulate(
        lambda config: [config["a"]],
        param_space=space,
        tune_config=tune.TuneConfig(num_samples=5),
        run_config=tune.RunConfig(verbose=0),
    )
    assert all(result.config["a"] < result.config["b"] for result in simulated)


def test_a_space_is_a_list_of_dimensions_with_conditions() -> None:
    walked = {parameter.name: parameter for parameter in Space(OPEN).walk()}
    assert {name: parameter.conditions for name, parameter in walked.items()} == {
        **dict.fromkeys(["lr", "layers/0", "layers/2/0", "model", "size", "grid"], ()),
        "model[0]/m": (("model", 0),),
        "model[3]": (("model", 3),),
        "model[3][1]": (("model", 3), ("model[3]", 1)),
        "grid[1]/deep": (("grid", 1),),
        "grid[1]/deep[0]": (("grid", 1), ("grid[1]/deep", 0)),
    }
    assert walked["lr"].domain == OPEN["lr"] and walked["size"].domain.ordered


def test_configs_and_flat_values_go_both_ways() -> None:
    space = Space(OPEN)
    names = {parameter.name: parameter for parameter in space.walk()}
    for index in range(200):
        config = space.sample(index, 3)
        values = space.values_of(config)
        assert space.config_of(values) == config
        assert set(values) == {
            name
            for name, parameter in names.items()
            if all(values.get(choice) == number for choice, number in parameter.conditions)
        }


@given(st.lists(st.floats(0, 1), min_size=11, max_size=11))
def test_a_point_of_the_unit_cube_is_a_config(point: list[float]) -> None:
    """What a library that knows boxes only works with: dimensions that are not there do not matter."""
    space = Space(OPEN)
    values = {}
    for parameter, u in zip(space.walk(), point, strict=True):
        values[parameter.name] = parameter.at(u)
    config = space.config_of(values)
    assert space.check_point(config) == []
    assert space.config_of(space.values_of(config)) == config


def test_flat_values_that_do_not_fit() -> None:
    space = Space(OPEN)
    assert space.config_of({"lr": 7, "layers/2/0": 0.34999, "size": 2})["layers"][2] == (0.3, "x")
    assert space.config_of({"lr": 7})["lr"] == 1.0 and space.config_of({}, seed=1) == space.config_of({}, seed=1)
    assert space.config_of({}, seed=1) != space.config_of({}, seed=2)
    for values, why in (
        ({"l": 1}, r"l: no such parameter\."),
        ({"lr": "much"}, r"lr: expected a number, got 'much'"),
        ({"size": 3}, r"size: expected the number of an option, 0 to 2, got 3"),
        ({"model": "sgd"}, r"model: expected the number of an option, 0 to 4, got 'sgd'"),
    ):
        with pytest.raises(ArgumentError, match=why):
            space.config_of(values)
    config = space.sample(0, 0)
    for wrong, why in (
        ({**config, "lr": 5}, "lr: 5 is outside of"),
        ({**config, "more": 5}, "more: no such parameter"),
        ({name: value for name, value in config.items() if name != "lr"}, "lr: missing in"),
        ({**config, "model": {"m": 0.5}}, "model: {'m': 0.5} is none of the options"),
    ):
        with pytest.raises(ArgumentError, match=why):
            space.values_of(wrong)


def test_quantiles_of_cells() -> None:
    """All cells of a domain without `log` are equally wide, its ends included; what is not legal has no place."""
    assert [sp.randint(0, 4).from_unit(u) for u in (0, 0.24, 0.25, 0.99, 1)] == [0, 0, 1, 3, 3]
    assert [sp.randint(0, 4).to_unit(k) for k in range(4)] == [0.125, 0.375, 0.625, 0.875]
    assert sp.qrandint(3, 32, 8).from_unit(0) == 8 and sp.qrandint(3, 32, 8).from_unit(1) == 32
    assert sp.quniform(0.05, 1, 0.1).from_unit(0) == 0.1 and sp.quniform(0.05, 1, 0.1).from_unit(1) == 1.0
    assert sp.ordinal([16, 32, 64]).to_unit(32) == 0.5 and sp.ordinal([16, 32, 64]).from_unit(0.9) == 64
    assert sp.randn(5, 2).to_unit(5.0) == pytest.approx(0.5)
    for domain, value in (
        (sp.uniform(0, 1), 2),
        (sp.randint(0, 4), 1.5),
        (sp.choice(["a", "b"]), "c"),
        (sp.uniform(0, 1), None),
    ):
        with pytest.raises(ValueError, match=r"outside of|none of the options"):
            domain.to_unit(value)
    with pytest.raises(ValueError, match="has no quantiles"):
        sp.sample_from(lambda: 1).from_unit(0.5)


def test_one_sample_or_many_with_any_generator() -> None:
    domain = sp.uniform(0, 1)
    assert domain.sample(7) == domain.sample(random.Random(7))
    many = domain.sample(random.Random(7), size=3)
    assert len(many) == 3 and many[0] == domain.sample(7) and domain.sample(7, 0) == []
    random.seed(3)
    first = domain.sample()
    random.seed(3)
    assert domain.sample() == first
    for kind in (np.random.default_rng, np.random.RandomState):
        assert domain.sample(kind(5), size=4) == domain.sample(kind(5), size=4) != domain.sample(kind(6), size=4)
    assert sp.sample_from(lambda: random.random()).sample(3) == sp.sample_from(lambda: random.random()).sample(3)


def test_distributions_of_scipy_and_functions() -> None:
    beta, poisson = sp.distribution(stats.beta(2, 5)), sp.distribution(stats.poisson(mu=3))
    assert repr(beta) == "distribution(beta(2, 5))" and repr(poisson) == "distribution(poisson(mu=3))"
    assert beta.from_unit(0.5) == pytest.approx(stats.beta(2, 5).median()) and beta.to_unit(
        beta.from_unit(0.3)
    ) == pytest.approx(0.3)
    assert np.mean(beta.sample(1, size=4000)) == pytest.approx(2 / 7, abs=0.01)
    assert type(poisson.sample(1)) is int and poisson.from_unit(poisson.to_unit(4)) == 4
    assert beta.contains(0.5) and not beta.contains(1.5) and beta.clip(7) == 1.0 and not poisson.contains(1.5)
    mixture = sp.distribution(lambda rng: rng.choice([0.0, rng.gauss(5, 1)]))
    space = Space({"a": beta, "n": poisson, "m": mixture, "inside": sp.choice([{"b": stats_twin()}])})
    assert space.mistakes() == [] and space.sample(3, 1) == Space({**space._given}).sample(3, 1) != space.sample(4, 1)
    back = Space.from_json(json.dumps(space.to_json()))
    assert back.domains["a"] == beta and back.domains["n"] == poisson
    with pytest.raises(ValueError, match="was read from a record"):
        back.sample(0, 0)
    with pytest.raises(ValueError, match="has no quantiles"):
        mixture.from_unit(0.5)
    # The newer ones of scipy, which it calls random variables.
    mixture = stats.Mixture([stats.Normal(mu=0), stats.Normal(mu=9)], weights=[0.25, 0.75])
    for source, whole in ((stats.Normal(mu=1, sigma=2), False), (mixture, False), (stats.Binomial(n=9, p=0.5), True)):
        newer = sp.distribution(source)
        value = newer.sample(random.Random(3))
        assert type(value) is (int if whole else float) and newer.contains(value) and newer.mistakes() == []
        assert newer.from_unit(newer.to_unit(value)) == pytest.approx(value, abs=1e-6)
    assert repr(sp.distribution(stats.Normal(mu=1, sigma=2))) == "distribution(Normal(mu=1.0, sigma=2.0))"
    assert sp.distribution(mixture).from_unit(0.2) < 3 < sp.distribution(mixture).from_unit(0.3)
    for wrong in (stats.beta, 3):
        with pytest.raises(ArgumentError, match=r"expected a (frozen )?distribution"):
            sp.distribution(wrong)


def stats_twin() -> sp.Distribution:
    return sp.distribution(stats.uniform(0, 1))


def test_domains_of_other_libraries_are_mistakes() -> None:
    of_optuna = type("FloatDistribution", (), {"__module__": "optuna.distributions"})
    given = {"a": stats.uniform(0, 1), "b": [of_optuna()], "c": stats.norm}
    assert [why.partition(". ")[0] for why in Space(given).mistakes()] == [
        "a: expected a domain of tune_plugins, got a distribution of scipy",
        "b/0: expected a domain of tune_plugins, got one of Optuna",
        "c: expected a domain of tune_plugins, got a distribution of scipy",
    ]


def test_an_ordinal_is_a_choice_with_an_order() -> None:
    sizes = sp.ordinal([8, 16, 32])
    assert sizes.ordered and repr(sizes) == "ordinal([8, 16, 32])" and sizes != sp.choice([8, 16, 32])
    assert Domain.from_json(json.loads(json.dumps(sizes.to_json()))) == sizes
    assert {config["n"] for config in (Space({"n": sizes}).sample(i, 0) for i in range(50))} == {8, 16, 32}


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40), st.integers(16, 200))
def test_streams_are_the_same_with_numpy_and_without(start: int, first: int, count: int) -> None:
    assert units(start, first, count) == [unit(start, number) for number in range(first, first + count)]


def test_streams_are_spread_evenly_and_independent() -> None:
    """Of 20,000 pairs from two parameters each of 100 squares gets its share; the same number is no neighbour's."""
    a, b = (np.array(units(started(hashed("1"), hashed(name)), 0, 20_000)) for name in ("lr", "lr2"))
    counts = np.histogram2d(a, b, bins=10, range=[[0, 1], [0, 1]])[0]
    assert ((counts - 200) ** 2 / 200).sum() < 150  # chi-square with 99 degrees of freedom: 0.1 % above 149
    assert abs(np.corrcoef(a[:-1], a[1:])[0, 1]) < 0.03 and abs(np.corrcoef(a, b)[0, 1]) < 0.03


def test_configs_made_many_at_a_time_are_those_made_one_by_one() -> None:
    """Whatever the order in which they are asked for."""
    given = {
        "lr": sp.loguniform(1e-4, 1),
        "layers": [sp.randint(1, 5), 64, (sp.quniform(0, 1, 0.1), "x")],
        "model": sp.choice([{"kind": "sgd", "m": sp.uniform(0, 1)}, {"kind": "adam"}, None, sp.choice([1, 2])]),
        "set": {1, 2},
        "none": {},
    }
    space, other, again = Space(given), Space(given), Space(given)
    configs = [space.sample(index, 5) for index in range(60)]
    assert [other._filled(Draw("5", index), 0, FREE) for index in range(60)] == configs
    order = random.Random(0).sample(range(60), 60)
    assert [again.sample(index, 5) for index in order] == [configs[index] for index in order]
    assert configs[0]["layers"] is not configs[1]["layers"] and configs[0]["set"] is not configs[1]["set"]
    with_grid = Space({**given, "grid": sp.grid_search([1])})
    assert [{**config, "grid": 1} for config in configs] == [with_grid.sample(index, 5) for index in range(60)]


@given(numeric_domains, numbers | st.integers(-(10**12), 10**12))
def test_clip_gives_the_nearest_legal_value(domain: sp.Float | sp.Integer | sp.Normal, value: float) -> None:
    nearest = domain.clip(value)
    assert domain.contains(nearest)
    other = domain.sample(random.Random(0))
    assert abs(nearest - value) <= abs(other - value) * (1 + 1e-9)


@given(float_domains(), seeds)
def test_quantised_floats_are_the_decimal_multiples(domain: sp.Float, seed: int) -> None:
    if domain.q is None:
        return
    value = domain.sample(random.Random(seed))
    multiple = round(Fraction(repr(value)) / Fraction(repr(domain.q)))
    assert value == float(Fraction(repr(domain.q)) * multiple)
    assert domain.lower <= value <= domain.upper


@given(domains)
def test_domains_survive_json_and_repr(domain: Domain) -> None:
    assert Domain.from_json(json.loads(json.dumps(domain.to_json()))) == domain
    if not isinstance(domain, sp.Categorical):
        assert eval(repr(domain), vars(sp)) == domain


def drawn(domain: Domain, count: int = 4000) -> list[Any]:
    rng = random.Random(0)
    return [domain.sample(rng) for _ in range(count)]


def test_no_binary_dust() -> None:
    assert sorted(set(drawn(sp.quniform(0, 1, 0.1)))) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert sp.quniform(0, 1, 0.1).clip(0.1 + 0.2) == 0.3
    assert sp.quniform(0, 1, 0.1).contains(0.1 + 0.2)


@pytest.mark.parametrize(
    ("domain", "values"),
    [
        (sp.randint(-1, 3), [-1, 0, 1, 2]),
        (sp.randint(3, 4), [3]),
        (sp.lograndint(1, 5), [1, 2, 3, 4]),
        (sp.qrandint(0, 4), [0, 1, 2, 3, 4]),
        (sp.qrandint(0, 10, 5), [0, 5, 10]),
        (sp.qrandint(1, 11, 5), [5, 10]),
        (sp.qlograndint(8, 24, 8), [8, 16, 24]),
        (sp.quniform(0.5, 2.2, 0.5), [0.5, 1.0, 1.5, 2.0]),
        (sp.qloguniform(0.01, 0.04, 0.01), [0.01, 0.02, 0.03, 0.04]),
    ],
)
def test_bounds_mean_what_ray_tune_means(domain: Domain, values: list[float]) -> None:
    assert sorted(set(drawn(domain, 1000))) == values


def test_uniform_domains_are_uniform() -> None:
    for domain in (sp.quniform(0, 1, 0.25), sp.randint(0, 5), sp.qrandint(0, 8, 2), sp.choice(range(5))):
        assert all(700 < count < 900 for count in Counter(drawn(domain)).values())


def test_log_domains_are_uniform_in_the_logarithm() -> None:
    decades = Counter(math.floor(math.log10(value)) for value in drawn(sp.loguniform(1e-4, 1)))
    assert all(900 < decades[decade] < 1100 for decade in (-4, -3, -2, -1))
    octaves = Counter(math.floor(math.log2(value)) for value in drawn(sp.lograndint(1, 16)))
    assert all(900 < octaves[octave] < 1100 for octave in range(4))


def test_normal_has_mean_and_deviation() -> None:
    values = drawn(sp.normal(5, 2))
    mean = sum(values) / len(values)
    assert abs(mean - 5) < 0.15
    assert abs(math.sqrt(sum((v - mean) ** 2 for v in values) / len(values)) - 2) < 0.1
    assert all(value * 2 == round(value * 2) for value in drawn(sp.qrandn(0, 1, 0.5), 100))


def test_huge_ranges_do_not_overflow() -> None:
    domain = sp.uniform(-1.7e308, 1.7e308)
    assert len(set(drawn(domain, 100))) == 100


def test_contains_is_strict_about_kinds() -> None:
    assert not sp.randint(0, 3).contains(1.0)
    assert not sp.randint(0, 3).contains(True)
    assert not sp.uniform(0, 1).contains(math.nan)
    assert sp.uniform(0, 2).contains(1)
    assert not sp.choice([0, 2]).contains(False)
    assert sp.choice([(1, 2)]).contains([1, 2])
    nested = sp.choice([{"k": "a", "lr": sp.uniform(0, 1)}, 3])
    assert nested.contains({"k": "a", "lr": 0.5})
    assert not nested.contains({"k": "a", "lr": 5})
    assert not nested.contains({"k": "a"})
    assert nested.contains(nested.sample(random.Random(1)))


def test_clip_of_categories() -> None:
    assert sp.choice([16, 32, 64]).clip(40) == 32
    with pytest.raises(ValueError, match="none of the options"):
        sp.choice(["a", "b"]).clip("c")
    with pytest.raises(ValueError, match="expected a number"):
        sp.uniform(0, 1).clip(math.nan)
    assert sp.randint(0, 10).clip(math.inf) == 9


# ------------------------------------------------------------------------------------ configs


def test_flatten_and_back() -> None:
    config = {"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": {}}
    flat = {"a/b/c": 1, "a/d": [1, {"e": 2}], "f": {}}
    assert sp.flatten(config) == flat
    assert sp.unflatten(flat) == config
    for clash in ({"a": 1, "a/b": 2}, {"a/b": 2, "a": 1}, {"a": {}, "a/b": 2}):
        with pytest.raises(ValueError, match="Rename"):
            sp.unflatten(clash)


nested_configs = st.recursive(
    st.integers() | st.text(max_size=2),
    lambda inner: st.dictionaries(st.text("xyz", min_size=1, max_size=2), inner, max_size=3),
    max_leaves=8,
).filter(lambda config: isinstance(config, dict))


@given(nested_configs)
def test_unflatten_undoes_flatten(config: dict[str, Any]) -> None:
    assert sp.unflatten(sp.flatten(config)) == config


def test_grid_times_repetitions_in_order() -> None:
    space = Space({"b": sp.grid_search([1, 2]), "a": {"x": {"grid_search": ["p", "q", "r"]}}, "u": sp.uniform(0, 1)})
    assert space.grid_size == 6
    seen = [space.sample(index, seed=3) for index in range(12)]
    # The parameter whose name sorts first changes fastest, as in Ray Tune.
    assert [(c["a"]["x"], c["b"]) for c in seen] == [(x, b) for b in (1, 2) for x in "pqr"] * 2
    assert len({c["u"] for c in seen}) == 12
    assert list(seen[0]) == ["b", "a", "u"]
    constant = [space.sample(index, seed=3, constant_grid_search=True)["u"] for index in range(12)]
    assert len(set(constant[:6])) == len(set(constant[6:])) == 1
    assert constant[0] != constant[6]


def test_grids_inside_of_grids_and_lists() -> None:
    space = Space(
        {"model": sp.grid_search([{"kind": "a", "n": sp.grid_search([1, 2])}, "b"]), "l": [{"grid_search": [0, 1]}]}
    )
    assert space.grid_size == 6
    assert space.mistakes() == []
    seen = [space.sample(index, seed=0) for index in range(6)]
    models: list[Any] = [{"kind": "a", "n": 1}, {"kind": "a", "n": 2}, "b"]
    assert seen == [{"model": model, "l": [number]} for model in models for number in (0, 1)]


def test_a_value_depends_on_seed_index_and_name_only() -> None:
    alone = Space({"x": sp.uniform(0, 1)})
    among = Space({"a": sp.uniform(0, 1), "x": sp.uniform(0, 1), "z": sp.randn()})
    for index in (0, 7, 3, 7):
        assert alone.sample(index, 1)["x"] == among.sample(index, 1)["x"] != among.sample(index, 1)["a"]
    assert alone.sample(0, 1) != alone.sample(0, 2)
    assert alone.sample(0, 1) != alone.sample(1, 1)


def test_same_values_in_another_process() -> None:
    code = "from tune_plugins.space import *; print(Space({'x': uniform(0, 1), 'c': choice(['a', 'b'])}).sample(5, 9))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == str(Space({"x": sp.uniform(0, 1), "c": sp.choice(["a", "b"])}).sample(5, 9))


def test_nested_everything() -> None:
    space = Space(
        {
            "data": {"layers": [sp.randint(1, 5), 64, (sp.uniform(0, 1), "x")], "name": "flights", "none": {}},
            "model": sp.choice([{"kind": "sgd", "momentum": sp.uniform(0, 1)}, {"kind": "adam"}, None]),
        }
    )
    assert space.mistakes() == []
    assert space.parameters == ["data/layers", "model/kind", "model/momentum", "model"]
    assert list(space.domains) == ["data/layers/0", "data/layers/2/0", "model"]
    kinds = set()
    for index in range(60):
        config = space.sample(index, 0)
        layers = config["data"]["layers"]
        assert layers[0] in range(1, 5) and layers[1] == 64
        assert isinstance(layers[2], tuple) and 0 <= layers[2][0] <= 1
        model = config["model"]
        assert space.domains["model"].contains(model)
        kinds.add(model and model["kind"])
    assert kinds == {"sgd", "adam", None}


def test_options_that_are_domains_are_independent_of_the_choice() -> None:
    space = Space({"x": sp.choice([sp.uniform(0, 1), sp.uniform(10, 11)])})
    low = [v for v in (space.sample(i, 0)["x"] for i in range(400)) if v < 5]
    assert 140 < len(low) < 260
    assert min(low) < 0.05 and max(low) > 0.95


def test_configs_share_nothing_mutable() -> None:
    loader = object()
    given = {"l": [1, [2]], "d": {"s": {3}}, "c": sp.choice([[4]]), "g": sp.grid_search([[5]]), "loader": loader}
    space = Space(given)
    first = space.sample(0, 0)
    assert first == {"l": [1, [2]], "d": {"s": {3}}, "c": [4], "g": [5], "loader": loader}
    for part in (first["l"], first["l"][1], first["c"], first["g"]):
        part.append("changed")
    first["d"]["s"].add("changed")
    given["l"].append("changed")  # type: ignore[attr-defined]
    assert space.sample(0, 0) == {"l": [1, [2]], "d": {"s": {3}}, "c": [4], "g": [5], "loader": loader}


# ------------------------------------------------------------------------------- sample_from


def test_sample_from_sees_the_config_in_every_notation() -> None:
    space = Space(
        {
            "item": sp.sample_from(lambda config: config["a"] * 2),
            "attribute": sp.sample_from(lambda spec: spec.config.a * 2),
            "both": sp.sample_from(lambda spec: spec["config"]["a"] * 2),
            "nothing": sp.sample_from(lambda: 7),
            "nested": {"deep": sp.sample_from(lambda config: config.model.width + config["chain"])},
            "chain": sp.sample_from(lambda config: config["item"] + config.get("none", 1)),
            "model": {"width": sp.qrandint(8, 64, 8), "dropped": sp.sample_from(lambda c: c["model"]["width"] / 2)},
            "list": [sp.randint(1, 9), sp.sample_from(lambda c: c["list"][0] + 1)],
            "whole": sp.sample_from(lambda c: c["model"]),
            "merged": sp.sample_from(lambda c: {**c["model"], "extra": len(c["list"])}),
            "a": sp.randint(1, 100),
        }
    )
    assert space.mistakes() == []
    for index in range(5):
        config = space.sample(index, 0)
        twice = config["a"] * 2
        assert config["item"] == config["attribute"] == config["both"] == twice
        assert config["nothing"] == 7
        assert config["chain"] == twice + 1
        assert config["nested"]["deep"] == config["model"]["width"] + twice + 1
        assert config["model"]["dropped"] == config["model"]["width"] / 2
        assert config["list"][1] == config["list"][0] + 1
        assert config["whole"] == config["model"] and config["whole"] is not config["model"]
        assert config["merged"] == {**config["model"], "extra": 2}
        assert {type(config), type(config["model"]), type(config["whole"])} == {dict}
        assert type(config["list"]) is list
        json.dumps(config)


def test_conditional_range() -> None:
    space = Space({"n": sp.randint(2, 9), "k": sp.sample_from(lambda config: sp.randint(0, config["n"]))})
    assert all(c["k"] < c["n"] for c in (space.sample(index, 0) for index in range(50)))


def test_sample_from_with_global_generators_is_reproducible_and_leaves_them_alone() -> None:
    import numpy

    space = Space({"r": sp.sample_from(random.random), "n": sp.sample_from(lambda _: float(numpy.random.rand()))})
    random.seed(5)
    numpy.random.seed(5)
    expected = (random.random(), numpy.random.rand())
    random.seed(5)
    numpy.random.seed(5)
    first, second = space.sample(0, 0), space.sample(1, 0)
    assert (random.random(), numpy.random.rand()) == expected
    assert first == space.sample(0, 0) != second
    assert first["n"] != second["n"]


def test_a_cycle_names_its_parameters() -> None:
    space = Space(
        {
            "a": sp.sample_from(lambda config: config["b"]),
            "b": {"x": sp.sample_from(lambda config: config["c"])},
            "c": sp.sample_from(lambda config: config["b"]["x"]),
        }
    )
    (mistake,) = space.mistakes()
    assert "b/x -> c -> b/x" in mistake
    with pytest.raises(ArgumentError, match="in a circle"):
        space.sample(0, 0)


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        (lambda config: config["lr"], ["b: ", "KeyError", "a, b"]),
        (lambda config: config.lr, ["b: ", "AttributeError", "'lr'"]),
        (lambda config: sp.uniform(config["a"], 0), ["b()", "lower < upper"]),
        (lambda config: sp.grid_search([1]), ["b: ", "grid_search"]),
    ],
)
def test_failing_functions_are_named(function: Any, parts: list[str]) -> None:
    (mistake,) = Space({"a": sp.choice([1]), "b": sp.sample_from(function)}).mistakes()
    assert all(part in mistake for part in parts)


# ----------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("function", "arguments", "part"),
    [
        (
            sp.uniform,
            (
                1,
                0,
            ),
            "uniform(1.0, 0.0): expected lower < upper",
        ),
        (
            sp.uniform,
            (
                1,
                1,
            ),
            "lower < upper",
        ),
        (
            sp.uniform,
            (
                "a",
                None,
            ),
            "got lower='a' and upper=None",
        ),
        (
            sp.uniform,
            (
                0,
                math.inf,
            ),
            "got upper=inf",
        ),
        (
            sp.uniform,
            (
                math.nan,
                1,
            ),
            "finite",
        ),
        (
            sp.loguniform,
            (
                0,
                1,
            ),
            "lower > 0",
        ),
        (
            sp.quniform,
            (
                0,
                1,
                0,
            ),
            "positive number as q",
        ),
        (
            sp.quniform,
            (
                0,
                1,
                -1,
            ),
            "positive number as q",
        ),
        (
            sp.quniform,
            (
                0,
                1,
                2,
            ),
            "within the range of 1.0, got 2.0",
        ),
        (
            sp.randint,
            (
                5,
                5,
            ),
            "randint(5, 5): expected lower < upper",
        ),
        (
            sp.randint,
            (
                0,
                2.5,
            ),
            "whole numbers as bounds, got upper=2.5",
        ),
        (
            sp.randint,
            (
                True,
                3,
            ),
            "got lower=True",
        ),
        (
            sp.lograndint,
            (
                0,
                5,
            ),
            "lower > 0",
        ),
        (
            sp.qrandint,
            (
                0,
                5,
                0,
            ),
            "positive number as q",
        ),
        (
            sp.qrandint,
            (
                0,
                5,
                0.5,
            ),
            "whole number as q",
        ),
        (
            sp.qrandint,
            (
                0,
                5,
                6,
            ),
            "within the range of 5",
        ),
        (
            sp.randn,
            (
                0,
                0,
            ),
            "positive number as sd",
        ),
        (
            sp.randn,
            (
                math.inf,
                1,
            ),
            "as mean",
        ),
        (
            sp.qrandn,
            (
                0,
                1,
                -1,
            ),
            "positive number as q",
        ),
        (sp.choice, ([],), "at least one option"),
        (sp.choice, ("abc",), "list of options, got str"),
        (sp.choice, ({"a", "b"},), "sorted"),
        (sp.choice, (3,), "list of options, got int"),
        (sp.grid_search, ([],), "at least one option"),
        (sp.grid_search, (3,), "list of options, got int"),
        (sp.sample_from, (lambda config, more: 1,), "more arguments"),
        (sp.sample_from, (7,), "expected a function"),
    ],
)
def test_a_wrong_domain_is_told_where_it_is_made(function: Any, arguments: tuple[Any, ...], part: str) -> None:
    (mistake,) = mistakes_of(function, *arguments)
    assert part in mistake


def test_all_mistakes_of_a_space_at_once() -> None:
    space = Space(
        {
            "a": {"grid_search": "abc"},
            "b": {"c": [sp.Float(-1, 1, log=True)]},
            "d": sp.choice([{"e": sp.Integer(3, 1)}, {"f": sp.grid_search([1])}]),
            "ok": sp.uniform(0, 1),
            "g/h": sp.uniform(0, 1),
            "g": {"h": sp.uniform(0, 1)},
        }
    )
    names = [mistake.partition(": ")[0] for mistake in space.mistakes()]
    assert names == ["a", "b/c/0", "d[0]/e", "d[1]/f", "g/h"]


def test_spaces_without_parameters() -> None:
    assert Space(None).mistakes() == []
    assert Space(None).sample(3, 0) == {}
    assert Space(None).grid_size == 1
    assert Space({}).mistakes() == [] and Space({}).sample(3, 0) == {} and Space({}).grid_size == 1
    assert "expected a dict" in Space([sp.uniform(0, 1)]).mistakes()[0]  # type: ignore[arg-type]
    assert "whole space" in Space(sp.grid_search([1])).mistakes()[0]
    assert Space({"epochs": 3}).mistakes() == []


def test_domains_of_ray_tune_are_not_taken_for_constants() -> None:
    theirs = type("Float", (), {"__module__": "ray.tune.search.sample"})()  # importing theirs takes a second
    (mistake,) = Space({"lr": theirs}).mistakes()
    assert mistake.startswith("lr: ") and "ray.tune" in mistake


# --------------------------------------------------------------------------------------- JSON


def test_json_round_trip() -> None:
    given = {
        "lr": sp.loguniform(1e-4, 1e-1),
        "n": [sp.qrandint(0, 8, 2), (1, sp.randn())],
        "model": sp.choice([{"kind": "a", "x": sp.uniform(0, 1)}, None]),
        "grid": sp.grid_search([True, 2, "three"]),
        "weights": {0: 1.0, 1: math.inf},
        "$odd": -math.inf,
    }
    space = Space(given)
    text = json.dumps(space.to_json(), allow_nan=False)
    back = Space.from_json(json.loads(text))
    assert back.to_json() == space.to_json()
    assert back.domains == space.domains
    for index in range(6):
        assert back.sample(index, 1) == space.sample(index, 1)
    assert Space.from_json(Space(None).to_json()).sample(0, 0) == {}


def test_json_of_what_is_not_json() -> None:
    space = Space({"f": sp.sample_from(lambda config: 1), "kind": sp.choice([Fraction]), "x": sp.uniform(0, 1)})
    back = Space.from_json(json.dumps(space.to_json()))
    assert back.to_json() == space.to_json()
    assert back.parameters == ["f", "kind", "x"]
    assert "holds the name only" in back.mistakes()[0]
    with pytest.raises(ValueError, match="unknown mark"):
        Space.from_json({"x": {"$domain": "of another version"}})


class Level(IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 3, 10**30, "a\udcff", 0.1, -0.0, math.inf),
        (1, (2, [3, ()])),
        {1: "one", (2, 3): {"a": None}, None: True, 0.5: ()},
        {"$tuple": [1]},
        {"__repr__": "mine"},
        {"a": {"$float": {"$dict": 1}}},
        *(np.float32(0.1), np.float64(0.1), np.float16(-math.inf), np.int8(-3), np.uint64(2**64 - 1), np.bool_(True)),
        np.str_("größe"),
    ],
    ids=repr,
)
def test_values_that_come_back_equal_and_of_their_type(value: Any) -> None:
    back = decode(json.loads(json.dumps(encode(value), allow_nan=False)))
    assert back == value and repr(back) == repr(value)
    assert type(back) is type(value)


def test_arrays_come_back_and_large_ones_do_not() -> None:
    for value in (np.array([0.3, 0.7], "f4"), np.arange(6, dtype=">i2").reshape(2, 3), np.array(["a", "bc"])):
        back = decode(json.loads(json.dumps(encode(value))))
        assert back.dtype == value.dtype and back.tolist() == value.tolist()
    assert decode(encode(np.zeros(2000))) == NotInRecord(repr(np.zeros(2000)))


class Unreadable:
    shape = ()

    @property
    def item(self) -> Any:
        raise RuntimeError("not on this device")


@pytest.mark.parametrize("value", [Unreadable(), np.finfo("f4"), np.add, np.dtype("f4"), np.datetime64("2026-01-01")])
def test_values_that_only_look_like_numbers_are_described(value: Any) -> None:
    assert decode(encode(value)) == NotInRecord(repr(value))


def test_members_of_enums_with_plain_values_come_back_as_these() -> None:
    assert encode([Level.HIGH, EndCause.FAILED]) == [3, "FAILED"] == [Level.HIGH, EndCause.FAILED]


def test_a_stand_in_says_so_where_it_is_used_and_nowhere_else() -> None:
    value = decode(encode({"layer": Fraction}))["layer"]
    assert repr(value) == str(value) == f"{value}" == "<class 'fractions.Fraction'>"
    assert value == NotInRecord(repr(Fraction)) and value != Fraction and len({value, copy.deepcopy(value)}) == 1
    assert copy.copy(value) == pickle.loads(pickle.dumps(value)) == value
    assert decode(encode(value)) == value
    frame = pd.DataFrame([{"layer": value, "loss": 0.5}, {"layer": value, "loss": 0.25}])
    assert frame.groupby("layer")["loss"].min().to_dict() == {value: 0.25}
    assert "fractions.Fraction" in frame.to_csv() and "fractions.Fraction" in repr(frame)
    assert not hasattr(value, "shape") and frame["layer"].nunique() == 1
    with pytest.raises(TuneError, match=r"Fraction'>: it cannot be called\. This value was read from the record of an"):
        value(1, 2)
    with pytest.raises(AttributeError, match=r"it has no attribute 'from_float'\. .* from your own code"):
        _ = value.from_float
    with pytest.raises(TypeError, match="NotInRecord"):
        value[0]
    with pytest.raises(TypeError, match="NotInRecord"):
        2 * value
    options = [int, Fraction]
    assert {repr(option): option for option in options}[repr(value)] is Fraction, "as the message says"


def test_importing_the_space_loads_nothing_heavy() -> None:
    code = "import sys, tune_plugins.space, tune_plugins.search; print({'numpy', 'ray', 'pandas'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"


def test_a_plain_list_of_numbers_stays_a_constant_and_is_remarked_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = {"lr": [0.1, 0.01], "model": {"act": ["relu", "tanh"]}}
    meant = {
        "layers": (64, 32),
        "same": [64, 64],
        "deep": [[1], {}],
        "one": [3],
        "x": tune.choice([[1, 2], [3]]),
    }
    for name, space in {"plain": plain, "meant": meant}.items():
        seen: list[dict[str, Any]] = []
        tune.Tuner(
            lambda config: seen.append(config) or {"loss": 1.0},  # noqa: B023
            param_space=space,
            run_config=tune.RunConfig(storage_path=tmp_path, name=name, verbose=0, runtime="inline"),
        ).fit()
        assert {**seen[0], "x": None} == {**space, "x": None}
        told = [record.getMessage() for record in caplog.records if "constant" in record.getMessage()]
        caplog.clear()
        if name == "plain":
            assert [text.split(":")[1].strip() for text in told] == ["lr", "model/act"]
            assert "[0.1, 0.01]" in told[0] and "tune.choice([...])" in told[0]
        else:
            assert not told


def test_an_array_is_a_constant_like_any_other() -> None:
    space = Space({"x": sp.uniform(0, 1), "mask": np.array([True, False])})
    config = {"x": 0.5, "mask": np.array([True, False])}
    assert space.check_point(config) == [] and space.values_of(config) == {"x": 0.5}
    assert len(space.check_point({"mask": np.array([True, True])})) == 1
    assert len(space.check_point({"mask": np.array([True])})) == 1


def test_a_space_with_constraints_goes_to_json_and_says_what_it_lacks() -> None:
    space = Space({"a": sp.uniform(0, 1)}, [sp.constraint(lambda config: config["a"] < 0.5, "small")])
    again = Space.from_json(json.loads(json.dumps(space.to_json())))
    assert [each.name for each in again.constraints] == ["small"] and again.to_json() == space.to_json()
    with pytest.raises(
        ArgumentError, match=r"constraint small: .*it was read from a record, which holds the name only"
    ):
        again.sample(0, 1)
    assert Space.from_json(Space({"a": 1}).to_json()).constraints == ()


def test_a_space_that_was_drawn_from_can_be_pickled() -> None:
    space = Space({"a": sp.loguniform(1e-3, 1), "b": sp.choice([1, sp.randint(0, 9)])})
    drawn = [space.sample(index, 1) for index in range(9)]
    again = pickle.loads(pickle.dumps(space))
    assert [again.sample(index, 1) for index in range(9)] == drawn


@given(domains | choices.map(lambda choice: sp.ordinal(choice.options)), st.floats(0, 1))
def test_a_parameter_goes_from_quantiles_to_flat_values_and_back(domain: Domain, u: float) -> None:
    (parameter,) = Space({"x": domain}).walk()
    value = parameter.at(u)
    assert 0 <= parameter.place(value) <= 1
    again = parameter.at(parameter.place(value))
    assert again == pytest.approx(value, rel=1e-6, abs=1e-9)


def test_ranges_and_small_arrays_are_remarked_on() -> None:
    space = Space({"r": range(3), "a": np.linspace(0, 1, 3), "big": np.zeros(100), "mask": np.array([True, False])})
    remarks = space.remarks()
    assert [remark.partition(":")[0] for remark in remarks] == ["r", "a"]
    assert all("tune.choice([...])" in remark for remark in remarks)


@pytest.mark.parametrize("text", ["2 + 2", "spec.config.x * 2", "random.uniform(0, 1)", "[i for i in range(3)]"])
def test_text_to_be_computed_is_refused(text: str) -> None:
    """Early versions of Ray Tune computed it."""
    (mistake,) = Space({"x": 1, "net": {"lr": {"eval": text}}}).mistakes()
    assert mistake == (
        f"net/lr: expected a value or a domain, got {{'eval': {text!r}}}, which is computed no more. "
        f"Write tune.sample_from(lambda spec: {text})."
    )


@pytest.mark.parametrize("value", ["all", "accuracy", "test-set", "5", "no expression", "x.y", 7, sp.uniform(0, 1)])
def test_other_dicts_with_eval_are_dicts(value: Any) -> None:
    space = Space({"net": {"eval": value}, "both": {"eval": "2 + 2", "train": 1}})
    assert space.mistakes() == [] and space.sample(0, 1)["both"] == {"eval": "2 + 2", "train": 1}
