"""Constants and helpers that scripts for Ray Tune import from its deeper modules."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins.result import (
    AUTO_RESULT_KEYS,
    CONFIG_PREFIX,
    DEFAULT_METRIC,
    DEFAULT_RESULT_KEYS,
    DONE,
    EPISODES_THIS_ITER,
    EPISODES_TOTAL,
    EXPERIMENT_TAG,
    HOSTNAME,
    MEAN_ACCURACY,
    MEAN_LOSS,
    NODE_IP,
    PID,
    SHOULD_CHECKPOINT,
    TIME_THIS_ITER_S,
    TIME_TOTAL_S,
    TIMESTAMP,
    TIMESTEPS_THIS_ITER,
    TIMESTEPS_TOTAL,
    TRAINING_ITERATION,
    TRIAL_ID,
)
from tune_plugins.search.sample import Function
from tune_plugins.utils import flatten_dict, merge_dicts
from tune_plugins.utils.log import Verbosity


class Sampled(tune.Trainable):
    """Reports by the constants, and asks for a checkpoint in its second step."""

    def setup(self, config: dict[str, Any]) -> None:
        self.width = config["net"]["width"]

    def step(self) -> dict[str, Any]:
        step = self.iteration + 1
        return {
            MEAN_ACCURACY: 1 - 1 / step,
            MEAN_LOSS: self.width / step,
            TIMESTEPS_THIS_ITER: 10,
            EPISODES_THIS_ITER: 2,
            SHOULD_CHECKPOINT: step == 2,
            DONE: step == 3,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "iteration").write_text(str(self.iteration))

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        assert Path(checkpoint_dir, "iteration").exists()


def test_results_by_rays_constants(tmp_path: Path) -> None:
    analysis = tune.run(
        Sampled,
        config={"net": {"width": Function(lambda spec: 4)}},
        metric=MEAN_LOSS,
        mode="min",
        stop={TRAINING_ITERATION: 5},
        storage_path=tmp_path,
        runtime="inline",
        verbose=Verbosity.V0_MINIMAL,
    )
    (trial,) = analysis.trials
    last = trial.last_result
    assert (last[TRAINING_ITERATION], last[DONE], last[TIMESTEPS_TOTAL], last[EPISODES_TOTAL]) == (3, True, 30, 6)
    assert last[MEAN_LOSS] == pytest.approx(4 / 3) and last[MEAN_ACCURACY] == pytest.approx(2 / 3)
    assert (last[TRIAL_ID], last[PID]) == (trial.trial_id, os.getpid()) and last[HOSTNAME] and last[NODE_IP]
    assert 0 <= last[TIME_THIS_ITER_S] <= last[TIME_TOTAL_S] and last[TIMESTAMP] > 1.7e9
    assert last[EXPERIMENT_TAG] == trial.experiment_tag
    flat = flatten_dict(last)
    assert flat[f"{CONFIG_PREFIX}/net/width"] == 4
    assert set(DEFAULT_RESULT_KEYS) <= set(flat) and {TRAINING_ITERATION, PID, TIMESTAMP} <= set(AUTO_RESULT_KEYS)
    assert [checkpoint.path[-1] for checkpoint, _ in trial.result.best_checkpoints][:1] == ["2"]


def test_a_plain_number_is_the_default_metric(tmp_path: Path) -> None:
    analysis = tune.run(lambda config: config["x"] ** 2, config={"x": 3}, storage_path=tmp_path, runtime="inline")
    assert analysis.trials[0].last_result[DEFAULT_METRIC] == 9


@pytest.mark.parametrize("level", Verbosity)
def test_levels_of_output(level: Verbosity, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    levels = (Verbosity.V0_MINIMAL, Verbosity.V1_EXPERIMENT, Verbosity.V2_TRIAL_NORM, Verbosity.V3_TRIAL_DETAILS)
    assert level in levels
    tune.run(lambda config: {"x": 1}, storage_path=tmp_path, runtime="inline", verbose=level)
    said = capsys.readouterr().out
    assert (said == "") == (level == Verbosity.V0_MINIMAL)


def test_defaults_of_a_config() -> None:
    defaults = {"net": {"width": 1, "depth": 2}, "lr": 0.1}
    assert merge_dicts(defaults, {"net": {"width": 4}, "seed": 3}) == {
        "net": {"width": 4, "depth": 2},
        "lr": 0.1,
        "seed": 3,
    }
    assert defaults == {"net": {"width": 1, "depth": 2}, "lr": 0.1}


@pytest.mark.slow
def test_a_space_in_the_terms_of_optuna(tmp_path: Path) -> None:
    from tune_plugins.search.optuna import OptunaSearch

    space = OptunaSearch.convert_search_space({"lr": tune.loguniform(1e-4, 1e-1), "net": {"width": tune.randint(1, 9)}})
    assert set(space) == {"lr", "net/width"}
    found = tune.run(
        lambda config: {"loss": config["lr"] * config["net"]["width"]},
        search_alg=OptunaSearch(space, metric="loss", mode="min", seed=1),
        num_samples=6,
        storage_path=tmp_path,
        runtime="inline",
        verbose=0,
    )
    assert len(found.trials) == 6 and all(1e-4 <= trial.config["lr"] <= 0.1 for trial in found.trials)
