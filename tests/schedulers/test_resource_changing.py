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
from tune_plugins.schedulers import (
    ASHAScheduler,
    DistributeResources,
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


def test_all_mistakes_at_once() -> None:
    assert len(mistakes_of(ResourceChangingScheduler, ASHAScheduler(), 3, interval=0)) == 2
    base = ASHAScheduler()
    base.max_t = 0
    assert mistakes_of(ResourceChangingScheduler, base)[0].startswith("base_scheduler: max_t: ")
    assert "expected a TrialScheduler, got 3" in mistakes_of(ResourceChangingScheduler, 3)[0]
