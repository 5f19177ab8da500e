"""The LightGBM adapter on the real engine: ASHA that pauses, a killed process, and a population."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm as lgb
import pytest
from sklearn.datasets import load_breast_cancer

import tune_plugins as tune
from tune_plugins.integrations.lightgbm import TuneReportCheckpointCallback
from tune_plugins.record.store import ExperimentStore
from tune_plugins.results import ResultGrid
from tune_plugins.schedulers import ASHAScheduler, PopulationBasedTraining

Fit = Callable[..., ResultGrid]
ROUNDS, HALF = 24, 13
PARAMS = {
    "objective": "binary",
    "metric": ["binary_logloss", "auc"],
    "num_threads": 1,
    "num_leaves": 7,
    "bagging_fraction": 0.5,
    "bagging_freq": 1,
    "feature_fraction": 0.5,
    "seed": 7,
    "verbosity": -1,
}
MODEL = "model.txt"


def data_sets() -> tuple[lgb.Dataset, lgb.Dataset]:
    x, y = load_breast_cancer(return_X_y=True)
    training = lgb.Dataset(x[:400], y[:400])
    return training, lgb.Dataset(x[400:], y[400:], reference=training)


def train(config: dict[str, Any], *more: Any, **adapter: Any) -> None:
    training, held_out = data_sets()
    lgb.train(
        {**PARAMS, **config},
        training,
        num_boost_round=ROUNDS,
        valid_sets=[held_out],
        valid_names=["eval"],
        callbacks=[TuneReportCheckpointCallback(**adapter), *more],
    )


def go_on(config: dict[str, Any], rounds: int, model: str | Path | None = None) -> lgb.Booster:
    """Plain LightGBM."""
    return lgb.train({**PARAMS, **config}, data_sets()[0], rounds, init_model=model)


def assert_same(result: Any, plain: lgb.Booster) -> None:
    x, _ = load_breast_cancer(return_X_y=True)
    model = lgb.Booster(model_file=Path(result.checkpoint.path) / MODEL)
    assert model.model_to_string() == plain.model_to_string()
    assert (model.predict(x) == plain.predict(x)).all()


def test_a_killed_training_goes_on_bit_by_bit(fit: Fit, tmp_path: Path) -> None:
    def kill_once(env: Any) -> None:
        if env.iteration == 13 and not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            context = tune.get_context()
            with ExperimentStore.open(context.experiment_dir) as store:
                while all(c.record.iteration < 10 for c in store.checkpoints(context.trial_id)):
                    time.sleep(0.01)  # what the driver has not acknowledged is lost with the process
            os.kill(os.getpid(), signal.SIGKILL)

    def killed(config: dict[str, Any]) -> None:
        train(config, kill_once, frequency=5)

    config = {"learning_rate": 0.2}
    (result,) = fit(killed, config, metric="eval-auc", mode="max", max_failures=1)
    assert (tmp_path / "killed").exists() and result.metrics["training_iteration"] == ROUNDS
    iterations = list(result.metrics_dataframe["training_iteration"])
    assert iterations[-14:] == list(range(11, ROUNDS + 1)), "it went on from round 10"
    go_on(config, 10).save_model(tmp_path / MODEL)
    assert_same(result, go_on(config, ROUNDS - 10, tmp_path / MODEL))


@pytest.mark.parametrize("variant", ["stopping", "promotion"])
def test_asha_works_on_the_script_as_it_is(fit: Fit, variant: str) -> None:
    def unchanged(config: dict[str, Any]) -> None:
        train(config)

    grid = fit(
        unchanged,
        {"learning_rate": {"grid_search": [0.001, 0.3, 0.01, 0.1, 0.003, 0.2]}},
        metric="eval-binary_logloss",
        mode="min",
        seed=1,
        scheduler=ASHAScheduler(max_t=ROUNDS, grace_period=4, reduction_factor=2, variant=variant),
    )
    assert not grid.errors
    for result in grid:
        rounds = [int(i) for i in result.metrics_dataframe["training_iteration"]]
        assert rounds == list(range(1, len(rounds) + 1)), "each round is reported once"
        assert {"eval-binary_logloss", "eval-auc"} <= set(result.metrics)
        model = lgb.Booster(model_file=Path(result.checkpoint.path) / MODEL)  # type: ignore[union-attr]
        assert model.current_iteration() == rounds[-1]
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
        {"learning_rate": {"grid_search": [1e-4, 0.3]}, "num_leaves": 7},
        metric="eval-binary_logloss",
        mode="min",
        seed=3,
        scheduler=PopulationBasedTraining(
            "training_iteration",
            perturbation_interval=HALF,
            hyperparam_mutations={"learning_rate": tune.loguniform(0.01, 0.5), "num_leaves": tune.randint(4, 16)},
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
    donor = Path(saved[exploit.source_id, HALF], MODEL)
    assert_same(result, go_on(exploit.config, ROUNDS - HALF, donor))


def test_a_population_on_data_that_cannot_be_predicted_moves_nothing(fit: Fit, tmp_path: Path) -> None:
    """LightGBM cannot continue a model on a binary file: no trial ends by that, and none is given another's model."""
    data_sets()[0].save_binary(tmp_path / "train.bin")

    def train(config: dict[str, Any]) -> None:
        training = lgb.Dataset(tmp_path / "train.bin")
        callbacks = [TuneReportCheckpointCallback()]
        lgb.train({**PARAMS, **config}, training, ROUNDS, valid_sets=[training], callbacks=callbacks)

    pbt = PopulationBasedTraining(
        "training_iteration", perturbation_interval=8, hyperparam_mutations={"learning_rate": tune.uniform(0.05, 0.3)}
    )
    space = {"learning_rate": tune.grid_search([0.001, 0.05, 0.1, 0.2])}
    results = fit(train, space, metric="training-binary_logloss", mode="min", scheduler=pbt, seed=1)
    assert not results.errors, results.errors
    assert {result.metrics["training_iteration"] for result in results} == {ROUNDS}
    assert not [one for one in results.decisions if one.action in ("IN_PLACE", "RESTART")]
