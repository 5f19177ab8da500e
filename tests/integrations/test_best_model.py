"""Which model a user gets: the last one, the best one, that of several fits, of a trial that has exploited another."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xgboost as xgb
from sklearn.datasets import load_breast_cancer
from torch import nn

import tune_plugins as tune
from tune_plugins.errors import ArgumentError, TuneError
from tune_plugins.integrations.torch import TrainState
from tune_plugins.integrations.xgboost import TuneReportCallback, TuneReportCheckpointCallback
from tune_plugins.schedulers import ASHAScheduler, PopulationBasedTraining
from tune_plugins.session import TrialContext
from tune_plugins.testing import RecordingSession

X, Y = load_breast_cancer(return_X_y=True)
X = X + np.random.default_rng(0).normal(size=X.shape) * X.std(axis=0) * 3  # so that many rounds are too many
PARAMS = {"objective": "binary:logistic", "eval_metric": "logloss", "nthread": 1, "seed": 7, "eta": 0.7}


def matrices() -> tuple[Any, Any]:
    return xgb.DMatrix(X[:200], Y[:200]), xgb.DMatrix(X[200:400], Y[200:400])


def boost(config: dict[str, Any], rounds: int = 20, **options: Any) -> Any:
    training, held_out = matrices()
    log: dict[str, Any] = {}
    xgb.train(
        {**PARAMS, **config},
        training,
        rounds,
        evals=[(held_out, "eval")],
        evals_result=log,
        verbose_eval=False,
        callbacks=[TuneReportCheckpointCallback(**options)],
    )
    return log["eval"]["logloss"]


def fit(tmp_path: Path, trainable: Callable[[dict[str, Any]], Any], space: Any = None, **options: Any) -> Any:
    return tune.Tuner(
        trainable,
        param_space=space,
        tune_config=tune.TuneConfig(
            metric=options.pop("metric", "eval-logloss"), mode=options.pop("mode", "min"), seed=1, **options
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0, runtime="inline"),
    ).fit()


def loss(booster: Any) -> float:
    margin = np.asarray(booster.predict(matrices()[1]))
    label = Y[200:400]
    return float(-np.log(np.where(label == 1, margin, 1 - margin)).mean())


def test_last_and_best_model_of_a_training_that_overfits(tmp_path: Path) -> None:
    """The case of the issue: only the last round could be had, and is far worse than the best one."""
    result = fit(tmp_path, boost)[0]
    history = result.metrics_dataframe["eval-logloss"]
    best_round = int(history.idxmin()) + 1
    assert best_round < 10 and history.iloc[-1] > history.min() + 0.03
    assert len(os.listdir(result.path)) == 1, "a second file was written by the training"
    model = result.load_model()
    assert model.num_boosted_rounds() == 20
    assert loss(model) == pytest.approx(result.metrics["eval-logloss"], rel=1e-5)
    checkpoint = result.get_best_checkpoint()
    best = checkpoint.load_model()
    assert best.num_boosted_rounds() == best_round
    assert loss(best) == pytest.approx(history.min(), rel=1e-5)
    # Its folder holds that model for whoever reads it otherwise, and is made once.
    assert xgb.Booster(model_file=Path(checkpoint.path, "model.ubj")).num_boosted_rounds() == best_round
    assert result.get_best_checkpoint("eval-logloss", "min") == checkpoint
    assert tune.ResultGrid(result.experiment_path)[0].get_best_checkpoint() == checkpoint
    assert TuneReportCheckpointCallback.get_model(result.checkpoint).num_boosted_rounds() == 20
    # By another order only what was saved can be had.
    assert result.get_best_checkpoint(mode="max").load_model().num_boosted_rounds() == 20


def test_best_model_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = fit(tmp_path, boost)[0]

    def refuse(*args: Any, **options: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tune_plugins.results.CheckpointWriter", refuse)
    checkpoint = result.get_best_checkpoint()
    assert not checkpoint.path.startswith(str(tmp_path))
    assert checkpoint.load_model().num_boosted_rounds() < 10


@pytest.mark.parametrize("booster", ["dart", "gblinear"])
def test_models_that_cannot_be_cut_are_copied(tmp_path: Path, booster: str) -> None:
    config = {"booster": booster, "rate_drop": 0.5} if booster == "dart" else {"booster": booster, "eta": 0.9}
    result = fit(tmp_path, lambda _: boost(config, rounds=12), mode="max")[0]
    history = result.metrics_dataframe["eval-logloss"]
    assert history.idxmax() + 1 < 12, "the last round is the best one: this shows nothing"
    best = result.get_best_checkpoint().load_model()
    assert loss(best) == pytest.approx(history.max(), rel=1e-4)


def test_an_estimator_is_made_of_a_booster(tmp_path: Path) -> None:
    def classify(config: dict[str, Any]) -> None:
        classifier = xgb.XGBClassifier(
            n_estimators=9, n_jobs=1, learning_rate=0.7, callbacks=[TuneReportCheckpointCallback()]
        )
        classifier.fit(X[:200], Y[:200], eval_set=[(X[200:400], Y[200:400])], verbose=False)

    result = fit(tmp_path, classify, metric="validation_0-logloss", mode="max")[0]
    best = result.get_best_checkpoint()
    for build in (xgb.XGBClassifier, lambda: xgb.XGBClassifier(n_jobs=1), xgb.XGBClassifier()):
        estimator = best.load_model(build)
        expected = loss(estimator.get_booster())
        assert expected == pytest.approx(result.metrics_dataframe["validation_0-logloss"].max(), rel=1e-5)
        assert estimator.score(X[200:400], Y[200:400]) > 0.5
    with pytest.raises(
        ArgumentError, match=r"expected the class of an estimator that has load_model\(path\), got .*dict"
    ):
        best.load_model(dict)


def test_a_metric_of_the_script_and_no_metric(tmp_path: Path) -> None:
    """Without a metric, or with one that the training does not report, the last state is what there is."""

    def returns(config: dict[str, Any]) -> dict[str, float]:
        return {"score": min(boost(config))}

    result = fit(tmp_path, returns, metric="score")[0]
    assert json.loads(Path(result.checkpoint.path, ".model.json").read_text())["best"] is None
    assert result.get_best_checkpoint().load_model().num_boosted_rounds() == 20
    run_config = tune.RunConfig(storage_path=str(tmp_path), verbose=0, runtime="inline")
    grid = tune.Tuner(boost, run_config=run_config).fit()
    assert grid[0].load_model().num_boosted_rounds() == 20
    with pytest.raises(ArgumentError, match="metric"):
        grid[0].get_best_checkpoint()
    assert grid[0].get_best_checkpoint("eval-logloss", "min").load_model().num_boosted_rounds() == 20


def test_several_fits_leave_the_model_that_belongs_to_the_metrics(tmp_path: Path) -> None:
    """K-fold: the last result is of the last fold, and so is the checkpoint; the best model is of the best fold."""

    def folds(config: dict[str, Any]) -> None:
        for rounds in (5, 8, 3):
            boost({"max_depth": rounds}, rounds=rounds)

    result = fit(tmp_path, folds)[0]
    assert result.metrics["training_iteration"] == 16
    model = result.load_model()
    assert model.num_boosted_rounds() == 3
    assert loss(model) == pytest.approx(result.metrics["eval-logloss"], rel=1e-5)
    best = result.get_best_checkpoint().load_model()
    assert loss(best) == pytest.approx(result.metrics_dataframe["eval-logloss"].min(), rel=1e-5)
    assert [checkpoint.load_model().num_boosted_rounds() for checkpoint, _ in result.best_checkpoints] == [5, 8, 3]


@pytest.mark.parametrize("keep", [None, 1])
def test_models_of_later_fits_are_nothing_to_go_on_from(tmp_path: Path, keep: int | None) -> None:
    """A trial that fails behind its second fit goes on in the first, and not from the model of the second one."""
    entries = []

    def two_fits(config: dict[str, Any]) -> None:
        entries.append(tune.get_checkpoint())
        boost({}, rounds=4, frequency=3, checkpoint_at_end=False)
        boost({}, rounds=6, frequency=1)
        if len(entries) == 1:
            raise ValueError("once")

    grid = tune.Tuner(
        two_fits,
        tune_config=tune.TuneConfig(metric="eval-logloss", mode="min"),
        run_config=tune.RunConfig(
            storage_path=str(tmp_path),
            verbose=0,
            runtime="inline",
            failure_config=tune.FailureConfig(max_failures=1),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=keep),
        ),
    ).fit()
    (result,) = grid
    assert result.status == "TERMINATED" and len(entries) == 2
    first, second = entries
    assert first is None and second.load_model().num_boosted_rounds() == 3
    assert result.load_model().num_boosted_rounds() == 6


def test_later_fits_with_milestones_and_a_callback_that_only_reports(tmp_path: Path) -> None:
    """A rung in a later fit saves nothing to go on from; where later fits save nothing, the model is the first's."""

    def pretrain_and_finetune(config: dict[str, Any]) -> None:
        boost({"eta": config["eta"]}, rounds=3)
        boost({"eta": config["eta"]}, rounds=6)

    scheduler = ASHAScheduler(time_attr="training_iteration", max_t=9, grace_period=1, reduction_factor=2)
    grid = fit(tmp_path, pretrain_and_finetune, {"eta": tune.grid_search([0.1, 0.3, 0.5, 0.9])}, scheduler=scheduler)
    assert not grid.errors
    for result in grid:
        assert loss(result.load_model()) == pytest.approx(result.metrics["eval-logloss"], rel=1e-5)

    def report_only(config: dict[str, Any]) -> None:
        boost({}, rounds=3)
        training, held_out = matrices()
        xgb.train(PARAMS, training, 2, evals=[(held_out, "eval")], callbacks=[TuneReportCallback()], verbose_eval=False)

    assert fit(tmp_path, report_only)[0].load_model().num_boosted_rounds() == 3


def test_after_an_exploit_the_best_model_is_of_the_present_training(tmp_path: Path) -> None:
    """States of the training that was given up, and of the donor before, do not count."""
    scheduler = PopulationBasedTraining(
        "training_iteration", perturbation_interval=4, hyperparam_mutations={"eta": [0.9, 0.8]}, quantile_fraction=0.5
    )
    grid = fit(
        tmp_path,
        lambda config: boost(config, rounds=10),
        {"eta": tune.grid_search([0.01, 0.9])},
        scheduler=scheduler,
    )
    exploited = [result for result in grid if "EXPLOIT" in result.explain()]
    assert exploited
    for result in exploited:
        lines = [d for d in grid.decisions if d.trial_id == result.trial_id and d.action == "EXPLOIT"]
        since = [r for r in result._results if r["timestamp"] > lines[-1].time - 1e-3]
        assert since and len(since) < len(result._results)
        best = result.get_best_checkpoint().load_model()
        assert loss(best) == pytest.approx(min(r["eval-logloss"] for r in since), rel=1e-5)


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, width), nn.Linear(width, 1))


def train_net(config: dict[str, Any], losses: tuple[float, ...] = (3.0, 1.0, 2.0)) -> None:
    model = Net(config["width"])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    state = TrainState(model=model, optimizer=optimizer)
    for epoch in state.epochs(3):
        with torch.no_grad():
            model.net[0].weight.fill_(epoch + 1)
        state.report(loss=losses[epoch])


def test_weights_are_loaded_into_what_the_user_builds(tmp_path: Path) -> None:
    result = fit(tmp_path, train_net, {"width": tune.grid_search([4])}, metric="loss")[0]

    def weight(model: Any) -> float:
        return float(model.net[0].weight[0, 0])

    assert weight(result.load_model(Net)) == 3.0  # `width` is in the config
    best = result.get_best_checkpoint()
    builders: tuple[Callable[..., Any], ...] = (Net, lambda config: Net(config["width"]), lambda: Net(4), Net(4))
    for build in builders:
        assert weight(best.load_model(build)) == 2.0
    assert weight(TrainState.get_model(best, build=Net, config={"width": 4})) == 2.0
    assert weight(tune.Checkpoint(best.to_directory(tmp_path / "copy")).load_model(Net(4))) == 2.0
    assert not best.load_model(Net).training, "dropout would be on"
    with pytest.raises(ArgumentError, match=r"expected a class or function that makes the model, since PyTorch"):
        best.load_model()
    with pytest.raises(ArgumentError, match=r"needs 'depth', 'heads', and the config has 'width'"):
        best.load_model(lambda depth, heads: None)
    with pytest.raises(RuntimeError, match="size mismatch"):
        best.load_model(Net(5))
    with pytest.raises(ArgumentError, match=r"build: makes 'model/a', and the checkpoint has 'model'"):
        best.load_model(lambda: {"a": Net(4)})


def test_a_checkpoint_without_a_model(tmp_path: Path) -> None:
    def by_hand(config: dict[str, Any]) -> None:
        (tmp_path / "own").mkdir()
        (tmp_path / "own" / "weights.txt").write_text("1")
        tune.report({"loss": 1.0}, checkpoint=tune.Checkpoint(tmp_path / "own"))

    result = fit(tmp_path, by_hand, metric="loss")[0]
    with pytest.raises(TuneError, match=r"was not saved by an adapter .* It has weights.txt"):
        result.load_model()
    with pytest.raises(TuneError, match=r"Trial 00000 has no checkpoint\. Train with a callback that saves them"):
        fit(tmp_path, lambda config: {"loss": 1.0}, metric="loss")[0].load_model()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ('{"format": 9}', "has the format 9, this version of tune-plugins reads 1"),
        ("[]", "cannot be read"),
        ('{"format": 1, "adapter": "os.system", "filename": "", "best": null}', "os.system, which is no adapter"),
        (
            '{"format": 1, "adapter": "mine.Callback", "filename": "", "best": null}',
            "which is no adapter of tune-plugins",
        ),
    ],
)
def test_a_card_that_is_not_ours(tmp_path: Path, content: str, match: str) -> None:
    (tmp_path / ".model.json").write_text(content)
    with pytest.raises(TuneError, match=match):
        tune.Checkpoint(tmp_path).load_model()


def test_a_model_that_cannot_be_copied_ends_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(TuneReportCheckpointCallback):
        def copy_model(self) -> Any:
            raise MemoryError("no room")

    def train(config: dict[str, Any]) -> None:
        training, held_out = matrices()
        xgb.train(PARAMS, training, 3, evals=[(held_out, "eval")], callbacks=[Broken()], verbose_eval=False)

    result = fit(tmp_path, train)[0]
    assert result.load_model().num_boosted_rounds() == 3
    assert [record.message for record in caplog.records if "could not be copied" in record.message]


def test_a_file_cannot_have_the_name_of_the_folder_of_the_best_model() -> None:
    with pytest.raises(ArgumentError, match="other than 'best', the folder of the best model"):
        TrainState(model=Net(2), filename="best")


def test_models_without_a_card_are_read_by_their_adapter(tmp_path: Path) -> None:
    """As a script has saved them, or an earlier version."""
    booster = xgb.train(PARAMS, matrices()[0], 3)
    booster.save_model(tmp_path / "model.ubj")
    booster.save_model(tmp_path / "other.json")
    checkpoint = tune.Checkpoint(tmp_path)
    assert TuneReportCheckpointCallback.get_model(checkpoint).num_boosted_rounds() == 3
    assert TuneReportCheckpointCallback.get_model(checkpoint, "other.json").num_boosted_rounds() == 3


def test_a_training_goes_on_where_the_best_model_so_far_cannot_be_read(tmp_path: Path) -> None:
    start = tmp_path / "start"
    start.mkdir()
    xgb.train(PARAMS, matrices()[0], 3).save_model(start / "model.ubj")
    (start / ".model.json").write_text('{"format": 9}')
    context = TrialContext(metric="eval-logloss", mode="min")
    with RecordingSession(context=context, start_checkpoint=tune.Checkpoint(start), start_iteration=3) as session:
        boost({}, rounds=5)
    assert session.iterations == [4, 5]
    assert session.checkpoints[5].load_model().num_boosted_rounds() == 5


def test_an_exploit_that_was_undone_hides_no_checkpoints(tmp_path: Path) -> None:
    """Undone on the way, when the function could not go on from the donor's state; another one came later."""
    failed = []

    def train(config: dict[str, Any]) -> None:
        model = Net(1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if tune.get_checkpoint() is not None and tune.get_context().get_trial_id() == "00000" and not failed:
            failed.append(1)
            raise RuntimeError("at re-entry")
        state = TrainState(model=model, optimizer=optimizer, frequency=1)
        for epoch in state.epochs(12):
            with torch.no_grad():
                model.net[0].weight.fill_(epoch + 1 + 100 * config["q"])
            state.report(loss=-5.0 if config["q"] == 0.9 and epoch == 0 else config["q"])

    scheduler = PopulationBasedTraining(
        "training_iteration",
        perturbation_interval=3,
        hyperparam_mutations={"n": [1, 2, 3, 4, 5]},
        quantile_fraction=0.5,
    )
    space = {"q": tune.grid_search([0.9, 0.1]), "n": tune.choice([1, 2, 3])}
    result = fit(tmp_path, train, space, metric="loss", scheduler=scheduler)[0]
    actions = [line.split(": ")[1] for line in result.explain().split("\n")[1:]]
    assert failed and actions.count("EXPLOIT") == 2 and actions.count("UNDONE") == 1
    weight = result.get_best_checkpoint().load_model(Net(1)).net[0].weight[0, 0].item()
    assert result.config["q"] == 0.1 and weight < 30, "weights of the training that was given up"


def test_what_is_trained_behind_the_last_report_is_not_the_best(tmp_path: Path) -> None:
    """Reported every second epoch, trained for five: the best state is that of epoch 4."""

    def train(config: dict[str, Any]) -> None:
        model = Net(1)
        state = TrainState(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
        for epoch in state.epochs(5):
            with torch.no_grad():
                model.net[0].weight.fill_(epoch + 1)
            if epoch % 2:
                state.report(loss=10.0 - epoch)

    result = fit(tmp_path, train, metric="loss")[0]
    assert result.get_best_checkpoint().load_model(Net(1)).net[0].weight[0, 0].item() == 4.0


def test_nothing_is_left_of_the_best_model_but_what_is_in_checkpoints(tmp_path: Path) -> None:
    result = fit(tmp_path, train_net, {"width": tune.grid_search([4])}, metric="loss")[0]
    assert not [name for name in os.listdir(result.path) if name.startswith(".tmp")]


def test_a_best_model_that_cannot_be_written_ends_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Full(TuneReportCheckpointCallback):
        def copy_model(self) -> Any:
            def write(directory: Path) -> None:
                raise OSError(28, "No space left on device")

            return write

    def train(config: dict[str, Any]) -> None:
        training, held_out = matrices()
        xgb.train(PARAMS, training, 9, evals=[(held_out, "eval")], callbacks=[Full()], verbose_eval=False)

    result = fit(tmp_path, train)[0]
    assert result.load_model().num_boosted_rounds() == 9 and os.listdir(result.path) == ["checkpoint_000009"]
    assert not Path(result.checkpoint.path, "best").exists()
    assert [record.message for record in caplog.records if "could not be saved" in record.message]
