"""`ResultGrid.replay`: another scheduler on recorded curves."""

from __future__ import annotations

import gc
import math
from pathlib import Path
from typing import Any

import pytest

from tune_plugins import (
    ArgumentError,
    Curve,
    FailureConfig,
    RunConfig,
    SimulatedCluster,
    TuneConfig,
    TuneError,
    simulate,
    uniform,
)
from tune_plugins.results import Result, ResultGrid
from tune_plugins.schedulers import (
    ASHAScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)

SPACE = {"x": uniform(0, 1), "y": uniform(0.5, 2)}


def curve(config: dict[str, Any]) -> Curve:
    """Several metrics, nested, some missing, some no numbers; binary fractions of a second, so that sums are exact."""
    values: list[Any] = []
    for step in range(1, 28):
        value: dict[str, Any] = {"eval": {"loss": config["x"] + config["y"] ** -step}, "note": "ok"}
        if config["x"] > 0.8 and step > 5:
            value["eval"] = {"loss": math.nan}
        if config["x"] < 0.1 and step == 2:
            value = {"note": "not evaluated"}
        values.append(value)
    return Curve(values, [0.5 + step % 3 / 4 for step in range(27)])


def run(scheduler: TrialScheduler | None = None, workers: int = 3, **more: Any) -> ResultGrid:
    return simulate(
        curve,
        param_space=SPACE,
        tune_config=TuneConfig(metric="eval/loss", mode="min", num_samples=40, seed=5, scheduler=scheduler),
        cluster=SimulatedCluster(workers=workers),
        **more,
    )


SCHEDULERS = [
    lambda: ASHAScheduler(max_t=27, reduction_factor=3, brackets=2),
    lambda: ASHAScheduler(max_t=27, reduction_factor=3, variant="promotion"),
    lambda: HyperBandScheduler(max_t=27, reduction_factor=3),
    lambda: MedianStoppingRule(grace_period=3.0),
]


@pytest.mark.parametrize("make", SCHEDULERS)
def test_replay_equals_a_run_on_the_same_curves(make: Any) -> None:
    direct, replayed = run(make()), run().replay(make(), seed=5)
    assert replayed.decisions == direct.decisions and replayed.decisions
    assert [(r.config, r.status, r.reason) for r in replayed] == [(r.config, r.status, r.reason) for r in direct]
    for one, two in zip(replayed, direct, strict=True):
        # The space is not known to a replay.
        frames = [each.metrics_dataframe.drop(columns="experiment_tag") for each in (one, two)]
        assert str(frames[0].to_dict("records")) == str(frames[1].to_dict("records"))


def test_workers_as_in_the_run_unless_told_otherwise(tmp_path: Path) -> None:
    full = run(workers=5, run_config=RunConfig(name="full", storage_path=tmp_path))
    assert full.info()["slots"] == 5 and (full.metric, full.mode) == ("eval/loss", "min")
    again = ResultGrid(tmp_path / "full")
    assert again.replay(SCHEDULERS[0]()).decisions == again.replay(SCHEDULERS[0](), workers=5).decisions
    ends = [max(r.metrics["timestamp"] for r in again.replay(SCHEDULERS[0](), workers=w)) for w in (1, 5)]
    assert ends[0] > 3 * ends[1]


@pytest.mark.parametrize("make", SCHEDULERS)
def test_cut_curves_are_refused(make: Any) -> None:
    with pytest.raises(
        TuneError, match=r"replay needs full curves: trial \d+ of 40 is TERMINATED after \d+ results \("
    ):
        run(make()).replay(ASHAScheduler(max_t=27))


def test_failed_and_unfinished_trials_are_refused() -> None:
    crashed = simulate(
        curve,
        param_space=SPACE,
        tune_config=TuneConfig(metric="eval/loss", mode="min", num_samples=10, seed=1),
        cluster=SimulatedCluster(crash_probability=0.2),
    )
    with pytest.raises(TuneError, match="is ERROR after"):
        crashed.replay(ASHAScheduler(max_t=27))
    timed = simulate(
        curve,
        param_space=SPACE,
        tune_config=TuneConfig(metric="eval/loss", mode="min", num_samples=10, seed=1, time_budget_s=30),
    )
    with pytest.raises(TuneError, match="time budget"):
        timed.replay(ASHAScheduler(max_t=27))


def test_changed_hyper_parameters_are_refused() -> None:
    pbt = PopulationBasedTraining(
        "training_iteration", perturbation_interval=3, hyperparam_mutations={"x": uniform(0, 1)}
    )
    with pytest.raises(TuneError, match="cannot tell what happens under a config that was not run"):
        run().replay(pbt)


def test_mistakes_of_the_scheduler_are_listed() -> None:
    with pytest.raises(ArgumentError, match="reduction_factor"):
        run().replay(ASHAScheduler(reduction_factor=1))


def test_results_of_a_trial_that_was_tried_again_count_once() -> None:
    full = simulate(
        curve,
        param_space=SPACE,
        tune_config=TuneConfig(metric="eval/loss", mode="min", num_samples=10, seed=1),
        run_config=RunConfig(failure_config=FailureConfig(max_failures=-1)),
        cluster=SimulatedCluster(crash_probability=0.02),
    )
    assert any(len(r.metrics_dataframe) > 27 for r in full)
    replayed = full.replay(MedianStoppingRule("training_iteration", grace_period=28))
    assert [len(r.metrics_dataframe) for r in replayed] == [27] * 10


def test_a_result_outlives_the_grid_of_a_simulation() -> None:
    def first() -> Result:
        return simulate(
            lambda config: [2.0, 1.0], tune_config=TuneConfig(metric="value", mode="min", num_samples=2, seed=1)
        )[0]

    result = first()
    gc.collect()
    assert list(result.metrics_dataframe["value"]) == [2.0, 1.0]
    folder = Path(result.experiment_path)
    del result
    gc.collect()
    assert not folder.exists()
