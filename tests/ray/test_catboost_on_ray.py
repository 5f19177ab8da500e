"""The CatBoost adapter on the real engine: ASHA that pauses, a killed process, and a population."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from catboost import CatBoostClassifier
from sklearn.datasets import load_breast_cancer

import tune_plugins as tune
from tune_plugins.integrations.catboost import TuneReportCheckpointCallback
from tune_plugins.record.store import ExperimentStore
from tune_plugins.results import ResultGrid
from tune_plugins.schedulers import ASHAScheduler, PopulationBasedTraining

Fit = Callable[..., ResultGrid]
ROUNDS, HALF = 24, 13
PARAMS = {
    "depth": 3,
    "subsample": 0.5,
    "rsm": 0.5,
    "random_seed": 7,
    "thread_count": 1,
    "verbose": False,
    "allow_writing_files": False,
}
MODEL = "model.cbm"


def train(config: dict[str, Any], *more: Any, rounds: int = ROUNDS, init_model: Any = None, **adapter: Any) -> Any:
    return plain(config, rounds, init_model, TuneReportCheckpointCallback(**adapter), *more)


def plain(config: dict[str, Any], rounds: int, init_model: Any = None, *callbacks: Any) -> Any:
    x, y = load_breast_cancer(return_X_y=True)
    model = CatBoostClassifier(**{**PARAMS, **config}, iterations=rounds)
    held_out = (x[400:], y[400:])
    model.fit(x[:400], y[:400], eval_set=held_out, init_model=init_model, callbacks=list(callbacks) or None)
    return model


def assert_same(result: Any, model: Any) -> None:
    x, _ = load_breast_cancer(return_X_y=True)
    loaded = CatBoostClassifier().load_model(Path(result.checkpoint.path) / MODEL)
    assert loaded.tree_count_ == model.tree_count_
    assert (loaded.get_leaf_values() == model.get_leaf_values()).all()
    assert (loaded.predict_proba(x) == model.predict_proba(x)).all()


class KillOnce:
    def __init__(self, file: Path) -> None:
        self.file = file

    def after_iteration(self, info: Any) -> bool:
        if info.iteration == 14 and not self.file.exists():
            self.file.touch()
            context = tune.get_context()
            with ExperimentStore.open(context.experiment_dir) as store:
                while all(c.record.iteration < 10 for c in store.checkpoints(context.trial_id)):
                    time.sleep(0.01)  # what the driver has not acknowledged is lost with the process
            os.kill(os.getpid(), signal.SIGKILL)
        return True


def test_a_killed_training_goes_on_bit_by_bit(fit: Fit, tmp_path: Path) -> None:
    def killed(config: dict[str, Any]) -> None:
        train(config, KillOnce(tmp_path / "killed"), frequency=5)

    config = {"learning_rate": 0.1}
    (result,) = fit(killed, config, metric="validation-Logloss", mode="min", max_failures=1)
    assert (tmp_path / "killed").exists() and result.metrics["training_iteration"] == ROUNDS
    iterations = list(result.metrics_dataframe["training_iteration"])
    assert iterations[-14:] == list(range(11, ROUNDS + 1)), "it went on from round 10"
    assert_same(result, plain(config, ROUNDS))  # as if it had never been killed


@pytest.mark.parametrize("variant", ["stopping", "promotion"])
def test_asha_works_on_the_script_as_it_is(fit: Fit, variant: str) -> None:
    def unchanged(config: dict[str, Any]) -> None:
        train(config)

    grid = fit(
        unchanged,
        {"learning_rate": {"grid_search": [0.001, 0.3, 0.01, 0.1, 0.003, 0.2]}},
        metric="validation-Logloss",
        mode="min",
        seed=1,
        scheduler=ASHAScheduler(max_t=ROUNDS, grace_period=4, reduction_factor=2, variant=variant),
    )
    assert not grid.errors
    for result in grid:
        rounds = [int(i) for i in result.metrics_dataframe["training_iteration"]]
        assert rounds == list(range(1, len(rounds) + 1)), "each round is reported once"
        assert {"learn-Logloss", "validation-Logloss"} <= set(result.metrics)
        assert_same(result, plain({**result.config, "use_best_model": False}, rounds[-1]))
    reached = [result.metrics["training_iteration"] for result in grid]
    assert max(reached) == ROUNDS and min(reached) < ROUNDS
    assert grid.get_best_result().config["learning_rate"] >= 0.1


def test_population_goes_on_from_its_donors_bit_by_bit(fit: Fit, tmp_path: Path) -> None:
    def counted(config: dict[str, Any]) -> None:
        with open(tmp_path / tune.get_context().get_trial_id(), "a") as entries:
            entries.write("entered\n")
        train(config)

    grid = fit(
        counted,
        {"learning_rate": {"grid_search": [1e-4, 0.3]}, "depth": 3},
        metric="validation-Logloss",
        mode="min",
        seed=3,
        scheduler=PopulationBasedTraining(
            "training_iteration",
            perturbation_interval=HALF,
            hyperparam_mutations={"learning_rate": tune.loguniform(0.01, 0.5), "depth": tune.randint(4, 8)},
            synch=True,
        ),
    )
    assert not grid.errors and [r.metrics["training_iteration"] for r in grid] == [ROUNDS] * 2
    (done,) = [d for d in grid.decisions if d.action in ("IN_PLACE", "RESTART")]
    assert done.action == "IN_PLACE" and "'learning_rate'" in done.reason, done
    with ExperimentStore.open(grid.experiment_path) as store:
        (exploit,) = store.exploits()
        saved = {(c.trial_id, c.record.iteration): c.record.path for c in store.checkpoints()}
    (result,) = [r for r in grid if r.trial_id == exploit.trial_id]
    assert (tmp_path / result.trial_id).read_text() == "entered\n", "the function was entered once"
    assert exploit.iteration == exploit.source_iteration == HALF and result.config == exploit.config
    assert exploit.config["depth"] != 3  # so that CatBoost goes on by `init_model`
    donor = Path(saved[exploit.source_id, HALF], MODEL)
    assert_same(result, plain({**exploit.config, "use_best_model": False}, ROUNDS - HALF, donor))
