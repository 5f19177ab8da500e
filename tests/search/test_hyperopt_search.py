"""TPE of HyperOpt: our spaces in its terms, its own spaces, and what it is told."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import hyperopt
import pytest
from mistakes import mistakes_of
from search_runs import PROBLEMS, Run, ask, best_by_chance, conditional, prepared, replayed, sphere, task_of

from tune_plugins import space as sp
from tune_plugins.core.searcher import Fidelity, Outcome, Searcher
from tune_plugins.errors import MissingDependencyError
from tune_plugins.search import hyperopt as module
from tune_plugins.search.hyperopt import HyperOptSearch
from tune_plugins.search.hyperopt_space import HyperOptSpace
from tune_plugins.search.limiter import ConcurrencyLimiter
from tune_plugins.space import Space

hp = hyperopt.hp


def plain(value: Any) -> bool:
    """Nothing but Python's own types, at any depth."""
    if isinstance(value, dict):
        return all(plain(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(plain(item) for item in value)
    return type(value) in (bool, int, float, str, type(None))


def documents(searcher: Searcher) -> list[dict[str, Any]]:
    assert isinstance(searcher, HyperOptSearch)
    return list(searcher._documents().trials)


# ------------------------------------------------------------------------------------- the search itself


@pytest.mark.parametrize("problem", PROBLEMS)
def test_better_than_chance_at_a_hundred_trials(problem: str) -> None:
    space, objective = PROBLEMS[problem]
    found, by_chance = [], []
    for seed in range(4):
        run = Run(prepared(HyperOptSearch(), space, seed=seed), objective, slots=4).go(100)
        found.append(min(run.losses))
        by_chance.append(best_by_chance(space, objective, seed))
        assert not any(space.check_point(config) for config in run.configs)
    assert sum(found) < 0.7 * sum(by_chance)


def test_a_suggestion_is_a_function_of_the_seed_its_number_and_what_was_told() -> None:
    def configs(seed: int, **given: Any) -> list[Any]:
        space, objective = conditional()
        return Run(prepared(HyperOptSearch(n_initial_points=8, **given), space, seed=seed), objective).go(20).configs

    assert configs(1) == configs(1) == configs(2, random_state=1) == configs(3, random_state_seed=1) != configs(2)


@pytest.mark.parametrize("suggestions_first", [False, True])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_resume_goes_on_as_if_never_interrupted(problem: str, suggestions_first: bool) -> None:
    space, objective = PROBLEMS[problem]
    given: dict[str, Any] = {
        "points_to_evaluate": [space.sample(0, 9), space.sample(1, 9)],
        "evaluated_rewards": [None, 7],
    }
    whole = Run(prepared(HyperOptSearch(n_initial_points=8, **given), space), objective, slots=3).go(25)
    resumed = Run(prepared(HyperOptSearch(n_initial_points=8, **given), space), objective, slots=3)
    replayed(resumed.searcher, whole.log, suggestions_first=suggestions_first)
    resumed.configs, resumed.running = list(whole.configs), list(whole.running)
    assert resumed.go(45).configs == whole.go(45).configs


def test_maximising() -> None:
    space, objective = sphere(2)
    searcher = HyperOptSearch(metric="score", mode="max")
    searcher.prepare(task_of(space, metric=None, mode=None))
    losses = []
    for index in range(80):
        config = ask(searcher, index)
        losses.append(objective(config))
        searcher.on_trial_complete(f"{index:05d}", {"score": -losses[-1]})
    assert sum(losses[-20:]) / 20 < 0.3 * sum(losses[:20]) / 20


def test_many_at_a_time_are_not_taken_for_good_before_anything_is_known() -> None:
    searcher = prepared(HyperOptSearch(n_initial_points=2), {"x": sp.uniform(0, 1)})
    xs = [ask(searcher, index)["x"] for index in range(60)]
    assert isinstance(searcher, HyperOptSearch) and not searcher._knows_enough()
    counts = Counter(int(4 * x) for x in xs)
    assert min(counts.values()) > 6
    searcher.on_trial_complete("00000", {"loss": 1.0})
    searcher.on_trial_complete("00001", {"loss": 1.0})
    assert searcher._knows_enough()


# ------------------------------------------------------------------------------------ our spaces in its terms


EVERYTHING = {
    "uniform": sp.uniform(-2, 3),
    "loguniform": sp.loguniform(1e-4, 10),
    "quniform": sp.quniform(0.1, 0.5, 0.1),
    "qloguniform": sp.qloguniform(2, 60, 2),
    "randint": sp.randint(-3, 4),
    "qrandint": sp.qrandint(4, 21, 4),
    "lograndint": sp.lograndint(1, 33),
    "qlograndint": sp.qlograndint(4, 64, 4),
    "randn": sp.randn(2, 3),
    "qrandn": sp.qrandn(0, 2, 0.5),
    "ordinal": sp.ordinal([16, 32, 64]),
    "choice": sp.choice(["a", "b"]),
    "grid": sp.grid_search([1, 2, 3]),
    "huge": sp.uniform(-1e308, 1e308),
    "single": sp.randint(7, 8),
    "whole": sp.randint(0, 2**60),
}


def test_every_domain_is_drawn_as_we_draw_it() -> None:
    space = Space(EVERYTHING)
    searcher = prepared(HyperOptSearch(n_initial_points=10**6), space)
    theirs = [ask(searcher, index) for index in range(400)]
    ours = [space.sample(index, 3) for index in range(400)]
    for name, domain in space.domains.items():
        places = [[domain.to_unit(config[name]) for config in configs] for configs in (theirs, ours)]
        means = [sum(place) / 400 for place in places]
        assert abs(means[0] - means[1]) < 0.08, name
        if len({config[name] for config in ours}) < 12:
            counts = [Counter(config[name] for config in configs) for configs in (theirs, ours)]
            assert counts[0].keys() == counts[1].keys(), name
            assert all(abs(counts[0][key] - counts[1][key]) < 70 for key in counts[0]), name


def test_the_model_works_with_every_domain() -> None:
    space = Space(EVERYTHING)
    run = Run(prepared(HyperOptSearch(n_initial_points=5), space), lambda config: config["uniform"] ** 2).go(40)
    for config in run.configs:
        assert not space.check_point(config) and plain(config)
        json.dumps(config)


def test_numbers_are_those_of_python() -> None:
    """Ray Tune's bridge hands on numbers of NumPy, which JSON and some libraries refuse."""
    config = ask(prepared(HyperOptSearch(), EVERYTHING), 0)
    kinds = {name: type(value) for name, value in config.items()}
    assert {kinds[name] for name in ("randint", "qrandint", "lograndint", "ordinal", "grid", "single")} == {int}
    assert {kinds[name] for name in ("uniform", "quniform", "randn", "qloguniform", "huge")} == {float}


def test_lists_stay_lists_and_tuples_tuples() -> None:
    """Ray Tune's bridge makes tuples of lists."""
    space = {
        "layers": [sp.randint(1, 9), 8],
        "pair": (1, sp.uniform(0, 1)),
        "constant": [1, 2],
        "betas": sp.choice([(0.9, 0.999), (0.5, 0.9)]),
        "sizes": sp.choice([[1, 2], [3]]),
    }
    searcher = prepared(HyperOptSearch(n_initial_points=2), space)
    for config in Run(searcher, lambda config: config["layers"][0]).go(12).configs:
        assert [type(config[name]) for name in space] == [list, tuple, list, tuple, list]
        assert config["betas"] in ((0.9, 0.999), (0.5, 0.9)) and config["sizes"] in ([1, 2], [3])


def test_constants_stay() -> None:
    marker = object()
    space = {"x": sp.uniform(0, 1), "data": {"path": "/data", "thing": marker}, "none": None}
    config = ask(prepared(HyperOptSearch(), space), 0)
    assert config["data"] == {"path": "/data", "thing": marker} and config["none"] is None


def test_parameters_of_the_same_name_in_several_options() -> None:
    """The library wants a label only once, which in Ray Tune is an error for this space."""
    space, objective = conditional()
    run = Run(prepared(HyperOptSearch(n_initial_points=10), space), objective).go(60)
    kinds = {config["opt"]["kind"] for config in run.configs}
    assert kinds == {"sgd", "adam", "none"}
    has = {"sgd": {"kind", "lr", "momentum"}, "adam": {"kind", "lr", "beta"}, "none": {"kind"}}
    assert all(set(config["opt"]) == has[config["opt"]["kind"]] for config in run.configs)


def test_only_what_is_there_is_told_to_the_model() -> None:
    space, _ = conditional()
    searcher = prepared(HyperOptSearch(), space)
    for index in range(10):
        config = ask(searcher, index)
        values = documents(searcher)[index]["misc"]["vals"]
        assert values["opt"] == [("sgd", "adam", "none").index(config["opt"]["kind"])]
        assert bool(values["opt[0]/momentum"]) is (config["opt"]["kind"] == "sgd")
        assert bool(values["opt[1]/beta"]) is (config["opt"]["kind"] == "adam")


def test_computed_values_and_constraints() -> None:
    space = Space(
        {"a": sp.randint(1, 10), "b": sp.uniform(0, 10), "double": sp.sample_from(lambda config: 2 * config["a"])},
        [lambda config: config["a"] < config["b"]],
    )
    run = Run(prepared(HyperOptSearch(n_initial_points=5), space), lambda config: config["b"] - config["a"]).go(40)
    assert all(config["a"] < config["b"] and config["double"] == 2 * config["a"] for config in run.configs)


def test_a_constraint_that_hardly_anything_meets() -> None:
    space = Space(
        {"a": sp.randint(0, 300), "b": sp.randint(0, 300)}, [lambda config: abs(config["a"] - config["b"]) < 2]
    )
    for config in Run(prepared(HyperOptSearch(n_initial_points=3), space), lambda config: config["a"]).go(15).configs:
        assert abs(config["a"] - config["b"]) < 2


def test_no_config_is_tried_twice_as_long_as_there_are_others() -> None:
    space = {"a": sp.choice(["x", "y", "z"]), "b": sp.randint(0, 4), "c": sp.ordinal([1, 2, 4])}
    run = Run(prepared(HyperOptSearch(n_initial_points=6), space), lambda config: config["b"], slots=2).go(36)
    assert len({repr(config) for config in run.configs}) >= 34
    assert isinstance(ask(run.searcher, 36), dict)


def test_a_space_without_parameters() -> None:
    searcher = prepared(HyperOptSearch(n_initial_points=1), {"x": 7})
    assert Run(searcher, lambda config: 0.0).go(4).configs == [{"x": 7}] * 4


# ------------------------------------------------------------------------------------ what it is told


def test_nested_points() -> None:
    """Ray Tune's bridge compares flat names with nested points, and passes over them."""
    space, _ = conditional()
    points: list[dict[str, Any]] = [
        {"opt": {"kind": "adam", "lr": 1e-3, "beta": 0.9}, "decay": 1e-4, "width": 32},
        {"opt/momentum": 0.5, "width": 8},
    ]
    searcher = prepared(HyperOptSearch(points_to_evaluate=points), space)
    assert ask(searcher, 0) == points[0]
    second = ask(searcher, 1)
    assert second["opt"]["kind"] == "sgd" and second["opt"]["momentum"] == 0.5 and second["width"] == 8
    assert [document["misc"]["vals"]["opt"] for document in documents(searcher)] == [[1], [0]]
    assert documents(searcher)[0]["misc"]["vals"]["opt[1]/lr"] == [1e-3]


def test_points_that_are_known() -> None:
    space, objective = sphere(2)
    points = [space.sample(index, 5) for index in range(30)]
    rewards = [objective(point) for point in points]
    searcher = prepared(HyperOptSearch(points_to_evaluate=points, evaluated_rewards=rewards), space)
    assert isinstance(searcher, HyperOptSearch) and searcher._knows_enough()
    assert [document["result"]["status"] for document in documents(searcher)] == ["ok"] * 30
    losses = [objective(ask(searcher, index)) for index in range(10)]
    assert sum(losses) / 10 < 0.7 * sum(rewards) / 30


def test_warm_start() -> None:
    space, objective = sphere(2)
    known = [(config := space.sample(index, 5), objective(config)) for index in range(25)]
    searcher = prepared(HyperOptSearch(warm_start=[*known, (space.sample(99, 5), math.nan)]), space)
    assert len(documents(searcher)) == 25


@pytest.mark.parametrize("loss", [math.nan, math.inf, None, "none"])
def test_a_result_that_is_no_number_is_a_failure(loss: Any) -> None:
    """Ray Tune's bridge tells the model that all is well, with a loss of NaN."""
    searcher = prepared(HyperOptSearch(), {"x": sp.uniform(0, 1)})
    ask(searcher, 0)
    searcher.on_trial_complete("00000", {"loss": loss})
    assert documents(searcher)[0]["result"] == {"status": "fail"}


def test_ends_of_different_kinds() -> None:
    searcher = prepared(HyperOptSearch(), {"x": sp.uniform(0, 1)})
    for index in range(8):
        ask(searcher, index)
    searcher.on_trial_complete("00000", {"loss": 3.0}, Outcome.COMPLETED)
    searcher.on_trial_complete("00001", {"loss": 0.1, "training_iteration": 1}, Outcome.STOPPED)
    searcher.on_trial_complete("00002", {"loss": 0.0}, Outcome.FAILED)
    searcher.on_trial_complete("00003", {"loss": 0.0}, Outcome.INTERRUPTED)
    searcher.on_trial_complete("00004", None, Outcome.DROPPED)
    searcher.on_trial_complete("00005", {"loss": 9.0, "training_iteration": 4}, Outcome.STOPPED)
    searcher.on_trial_complete("00006", {"loss": 2.0}, Outcome.COMPLETED)
    # Places: the completed ones by loss, then those that were stopped, the longest run one first.
    assert {document["tid"]: document["result"].get("loss") for document in documents(searcher)} == {
        0: 1.0, 1: 3.0, 2: None, 5: 2.0, 6: 0.0, 7: None,
    }  # fmt: skip
    assert [document["result"]["status"] for document in documents(searcher)] == ["ok", "ok", "fail", "ok", "ok", "new"]


def test_trials_stopped_early_do_not_attract() -> None:
    """Early on all losses are small: told as a success, those would lead the search the wrong way."""
    searcher = prepared(
        HyperOptSearch(), {"x": sp.uniform(0, 1)}, fidelity=Fidelity("training_iteration", 9, (1, 3, 9))
    )
    xs = []
    for index in range(80):
        x = ask(searcher, index)["x"]
        xs.append(x)
        if x < 0.7:
            searcher.on_trial_complete(f"{index:05d}", {"loss": -1.0, "training_iteration": 1}, Outcome.STOPPED)
        else:
            searcher.on_trial_complete(f"{index:05d}", {"loss": abs(x - 0.8), "training_iteration": 9})
    assert sum(x >= 0.7 for x in xs[40:]) > 17  # told as a success: 4 to 9; all trained to their end: 21 to 24


def test_failures_are_avoided() -> None:
    space, objective = sphere(2)
    run = Run(prepared(HyperOptSearch(), space), lambda config: math.nan if config["x0"] < 0 else objective(config)).go(
        80
    )
    assert sum(config["x0"] < 0 for config in run.configs[50:]) < 8


def test_everything_fails() -> None:
    assert len(Run(prepared(HyperOptSearch(), sphere(2)[0]), lambda config: math.nan).go(40).configs) == 40


def test_the_config_of_a_result_counts_not_the_suggested_one() -> None:
    searcher = prepared(HyperOptSearch(), {"x": sp.uniform(0, 1)})
    for index, x in enumerate([0.25, 2.0]):  # the second is outside: a scheduler's, for one that has no bounds
        ask(searcher, index)
        searcher.on_trial_complete(f"{index:05d}", {"loss": x, "config": {"x": x}})
    assert [document["misc"]["vals"]["x"] for document in documents(searcher)] == [[0.25]]


# ------------------------------------------------------------------------------ spaces of its own


def own_space() -> dict[str, Any]:
    """Of Ray Tune's example, with lists."""
    return {
        "activation": hp.choice(
            "activation",
            [{"name": "relu", "mult": hp.uniform("mult", 1, 2), "ks": [3, 5]}, {"name": "tanh", "ks": (3, 3)}],
        ),
        "width": hp.uniform("width", 0, 20),
        "layers": [hp.randint("first", 1, 9), hyperopt.pyll.scope.int(hp.quniform("second", 1, 9, 2))],
        "kind": hp.pchoice("kind", [(0.9, "a"), (0.1, "b")]),
        "steps": 100,
    }


def own_objective(config: dict[str, Any]) -> float:
    return float(abs(config["width"] - 7) + (config["activation"]["name"] == "tanh") + config["layers"][0] / 10)


def test_a_space_in_terms_of_hyperopt() -> None:
    searcher = prepared(HyperOptSearch(own_space()), Space(None))
    run = Run(searcher, own_objective, slots=2).go(60)
    for config in run.configs:
        assert plain(config)
        assert set(config) == {"activation", "width", "layers", "kind", "steps"} and config["steps"] == 100
        assert isinstance(config["layers"], list) and [type(each) for each in config["layers"]] == [int, int]
        relu = config["activation"]["name"] == "relu"
        assert config["activation"]["ks"] == ([3, 5] if relu else (3, 3))
        assert ("mult" in config["activation"]) is relu
    assert min(run.losses) < 1.0
    assert Counter(config["kind"] for config in run.configs[:20])["a"] > 13


def test_points_and_resume_in_a_space_of_hyperopt() -> None:
    point = {
        "activation": {"name": "relu", "mult": 1.5, "ks": [3, 5]},
        "width": 7.0,
        "layers": [2, 4],
        "kind": "b",
        "steps": 100,
    }
    known = {**point, "activation": {"name": "tanh", "ks": (3, 3)}}

    def searcher() -> Searcher:
        given: dict[str, Any] = {"points_to_evaluate": [point, known], "evaluated_rewards": [None, 1.0]}
        return prepared(HyperOptSearch(own_space(), n_initial_points=8, **given), Space(None))

    whole = Run(searcher(), own_objective, slots=3).go(25)
    assert whole.configs[0] == point
    first, second = documents(whole.searcher)[:2]
    assert first["misc"]["vals"]["activation"] == [1] and first["misc"]["vals"]["mult"] == []
    assert second["misc"]["vals"]["kind"] == [1] and second["misc"]["vals"]["second"] == [4]
    resumed = Run(searcher(), own_objective, slots=3)
    replayed(resumed.searcher, whole.log)
    resumed.configs, resumed.running = list(whole.configs), list(whole.running)
    assert resumed.go(45).configs == whole.go(45).configs


def test_a_choice_as_the_whole_space() -> None:
    space = hp.choice("model", [{"kind": "a", "x": hp.uniform("x", 0, 1)}, {"kind": "b"}])
    run = Run(prepared(HyperOptSearch(space, n_initial_points=5), {"data": "here"}), lambda config: config.get("x", 1))
    assert {config["kind"] for config in run.go(20).configs} == {"a", "b"}
    assert all(config["data"] == "here" for config in run.configs)


def test_a_space_that_computes_with_its_parameters() -> None:
    space = {"batch": 2 ** hyperopt.pyll.scope.int(hp.quniform("log2", 3, 8, 1)), "x": hp.uniform("x", 0, 1)}
    given = HyperOptSearch(space, n_initial_points=6)
    run = Run(prepared(given, Space(None)), lambda config: abs(config["batch"] - 64) + config["x"]).go(40)
    assert {config["batch"] for config in run.configs} <= {8, 16, 32, 64, 128, 256} and all(map(plain, run.configs))
    assert len(documents(run.searcher)) == 40  # the model knows them
    assert Counter(config["batch"] for config in run.configs[20:]).most_common(1)[0][0] == 64
    resumed = replayed(prepared(HyperOptSearch(space), Space(None)), run.log)
    assert documents(resumed) == [] and ask(resumed, 40)  # it cannot be traced back; it goes on without


def test_points_outside_of_a_space_of_hyperopt() -> None:
    right = {"x": 0.5, "lr": 0.01, "n": 3, "opt": {"kind": "a"}}
    space = {
        "x": hp.uniform("x", 0, 1),
        "lr": hp.loguniform("lr", math.log(1e-3), math.log(1)),
        "n": hp.randint("n", 5),
        "opt": hp.choice("opt", [{"kind": "a"}, {"kind": "b"}]),
    }
    wrong: list[dict[str, Any]] = [
        {**right, "x": 1.5},
        {**right, "lr": 5.0},
        {**right, "n": 5},
        {**right, "x": "a"},
        {**right, "opt": {"kind": "c"}},
        {**right, "lrr": 1},
        {"x": 0.5},
        {**right, "data": 2},
    ]
    searcher = HyperOptSearch(space, points_to_evaluate=[right, *wrong])
    found = mistakes_of(prepared, searcher, {"data": 1})
    told = [
        "x: 1.5 is outside of uniform(0, 1).",
        "lr: 5.0 is outside of loguniform(0.001, 1).",
        "n: 5 is outside of randint(0, 5).",
        "x: expected a number, got 'a'.",
        "opt: {'kind': 'c'} is none of the 2 options.",
        "lrr: no such parameter. Did you mean 'lr'?",
        "lr: missing; a point of a space of HyperOpt's has to be whole.",
        "data: param_space fixes it at 1, got 2.",
    ]
    assert found == [f"points_to_evaluate[{number}]: {why}" for number, why in enumerate(told, 1)]


def test_a_computed_value_cannot_be_a_point() -> None:
    space = {"batch": 2 ** hp.quniform("log2", 3, 8, 1)}
    (mistake,) = mistakes_of(prepared, HyperOptSearch(space, points_to_evaluate=[{"batch": 8}]), Space(None))
    assert "batch: HyperOpt computes it by 'pow'" in mistake


def test_a_space_of_our_domains_given_to_the_searcher() -> None:
    """As Ray Tune takes it."""
    searcher = prepared(HyperOptSearch({"x": sp.uniform(0, 1), "b": [1, 2]}), {"data": 7})
    assert isinstance(searcher.space, Space) and not isinstance(searcher.space, HyperOptSpace)
    config = ask(searcher, 0)
    assert config["data"] == 7 and config["b"] == [1, 2] and 0 <= config["x"] <= 1


# ---------------------------------------------------------------------------------------- mistakes


def test_parameters_in_two_places() -> None:
    for space in ({"x": hp.uniform("x", 0, 1)}, {"x": sp.uniform(0, 1)}):
        (mistake,) = mistakes_of(prepared, HyperOptSearch(space), {"y": sp.uniform(0, 1), "c": 1})
        assert mistake.startswith("param_space: expected constants only") and "got y." in mistake
        around = Space({"c": 1}, [sp.constraint(lambda config: config["x"] > config["c"], "large x")])
        (mistake,) = mistakes_of(prepared, HyperOptSearch(space), around)
        assert "got constraint large x." in mistake


def test_two_of_the_same_label() -> None:
    space = {"a": hp.uniform("x", 0, 1), "b": hp.uniform("x", 0, 1)}
    assert mistakes_of(prepared, HyperOptSearch(space), Space(None)) == [
        "space: two parameters have the label 'x'. Rename one of them."
    ]


def test_all_mistakes_of_the_arguments_at_once() -> None:
    found = mistakes_of(
        HyperOptSearch, [1], n_initial_points=0, gamma=0, random_state=1, random_state_seed=2, points_to_evaluate=7
    )
    assert [mistake.partition(":")[0] for mistake in found] == [
        "points_to_evaluate",
        "random_state",
        "n_initial_points",
        "gamma",
        "space",
    ]


def test_several_metrics_and_none() -> None:
    (mistake,) = mistakes_of(
        prepared, HyperOptSearch(), {"x": sp.uniform(0, 1)}, metric=("a", "b"), mode=("min", "max")
    )
    assert mistake.startswith("metric: expected one metric, got ['a', 'b'].") and "EvolutionarySearch" in mistake
    found = mistakes_of(prepared, HyperOptSearch(), {"x": sp.uniform(0, 1)}, metric=None, mode=None)
    assert found[0].startswith("metric: expected the name of a metric")


def test_without_hyperopt(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, *, extra: str, needed_by: str) -> Any:
        raise MissingDependencyError(name, extra, needed_by)

    monkeypatch.setattr(module, "require", missing)
    with pytest.raises(MissingDependencyError, match=r"tune-plugins\[hyperopt\]"):
        HyperOptSearch()


# ------------------------------------------------- what people have reported of Ray Tune's HyperOptSearch


NESTED = {
    "env": "CartPole-v1",
    "model": {"hiddens": [sp.lograndint(64, 512), sp.lograndint(64, 512)], "activation": "relu"},
    "gamma": sp.choice([0.9, 0.95, 0.99, 1]),
    "lr": sp.loguniform(1e-5, 1e-2),
}


def test_a_point_with_lists_in_a_nested_space() -> None:
    """An AssertionError on GarbageCollected (ray-project/ray#14470, #28753, #37582)."""
    point = {"model": {"hiddens": [256, 128]}, "gamma": 0.99, "lr": 1e-3}
    searcher = prepared(HyperOptSearch(points_to_evaluate=[point], n_initial_points=2), NESTED)
    configs = Run(searcher, lambda config: config["lr"]).go(10).configs
    assert configs[0] == {**NESTED, **point, "model": {**point["model"], "activation": "relu"}}  # type: ignore[dict-item]
    assert all(isinstance(config["model"]["hiddens"], list) for config in configs)


def test_a_point_that_is_a_list() -> None:
    """GarbageCollected (ray-project/ray#37582)."""
    space = {"a": [hp.uniform("a", 0, 1)], "b": hp.uniform("b", 0, 1)}
    searcher = prepared(HyperOptSearch(space, points_to_evaluate=[{"a": [1], "b": 1}]), Space(None))
    assert ask(searcher, 0) == {"a": [1.0], "b": 1.0}


def test_lists_as_options() -> None:
    """Empty dicts (ray-project/ray#24050)."""
    space = {"a": sp.randint(0, 20), "layers": sp.choice([[300], [200, 100]])}
    searcher = prepared(HyperOptSearch(n_initial_points=3), space)
    assert all(c["layers"] in ([300], [200, 100]) for c in Run(searcher, lambda c: c["a"]).go(10).configs)


def test_dicts_of_constants_as_options() -> None:
    """They were lost (ray-project/ray#49507)."""
    known = [{"learning_rate": 0.01, "batch_size": 32}, {"learning_rate": 0.1, "batch_size": 2}]
    space = {"known": sp.choice(known), "new": sp.uniform(0.1, 10)}
    searcher = prepared(HyperOptSearch(n_initial_points=3), space)
    assert all(config["known"] in known for config in Run(searcher, lambda config: config["new"]).go(10).configs)


def test_choices_of_choices_and_of_lists() -> None:
    """Lists came as dicts of numbers; TypeError: switch argument (ray-project/ray#11431, #19507)."""
    space = Space(
        {
            "in_dict": sp.choice([{"a": sp.choice(["M", "N"]), "b": sp.choice(["O", "P"])}]),
            "in_list": sp.choice([[sp.choice(["M", "N"]), sp.choice(["O", "P"])], [sp.choice(["Q", "R"])]]),
            "itself": sp.choice([sp.choice(["M", "N"]), sp.choice(["O", "P"])]),
            "empty": sp.choice([{}, {"deep": {"deeper": sp.choice([{"x": sp.uniform(0, 1)}, None])}}]),
        }
    )
    run = Run(prepared(HyperOptSearch(n_initial_points=5), space), lambda config: config["itself"] != "P").go(30)
    assert not any(space.check_point(config) for config in run.configs)
    assert all(isinstance(config["in_list"], list) for config in run.configs)
    assert sum(config["itself"] == "P" for config in run.configs[15:]) > 7


def test_constants_that_are_lists() -> None:
    """Made tuples, which RLlib cannot add to lists (ray-project/ray#12461, #14304)."""
    space = {"hiddens": [256], "post": [], "input_evaluation": ["is", "wis"], "lr": sp.uniform(0, 1)}
    config = ask(prepared(HyperOptSearch(), space), 0)
    assert [256] + config["hiddens"] + config["post"] == [256, 256] and config["input_evaluation"] == ["is", "wis"]


def test_a_choice_of_hyperopt_beside_a_number() -> None:
    """IndexError: list index out of range (ray-project/ray#7058)."""
    space = {"activation": hp.choice("activation", ["relu", "tanh"]), "width": hp.choice("width", [10, 20])}
    for scored in (lambda config: 10.0, lambda config: math.nan):
        run = Run(prepared(HyperOptSearch(space, n_initial_points=4), Space(None)), scored).go(12)
        assert {config["width"] for config in run.configs} == {10, 20}


def test_points_with_truth_values_and_numbers_as_options() -> None:
    """Errors of several kinds (ray-project/ray#13576)."""
    space = {
        "sequence": sp.choice(list(range(20, 101))),
        "stochasticity": sp.choice([True, False]),
        "layers": sp.choice([1, 2]),
        "loss": print,
        "start": "None",
    }
    point = {"sequence": 100, "stochasticity": False, "layers": 1}
    config = ask(prepared(HyperOptSearch(points_to_evaluate=[point]), space), 0)
    assert config == {**space, **point} and config["stochasticity"] is False


def test_without_a_mode() -> None:
    """AttributeError: metric_op (ray-project/ray#11626)."""
    with pytest.raises(ValueError, match="mode"):
        prepared(HyperOptSearch(metric="loss"), {"x": sp.uniform(0, 1)}, metric=None, mode=None)


def test_the_example_of_ray_tune() -> None:
    """Conditional space, early stopping, a limit of trials at a time: the documented example, with its points."""
    points = [{"width": 1, "height": 2, "activation": {"activation": "relu", "mult": 2}, "steps": 100}]
    space = {
        "activation": hp.choice(
            "activation",
            [{"activation": "relu", "mult": hp.uniform("mult", 1, 2)}, {"activation": "tanh"}],
        ),
        "width": hp.uniform("width", 0, 20),
        "height": hp.uniform("height", -100, 100),
        "steps": 100,
    }
    given = HyperOptSearch(space, metric="mean_loss", mode="min", points_to_evaluate=points)
    searcher = prepared(ConcurrencyLimiter(given, max_concurrent=4), Space(None), metric=None, mode=None)
    losses = []
    for index in range(60):
        config = ask(searcher, index)
        if index == 0:
            assert config == points[0]
        loss = 1 / (0.1 + config["width"]) + config["height"] * 0.1
        losses.append(loss + config["activation"].get("mult", 1))
        searcher.on_trial_complete(f"{index:05d}", {"mean_loss": losses[-1], "config": config})
    assert min(losses[20:]) < min(losses[:20])
