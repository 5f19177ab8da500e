"""The LightGBM adapter against the real LightGBM."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from lightgbm_task import (
    MODEL,
    PARAMS,
    SAMPLED,
    Recorder,
    X,
    Y,
    checkpoint_of,
    data_sets,
    fit,
    load,
    text,
    trees,
)

import tune_plugins.session as tune_session
from tune_plugins.errors import ArgumentError, TrialEvicted, TrialRestarted, TrialStopped, TuneError
from tune_plugins.integrations.lightgbm import TuneReportCallback, TuneReportCheckpointCallback
from tune_plugins.session import TrialContext
from tune_plugins.testing import RecordingSession
from tune_plugins.testing.session import Exploit

# --- outside a trial


def test_without_a_trial_the_callback_changes_nothing() -> None:
    assert tune_session.current() is None
    callback = TuneReportCheckpointCallback(metrics="no-such-metric", frequency=1)
    early = {"early_stopping_round": 2, "learning_rate": 1.0}
    for params in (SAMPLED, {**PARAMS, **early}):
        model, bare = fit(callback, params=params, rounds=20), fit(params=params, rounds=20)
        assert text(model) == text(bare) and model.best_iteration == bare.best_iteration


def test_in_a_trial_the_model_is_the_same_too() -> None:
    with RecordingSession():
        model = fit(TuneReportCheckpointCallback(frequency=2), params=SAMPLED)
    bare = fit(params=SAMPLED)
    assert text(model) == text(bare)
    assert model.best_score == bare.best_score and model.best_iteration == bare.best_iteration


# --- what is reported


def test_every_round_once_with_all_metrics_as_plain_floats() -> None:
    log: dict[str, Any] = {}
    with RecordingSession() as session:
        fit(TuneReportCallback(), lgb.record_evaluation(log))
    assert session.iterations == [1, 2, 3, 4, 5, 6]
    names = {"train-binary_logloss", "train-auc", "eval-binary_logloss", "eval-auc"}
    assert set(session.reports[0].metrics) == names
    assert session.values("eval-binary_logloss") == log["eval"]["binary_logloss"]
    assert session.values("train-auc") == log["train"]["auc"]
    assert all(type(value) is float for report in session.reports for value in report.metrics.values())


@pytest.mark.parametrize(
    ("metrics", "names"),
    [
        ("eval-auc", {"eval-auc"}),
        (["eval-auc", "train-binary_logloss"], {"eval-auc", "train-binary_logloss"}),
        ({"score": "eval-auc"}, {"score"}),
    ],
)
def test_selected_metrics(metrics: Any, names: set[str]) -> None:
    with RecordingSession() as session:
        fit(TuneReportCheckpointCallback(metrics), rounds=3)
    assert all(set(report.metrics) == names for report in session.reports)


def test_wrong_metric_lists_those_there_are() -> None:
    with RecordingSession() as session, pytest.raises(ArgumentError, match="2 mistakes") as caught:
        fit(TuneReportCallback(["eval-au", "test-auc"]))
    assert "'test-auc'" in str(caught.value) and "Did you mean 'eval-auc'?" in str(caught.value)
    assert session.reports == []


def test_no_validation_set_reports_the_iterations_alone() -> None:
    with RecordingSession() as session:
        fit(TuneReportCallback(), evals=False, rounds=3)
    assert session.iterations == [1, 2, 3] and all(report.metrics == {} for report in session.reports)
    with RecordingSession(), pytest.raises(ArgumentError, match=r"no metrics at all\. .*valid_sets="):
        fit(TuneReportCallback("eval-auc"), evals=False)


def test_names_that_the_script_does_not_give() -> None:
    training, held_out = data_sets()
    with RecordingSession() as session:
        lgb.train(PARAMS, training, 2, valid_sets=[training, held_out], callbacks=[TuneReportCallback()])
    assert {"training-auc", "valid_1-auc"} <= set(session.reports[0].metrics)


def test_custom_objective_and_metric(tmp_path: Path) -> None:
    def squares(predictions: np.ndarray, data: Any) -> tuple[np.ndarray, np.ndarray]:
        return predictions - data.get_label(), np.ones_like(predictions)

    def half(predictions: np.ndarray, data: Any) -> tuple[str, np.floating[Any], bool]:
        return "half", np.mean(predictions > 0.5), True

    params = {**SAMPLED, "objective": squares, "metric": "None"}
    with RecordingSession(save_at={3}) as session:
        whole = fit(TuneReportCallback("eval-half"), params=params, feval=half)
    assert len(session.values("eval-half")) == 6 and type(session.values("eval-half")[0]) is float
    assert text(whole) == text(fit(params=params, feval=half))

    donor = checkpoint_of(fit(params={**params, "learning_rate": 0.5}, rounds=3, feval=half), tmp_path)
    new = {"learning_rate": 0.05}
    plain = fit(params={**params, **new}, rounds=3, feval=half, init_model=tmp_path / MODEL)
    verdict = {3: Exploit(donor, 3, new)}
    with RecordingSession(exploit_at=verdict, context=TrialContext(config={"learning_rate": 0.2})) as session:
        model = fit(TuneReportCheckpointCallback(), params=params, feval=half)
    assert session.exploits and text(model) == text(plain)


def test_postprocessing_gets_what_would_be_reported() -> None:
    callback = TuneReportCallback({"a": "eval-auc"}, lambda metrics: {"double": np.float32(2 * metrics["a"])})
    with RecordingSession() as session:
        fit(callback, rounds=2)
    assert all(1 < value < 2.1 and type(value) is float for value in session.values("double"))
    with RecordingSession(), pytest.raises(ArgumentError, match="results_postprocessing_fn"):
        fit(TuneReportCallback(results_postprocessing_fn=lambda metrics: None))  # type: ignore[arg-type,return-value]


def test_all_wrong_arguments_at_once() -> None:
    with pytest.raises(ArgumentError, match="4 mistakes") as caught:
        TuneReportCheckpointCallback(metrics=[1], filename="model.ubj", frequency=-1, results_postprocessing_fn=3)  # type: ignore[list-item,arg-type]
    for name in ("metrics", "filename", "frequency", "results_postprocessing_fn"):
        assert any(mistake.startswith(f"{name}:") for mistake in caught.value.mistakes)


def test_a_loop_that_is_not_lightgbms_is_refused() -> None:
    env = lgb.callback.CallbackEnv(None, {}, 0, 0, 1, None)  # type: ignore[arg-type]
    with RecordingSession(), pytest.raises(TuneError, match=r"lightgbm\.train"):
        TuneReportCallback()(env)
    assert TuneReportCallback().before_iteration is True


# --- ending


@pytest.mark.parametrize("stop_at", [1, 3, 6])
@pytest.mark.parametrize("early", [False, True])
def test_stop_leaves_a_model_of_all_rounds(stop_at: int, early: bool) -> None:
    log: dict[str, Any] = {}
    recorder = Recorder(order=1000)
    params = {**SAMPLED, "early_stopping_round": 50} if early else SAMPLED
    with RecordingSession(stop_at=stop_at) as session:
        model = fit(TuneReportCheckpointCallback(), lgb.record_evaluation(log), recorder, params=params)
    bare = fit(params=SAMPLED, rounds=stop_at)
    assert session.iterations == list(range(1, stop_at + 1)) and session.finished == 1
    assert trees(model) == trees(bare)
    assert len(log["eval"]["auc"]) == stop_at  # the others have seen the last round
    if stop_at < 6 or not early:
        assert len(recorder.seen) == stop_at
        assert model.best_iteration == bare.best_iteration and model.best_score == bare.best_score
        assert np.array_equal(model.predict(X), bare.predict(X))
    assert trees(load(session.checkpoints[stop_at])) == trees(bare)


@pytest.mark.parametrize("order", [None, -5, 0, 25, 100])
def test_another_callback_ends_the_training(order: int | None) -> None:
    with RecordingSession() as session:
        model = fit(Recorder(stop_after=3, order=order), TuneReportCheckpointCallback())
    assert session.iterations == [1, 2, 3] and list(session.checkpoints) == [3] and session.finished == 1
    assert model.best_iteration == 3 and load(session.last_checkpoint).current_iteration() == 3


@pytest.mark.parametrize("where", ["params", "callback"])
def test_early_stopping_leaves_the_last_checkpoint(where: str) -> None:
    params = {**PARAMS, "learning_rate": 1.0, "metric": "binary_logloss"}
    callbacks: list[Any] = []
    if where == "params":
        params["early_stopping_round"] = 2
    else:
        callbacks = [lgb.early_stopping(2, verbose=False)]
    bare = fit(*[copy.copy(callback) for callback in callbacks], params=params, rounds=40)
    full = bare.best_iteration + 2
    with RecordingSession() as session:
        model = fit(*callbacks, TuneReportCheckpointCallback(), params=params, rounds=40)
    assert text(model) == text(bare) and model.best_iteration == bare.best_iteration
    assert session.iterations == list(range(1, full + 1)) and session.finished == 1
    last = load(session.last_checkpoint)  # all rounds, so that it can be gone on from
    assert last.current_iteration() == full
    assert trees(last) == trees(fit(params={**params, "early_stopping_round": 0}, rounds=full))


def test_unwinding_leaves_the_training_at_once_and_everything_usable() -> None:
    callback = TuneReportCheckpointCallback()
    training, held_out = data_sets()
    with RecordingSession(raise_at={3: TrialEvicted()}, save_at={3}) as session, pytest.raises(TrialEvicted):
        lgb.train(PARAMS, training, 6, valid_sets=[held_out], callbacks=[callback])
    assert session.iterations == [1, 2, 3] and load(session.last_checkpoint).current_iteration() == 3
    assert training.free_raw_data and training.data is not None and held_out.data is not None
    with RecordingSession() as again:
        lgb.train(PARAMS, training, 2, valid_sets=[held_out], callbacks=[callback])
    assert again.iterations == [1, 2]


def test_data_sets_keep_their_raw_data_for_the_next_trial_of_the_process() -> None:
    training, held_out = data_sets()
    for _ in range(2):
        with RecordingSession(save_at={1}) as session:
            lgb.train(PARAMS, training, 2, valid_sets=[held_out], callbacks=[TuneReportCheckpointCallback()])
        assert list(session.checkpoints) == [1, 2]
        for data in (training, held_out):
            assert data.free_raw_data and data.data is not None
    training, held_out = data_sets()
    lgb.train(PARAMS, training, 2, valid_sets=[held_out], callbacks=[TuneReportCheckpointCallback()])
    assert training.data is None and held_out.data is None, "outside a trial nothing is changed"


# --- cross-validation


def test_cv_reports_mean_and_std_as_separate_numbers() -> None:
    with RecordingSession(save_at={2}) as session:
        callback = TuneReportCheckpointCallback(frequency=1)
        history = lgb.cv(PARAMS, data_sets()[0], 5, nfold=3, callbacks=[callback], eval_train_metric=True)
    assert session.iterations == [1, 2, 3, 4, 5]
    assert session.values("valid-auc") == history["valid auc-mean"]
    assert session.values("valid-auc-std") == history["valid auc-stdv"]
    assert session.values("train-binary_logloss") == history["train binary_logloss-mean"]
    assert len(session.reports[0].metrics) == 8
    assert not any(report.savable for report in session.reports)
    assert session.checkpoints == {} and session.finished == 0


def test_cv_stopped() -> None:
    with RecordingSession(stop_at=2) as session:
        callback = TuneReportCallback({"loss": "valid-binary_logloss"})
        history = lgb.cv(PARAMS, data_sets()[0], 5, nfold=3, callbacks=[callback], return_cvbooster=True)
    assert [report.metrics for report in session.reports] == [
        {"loss": value} for value in history["valid binary_logloss-mean"]
    ]
    assert session.iterations == [1, 2]
    assert history["cvbooster"].best_iteration == 2  # type: ignore[union-attr]


def test_cv_with_early_stopping_reports_the_round_that_ended_it() -> None:
    params = {**PARAMS, "learning_rate": 1.0, "metric": "binary_logloss", "early_stopping_round": 2}
    bare = lgb.cv(params, data_sets()[0], 30, nfold=3)
    with RecordingSession() as session:
        history = lgb.cv(params, data_sets()[0], 30, nfold=3, callbacks=[TuneReportCallback()])
    assert history == bare
    kept = history["valid binary_logloss-mean"]
    assert len(kept) < 28 and session.values("valid-binary_logloss")[: len(kept)] == kept
    assert len(session.reports) == len(kept) + 2


def test_cv_has_no_model_to_exploit(tmp_path: Path) -> None:
    donor = checkpoint_of(fit(rounds=3), tmp_path)
    session = RecordingSession(exploit_at={3: Exploit(donor, 3, {})})
    with session, pytest.raises(TrialRestarted):
        lgb.cv(PARAMS, data_sets()[0], 5, nfold=2, callbacks=[TuneReportCheckpointCallback()])
    assert "without a model" in session.restarts[0]


# --- checkpoints


def test_checkpoints_are_written_when_asked_for() -> None:
    with RecordingSession(save_at={2}) as session:
        model = fit(TuneReportCheckpointCallback(filename="booster.txt", checkpoint_at_end=False))
    assert list(session.checkpoints) == [2]
    assert {path.name for path in Path(session.checkpoints[2].path).iterdir()} == {"booster.txt", ".model.json"}
    saved = load(session.checkpoints[2], "booster.txt")
    assert np.array_equal(saved.predict(X), model.predict(X, num_iteration=2))
    with RecordingSession() as session:
        fit(TuneReportCheckpointCallback(frequency=4), rounds=10)
    assert list(session.checkpoints) == [4, 8, 10]
    with RecordingSession(save_at={1, 2}, save_at_end=True) as session:
        fit(TuneReportCallback(), rounds=2)
    assert session.checkpoints == {} and session.finished == 0


# --- scikit-learn


@pytest.mark.parametrize("make", [lgb.LGBMClassifier, lgb.LGBMRegressor])
def test_sklearn_estimators(make: Any, tmp_path: Path) -> None:
    settings = {"n_jobs": 1, "num_leaves": 7, "subsample": 0.5, "subsample_freq": 1, "random_state": 3, "verbosity": -1}

    def fitted(n: int, callback: Any = None, **options: Any) -> Any:
        rate = options.pop("learning_rate", 0.2)
        model = make(n_estimators=n, learning_rate=rate, **settings)
        return model.fit(X, Y, eval_set=[(X, Y)], callbacks=[callback] if callback else None, **options)

    with RecordingSession(stop_at=4) as session:
        model = fitted(9, TuneReportCheckpointCallback())
    (metric,) = session.reports[0].metrics
    (values,) = model.evals_result_["training"].values()
    assert session.iterations == [1, 2, 3, 4] and session.values(metric) == values
    assert metric.startswith("training-")
    assert model.booster_.current_iteration() == 4
    assert np.array_equal(model.predict(X), fitted(4).predict(X))

    checkpoint = session.last_checkpoint
    file = str(Path(checkpoint.path, MODEL))  # type: ignore[union-attr]
    plain = fitted(5, init_model=file)
    with RecordingSession(start_checkpoint=checkpoint, start_iteration=4) as session:
        model = fitted(9, TuneReportCheckpointCallback())
    assert session.iterations == [5, 6, 7, 8, 9] and text(model.booster_) == text(plain.booster_)

    plain = fitted(5, init_model=file, learning_rate=0.05)
    config = {"learning_rate": 0.5, "max_depth": -1}
    verdict = {4: Exploit(checkpoint, 4, {"learning_rate": 0.05, "max_depth": -1})}  # type: ignore[arg-type]
    with RecordingSession(exploit_at=verdict, context=TrialContext(config=config)) as session:
        model = fitted(9, TuneReportCheckpointCallback(), learning_rate=0.5)
    assert len(session.exploits) == 1 and text(model.booster_) == text(plain.booster_)
    assert np.array_equal(model.predict(X), plain.predict(X))


def test_sklearn_early_stopping() -> None:
    def fitted(*callbacks: Any) -> Any:
        model = lgb.LGBMClassifier(n_estimators=60, learning_rate=1.0, n_jobs=1, verbosity=-1)
        early = lgb.early_stopping(3, verbose=False)
        return model.fit(X[:300], Y[:300], eval_set=[(X[300:], Y[300:])], callbacks=[early, *callbacks])

    with RecordingSession() as session:
        model = fitted(TuneReportCheckpointCallback({"loss": "valid_0-binary_logloss"}))
    bare = fitted()
    assert model.best_iteration_ == bare.best_iteration_ < 57
    assert session.values("loss") == bare.evals_result_["valid_0"]["binary_logloss"]
    assert np.array_equal(model.predict_proba(X), bare.predict_proba(X))


# --- several fits in a trial


@pytest.mark.parametrize("shared", [True, False])
def test_later_fits_count_on_and_leave_the_checkpoints_alone(shared: bool) -> None:
    callback = TuneReportCheckpointCallback(frequency=2)
    with RecordingSession() as session:
        first = fit(callback, rounds=4)
        fit(callback if shared else TuneReportCheckpointCallback(frequency=2), rounds=3)
    assert session.iterations == [1, 2, 3, 4, 5, 6, 7] and list(session.checkpoints) == [2, 4]
    assert text(load(session.last_checkpoint)) == text(first)


def test_start_checkpoint_is_for_the_first_fit_only() -> None:
    with RecordingSession(stop_at=3) as session:
        fit(TuneReportCheckpointCallback(), rounds=5)
    with RecordingSession(start_checkpoint=session.last_checkpoint, start_iteration=3) as session:
        callback = TuneReportCheckpointCallback()
        assert fit(callback, rounds=5).current_iteration() == 5
        second = fit(callback, rounds=2)
    assert session.iterations == [4, 5, 6, 7] and text(second) == text(fit(rounds=2))


def test_fit_after_the_stop_is_refused() -> None:
    with RecordingSession(stop_at=2) as session:
        fit(TuneReportCallback(), rounds=5)
        with pytest.raises(TrialStopped):
            fit(TuneReportCallback(), rounds=5)
    assert session.iterations == [1, 2]


def test_cv_and_then_train_has_the_checkpoints_of_train() -> None:
    with RecordingSession() as session:
        lgb.cv(PARAMS, data_sets()[0], 3, nfold=2, callbacks=[TuneReportCallback({"auc": "valid-auc"})])
        fit(TuneReportCheckpointCallback({"auc": "eval-auc"}), rounds=2)
    assert session.iterations == [1, 2, 3, 4, 5] and load(session.checkpoints[5]).current_iteration() == 2


def test_report_callback_in_a_resumed_trial_counts_on(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(fit(rounds=4), tmp_path)
    with RecordingSession(start_checkpoint=checkpoint, start_iteration=4) as session:
        fit(TuneReportCallback(), rounds=2)
    assert session.iterations == [5, 6]


def test_callback_can_be_copied_and_pickled() -> None:
    callback = TuneReportCheckpointCallback({"auc": "eval-auc"}, frequency=2)
    with RecordingSession():
        fit(callback, rounds=2)
    for other in (copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        with RecordingSession() as session:
            fit(other, rounds=2)
        assert list(session.reports[0].metrics) == ["auc"] and list(session.checkpoints) == [2]


def test_no_estimator_is_made_of_a_file() -> None:
    with RecordingSession() as session:
        fit(TuneReportCheckpointCallback(), rounds=2)
    assert session.last_checkpoint is not None
    with pytest.raises(
        ArgumentError, match=r"build: none is needed, LightGBM loads Boosters only; got .*LGBMClassifier"
    ):
        session.last_checkpoint.load_model(lgb.LGBMClassifier)


def test_cv_takes_the_names_of_its_own_history() -> None:
    """Of Ray Tune's example with cross-validation."""
    metrics = {"error": "valid-binary_logloss-mean", "spread": "valid-binary_logloss-stdv"}
    with RecordingSession() as session:
        history = lgb.cv(PARAMS, data_sets()[0], 5, nfold=3, callbacks=[TuneReportCheckpointCallback(metrics)])
    assert session.values("error") == history["valid binary_logloss-mean"]
    assert session.values("spread") == history["valid binary_logloss-stdv"]
    with pytest.raises(ArgumentError, match="there is no 'valid-auk-mean'; there are 'valid-"), RecordingSession():
        lgb.cv(PARAMS, data_sets()[0], 5, nfold=3, callbacks=[TuneReportCallback("valid-auk-mean")])
