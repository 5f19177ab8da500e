"""Resources that follow the number of live trials."""

from __future__ import annotations

from typing import Any

import pytest
from mistakes import mistakes_of
from pbt_runs import Fixed, Run, Walk, run

from tune_plugins.core.events import PauseTrial, ResultsReported, SlotsChanged, StartTrial, TrialPaused, TrialStarted
from tune_plugins.core.experiment import Rules
from tune_plugins.core.resources import PlacementGroupFactory
from tune_plugins.core.trial import Trial
from tune_plugins.errors import ArgumentError
from tune_plugins.schedulers import (
    ASHAScheduler,
    DistributeResources,
    DistributeResourcesToTopJob,
    HyperBandScheduler,
    PopulationBasedTraining,
    ResourceChangingScheduler,
)
from tune_plugins.space import uniform
from tune_plugins.testing.experiment import SearchedExperiment

CONFIGS = [{"rate": rate} for rate in (0.1, 0.2, 0.3, 0.4)]


def changing(*arguments: Any, cpus: float = 4, **options: Any) -> ResourceChangingScheduler:
    scheduler = ResourceChangingScheduler(*arguments, **options)
    scheduler.cluster_resources = {"CPU": cpus}
    return scheduler


def resources(found: Run) -> list[tuple[str, int, Any]]:
    return [(c.trial_id, c.iteration, c.resources) for c in found.commands(StartTrial)]


class Lengths(Walk):
    """Trial i takes 2 * (i + 1) steps."""

    def step(self, state: Any, config: dict[str, Any]) -> Any:
        return None if state[0] >= 20 * config["rate"] else super().step(state, config)


def test_those_that_go_on_get_what_others_have_freed() -> None:
    found = run(changing(), CONFIGS, Lengths(100), workers=4)
    assert resources(found)[:4] == [(f"{i:05d}", 0, None) for i in range(4)]
    changed = resources(found)[4:]
    assert [r for t, _, r in changed if t == "00003"] == [PlacementGroupFactory([{"CPU": n}]) for n in (2, 4)]
    assert all(t.iteration == 2 * (t.index + 1) for t in found.experiment.trials.values()), "no step was lost"
    reasons = [d.reason for d in found.decisions if d.trial_id == "00003"]
    assert reasons == [
        "resources CPU: 1 -> CPU: 2, with 2 live trials",
        "resources CPU: 2 -> CPU: 4, with 1 live trials",
    ]
    assert all(command.evict for command in found.commands(PauseTrial))


def test_base_scheduler_decides_as_it_would_alone() -> None:
    def asha() -> ASHAScheduler:
        return ASHAScheduler(max_t=27, grace_period=1, reduction_factor=3)

    configs = [{"rate": (7 * i % 20) / 20} for i in range(20)]
    alone = run(asha(), configs, Walk(100), workers=4)
    both = run(changing(asha()), configs, Walk(100), workers=4)

    def decided(found: Run) -> list[tuple[str, int, str]]:
        return [(d.trial_id, d.iteration, d.action) for d in found.decisions if d.action == "STOP"]

    assert decided(alone) == decided(both)
    assert any(r is not None for _, _, r in resources(both)), "the last ones got more"


@pytest.mark.parametrize("seed", range(4))
def test_population_with_crashes_comes_to_its_end(seed: int) -> None:
    base = PopulationBasedTraining(
        "training_iteration", perturbation_interval=3, hyperparam_mutations={"rate": uniform(0, 1)}, synch=seed % 2 == 0
    )
    found = run(changing(base, cpus=6), CONFIGS * 2, Walk(20, spread=0.2), workers=3, seed=seed, crash_probability=0.03)
    assert found.exploits


def test_a_function_of_ones_own() -> None:
    seen: list[tuple[int, str, int]] = []

    def more(trials: Any, trial: Trial, result: dict[str, Any], scheduler: Any) -> Any:
        seen.append((len(trials), trial.id, result["training_iteration"]))
        return {"CPU": 2} if result["training_iteration"] == 6 else None

    found = run(changing(None, more, interval=3), CONFIGS[:2], Walk(10), workers=2)
    assert [r for _, _, r in resources(found)] == [None, None, {"CPU": 2}, {"CPU": 2}]
    assert {iteration for _, _, iteration in seen} == {3, 6, 9}


def test_one_that_cannot_move_keeps_what_it_has() -> None:
    scheduler = ResourceChangingScheduler(None, lambda trials, trial, result, scheduler: {"CPU": 2})
    scheduler.setup(metric="score", mode="max", seed=0)
    experiment = SearchedExperiment(Fixed([{}]), scheduler, Rules(trial_limit=1))
    experiment.replay([SlotsChanged(0.0, 1), TrialStarted.dummy()])
    pause = experiment.handle(ResultsReported.dummy(iteration=1, waiting=True))[-1]
    assert isinstance(pause, PauseTrial) and pause.evict
    experiment.handle(TrialPaused(1.0, "00000", resident=True))  # no checkpoint to go on from
    trial = experiment.trials["00000"]
    assert trial.status == "RUNNING" and trial.resources is None
    experiment.handle(ResultsReported.dummy(iteration=2, waiting=True))
    assert trial.status == "RUNNING"
    experiment.validate()


@pytest.mark.parametrize(
    ("arguments", "live", "expected"),
    [
        ({}, 4, [{"CPU": 2.0}] * 4),
        ({}, 3, [{"CPU": 3.0}, {"CPU": 3.0}, {"CPU": 2.0}]),
        ({"increase_by_times": 1}, 1, [{"CPU": 2.0}]),
        ({"reserve_resources": {"CPU": 4}}, 4, [{"CPU": 1.0}] * 4),
        ({"increase_by": {"CPU": 2}}, 2, [{"CPU": 5.0}, {"CPU": 3.0}]),
        ({"total": {"CPU": 1}}, 2, [{"CPU": 1.0}, {"CPU": 1.0}]),
        ({"base": {"CPU": 1, "GPU": 0.5}, "total": {"CPU": 8, "GPU": 3}}, 1, [{"CPU": 3.0, "GPU": 2.5}]),
    ],
)
def test_even_shares(arguments: dict[str, Any], live: int, expected: list[dict[str, float]]) -> None:
    scheduler = changing(cpus=8)
    trials = {f"{i:05d}": Trial(f"{i:05d}", i, {}) for i in range(live)}
    share = DistributeResources(**arguments)
    given = [share(trials, trial, {}, scheduler) for trial in trials.values()]
    assert given == [PlacementGroupFactory([each]) for each in expected]


P = PlacementGroupFactory
ONCE = {"increase_by_times": 1}


@pytest.mark.parametrize(
    ("start", "arguments", "live", "expected"),
    [
        (P([{"CPU": 1}]), {}, 2, [P([{"CPU": 1}] * 4)] * 2),
        (P([{"CPU": 1}, {"CPU": 2}]), {}, 2, [P([{"CPU": 1}, {"CPU": 2}, {"CPU": 2}]), P([{"CPU": 1}, {"CPU": 2}])]),
        (P([{"CPU": 1}, {"CPU": 2}], "SPREAD"), {}, 1, [P([{"CPU": 1}, *([{"CPU": 2}] * 3)], "SPREAD")]),
        (
            P([{}, {"CPU": 1}]),
            {"increase_by": {"CPU": 2}, "increase_by_times": 1},
            1,
            [P([{}, {"CPU": 1}, {"CPU": 2}])],
        ),
        (P([{"CPU": 1}]), {"reserve_resources": {"CPU": 6}, "increase_by": {}}, 1, [P([{"CPU": 1}] * 2)]),
    ],
)
def test_even_shares_as_bundles(start: P, arguments: Any, live: int, expected: list[P]) -> None:
    scheduler = changing(cpus=8)
    scheduler.request_of = lambda config: start
    trials = {f"{i:05d}": Trial(f"{i:05d}", i, {}) for i in range(live)}
    share = DistributeResources(True, **arguments)
    assert [share(trials, trial, {}, scheduler) for trial in trials.values()] == expected
    if len(start.bundles) > 1:
        with pytest.raises(ArgumentError, match="add_bundles: expected True, since a trial takes several bundles"):
            DistributeResources()(trials, trials["00000"], {}, scheduler)


def test_nobody_gets_less_than_another_asks_for() -> None:
    scheduler = changing(cpus=8)
    scheduler.request_of = lambda config: P([{"CPU": config["cpus"]}])
    trials = {f"{i:05d}": Trial(f"{i:05d}", i, {"cpus": 1 + 3 * i}) for i in range(2)}
    given = [DistributeResources()(trials, trial, {}, scheduler) for trial in trials.values()]
    assert given == [P([{"CPU": 3}]), P([{"CPU": 5}])], "3 are free"


def test_all_to_the_best_trial() -> None:
    scheduler = changing(cpus=8)
    trials = {f"{i:05d}": Trial(f"{i:05d}", i, {}, last_result={"loss": [2, 1, float("nan")][i]}) for i in range(3)}
    top = DistributeResourcesToTopJob(metric="loss", mode="min", reserve_resources={"CPU": 1})
    assert [top(trials, trial, {}, scheduler) for trial in trials.values()] == [None, P([{"CPU": 5}]), None]
    trials["00001"].resources, trials["00001"].last_result = {"CPU": 5}, {"loss": 3}
    assert top(trials, trials["00000"], {}, scheduler) == P([{"CPU": 1}]), "the one that was best keeps what it has"
    assert top(trials, trials["00001"], {}, scheduler) is None
    bundles = DistributeResourcesToTopJob(add_bundles=True, metric="loss", mode="min", increase_by_times=1)
    assert bundles(trials, trials["00000"], {}, scheduler) == P([{"CPU": 1}] * 2)


def test_the_best_trial_is_that_of_the_run_unless_said() -> None:
    found = run(changing(None, DistributeResourcesToTopJob()), CONFIGS[:2], Lengths(100), workers=2)
    # The first one that reports is the best so far, and what it was given stays with it to its end.
    assert [(t, r) for t, _, r in resources(found) if r is not None] == [
        ("00000", P([{"CPU": 3}])),
        ("00001", P([{"CPU": 4}])),
    ]
    scheduler = changing()
    with pytest.raises(ArgumentError, match="metric, mode: expected by what the best trial is found, got None, None"):
        DistributeResourcesToTopJob()({}, Trial("0", 0, {}), {}, scheduler)


def test_functions_written_for_ray_tune_find_the_trials() -> None:
    seen: list[tuple[int, int]] = []

    def alloc(tune_controller: Any, trial: Trial, result: dict[str, Any], scheduler: Any) -> Any:
        seen.append((len(tune_controller.get_live_trials()), len(tune_controller.get_trials())))
        assert trial in tune_controller.get_live_trials()
        return P([{"CPU": 2}]) if scheduler.base_trial_resources == P([{"CPU": 1}]) else None

    found = run(changing(None, alloc), CONFIGS[:2], Walk(3), workers=2)
    assert {r for _, _, r in resources(found)} == {None, P([{"CPU": 2}])} and seen[0] == (2, 2)


@pytest.mark.parametrize(
    "base",
    [
        lambda: ASHAScheduler(max_t=27, reduction_factor=3, variant="promotion"),
        lambda: HyperBandScheduler(max_t=9),
        lambda: PopulationBasedTraining(
            "training_iteration", perturbation_interval=3, hyperparam_mutations={"rate": uniform(0, 1)}
        ),
    ],
    ids=["promotion", "hyperband", "pbt"],
)
def test_base_schedulers_that_pause_do_so_as_they_would_alone(base: Any) -> None:
    configs = [{"rate": (7 * i % 20) / 20} for i in range(20)]
    alone = run(base(), configs, Walk(27), workers=3)
    both = run(
        changing(base(), lambda trials, trial, result, scheduler: None, interval=100), configs, Walk(27), workers=3
    )

    def told(found: Run) -> list[tuple[str, int, str, str]]:
        return [(d.trial_id, d.iteration, d.action, d.reason) for d in found.decisions]

    assert told(alone) == told(both) != []


def test_all_mistakes_at_once() -> None:
    found = mistakes_of(DistributeResources, add_bundles=1, increase_by=3, increase_by_times=-2, total={"CPU": -1})
    assert [mistake.split(":")[0] for mistake in found] == ["add_bundles", "increase_by_times", "increase_by", "total"]
    assert len(mistakes_of(DistributeResourcesToTopJob, metric="", mode="best", increase_by_times=0.5)) == 3
    assert len(mistakes_of(ResourceChangingScheduler, ASHAScheduler(), 3, interval=0)) == 2
    base = ASHAScheduler()
    base.max_t = 0
    assert mistakes_of(ResourceChangingScheduler, base)[0].startswith("base_scheduler: max_t: ")
    assert "expected a TrialScheduler, got 3" in mistakes_of(ResourceChangingScheduler, 3)[0]
