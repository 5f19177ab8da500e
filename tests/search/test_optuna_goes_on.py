"""`OptunaSearch` from a seed, after a resume, with what is known already, and on studies that are kept."""

from __future__ import annotations

import math
import threading
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from mistakes import mistakes_of
from optuna.samplers import (
    CmaEsSampler,
    NSGAIIISampler,
    NSGAIISampler,
    PartialFixedSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna_searches import (
    EVERYTHING,
    FLAT,
    FLOAT,
    NAMED,
    SLOW,
    Config,
    Life,
    Shuffling,
    contents,
    define,
    define_loss,
    flat_loss,
    loss_of,
    relived,
    result,
    small,
    started,
    states,
)
from search_runs import PROBLEMS, Run, ask, best_by_chance, prepared, replayed, task_of

from tune_plugins import space as sp
from tune_plugins.search import Outcome
from tune_plugins.search.optuna import OptunaSearch
from tune_plugins.search.optuna_samplers import NAMES, generators

pytestmark = pytest.mark.filterwarnings("error", "ignore::optuna.exceptions.ExperimentalWarning")


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
