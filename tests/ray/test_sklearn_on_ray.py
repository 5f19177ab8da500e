"""Searches for scikit-learn on Ray: results as of scikit-learn's own, data that is shared, processes that die."""

from __future__ import annotations

import glob
import logging
import os
import pickle
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import loguniform, randint
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_breast_cancer, load_iris, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV, TimeSeriesSplit, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tune_plugins as tune
from tune_plugins.integrations.sklearn import TuneGridSearchCV, TuneSearchCV
from tune_plugins.schedulers import HyperBandScheduler


def assert_equal_tables(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert list(ours) == list(theirs)
    for name, column in theirs.items():
        if name == "params":
            assert ours[name] == column
        elif "time" not in name:
            assert ours[name].dtype == column.dtype, name
            if column.dtype == object:
                np.testing.assert_array_equal(ours[name], column)
            else:
                np.testing.assert_allclose(ours[name], column, rtol=1e-7, err_msg=name)


KINDS: dict[str, Callable[[Any], Any]] = {
    "numpy": lambda X: X,
    "float32, Fortran order": lambda X: np.asfortranarray(X, dtype=np.float32),
    "pandas": lambda X: pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])]),
    "sparse": sparse.csr_matrix,
    "list": lambda X: X.tolist(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_results_are_those_of_scikit_learn(kind: str) -> None:
    X, y = load_iris(return_X_y=True)
    X = KINDS[kind](X)
    estimator, space = LogisticRegression(max_iter=50), {"C": loguniform(1e-3, 1e2)}
    common: dict[str, Any] = {"cv": KFold(4), "random_state": 3, "return_train_score": True, "n_jobs": 2}
    ours = TuneSearchCV(estimator, space, n_trials=6, **common).fit(X, y)
    theirs = RandomizedSearchCV(estimator, space, n_iter=6, **common).fit(X, y)
    assert_equal_tables(ours.cv_results_, theirs.cv_results_)
    assert ours.best_params_ == theirs.best_params_
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


def test_a_grid_of_estimators_in_a_pipeline() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    grid = [
        {"logisticregression": [LogisticRegression(), GaussianNB()]},
        {"logisticregression__C": [0.1, 1.0], "standardscaler": ["passthrough", StandardScaler(with_mean=False)]},
    ]
    ours = TuneGridSearchCV(pipeline, grid, cv=3, n_jobs=2).fit(X[:200], y[:200])
    theirs = GridSearchCV(pipeline, grid, cv=3).fit(X[:200], y[:200])
    assert [sorted(p) for p in ours.cv_results_["params"]] == [sorted(p) for p in theirs.cv_results_["params"]]
    np.testing.assert_allclose(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], rtol=1e-7)


@pytest.mark.parametrize("scheduler", ["asha", "median", "hyperband", HyperBandScheduler(max_t=24, reduction_factor=2)])
def test_rounds_stop_early_and_full_ones_are_as_without(scheduler: Any) -> None:
    X, y = load_breast_cancer(return_X_y=True)
    estimator = RandomForestClassifier(n_estimators=24, random_state=0)
    space = {"max_depth": randint(1, 8), "max_features": [0.1, 0.3, 0.6], "min_samples_leaf": randint(1, 40)}
    search = TuneSearchCV(
        estimator, space, n_trials=10, cv=3, scheduler=scheduler, random_state=0, n_jobs=2, refit=False
    ).fit(X, y)
    table = pd.DataFrame(search.cv_results_)
    assert search.fidelity_ == "rounds"
    assert table.stopped_early.any() and not table.stopped_early.all()
    full = table[~table.stopped_early]
    assert (full.resource == 24).all() and (table[table.stopped_early].resource < 24).all()
    assert full.rank_test_score.max() < table[table.stopped_early].rank_test_score.min()
    assert not table.stopped_early[search.best_index_]
    plain = RandomizedSearchCV(estimator, space, n_iter=10, cv=3, random_state=0, refit=False, n_jobs=2).fit(X, y)
    for row in full.index:
        assert search.cv_results_["params"][row] == plain.cv_results_["params"][row]
        assert full.mean_test_score[row] == pytest.approx(plain.cv_results_["mean_test_score"][row], rel=1e-12)


def test_a_race_over_folds() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    search = TuneSearchCV(
        make_pipeline(StandardScaler(), GaussianNB()),
        {"gaussiannb__var_smoothing": loguniform(1e-9, 1e3)},
        n_trials=16,
        cv=8,
        scheduler="auto",
        random_state=0,
        n_jobs=2,
    ).fit(X, y)
    table = pd.DataFrame(search.cv_results_)
    assert search.fidelity_ == "folds"
    stopped = table[table.stopped_early]
    assert len(stopped) and not table.stopped_early.all()
    for _, row in stopped.iterrows():
        scores = [row[f"split{number}_test_score"] for number in range(8)]
        assert np.isnan(scores[int(row.resource) :]).all() and not np.isnan(scores[: int(row.resource)]).any()
        assert row.mean_test_score == pytest.approx(np.nanmean(scores))
    assert any("same" in decision.reason and "folds" in decision.reason for decision in search.results_.decisions)


class Killed(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Ends its process in its first fit; one with `always` in each."""

    def __init__(self, mark: str = "", always: bool = False, x: int = 0) -> None:
        self.mark, self.always, self.x = mark, always, x

    def fit(self, X: Any, y: Any) -> Killed:
        mark = Path(self.mark)
        if self.always or not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.classes_[0])


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    X, y = load_iris(return_X_y=True)
    estimator = Killed(str(tmp_path / "mark"))
    search = TuneGridSearchCV(estimator, {"x": [1, 2, 3]}, cv=2, n_jobs=2).fit(X, y)
    assert not np.isnan(search.cv_results_["mean_test_score"]).any()


def test_a_candidate_that_always_kills_its_worker_has_failed(tmp_path: Path) -> None:
    X, y = load_iris(return_X_y=True)
    (tmp_path / "mark").touch()
    estimator = Killed(str(tmp_path / "mark"))
    search = TuneGridSearchCV(estimator, {"always": [True, False]}, cv=2, n_jobs=2, refit=False)
    with pytest.warns(FitFailedWarning, match="2 fits failed out of a total of 4"):
        search.fit(X, y)
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [True, False]
    assert search.best_index_ == 1


class Picky(LogisticRegression):
    """Refuses a large C."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Picky:
        if self.C > 10:
            raise ArithmeticError(f"C is {self.C}")
        return super().fit(X, y, sample_weight)  # type: ignore[no-any-return]


def test_error_score() -> None:
    X, y = load_iris(return_X_y=True)
    search = TuneGridSearchCV(Picky(), {"C": [0.1, 100.0, 1.0]}, cv=2, n_jobs=2, error_score=-1.0)
    with pytest.warns(FitFailedWarning, match="ArithmeticError: C is 100"):
        search.fit(X, y)
    assert search.cv_results_["mean_test_score"][1] == -1.0
    with pytest.raises(ArithmeticError, match="C is 100"):
        clone(search).set_params(error_score="raise").fit(X, y)


class Peak(Ridge):
    """Notes the proportional memory of its process after each fit, and does little else."""

    def __init__(self, folder: str = "", x: float = 0.0) -> None:
        super().__init__()
        self.folder, self.x = folder, x

    def fit(self, X: Any, y: Any) -> Peak:
        assert not X.flags.writeable and X.base is not None  # a view into shared memory
        self.coef_ = X[:, :8].sum(axis=0) + self.x
        # Not what is mapped by this process alone: so is what is shared until another process reads it, too.
        facts = dict(line.split()[:2] for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
        proportional, of_its_own = (1024 * int(facts[name]) for name in ("Pss:", "Anonymous:"))
        Path(self.folder, f"{os.getpid()}").write_text(f"{proportional} {of_its_own}")
        return self

    def predict(self, X: Any) -> Any:
        return X[:, :8] @ self.coef_

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        return float(self.x)


def test_large_data_are_there_once(tmp_path: Path) -> None:
    X = np.ones((250_000, 128))  # 256 MB
    y = X[:, 0]
    splits = TimeSeriesSplit(3)
    search = TuneGridSearchCV(Peak(str(tmp_path)), {"x": [0.0, 1.0, 2.0, 3.0]}, cv=splits, n_jobs=2, refit=False)
    search.fit(X, y)
    read = [[int(number) for number in path.read_text().split()] for path in tmp_path.iterdir()]
    small = tmp_path / "small"
    small.mkdir()
    clone(search).set_params(estimator__folder=str(small), error_score="raise").fit(X[:400], y[:400])
    before = [[int(number) for number in path.read_text().split()] for path in small.iterdir()]
    # All workers together have the data in their memory once, and none has a copy for itself.
    assert sum(pss for pss, _ in read) < len(read) * max(pss for pss, _ in before) + 1.2 * X.nbytes
    assert max(own for _, own in read) < max(own for _, own in before) + X.nbytes / 4


class WritesIntoX(Ridge):
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> WritesIntoX:
        X -= X.mean(axis=0)
        return super().fit(X, y)  # type: ignore[no-any-return]


def test_an_estimator_that_writes_into_its_data_gets_copies(caplog: pytest.LogCaptureFixture) -> None:
    X, y = make_classification(n_samples=90, random_state=0)
    given = X.copy()
    with caplog.at_level(logging.WARNING):
        ours = TuneGridSearchCV(WritesIntoX(), {"alpha": [0.1, 1.0]}, cv=TimeSeriesSplit(3), n_jobs=2, refit=False)
        ours.fit(X, y)
    np.testing.assert_array_equal(X, given)
    assert sum("writes into X" in record.message for record in caplog.records) == 1
    theirs = GridSearchCV(WritesIntoX(), {"alpha": [0.1, 1.0]}, cv=TimeSeriesSplit(3), refit=False).fit(X, y)
    assert_equal_tables(ours.cv_results_, theirs.cv_results_)


class Threads(GaussianNB):
    def __init__(self, n_jobs: int | None = None, x: int = 0) -> None:
        super().__init__()
        self.n_jobs, self.x = n_jobs, x

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        import threadpoolctl

        pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
        inside = joblib.effective_n_jobs(-1)
        return float(max([*pools, inside, int(os.environ["OMP_NUM_THREADS"]), self.n_jobs or 1]))


def test_threads_fit_the_slot() -> None:
    X, y = load_iris(return_X_y=True)
    search = TuneGridSearchCV(Threads(n_jobs=-1), {"x": [1, 2]}, cv=2, n_jobs=2).fit(X, y)
    assert search.cv_results_["mean_test_score"].tolist() == [1.0, 1.0]
    assert search.best_estimator_.n_jobs == -1


def test_inside_other_processes_it_runs_without_a_ray_of_its_own() -> None:
    X, y = load_iris(return_X_y=True)
    search = TuneSearchCV(LogisticRegression(max_iter=50), {"C": loguniform(1e-3, 1e2)}, n_trials=4, random_state=0)
    alone = cross_val_score(clone(search).set_params(n_jobs=1), X, y, cv=3)
    np.testing.assert_array_equal(cross_val_score(search, X, y, cv=3, n_jobs=2), alone)
    with joblib.parallel_config(backend="threading"):
        np.testing.assert_array_equal(cross_val_score(search, X, y, cv=3, n_jobs=2), alone)


def test_a_search_of_searches() -> None:
    X, y = load_iris(return_X_y=True)
    inner = TuneSearchCV(SGDClassifier(random_state=0), {"alpha": loguniform(1e-5, 1e-1)}, n_trials=2, cv=2)
    outer = TuneGridSearchCV(inner, {"random_state": [0, 1], "scheduler": [None, "asha"]}, cv=2, n_jobs=2).fit(X, y)
    assert outer.results_.num_errors == 0
    assert not np.isnan(outer.cv_results_["mean_test_score"]).any()
    in_process = clone(outer).set_params(n_jobs=1).fit(X, y)
    np.testing.assert_array_equal(in_process.cv_results_["mean_test_score"], outer.cv_results_["mean_test_score"])


def test_no_file_is_left_behind_and_what_is_kept_can_be_reopened(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(tmp_path)
    X, y = load_iris(return_X_y=True)
    search = TuneSearchCV(GaussianNB(), {"var_smoothing": loguniform(1e-9, 1)}, n_trials=3, n_jobs=2).fit(X, y)
    assert len(search.results_) == 3
    copy = pickle.loads(pickle.dumps(search))
    assert not hasattr(copy, "results_") and copy.best_params_ == search.best_params_
    np.testing.assert_array_equal(copy.predict(X), search.predict(X))
    del search, copy
    assert glob.glob(str(tmp_path / "tmp" / "tune-search-*")) == []
    kept = TuneSearchCV(
        GaussianNB(), {"var_smoothing": loguniform(1e-9, 1)}, n_trials=3, n_jobs=2, storage_path=tmp_path, name="kept"
    ).fit(X, y)
    assert len(tune.ResultGrid(tmp_path / "kept")) == 3
    assert len(pickle.loads(pickle.dumps(kept)).results_) == 3


def test_time_budget() -> None:
    X, y = load_breast_cancer(return_X_y=True)

    def searched(budget: float) -> TuneSearchCV:
        forest, space = RandomForestClassifier(random_state=0), {"max_depth": tune.randint(2, 9)}
        search = TuneSearchCV(forest, space, n_trials=-1, time_budget_s=budget, n_jobs=2, cv=3)
        start = time.monotonic()
        try:
            return search.fit(X, y)
        except tune.TuneError as error:
            assert "before any candidate was evaluated" in str(error) and budget < 600
            return searched(budget * 5)  # a machine that is busy with other things
        finally:
            assert time.monotonic() - start >= budget

    search = searched(3)
    assert len(search.cv_results_["params"]) >= 1 and search.best_params_["max_depth"] in range(2, 9)


def test_ctrl_c_returns_the_best_so_far(driver: Any) -> None:
    run = driver(
        """
        import time, warnings, numpy as np
        from sklearn.base import BaseEstimator, ClassifierMixin
        from tune_plugins.integrations.sklearn import TuneGridSearchCV

        class Slow(ClassifierMixin, BaseEstimator):
            def __init__(self, x=0.0):
                self.x = x
            def fit(self, X, y):
                time.sleep(0.2 if self.x > 3 else 0.0)
                self.classes_ = np.unique(y)
                return self
            def score(self, X, y):
                return self.x

        class Told(tune.Callback):
            def on_trial_complete(self, iteration, trials, trial, **info):
                if trial.index == 2:
                    print("some are done", flush=True)

        X, y = np.zeros((40, 2)), np.arange(40) % 2
        search = TuneGridSearchCV(
            Slow(), {"x": [1.0, 3.0, *np.arange(2.0, 6000.0)]}, cv=2, n_jobs=2, callbacks=[Told()]
        )
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            search.fit(X, y)
        print("WARNED", [str(w.message)[:40] for w in said if "interrupted" in str(w.message)], flush=True)
        print("BEST", search.best_score_ >= 1.0, 3 <= len(search.cv_results_["params"]) < 3000, flush=True)
        """
    )
    run.wait_for("some are done")
    os.killpg(run.process.pid, signal.SIGINT)
    assert "TuneGridSearchCV was interrupted" in run.wait_for("WARNED")
    assert run.wait_for("BEST").strip() == "BEST True True"
    assert run.end() == (0, "", "")
