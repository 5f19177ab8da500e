"""The searcher that draws from Optuna's samplers, against the real library."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import warnings
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import optuna
import pytest
from mistakes import mistakes_of
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    CmaEsSampler,
    GPSampler,
    GridSampler,
    NSGAIIISampler,
    NSGAIISampler,
    PartialFixedSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import TrialState
from scipy import stats
from search_runs import PROBLEMS, Run, ask, best_by_chance, prepared, replayed, task_of

import tune_plugins as tune
from tune_plugins import space as sp
from tune_plugins.errors import ArgumentError, MissingDependencyError
from tune_plugins.schedulers import ASHAScheduler
from tune_plugins.search import Fidelity, Outcome, Searcher, Signal
from tune_plugins.search.optuna import OptunaSearch
from tune_plugins.search.optuna_samplers import NAMES, generators, reseed
from tune_plugins.space import Space

Config = dict[str, Any]

SLOW = {"gp"}  # fits Gaussian processes by PyTorch
NAMED = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in NAMES]
FLOAT = {"x": sp.uniform(0, 1)}
pytestmark = pytest.mark.filterwarnings("error", "ignore::optuna.exceptions.ExperimentalWarning")


def relu() -> None: ...


EVERYTHING = {
    "lr": sp.loguniform(1e-5, 1e-1),
    "momentum": sp.uniform(0, 1),
    "layers": sp.randint(1, 9),
    "units": sp.lograndint(1, 100),
    "drop": sp.quniform(0.05, 1, 0.1),
    "decay": sp.qloguniform(0.1, 10, 0.1),
    "batch": sp.qrandint(3, 32, 8),
    "width": sp.qlograndint(4, 1024, 4),
    "noise": sp.randn(0, 1),
    "shift": sp.qrandn(0, 2, 0.5),
    "beta": sp.distribution(stats.beta(2, 5)),
    "count": sp.distribution(stats.poisson(3)),
    "drawn": sp.distribution(lambda random: random.random()),
    "double": sp.sample_from(lambda config: 2 * config["layers"]),
    "fold": sp.grid_search([1, 2, 3]),
    "size": sp.ordinal([16, 32, 64]),
    "shape": sp.choice([(1, 2), (3, 4)]),
    "mixed": sp.choice([True, 1, 1.0, None, "a", relu, float("nan")]),
    "opt": sp.choice(
        [
            {"kind": "sgd", "lr": sp.uniform(0, 1)},
            {"kind": "adam", "inner": sp.choice([{"eps": sp.loguniform(1e-9, 1e-1)}, "none"])},
            "plain",
        ]
    ),
    "domain": sp.choice([sp.uniform(0, 1), sp.randint(10, 20)]),
    "net": {"sizes": [sp.randint(1, 4), sp.uniform(0, 1)]},
    "one": sp.choice(["only"]),
    "same": sp.qrandint(7, 15, 8),
    "huge": sp.randint(0, 10**30),
    "wide": sp.uniform(-1.7e308, 1.7e308),
    "fine": sp.quniform(0, 1, 1e-9),
    "constant": 5,
}


def loss_of(config: Config) -> float:
    opt = config["opt"]
    inner = opt["lr"] if isinstance(opt, dict) and "lr" in opt else 1.0
    return (config["momentum"] - 0.3) ** 2 + (config["layers"] - 4) ** 2 / 10 + inner


def started(space: Any = FLOAT, /, *, sampler: Any = "random", num_samples: int = 100, **options: Any) -> OptunaSearch:
    task = {name: options.pop(name) for name in ("metric", "mode", "seed", "slots", "fidelity") if name in options}
    searcher = OptunaSearch(sampler=sampler, **options)
    searcher.prepare(task_of(space, num_samples, **task))
    return searcher


def states(searcher: OptunaSearch) -> list[str]:
    return [trial.state.name for trial in searcher.study.trials]


def result(loss: Any, iteration: int = 1, **more: Any) -> Config:
    return {"loss": loss, "training_iteration": iteration, **more}


class Life(Run):
    """A run in which trials report, are stopped, fail, and are interrupted."""

    def end_one(self) -> None:
        trial_id, config = self.running.pop(0)
        number, loss = int(trial_id), self.objective(config)
        self.losses.append(loss)
        self._tell("on_trial_result", trial_id, result(loss + 1, 1, config=config))
        outcomes = [Outcome.COMPLETED, Outcome.STOPPED, Outcome.COMPLETED, Outcome.COMPLETED, Outcome.FAILED]
        outcome = Outcome.INTERRUPTED if number % 17 == 16 else outcomes[number % 5]
        self._tell("on_trial_complete", trial_id, result(loss, 2, config=config), outcome)

    def _tell(self, method: str, *told: Any) -> None:
        self.log.append((method, *told))
        getattr(self.searcher, method)(*told)


def relived(searcher: Searcher, log: list[Any]) -> Searcher:
    for kind, *told in log:
        getattr(searcher, "on_suggested" if kind == "suggested" else kind)(*told)
    return searcher


def contents(searcher: OptunaSearch) -> list[Any]:
    return [
        (trial.state, trial.values, trial.params, trial.distributions, trial.intermediate_values)
        for trial in searcher.study.trials
    ]


# ------------------------------------------------------------------------------------------ spaces


@pytest.mark.parametrize("name", NAMED)
def test_every_space_will_do(name: str) -> None:
    searcher = started(EVERYTHING, sampler=name, slots=2)
    run = Life(searcher, loss_of, slots=2).go(14 if name in SLOW else 40)
    for config in run.configs:
        assert not searcher.space.check_point(config)
        assert set(config) == set(EVERYTHING)
        assert config["double"] == 2 * config["layers"] and config["constant"] == 5 and config["same"] == 8
        assert isinstance(config["shape"], tuple) and isinstance(config["batch"], int)
        assert config["shape"] in [(1, 2), (3, 4)] and config["batch"] in (8, 16, 24, 32)
        assert isinstance(config["domain"], (int, float)) and type(config["count"]) is int
        assert 0.0 <= config["drawn"] <= 1.0
    options = {repr(config["opt"]).partition(",")[0] for config in run.configs}
    assert len(options) == 3 or name in SLOW


def test_the_study_holds_what_is_run() -> None:
    searcher = started(EVERYTHING)
    for index in range(50):
        config = ask(searcher, index)
        params = searcher.study.trials[index].params
        for name in ("lr", "momentum", "layers", "units", "drop", "decay", "batch", "width", "fold", "one", "fine"):
            assert params[name] == config[name] and type(params[name]) is type(config[name]), name
        assert params["size"] == [16, 32, 64].index(config["size"])
        assert params["shape"] == {(1, 2): "0: (1, 2)", (3, 4): "1: (3, 4)"}[config["shape"]]
        assert params["net/sizes/0"] == config["net"]["sizes"][0]
        assert params["noise"] == pytest.approx(sp.randn(0, 1).to_unit(config["noise"]))
        assert not {"drawn", "double", "constant"} & set(params)
        for name, distribution in searcher.study.trials[index].distributions.items():
            assert distribution._contains(distribution.to_internal_repr(params[name])), name


def test_only_the_parameters_of_the_option_taken_are_asked_for() -> None:
    searcher = started({"opt": EVERYTHING["opt"]})
    for index in range(40):
        opt = ask(searcher, index)["opt"]
        expected = {"opt"} | ({"opt/lr"} if "lr" in opt else set())
        if isinstance(opt, dict) and "inner" in opt:
            expected |= {"opt/inner"} | ({"opt/inner/eps"} if opt["inner"] != "none" else set())
        assert set(searcher.study.trials[index].params) == expected


def test_names_in_the_study_are_paths_where_these_tell_parameters_apart() -> None:
    space = {"a": sp.choice([{"x": sp.uniform(0, 1)}, {"x": sp.uniform(0, 9), "y": 1}]), "b": sp.choice([sp.randn()])}
    searcher = started(space)
    for index in range(10):
        ask(searcher, index)
    names = {name for trial in searcher.study.trials for name in trial.params}
    assert names == {"a", "a[0]/x", "a[1]/x", "b", "b[0]"}


def test_categories() -> None:
    space = {"mixed": EVERYTHING["mixed"], "plain": sp.choice([None, False, 2, 0.5, "b", np.int64(7), np.float64(8)])}
    searcher = started(space)
    ask(searcher, 0)
    distributions = searcher.study.trials[0].distributions
    assert distributions["mixed"].choices == ("0: True", "1: 1", "2: 1.0", None, "a", "5: relu", "6: nan")
    assert distributions["plain"].choices == (None, False, 2, 0.5, "b", 7, 8.0)
    seen = {repr(ask(searcher, index)["mixed"]) for index in range(1, 80)}
    assert {repr(option) for option in EVERYTHING["mixed"].options} == seen


def test_texts_of_options_are_the_same_in_every_process() -> None:
    class Model:
        pass

    long = {"kind": "x" * 100}
    searcher = started({"a": sp.choice([Model(), long]), "clash": sp.choice(["0: (1, 2)", (1, 2), "1: (1, 2)"])})
    ask(searcher, 0)
    distributions = searcher.study.trials[0].distributions
    first, second = distributions["a"].choices
    assert "0x" not in first and len(second) < 70
    assert distributions["clash"].choices == (0, 1, 2)


@pytest.mark.parametrize(
    "domain",
    [
        sp.qlograndint(4, 64, 4),
        sp.qloguniform(0.1, 1, 0.1),
        sp.quniform(0.05, 1, 0.1),
        sp.qrandint(3, 32, 8),
        sp.ordinal([1, 2, 3]),
        sp.qrandn(0, 1, 1.0),
        sp.distribution(stats.poisson(2)),
        sp.choice([(1,), (2,), (3,)]),
        sp.randint(0, 4),
    ],
    ids=repr,
)
def test_draws_are_distributed_as_the_domain_says(domain: sp.Domain) -> None:
    searcher = started({"x": domain}, num_samples=1500)
    drawn = Counter(config["x"] for config in Run(searcher, lambda config: 1.0).go(1500).configs)
    expected = Counter(domain.from_unit((number + 0.5) / 15_000) for number in range(15_000))
    frequent = [value for value, count in expected.items() if count > 100]
    found = [drawn[value] for value in frequent]
    scale = sum(found) / sum(expected[value] for value in frequent)
    assert stats.chisquare(found, [scale * expected[value] for value in frequent]).pvalue > 1e-3
    assert set(drawn) <= set(expected) | {value for value in drawn if domain.contains(value)}


def test_what_cannot_be_quantised_in_a_study_is_still_exact() -> None:
    searcher = started({"a": sp.quniform(0, 1, 1e-9), "b": sp.randint(0, 10**30), "c": sp.uniform(-1.7e308, 1.7e308)})
    for index in range(20):
        assert not searcher.space.check_point(ask(searcher, index))


def test_a_space_without_parameters() -> None:
    searcher = started({"a": 1, "b": sp.sample_from(lambda: 2)}, sampler="tpe")
    run = Run(searcher, lambda config: 1.0, slots=3).go(20)
    assert run.configs == [{"a": 1, "b": 2}] * 20


# ----------------------------------------------------------------------- what differs from Ray Tune


def test_nan_ends_the_trial_as_failed() -> None:
    searcher = started()
    for index, value in enumerate([math.nan, math.inf, None, "a", 0.5]):
        ask(searcher, index)
        searcher.on_trial_complete(f"{index:05d}", result(value))
    assert states(searcher) == ["FAIL"] * 4 + ["COMPLETE"]
    assert searcher.study.best_value == 0.5


def test_stopped_trials_are_pruned_with_their_values() -> None:
    searcher = started()
    ask(searcher, 0)
    searcher.on_trial_result("00000", result(3.0, 1))
    searcher.on_trial_result("00000", result(2.0, 2))
    searcher.on_trial_complete("00000", result(1.0, 4), Outcome.STOPPED)
    (trial,) = searcher.study.trials
    assert trial.state is TrialState.PRUNED
    assert trial.intermediate_values == {1: 3.0, 2: 2.0, 4: 1.0}
    with pytest.raises(ValueError, match="No trials are completed"):
        _ = searcher.study.best_value


@pytest.mark.parametrize(
    ("outcome", "last", "state"),
    [
        (Outcome.FAILED, result(0.1), "FAIL"),
        (Outcome.FAILED, None, "FAIL"),
        (Outcome.DROPPED, None, "FAIL"),
        (Outcome.INTERRUPTED, result(0.1), "FAIL"),
        (Outcome.COMPLETED, None, "FAIL"),
        (Outcome.STOPPED, None, "PRUNED"),
        (Outcome.STOPPED, result(math.nan), "PRUNED"),
        (Outcome.COMPLETED, result(0.1), "COMPLETE"),
    ],
)
def test_how_trials_end(outcome: Outcome, last: Config | None, state: str) -> None:
    searcher = started()
    ask(searcher, 0)
    assert states(searcher) == ["RUNNING"]
    searcher.on_trial_complete("00000", last, outcome)
    (trial,) = searcher.study.trials
    assert trial.state.name == state
    assert trial.user_attrs["trial_id"] == "00000"
    assert trial.user_attrs.get("outcome") == (outcome.value if state == "FAIL" else None)


def test_points_may_be_nested_or_flat_and_partial() -> None:
    space = {"m": {"x": sp.uniform(0, 1), "y": sp.uniform(0, 1)}, "k": sp.choice([(1, 2), (3, 4)])}
    points = [{"m": {"x": 0.25, "y": 0.5}, "k": (3, 4)}, {"m/x": 0.75}]
    searcher = started(space, points_to_evaluate=points, sampler="tpe")
    assert ask(searcher, 0) == {"m": {"x": 0.25, "y": 0.5}, "k": (3, 4)}
    assert searcher.study.trials[0].params == {"m/x": 0.25, "m/y": 0.5, "k": "1: (3, 4)"}
    second = ask(searcher, 1)
    assert second["m"]["x"] == 0.75 and second["k"] in [(1, 2), (3, 4)]
    for index in (0, 1):
        searcher.on_trial_result(f"{index:05d}", result(2.0, 1))
        searcher.on_trial_complete(f"{index:05d}", result(1.0, 2))
    assert states(searcher) == ["COMPLETE", "COMPLETE"]
    assert searcher.study.trials[1].intermediate_values == {1: 2.0, 2: 1.0}


def test_the_training_never_sees_a_domain() -> None:
    searcher = started({"a": EVERYTHING["opt"], "b": EVERYTHING["domain"]}, sampler="tpe")
    run = Run(searcher, lambda config: 1.0).go(30)
    assert not any("uniform" in repr(config) or "randint" in repr(config) for config in run.configs)


def test_a_result_without_the_metric_is_passed_over() -> None:
    searcher = started()
    ask(searcher, 0)
    searcher.on_trial_result("00000", {"training_iteration": 1, "other": 1})
    searcher.on_trial_result("00000", {"loss": 1.0})
    searcher.on_trial_result("00000", result(math.nan, 2))
    searcher.on_trial_result("00000", result(0.5, 3))
    searcher.on_trial_complete("00000", result(0.5, 3))
    assert searcher.study.trials[0].intermediate_values == {3: 0.5}


def test_an_iteration_is_reported_once() -> None:
    searcher = started(fidelity=Fidelity("epoch", 9, (1, 3)))
    ask(searcher, 0)
    for epoch, value in [(1, 3.0), (1, 9.0), (2.5, 2.0), (2.9, 9.0), (-1, 9.0)]:
        searcher.on_trial_result("00000", {"loss": value, "epoch": epoch, "training_iteration": 7})
    searcher.on_trial_complete("00000", {"loss": 1.0, "epoch": 3, "training_iteration": 8}, Outcome.STOPPED)
    assert searcher.study.trials[0].intermediate_values == {1: 3.0, 2: 2.0, 3: 1.0}


def test_a_nested_metric() -> None:
    searcher = started(metric="eval/loss", mode="max")
    ask(searcher, 0)
    searcher.on_trial_complete("00000", {"eval": {"loss": 2.5}, "training_iteration": 1})
    assert searcher.study.best_value == 2.5
    assert searcher.study.direction is optuna.study.StudyDirection.MAXIMIZE


def test_nothing_is_told_of_a_trial_that_is_not_known() -> None:
    searcher = started()
    searcher.on_trial_result("x", result(1.0))
    searcher.on_trial_complete("x", result(1.0))
    assert states(searcher) == []


# ------------------------------------------------------------------------- the same as bare Optuna

FLAT = {
    "x": sp.uniform(-5, 5),
    "lr": sp.loguniform(1e-5, 1),
    "n": sp.randint(1, 65),
    "q": sp.qrandint(8, 64, 8),
    "act": sp.choice(["relu", "tanh", "gelu"]),
}
NUMBERS = {name: domain for name, domain in FLAT.items() if name != "act"}


def flat_loss(config: Config) -> float:
    loss = (config["x"] - 1) ** 2 + (math.log10(config["lr"]) + 3) ** 2 + ((config["n"] - 20) / 16) ** 2
    return loss + (config.get("act", "tanh") != "tanh") + ((config["q"] - 32) / 32) ** 2


def helped() -> CmaEsSampler:
    return CmaEsSampler(independent_sampler=TPESampler(), warn_independent_sampling=False)


def univariate() -> TPESampler:
    return TPESampler(multivariate=False, n_startup_trials=5)


def small() -> NSGAIISampler:
    return NSGAIISampler(population_size=8)


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize(
    ("name", "sampler", "space"),
    [
        ("random", RandomSampler, FLAT),
        ("tpe", lambda: TPESampler(constant_liar=True), FLAT),
        ("nsgaii", NSGAIISampler, FLAT),
        ("cmaes", helped, NUMBERS),
        (univariate(), univariate, FLAT),
        (small(), small, FLAT),
        pytest.param("gp", lambda: GPSampler(independent_sampler=TPESampler()), FLAT, marks=pytest.mark.slow),
    ],
    ids=["random", "tpe", "nsgaii", "cmaes", "univariate", "small", "gp"],
)
def test_suggestions_are_those_of_bare_optuna(name: Any, sampler: Any, space: Config, slots: int) -> None:
    if sampler is small:
        slots = 1  # its children are often like their parents; what is running already would not be suggested again
    trials = 16 if name in SLOW else 60
    ours = Run(started(space, sampler=name, slots=slots), flat_loss, slots).go(trials).configs
    bare = sampler()
    study, sources, theirs, running = optuna.create_study(sampler=bare), list(generators(bare)), [], []
    for index in range(trials):
        reseed(bare, sources, Random(f"1:suggest:{index}"))
        trial = study.ask()
        config: Config = {
            "x": trial.suggest_float("x", -5, 5),
            "lr": trial.suggest_float("lr", 1e-5, 1, log=True),
            "n": trial.suggest_int("n", 1, 64),
            "q": trial.suggest_int("q", 8, 64, step=8),
        }
        if "act" in space:
            config["act"] = trial.suggest_categorical("act", ["relu", "tanh", "gelu"])
        theirs.append(config)
        running.append((trial, flat_loss(config)))
        if len(running) == slots:
            study.tell(*running.pop(0))
    assert ours == theirs


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("name", ["tpe", "cmaes"])
def test_better_than_chance(name: str, problem: str) -> None:
    space, objective = PROBLEMS[problem]
    wins = 0
    for seed in range(5):
        run = Run(started(space, sampler=name, seed=seed), objective).go(100)
        wins += min(run.losses) < best_by_chance(space, objective, seed)
    assert wins >= 4


# ------------------------------------------------------------------------------ seeds and resuming


@pytest.mark.parametrize("name", NAMED)
def test_the_same_seed_gives_the_same_run(name: str) -> None:
    trials = 13 if name in SLOW else 30
    space, objective = PROBLEMS["conditional"]

    def configs(seed: int) -> list[Config]:
        return Life(started(space, sampler=name, seed=seed, slots=3), objective, 3).go(trials).configs

    assert configs(1) == configs(1) != configs(2)


def test_random_state_and_its_other_name_override_the_seed_of_the_run() -> None:
    def first(of_run: int, **own: Any) -> Config:
        return ask(prepared(OptunaSearch(**own), FLOAT, seed=of_run), 0)

    assert first(7) == first(1, random_state=7) == first(2, seed=7) == first(3, seed=7, random_state=7) != first(1)


@pytest.mark.parametrize(
    "sampler",
    [
        *NAMED,
        lambda: TPESampler(multivariate=True, group=True),
        lambda: TPESampler(multivariate=False, constant_liar=False),
        lambda: NSGAIISampler(population_size=6),
        lambda: NSGAIIISampler(population_size=6),
        lambda: CmaEsSampler(n_startup_trials=4, popsize=4, with_margin=True, warn_independent_sampling=False),
        lambda: QMCSampler(qmc_type="halton", warn_independent_sampling=False),
        lambda: PartialFixedSampler({"decay": 1e-3}, TPESampler()),
    ],
    ids=[*NAMES, "group", "univariate", "small", "nsgaiii", "margin", "halton", "fixed"],
)
@pytest.mark.parametrize("problem", ["conditional", "mixed"])
def test_a_resumed_run_goes_on_as_if_it_had_not_ended(sampler: Any, problem: str) -> None:
    before, after = (12, 6) if sampler in SLOW else (40, 100)
    space, objective = PROBLEMS[problem]
    point = space.sample(0, 99)
    options: Any = {"sampler": sampler() if callable(sampler) else sampler, "slots": 4, "points_to_evaluate": [point]}
    whole = Life(started(space, **options), objective, 4).go(before)
    log, running = list(whole.log), list(whole.running)
    whole.go(before + after)

    resumed = Life(relived(started(space, **options), log), objective, 4)
    resumed.configs, resumed.running = whole.configs[:before], running
    assert resumed.go(before + after).configs == whole.configs
    assert contents(resumed.searcher) == contents(whole.searcher)


@pytest.mark.parametrize("name", ["random", "tpe", "nsgaii", "qmc", "cmaes"])
def test_everything_is_resumed_exactly(name: str) -> None:
    whole = Life(started(EVERYTHING, sampler=name, slots=3), loss_of, 3).go(30)
    log, running = list(whole.log), list(whole.running)
    whole.go(50)
    resumed = Life(relived(started(EVERYTHING, sampler=name, slots=3), log), loss_of, 3)
    resumed.configs, resumed.running = whole.configs[:30], running
    assert repr(resumed.go(50).configs) == repr(whole.configs)  # one of the options is NaN


def test_told_in_another_order_a_run_goes_on_as_well() -> None:
    space, objective = PROBLEMS["conditional"]
    for name in ("tpe", "nsgaii", "cmaes"):
        run = Run(started(space, sampler=name, slots=4), objective, 4).go(30)
        searcher = started(space, sampler=name, slots=4)
        replayed(searcher, run.log, suggestions_first=True)
        assert [trial.params for trial in searcher.study.trials] == [t.params for t in run.searcher.study.trials]
        assert ask(searcher, 30).keys() == run.configs[0].keys()


def test_a_searcher_can_work_for_one_run_after_another() -> None:
    space, objective = PROBLEMS["sphere"]
    for sampler in ("tpe", "cmaes", TPESampler(), NSGAIISampler(population_size=5)):
        searcher = OptunaSearch(sampler=sampler)
        first = Run(prepared(searcher, space), objective).go(30)
        second = Run(prepared(searcher, space), objective).go(30)
        assert first.configs == second.configs
        assert len(searcher.study.trials) == 30
        other = Run(prepared(searcher, {"y": sp.uniform(0, 1)}), lambda config: config["y"]).go(12)
        assert set(other.configs[-1]) == {"y"}


def test_a_sampler_is_seeded_for_each_suggestion_whatever_its_own_seed() -> None:
    runs = [Run(started(FLAT, sampler=TPESampler(seed=seed)), flat_loss).go(20).configs for seed in (1, 2)]
    assert runs[0] == runs[1] == Run(started(FLAT, sampler="tpe"), flat_loss).go(20).configs


class Shuffling(BaseSampler):
    """A sampler with generators of all kinds, some of them inside of another."""

    def __init__(self) -> None:
        self.python, self.new, self.old = Random(), np.random.default_rng(), np.random.RandomState()
        self.others = [RandomSampler()]

    def infer_relative_search_space(self, study: Any, trial: Any) -> Config:
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Config:
        return {}

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        inner = self.others[0].sample_independent(study, trial, param_name, param_distribution)
        return (self.python.random() + self.new.random() + self.old.rand() + inner) / 4


def test_generators_of_all_kinds_are_seeded() -> None:
    assert len(list(generators(Shuffling()))) == 4
    runs = [Run(started(sampler=Shuffling()), lambda config: 1.0).go(9).configs for _ in range(2)]
    assert runs[0] == runs[1] and len({config["x"] for config in runs[0]}) == 9


def test_calls_may_come_from_any_thread(tmp_path: Path) -> None:
    for storage in (None, f"sqlite:///{tmp_path}/study.db"):
        searcher = started(FLAT, sampler="tpe", storage=storage)
        run = Run(searcher, flat_loss, 2)
        for trials in (4, 8, 12):
            thread = threading.Thread(target=run.go, args=(trials,))
            thread.start()
            thread.join()
        assert run.configs == Run(started(FLAT, sampler="tpe"), flat_loss, 2).go(12).configs


# --------------------------------------------------------------------------------------- parallel


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SLOW])
def test_configs_that_run_at_a_time_are_different_where_the_space_allows(name: str) -> None:
    space = {"a": sp.choice(["x", "y", "z"]), "n": sp.randint(0, 4)}
    searcher = started(space, sampler=name, slots=8)
    run = Run(searcher, lambda config: config["n"] + (config["a"] == "x"), 8)
    for trials in range(1, 60):
        run.go(trials)
        now = [config for _, config in run.running]
        assert not any(config in now[:number] for number, config in enumerate(now))


def test_where_all_configs_run_there_are_the_same_ones_again() -> None:
    searcher = started({"a": sp.choice(["x", "y"])}, sampler="tpe", slots=4)
    assert Counter(ask(searcher, index)["a"] for index in range(4)).keys() == {"x", "y"}


def test_eight_at_a_time_do_not_fall_on_each_other() -> None:
    space, objective = PROBLEMS["sphere"]
    run = Run(started(space, sampler="tpe", slots=8), objective, 8).go(120)
    assert len({tuple(config.values()) for config in run.configs}) == 120
    assert min(run.losses) < best_by_chance(space, objective, 1, 120)


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


def define(trial: optuna.Trial) -> Config:
    kind = trial.suggest_categorical("model/kind", ["linear", "net"])
    if kind == "net":
        trial.suggest_int("model/layers", 1, 4)
    trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    return {"epochs": 10, "model/name": kind.upper()}


def define_loss(config: Config) -> float:
    return (math.log10(config["lr"]) + 3) ** 2 + float(config["model"].get("layers", 9))


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


# ----------------------------------------------------------------------------- what is known already


def test_known_points_are_told_to_the_sampler() -> None:
    space, objective = PROBLEMS["mixed"]
    good = [space.sample(index, 5) for index in range(200)]
    good = sorted(good, key=objective)[:15]
    searcher = started(space, sampler="tpe", warm_start=[(config, objective(config)) for config in good])
    assert states(searcher) == ["COMPLETE"] * 15
    run = Run(searcher, objective).go(10)
    cold = Run(started(space, sampler="tpe"), objective).go(10)
    assert sum(run.losses) < sum(cold.losses)


def test_evaluated_rewards() -> None:
    points = [{"x": 0.1}, {"x": 0.2}, {"x": 0.3}]
    searcher = started(points_to_evaluate=points, evaluated_rewards=[1.0, None, math.nan])
    assert [trial.params["x"] for trial in searcher.study.trials] == [0.1, 0.3]
    assert states(searcher) == ["COMPLETE", "FAIL"]
    assert ask(searcher, 0) == {"x": 0.2}
    several: Any = {"metric": ("a", "b"), "mode": ("min", "min")}
    searcher = started(points_to_evaluate=points[:1], evaluated_rewards=[[1, 2]], **several)
    assert searcher.study.trials[0].values == [1.0, 2.0]
    searcher = OptunaSearch(points_to_evaluate=points[:1], evaluated_rewards=[[1, 2, 3]])
    assert mistakes_of(searcher.prepare, task_of(FLOAT, **several)) == [
        "evaluated_rewards[0]: expected 2 numbers, got [1, 2, 3]."
    ]


@pytest.mark.parametrize("sampler", [small, lambda: NSGAIIISampler(population_size=8)], ids=["nsgaii", "nsgaiii"])
def test_known_points_take_part_in_an_evolution(sampler: Any) -> None:
    space, objective = PROBLEMS["mixed"]
    good = sorted((space.sample(index, 5) for index in range(300)), key=objective)[:8]
    known = [(config, objective(config)) for config in good[:7]]
    warm = started(space, sampler=sampler(), warm_start=known, points_to_evaluate=good[7:])
    run = Run(warm, objective).go(9)
    cold = Run(started(space, sampler=sampler()), objective).go(9)
    assert sum(run.losses[1:]) < sum(cold.losses[1:]) / 2


# ---------------------------------------------------------------------------------- studies that are kept


def kept(tmp_path: Path, **options: Any) -> OptunaSearch:
    storage = f"sqlite:///{tmp_path}/study.db"
    return started(FLAT, sampler="tpe", storage=storage, study_name="ours", **options)


def test_a_study_on_disk_is_gone_on_with(tmp_path: Path) -> None:
    options: Any = {"points_to_evaluate": [{"x": 1.0}, {"x": 2.0}], "evaluated_rewards": [0.5, None], "slots": 2}
    whole = Life(started(FLAT, sampler="tpe", **options), flat_loss, 2).go(24)
    first = Life(kept(tmp_path, **options), flat_loss, 2).go(12)
    log, running = list(first.log), list(first.running)
    ask(first.searcher, 12)  # and then the machine goes down

    again = Life(relived(kept(tmp_path, **options), log), flat_loss, 2)
    assert isinstance(again.searcher, OptunaSearch)
    assert (
        len(again.searcher.study.trials) == 1 + 12 + 1 + 2
    )  # one that nobody knows of; two had failed, and fail again
    again.configs, again.running = first.configs[:12], running
    assert again.go(24).configs == whole.configs
    while again.running:
        again.end_one()
    found = states(again.searcher)
    assert "RUNNING" not in found and len(found) == 1 + 24 + 1 + 2


def test_a_trial_that_an_interruption_ended_can_complete_in_the_next_life(tmp_path: Path) -> None:
    searcher = kept(tmp_path)
    config = ask(searcher, 0)
    searcher.on_trial_complete("00000", result(1.0), Outcome.INTERRUPTED)
    searcher = kept(tmp_path)
    searcher.on_suggested("00000", 0, config)
    searcher.on_trial_complete("00000", result(0.5))
    assert states(searcher) == ["FAIL", "COMPLETE"]


def test_trials_of_an_earlier_life_are_not_told_twice(tmp_path: Path) -> None:
    searcher = kept(tmp_path)
    config = ask(searcher, 0)
    searcher.on_trial_result("00000", result(2.0, 1))
    searcher.on_trial_complete("00000", result(1.0, 2), Outcome.STOPPED)
    before = contents(searcher)
    searcher = kept(tmp_path)
    searcher.on_suggested("00000", 0, config)
    searcher.on_trial_result("00000", result(2.0, 1))
    searcher.on_trial_complete("00000", result(1.0, 2), Outcome.STOPPED)
    assert contents(searcher) == before


def test_another_run_with_the_same_seed_does_not_try_the_same_again() -> None:
    """Of optuna#3255: the same parameters came again."""
    for sampler in ("random", "tpe"):
        storage = optuna.storages.InMemoryStorage()
        options: Any = {"sampler": sampler, "storage": storage, "study_name": "ours"}
        runs = [Run(started(FLAT, **options), flat_loss).go(8) for _ in range(3)]
        assert len({repr(config) for run in runs for config in run.configs}) == 24
        log = runs[-1].log
        third = Run(relived(started(FLAT, **options), [("suggested", *event[1:]) for event in log[::2]]), flat_loss)
        assert len(third.searcher.study.trials) == 24  # type: ignore[attr-defined]


def test_another_run_learns_from_the_study_of_the_first(tmp_path: Path) -> None:
    Run(kept(tmp_path), flat_loss).go(15)
    searcher = kept(tmp_path, seed=2)
    run = Run(searcher, flat_loss).go(5)
    assert len(searcher.study.trials) == 20
    assert run.configs != Run(started(FLAT, sampler="tpe", seed=2), flat_loss).go(5).configs


def test_a_study_of_the_users_own() -> None:
    study = optuna.create_study(direction="maximize", sampler=RandomSampler())
    study.enqueue_trial({"x": 0.125})
    searcher = OptunaSearch(study=study, points_to_evaluate=[{"x": 0.5}])
    searcher.prepare(task_of(FLOAT, mode="max"))
    assert searcher.study is study and type(study.sampler) is RandomSampler
    assert ask(searcher, 0) == {"x": 0.5}
    assert ask(searcher, 1) == {"x": 0.125}
    assert [trial.params["x"] for trial in study.trials] == [0.125, 0.5]
    searcher = OptunaSearch(study=study, sampler="tpe")
    searcher.prepare(task_of(FLOAT, mode="max"))
    assert type(study.sampler) is TPESampler


def test_what_is_enqueued_is_made_legal() -> None:
    study = optuna.create_study(sampler=RandomSampler())
    study.enqueue_trial({"n": 99, "c": "gone"})
    searcher = OptunaSearch(study=study)
    searcher.prepare(task_of({"n": sp.randint(0, 10), "c": sp.choice(["a", "b"])}))
    assert ask(searcher, 0)["n"] == 9


def test_a_study_that_does_not_fit() -> None:
    study = optuna.create_study(direction="maximize")
    study.add_trial(
        optuna.trial.create_trial(
            value=1.0, params={"x": "a"}, distributions={"x": optuna.distributions.CategoricalDistribution(["a"])}
        )
    )
    first, second = mistakes_of(OptunaSearch(study=study).prepare, task_of(FLOAT))
    assert first.startswith("study: expected one to minimize, got ")
    assert second.startswith("x: expected CategoricalDistribution(choices=('a',)), as earlier trials of the study")


def test_a_new_study_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    level = optuna.logging.get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in NAMES:
            if name not in SLOW:
                Run(started(EVERYTHING, sampler=name), loss_of).go(12)
        Run(started(None, space=define), define_loss).go(3)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == level


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


# ---------------------------------------------------------------------------------------- mistakes


def test_all_mistakes_at_once() -> None:
    found = mistakes_of(
        OptunaSearch,
        space={"a": 1, "b": {"c": sp.uniform(0, 1)}, "d": optuna.distributions.IntDistribution(0, 1)},
        metric=3,
        mode="least",
        sampler="tps",
        study_name="",
        storage=5,
        seed=1,
        random_state=2,
        points_to_evaluate={"x": 1},
        warm_start=[],
        study="study",
        constraints=3,
    )
    starts = [
        "points_to_evaluate: ",
        "metric: ",
        "mode: ",
        "warm_start: expected None where space is a function",
        "space, a: expected a distribution of Optuna, got 1. Give it in param_space.",
        "space, b/c: expected a distribution of Optuna",
        "sampler: expected 'tpe', 'gp', 'cmaes', 'nsgaii', 'qmc', 'random' or a sampler of Optuna, got 'tps'. "
        "Did you mean 'tpe'?",
        "study_name: ",
        "storage: expected a URL or a storage of Optuna, got 5.",
        "study: expected an optuna.Study, got 'study'.",
        "study: expected either a study or study_name and storage",
        "seed: expected a whole number, the same as random_state, got 1.",
        "constraints: expected a function of a result",
    ]
    assert len(found) == len(starts), found
    for why, start in zip(found, starts, strict=True):
        assert why.startswith(start)
    assert mistakes_of(OptunaSearch, space=lambda: None)[0].startswith("space: expected a function of an optuna.Trial")
    assert mistakes_of(OptunaSearch, sampler=TPESampler)[0].startswith("sampler: expected a name or a sampler of")
    assert mistakes_of(OptunaSearch, "loss")[0].startswith("space: ")


def test_mistakes_that_need_the_task() -> None:
    space = Space({"a": sp.uniform(0, 1)}, [lambda config: True])
    (why,) = mistakes_of(OptunaSearch(define).prepare, task_of(space))
    assert why.startswith("constraints of the space: cannot be kept to where space is a function.")
    for sampler in ("cmaes", "qmc", "random", RandomSampler(), CmaEsSampler()):
        searcher = OptunaSearch(sampler=sampler, constraints=lambda result: [1])
        (why,) = mistakes_of(searcher.prepare, task_of(FLOAT))
        assert why.startswith("constraints: ") and why.endswith("does not heed any. Use 'tpe', 'gp' or 'nsgaii'.")
    found = mistakes_of(OptunaSearch().prepare, task_of(FLOAT, metric=None, mode=None))
    assert any(why.startswith("metric: ") for why in found)
    (why,) = mistakes_of(OptunaSearch(points_to_evaluate=[{"y": 1}]).prepare, task_of(FLOAT))
    assert why.startswith("points_to_evaluate[0]: y: no such parameter.")


@pytest.mark.slow
def test_gaussian_processes_under_constraints_need_them_of_all_points() -> None:
    options: Any = {"points_to_evaluate": [{"x": 0.1}], "evaluated_rewards": [1.0], "constraints": lambda result: [1]}
    (why,) = mistakes_of(OptunaSearch(sampler="gp", **options).prepare, task_of(FLOAT))
    assert why.startswith("constraints: 'gp' needs them of all configs")


@pytest.mark.parametrize(
    ("sampler", "module", "extra"),
    [
        (None, "optuna", "optuna"),
        ("cmaes", "cmaes", "optuna"),
        ("gp", "torch", "torch"),
        (GPSampler(), "torch", "torch"),
    ],
)
def test_a_library_that_is_missing(sampler: Any, module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf"pip install 'tune-plugins\[{extra}\]'"):
        OptunaSearch(sampler=sampler)


def test_constraints_on_an_old_optuna(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (optuna.trial.Trial, optuna.trial.BaseTrial):
        monkeypatch.delattr(kind, "set_constraint")
    assert mistakes_of(OptunaSearch, constraints=lambda result: [1])[0].startswith(
        "constraints: need optuna 5 or newer"
    )


def test_optuna_is_loaded_when_it_is_used() -> None:
    code = (
        "import sys, tune_plugins, tune_plugins.search.by_name, tune_plugins.search.optuna as module;"
        "assert 'optuna' not in sys.modules;"
        "module.OptunaSearch(); assert 'optuna' in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_arguments_are_in_the_order_of_ray_tune() -> None:
    searcher = OptunaSearch(None, "loss", "min", [{"x": 0.5}], TPESampler(), "name", None, 3, [0.1])
    searcher.prepare(task_of(FLOAT, metric=None, mode=None))
    assert (searcher.study.study_name, searcher.seed, searcher.study.best_value) == ("name", 3, 0.1)


def test_trials_that_fail_may_teach_the_sampler() -> None:
    """Training of a large batch in a wide model runs out of memory; the loss is least next to where it does."""

    def failures(**options: Any) -> int:
        searcher = OptunaSearch(**options)
        space = {"batch": sp.lograndint(8, 513), "width": sp.lograndint(8, 513)}
        searcher.prepare(task_of(space, seed=1, num_samples=60))
        count = 0
        for index in range(60):
            config = searcher.ask(str(index), index)
            size = config["batch"] * config["width"]  # type: ignore[index, call-overload]
            count += size > 2000
            outcome = Outcome.FAILED if size > 2000 else Outcome.COMPLETED
            searcher.on_trial_complete(str(index), None if size > 2000 else {"loss": 1 / size}, outcome)
        return count

    assert failures(failed="PRUNED") < 0.75 * failures()
    with pytest.raises(ArgumentError, match="failed: expected 'FAIL' or 'PRUNED', got 'worst'"):
        OptunaSearch(failed="worst")  # type: ignore[arg-type]


def test_a_storage_that_cannot_be_opened_is_named() -> None:
    with pytest.raises(ArgumentError, match=r"storage: expected a storage of Optuna, or a URL.*got 'study\.db' \("):
        OptunaSearch(storage="study.db").prepare(task_of(FLOAT))
