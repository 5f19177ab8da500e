"""The XGBoost adapter on the real engine: an unchanged script is stopped, killed, goes on by itself, and exploits."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xgboost as xgb
from sklearn.datasets import load_breast_cancer

import tune_plugins as tune
from tune_plugins.integrations.xgboost import TuneReportCheckpointCallback
from tune_plugins.record.store import ExperimentStore
from tune_plugins.results import ResultGrid
from tune_plugins.schedulers import ASHAScheduler, PopulationBasedTraining

Fit = Callable[..., ResultGrid]
ROUNDS, HALF = 24, 13
PARAMS = {
    "objective": "binary:logistic",
    "eval_metric": ["logloss", "auc"],
    "nthread": 1,
    "subsample": 0.5,
    "colsample_bytree": 0.5,
    "seed": 7,
}


class KillOnce(xgb.callback.TrainingCallback):
    """Ends its own process at a round, once: the file says that it has been done."""

    def __init__(self, round_: int, mark: Path) -> None:
        super().__init__()
        self.round, self.mark = round_, mark

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        if model.num_boosted_rounds() == self.round and not self.mark.exists():
            self.mark.touch()
            wait_for_checkpoint(10)
            os.kill(os.getpid(), signal.SIGKILL)
        return False


def wait_for_checkpoint(iteration: int) -> None:
    """Until the driver has acknowledged it: what is younger than that is lost with the process."""
    context = tune.get_context()
    with ExperimentStore.open(context.experiment_dir) as store:
        while all(c.record.iteration < iteration for c in store.checkpoints(context.trial_id)):
            time.sleep(0.01)


def matrices() -> tuple[Any, Any]:
    x, y = load_breast_cancer(return_X_y=True)
    return xgb.DMatrix(x[:400], y[:400]), xgb.DMatrix(x[400:], y[400:])


def train(config: dict[str, Any], *more: Any, **adapter: Any) -> None:
    training, held_out = matrices()
    xgb.train(
        {**PARAMS, **config},
        training,
        num_boost_round=ROUNDS,
        evals=[(held_out, "eval")],
        verbose_eval=False,
        callbacks=[TuneReportCheckpointCallback(**adapter), *more],
    )


def test_a_killed_training_goes_on_bit_by_bit(fit: Fit, tmp_path: Path) -> None:
    def killed(config: dict[str, Any]) -> None:
        train(config, KillOnce(14, tmp_path / "killed"), frequency=5)

    (result,) = fit(killed, {"eta": 0.2}, metric="eval-logloss", mode="min", max_failures=1)
    assert (tmp_path / "killed").exists()
    assert result.metrics["training_iteration"] == ROUNDS
    iterations = list(result.metrics_dataframe["training_iteration"])
    # Rounds 11 to 14 may have been reported by the killed attempt, too; it went on from 10.
    assert iterations[-14:] == list(range(11, ROUNDS + 1))
    assert iterations[:-14] == list(range(1, len(iterations) - 13)) and 10 <= len(iterations) - 14 <= 14

    training, held_out = matrices()
    params = {**PARAMS, "eta": 0.2}
    evals = [(held_out, "eval")]
    xgb.train(params, training, 10, evals=evals, verbose_eval=False).save_model(tmp_path / "ten.ubj")
    whole = xgb.train(params, training, ROUNDS - 10, evals=evals, verbose_eval=False, xgb_model=tmp_path / "ten.ubj")
    assert result.checkpoint is not None
    model = xgb.Booster(model_file=Path(result.checkpoint.path) / "model.ubj")
    assert model.get_dump(with_stats=True) == whole.get_dump(with_stats=True)
    assert (model.predict(held_out) == whole.predict(held_out)).all()


def test_a_killed_training_keeps_its_best_model(fit: Fit, tmp_path: Path) -> None:
    """DART cannot be cut: the copy of the first attempt is in its last checkpoint, and goes on with that."""

    def killed(config: dict[str, Any]) -> None:
        train(config, KillOnce(14, tmp_path / "killed"), frequency=5)

    dart = {"booster": "dart", "rate_drop": 0.5}
    # The more the loss, the better: the first round is the best one, of the attempt that was killed.
    (result,) = fit(killed, dart, metric="eval-logloss", mode="max", max_failures=1)
    assert Path(result.checkpoint.path, "best", "model.ubj").exists()
    assert (tmp_path / "killed").exists() and result.metrics["training_iteration"] == ROUNDS
    assert result.get_best_checkpoint().load_model().num_boosted_rounds() == 1
    assert result.load_model().num_boosted_rounds() == ROUNDS


def test_two_fits_with_pauses_on_disk(fit: Fit) -> None:
    """A trial that is paused in its second fit keeps its process, or begins anew; the model is the last one's."""

    def two_fits(config: dict[str, Any]) -> None:
        train(config)
        train({"eta": config["eta"] / 2})

    grid = fit(
        two_fits,
        {"eta": {"grid_search": [0.3, 0.01, 0.1, 0.003, 0.2, 0.03]}},
        metric="eval-logloss",
        mode="min",
        seed=1,
        scheduler=ASHAScheduler(max_t=2 * ROUNDS, grace_period=30, reduction_factor=2, variant="promotion"),
    )
    assert not grid.errors
    _, held_out = matrices()
    for result in grid:
        model = result.load_model()
        assert model.num_boosted_rounds() == result.metrics["training_iteration"] - ROUNDS
        assert float(model.eval(held_out).rpartition(":")[2]) == pytest.approx(result.metrics["eval-logloss"], abs=1e-5)


@pytest.mark.parametrize("variant", ["stopping", "promotion"])
def test_asha_works_on_the_script_as_it_is(fit: Fit, variant: str) -> None:
    def unchanged(config: dict[str, Any]) -> None:
        train(config)

    grid = fit(
        unchanged,
        {"eta": {"grid_search": [0.001, 0.3, 0.01, 0.1, 0.003, 0.2, 0.03, 0.05]}},
        metric="eval-logloss",
        mode="min",
        seed=1,
        scheduler=ASHAScheduler(max_t=ROUNDS, grace_period=4, reduction_factor=2, variant=variant),
    )
    assert not grid.errors
    for result in grid:
        rounds = [int(i) for i in result.metrics_dataframe["training_iteration"]]
        assert rounds == list(range(1, len(rounds) + 1)), "each round is reported once"
        assert {"eval-logloss", "eval-auc"} <= set(result.metrics)
        assert result.checkpoint is not None
        model = xgb.Booster(model_file=Path(result.checkpoint.path) / "model.ubj")
        assert model.num_boosted_rounds() == rounds[-1]
    reached = [result.metrics["training_iteration"] for result in grid]
    assert max(reached) == ROUNDS and min(reached) < ROUNDS
    assert grid.get_best_result().config["eta"] >= 0.1
    assert all(decision.reason for decision in grid.decisions)


@pytest.mark.parametrize("with_bins", [False, True])
def test_population_goes_on_from_its_donors_bit_by_bit(fit: Fit, tmp_path: Path, with_bins: bool) -> None:
    def counted(config: dict[str, Any]) -> None:
        with open(tmp_path / tune.get_context().get_trial_id(), "a") as entries:
            entries.write("entered\n")
        training, held_out = matrices()
        xgb.train(
            {**PARAMS, **config},
            training,
            num_boost_round=ROUNDS,
            evals=[(held_out, "eval")],
            verbose_eval=False,
            callbacks=[TuneReportCheckpointCallback()],
        )

    mutations: dict[str, Any] = {"eta": tune.loguniform(0.01, 0.5), "max_depth": tune.randint(2, 6)}
    if with_bins:
        mutations["max_bin"] = tune.randint(16, 64)  # the data are binned by it: only a new entry can change it
    grid = fit(
        counted,
        {"eta": {"grid_search": [1e-4, 0.3]}, "max_depth": 3, "max_bin": 32},
        metric="eval-logloss",
        mode="min",
        seed=3,
        scheduler=PopulationBasedTraining(
            "training_iteration", perturbation_interval=HALF, hyperparam_mutations=mutations, synch=True
        ),
    )
    assert not grid.errors and [r.metrics["training_iteration"] for r in grid] == [ROUNDS] * 2
    (done,) = [d for d in grid.decisions if d.action in ("IN_PLACE", "RESTART")]
    assert done.action == ("RESTART" if with_bins else "IN_PLACE"), done
    assert "'max_bin' cannot" in done.reason if with_bins else "'eta'" in done.reason
    with ExperimentStore.open(grid.experiment_path) as store:
        (exploit,) = store.exploits()
        saved = {(c.trial_id, c.record.iteration): c.record.path for c in store.checkpoints()}
    (result,) = [r for r in grid if r.trial_id == exploit.trial_id]
    assert (tmp_path / result.trial_id).read_text() == "entered\n" * (2 if with_bins else 1)
    assert exploit.iteration == exploit.source_iteration == HALF and result.config == exploit.config

    training, held_out = matrices()
    donor = Path(saved[exploit.source_id, HALF], "model.ubj")
    plain = xgb.train({**PARAMS, **exploit.config}, training, ROUNDS - HALF, xgb_model=donor)
    assert result.checkpoint is not None
    model = xgb.Booster(model_file=Path(result.checkpoint.path) / "model.ubj")
    assert bytes(model.save_raw("ubj")) == bytes(plain.save_raw("ubj"))
    assert (model.predict(held_out) == plain.predict(held_out)).all()
