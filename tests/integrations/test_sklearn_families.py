"""The searches for scikit-learn over many kinds of estimators and data."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from catboost import CatBoostClassifier
from lightgbm import LGBMClassifier, LGBMRegressor
from scipy.stats import loguniform, randint, uniform
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.cluster import KMeans
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import (
    BayesianRidge,
    ElasticNet,
    Lasso,
    LogisticRegression,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    ParameterGrid,
    RandomizedSearchCV,
    TimeSeriesSplit,
    cross_val_score,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.naive_bayes import BernoulliNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KernelDensity, KNeighborsClassifier, KNeighborsRegressor, NearestCentroid
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn_families import (
    EXACT,
    HARD_X,
    HARD_Y,
    IRIS_X,
    IRIS_Y,
    MIXED,
    MIXED_Y,
    REG_X,
    REG_Y,
    TWO,
    LetsAll,
    columns,
    compared,
    in_full,
    same_results,
)
from xgboost import XGBClassifier, XGBRegressor

import tune_plugins as tune
from tune_plugins.integrations.sklearn import TuneGridSearchCV, TuneSearchCV

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore::FutureWarning", "ignore:X does not have valid feature"
)


# ---------------------------------------------------------------- as RandomizedSearchCV and GridSearchCV

PLAIN: dict[str, tuple[Any, Any, Any, Any]] = {
    "logistic": (LogisticRegression(max_iter=50), {"C": loguniform(1e-3, 1e3)}, IRIS_X, IRIS_Y),
    "sgd": (SGDClassifier(random_state=0, max_iter=20), {"alpha": loguniform(1e-6, 1e-1)}, HARD_X, HARD_Y),
    "ridge": (Ridge(), {"alpha": loguniform(1e-3, 1e2)}, REG_X, REG_Y),
    "ridge classifier": (RidgeClassifier(), {"alpha": uniform(0.1, 5)}, HARD_X, HARD_Y),
    "lasso": (Lasso(), {"alpha": loguniform(1e-3, 1)}, REG_X, REG_Y),
    "bayesian ridge": (BayesianRidge(), {"alpha_1": loguniform(1e-8, 1e-2)}, REG_X, REG_Y),
    "svc": (SVC(), {"C": loguniform(0.1, 10), "kernel": ["rbf", "poly"]}, IRIS_X, IRIS_Y),
    "svr": (SVR(), {"C": loguniform(0.1, 10), "gamma": ["scale", "auto"]}, REG_X, REG_Y),
    "linear svc": (LinearSVC(random_state=0), {"C": loguniform(0.01, 1)}, HARD_X, HARD_Y),
    "linear svr": (LinearSVR(random_state=0), {"C": loguniform(0.01, 1)}, REG_X, REG_Y),
    "neighbors": (KNeighborsClassifier(), {"n_neighbors": randint(1, 20), "weights": ["uniform", "distance"]},
                  IRIS_X, IRIS_Y),
    "neighbors of regression": (KNeighborsRegressor(), {"n_neighbors": randint(1, 20)}, REG_X, REG_Y),
    "centroid": (NearestCentroid(), {"shrink_threshold": uniform(0.1, 1)}, IRIS_X, IRIS_Y),
    "gaussian nb": (GaussianNB(), {"var_smoothing": loguniform(1e-9, 1)}, IRIS_X, IRIS_Y),
    "multinomial nb": (MultinomialNB(), {"alpha": uniform(0.1, 2)}, IRIS_X, IRIS_Y),
    "bernoulli nb": (BernoulliNB(), {"binarize": uniform(0, 5)}, IRIS_X, IRIS_Y),
    "lda": (LinearDiscriminantAnalysis(solver="lsqr"), {"shrinkage": uniform(0, 1)}, IRIS_X, IRIS_Y),
    "tree": (DecisionTreeClassifier(random_state=0), {"max_depth": randint(1, 6)}, HARD_X, HARD_Y),
    "tree of regression": (DecisionTreeRegressor(random_state=0), {"max_depth": randint(1, 6)}, REG_X, REG_Y),
    "forest": (RandomForestClassifier(5, random_state=0), {"max_features": uniform(0.2, 0.8)}, HARD_X, HARD_Y),
    "boosting": (GradientBoostingRegressor(n_estimators=5, random_state=0), {"subsample": uniform(0.4, 0.6)},
                 REG_X, REG_Y),
    "hist boosting": (HistGradientBoostingClassifier(max_iter=4, random_state=0), {"l2_regularization": uniform(0, 9)},
                      HARD_X, HARD_Y),
    "ada boost": (AdaBoostClassifier(n_estimators=4, random_state=0), {"learning_rate": uniform(0.1, 1)},
                  HARD_X, HARD_Y),
    "mlp": (MLPClassifier(4, max_iter=8, random_state=0), {"alpha": loguniform(1e-5, 1)}, IRIS_X, IRIS_Y),
    "process": (GaussianProcessRegressor(random_state=0), {"alpha": loguniform(1e-4, 1)}, REG_X, REG_Y),
    "kernel ridge": (KernelRidge(kernel="rbf"), {"alpha": loguniform(1e-3, 1)}, REG_X, REG_Y),
    "one versus rest": (OneVsRestClassifier(LogisticRegression(max_iter=20)), {"estimator__C": uniform(0.1, 9)},
                        IRIS_X, IRIS_Y),
    "voting": (VotingClassifier([("a", GaussianNB()), ("b", LogisticRegression(max_iter=50))], voting="soft"),
               {"b__C": uniform(0.1, 9), "weights": [[1, 2], [2, 1], None]}, IRIS_X, IRIS_Y),
    "stacking": (StackingClassifier([("a", GaussianNB())], cv=2), {"final_estimator__C": uniform(0.1, 9),
                 "final_estimator": [LogisticRegression(max_iter=30)]}, HARD_X, HARD_Y),
    "transformed target": (TransformedTargetRegressor(Ridge(), transformer=StandardScaler()),
                           {"regressor__alpha": uniform(0, 3)}, REG_X, REG_Y),
    "two outputs": (MultiOutputRegressor(Ridge()), {"estimator__alpha": uniform(0, 3)}, REG_X,
                    np.column_stack([REG_Y, -REG_Y])),
    "xgboost": (XGBClassifier(n_estimators=4, n_jobs=1, subsample=0.6, random_state=0), {"max_depth": randint(1, 5)},
                HARD_X, HARD_Y),
    "lightgbm": (LGBMClassifier(n_estimators=4, n_jobs=1, verbose=-1, random_state=0), {"num_leaves": randint(2, 9)},
                 HARD_X, HARD_Y),
    "catboost": (CatBoostClassifier(iterations=4, verbose=False, allow_writing_files=False, thread_count=1),
                 {"depth": randint(1, 4)}, HARD_X, HARD_Y),
    "k means": (KMeans(n_init=1, random_state=0), {"n_clusters": randint(2, 6)}, IRIS_X, None),
    "density": (KernelDensity(), {"bandwidth": uniform(0.2, 1)}, IRIS_X, None),
    "mixture": (GaussianMixture(random_state=0, max_iter=10), {"n_components": randint(1, 4)}, IRIS_X, None),
    "pipeline": (Pipeline([("scale", StandardScaler()), ("more", PolynomialFeatures()),
                           ("clf", LogisticRegression(max_iter=20))]),
                 {"clf__C": loguniform(1e-2, 1e2), "more__degree": [1, 2], "scale": [StandardScaler(), "passthrough"]},
                 IRIS_X, IRIS_Y),
}  # fmt: skip


@pytest.mark.parametrize("family", PLAIN)
def test_a_random_search_is_scikit_learns(family: str, caplog: pytest.LogCaptureFixture) -> None:
    estimator, space, X, y = PLAIN[family]
    before = X.copy()
    common = {"cv": TWO, "random_state": 5, "n_jobs": 1, "error_score": "raise"}
    plain = RandomizedSearchCV(estimator, space, n_iter=3, **common).fit(X, y)
    with caplog.at_level(logging.WARNING, logger="tune_plugins"):
        ours = TuneSearchCV(estimator, space, n_trials=3, search="random", **common).fit(X, y)
    same_results(ours, plain)
    assert str(ours.best_params_) == str(plain.best_params_)
    assert ours.best_index_ == plain.best_index_
    assert ours.best_score_ == pytest.approx(plain.best_score_, rel=EXACT)
    assert list(ours.cv_results_) == list(plain.cv_results_)
    if hasattr(plain, "predict"):
        np.testing.assert_allclose(ours.predict(X), plain.predict(X), rtol=EXACT)
    assert "writes into X" not in caplog.text  # none of these does
    np.testing.assert_array_equal(X, before)


def _grid(space: dict[str, Any]) -> dict[str, list[Any]]:
    return {
        name: value if isinstance(value, list) else list(value.rvs(2, random_state=0)) for name, value in space.items()
    }


@pytest.mark.parametrize("family", PLAIN)
def test_a_grid_search_is_scikit_learns(family: str) -> None:
    estimator, space, X, y = PLAIN[family]
    common = {"cv": TWO, "n_jobs": 1, "return_train_score": True, "error_score": "raise"}
    plain = GridSearchCV(estimator, _grid(space), **common).fit(X, y)
    ours = TuneGridSearchCV(estimator, _grid(space), **common).fit(X, y)
    same_results(ours, plain)
    assert [str(each) for each in ours.cv_results_["params"]] == [str(each) for each in ParameterGrid(_grid(space))]
    assert ours.best_index_ == plain.best_index_
    assert str(ours.best_params_) == str(plain.best_params_)


def test_a_generator_as_random_state_draws_the_candidates_of_scikit_learn() -> None:
    found = [
        of(SVC(), {"C": loguniform(0.1, 9)}, n_iter=3, cv=2, random_state=np.random.RandomState(4), n_jobs=1)
        .fit(IRIS_X, IRIS_Y)
        .cv_results_["params"]
        for of in (RandomizedSearchCV, TuneSearchCV)
    ]
    assert found[0] == found[1]


def test_several_metrics_and_a_function_for_refit_are_scikit_learns() -> None:
    def last(results: dict[str, Any]) -> int:
        return int(np.argmin(results["mean_test_auc"]))

    common = {"scoring": {"acc": "accuracy", "auc": "roc_auc"}, "refit": last, "cv": 3, "n_jobs": 1}
    grid = {"max_depth": [1, 2, 3]}
    plain = GridSearchCV(DecisionTreeClassifier(random_state=0), grid, **common).fit(HARD_X, HARD_Y)
    ours = TuneGridSearchCV(DecisionTreeClassifier(random_state=0), grid, **common).fit(HARD_X, HARD_Y)
    same_results(ours, plain)
    assert ours.best_index_ == plain.best_index_


# ---------------------------------------------------------------- pipelines

MIXED_C = pd.Series(np.where(REG_Y > 0, "dear", "cheap"), index=MIXED.index)


# ---------------------------------------------------------------- kinds of data

STORED: dict[str, Callable[[Any], Any]] = {
    "C order": np.ascontiguousarray,
    "Fortran order": np.asfortranarray,
    "float32": lambda X: X.astype(np.float32),
    "every other column of a larger one": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "read-only": lambda X: (X := X.copy(), X.setflags(write=False))[0],
    "csr": sp.csr_matrix,
    "csc": sp.csc_matrix,
    "sparse array": sp.csr_array,
    "frame": lambda X: pd.DataFrame(X, columns=[f"f{number}" for number in range(X.shape[1])], index=range(500, 660)),
    "list": lambda X: X.tolist(),
}


@pytest.mark.parametrize("store", STORED)
@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(6, random_state=0),
        SGDClassifier(max_iter=12, loss="log_loss", random_state=0),
        XGBClassifier(n_estimators=5, n_jobs=1, subsample=0.6),
        make_pipeline(StandardScaler(with_mean=False), MLPClassifier((3,), max_iter=8, random_state=0)),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_data_of_any_kind(store: str, estimator: Any, caplog: pytest.LogCaptureFixture) -> None:
    X, y = STORED[store](HARD_X), HARD_Y.tolist() if store == "list" else HARD_Y
    dense = isinstance(estimator, HistGradientBoostingClassifier) and sp.issparse(X)
    unlisted = isinstance(estimator, (XGBClassifier, LGBMClassifier)) and store == "list"
    if dense or unlisted:  # take no such data
        estimator = make_pipeline(FunctionTransformer(to_array, accept_sparse=True), estimator)
    with caplog.at_level(logging.WARNING, logger="tune_plugins"):
        ours, plain = compared(estimator, {}, X, y, scoring="neg_log_loss")
    in_full(ours, plain)
    assert "writes into X" not in caplog.text
    if isinstance(X, np.ndarray):
        np.testing.assert_array_equal(X, STORED[store](HARD_X))
        assert X.flags.writeable == (store != "read-only")


def to_array(X: Any) -> Any:
    return X.toarray() if sp.issparse(X) else np.asarray(X)


def test_categories_of_a_frame_reach_boosting() -> None:
    X = MIXED.drop(columns=["name"])
    for estimator in (
        HistGradientBoostingRegressor(max_iter=6, random_state=0, categorical_features="from_dtype"),
        LGBMRegressor(n_estimators=6, n_jobs=1, verbose=-1, min_child_samples=5),
        XGBRegressor(n_estimators=6, n_jobs=1, enable_categorical=True),
    ):
        for cv in (TWO, KFold(3, shuffle=True, random_state=0)):
            in_full(*compared(estimator, {}, X, MIXED_Y, cv=cv))


@pytest.mark.parametrize("fidelity", ["rounds", "folds", "samples"])
def test_frames_of_mixed_columns_and_labels_of_text(fidelity: str) -> None:
    pipeline = Pipeline([("columns", columns()), ("last", ExtraTreesClassifier(6, random_state=0))])
    before = MIXED.copy()
    ours, plain = compared(pipeline, {"last__max_depth": [5]}, MIXED, MIXED_C, fidelity=fidelity)
    in_full(ours, plain)
    pd.testing.assert_frame_equal(MIXED, before)
    search = TuneGridSearchCV(pipeline, {}, cv=2, n_jobs=1).fit(MIXED, MIXED_C)
    assert search.classes_.tolist() == ["cheap", "dear"]
    assert search.feature_names_in_.tolist() == list(MIXED.columns)
    assert set(search.predict(MIXED)) <= {"cheap", "dear"}


WORDS = [f"{'good' if number % 3 else 'bad'} thing {number % 7} of {number % 5}" for number in range(90)]


@pytest.mark.parametrize(
    ("fidelity", "kind"),
    [("rounds", list), ("folds", list), ("samples", list), ("rounds", np.array), ("samples", pd.Series)],
)
def test_texts(fidelity: str, kind: Callable[[Any], Any]) -> None:
    X, y = kind(WORDS), kind([["no", "yes", "maybe"][number % 4 % 3] for number in range(90)])
    for last in (
        SGDClassifier(max_iter=12, loss="log_loss", random_state=0),
        RandomForestClassifier(6, random_state=0),
    ):
        pipeline = Pipeline([("text", TfidfVectorizer()), ("last", last)])
        in_full(*compared(pipeline, {"text__ngram_range": [(1, 2)]}, X, y, fidelity=fidelity))


class Writes(RegressorMixin, BaseEstimator):
    """Writes into the data that it gets, in its fit or in its predictions."""

    def __init__(self, alpha: float = 1.0, where: str = "fit", max_iter: int = 9) -> None:
        self.alpha, self.where, self.max_iter = alpha, where, max_iter

    def fit(self, X: Any, y: Any) -> Writes:
        if self.where == "targets":
            y -= y.mean()
        self.mean_ = X.mean(axis=0)
        if self.where == "fit":
            X -= self.mean_
        else:
            X = X - self.mean_
        self.model_ = Ridge(self.alpha * self.max_iter).fit(X, y)
        return self

    def predict(self, X: Any) -> Any:
        if self.where == "predict":
            X -= self.mean_
        else:
            X = X - self.mean_
        return self.model_.predict(X)


@pytest.mark.parametrize("cv", [KFold(3), TimeSeriesSplit(3), KFold(3, shuffle=True, random_state=0)])
@pytest.mark.parametrize("where", ["fit", "predict", "targets"])
@pytest.mark.parametrize("scheduler", [None, "rounds", "folds", "samples"])
def test_an_estimator_that_writes_into_the_data_gets_copies(
    cv: Any, where: str, scheduler: Any, caplog: pytest.LogCaptureFixture
) -> None:
    X, y = REG_X.copy(order="C" if where == "fit" else "F"), REG_Y.copy()
    before, targets = X.copy(), y.copy()
    estimator, grid = Writes(where=where), {"alpha": [0.01, 100.0]}
    common = {"cv": cv, "refit": False, "n_jobs": 1, "error_score": "raise"}
    early: dict[str, Any] = {"scheduler": LetsAll(), "fidelity": scheduler} if scheduler else {}
    with caplog.at_level(logging.WARNING, logger="tune_plugins"):
        ours = TuneGridSearchCV(estimator, grid, **common, **early).fit(X, y)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(y, targets)
    assert X.flags.writeable
    assert y.flags.writeable
    same_results(ours, GridSearchCV(estimator, grid, **common).fit(X, y))
    if isinstance(cv, TimeSeriesSplit) or not cv.shuffle:
        assert caplog.text.count("writes into X") == 1


@pytest.mark.parametrize("cv", [KFold(3), TimeSeriesSplit(3)])
@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(StandardScaler(copy=False), Ridge()),
        make_pipeline(StandardScaler(copy=False), RandomForestRegressor(6, random_state=0)),
        make_pipeline(StandardScaler(copy=False), SGDRegressor(max_iter=9, random_state=0)),
        make_pipeline(MinMaxScaler(copy=False), StandardScaler(copy=False), Lasso(0.01, max_iter=40)),
        ElasticNet(0.01, copy_X=False, max_iter=40),
        Ridge(copy_X=False),
        Lasso(0.01, copy_X=False, max_iter=40),
    ],
    ids=str,
)
@pytest.mark.parametrize("store", ["C order", "Fortran order", "frame"])
def test_scikit_learns_own_that_write_into_the_data_get_copies(cv: Any, estimator: Any, store: str) -> None:
    X = STORED[store](REG_X)
    before = X.copy()
    ours, plain = compared(estimator, {}, X, REG_Y, cv=cv)
    np.testing.assert_array_equal(X, before)
    in_full(ours, plain)


@pytest.mark.parametrize("where", ["fit", "targets"])
def test_the_fit_on_all_data_does_not_write_into_the_users_either(where: str) -> None:
    X, y = REG_X.copy(), REG_Y.copy()
    search = TuneGridSearchCV(Writes(where=where), {"alpha": [0.01, 100.0]}, cv=KFold(3), n_jobs=1).fit(X, y)
    np.testing.assert_array_equal(X, REG_X)
    np.testing.assert_array_equal(y, REG_Y)
    plain = GridSearchCV(Writes(where=where), {"alpha": [0.01, 100.0]}, cv=KFold(3)).fit(REG_X.copy(), REG_Y.copy())
    np.testing.assert_array_equal(search.predict(REG_X.copy()), plain.predict(REG_X.copy()))


# ----------------------------------------------------------------------------- of a review


def test_boosting_that_stops_itself_on_the_larger_of_the_splits_is_as_without_rungs() -> None:
    rng = np.random.RandomState(0)
    X, y = rng.rand(16_000, 2), rng.randint(0, 2, 16_000)
    estimator = HistGradientBoostingClassifier(random_state=0, max_leaf_nodes=8, n_iter_no_change=3)
    common: dict[str, Any] = {"cv": TimeSeriesSplit(2), "scoring": "neg_log_loss", "refit": False}
    ours = TuneGridSearchCV(estimator, {"max_iter": [60]}, scheduler="asha", n_jobs=1, **common).fit(X, y)
    plain = GridSearchCV(estimator, {"max_iter": [60]}, **common).fit(X, y)
    assert not ours.cv_results_["stopped_early"].any()
    for number in range(2):
        assert ours.cv_results_[f"split{number}_test_score"] == plain.cv_results_[f"split{number}_test_score"]


def test_a_trial_may_fit_searches_in_threads() -> None:
    X, y = load_iris(return_X_y=True)
    inner = TuneGridSearchCV(SGDClassifier(random_state=0), {"alpha": [1e-4, 1e-2]}, cv=2, n_jobs=1)
    voting = VotingClassifier([("a", inner), ("b", clone(inner))], n_jobs=2)
    with joblib.parallel_config(backend="threading"):
        outer = TuneGridSearchCV(voting, {"voting": ["hard"], "flatten_transform": [True, False]}, cv=2, n_jobs=1)
        outer.fit(X, y)
    assert np.isfinite(outer.cv_results_["mean_test_score"]).all()


def test_another_search_draws_other_candidates() -> None:
    X, y = load_iris(return_X_y=True)
    generator = np.random.RandomState(0)
    for options in ({"random_state": generator}, {"search": "sobol"}):
        search = TuneSearchCV(
            GaussianNB(), {"var_smoothing": tune.loguniform(1e-9, 1.0)}, n_trials=2, cv=2, n_jobs=1, **options
        )
        first = search.fit(X, y).cv_results_["params"]
        assert search.fit(X, y).cv_results_["params"] != first
        search.set_params(random_state=3)
        assert search.fit(X, y).cv_results_["params"] == search.fit(X, y).cv_results_["params"]


def test_a_named_search_can_be_fitted_again(tmp_path: Path) -> None:
    X, y = load_iris(return_X_y=True)
    search = TuneGridSearchCV(
        GaussianNB(), {"var_smoothing": [1e-9]}, cv=2, storage_path=tmp_path, name="mine", n_jobs=1
    )
    assert np.isfinite(cross_val_score(search, X, y, cv=3)).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "mine-2", "mine-3"]


def test_a_grid_as_an_object() -> None:
    X, y = load_iris(return_X_y=True)
    grid = {"var_smoothing": [1e-9, 1e-3]}
    search = TuneGridSearchCV(GaussianNB(), ParameterGrid(grid), cv=2, n_jobs=1).fit(X, y)
    assert search.cv_results_["params"] == list(ParameterGrid(grid))


class CannotPredict(GaussianNB):
    def predict(self, X: Any) -> Any:
        raise RuntimeError("not today")


@pytest.mark.parametrize("scheduler", ["asha", "race"])
def test_a_candidate_without_a_score_has_failed_and_was_not_stopped_early(scheduler: str) -> None:
    X, y = load_iris(return_X_y=True)
    grid = {"x": [GaussianNB(), CannotPredict(), GaussianNB(var_smoothing=10.0)]}
    search = TuneGridSearchCV(
        Pipeline([("x", GaussianNB())]), grid, cv=4, scheduler=scheduler, fidelity="folds", n_jobs=1
    )
    with pytest.warns(UserWarning, match="not today"):
        search.fit(X, y)
    table = pd.DataFrame(search.cv_results_)
    assert not table.stopped_early[1] and np.isnan(table.mean_test_score[1]) and table.rank_test_score[1] == 3
    assert search.best_index_ != 1


def test_a_race_with_metrics_that_a_function_names() -> None:
    X, y = load_iris(return_X_y=True)

    def scoring(estimator: Any, X: Any, y: Any) -> dict[str, float]:
        return {"a": estimator.score(X, y), "b": 0.0}

    search = TuneGridSearchCV(
        GaussianNB(), {"var_smoothing": [1e-9, 10.0, 1e3]}, scoring=scoring, refit="a", scheduler="race", cv=6, n_jobs=1
    ).fit(X, y)
    assert search.best_params_ == {"var_smoothing": 1e-9} and search.multimetric_
    search.set_params(refit=False).fit(X, y)
    assert "mean_test_b" in search.cv_results_


class OwnPipeline(Pipeline):
    """As other packages have theirs."""


def test_a_pipeline_of_another_kind_trains_anew_and_as_a_whole() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    X, y = X[:200], y[:200]
    estimator = OwnPipeline([("scale", StandardScaler()), ("model", RandomForestClassifier(24, random_state=0))])
    space = {"model__max_depth": [1, 2, 3, 5]}
    ours = TuneGridSearchCV(estimator, space, cv=2, scheduler="asha", n_jobs=1, refit=False).fit(X, y)
    plain = GridSearchCV(estimator, space, cv=2, refit=False).fit(X, y)
    full = ~ours.cv_results_["stopped_early"]
    np.testing.assert_array_equal(ours.cv_results_["mean_test_score"][full], plain.cv_results_["mean_test_score"][full])


def test_times_of_a_growing_forest_are_those_of_all_its_parts() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    search = TuneGridSearchCV(
        RandomForestClassifier(64, random_state=0), {"max_depth": [3]}, cv=2, scheduler="asha", n_jobs=1, refit=False
    ).fit(X[:200], y[:200])
    reports = search.results_[0].metrics_dataframe
    times = [[out["fit_time"] for out in splits] for splits in reports.splits]
    assert len(times) == 3 and all(
        a < b for before, after in pairwise(times) for a, b in zip(before, after, strict=True)
    )
