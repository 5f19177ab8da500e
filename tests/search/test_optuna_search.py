"""The searcher that draws from Optuna's samplers, against the real library."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from random import Random
from typing import Any

import numpy as np
import optuna
import pytest
from mistakes import mistakes_of
from optuna.samplers import (
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import TrialState
from optuna_searches import (
    EVERYTHING,
    FLAT,
    FLOAT,
    NAMED,
    SLOW,
    Config,
    Life,
    define,
    flat_loss,
    loss_of,
    result,
    small,
    started,
    states,
)
from scipy import stats
from search_runs import PROBLEMS, Run, ask, best_by_chance, task_of

from tune_plugins import space as sp
from tune_plugins.errors import ArgumentError, MissingDependencyError
from tune_plugins.search import Fidelity, Outcome
from tune_plugins.search.optuna import OptunaSearch
from tune_plugins.search.optuna_samplers import generators, reseed
from tune_plugins.space import Space

pytestmark = pytest.mark.filterwarnings("error", "ignore::optuna.exceptions.ExperimentalWarning")


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

NUMBERS = {name: domain for name, domain in FLAT.items() if name != "act"}


def helped() -> CmaEsSampler:
    return CmaEsSampler(independent_sampler=TPESampler(), warn_independent_sampling=False)


def univariate() -> TPESampler:
    return TPESampler(multivariate=False, n_startup_trials=5)


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
