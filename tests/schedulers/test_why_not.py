"""Schedulers say in plain words why they could not work; the record and the grid keep it, and the summary shows it."""

from __future__ import annotations

import itertools
import math
import re
import signal
from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins.core.ends import EndCause
from tune_plugins.core.scheduler import TrialScheduler
from tune_plugins.core.trial import Trial
from tune_plugins.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    MultiObjectiveASHA,
    PercentileStopping,
    PopulationBasedTraining,
    ResourceChangingScheduler,
)
from tune_plugins.schedulers.why_not import Ends

IN_STEPS: dict[str, Any] = {"time_attr": "training_iteration"}
MUTATIONS: dict[str, Any] = {"hyperparam_mutations": {"x": tune.uniform(0, 1)}}


def told(
    scheduler: TrialScheduler,
    curve: Any,
    *,
    trials: int = 16,
    metric: Any = "error",
    budget: float | None = None,
    **run: Any,
) -> list[str]:
    """What the scheduler has to say of trials with `curve(x)`, x from 0 to 1; a step takes a second."""
    results = tune.simulate(
        lambda config: curve(config["x"]),
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            metric=metric, mode="min", num_samples=trials, scheduler=scheduler, seed=1, time_budget_s=budget
        ),
        run_config=tune.RunConfig(verbose=0, **run),
    )
    assert tune.ResultGrid(results.experiment_path).warnings == results.warnings
    return results.warnings


def differing(x: float) -> list[float]:
    return [x / step for step in range(1, 31)]


def diverging(x: float) -> list[float]:
    return [math.nan] * 30


def short(x: float) -> list[float]:
    return [x] * 5


def constant(x: float) -> list[float]:
    return [0.5] * 30


def the_same_until_8(x: float) -> list[float]:
    return [0.5] * 9 + [x] * 21


EVERY = [
    ASHAScheduler(max_t=27, grace_period=6),
    ASHAScheduler(max_t=27, grace_period=6, variant="promotion"),
    HyperBandScheduler(max_t=27),
    MedianStoppingRule(grace_period=6, **IN_STEPS),
    PercentileStopping(n_warmup_steps=6),
    PopulationBasedTraining(perturbation_interval=6, **IN_STEPS, **MUTATIONS),
]
NAMES = ["stopping", "promotion", "hyperband", "median", "percentile", "pbt"]
every = pytest.mark.parametrize("scheduler", EVERY, ids=NAMES)


@every
def test_nothing_is_said_where_trials_were_compared(scheduler: TrialScheduler) -> None:
    # In a simulation of curves there is no state to copy.
    expected = ["checkpoint"] if isinstance(scheduler, PopulationBasedTraining) else []
    assert all("checkpoint" in warning for warning in told(scheduler, differing))
    assert len(told(scheduler, differing)) <= len(expected)


@every
def test_the_metric_was_never_finite(scheduler: TrialScheduler) -> None:
    (warning,) = told(scheduler, diverging)
    assert warning.startswith("error was no finite number in any of the 16 trials")
    assert warning.endswith("name another metric.")


@every
def test_no_trial_came_to_the_first_comparison(scheduler: TrialScheduler) -> None:
    if isinstance(scheduler, HyperBandScheduler):  # its first rung is at 1, unless time is counted otherwise
        scheduler = HyperBandScheduler(max_t=2700, reduction_factor=30, time_attr="time_total_s")
        (warning,) = told(scheduler, lambda x: [x], trials=3)
        assert warning.startswith("No trial reached the first rung, at time_total_s 3: the longest ended at 1. Set ")
        return
    (warning,) = told(scheduler, short)
    assert warning.startswith("No trial reached ") and ", at training_iteration 6: the longest ended at 5. " in warning
    assert "Lower " in warning


@pytest.mark.parametrize("scheduler", [EVERY[0], EVERY[1], EVERY[4]], ids=["stopping", "promotion", "percentile"])
def test_trials_end_where_the_first_comparison_would_be(scheduler: TrialScheduler) -> None:
    (warning,) = told(scheduler, differing, stop={"training_iteration": 6})
    assert re.fullmatch(
        r"No trial went on from .*, at training_iteration 6: the longest ended there, before anything was compared\. "
        r"Lower .* below what a trial trains, or train longer\.",
        warning,
    )


def test_trials_end_at_the_first_rung_of_hyperband() -> None:
    (warning,) = told(HyperBandScheduler(max_t=27), differing, stop={"training_iteration": 1})
    assert warning.startswith(
        "No trial went on from the first rung, at training_iteration 1: the longest ended there, "
    )


def diverging_but(finite: tuple[int, ...], curve: Any) -> Any:
    """The curve for the trials of these numbers, and NaN for all others."""
    numbers = itertools.count()
    return lambda x: curve(x) if next(numbers) in finite else diverging(x)


@pytest.mark.parametrize("scheduler", EVERY[:2], ids=NAMES[:2])
@pytest.mark.parametrize(("finite", "trials"), [((3,), 8), ((0, 9, 29), 30)])
def test_too_few_have_a_finite_value(scheduler: TrialScheduler, finite: tuple[int, ...], trials: int) -> None:
    (warning,) = told(scheduler, diverging_but(finite, differing), trials=trials)
    assert warning.startswith(f"{trials - len(finite)} of the {trials} trials had no finite error where trials are ")
    assert "Run more" not in warning


@pytest.mark.parametrize("scheduler", EVERY[3:5], ids=NAMES[3:5])
def test_a_single_one_has_finite_values(scheduler: TrialScheduler) -> None:
    """It is equal to itself, which is no finding about the others."""
    (warning,) = told(scheduler, diverging_but((3,), constant), trials=8)
    assert warning.startswith("7 of the 8 trials had no finite error ")


@every
@pytest.mark.parametrize("curve", [differing, short])
@pytest.mark.parametrize("budget", [3, 12])
def test_a_run_that_was_cut_off_is_not_told_what_more_trials_would_have_helped(
    scheduler: TrialScheduler, curve: Any, budget: float
) -> None:
    assert told(scheduler, curve, budget=budget) == []


class Interrupt(tune.Callback):
    """Ctrl-C when the first trial has ended; a second one would end the process."""

    def on_trial_complete(self, *arguments: Any, trial: Any, **info: Any) -> None:
        if trial.index == 0:
            signal.raise_signal(signal.SIGINT)


def test_nor_is_one_that_was_interrupted() -> None:
    assert told(ASHAScheduler(max_t=27, grace_period=6), differing, callbacks=[Interrupt()]) == []


@pytest.mark.parametrize("cause", [EndCause.TIME_BUDGET, EndCause.USER, EndCause.FAIL_FAST, None])
def test_cut_off(cause: EndCause | None) -> None:
    """Where a trial was cut off, and where the search was, as by a first trial that fails with `fail_fast`."""
    ends, trial = Ends(), Trial("a", 0, {})
    if cause is None:
        assert ends.cut_off
    ends.on_search_end()
    trial.cause = EndCause.FINISHED
    ends.on_trial_complete(trial, {"training_iteration": 5}, "training_iteration")
    assert not ends.cut_off and ends.longest == 5
    if cause is not None:
        trial.cause = cause
        ends.on_trial_complete(trial, None, "training_iteration")
        assert ends.cut_off and ends.longest == 5


def test_hyperband_that_was_cut_off_before_a_bracket_was_compared() -> None:
    """Those with a finite value had arrived, and waited for the others."""
    curve = diverging_but(tuple(range(18)), differing)
    assert told(HyperBandScheduler(max_t=81), curve, trials=100, budget=24) == []
    (warning,) = told(HyperBandScheduler(max_t=81), diverging, trials=100, budget=24)
    assert warning.startswith("error was no finite number in any of the 24 trials")


@pytest.mark.parametrize("scheduler", EVERY[:5], ids=NAMES[:5])
def test_all_trials_were_equal(scheduler: TrialScheduler) -> None:
    (warning,) = told(scheduler, constant)
    assert warning.startswith("All 16 trials compared had the same error, 0.5, up to training_iteration "), warning
    assert "a metric that tells" in warning


def test_all_equal_until_round_8() -> None:
    (warning,) = told(ASHAScheduler(max_t=27, grace_period=2, reduction_factor=2), the_same_until_8)
    assert warning == (
        "All 16 trials compared had the same error, 0.5, up to training_iteration 8: that says nothing. "
        "Set grace_period above 8, to where trials differ, or take a metric that tells them apart."
    )


@pytest.mark.parametrize("scheduler", [EVERY[0], EVERY[3], EVERY[4]], ids=["asha", "median", "percentile"])
def test_too_few_trials_to_compare(scheduler: TrialScheduler) -> None:
    (warning,) = told(scheduler, differing, trials=2)
    assert (
        re.match(r"The most .* were [12], and nothing is decided with fewer than [345]\. ", warning)
        and "Run more trials" in warning
    )


def test_all_trials_in_the_last_bracket() -> None:
    scheduler = ASHAScheduler(max_t=27, grace_period=1, reduction_factor=3, brackets=3, metric="error", mode="min")
    scheduler.setup(metric=None, mode=None, seed=0)
    scheduler._weights = [0, 0, 1]
    for index in range(5):
        trial = Trial(str(index), index, {})
        scheduler.on_trial_add(trial)
        trial.cause = EndCause.FINISHED
        scheduler.on_trial_complete(trial, {"training_iteration": 5, "error": 0.5})
    scheduler.on_search_end()
    assert scheduler.warnings() == [
        "No trial reached the first rung, at training_iteration 9: the longest ended at 5. All 5 were dealt to the "
        "last of 3 brackets; take brackets=1. Lower grace_period below what a trial trains, or train longer."
    ]


def test_there_is_no_rung() -> None:
    (warning,) = told(ASHAScheduler(max_t=9, grace_period=9), differing)
    assert warning.startswith("There is no rung, since grace_period=9 is not less than max_t=9") and "Lower" in warning


def test_a_metric_that_comes_too_late() -> None:
    def late(x: float) -> list[dict[str, float]]:
        return [{"loss": x}] * 20 + [{"loss": x, "error": x}]

    (warning,) = told(ASHAScheduler(max_t=27, grace_period=6), late)
    assert warning.startswith("No trial that reached training_iteration 6 had reported error")


def test_several_metrics() -> None:
    def curve(x: float) -> list[dict[str, float]]:
        return [{"error": 0.5, "cost": 2.0}] * 30

    scheduler = MultiObjectiveASHA(max_t=27, grace_period=6)
    assert told(scheduler, lambda x: [{"error": x, "cost": 1 - x}] * 30, metric=["error", "cost"]) == []
    (warning,) = told(scheduler, curve, metric=["error", "cost"])
    assert warning.startswith("All 16 trials compared had the same error and cost, up to training_iteration 6: ")


def test_a_population_of_one() -> None:
    scheduler = PopulationBasedTraining(perturbation_interval=6, **IN_STEPS, **MUTATIONS)
    (warning,) = told(scheduler, differing, trials=1)
    assert warning == "The population is a single trial, which has nobody to copy. Set num_samples to 4 or more."


def test_one_around_another_passes_it_on_and_fifo_has_nothing_to_say() -> None:
    assert told(FIFOScheduler(), constant) == []
    assert len(told(ResourceChangingScheduler(ASHAScheduler(max_t=27, grace_period=6)), short)) == 1


def test_one_that_raises_ends_nothing() -> None:
    class Own(FIFOScheduler):
        def warnings(self) -> list[str]:
            raise RuntimeError("a defect")

    assert told(Own(), differing) == ["Own.warnings raised RuntimeError: a defect"]
