"""Estimators that are trained in rounds, alone and at the end of a pipeline; the number of rounds as a parameter."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from catboost import CatBoostClassifier, CatBoostRegressor
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_blobs
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import (
    BayesianRidge,
    ElasticNet,
    HuberRegressor,
    Lasso,
    LassoCV,
    LogisticRegression,
    LogisticRegressionCV,
    MultiTaskLasso,
    Perceptron,
    PoissonRegressor,
    Ridge,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.metrics import get_scorer
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
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
    scoring_of,
)
from xgboost import XGBClassifier, XGBRegressor, XGBRFClassifier

from tune_plugins.integrations.sklearn import TuneGridSearchCV
from tune_plugins.schedulers import ASHAScheduler

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore::FutureWarning", "ignore:X does not have valid feature"
)

WEIGHTS = np.random.default_rng(1).uniform(0.1, 3.0, 160)


# ---------------------------------------------------------------- trained in rounds

TREES = {"random_state": 0}
ROUNDS: dict[str, tuple[Any, Any, Any, Any]] = {
    "forest": (RandomForestClassifier(9, **TREES), {"max_depth": [2, None]}, HARD_X, HARD_Y),
    "forest with parts of samples": (RandomForestClassifier(9, max_samples=0.5, **TREES), {"max_features": [2, 1.0]},
                                     HARD_X, HARD_Y),
    "forest with out of bag scores": (RandomForestClassifier(9, oob_score=True, **TREES), {"max_depth": [2, None]},
                                      HARD_X, HARD_Y),
    "forest of balanced classes": (RandomForestClassifier(9, **TREES), {"class_weight": ["balanced",
                                   "balanced_subsample"]}, HARD_X, HARD_Y),
    "forest with a generator": (RandomForestClassifier(9, random_state=np.random.RandomState(0)), {"max_depth": [2, 4]},
                                HARD_X, HARD_Y),
    "forest of regression": (RandomForestRegressor(9, **TREES), {"max_depth": [2, None]}, REG_X, REG_Y),
    "extra trees": (ExtraTreesClassifier(9, **TREES), {"max_depth": [2, None]}, IRIS_X, IRIS_Y),
    "extra trees of regression": (ExtraTreesRegressor(9, **TREES), {"max_depth": [2, None], "bootstrap": [True]},
                                  REG_X, REG_Y),
    "boosting": (GradientBoostingClassifier(n_estimators=9, **TREES), {"max_depth": [1, 3]}, HARD_X, HARD_Y),
    "boosting of three classes": (GradientBoostingClassifier(n_estimators=9, subsample=0.5, max_features=2, **TREES),
                                  {"max_depth": [1, 2]}, IRIS_X, IRIS_Y),
    "boosting of regression": (GradientBoostingRegressor(n_estimators=9, subsample=0.6, **TREES),
                               {"loss": ["huber", "quantile", "squared_error"]}, REG_X, REG_Y),
    "boosting from a model": (GradientBoostingRegressor(n_estimators=9, init=Ridge(), **TREES), {"max_depth": [1, 2]},
                              REG_X, REG_Y),
    "boosting that stops itself": (GradientBoostingClassifier(n_estimators=60, n_iter_no_change=2, **TREES),
                                   {"max_depth": [2, 3]}, HARD_X, HARD_Y),
    "hist boosting": (HistGradientBoostingClassifier(max_iter=9, **TREES), {"max_depth": [2, None]}, HARD_X, HARD_Y),
    "hist boosting of three classes": (HistGradientBoostingClassifier(max_iter=6, **TREES), {"class_weight": [None,
                                       "balanced"]}, IRIS_X, IRIS_Y),
    "hist boosting that stops itself": (HistGradientBoostingClassifier(max_iter=60, early_stopping=True,
                                        n_iter_no_change=2, **TREES), {"max_depth": [2, 3], "scoring": ["loss",
                                        "accuracy"]}, HARD_X, HARD_Y),
    "hist boosting of some features": (HistGradientBoostingRegressor(max_iter=9, max_features=0.5, **TREES),
                                       {"max_depth": [2, None]}, REG_X, REG_Y),
    "hist boosting of regression": (HistGradientBoostingRegressor(max_iter=9, **TREES), {"loss": ["absolute_error",
                                    "squared_error"]}, REG_X, REG_Y),
    "bagging": (BaggingClassifier(DecisionTreeClassifier(), 9, **TREES), {"max_samples": [0.3, 0.7],
                "bootstrap_features": [True]}, HARD_X, HARD_Y),
    "bagging of regression": (BaggingRegressor(n_estimators=9, **TREES), {"max_features": [0.5, 1.0]}, REG_X, REG_Y),
    "bagging of neighbors": (BaggingClassifier(KNeighborsClassifier(3), 9, **TREES), {"estimator__n_neighbors": [1, 5]},
                             HARD_X, HARD_Y),
    "ada boost": (AdaBoostClassifier(n_estimators=9, **TREES), {"learning_rate": [0.5, 1.0]}, HARD_X, HARD_Y),
    "sgd": (SGDClassifier(max_iter=40, loss="log_loss", **TREES), {"alpha": [1e-4, 1e-1]}, IRIS_X, IRIS_Y),
    "sgd with a mean": (SGDClassifier(max_iter=40, average=True, early_stopping=True, **TREES), {"alpha": [1e-4, 1e-1]},
                        HARD_X, HARD_Y),
    "sgd of regression": (SGDRegressor(max_iter=40, **TREES), {"alpha": [1e-4, 1e-1]}, REG_X, REG_Y),
    "mlp": (MLPClassifier(5, max_iter=20, **TREES), {"alpha": [1e-4, 1.0]}, IRIS_X, IRIS_Y),
    "mlp that stops itself": (MLPClassifier(5, max_iter=60, early_stopping=True, n_iter_no_change=2, **TREES),
                              {"learning_rate_init": [0.01, 0.1]}, HARD_X, HARD_Y),
    "mlp by sgd": (MLPClassifier(5, max_iter=20, solver="sgd", learning_rate="adaptive", **TREES),
                   {"momentum": [0.5, 0.9]}, HARD_X, HARD_Y),
    "mlp by lbfgs": (MLPRegressor(hidden_layer_sizes=(5,), max_iter=30, solver="lbfgs", **TREES),
                     {"alpha": [1e-4, 1.0]}, REG_X, REG_Y),
    "mlp of regression": (MLPRegressor(hidden_layer_sizes=(5,), max_iter=20, **TREES), {"alpha": [1e-4, 1.0]},
                          REG_X, REG_Y),
    "logistic": (LogisticRegression(max_iter=60, **TREES), {"solver": ["lbfgs", "newton-cg", "newton-cholesky", "sag",
                 "saga"], "C": [1.0]}, IRIS_X, IRIS_Y),
    "logistic by liblinear": (LogisticRegression(max_iter=100, solver="liblinear", **TREES), {"C": [0.1, 10.0]},
                              HARD_X, HARD_Y),
    "logistic with folds of its own": (LogisticRegressionCV(Cs=3, cv=2, max_iter=40), {"class_weight": [None,
                                       "balanced"]}, HARD_X, HARD_Y),
    "linear svc": (LinearSVC(max_iter=200, **TREES), {"C": [0.1, 10.0]}, HARD_X, HARD_Y),
    "svc with a limit": (SVC(max_iter=100), {"C": [0.1, 10.0]}, HARD_X, HARD_Y),
    "perceptron": (Perceptron(max_iter=30, **TREES), {"alpha": [1e-4, 1e-2]}, HARD_X, HARD_Y),
    "lasso": (Lasso(max_iter=100), {"alpha": [1e-3, 0.5]}, REG_X, REG_Y),
    "lasso at random": (Lasso(max_iter=100, selection="random", **TREES), {"alpha": [1e-3, 0.5]}, REG_X, REG_Y),
    "lasso of several": (MultiTaskLasso(max_iter=100), {"alpha": [1e-3, 0.5]}, REG_X, np.column_stack([REG_Y, -REG_Y])),
    "elastic net": (ElasticNet(max_iter=100), {"l1_ratio": [0.1, 0.9]}, REG_X, REG_Y),
    "lasso with folds of its own": (LassoCV(max_iter=100, alphas=20, eps=1e-5, cv=2), {"fit_intercept": [True, False]},
                                    REG_X @ np.random.default_rng(0).normal(size=(6, 30)), REG_Y),
    "ridge with a limit": (Ridge(max_iter=50), {"solver": ["auto", "sag", "lsqr"], "random_state": [0]}, REG_X, REG_Y),
    "bayesian ridge": (BayesianRidge(max_iter=30), {"alpha_1": [1e-6, 1.0]}, REG_X, REG_Y),
    "huber": (HuberRegressor(max_iter=60), {"epsilon": [1.1, 2.0]}, REG_X, REG_Y),
    "poisson": (PoissonRegressor(max_iter=60), {"alpha": [0.1, 2.0]}, REG_X, np.exp(REG_Y / 3)),
    "k means": (KMeans(max_iter=60, n_init=1, **TREES), {"n_clusters": [3, 8]}, IRIS_X, None),
    "small batches": (MiniBatchKMeans(max_iter=20, n_init=1, batch_size=20, **TREES), {"n_clusters": [3, 8]},
                      IRIS_X, None),
    "xgboost": (XGBClassifier(n_estimators=9, subsample=0.6, colsample_bytree=0.6, n_jobs=1, **TREES),
                {"max_depth": [1, 3]}, HARD_X, HARD_Y),
    "xgboost of regression": (XGBRegressor(n_estimators=9, subsample=0.6, n_jobs=1, **TREES), {"booster": ["gbtree",
                              "dart", "gblinear"]}, REG_X, REG_Y),
    "xgboost by its own number": (XGBRegressor(n_jobs=1, max_depth=1, **TREES), {"eta": [0.1, 0.5]}, REG_X, REG_Y),
    "forest of xgboost": (XGBRFClassifier(n_estimators=9, n_jobs=1, **TREES), {"max_depth": [2, 4]}, HARD_X, HARD_Y),
    "lightgbm": (LGBMClassifier(n_estimators=9, subsample=0.6, subsample_freq=1, colsample_bytree=0.6, n_jobs=1,
                 verbose=-1, **TREES), {"num_leaves": [3, 9]}, HARD_X, HARD_Y),
    "lightgbm of regression": (LGBMRegressor(n_estimators=9, subsample=0.6, subsample_freq=2, n_jobs=1, verbose=-1,
                               **TREES), {"boosting_type": ["gbdt", "dart"]}, REG_X, REG_Y),
    "catboost": (CatBoostClassifier(iterations=9, verbose=False, allow_writing_files=False, thread_count=1,
                 random_seed=0), {"depth": [2, 4]}, HARD_X, HARD_Y),
    "catboost of regression": (CatBoostRegressor(n_estimators=9, verbose=False, allow_writing_files=False,
                               thread_count=1, subsample=0.6, bootstrap_type="Bernoulli", random_seed=0),
                               {"depth": [2, 4]}, REG_X, REG_Y),
}  # fmt: skip


@pytest.mark.parametrize("family", ROUNDS)
def test_trained_in_rounds_to_the_end_is_trained_at_once(family: str, caplog: pytest.LogCaptureFixture) -> None:
    estimator, grid, X, y = ROUNDS[family]
    before = X.copy()
    with caplog.at_level(logging.WARNING, logger="tune_plugins"):
        ours, plain = compared(estimator, grid, X, y, return_train_score=True)
    assert ours.fidelity_ == "rounds"
    assert not ours.cv_results_["stopped_early"].any()
    in_full(ours, plain)
    assert "writes into X" not in caplog.text
    np.testing.assert_array_equal(X, before)


WEIGHTED = (
    "forest",
    "forest with parts of samples",
    "boosting",
    "boosting of regression",
    "boosting that stops itself",
    "hist boosting that stops itself",
    "bagging",
    "sgd of regression",
    "logistic by liblinear",
    "lasso",
    "perceptron",
    "xgboost",
    "lightgbm of regression",
    "catboost",
)


@pytest.mark.parametrize("family", WEIGHTED)
def test_weights_of_samples_are_cut_as_in_a_plain_fit(family: str) -> None:
    estimator, grid, X, y = ROUNDS[family]
    grid = {name: values[:1] for name, values in grid.items()}
    ours, plain = compared(estimator, grid, X, y, fit={"sample_weight": WEIGHTS})
    in_full(ours, plain)


SCHEDULED = ("hist boosting that stops itself", "sgd of regression", "xgboost")


@pytest.mark.parametrize("family", SCHEDULED)
@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median", True])
def test_who_is_not_stopped_has_the_scores_of_a_plain_fit(family: str, scheduler: Any) -> None:
    estimator, grid, X, y = ROUNDS[family]
    name, values = next(iter(grid.items()))
    if name != "max_samples":
        values = [*values, *([1e-6, 1.0, 10.0] if name == "alpha" else [1, 4, 5])]
    common = {"cv": TWO, "scoring": scoring_of(estimator, y), "n_jobs": 1}
    plain = GridSearchCV(estimator, {name: values}, **common).fit(X, y)
    ours = TuneGridSearchCV(estimator, {name: values}, early_stopping=scheduler, **common).fit(X, y)
    in_full(ours, plain)
    results = ours.cv_results_
    assert not results["stopped_early"][ours.best_index_]
    full, stopped = (results["rank_test_score"][results["stopped_early"] == kind] for kind in (False, True))
    assert not len(stopped) or full.max() < stopped.min()
    if hasattr(plain, "predict") and ours.best_index_ == plain.best_index_:
        np.testing.assert_allclose(ours.predict(X), plain.predict(X), rtol=EXACT)


def test_hist_boosting_that_stops_itself_just_at_a_rung_does_not_go_on() -> None:
    half = np.arange(80)
    cv = [(half, half + 80)]
    for rate in (0.05, 0.1, 0.2, 0.3, 0.5):
        estimator = HistGradientBoostingClassifier(
            max_iter=200, early_stopping=True, n_iter_no_change=2, learning_rate=rate, random_state=0
        )
        ends = clone(estimator).fit(HARD_X[:80], HARD_Y[:80]).n_iter_
        assert 1 < ends < 200
        scheduler = ASHAScheduler(max_t=200, grace_period=ends, reduction_factor=4)
        ours, plain = compared(estimator, {"max_depth": [None]}, HARD_X, HARD_Y, cv=cv, scheduler=scheduler)
        in_full(ours, plain)


def test_the_best_of_several_starts_may_be_one_that_needs_more_rounds() -> None:
    X, _ = make_blobs(160, 4, centers=12, cluster_std=3.0, random_state=0)
    for seed in range(2):
        estimator = KMeans(n_clusters=12, n_init=8, init="random", max_iter=100, random_state=seed)
        in_full(*compared(estimator, {"tol": [1e-4]}, X, None))
        mixture = GaussianMixture(3, n_init=4, max_iter=60, init_params="random_from_data", random_state=seed)
        in_full(*compared(mixture, {"covariance_type": ["diag"]}, X, None))


# ---------------------------------------------------------------- pipelines

LAST: dict[str, Any] = {
    "forest": RandomForestRegressor(9, random_state=0),
    "hist boosting": HistGradientBoostingRegressor(max_iter=9, random_state=0),
    "sgd": SGDRegressor(max_iter=30, random_state=0),
    "xgboost": XGBRegressor(n_estimators=9, n_jobs=1, subsample=0.6),
}
PIPELINES: dict[str, Callable[[Any, Path], Any]] = {
    "scaled": lambda last, _: Pipeline([("scale", StandardScaler()), ("last", last)]),
    "columns": lambda last, _: Pipeline([("columns", columns()), ("last", last)]),
    "target encoder": lambda last, _: Pipeline(
        [
            (
                "encode",
                make_column_transformer(
                    (TargetEncoder(cv=3, random_state=0), ["city", "name"]), (StandardScaler(), ["age", "size"])
                ),
            ),
            ("last", last),
        ]
    ),
    "memory": lambda last, path: Pipeline([("columns", columns()), ("last", last)], memory=str(path)),
    "nested": lambda last, _: Pipeline(
        [
            ("columns", make_pipeline(columns(), FeatureUnion([("as is", "passthrough")]))),
            (
                "last",
                Pipeline([("dense", MinMaxScaler()), ("in", Pipeline([("s", StandardScaler()), ("last", last)]))]),
            ),
        ]
    ),
}


@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize("kind", PIPELINES)
def test_a_pipeline_trained_in_rounds_is_trained_at_once(kind: str, last: str, tmp_path: Path) -> None:
    pipeline = PIPELINES[kind](LAST[last], tmp_path)
    X = MIXED[["age", "size", "rooms"]] if kind == "scaled" else MIXED
    name = {"forest": "max_depth", "hist boosting": "max_depth", "xgboost": "max_depth"}
    values = {"sgd": [0.1, 0.001]}.get(last, [2, 4])
    path = "last__in__last__" if kind == "nested" else "last__"
    grid = {path + name.get(last, "alpha"): values}
    before = X.copy()
    grid = {name: values[: 1 + (kind == "scaled")] for name, values in grid.items()}
    ours, plain = compared(pipeline, grid, X, MIXED_Y)
    assert ours.fidelity_ == "rounds"
    in_full(ours, plain)
    pd.testing.assert_frame_equal(X, before)
    if kind == "columns":
        weights = {path + "sample_weight": WEIGHTS}
        in_full(*compared(pipeline, {name: values[:1] for name, values in grid.items()}, X, MIXED_Y, fit=weights))


def test_weights_are_routed_where_metadata_routing_is_on() -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        last = RandomForestRegressor(9, random_state=0).set_fit_request(sample_weight=True)
        pipeline = Pipeline([("scale", StandardScaler().set_fit_request(sample_weight=True)), ("last", last)])
        scorer = get_scorer("neg_mean_squared_error").set_score_request(sample_weight=True)
        ours, plain = compared(
            pipeline, {"last__max_depth": [2, 4]}, REG_X, REG_Y, fit={"sample_weight": WEIGHTS}, scoring=scorer
        )
    in_full(ours, plain)


class Counts(TransformerMixin, BaseEstimator):
    """Writes a line into a file for each fit."""

    def __init__(self, path: str = "", factor: float = 1.0) -> None:
        self.path, self.factor = path, factor

    def fit(self, X: Any, y: Any = None) -> Counts:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{len(X)}\n")
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: Any) -> Any:
        return X * self.factor


@pytest.mark.parametrize("last", [RandomForestRegressor(9), SGDRegressor(max_iter=30), HistGradientBoostingRegressor()])
@pytest.mark.parametrize("nested", [False, True])
def test_transformers_are_fitted_once_for_each_fold(last: Any, nested: bool, tmp_path: Path) -> None:
    path = tmp_path / "fits"
    last = clone(last).set_params(random_state=0)
    inner = make_pipeline(Counts(str(path)), last) if nested else last
    pipeline = Pipeline([("counts", Counts(str(path))), ("last", inner)])
    search = TuneGridSearchCV(
        pipeline, {"counts__factor": [1.0, 2.0]}, scheduler=LetsAll(), fidelity="rounds", cv=KFold(3), n_jobs=1
    ).fit(REG_X, REG_Y)
    of_folds, of_refit = 2 * 3, 1
    assert len(path.read_text().splitlines()) == (of_folds + of_refit) * (1 + nested)
    assert (search.cv_results_["resource"] > 1).all()


def test_a_last_step_that_writes_into_what_it_gets_gets_it_anew_in_each_round() -> None:
    pipeline = Pipeline(
        [("scale", MinMaxScaler()), ("order", FunctionTransformer(np.asfortranarray)), ("last", None)]
    ).set_params(last=ElasticNet(alpha=0.01, max_iter=100, copy_X=False))
    in_full(*compared(pipeline, {"last__alpha": [0.01, 0.1]}, REG_X, REG_Y))


# ---------------------------------------------------------------- the number of rounds itself is tuned


@pytest.mark.parametrize("scheduler", [None, "asha", "hyperband"])
@pytest.mark.parametrize("family", ["forest", "hist boosting", "xgboost"])
def test_a_number_of_rounds_that_is_tuned_is_the_candidates_end(family: str, scheduler: Any) -> None:
    estimator, _, X, y = ROUNDS[family]
    known = estimator.get_params()
    name = next(each for each in ("n_estimators", "max_iter", "iterations") if each in known)
    grid = {name: [1, 3, 8, 12]}
    common: dict[str, Any] = {"cv": TWO, "scoring": scoring_of(estimator, y), "n_jobs": 1}
    plain = GridSearchCV(estimator, grid, **common).fit(X, y)
    ours = TuneGridSearchCV(estimator, grid, scheduler=LetsAll() if scheduler is None else scheduler, **common)
    ours.fit(X, y)
    in_full(ours, plain)
    resource, partial = ours.cv_results_["resource"], ours.cv_results_["stopped_early"]
    assert (resource[~partial] == np.array(grid[name])[~partial]).all()
    assert (resource[partial] < np.array(grid[name])[partial]).all()
    assert ours.best_estimator_.get_params()[name] == ours.best_params_[name]
    if scheduler is None:
        assert not partial.any()


def test_a_candidates_own_number_of_rounds_goes_before_max_resources() -> None:
    grid = [{"n_estimators": [3]}, {"max_depth": [2]}]
    search = TuneGridSearchCV(
        RandomForestClassifier(50, random_state=0), grid, scheduler=LetsAll(), max_resources=6, cv=2, n_jobs=1
    ).fit(HARD_X, HARD_Y)
    assert search.cv_results_["resource"].tolist() == [3, 6]
    assert len(search.best_estimator_.estimators_) == [3, 6][search.best_index_]
    plain = GridSearchCV(RandomForestClassifier(6, random_state=0), grid, cv=2).fit(HARD_X, HARD_Y)
    in_full(search, plain)


def test_max_resources_is_the_number_of_rounds_without_a_scheduler_too() -> None:
    for max_resources in ({"max_resources": 6}, {"max_iters": 6}):
        search = TuneGridSearchCV(
            RandomForestClassifier(50, random_state=0), {"max_depth": [2, 3]}, cv=2, n_jobs=1, **max_resources
        ).fit(HARD_X, HARD_Y)
        assert len(search.best_estimator_.estimators_) == 6
        plain = GridSearchCV(RandomForestClassifier(6, random_state=0), {"max_depth": [2, 3]}, cv=2)
        same_results(search, plain.fit(HARD_X, HARD_Y))


def test_estimators_with_and_without_rounds_in_one_search() -> None:
    pipeline = Pipeline([("scale", StandardScaler()), ("clf", GaussianNB())])
    grid = {
        "clf": [
            RandomForestClassifier(9, random_state=0),
            SVC(probability=False),
            LogisticRegression(max_iter=50),
            GaussianNB(),
            XGBClassifier(n_estimators=5, n_jobs=1),
            XGBRFClassifier(n_jobs=1, random_state=0),  # a hundred trees, which are one round of boosting
        ]
    }
    in_full(*compared(pipeline, grid, HARD_X, HARD_Y, scoring="roc_auc"))
    ours = TuneGridSearchCV(pipeline, grid, scheduler="asha", cv=TWO, scoring="roc_auc", n_jobs=1).fit(HARD_X, HARD_Y)
    in_full(ours, GridSearchCV(pipeline, grid, cv=TWO, scoring="roc_auc").fit(HARD_X, HARD_Y))
