"""Evolutionary search, and how trials are ranked that were cut short or have several metrics."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from mistakes import mistakes_of
from search_runs import PROBLEMS, Run, ask, best_by_chance, prepared, replayed, sphere, task_of

from tune_plugins import space as sp
from tune_plugins.core.searcher import Fidelity, Outcome
from tune_plugins.search.evolutionary import EvolutionarySearch
from tune_plugins.search.ranking import ranked, reached
from tune_plugins.space import Space


@pytest.mark.parametrize("problem", PROBLEMS)
def test_better_than_chance_at_a_hundred_trials(problem: str) -> None:
    space, objective = PROBLEMS[problem]
    found, by_chance = [], []
    for seed in range(6):
        run = Run(prepared(EvolutionarySearch(), space, seed=seed), objective, slots=4).go(100)
        found.append(min(run.losses))
        by_chance.append(best_by_chance(space, objective, seed))
    assert sum(map(float.__lt__, found, by_chance)) >= 5
    assert sum(found) < 0.5 * sum(by_chance)


def test_every_config_is_legal_and_plain() -> None:
    space, objective = PROBLEMS["conditional"]
    for config in Run(prepared(EvolutionarySearch(), space), objective, slots=3).go(60).configs:
        assert not space.check_point(config)
        assert type(config["width"]) is int and type(config["decay"]) is float


def test_the_first_ones_are_spread_evenly() -> None:
    space = {"x": sp.uniform(0, 1), "n": sp.randint(0, 12), "c": sp.choice(["a", "b", "c"])}
    searcher = prepared(EvolutionarySearch(population=12), space)
    configs = [ask(searcher, index) for index in range(12)]
    assert sorted(int(12 * config["x"]) for config in configs) == list(range(12))
    assert sorted(config["n"] for config in configs) == list(range(12))
    assert sorted(config["c"] for config in configs) == ["a"] * 4 + ["b"] * 4 + ["c"] * 4


def test_a_suggestion_is_a_function_of_the_seed_its_number_and_what_was_told() -> None:
    def configs(seed: int, random_state: int | None = None) -> list[Any]:
        space, objective = PROBLEMS["mixed"]
        return Run(prepared(EvolutionarySearch(random_state=random_state), space, seed=seed), objective).go(30).configs

    assert configs(1) == configs(1) == configs(2, random_state=1) != configs(2)


@pytest.mark.parametrize("suggestions_first", [False, True])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_resume_goes_on_as_if_never_interrupted(problem: str, suggestions_first: bool) -> None:
    space, objective = PROBLEMS[problem]
    given: dict[str, Any] = {
        "points_to_evaluate": [space.sample(0, 9), space.sample(1, 9)],
        "evaluated_rewards": [None, 7],
    }
    whole = Run(prepared(EvolutionarySearch(**given), space), objective, slots=3).go(25)
    resumed = Run(prepared(EvolutionarySearch(**given), space), objective, slots=3)
    replayed(resumed.searcher, whole.log, suggestions_first=suggestions_first)
    resumed.configs, resumed.running = list(whole.configs), list(whole.running)
    assert resumed.go(45).configs == whole.go(45).configs


def test_the_order_in_which_two_ends_are_told_does_not_matter() -> None:
    space, objective = PROBLEMS["sphere"]
    searchers = [prepared(EvolutionarySearch(), space) for _ in range(2)]
    configs = [[ask(searcher, index) for index in range(20)] for searcher in searchers]
    assert configs[0] == configs[1]
    for searcher, order in zip(searchers, (range(20), reversed(range(20))), strict=True):
        for index in order:
            searcher.on_trial_complete(f"{index:05d}", {"loss": objective(configs[0][index])})
    assert ask(searchers[0], 20) == ask(searchers[1], 20)


def test_another_run_of_the_same_searcher_starts_anew() -> None:
    space, objective = PROBLEMS["sphere"]
    searcher = EvolutionarySearch()
    first = Run(prepared(searcher, space), objective).go(30).configs
    assert Run(prepared(searcher, space), objective).go(30).configs == first


def test_maximising() -> None:
    space, objective = sphere(2)
    searcher = EvolutionarySearch("score", "max")
    searcher.prepare(task_of(space, metric=None, mode=None))
    best = -math.inf
    for index in range(60):
        config = ask(searcher, index)
        score = -objective(config)
        best = max(best, score)
        searcher.on_trial_complete(f"{index:05d}", {"score": score, "loss": 0.0})
    assert best > -0.1


# ------------------------------------------------------------------------------- options of options


def test_a_child_has_what_its_option_has() -> None:
    space = Space(
        {
            "net": sp.choice(
                [
                    {"kind": "cnn", "layers": sp.randint(1, 99), "pool": sp.choice([{"size": sp.randint(2, 5)}, None])},
                    {"kind": "mlp", "width": sp.randint(8, 257)},
                ]
            )
        }
    )
    run = Run(prepared(EvolutionarySearch(), space), lambda config: 0.0 if config["net"]["kind"] == "cnn" else 1.0)
    for config in run.go(80).configs:
        assert not space.check_point(config)
        assert set(space.values_of(config)) >= {"net"}
    assert sum(config["net"]["kind"] == "cnn" for config in run.configs) > 45


def test_what_belongs_to_an_option_comes_along_with_it() -> None:
    space = Space({"opt": sp.choice([{"a": sp.uniform(0, 1)}, {"b": sp.uniform(0, 1)}])})
    known = [({"opt": {name: value}}, 1.0) for name, value in (("a", 0.25), ("b", 0.75), ("a", 0.125), ("b", 0.5))]
    searcher = EvolutionarySearch(mutation=0.0, population=4, crossover=1.0, warm_start=known)
    prepared(searcher, space)
    # One parameter in two is changed on average, so some come through as they are.
    values = [next(iter(ask(searcher, index)["opt"].values())) for index in range(40)]
    assert not {0.25, 0.75, 0.125, 0.5} & set(values)  # those have been tried
    assert len(set(values)) == 40


def test_computed_values_follow_the_others() -> None:
    space = {"n": sp.randint(1, 50), "double": sp.sample_from(lambda config: 2 * config["n"])}
    run = Run(prepared(EvolutionarySearch(), space), lambda config: abs(config["n"] - 33)).go(45)
    assert all(config["double"] == 2 * config["n"] for config in run.configs)
    assert min(run.losses) == 0


def test_distributions_of_functions_are_inherited_or_drawn() -> None:
    space = {"x": sp.distribution(lambda rng: rng.gauss(0, 1)), "y": sp.uniform(0, 1)}
    run = Run(prepared(EvolutionarySearch(), space), lambda config: (config["x"] - 1) ** 2).go(80)
    assert len({config["x"] for config in run.configs[12:]}) < 68  # some were inherited
    assert min(run.losses) < 0.05


def test_a_grid_is_searched_like_a_choice() -> None:
    space = {"a": sp.grid_search([1, 2, 3, 4]), "b": sp.grid_search([10, 20, 30, 40]), "x": sp.uniform(0, 1)}
    searcher = prepared(EvolutionarySearch(), space, 40)
    assert searcher.total_trials == 40
    run = Run(searcher, lambda config: config["a"] + config["b"]).go(40)
    assert len({(config["a"], config["b"]) for config in run.configs}) > 6 and min(run.losses) == 11


def test_a_space_without_parameters() -> None:
    assert ask(prepared(EvolutionarySearch(), {"x": 7}), 0) == {"x": 7}


# ------------------------------------------------------------------------- constraints and repeats


def test_constraints_hold() -> None:
    space = Space({"a": sp.uniform(0, 1), "b": sp.uniform(0, 1)}, [lambda config: config["a"] < config["b"]])
    run = Run(prepared(EvolutionarySearch(), space), lambda config: config["b"] - config["a"], slots=2).go(80)
    assert all(config["a"] < config["b"] for config in run.configs)
    assert min(run.losses) < 0.01


def test_a_narrow_constraint() -> None:
    space = Space({"a": sp.randint(0, 200), "b": sp.randint(0, 200)}, [lambda config: config["a"] == config["b"]])
    run = Run(prepared(EvolutionarySearch(), space), lambda config: abs(config["a"] - 100)).go(30)
    assert all(config["a"] == config["b"] for config in run.configs)


def test_a_constraint_that_nothing_meets_is_named() -> None:
    space = Space({"a": sp.uniform(0, 1)}, [sp.constraint(lambda config: config["a"] > 2, "large a")])
    (mistake,) = mistakes_of(prepared, EvolutionarySearch(), space)
    assert "large a" in mistake


def test_no_config_is_tried_twice_as_long_as_there_are_others() -> None:
    space = {"a": sp.choice(["x", "y", "z"]), "b": sp.randint(0, 4), "c": sp.ordinal([1, 2, 4])}
    run = Run(prepared(EvolutionarySearch(), space), lambda config: config["b"], slots=2).go(50)
    seen = [repr(config) for config in run.configs]
    assert len(set(seen[:36])) >= 34 and len(seen) == 50


def test_a_dropped_config_may_come_again() -> None:
    searcher = prepared(EvolutionarySearch(), {"c": sp.choice([1, 2])})
    first = ask(searcher, 0)
    searcher.on_trial_complete("00000", None, Outcome.DROPPED)
    assert [ask(searcher, 1)["c"], ask(searcher, 2)["c"]].count(first["c"]) == 1


# --------------------------------------------------------------------------- ends of different kinds


def test_failures_and_nan_are_never_parents() -> None:
    space, objective = sphere(2)

    def fails_on_one_side(config: dict[str, Any]) -> float:
        return math.nan if config["x0"] < 0 else objective(config)

    run = Run(prepared(EvolutionarySearch(), space), fails_on_one_side).go(100)
    later = run.configs[50:]
    assert sum(config["x0"] < 0 for config in later) < 3

    searcher = prepared(EvolutionarySearch(population=2), {"x": sp.uniform(0, 1)})
    for index, loss in enumerate([math.nan, math.inf, None, "no number"]):
        ask(searcher, index)
        searcher.on_trial_complete(f"{index:05d}", {"loss": loss})
    assert isinstance(searcher, EvolutionarySearch) and searcher._best == []


def test_everything_fails() -> None:
    space, _ = sphere(2)
    assert len(Run(prepared(EvolutionarySearch(), space), lambda config: math.nan).go(40).configs) == 40


@pytest.mark.parametrize("outcome", [Outcome.INTERRUPTED, Outcome.FAILED])
def test_what_does_not_count(outcome: Outcome) -> None:
    searcher = prepared(EvolutionarySearch(), {"x": sp.uniform(0, 1)})
    assert isinstance(searcher, EvolutionarySearch)
    ask(searcher, 0)
    searcher.on_trial_complete("00000", {"loss": 0.0}, outcome)
    assert searcher._best == []


def test_a_trial_stopped_early_ranks_behind_those_that_went_on() -> None:
    """Early on all losses are small: whoever took those for good would go the wrong way."""
    searcher = prepared(
        EvolutionarySearch(), {"x": sp.uniform(0, 1)}, fidelity=Fidelity("training_iteration", 9, (1, 3, 9))
    )
    xs = []
    for index in range(80):
        x = ask(searcher, index)["x"]
        xs.append(x)
        if x < 0.7:
            searcher.on_trial_complete(f"{index:05d}", {"loss": -1.0, "training_iteration": 1}, Outcome.STOPPED)
        else:
            searcher.on_trial_complete(f"{index:05d}", {"loss": abs(x - 0.8), "training_iteration": 9})
    assert sum(abs(x - 0.8) < 0.05 for x in xs[40:]) > 30


def test_rank_of_trials_cut_short() -> None:
    levels = Fidelity("time", 9, (1, 3, 9))
    assert reached({}, Outcome.COMPLETED, levels) == math.inf
    assert [reached({"time": t}, Outcome.STOPPED, levels) for t in (0.5, 1, 2, 3, 8, 9)] == [0, 1, 1, 2, 2, 3]
    assert reached({"time": 5}, Outcome.STOPPED, Fidelity("time")) == 5
    assert reached({"training_iteration": 4}, Outcome.STOPPED, None) == 4
    assert reached({}, Outcome.STOPPED, None) == 0
    standings = [(1.0, (0.1,)), (math.inf, (5.0,)), (3.0, (9.0,)), (math.inf, (4.0,)), (1.0, (0.1,))]
    assert ranked(standings) == [3, 1, 2, 0, 4]


def test_the_config_of_a_result_counts_not_the_suggested_one() -> None:
    searcher = prepared(EvolutionarySearch(population=2), {"x": sp.uniform(0, 1)})
    assert isinstance(searcher, EvolutionarySearch)
    for index, x in enumerate([0.25, 0.5, 2.0]):  # the last one is outside: a scheduler's, for one that has no bounds
        ask(searcher, index)
        searcher.on_trial_complete(f"{index:05d}", {"loss": x, "config": {"x": x}})
    assert [individual.values for individual in searcher._best] == [{"x": 0.25}, {"x": 0.5}]


def test_points_known_beforehand_are_parents_from_the_start() -> None:
    space, objective = sphere(3)
    known = [(config := space.sample(index, 5), objective(config)) for index in range(60)]
    searcher = prepared(EvolutionarySearch(warm_start=known), space)
    losses = [objective(ask(searcher, index)) for index in range(10)]
    assert sum(losses) / 10 < 0.5 * sum(loss for _, loss in known) / 60


# -------------------------------------------------------------------------------- several objectives


def test_fronts_come_in_order_and_the_least_crowded_first() -> None:
    points = [(0.0, 4.0), (4.0, 0.0), (2.0, 2.0), (1.9, 2.2), (5.0, 5.0), (3.0, 3.0)]
    order = ranked([(math.inf, point) for point in points])
    assert set(order[:2]) == {0, 1} and order[2:4] in ([3, 2], [2, 3]) and order[4:] == [5, 4]
    assert sorted(ranked([(math.inf, (1.0, 1.0))] * 3)) == [0, 1, 2]


def test_two_objectives() -> None:
    """Schaffer's first problem: the front is x from 0 to 2, with y at 0."""
    searcher = EvolutionarySearch(["f", "g"], ["min", "max"], population=20)
    prepared(searcher, {"x": sp.uniform(-100, 100), "y": sp.uniform(0, 1)}, metric=None, mode=None)
    points = []
    for index in range(200):
        config = ask(searcher, index)
        x, y = config["x"], config["y"]
        points.append((x, y))
        searcher.on_trial_complete(f"{index:05d}", {"f": x**2 + y, "g": -((x - 2) ** 2) - y})
    front = [x for x, y in points if -0.1 <= x <= 2.1 and y < 0.2]
    assert len(front) > 40
    assert min(front) < 0.3 and max(front) > 1.7


# -------------------------------------------------------------------------------------------- mistakes


def test_all_mistakes_of_the_arguments_at_once() -> None:
    found = mistakes_of(EvolutionarySearch, population=1, tournament=0, crossover=2, mutation="x", random_state="y")
    assert [mistake.partition(":")[0] for mistake in found] == [
        "random_state",
        "population",
        "tournament",
        "crossover",
        "mutation",
    ]


def test_without_a_metric() -> None:
    found = mistakes_of(prepared, EvolutionarySearch(), {"x": sp.uniform(0, 1)}, metric=None, mode=None)
    assert found[0].startswith("metric: expected the name of a metric")
    (mistake,) = mistakes_of(prepared, EvolutionarySearch(), {"x": sp.uniform(0, 1)}, mode=None)
    assert mistake.startswith("mode: ")


def test_it_keeps_only_the_best() -> None:
    """So that a suggestion costs no more when thousands are known."""
    space, _ = sphere(3)
    searcher = prepared(EvolutionarySearch(), space, 3000)
    rng = random.Random(1)
    for index in range(2000):
        searcher.on_suggested(f"{index:05d}", index, {f"x{number}": rng.uniform(-5, 5) for number in range(3)})
        searcher.on_trial_complete(f"{index:05d}", {"loss": rng.random()})
    assert isinstance(searcher, EvolutionarySearch) and len(searcher._best) == searcher.population
    assert isinstance(ask(searcher, 2000), dict)
