"""The CatBoost adapter against the real CatBoost."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import pandas as pd
import pytest
from catboost import CatBoost, CatBoostClassifier, CatBoostError, CatBoostRanker, CatBoostRegressor, Pool
from catboost.core import _CatBoostBase
from sklearn.datasets import load_breast_cancer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tune_plugins.session as tune_session
from tune_plugins.errors import ArgumentError, TrialEvicted, TrialRestarted, TuneError
from tune_plugins.integrations import catboost as adapter
from tune_plugins.integrations.catboost import TuneReportCallback, TuneReportCheckpointCallback
from tune_plugins.record.checkpoint import Checkpoint
from tune_plugins.session import TrialContext
from tune_plugins.testing import RecordingSession
from tune_plugins.testing.session import Exploit

X, Y = load_breast_cancer(return_X_y=True)
NOISE = np.random.default_rng(0).integers(0, 2, len(Y))
PARAMS: dict[str, Any] = {
    "iterations": 6,
    "depth": 3,
    "learning_rate": 0.2,
    "thread_count": 1,
    "verbose": False,
    "allow_writing_files": False,
    "random_seed": 7,
}
MODEL = "model.cbm"


def classifier(**params: Any) -> Any:
    return CatBoostClassifier(**{**PARAMS, **params})


def fit(*callbacks: Any, model: Any = None, labels: Any = Y, **options: Any) -> Any:
    model = classifier(custom_metric="AUC") if model is None else model
    options = {"eval_set": (X[300:], labels[300:]), **options}
    return model.fit(X[:300], labels[:300], callbacks=list(callbacks) or None, **options)


def overfitted(**params: Any) -> Any:
    """Its best round is long before its last one."""
    return classifier(**{"iterations": 40, "learning_rate": 0.9, "depth": 6, **params})


def assert_same(model: Any, plain: Any, x: Any = X) -> None:
    assert model.tree_count_ == plain.tree_count_
    assert np.array_equal(model.get_leaf_values(), plain.get_leaf_values())
    assert np.array_equal(CatBoost.predict(model, x), CatBoost.predict(plain, x))


def load(checkpoint: Checkpoint | None, filename: str = MODEL) -> Any:
    assert checkpoint is not None
    return CatBoostClassifier().load_model(Path(checkpoint.path, filename))


class Recorder:
    """A callback of the user's own: notes what it is told and in which thread, may end the training or fail."""

    def __init__(self, stop_after: int = -1, error: BaseException | None = None) -> None:
        self.seen: list[int] = []
        self.threads: set[threading.Thread] = set()
        self.stop_after, self.error = stop_after, error

    def after_iteration(self, info: Any) -> bool:
        self.seen.append(info.iteration)
        self.threads.add(threading.current_thread())
        if len(self.seen) == self.stop_after and self.error is not None:
            raise self.error
        return len(self.seen) != self.stop_after


@pytest.fixture(autouse=True)
def _leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Snapshots of a training are gone with it, and nothing is written into the working directory."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    working = tmp_path / "working"
    working.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.chdir(working)
    yield
    assert [path.name for path in temporary.iterdir() if path.name.startswith("catboost")] == []
    assert [thread.name for thread in threading.enumerate() if thread.name == "catboost"] == []


# --- outside a trial


def test_without_a_trial_the_callback_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    callback = TuneReportCheckpointCallback(metrics="no-such-metric", frequency=1)
    given: list[Any] = []
    monkeypatch.setattr(adapter, "_train_alone", lambda *args: given.append(args) or CATBOOSTS_OWN(*args))
    model, bare = fit(callback), fit()
    assert_same(model, bare)
    assert model.evals_result_ == bare.evals_result_
    for _, _, _, params, clears_pool, _ in given:
        assert clears_pool and "save_snapshot" not in params


CATBOOSTS_OWN = adapter._train_alone


def test_in_a_trial_the_model_is_the_same_too() -> None:
    for frequency in (0, 2):
        with RecordingSession():
            model = fit(TuneReportCheckpointCallback(frequency=frequency))
        bare = fit()
        assert_same(model, bare)
        assert model.evals_result_ == bare.evals_result_ and model.best_iteration_ == bare.best_iteration_
        assert np.array_equal(model.get_test_eval(), bare.get_test_eval())
        assert model.get_all_params() == bare.get_all_params()
        assert np.array_equal(model.feature_importances_, bare.feature_importances_)


def test_a_fit_without_our_callback_is_left_alone_in_a_trial() -> None:
    recorder = Recorder()
    with RecordingSession() as session:
        fit(recorder)
        fit()
    assert session.reports == [] and recorder.seen == [1, 2, 3, 4, 5, 6]


# --- what is reported


def test_every_round_once_with_all_metrics_as_plain_floats() -> None:
    with RecordingSession() as session:
        model = fit(TuneReportCallback())
    assert session.iterations == [1, 2, 3, 4, 5, 6]
    assert set(session.reports[0].metrics) == {"learn-Logloss", "validation-Logloss", "validation-AUC"}
    assert session.values("validation-AUC") == model.evals_result_["validation"]["AUC"]
    assert session.values("learn-Logloss") == model.evals_result_["learn"]["Logloss"]
    assert all(type(value) is float for report in session.reports for value in report.metrics.values())


@pytest.mark.parametrize(
    ("metrics", "names"),
    [
        ("validation-AUC", {"validation-AUC"}),
        (["validation-AUC", "learn-Logloss"], {"validation-AUC", "learn-Logloss"}),
        ({"score": "validation-AUC"}, {"score"}),
    ],
)
def test_selected_metrics(metrics: Any, names: set[str]) -> None:
    with RecordingSession() as session:
        fit(TuneReportCheckpointCallback(metrics))
    assert all(set(report.metrics) == names for report in session.reports)


def test_wrong_metric_lists_those_there_are() -> None:
    for kind in (TuneReportCallback, TuneReportCheckpointCallback):
        with RecordingSession() as session, pytest.raises(ArgumentError, match="2 mistakes") as caught:
            fit(kind(["validation-AU", "test-AUC"]))
        assert "'test-AUC'" in str(caught.value) and "Did you mean 'validation-AUC'?" in str(caught.value)
        assert session.reports == []


def test_several_evaluation_sets() -> None:
    sets = [(X[300:400], Y[300:400]), (X[400:], Y[400:])]
    with RecordingSession() as session:
        model = fit(TuneReportCallback(), eval_set=sets)
    names = {"learn-Logloss", "validation_0-Logloss", "validation_0-AUC", "validation_1-Logloss", "validation_1-AUC"}
    assert set(session.reports[0].metrics) == names
    assert session.values("validation_1-AUC") == model.evals_result_["validation_1"]["AUC"]


def test_no_metrics_at_all_reports_the_iterations_alone() -> None:
    groups = np.arange(300) // 10
    ranker = CatBoostRanker(**PARAMS)
    with RecordingSession() as session:
        ranker.fit(X[:300], Y[:300], group_id=groups, callbacks=[TuneReportCallback()])
    assert session.iterations == [1, 2, 3, 4, 5, 6] and all(report.metrics == {} for report in session.reports)
    with RecordingSession(), pytest.raises(ArgumentError, match=r"no metrics at all\. .*eval_set="):
        ranker.fit(X[:300], Y[:300], group_id=groups, callbacks=[TuneReportCallback("validation-NDCG")])


@pytest.mark.parametrize("early", [False, True])
def test_rounds_in_which_catboost_measures_nothing_are_not_reported(early: bool) -> None:
    """With early stopping it measures its metric in each round, and the others in every third."""
    params = {"iterations": 9, "custom_metric": "AUC", "metric_period": 3} | ({"od_wait": 50} if early else {})
    for saved in (set[int](), {4}):
        with RecordingSession(save_at=saved) as session:
            model = fit(TuneReportCheckpointCallback(), model=classifier(**params))
        record = model.evals_result_["validation"]
        some = [1, 4, 7, 9]
        assert session.iterations == (list(range(1, 10)) if early else some)
        assert session.values("validation-Logloss") == record["Logloss"]
        assert [report.iteration for report in session.reports if "validation-AUC" in report.metrics] == some
        assert [r.metrics["validation-AUC"] for r in session.reports if "validation-AUC" in r.metrics] == record["AUC"]


def test_custom_objective_and_metric() -> None:
    class Squares:
        def calc_ders_range(self, approxes: Any, targets: Any, weights: Any) -> list[tuple[float, float]]:
            return [(target - approx, -1.0) for approx, target in zip(approxes, targets, strict=True)]

    class Distance:
        def is_max_optimal(self) -> bool:
            return False

        def evaluate(self, approxes: Any, targets: Any, weights: Any) -> tuple[float, float]:
            return sum(abs(a - t) for a, t in zip(approxes[0], targets, strict=True)), len(targets)

        def get_final_error(self, error: float, weight: float) -> float:
            return error / weight

    def make() -> Any:
        return CatBoostRegressor(**PARAMS, loss_function=Squares(), eval_metric=Distance())

    with RecordingSession(save_at={2, 3}) as session:
        model = fit(TuneReportCheckpointCallback("validation-Distance"), model=make())
    bare = fit(model=make())
    assert_same(model, bare)
    assert session.values("validation-Distance") == bare.evals_result_["validation"]["Distance"]


def test_postprocessing_gets_what_would_be_reported() -> None:
    callback = TuneReportCallback({"a": "validation-AUC"}, lambda metrics: {"double": np.float32(2 * metrics["a"])})
    with RecordingSession() as session:
        fit(callback)
    assert all(1 < value < 2.1 and type(value) is float for value in session.values("double"))
    with RecordingSession(), pytest.raises(ArgumentError, match="results_postprocessing_fn"):
        fit(TuneReportCallback(results_postprocessing_fn=lambda metrics: None))  # type: ignore[arg-type,return-value]


def test_all_wrong_arguments_at_once() -> None:
    with pytest.raises(ArgumentError, match="4 mistakes") as caught:
        TuneReportCheckpointCallback(metrics=[1], filename="model.json", frequency=-1, results_postprocessing_fn=3)  # type: ignore[list-item,arg-type]
    for name in ("metrics", "filename", "frequency", "results_postprocessing_fn"):
        assert any(mistake.startswith(f"{name}:") for mistake in caught.value.mistakes)


def test_a_call_that_is_not_catboosts_is_refused() -> None:
    with RecordingSession(), pytest.raises(TuneError, match="`fit` of CatBoost"):
        TuneReportCallback().after_iteration(None)
    assert TuneReportCallback().after_iteration(None) is True


def test_on_a_gpu_catboost_refuses_callbacks_itself() -> None:
    with RecordingSession(), pytest.raises(CatBoostError, match="callbacks are not supported for GPU"):
        fit(TuneReportCheckpointCallback(), model=classifier(task_type="GPU"))


# --- ending


@pytest.mark.parametrize("stop_at", [1, 3, 6])
def test_stop_leaves_a_model_of_all_rounds(stop_at: int) -> None:
    recorder = Recorder()
    with RecordingSession(stop_at=stop_at) as session:
        model = fit(TuneReportCheckpointCallback(), recorder)
    bare = fit(model=classifier(custom_metric="AUC", iterations=stop_at))
    assert session.iterations == list(range(1, stop_at + 1)) and session.finished == 1
    assert recorder.seen == session.iterations
    assert_same(model, bare)
    assert model.evals_result_ == bare.evals_result_
    assert_same(load(session.checkpoints[stop_at]), bare)


@pytest.mark.parametrize("kind", [TuneReportCallback, TuneReportCheckpointCallback])
@pytest.mark.parametrize("ours_first", [True, False])
def test_another_callback_ends_the_training(kind: type, ours_first: bool) -> None:
    callbacks = [kind(), Recorder(stop_after=3)]
    with RecordingSession() as session:
        model = fit(*callbacks[:: 1 if ours_first else -1])
    assert session.iterations == [1, 2, 3] and model.tree_count_ == 3
    assert session.finished == (kind is TuneReportCheckpointCallback)


@pytest.mark.parametrize(
    "detector",
    [
        {"od_wait": 3},
        {"od_type": "IncToDec", "od_pval": 0.05, "od_wait": 2},
        {"od_wait": 3, "iterations": 300},  # from 200 on, CatBoost makes something else of other parameters
    ],
)
@pytest.mark.parametrize("save_at", [(), range(2, 40, 3)])
def test_early_stopping_leaves_the_last_checkpoint(detector: Any, save_at: Any) -> None:
    bare = fit(model=overfitted(**detector), labels=NOISE)
    rounds = len(bare.evals_result_["learn"]["Logloss"])
    assert bare.tree_count_ == bare.best_iteration_ + 1 < rounds < 40
    with RecordingSession(save_at=save_at) as session:
        model = fit(TuneReportCheckpointCallback(), model=overfitted(**detector), labels=NOISE)
    assert session.iterations == list(range(1, rounds + 1)) and session.finished == 1
    assert_same(model, bare)
    assert model.evals_result_ == bare.evals_result_ and model.best_score_ == bare.best_score_
    assert np.array_equal(model.get_test_eval(), bare.get_test_eval())
    full = fit(model=overfitted(**detector, use_best_model=False), labels=NOISE)
    assert_same(load(session.last_checkpoint), full)

    # It is complete: a trial that goes on from it trains nothing, and has the same model.
    with RecordingSession(start_checkpoint=session.last_checkpoint, start_iteration=rounds) as again:
        same = fit(TuneReportCheckpointCallback(), model=overfitted(**detector), labels=NOISE)
    assert again.reports == [] and same.best_iteration_ == bare.best_iteration_
    assert_same(same, bare)


@pytest.mark.parametrize("kind", [TuneReportCallback, TuneReportCheckpointCallback])
@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), StopIteration("x"), SystemExit(3)])
def test_an_error_of_a_callback_arrives_as_it_is(kind: type, error: BaseException) -> None:
    """CatBoost makes a CatBoostError of it: https://github.com/catboost/catboost/issues/1744"""
    recorder = Recorder(stop_after=2, error=error)
    with RecordingSession() as session, pytest.raises(type(error)) as caught:
        fit(kind(), recorder)
    assert caught.value is error
    assert session.iterations == [1] and recorder.seen == [1, 2] and session.finished == 0


def test_unwinding_leaves_everything_usable() -> None:
    callback, model = TuneReportCheckpointCallback(), classifier()
    pool = Pool(X[:300], Y[:300])
    with RecordingSession(raise_at={3: TrialEvicted()}, save_at={3}) as session, pytest.raises(TrialEvicted):
        model.fit(pool, callbacks=[callback])
    assert session.iterations == [1, 2, 3] and load(session.last_checkpoint).tree_count_ == 3
    with RecordingSession() as again:
        model.fit(pool, callbacks=[callback])
    assert again.iterations == [1, 2, 3, 4, 5, 6]
    assert_same(model, classifier().fit(pool))


def test_an_error_of_catboost_arrives_as_it_is() -> None:
    for kind in (TuneReportCallback, TuneReportCheckpointCallback):
        with RecordingSession(), pytest.raises(CatBoostError, match="depth"):
            fit(kind(), model=classifier(depth=99))
    with RecordingSession() as session:
        fit(TuneReportCheckpointCallback())
    assert len(session.reports) == 6


def test_callbacks_run_in_the_thread_of_the_script() -> None:
    recorder = Recorder()
    with RecordingSession(save_at={2, 4}):
        fit(recorder, TuneReportCheckpointCallback())
    assert recorder.threads == {threading.current_thread()} and recorder.seen == [1, 2, 3, 4, 5, 6]


# --- checkpoints


def test_only_what_is_asked_for_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    trainings: list[Any] = []
    monkeypatch.setattr(adapter, "_train_alone", lambda *args: trainings.append(args) or CATBOOSTS_OWN(*args))
    with RecordingSession() as session:
        fit(TuneReportCheckpointCallback(checkpoint_at_end=False))
    assert session.checkpoints == {} and len(trainings) == 1
    with RecordingSession() as session:
        fit(TuneReportCheckpointCallback(frequency=4))
    assert list(session.checkpoints) == [4, 6] and len(trainings) == 3
    assert {path.name for path in Path(session.checkpoints[4].path).iterdir()} == {
        *(MODEL, "snapshot", "estimator.json", ".model.json"),
    }
    with RecordingSession() as session:
        fit(TuneReportCheckpointCallback(filename="my.cbm"))
    assert load(session.last_checkpoint, "my.cbm").tree_count_ == 6


def frame(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(n)
    data = {"a": X[:n, 0], "b": X[:n, 1], "city": rng.integers(0, 30, n).astype(str), "c": rng.integers(0, 3, n)}
    data["text"] = [" ".join(rng.choice(["one", "two", "three", "four"], 4)) for _ in range(n)]
    return pd.DataFrame(data)


def on_frame(**params: Any) -> Callable[..., Any]:
    features = {"cat_features": ["city", "c"], "text_features": ["text"]}

    def train(*callbacks: Any) -> Any:
        data, model = frame(400), classifier(**params, **features)
        return model.fit(data[:300], Y[:300], eval_set=(data[300:], Y[300:400]), callbacks=list(callbacks) or None)

    return train


def by_rank(*callbacks: Any) -> Any:
    ranker = CatBoostRanker(**PARAMS, loss_function="YetiRank")
    return ranker.fit(X[:300], Y[:300], group_id=np.arange(300) // 10, callbacks=list(callbacks) or None)


def of_classes(*callbacks: Any) -> Any:
    return fit(*callbacks, model=classifier(), labels=np.digitize(X[:, 0], [12, 15]))


KINDS = {
    "ordered": lambda *callbacks: fit(*callbacks, model=classifier(boosting_type="Ordered")),
    "bayesian": lambda *callbacks: fit(*callbacks, model=classifier(bootstrap_type="Bayesian", rsm=0.5)),
    "lossguide": lambda *callbacks: fit(*callbacks, model=classifier(grow_policy="Lossguide", subsample=0.5)),
    "langevin": lambda *callbacks: fit(*callbacks, model=classifier(langevin=True, model_shrink_rate=0.1)),
    "automatic learning rate": lambda *callbacks: fit(*callbacks, model=classifier(learning_rate=None)),
    "text and categories": on_frame(),
    "ordered categories": on_frame(boosting_type="Ordered", max_ctr_complexity=2),
    "ranking": by_rank,
    "classes": of_classes,
    "no seed": lambda *callbacks: fit(*callbacks, model=classifier(random_seed=None)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_goes_on_as_if_never_interrupted(kind: str) -> None:
    train = KINDS[kind]
    bare = train()
    x = frame(400) if "categories" in kind else X
    with RecordingSession(save_at={2, 3}, raise_at={3: TrialEvicted()}) as session, pytest.raises(TrialEvicted):
        train(TuneReportCheckpointCallback())
    with RecordingSession(start_checkpoint=session.checkpoints[3], start_iteration=3) as again:
        model = train(TuneReportCheckpointCallback())
    assert again.iterations == [4, 5, 6]
    assert_same(model, bare, x)
    assert model.evals_result_ == bare.evals_result_ and model.best_iteration_ == bare.best_iteration_


def test_the_working_directory_gets_what_catboost_writes_alone() -> None:
    for saved in ((), (2, 3)):
        with RecordingSession(save_at=saved):
            fit(TuneReportCheckpointCallback(), model=classifier(allow_writing_files=True, train_dir="own"))
        names = {path.name for path in Path("own").iterdir()}
        shutil.rmtree("own")
        fit(model=classifier(allow_writing_files=True, train_dir="own"))
        assert names == {path.name for path in Path("own").iterdir()}
        shutil.rmtree("own")
    with RecordingSession(save_at={2}):
        fit(TuneReportCheckpointCallback())
    assert list(Path().iterdir()) == []  # allow_writing_files=False


def test_snapshots_of_the_script_do_not_reach_another_trial(tmp_path: Path) -> None:
    """A script that saves snapshots under one name: each trial has its own, by its checkpoints."""
    options = {"save_snapshot": True, "snapshot_file": str(tmp_path / "shared"), "snapshot_interval": 1}
    for rate in (0.1, 0.3):
        with RecordingSession() as session:
            model = fit(TuneReportCheckpointCallback(), model=classifier(learning_rate=rate), **options)
        assert session.iterations == [1, 2, 3, 4, 5, 6]
        assert_same(model, fit(model=classifier(learning_rate=rate)))


def test_another_learning_rate_goes_on_from_the_snapshot() -> None:
    """It is what CatBoost itself allows: the other trees grow with the new rate, from the very same state."""
    with RecordingSession(save_at={3}, raise_at={3: TrialEvicted()}) as session, pytest.raises(TrialEvicted):
        fit(TuneReportCheckpointCallback(), model=classifier())
    with RecordingSession(start_checkpoint=session.checkpoints[3], start_iteration=3):
        model = fit(TuneReportCheckpointCallback(), model=classifier(learning_rate=0.05))
    assert len(model.evals_result_["learn"]["Logloss"]) == 6, "the record goes on, too"
    assert np.array_equal(model.get_leaf_values()[: 3 * 8], fit(model=classifier()).get_leaf_values()[: 3 * 8])


def test_other_parameters_go_on_by_init_model(tmp_path: Path) -> None:
    with RecordingSession(save_at={3}, raise_at={3: TrialEvicted()}) as session, pytest.raises(TrialEvicted):
        fit(TuneReportCheckpointCallback(), model=classifier())
    start = session.checkpoints[3]
    plain = fit(model=classifier(depth=5, iterations=3), init_model=Path(start.path, MODEL))
    with RecordingSession(start_checkpoint=start, start_iteration=3, save_at={4, 5}) as again:
        model = fit(TuneReportCheckpointCallback(), model=classifier(depth=5))
    assert again.iterations == [4, 5, 6] and model.tree_count_ == 6
    assert_same(model, plain)
    assert model.evals_result_ == plain.evals_result_
    # And again from there, by the snapshot of that training.
    assert Path(again.checkpoints[5].path, "init_model.cbm").exists()
    with RecordingSession(start_checkpoint=again.checkpoints[5], start_iteration=5) as last:
        model = fit(TuneReportCheckpointCallback(), model=classifier(depth=5))
    assert last.iterations == [6]
    assert_same(model, plain)
    with RecordingSession(start_checkpoint=last.last_checkpoint, start_iteration=6) as complete:
        model = fit(TuneReportCheckpointCallback(), model=classifier(depth=4))
    assert complete.reports == []
    assert_same(model, plain)


def test_a_cut_model_goes_on_with_all_its_rounds() -> None:
    """`use_best_model`, the default with an `eval_set`, cuts what `fit` leaves, and not what is saved."""
    with RecordingSession(save_at={12}, raise_at={12: TrialEvicted()}) as session, pytest.raises(TrialEvicted):
        fit(TuneReportCheckpointCallback(), model=overfitted(), labels=NOISE)
    start = session.checkpoints[12]
    assert load(start).tree_count_ == 12 > fit(model=overfitted(iterations=12), labels=NOISE).tree_count_
    with RecordingSession(start_checkpoint=start, start_iteration=12) as again:
        fit(TuneReportCheckpointCallback(), model=overfitted(depth=2, iterations=15), labels=NOISE)
    assert again.iterations == [13, 14, 15] and load(again.last_checkpoint).tree_count_ == 15


def test_what_catboost_cannot_continue_says_so() -> None:
    train = on_frame()
    with RecordingSession(save_at={3}, raise_at={3: TrialEvicted()}) as session, pytest.raises(TrialEvicted):
        train(TuneReportCheckpointCallback())
    start = {"start_checkpoint": session.checkpoints[3], "start_iteration": 3}
    with RecordingSession(**start) as again, pytest.raises(TuneError) as caught:
        on_frame(depth=5)(TuneReportCheckpointCallback())
    assert again.reports == []
    assert "params saved in snapshot" in str(caught.value) and "text or embedding features" in str(caught.value)


def test_a_snapshot_that_catboost_cannot_read_or_that_is_not_there(tmp_path: Path) -> None:
    """CatBoost would begin anew: the model is what counts then."""
    with RecordingSession() as session:
        fit(TuneReportCheckpointCallback(), model=classifier(iterations=3))
    folder = Path(shutil.copytree(session.last_checkpoint.path, tmp_path / "copy"))  # type: ignore[union-attr]
    plain = fit(model=classifier(iterations=3), init_model=folder / MODEL)
    (folder / "snapshot").write_bytes((folder / "snapshot").read_bytes()[:-100])
    start = {"start_checkpoint": Checkpoint.from_directory(folder), "start_iteration": 3}
    for _ in range(2):
        with RecordingSession(**start) as again:
            model = fit(TuneReportCheckpointCallback())
        assert again.iterations == [4, 5, 6]
        assert_same(model, plain)
        (folder / "snapshot").unlink(missing_ok=True)
    (folder / MODEL).rename(folder / "other.cbm")
    with RecordingSession(**start), pytest.raises(ArgumentError, match=r"no file 'model.cbm'; it has .*'other.cbm'"):
        fit(TuneReportCheckpointCallback())


def test_init_model_of_the_script(tmp_path: Path) -> None:
    base = tmp_path / "base.cbm"
    fit(model=classifier(iterations=4)).save_model(base)
    plain = fit(model=classifier(), init_model=base)
    for given in (base, CatBoost().load_model(base)):
        with RecordingSession(save_at={7}, raise_at={7: TrialEvicted()}) as session, pytest.raises(TrialEvicted):
            fit(TuneReportCheckpointCallback(), model=classifier(), init_model=given)
        assert session.iterations == [5, 6, 7]
        with RecordingSession(start_checkpoint=session.checkpoints[7], start_iteration=7) as again:
            model = fit(TuneReportCheckpointCallback(), model=classifier(), init_model=given)
        assert again.iterations == [8, 9, 10] and load(again.last_checkpoint).tree_count_ == 10
        assert_same(model, plain)


def test_a_script_that_loads_the_checkpoint_itself_is_left_to_do_so() -> None:
    with RecordingSession(save_at={3}, raise_at={3: TrialEvicted()}) as session, pytest.raises(TrialEvicted):
        fit(TuneReportCheckpointCallback(), model=classifier())
    start = session.checkpoints[3]
    with RecordingSession(start_checkpoint=start, start_iteration=3) as again:
        model = fit(TuneReportCheckpointCallback(), model=classifier(iterations=3), init_model=Path(start.path, MODEL))
    assert again.iterations == [4, 5, 6]
    assert_same(model, fit(model=classifier(iterations=3), init_model=Path(start.path, MODEL)))


# --- several fits


def test_several_fits_in_a_trial() -> None:
    def script() -> list[Any]:
        callback = TuneReportCheckpointCallback()
        return [fit(callback, model=classifier(iterations=n)) for n in (3, 2)]

    with RecordingSession(save_at={2, 5}) as session:
        script()
    assert session.iterations == [1, 2, 3, 4, 5] and session.finished == 1
    assert list(session.checkpoints) == [2, 3], "those of the first fit"
    with RecordingSession(start_checkpoint=session.checkpoints[2], start_iteration=2) as again:
        _, second = script()
    assert again.iterations == [3, 4, 5]
    assert_same(second, fit(model=classifier(iterations=2)))


def test_the_model_of_a_later_fit_is_that_of_its_last_round() -> None:
    """Not the one that the script gets, which `use_best_model` cuts."""
    held_out = {"eval_set": (X[300:], Y[300:])}
    with RecordingSession() as session:
        fit(TuneReportCheckpointCallback(), model=classifier(iterations=2))
        cut = fit(TuneReportCheckpointCallback(), model=classifier(iterations=30, learning_rate=1.0), **held_out)
    (saved,) = session.models.values()
    model = saved.load_model()
    assert cut.tree_count_ < model.tree_count_ == 30
    right = [p[range(len(p)), Y[300:]] for p in model.staged_predict_proba(X[300:])]
    losses = [-np.log(p).mean() for p in right]
    assert losses == pytest.approx(session.values("validation-Logloss")[-30:], rel=1e-6)


def test_report_only_callbacks_do_not_take_the_checkpoints() -> None:
    with RecordingSession() as session:
        fit(TuneReportCallback(), model=classifier(iterations=2))
        fit(TuneReportCheckpointCallback(), model=classifier(iterations=2))
    assert session.iterations == [1, 2, 3, 4] and list(session.checkpoints) == [4]


def test_pipelines_clones_and_searches_of_scikit_learn() -> None:
    pipeline = make_pipeline(StandardScaler(), classifier(iterations=3))
    with RecordingSession() as session:
        pipeline.fit(X, Y, catboostclassifier__callbacks=[TuneReportCheckpointCallback()])
    assert session.iterations == [1, 2, 3] and list(session.checkpoints) == [3]
    from sklearn.model_selection import cross_val_score

    with RecordingSession() as session:
        scores = cross_val_score(classifier(iterations=2), X, Y, cv=3, params={"callbacks": [TuneReportCallback()]})
    assert session.iterations == [1, 2, 3, 4, 5, 6] and len(scores) == 3


def test_searches_of_catboost_report_nothing_and_are_not_disturbed() -> None:
    pool, grid = Pool(X, Y), {"depth": [2, 3]}
    with RecordingSession() as session:
        found = classifier(iterations=2).grid_search(grid, pool, verbose=False)
        catboost.cv(pool, {**PARAMS, "loss_function": "Logloss", "verbose": False}, fold_count=2)
    assert session.reports == [] and found["params"]["depth"] in (2, 3)


# --- exploits


def donor(**params: Any) -> Checkpoint:
    with RecordingSession(save_at={3}, raise_at={3: TrialEvicted()}) as session, pytest.raises(TrialEvicted):
        fit(TuneReportCheckpointCallback(), model=classifier(**params))
    return session.checkpoints[3]


def exploiting(config: dict[str, Any], new: dict[str, Any], given: Checkpoint, at: int = 3) -> RecordingSession:
    return RecordingSession(exploit_at={at: Exploit(given, 3, new)}, context=TrialContext(config=config))


def test_exploit_with_another_learning_rate_keeps_the_state_exactly() -> None:
    given = donor(learning_rate=0.1)
    config = {"learning_rate": 0.5}
    with exploiting(config, {"learning_rate": 0.05}, given) as session:
        model = fit(TuneReportCheckpointCallback(), model=classifier(**config))
    assert session.restarts == [] and session.iterations == [1, 2, 3, 4, 5, 6]
    with RecordingSession(start_checkpoint=given, start_iteration=3):
        plain = fit(TuneReportCheckpointCallback(), model=classifier(learning_rate=0.05))
    assert_same(model, plain)
    assert model.evals_result_ == plain.evals_result_ and len(plain.evals_result_["learn"]["Logloss"]) == 6


@pytest.mark.parametrize(
    "names", [("eta", "max_depth", "reg_lambda"), ("learning_rate", "depth", "l2_leaf_reg"), ("eta", "depth", "rsm")]
)
def test_exploit_by_any_name_of_a_parameter(names: tuple[str, str, str]) -> None:
    given = donor()
    config, new = (dict(zip(names, values, strict=True)) for values in ((0.3, 4, 1.0), (0.1, 2, 0.5)))
    options = {name: value for name, value in PARAMS.items() if name not in ("depth", "learning_rate")}
    with exploiting(config, new, given) as session:
        model = fit(TuneReportCheckpointCallback(), model=CatBoostClassifier(**options, **config))
    assert session.restarts == []
    plain = CatBoostClassifier(**{**options, **new, "iterations": 3})
    assert_same(model, fit(model=plain, init_model=Path(given.path, MODEL)))


def test_exploit_of_what_the_script_computes_enters_anew() -> None:
    given = donor()
    with exploiting({"depth": 2}, {"depth": 3}, given) as session, pytest.raises(TrialRestarted):
        fit(TuneReportCheckpointCallback(), model=classifier(depth=2 + 1))
    assert "'depth'" in session.restarts[0]


def test_exploit_of_what_only_the_script_knows() -> None:
    class Callback(TuneReportCheckpointCallback):
        def apply_config(self, changed: Any, before: Any) -> Any:
            applied = set(super().apply_config(changed, before))
            if "levels" in changed:
                self.params["depth"] = changed["levels"] + 1
                applied.add("levels")
            return applied

    given = donor()
    config, new = {"levels": 1, "learning_rate": 0.3}, {"levels": 4, "learning_rate": 0.1}
    with exploiting(config, new, given) as session:
        model = fit(Callback(), model=classifier(depth=1 + 1, learning_rate=0.3))
    assert session.restarts == []
    plain = classifier(depth=5, learning_rate=0.1, iterations=3)
    assert_same(model, fit(model=plain, init_model=Path(given.path, MODEL)))


def test_an_exploit_in_front_of_the_last_round_goes_on() -> None:
    given = donor()
    with exploiting({"learning_rate": 0.3}, {"learning_rate": 0.3}, given, at=5) as session:
        model = fit(TuneReportCheckpointCallback(), model=classifier(learning_rate=0.3))
    assert session.iterations == [1, 2, 3, 4, 5, 4, 5, 6] and model.tree_count_ == 6


# --- what people do: scripts and reports of others, each as a small case


@pytest.mark.parametrize("bootstrap", ["Bayesian", "Bernoulli", "MVS"])
def test_the_objective_of_optunas_example(bootstrap: str) -> None:
    """https://github.com/optuna/optuna-examples: conditional parameters, accuracy, early stopping."""
    params = {
        "colsample_bylevel": 0.1,
        "depth": 4,
        "boosting_type": "Ordered",
        "bootstrap_type": bootstrap,
        "used_ram_limit": "3gb",
        "eval_metric": "Accuracy",
        "bagging_temperature" if bootstrap == "Bayesian" else "subsample": 0.5,
    }

    def objective(*callbacks: Any) -> Any:
        return fit(*callbacks, model=classifier(**params), early_stopping_rounds=100, verbose=0)

    bare = objective()
    with RecordingSession(save_at={2, 4}) as session:
        model = objective(TuneReportCheckpointCallback({"accuracy": "validation-Accuracy"}))
    assert session.values("accuracy") == bare.evals_result_["validation"]["Accuracy"]
    assert_same(model, bare)
    with RecordingSession(stop_at=3) as session:
        model = objective(TuneReportCheckpointCallback("validation-Accuracy"))
    assert session.iterations == [1, 2, 3] and 1 <= model.tree_count_ <= 3
    assert np.rint(model.predict(X[300:])).shape == Y[300:].shape


def test_stop_at_a_value_of_the_loss() -> None:
    """https://github.com/catboost/catboost/issues/1862, where several steps did not give the model of one."""

    class StopAt:
        def after_iteration(self, info: Any) -> bool:
            return bool(info.metrics["validation"]["Logloss"][-1] > 0.35)

    bare = fit(StopAt())
    assert 1 < bare.tree_count_ < 6
    for saved in ((), range(1, 9)):
        with RecordingSession(save_at=saved) as session:
            model = fit(StopAt(), TuneReportCheckpointCallback())
        assert len(session.reports) == bare.tree_count_
        assert_same(model, bare)


def test_a_callback_that_returns_nothing_ends_the_training() -> None:
    """CatBoost takes None for False, to the surprise of many: it is reported like any other end."""

    class Progress:
        def after_iteration(self, info: Any) -> None:
            self.seen = info.iteration

    with RecordingSession() as session:
        model = fit(TuneReportCheckpointCallback(), Progress())
    assert session.iterations == [1] and model.tree_count_ == 1 and list(session.checkpoints) == [1]


def test_early_stopping_of_an_automl_library() -> None:
    """As AutoGluon and FLAML write it (https://github.com/catboost/catboost/issues/2802): patience and a budget."""

    class Patience:
        def __init__(self) -> None:
            self.best, self.since = -np.inf, 0

        def after_iteration(self, info: Any) -> bool:
            score = -info.metrics["validation"]["Logloss"][-1]
            self.best, self.since = (score, 0) if score > self.best else (self.best, self.since + 1)
            return self.since < 4

    bare = fit(Patience(), model=overfitted(), labels=NOISE)
    with RecordingSession(save_at={3, 5}) as session:
        model = fit(Patience(), TuneReportCheckpointCallback(), model=overfitted(), labels=NOISE)
    assert len(session.reports) == len(bare.evals_result_["learn"]["Logloss"]) < 40
    assert_same(model, bare)


def test_learning_in_steps_with_snapshots_of_the_script(tmp_path: Path) -> None:
    """https://github.com/catboost/catboost/issues/861: `iterations` grows, and `fit` is called again."""
    callback = TuneReportCheckpointCallback()
    model = classifier(iterations=0, allow_writing_files=True, train_dir=tmp_path)
    with RecordingSession() as session:
        for _ in range(3):
            model._init_params["iterations"] += 2
            model._canonized_params = None
            fit(callback, model=model, save_snapshot=True, snapshot_file=tmp_path / "own")
    assert model.tree_count_ == 6 and session.iterations == list(range(1, len(session.reports) + 1))
    assert_same(model, fit(model=classifier()))


def test_training_on_with_other_data() -> None:
    """https://github.com/catboost/catboost/issues/1192: categories, two pools, `init_model` in the second fit."""
    data = frame(400).drop(columns="text")
    first, second = (Pool(data[s], Y[:400][s], cat_features=["city", "c"]) for s in (slice(250), slice(250, 400)))

    def script(*callbacks: Any) -> Any:
        begun = classifier().fit(first, eval_set=second, use_best_model=True, callbacks=list(callbacks) or None)
        return classifier().fit(second, init_model=begun, callbacks=list(callbacks) or None)

    with RecordingSession(save_at={2}) as session:
        model = script(TuneReportCheckpointCallback())
    assert session.iterations == list(range(1, 13)) and list(session.checkpoints) == [2, 6]
    assert_same(model, script(), second)


def test_a_logger_of_the_script_gets_what_it_would_alone() -> None:
    """CatBoost binds it to a thread: https://github.com/catboost/catboost/issues/2620"""
    said: list[list[str]] = [[], []]
    for lines in said:
        with RecordingSession() if lines is said[1] else nullcontext():
            fit(TuneReportCheckpointCallback(), model=classifier(verbose=True), log_cout=lines.append)
    rounds = [[line.split("total")[0] for line in "".join(lines).splitlines() if "learn:" in line] for lines in said]
    assert rounds[0] == rounds[1] and len(rounds[0]) == 6


def test_auc_on_the_training_data_as_asked_for_by_a_hint() -> None:
    """https://github.com/catboost/catboost/issues/450: without the hint there is no such number."""
    with RecordingSession() as session:
        fit(TuneReportCallback(), model=classifier(eval_metric="AUC:hints=skip_train~false"))
    assert {"learn-AUC", "validation-AUC"} <= set(session.reports[0].metrics)
    with RecordingSession(), pytest.raises(ArgumentError, match="'learn-AUC'"):
        fit(TuneReportCallback("learn-AUC"), model=classifier(eval_metric="AUC"))


def test_a_part_of_the_data_to_evaluate_on() -> None:
    """`eval_fraction`, which scripts without an `eval_set` use for early stopping."""
    bare = classifier(eval_fraction=0.3).fit(X, Y)
    with RecordingSession(save_at={2}) as session:
        model = classifier(eval_fraction=0.3).fit(X, Y, callbacks=[TuneReportCheckpointCallback()])
    assert session.values("validation-Logloss") == bare.evals_result_["validation"]["Logloss"]
    assert_same(model, bare)


def test_ctrl_c_while_catboost_trains() -> None:
    class Interrupting:
        def is_max_optimal(self) -> bool:
            return False

        calls = 0

        def evaluate(self, approxes: Any, targets: Any, weights: Any) -> tuple[float, float]:
            self.calls += 1
            if self.calls == 5:
                os.kill(os.getpid(), signal.SIGINT)
            return 1.0, 1.0

        def get_final_error(self, error: float, weight: float) -> float:
            return error

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        with RecordingSession() as session, pytest.raises(KeyboardInterrupt):
            fit(TuneReportCheckpointCallback(), model=classifier(eval_metric=Interrupting()))
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(session.reports) < 6 and session.finished == 0


# --- what is touched of CatBoost


def test_catboost_is_changed_in_one_place() -> None:
    assert _CatBoostBase._train is adapter._train and adapter._train_alone.__module__ == "catboost.core"
    callback = pickle.loads(pickle.dumps(TuneReportCheckpointCallback("validation-AUC", frequency=2)))
    with RecordingSession() as session:
        fit(callback)
    assert list(session.checkpoints) == [2, 4, 6]
    assert tune_session.current() is None


def test_a_baseline_to_begin_with_counts_in_a_continuation() -> None:
    """The logarithm of an exposure, with a Poisson objective."""
    random = np.random.default_rng(0)
    features, exposure = random.normal(size=(300, 4)), random.uniform(0.1, 5.0, 300)
    counts, baseline = random.poisson(exposure * np.exp(features[:, 0] / 2)), np.log(exposure)

    def train(*callbacks: Any) -> list[float]:
        model = CatBoost(
            {
                "loss_function": "Poisson",
                "iterations": 8,
                "depth": 3,
                "thread_count": 1,
                "verbose": False,
                "allow_writing_files": False,
            }
        )
        held_out = Pool(features[:100], counts[:100], baseline=baseline[:100])
        model.fit(Pool(features, counts, baseline=baseline), eval_set=held_out, callbacks=list(callbacks) or None)
        return list(model.get_evals_result()["validation"]["Poisson"])

    alone = train()
    with RecordingSession(save_at={3}) as session:
        assert train(TuneReportCheckpointCallback()) == alone
    donor = session.checkpoints[3]
    with RecordingSession(start_checkpoint=donor, start_iteration=3):
        assert train(TuneReportCheckpointCallback())[-5:] == alone[3:]
    with RecordingSession(exploit_at={3: Exploit(donor, 3, {})}) as session:
        assert train(TuneReportCheckpointCallback())[-5:] == alone[3:] and session.exploits
