"""`OptunaSearch` with constraints, several metrics, functions of a trial, and samplers of one's own; whole runs."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import optuna
import pytest
from mistakes import mistakes_of
from optuna.samplers import (
    BruteForceSampler,
    CmaEsSampler,
    GridSampler,
    NSGAIISampler,
    TPESampler,
)
from optuna.trial import TrialState
from optuna_searches import (
    FLOAT,
    SLOW,
    Config,
    Life,
    Shuffling,
    contents,
    define,
    define_loss,
    relived,
    relu,
    result,
    started,
    states,
)
from scipy import stats
from search_runs import PROBLEMS, Run, ask, replayed, task_of

import tune_plugins as tune
from tune_plugins import space as sp
from tune_plugins.errors import ArgumentError
from tune_plugins.schedulers import ASHAScheduler
from tune_plugins.search import Outcome, Signal
from tune_plugins.search.optuna import OptunaSearch
from tune_plugins.search.optuna_samplers import NAMES
from tune_plugins.space import Space

pytestmark = pytest.mark.filterwarnings("error", "ignore::optuna.exceptions.ExperimentalWarning")


# ------------------------------------------------------------------------------------- constraints


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SLOW])
def test_the_constraints_of_the_space_hold(name: str) -> None:
    space = Space(
        {"a": sp.uniform(0, 1), "b": sp.uniform(0, 1), "c": sp.choice([1, 2, 3])},
        [lambda config: config["a"] + config["b"] < 0.5, lambda config: config["c"] != 2],
    )
    searcher = started(space, sampler=name)
    run = Run(searcher, lambda config: config["a"]).go(40)
    assert not any(space.broken(config) for config in run.configs)
    assert states(searcher) == ["COMPLETE"] * 40  # nothing of what was drawn in vain is in the study
    again = Run(started(space, sampler=name), lambda config: config["a"])
    replayed(again.searcher, run.log[:40])
    again.configs = run.configs[:20]
    assert again.go(40).configs == run.configs


def test_where_a_sampler_finds_nothing_legal_a_random_config_is_taken() -> None:
    space = Space({"a": sp.uniform(0, 1)}, [lambda config: config["a"] < 0.02])
    searcher = started(space, sampler="tpe")
    assert all(ask(searcher, index)["a"] < 0.02 for index in range(10))
    never = Space({"a": sp.uniform(0, 1), "g": sp.grid_search([1, 2])}, [lambda config: config["a"] < -config["g"]])
    searcher = OptunaSearch()
    with pytest.raises(ArgumentError, match="constraints: 1,000 configs in a row"):
        searcher.prepare(task_of(never))
        searcher.ask("00000", 0)


def test_a_suggestion_that_fails_leaves_no_running_trial() -> None:
    calls = []

    def fails(config: Any) -> int:
        calls.append(1)
        if len(calls) > 2:
            raise KeyError("b")
        return 1

    searcher = started({"a": sp.uniform(0, 1), "b": sp.sample_from(fails)})
    with pytest.raises(ArgumentError, match="b: sample_from"):
        [ask(searcher, index) for index in range(5)]
    assert set(states(searcher)) <= {"RUNNING", "FAIL"} and states(searcher)[-1] == "FAIL"


@pytest.mark.parametrize(
    "sampler", ["tpe", NSGAIISampler(population_size=10), pytest.param("gp", marks=pytest.mark.slow)]
)
def test_constraints_on_results(sampler: Any) -> None:
    searcher = started({"x": sp.uniform(0, 1)}, sampler=sampler, constraints=lambda result: [result["memory"] - 0.5])
    for index in range(16 if sampler == "gp" else 60):
        x = ask(searcher, index)["x"]
        last = {"loss": -x, "memory": x, "training_iteration": 1}
        searcher.on_trial_complete(f"{index:05d}", last, Outcome.STOPPED if index % 9 == 8 else Outcome.COMPLETED)
    assert searcher.study.trials[0].constraints == {"0": searcher.study.trials[0].params["x"] - 0.5}
    assert 0.3 < searcher.study.best_params["x"] <= 0.5


def test_constraints_that_are_no_numbers() -> None:
    searcher = started(constraints=lambda result: result["c"], sampler="tpe")
    for index, value in enumerate([[math.nan], [1.0, 2], []]):
        ask(searcher, index)
        searcher.on_trial_complete(f"{index:05d}", result(1.0, c=value))
    assert states(searcher) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert searcher.study.trials[1].constraints == {"0": 1.0, "1": 2.0}
    ask(searcher, 3)
    with pytest.raises(ArgumentError, match="constraints: expected a function that returns a list of numbers, got 3"):
        searcher.on_trial_complete("00003", result(1.0, c=3))


# ------------------------------------------------------------------------------- several metrics


@pytest.mark.parametrize("name", ["tpe", "nsgaii", "random", "qmc", pytest.param("gp", marks=pytest.mark.slow)])
def test_several_metrics(name: str) -> None:
    searcher = started(
        {"x": sp.uniform(0, 1), "o": sp.choice([{"y": sp.uniform(0, 1)}, 1])},
        sampler=name,
        metric=("loss", "score"),
        mode=("min", "max"),
    )
    for index in range(14 if name in SLOW else 30):
        config = ask(searcher, index)
        y = config["o"]["y"] if config["o"] != 1 else 0.5
        told = {"loss": config["x"], "score": config["x"] + y, "training_iteration": 1, "config": config}
        searcher.on_trial_result(f"{index:05d}", told)
        outcome = Outcome.STOPPED if index % 7 == 3 else Outcome.COMPLETED
        searcher.on_trial_complete(f"{index:05d}", {**told, "score": math.nan} if index % 7 == 5 else told, outcome)
    found = Counter(states(searcher))
    assert set(found) == {"COMPLETE", "PRUNED", "FAIL"}
    front = searcher.study.best_trials
    assert front and all(len(trial.values) == 2 for trial in front)
    assert [direction.name for direction in searcher.study.directions] == ["MINIMIZE", "MAXIMIZE"]


def test_a_metric_and_mode_of_the_searchers_own() -> None:
    searcher = OptunaSearch(metric=["a", "b"], mode=["max", "min"])
    searcher.prepare(task_of(FLOAT, metric=None, mode=None))
    ask(searcher, 0)
    searcher.on_trial_complete("00000", {"a": 1, "b": 2})
    assert searcher.study.trials[0].values == [1.0, 2.0]


# --------------------------------------------------------------------------- functions of a trial


def test_a_function_of_a_trial() -> None:
    searcher = started({"model": {"bias": True}, "noise": sp.uniform(0, 1)}, space=define, sampler="tpe")
    run = Run(searcher, define_loss).go(40)
    for config, trial in zip(run.configs, searcher.study.trials, strict=True):
        assert set(config) == {"model", "noise", "lr", "epochs"}
        assert config["model"]["bias"] is True and 0 <= config["noise"] <= 1
        assert config["model"]["name"] == config["model"]["kind"].upper()
        assert ("layers" in config["model"]) == (config["model"]["kind"] == "net")
        assert trial.params["lr"] == config["lr"]
    assert min(run.losses) < 1.5


def test_a_function_of_a_trial_that_returns_nothing_and_no_space() -> None:
    searcher = started(None, space=lambda trial: trial.suggest_float("x", 0, 1) and None)
    assert set(ask(searcher, 0)) == {"x"}


@pytest.mark.parametrize("name", ["random", "tpe", "nsgaii", "qmc", "cmaes"])
def test_a_function_of_a_trial_is_resumed_exactly(name: str) -> None:
    points = [{"model": {"kind": "net", "layers": 2}}, {"lr": 0.01}]
    options: Any = {"space": define, "sampler": name, "slots": 3, "points_to_evaluate": points}
    whole = Life(started(None, **options), define_loss, 3).go(25)
    assert whole.configs[0]["model"] == {"kind": "net", "layers": 2, "name": "NET"} and whole.configs[1]["lr"] == 0.01
    log, running = list(whole.log), list(whole.running)
    whole.go(50)
    resumed = Life(relived(started(None, **options), log), define_loss, 3)
    resumed.configs, resumed.running = whole.configs[:25], running
    assert resumed.go(50).configs == whole.configs
    assert contents(resumed.searcher) == contents(whole.searcher)


def test_a_config_that_a_function_would_not_have_drawn_now() -> None:
    searcher = started(None, space=define)
    config = {"model": {"kind": "linear", "name": "LINEAR"}, "lr": 0.01, "epochs": 10}
    searcher.on_suggested("00000", 0, config)
    searcher.on_trial_complete("00000", result(1.0, config=config))
    assert searcher.study.trials[-1].params == {"model/kind": "linear", "lr": 0.01}
    assert states(searcher) == ["FAIL", "COMPLETE"]


def test_known_points_of_a_function() -> None:
    points = [{"model/kind": "net", "model/layers": 2, "lr": 0.01}, {"lr": 0.001}]
    searcher = started(None, space=define, points_to_evaluate=points, evaluated_rewards=[0.5, None])
    assert searcher.study.trials[0].params == {"model/kind": "net", "model/layers": 2, "lr": 0.01}
    assert ask(searcher, 0)["lr"] == 0.001
    assert states(searcher) == ["COMPLETE", "RUNNING"]


def test_mistakes_in_points_of_a_function() -> None:
    points = [{"lrate": 1}, {"lr": 0.5}, {"model/kind": "tree"}, {"lr": 0.01}]
    searcher = OptunaSearch(define, points_to_evaluate=points)
    first, second, third = mistakes_of(searcher.prepare, task_of(None))
    assert "points_to_evaluate[0]: lrate: no such parameter." in first and "Known: " in first
    assert "points_to_evaluate[1]: The value 0.5 of parameter 'lr' isn't contained" in second
    assert "points_to_evaluate[2]: 'tree' not in ('linear', 'net')" in third


def test_a_function_that_is_wrong() -> None:
    searcher = started(None, space=lambda trial: 3)
    with pytest.raises(ArgumentError, match="expected a function that returns a dict of constants"):
        ask(searcher, 0)
    searcher = started(None, space=lambda trial: {"a": 1, "a/b": 2})
    with pytest.raises(ArgumentError, match="cannot stand beside 'a'"):
        ask(searcher, 0)
    searcher = started(None, space=lambda trial: trial.suggest_float("x", 1, 0))
    with pytest.raises(ValueError, match="low <= high"):
        ask(searcher, 0)
    assert states(searcher) == ["FAIL"]


def test_a_dict_of_distributions() -> None:
    space = {
        "a": optuna.distributions.FloatDistribution(0.1, 1, log=True),
        "b": {"c": optuna.distributions.IntDistribution(2, 8, step=2)},
        "d": optuna.distributions.CategoricalDistribution(["x", None]),
    }
    searcher = started({"k": 1}, space=space, points_to_evaluate=[{"a": 0.5, "b": {"c": 4}}], sampler="tpe")
    run = Run(searcher, lambda config: config["a"]).go(15)
    assert run.configs[0] == {"k": 1, "a": 0.5, "b": {"c": 4}, "d": run.configs[0]["d"]}
    assert all(config["b"]["c"] in (2, 4, 6, 8) and config["d"] in ("x", None) for config in run.configs)
    assert searcher.study.trials[1].distributions == {"a": space["a"], "b/c": space["b"]["c"], "d": space["d"]}


# ---------------------------------------------------------------------- another config than thought


def test_a_value_earned_with_another_config_counts_for_that_one() -> None:
    searcher = started({"lr": sp.loguniform(1e-5, 1), "n": sp.randint(0, 5)})
    config = ask(searcher, 0)
    other = {**config, "lr": 0.25}
    searcher.on_trial_result("00000", result(5.0, 1, config=dict(config)))
    searcher.on_trial_result("00000", result(1.0, 2, config=other))
    searcher.on_trial_complete("00000", result(0.5, 3, config=other))
    first, second = searcher.study.trials
    assert (first.state, first.intermediate_values) == (TrialState.PRUNED, {1: 5.0})
    assert (second.state, second.value, second.params) == (TrialState.COMPLETE, 0.5, {"lr": 0.25, "n": config["n"]})
    assert second.user_attrs["trial_id"] == "00000"


def test_a_config_that_perturbation_drove_out_of_the_space() -> None:
    searcher = started({"lr": sp.uniform(0, 1)})
    config = ask(searcher, 0)
    searcher.on_trial_complete("00000", result(0.5, 3, config={"lr": 1.2}))
    assert states(searcher) == ["PRUNED"]
    ask(searcher, 1)
    searcher.on_trial_complete("00001", result(0.5, 3, config=config), Outcome.STOPPED)
    assert states(searcher) == ["PRUNED", "PRUNED"]


def test_configs_with_arrays_are_compared() -> None:
    searcher = started({"x": sp.uniform(0, 1), "a": np.zeros(3)})
    config = ask(searcher, 0)
    searcher.on_trial_complete("00000", result(0.5, config={**config, "a": np.zeros(3)}))
    searcher = started({"k": np.zeros(3)}, space=define)
    config = ask(searcher, 0)
    searcher.on_trial_complete("00000", result(0.5, config={**config, "k": np.zeros(3)}))
    assert states(searcher) == ["COMPLETE"]


def test_only_another_option_is_another_config() -> None:
    searcher = started({"o": sp.choice([{}, {"x": 1}, {"x": 1, "y": 2}])})
    config = ask(searcher, 0)
    other = next(option for option in ({}, {"x": 1}) if option != config["o"])
    searcher.on_trial_complete("00000", result(0.5, config={"o": other}))
    assert states(searcher) == ["PRUNED", "COMPLETE"]


def test_another_config_under_constraints_and_of_a_function() -> None:
    searcher = started(None, space=define, sampler="tpe", constraints=lambda result: [-1.0])
    config = ask(searcher, 0)
    searcher.on_trial_complete("00000", result(0.5, config={**config, "lr": 0.05}))
    assert states(searcher) == ["PRUNED", "COMPLETE"]
    assert searcher.study.trials[1].constraints == {"0": -1.0}
    config = ask(searcher, 1)
    searcher.on_trial_complete("00001", result(0.5, config={**config, "model": {"kind": "tree"}}))
    assert states(searcher)[2:] == ["PRUNED"]


# ------------------------------------------------------------------------ samplers with lists of values


def test_a_grid_of_optuna_ends_the_search() -> None:
    sampler = GridSampler({"a": ["x", "y"], "n": [1, 2]})
    searcher = started({"a": sp.choice(["x", "y"]), "n": sp.randint(0, 4)}, sampler=sampler)
    configs = []
    while (config := searcher.ask(f"{len(configs):05d}", len(configs))) is not Signal.COMPLETE:
        assert isinstance(config, dict)
        configs.append((config["a"], config["n"]))
        searcher.on_trial_complete(f"{len(configs) - 1:05d}", result(1.0))
    assert sorted(configs) == [("x", 1), ("x", 2), ("y", 1), ("y", 2)]
    assert states(searcher) == ["COMPLETE"] * 4


def test_another_error_of_a_sampler_is_one() -> None:
    class Failing(Shuffling):
        def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
            raise RuntimeError("no")

    searcher = started(sampler=Failing())
    ask(searcher, 0)
    with pytest.raises(RuntimeError, match="no"):
        searcher.on_trial_complete("00000", result(1.0))
    assert states(searcher) == ["COMPLETE"]


def test_brute_force_goes_through_a_tree() -> None:
    space = {"o": sp.choice([{"n": sp.randint(0, 2)}, "none"]), "q": sp.quniform(0, 1, 0.5)}
    searcher = started(space, sampler=BruteForceSampler())
    configs = []
    while isinstance(config := searcher.ask(f"{len(configs):05d}", len(configs)), dict):
        configs.append(repr(config))
        searcher.on_trial_complete(f"{len(configs) - 1:05d}", result(1.0))
    assert len(configs) == len(set(configs)) == 9


def test_what_a_sampler_cannot_sample_is_told_beforehand() -> None:
    space = {"x": sp.uniform(0, 1), "n": sp.randint(0, 2), "z": sp.randn()}
    first, second = mistakes_of(OptunaSearch(sampler=BruteForceSampler()).prepare, task_of(space))
    assert first.startswith("x: BruteForceSampler cannot sample uniform(0.0, 1.0): ") and "'tpe'" in first
    assert second.startswith("z: BruteForceSampler cannot sample randn(0.0, 1.0): ")
    found = mistakes_of(OptunaSearch(sampler=GridSampler({"n": [0, 1]})).prepare, task_of(space))
    assert [why.partition(":")[0] for why in found] == ["x", "z"]


def test_what_cma_es_cannot_do_is_told_beforehand() -> None:
    space = {"a": sp.choice([1, 2]), "o": sp.choice([{"x": sp.uniform(0, 1)}, 1])}
    several: Any = {"metric": ("a", "b"), "mode": ("min", "max")}
    for sampler in ("cmaes", CmaEsSampler()):
        first, second = mistakes_of(OptunaSearch(sampler=sampler).prepare, task_of(space, **several))
        assert first == "sampler: 'cmaes' optimises one metric, got a, b. Use 'tpe', 'gp' or 'nsgaii'."
        assert "(a, o, o[0]/x)" in second and "Use 'tpe'" in second


def test_cma_es_keeps_to_the_same_numbers_in_a_space_with_options() -> None:
    space, objective = PROBLEMS["conditional"]
    run = Run(started(space, sampler="cmaes"), objective).go(60)
    generations = [t.system_attrs.get("cma:generation") for t in run.searcher.study.trials]  # type: ignore[attr-defined]
    assert generations[0] is None and None not in generations[1:] and generations[-1] >= 5


def test_qmc_covers_a_space_with_options_evenly() -> None:
    searcher = started({"x": sp.uniform(0, 1), "o": sp.choice([{"y": sp.uniform(0, 1)}, "none"])}, sampler="qmc")
    configs = [ask(searcher, index) for index in range(64)]
    assert Counter(int(16 * config["x"]) for config in configs) == dict.fromkeys(range(16), 4)
    inner = [config["o"]["y"] for config in configs if config["o"] != "none"]
    assert len(inner) == 32 and stats.kstest(inner, "uniform").statistic < 0.1


# ------------------------------------------------------------------------ what users reported elsewhere


def test_points_beside_a_function_are_tried_or_refused() -> None:
    """Of ray#35319: they were ignored."""
    points = [{"a": 1}, {"a": 2}]
    searcher = started(None, space=lambda trial: {"a": trial.suggest_int("a", 1, 9)}, points_to_evaluate=points)
    assert [ask(searcher, index) for index in range(2)] == points
    refused = OptunaSearch(lambda trial: {"a": 4}, points_to_evaluate=points)
    first, _ = mistakes_of(refused.prepare, task_of(None))
    assert first.startswith("points_to_evaluate[0]: a: the function returns 4 whatever the trial, got 1.")


def test_choices_between_choices_and_steps() -> None:
    """Of chemprop#783: a domain reached the training."""
    space = {"dropout": sp.choice([sp.choice([0.0]), sp.quniform(0.05, 0.4, 0.05)]), "hidden": sp.qrandint(3, 24, 1)}
    run = Run(started({"train_loop_config": space}, sampler="tpe"), lambda config: 1.0).go(30)
    found = {config["train_loop_config"]["dropout"] for config in run.configs}
    assert found <= {0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4} and 0.0 in found and len(found) > 4


def test_domains_among_distributions_are_refused() -> None:
    """Of optuna#4094: an AttributeError deep inside of Optuna."""
    space = {"max_depth": sp.randint(2, 9), "eta": optuna.distributions.FloatDistribution(0, 1)}
    assert mistakes_of(OptunaSearch, space) == [
        "space, max_depth: expected a distribution of Optuna, got randint(2, 9). Give it in param_space."
    ]


class Frozen(dict[str, Any]):
    """Of siatune#111: an option with a type of its own, which Optuna warned of."""

    def __hash__(self) -> int:
        return hash(tuple(self.items()))


def test_options_may_be_objects_or_tuples() -> None:
    """Also of optuna#2341 and optuna#905."""
    options: list[Any] = [(0,), (1, 2), ["m", "s"], relu, int, 3 + 4j]
    searcher = started({"a": sp.choice(options), "b": sp.choice([Frozen(x=1), Frozen(x=2)])}, sampler="tpe")
    run = Run(searcher, lambda config: 1.0).go(40)
    assert {repr(config["a"]) for config in run.configs} == {repr(option) for option in options}
    assert [config["b"] for config in run.configs if config["b"] not in ({"x": 1}, {"x": 2})] == []


@pytest.mark.parametrize("multivariate", [True, False])
def test_a_batch_is_spread(multivariate: bool) -> None:
    """Of optuna#6189: batches of ten lay in one place."""
    space = {"x": sp.uniform(-10, 10), "y": sp.uniform(-10, 10)}
    searcher = started(space, sampler=TPESampler(multivariate=multivariate, constant_liar=True), slots=10)
    for batch in range(5):
        configs = [ask(searcher, 10 * batch + number) for number in range(10)]
        assert np.std([config["x"] for config in configs]) > 0.1
        for number, config in enumerate(configs):
            loss = config["x"] ** 2 + config["y"] ** 2
            searcher.on_trial_complete(f"{10 * batch + number:05d}", result(loss))


def test_the_example_of_ray_tune_for_functions_of_a_trial() -> None:
    def space(trial: optuna.Trial) -> Config:
        activation = trial.suggest_categorical("activation", ["relu", "tanh"])
        trial.suggest_float("width", 0, 20)
        trial.suggest_float("height", -100, 100)
        if activation == "relu":
            trial.suggest_float("mult", 1, 2)
        return {"steps": 100}

    def objective(config: Config) -> float:
        assert config["steps"] == 100 and ("mult" in config) == (config["activation"] == "relu")
        return (0.1 + config["width"]) ** (-1) + config["height"] * 0.1 * config.get("mult", 1)

    run = Run(started(None, space=space, sampler="tpe", slots=4), objective, 4).go(40)
    assert min(run.losses) < -15


# --------------------------------------------------------------------------------------- whole runs


def test_a_run_with_early_stopping() -> None:
    searcher = OptunaSearch(sampler="tpe")
    results = tune.simulate(
        lambda config: [(config["x"] - 0.3) ** 2 + 1 / step for step in range(1, 10)],
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            metric="value", mode="min", num_samples=60, search_alg=searcher, seed=1, scheduler=ASHAScheduler(max_t=9)
        ),
        run_config=tune.RunConfig(verbose=0),
        cluster=tune.SimulatedCluster(workers=4),
    )
    found = {trial.user_attrs["trial_id"]: trial for trial in searcher.study.trials}
    for one in results:
        trial, steps = found[one.trial_id], one.metrics["training_iteration"]
        assert trial.state.name == ("COMPLETE" if steps == 9 else "PRUNED")
        assert max(trial.intermediate_values) == steps
        assert trial.intermediate_values[steps] == one.metrics["value"]
        assert trial.params == one.config
    assert {"COMPLETE", "PRUNED"} == set(states(searcher))


def test_a_run_with_failures_and_several_metrics() -> None:
    def train(config: Config) -> Config:
        if config["x"] > 0.8:
            raise ValueError("too large")
        return {"a": config["x"], "b": -config["x"] if config["x"] > 0.2 else math.nan}

    searcher = OptunaSearch()
    tune.Tuner(
        train,
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(metric=["a", "b"], mode="min", num_samples=25, search_alg=searcher, seed=1),
        run_config=tune.RunConfig(verbose=0, runtime="inline"),
    ).fit()
    for trial in searcher.study.trials:
        assert trial.state.name == ("COMPLETE" if 0.2 < trial.params["x"] <= 0.8 else "FAIL")
    assert Counter(states(searcher)).keys() == {"COMPLETE", "FAIL"}
