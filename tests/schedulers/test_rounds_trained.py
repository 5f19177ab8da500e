"""`Trial.trained`: what a trial has trained itself, through exploits, pauses and failures."""

from __future__ import annotations

import math

import pytest
from pbt_runs import Walk, run

import tune_plugins as tune
from tune_plugins.core.ends import EndCause
from tune_plugins.core.events import ResultsReported
from tune_plugins.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    PopulationBasedTraining,
    TrialScheduler,
)
from tune_plugins.space import uniform

CONFIGS = [{"rate": 0.1 * n} for n in range(8)]


def population(synch: bool) -> PopulationBasedTraining:
    return PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=4,
        hyperparam_mutations={"rate": uniform(0, 1)},
        synch=synch,
    )


@pytest.mark.parametrize("synch", [False, True])
def test_what_was_taken_over_in_an_exploit_is_not_counted(synch: bool) -> None:
    done = run(population(synch), CONFIGS, Walk(30, spread=0.5), workers=8, num_to_keep=1)
    assert done.exploits
    reported = dict.fromkeys(done.experiment.trials, 0)
    for event, _ in done.log:
        if isinstance(event, ResultsReported):
            reported[event.trial_id] += len(event.results)
    assert {trial.id: trial.trained for trial in done.experiment.trials.values()} == reported
    if not synch:
        assert any(trial.trained != trial.iteration for trial in done.experiment.trials.values())


def test_what_is_trained_again_after_a_failure_counts_once() -> None:
    done = run(FIFOScheduler(), CONFIGS, Walk(30), crash_probability=0.05)
    assert any(trial.failures or trial.attempt for trial in done.experiment.trials.values())
    assert [trial.trained for trial in done.experiment.trials.values()] == [30] * 8


@pytest.mark.parametrize(
    "scheduler",
    [ASHAScheduler(max_t=27, reduction_factor=3, variant="promotion"), HyperBandScheduler(max_t=27)],
    ids=["promotion", "hyperband"],
)
@pytest.mark.parametrize("crashes", [0.0, 0.05])
def test_paused_ones_count_as_far_as_they_came(scheduler: TrialScheduler, crashes: float) -> None:
    done = run(scheduler, CONFIGS, Walk(30), crash_probability=crashes)
    trials = done.experiment.trials.values()
    assert {trial.iteration for trial in trials} >= {27} and min(trial.iteration for trial in trials) < 27
    assert [trial.trained for trial in trials] == [trial.iteration for trial in trials]


@pytest.mark.parametrize("whole", [True, False])
def test_the_summary_of_a_run_tells_it(capsys: pytest.CaptureFixture[str], whole: bool) -> None:
    results = tune.simulate(
        lambda config: [config["x"]] * 27,
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            metric="value",
            mode="min",
            num_samples=16,
            seed=1,
            scheduler=ASHAScheduler(max_t=27, reduction_factor=3, stop_last_trials=whole),
        ),
    )
    trained = [result.metrics["training_iteration"] for result in results]
    stopped = sum(result.cause is EndCause.SCHEDULER for result in results)
    assert stopped > 5
    saved = math.floor(100 - 100 * sum(trained) / (27 * 16))
    # Where trials train on beyond max_t, nobody knows how far they would have gone.
    rest = f", {sum(trained)} of 432 rounds trained, {saved} % saved" if whole else ""
    assert f"\n{stopped} of 16 stopped early{rest}\n" in capsys.readouterr().out
