"""The XGBoost adapter against the real XGBoost."""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from xgboost_task import (
    PARAMS,
    SAMPLED,
    TRAIN,
    VALID,
    Recorder,
    X,
    Y,
    checkpoint_of,
    early_log,
    fit,
    load,
    matrix,
    raw,
)

import tune_plugins.session as tune_session
from tune_plugins.errors import (
    ArgumentError,
    MissingDependencyError,
    TrialEvicted,
    TrialStopped,
)
from tune_plugins.integrations._metrics import select_metrics
from tune_plugins.integrations.xgboost import (
    TuneReportCallback,
    TuneReportCheckpointCallback,
)
from tune_plugins.testing import RecordingSession

# --- outside a trial


def test_without_a_trial_the_callback_changes_nothing() -> None:
    assert tune_session.current() is None
    callback = TuneReportCheckpointCallback(metrics="no-such-metric", frequency=1)
    assert raw(fit(callback, params=SAMPLED)) == raw(fit(params=SAMPLED))


def test_in_a_trial_the_model_is_the_same_too() -> None:
    with RecordingSession():
        model = fit(TuneReportCheckpointCallback(frequency=2), params=SAMPLED)
    assert raw(model) == raw(fit(params=SAMPLED))


def test_missing_framework_names_module_and_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)
    monkeypatch.delitem(sys.modules, "tune_plugins.integrations.xgboost")
    with pytest.raises(MissingDependencyError, match=r"'xgboost'.*tune-plugins\[xgboost\]"):
        import tune_plugins.integrations.xgboost  # noqa: F401


# --- what is reported


def test_every_round_once_with_all_metrics_as_plain_floats() -> None:
    log: dict[str, dict[str, list[float]]] = {}
    with RecordingSession() as session:
        fit(TuneReportCallback(), params={**PARAMS, "eval_metric": ["logloss", "auc"]}, evals_result=log)
    assert session.iterations == [1, 2, 3, 4, 5, 6]
    assert set(session.reports[0].metrics) == {"train-logloss", "train-auc", "eval-logloss", "eval-auc"}
    assert session.values("eval-logloss") == log["eval"]["logloss"]
    assert session.values("train-auc") == log["train"]["auc"]
    assert all(type(value) is float for report in session.reports for value in report.metrics.values())


@pytest.mark.parametrize(
    ("metrics", "names"),
    [
        ("eval-logloss", {"eval-logloss"}),
        (["eval-logloss", "train-error"], {"eval-logloss", "train-error"}),
        ({"loss": "eval-logloss"}, {"loss"}),
    ],
)
def test_selected_metrics(metrics: Any, names: set[str]) -> None:
    log: dict[str, dict[str, list[float]]] = {}
    with RecordingSession() as session:
        callback = TuneReportCheckpointCallback(metrics)
        fit(callback, params={**PARAMS, "eval_metric": ["error", "logloss"]}, evals_result=log, rounds=3)
    assert all(set(report.metrics) == names for report in session.reports)
    assert session.values("loss" if "loss" in names else "eval-logloss") == log["eval"]["logloss"]


def test_wrong_metric_lists_those_there_are() -> None:
    with RecordingSession() as session, pytest.raises(ValueError, match="eval-loglos") as caught:
        fit(TuneReportCallback(["eval-loglos", "test-auc"]))
    message = str(caught.value)
    assert "2 mistakes" in message and "'test-auc'" in message
    assert "there are 'train-logloss', 'eval-logloss'. Did you mean 'eval-logloss'?" in message
    assert session.reports == []


def test_no_validation_set_reports_the_iterations_alone() -> None:
    with RecordingSession() as session:
        fit(TuneReportCallback(), evals=False, rounds=3)
    assert session.iterations == [1, 2, 3]
    assert all(report.metrics == {} for report in session.reports)


def test_metric_named_without_validation_set_says_what_to_do() -> None:
    with RecordingSession(), pytest.raises(ArgumentError, match=r"no metrics at all\. .*evals="):
        fit(TuneReportCallback("eval-logloss"), evals=False)


def test_custom_metric() -> None:
    def half(predictions: np.ndarray, data: Any) -> tuple[str, float]:
        return "half", float(np.mean(predictions > 0.5))

    with RecordingSession() as session:
        fit(TuneReportCallback("eval-half"), custom_metric=half, rounds=3)
    assert len(session.values("eval-half")) == 3


def test_postprocessing_gets_what_would_be_reported() -> None:
    seen = []

    def double(metrics: dict[str, float]) -> dict[str, Any]:
        seen.append(dict(metrics))
        return {"double": np.float32(2.0) * np.float32(metrics["loss"])}

    with RecordingSession() as session:
        fit(TuneReportCallback({"loss": "eval-logloss"}, results_postprocessing_fn=double), rounds=2)
    assert [set(metrics) for metrics in seen] == [{"loss"}, {"loss"}]
    assert session.values("double") == pytest.approx([2 * metrics["loss"] for metrics in seen])


def test_postprocessing_must_return_a_dict() -> None:
    with RecordingSession(), pytest.raises(ArgumentError, match="results_postprocessing_fn"):
        fit(TuneReportCallback(results_postprocessing_fn=lambda metrics: None))  # type: ignore[arg-type,return-value]


def test_all_wrong_arguments_at_once() -> None:
    with pytest.raises(ArgumentError, match="4 mistakes") as caught:
        TuneReportCheckpointCallback(metrics=[1], filename="../model.pkl", frequency=-1, results_postprocessing_fn=3)  # type: ignore[list-item,arg-type]
    for name in ("metrics", "filename", "frequency", "results_postprocessing_fn"):
        assert any(mistake.startswith(f"{name}:") for mistake in caught.value.mistakes)


@pytest.mark.parametrize("metrics", [[], {}, 3, ["a", ""]])
def test_wrong_metrics_argument(metrics: Any) -> None:
    with pytest.raises(ArgumentError, match="metrics: expected"):
        TuneReportCallback(metrics)


def test_select_metrics_keeps_order_and_refuses_at_once() -> None:
    assert list(select_metrics({"b": "y", "a": "x"}, ["x", "y", "z"])) == ["b", "a"]
    assert select_metrics(None, []) == {}
    with pytest.raises(ArgumentError, match="2 mistakes"):
        select_metrics(["p", "q"], ["x"], where="here")


# --- stopping


@pytest.mark.parametrize("stop_at", [1, 3, 6])
@pytest.mark.parametrize("first", [True, False])
def test_stop_ends_the_training_at_that_round(stop_at: int, first: bool) -> None:
    recorder = Recorder()
    with RecordingSession(stop_at=stop_at) as session:
        callback = TuneReportCheckpointCallback()
        model = fit(*((callback, recorder) if first else (recorder, callback)))
    assert model.num_boosted_rounds() == recorder.rounds == stop_at
    assert session.iterations == list(range(1, stop_at + 1))
    assert raw(load(session.checkpoints[stop_at])) == raw(model)


def test_stop_in_the_first_round_with_save_best() -> None:
    early = xgb.callback.EarlyStopping(rounds=3, save_best=True)
    with RecordingSession(stop_at=1) as session:
        model = fit(TuneReportCheckpointCallback(), early)
    assert model.num_boosted_rounds() == 1 and session.iterations == [1]


@pytest.mark.parametrize("stop", [{"stop_before": 3}, {"stop_after": 3}])
@pytest.mark.parametrize("first", [True, False])
def test_another_callback_ends_the_training(stop: dict[str, int], first: bool) -> None:
    with RecordingSession() as session:
        callback = TuneReportCheckpointCallback()
        other = Recorder(**stop)
        model = fit(*((callback, other) if first else (other, callback)))
    assert model.num_boosted_rounds() == 3
    assert session.iterations == [1, 2, 3]
    assert list(session.checkpoints) == [3]


def test_unwinding_leaves_the_training_at_once_and_the_callback_usable() -> None:
    callback = TuneReportCheckpointCallback()
    with RecordingSession(raise_at={3: TrialEvicted()}, save_at={3}) as session, pytest.raises(TrialEvicted):
        fit(callback)
    assert session.iterations == [1, 2, 3]
    assert load(session.last_checkpoint).num_boosted_rounds() == 3
    with RecordingSession() as again:
        fit(callback, rounds=2)
    assert again.iterations == [1, 2]


# --- early stopping


@pytest.mark.parametrize("save_best", [False, True])
@pytest.mark.parametrize("order", ["first", "last", "argument"])
def test_early_stopping_leaves_the_last_checkpoint_whatever_the_order(save_best: bool, order: str) -> None:
    if order == "argument" and save_best:
        bare = fit(xgb.callback.EarlyStopping(rounds=2), params=early_log(), rounds=40)
    else:
        bare = fit(xgb.callback.EarlyStopping(rounds=2, save_best=save_best), params=early_log(), rounds=40)
    full = fit(xgb.callback.EarlyStopping(rounds=2), params=early_log(), rounds=40)
    last = full.num_boosted_rounds()
    assert last < 40
    with RecordingSession(save_at=lambda iteration: True) as session:
        callback = TuneReportCheckpointCallback()
        if order == "argument":
            model = fit(callback, params=early_log(), rounds=40, early_stopping_rounds=2)
        else:
            early = xgb.callback.EarlyStopping(rounds=2, save_best=save_best)
            model = fit(*((early, callback) if order == "first" else (callback, early)), params=early_log(), rounds=40)
    assert raw(model) == raw(bare)
    assert session.iterations == list(range(1, last + 1))
    assert session.finished == 1
    assert raw(load(session.checkpoints[last])) == raw(full)  # all rounds, and the best one noted
    assert load(session.last_checkpoint).best_iteration == full.best_iteration
    # a checkpoint on the way knows the best round up to there, too
    best = full.best_iteration
    assert load(session.checkpoints[best + 1]).best_iteration == best


# --- cross-validation


def test_cv_reports_mean_and_std_as_separate_numbers() -> None:
    with RecordingSession(save_at={2}) as session:
        history = xgb.cv(
            {**PARAMS, "eval_metric": ["logloss", "auc"]},
            matrix(),
            5,
            nfold=3,
            callbacks=[TuneReportCheckpointCallback(frequency=1)],
            as_pandas=False,
        )
    assert session.iterations == [1, 2, 3, 4, 5]
    assert session.values("test-logloss") == list(history["test-logloss-mean"])
    assert session.values("test-auc-std") == list(history["test-auc-std"])
    assert len(session.reports[0].metrics) == 8
    assert not any(report.savable for report in session.reports)
    assert session.checkpoints == {} and session.finished == 0


def test_cv_selected_and_stopped() -> None:
    with RecordingSession(stop_at=2) as session:
        history = xgb.cv(
            PARAMS, matrix(), 5, nfold=3, callbacks=[TuneReportCallback({"loss": "test-logloss"})], as_pandas=False
        )
    assert [report.metrics for report in session.reports] == [{"loss": v} for v in history["test-logloss-mean"]]
    assert session.iterations == [1, 2]


def test_cv_with_early_stopping_reports_the_round_that_ended_it() -> None:
    with RecordingSession() as session:
        history = xgb.cv(
            early_log(),
            matrix(),
            30,
            nfold=3,
            early_stopping_rounds=2,
            callbacks=[TuneReportCallback()],
            as_pandas=False,
        )
    kept = list(history["test-logloss-mean"])  # cut to the best round by XGBoost
    assert session.values("test-logloss")[: len(kept)] == kept
    assert len(session.reports) == len(kept) + 2


# --- scikit-learn


def test_sklearn_estimator() -> None:
    with RecordingSession(stop_at=4) as session:
        model = xgb.XGBClassifier(
            n_estimators=10,
            max_depth=3,
            n_jobs=1,
            eval_metric="logloss",
            early_stopping_rounds=5,
            callbacks=[TuneReportCheckpointCallback({"loss": "validation_0-logloss"})],
        )
        model.fit(X[TRAIN], Y[TRAIN], eval_set=[(X[VALID], Y[VALID])], verbose=False)
    assert session.iterations == [1, 2, 3, 4]
    assert session.values("loss") == model.evals_result()["validation_0"]["logloss"]
    assert load(session.last_checkpoint).num_boosted_rounds() == model.get_booster().num_boosted_rounds() == 4


def test_sklearn_estimator_continues(tmp_path: Path) -> None:
    settings = {"max_depth": 3, "n_jobs": 1, "subsample": 0.5, "random_state": 3}
    half = xgb.XGBClassifier(n_estimators=4, **settings).fit(X, Y)
    checkpoint = checkpoint_of(half.get_booster(), tmp_path)
    plain = xgb.XGBClassifier(n_estimators=6, **settings).fit(X, Y, xgb_model=str(tmp_path / "model.ubj"))
    with RecordingSession(start_checkpoint=checkpoint, start_iteration=4) as session:
        callback = TuneReportCheckpointCallback()
        model = xgb.XGBClassifier(n_estimators=10, callbacks=[callback], **settings).fit(X, Y)
    assert raw(model.get_booster()) == raw(plain.get_booster())
    assert session.iterations == [5, 6, 7, 8, 9, 10]


# --- checkpoints


@pytest.mark.parametrize("filename", ["model.ubj", "booster.json"])
def test_checkpoints_are_written_when_asked_for(filename: str) -> None:
    with RecordingSession(save_at={2}) as session:
        model = fit(TuneReportCheckpointCallback(filename=filename, checkpoint_at_end=False))
    assert list(session.checkpoints) == [2]
    assert {p.name for p in Path(session.checkpoints[2].path).iterdir()} == {filename, ".model.json"}
    assert load(session.checkpoints[2], filename).get_dump() == model[:2].get_dump()


def test_frequency_and_end() -> None:
    with RecordingSession() as session:
        fit(TuneReportCheckpointCallback(frequency=4), rounds=10)
    assert list(session.checkpoints) == [4, 8, 10]
    with RecordingSession() as session:
        fit(TuneReportCheckpointCallback(frequency=5), rounds=10)
    assert list(session.checkpoints) == [5, 10]  # the last one is not saved twice


def test_report_callback_saves_nothing() -> None:
    with RecordingSession(save_at={1, 2}, save_at_end=True) as session:
        fit(TuneReportCallback(), rounds=2)
    assert session.checkpoints == {} and session.finished == 0


# --- several fits in a trial


@pytest.mark.parametrize("shared", [True, False])
def test_later_fits_count_on_and_leave_the_checkpoints_alone(shared: bool) -> None:
    callback = TuneReportCheckpointCallback(frequency=2)
    with RecordingSession() as session:
        first = fit(callback, rounds=4)
        fit(callback if shared else TuneReportCheckpointCallback(frequency=2), rounds=3)
    assert session.iterations == [1, 2, 3, 4, 5, 6, 7]
    assert list(session.checkpoints) == [2, 4]
    assert raw(load(session.last_checkpoint)) == raw(first)


def test_start_checkpoint_is_for_the_first_fit_only() -> None:
    with RecordingSession(stop_at=3) as session:
        fit(TuneReportCheckpointCallback(), rounds=5)
    with RecordingSession(start_checkpoint=session.last_checkpoint, start_iteration=3) as session:
        callback = TuneReportCheckpointCallback()
        assert fit(callback, rounds=5).num_boosted_rounds() == 5
        second = fit(callback, rounds=2)
    assert session.iterations == [4, 5, 6, 7]
    assert raw(second) == raw(fit(rounds=2))


def test_fit_after_the_stop_is_refused() -> None:
    with RecordingSession(stop_at=2) as session:
        fit(TuneReportCallback(), rounds=5)
        with pytest.raises(TrialStopped):
            fit(TuneReportCallback(), rounds=5)
    assert session.iterations == [1, 2]


def test_cv_and_then_train_has_the_checkpoints_of_train() -> None:
    with RecordingSession() as session:
        xgb.cv(PARAMS, matrix(), 3, nfold=2, callbacks=[TuneReportCallback({"loss": "test-logloss"})])
        fit(TuneReportCheckpointCallback({"loss": "eval-logloss"}), rounds=2)
    assert session.iterations == [1, 2, 3, 4, 5]
    assert load(session.checkpoints[5]).num_boosted_rounds() == 2


def test_report_callback_in_a_resumed_trial_counts_on(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(fit(rounds=4), tmp_path)
    with RecordingSession(start_checkpoint=checkpoint, start_iteration=4) as session:
        fit(TuneReportCallback(), rounds=2)
    assert session.iterations == [5, 6]


def test_the_same_callback_in_one_trial_after_another() -> None:
    callback = TuneReportCheckpointCallback()
    for _ in range(2):
        with RecordingSession() as session:
            fit(callback, rounds=3)
        assert session.iterations == [1, 2, 3] and list(session.checkpoints) == [3]


def test_callback_can_be_copied_and_pickled() -> None:
    callback = TuneReportCheckpointCallback({"loss": "eval-logloss"}, frequency=2)
    with RecordingSession():
        fit(callback, rounds=2)
    for other in (copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        with RecordingSession() as session:
            fit(other, rounds=2)
        assert list(session.reports[0].metrics) == ["loss"] and list(session.checkpoints) == [2]
