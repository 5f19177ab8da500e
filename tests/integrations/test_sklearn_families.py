"""The searches for scikit-learn over many kinds of estimators, data, spaces and ways to stop early."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import joblib
import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from catboost import CatBoostClassifier, CatBoostRegressor
from lightgbm import LGBMClassifier, LGBMRegressor
from scipy.stats import loguniform, randint, uniform
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin, clone
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.datasets import load_breast_cancer, load_iris, make_blobs, make_classification, make_regression
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
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
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.kernel_ridge import KernelRidge
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
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.metrics import get_scorer
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    ParameterGrid,
    PredefinedSplit,
    RandomizedSearchCV,
    StratifiedKFold,
    TimeSeriesSplit,
    cross_val_score,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.naive_bayes import BernoulliNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KernelDensity, KNeighborsClassifier, KNeighborsRegressor, NearestCentroid
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    PolynomialFeatures,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from xgboost import XGBClassifier, XGBRegressor, XGBRFClassifier

import tune_plugins as tune
from tune_plugins.core.scheduler import Action, TrialScheduler
from tune_plugins.core.trial import Trial
from tune_plugins.errors import ArgumentError
from tune_plugins.integrations.sklearn import TuneGridSearchCV, TuneSearchCV
from tune_plugins.schedulers import ASHAScheduler
from tune_plugins.search.optuna import OptunaSearch

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore::FutureWarning", "ignore:X does not have valid feature"
)

EXACT = 1e-7  # relative: sums of trees are made in another order, where a training goes on from an earlier one
IRIS_X, IRIS_Y = load_iris(return_X_y=True)
_mixed = np.random.default_rng(0).permutation(150)
IRIS_X, IRIS_Y = np.ascontiguousarray(IRIS_X[_mixed]), IRIS_Y[_mixed]
CANCER_X, CANCER_Y = (part[:200] for part in load_breast_cancer(return_X_y=True))
HARD_X, HARD_Y = make_classification(160, 8, n_informative=4, flip_y=0.2, n_classes=2, random_state=3)
REG_X, REG_Y = make_regression(160, 6, n_informative=4, noise=20.0, random_state=1)
REG_Y = REG_Y / 50
WEIGHTS = np.random.default_rng(1).uniform(0.1, 3.0, 160)
TWO = KFold(2)  # not shuffled, so that all parts are views


class LetsAll(TrialScheduler):
    """Looks at every report, and stops nobody."""


class StopsSome(TrialScheduler):
    """Stops every other candidate at its first report."""

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> str:
        number = self.numbers.setdefault(trial.id, len(self.numbers))
        return Action.STOP if number % 2 else Action.CONTINUE

    def setup(self, **options: Any) -> None:
        super().setup(**options)
        self.numbers: dict[str, int] = {}


def scoring_of(estimator: Any, y: Any) -> Any:
    """A score in which the smallest difference of two models can be seen."""
    if sklearn.base.is_classifier(estimator):
        if hasattr(estimator, "predict_proba"):
            return "neg_log_loss"
        return "roc_auc" if len(np.unique(y)) == 2 and hasattr(estimator, "decision_function") else "accuracy"
    return None


def same_results(ours: Any, plain: Any, rtol: float = EXACT) -> None:
    """The same candidates in the same order, with the same scores."""
    mine, theirs = ours.cv_results_, plain.cv_results_
    assert [str(each) for each in mine["params"]] == [str(each) for each in theirs["params"]]
    scores = [key for key in theirs if "_test_" in key or "_train_" in key]
    assert scores
    for key in scores:
        np.testing.assert_allclose(mine[key], theirs[key], rtol=rtol, atol=0, err_msg=key)
    assert [key for key in mine if key.startswith("param")] == [key for key in theirs if key.startswith("param")]


def in_full(ours: Any, plain: Any, rtol: float = EXACT) -> None:
    """The candidates that were evaluated as a whole have the scores of the plain search."""
    mine, theirs = ours.cv_results_, plain.cv_results_
    assert [str(each) for each in mine["params"]] == [str(each) for each in theirs["params"]]
    rows = np.flatnonzero(~mine["stopped_early"])
    assert len(rows)
    for key in [key for key in theirs if key.startswith(("split", "mean_test", "std_test", "mean_train"))]:
        np.testing.assert_allclose(mine[key][rows], theirs[key][rows], rtol=rtol, atol=0, err_msg=key)


def compared(
    estimator: Any, grid: Any, X: Any, y: Any, *, scheduler: Any = None, cv: Any = TWO, fit: Any = None, **more: Any
) -> tuple[Any, Any]:
    """Our search of a grid, each candidate looked at while it trains, and scikit-learn's."""
    scoring = more.pop("scoring", scoring_of(estimator, y))
    common = {"cv": cv, "scoring": scoring, "refit": False, "n_jobs": 1, "error_score": "raise"}
    plain = GridSearchCV(estimator, grid, **common, return_train_score=more.get("return_train_score", False))
    plain.fit(X, y, **(fit or {}))
    scheduler = LetsAll() if scheduler is None else scheduler
    ours = TuneGridSearchCV(estimator, grid, scheduler=scheduler, **common, **more).fit(X, y, **(fit or {}))
    return ours, plain


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

MIXED = pd.DataFrame(
    {
        "age": REG_X[:, 0],
        "city": pd.Categorical(np.array(["a", "b", "c", "d"])[(np.abs(REG_X[:, 1]) * 3).astype(int) % 4]),
        "size": REG_X[:, 2].astype(np.float32),
        "rooms": (REG_X[:, 3] * 3).astype(int),
        "name": pd.Series(np.array(["x", "y", "z"], dtype=object)[(np.abs(REG_X[:, 4]) * 5).astype(int) % 3]),
        "old": REG_X[:, 5] > 0,
    },
    index=[f"row {number}" for number in range(160)],
)
MIXED_Y = pd.Series(REG_Y, index=MIXED.index, name="price")
MIXED_C = pd.Series(np.where(REG_Y > 0, "dear", "cheap"), index=MIXED.index)


def columns() -> Any:
    return make_column_transformer(
        (StandardScaler(), ["age", "size"]),
        (OneHotEncoder(handle_unknown="ignore"), ["city", "name"]),
        remainder="passthrough",
    )


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


# ---------------------------------------------------------------- partial_fit alone, and Keras


class Passes(ClassifierMixin, BaseEstimator):
    """Has nothing but passes over the data."""

    def __init__(self, rate: float = 0.5) -> None:
        self.rate = rate

    def fit(self, X: Any, y: Any) -> Passes:
        vars(self).pop("passes_", None)
        return self.partial_fit(X, y)

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Passes:
        if not hasattr(self, "passes_"):
            self.classes_ = np.unique(y) if classes is None else np.asarray(classes)
            self.passes_ = 0
            self.centres_ = np.zeros((len(self.classes_), X.shape[1]))
        self.passes_ += 1
        for number, label in enumerate(self.classes_):
            if (mine := X[np.asarray(y) == label]).shape[0]:
                self.centres_[number] += self.rate * (mine.mean(0) - self.centres_[number])
        seen.append((self.passes_, tuple(self.classes_)))
        return self

    def predict(self, X: Any) -> Any:
        return self.classes_[((X[:, None] - self.centres_) ** 2).sum(2).argmin(1)]


class RegressorOfPasses(RegressorMixin, BaseEstimator):
    """Likewise, and `partial_fit` asks for no classes."""

    def __init__(self, rate: float = 0.5) -> None:
        self.rate = rate

    def fit(self, X: Any, y: Any) -> RegressorOfPasses:
        vars(self).pop("mean_", None)
        return self.partial_fit(X, y)

    def partial_fit(self, X: Any, y: Any) -> RegressorOfPasses:
        self.mean_ = getattr(self, "mean_", 0.0) + self.rate * (np.mean(y) - getattr(self, "mean_", 0.0))
        self.passes_ = getattr(self, "passes_", 0) + 1
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.mean_)


seen: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> Iterator[None]:
    seen.clear()
    yield
    seen.clear()


@pytest.mark.parametrize("scheduler", ["asha", LetsAll(), "hyperband", None])
@pytest.mark.parametrize("kind", ["alone", "pipeline", "nested"])
def test_passes_are_those_of_partial_fit(kind: str, scheduler: Any) -> None:
    estimator = Passes()
    if kind != "alone":
        estimator = make_pipeline(StandardScaler(), estimator)
    if kind == "nested":
        estimator = make_pipeline(MinMaxScaler(), estimator)
    name = {"alone": "rate", "pipeline": "passes__rate", "nested": "pipeline__passes__rate"}[kind]
    search = TuneGridSearchCV(
        estimator, {name: [0.01, 0.1, 0.5]}, scheduler=scheduler, max_resources=7, cv=KFold(3), n_jobs=1
    ).fit(IRIS_X, IRIS_Y)
    last = search.best_estimator_
    while isinstance(last, Pipeline):
        last = last[-1]
    assert last.passes_ == 7
    assert "fit" not in vars(last)
    train, test = next(KFold(3).split(IRIS_X))
    for row in range(3):
        if scheduler is not None and search.cv_results_["stopped_early"][row]:
            continue
        plain = Passes(search.cv_results_["params"][row][name])
        before = clone(estimator[:-1]) if kind == "pipeline" else None
        if kind == "nested":
            before = make_pipeline(MinMaxScaler(), StandardScaler())
        X = IRIS_X if before is None else before.fit(IRIS_X[train]).transform(IRIS_X)
        for _ in range(7):
            plain.partial_fit(X[train], IRIS_Y[train], classes=np.unique(IRIS_Y))
        assert search.cv_results_["split0_test_score"][row] == plain.score(X[test], IRIS_Y[test])


@pytest.mark.parametrize("labels", [np.array([10, 20, 30]), np.array(["one", "two", "three"])])
def test_passes_know_the_labels_of_all_data(labels: Any) -> None:
    cv = PredefinedSplit(IRIS_Y)  # each training lacks one label
    for estimator in (Passes(), make_pipeline(StandardScaler(), Passes())):
        seen.clear()
        search = TuneGridSearchCV(estimator, {}, scheduler=LetsAll(), max_resources=3, cv=cv, n_jobs=1)
        search.fit(IRIS_X, list(labels[IRIS_Y]))
        assert {classes for _, classes in seen} == {tuple(np.unique(labels))}


@pytest.mark.parametrize(
    ("estimator", "X"),
    [
        (GaussianNB(), IRIS_X),
        (MultinomialNB(), IRIS_X),
        (MultinomialNB(), sp.csr_matrix(IRIS_X)),
        (BernoulliNB(binarize=2.0), sp.csc_matrix(IRIS_X)),
    ],
)
def test_bayes_in_passes(estimator: Any, X: Any) -> None:
    weights = np.linspace(0.1, 2.0, 150)
    name = "var_smoothing" if isinstance(estimator, GaussianNB) else "alpha"
    search = TuneGridSearchCV(
        estimator,
        {name: [1e-3, 0.1]},
        scheduler=LetsAll(),
        max_resources=4,
        cv=TWO,
        scoring="neg_log_loss",
        n_jobs=1,
        error_score="raise",
    ).fit(X, IRIS_Y, sample_weight=weights)
    assert search.fidelity_ == "rounds"
    assert search.cv_results_["resource"].tolist() == [4, 4]
    X = sp.csr_matrix(X) if sp.issparse(X) else X
    for row, parameters in enumerate(search.cv_results_["params"]):
        for split, (train, test) in enumerate(TWO.split(IRIS_X)):
            plain = clone(estimator).set_params(**parameters)
            for _ in range(4):
                plain.partial_fit(X[train], IRIS_Y[train], classes=np.unique(IRIS_Y), sample_weight=weights[train])
            expected = get_scorer("neg_log_loss")(plain, X[test], IRIS_Y[test], sample_weight=weights[test])
            assert search.cv_results_[f"split{split}_test_score"][row] == pytest.approx(expected, rel=EXACT)


def test_passes_of_a_regressor_are_not_given_classes() -> None:
    search = TuneGridSearchCV(
        RegressorOfPasses(), {"rate": [0.1, 0.5]}, scheduler=LetsAll(), max_iters=5, cv=2, n_jobs=1, error_score="raise"
    ).fit(REG_X, REG_Y)
    assert search.best_estimator_.passes_ == 5


def build(X: Any, y: Any, units: int = 4) -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((X.shape[1],)),
            keras.layers.Dense(units, activation="tanh"),
            keras.layers.Dense(3, "softmax"),
        ]
    )
    model.compile(loss="categorical_crossentropy", optimizer="adam")
    return model


def build_regressor(X: Any, y: Any) -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((X.shape[1],)), keras.layers.Dense(1)])
    model.compile(loss="mse", optimizer="adam")
    return model


def test_keras_is_trained_in_epochs() -> None:
    epochs = {"epochs": 5, "verbose": 0, "batch_size": 10}
    classifier = keras.wrappers.SKLearnClassifier(build)
    regressor = make_pipeline(StandardScaler(), keras.wrappers.SKLearnRegressor(build_regressor))
    for estimator, grid, X, y in (
        (classifier, {"fit_kwargs": [epochs], "model_kwargs": [{"units": 2}, {"units": 6}]}, IRIS_X, IRIS_Y),
        (regressor, {"sklearnregressor__fit_kwargs": [epochs, {**epochs, "epochs": 3}]}, REG_X, REG_Y),
    ):
        common = {"cv": TWO, "n_jobs": 1, "error_score": "raise", "refit": False}
        plain = GridSearchCV(estimator, grid, **common).fit(X, y)
        ours = TuneGridSearchCV(estimator, grid, scheduler=LetsAll(), **common).fit(X, y)
        assert ours.fidelity_ == "rounds"
        assert ours.cv_results_["resource"].tolist() == ([5, 5] if estimator is classifier else [5, 3])
        in_full(ours, plain, rtol=1e-5)  # float32
        same_results(TuneGridSearchCV(estimator, grid, **common).fit(X, y), plain, rtol=1e-5)


def test_epochs_that_the_wrapper_of_keras_was_made_with_are_not_lost() -> None:
    # Keras' own `__sklearn_clone__` forgets them, so that scikit-learn's searches train one epoch.
    classifier = keras.wrappers.SKLearnClassifier(build, fit_kwargs={"epochs": 5, "verbose": 0})
    grid = {"model_kwargs": [{"units": 2}]}
    for more, epochs in ({}, 5), ({"max_resources": 3}, 3):
        search = TuneGridSearchCV(classifier, grid, scheduler=LetsAll(), cv=TWO, n_jobs=1, **more).fit(IRIS_X, IRIS_Y)
        assert search.fidelity_ == "rounds"
        assert search.cv_results_["resource"].tolist() == [epochs]
        assert search.best_estimator_.fit_kwargs == {"epochs": epochs, "verbose": 0}
        assert len(search.best_estimator_.history_.epoch) == epochs


# ---------------------------------------------------------------- honest results


class Records(ClassifierMixin, BaseEstimator):
    """Notes the rows that it was fitted on, and those that it was to predict: their numbers are in column 0."""

    def __init__(self, n_estimators: int = 8, alpha: float = 0.0) -> None:
        self.n_estimators, self.alpha = n_estimators, alpha

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Records:
        self.rows_ = frozenset(int(row) for row in X[:, 0])
        self.classes_ = np.unique(y)
        if sample_weight is not None:
            np.testing.assert_array_equal(sample_weight, X[:, 0])
        np.testing.assert_array_equal(y, X[:, 1].astype(int))
        seen.append(self.rows_)
        return self

    def predict(self, X: Any) -> Any:
        assert not self.rows_ & {int(row) for row in X[:, 0]}
        noise = np.random.default_rng(int(self.alpha)).random(len(X)) < self.alpha / 10
        return np.where(noise, self.classes_[0], X[:, 1].astype(int))


NUMBERED = np.column_stack([np.arange(150.0), IRIS_Y, IRIS_X])
GROUPS = np.random.default_rng(0).integers(0, 9, 150)


@pytest.mark.parametrize("fidelity", ["rounds", "folds", "samples", None])
@pytest.mark.parametrize(
    "cv",
    [
        StratifiedKFold(3, shuffle=True, random_state=0),
        TimeSeriesSplit(3, gap=5, max_train_size=40),
        GroupKFold(3),
        LeaveOneGroupOut(),
        [(np.arange(100), np.arange(100, 150)), (np.arange(0, 150, 2), np.arange(1, 150, 2))],
        [(np.arange(150) % 3 > 0, np.arange(150) % 3 == 0), (np.arange(150) % 3 < 2, np.arange(150) % 3 == 2)],
    ],
)
def test_splits_are_used_as_they_are_and_held_out_data_reach_no_fit(fidelity: Any, cv: Any) -> None:
    splits = list(cv.split(NUMBERED, IRIS_Y, GROUPS)) if hasattr(cv, "split") else cv
    parts = [
        frozenset(np.flatnonzero(train).tolist() if train.dtype == bool else train.tolist()) for train, _ in splits
    ]
    search = TuneGridSearchCV(
        Records(),
        {"alpha": [1.0, 5.0, 2.0]},
        scheduler=LetsAll() if fidelity else None,
        fidelity=fidelity,
        cv=cv,
        n_jobs=1,
        refit=False,
        error_score="raise",
    ).fit(NUMBERED, IRIS_Y, groups=GROUPS, sample_weight=NUMBERED[:, 0])
    plain = GridSearchCV(Records(), {"alpha": [1.0, 5.0, 2.0]}, cv=cv, refit=False, error_score="raise")
    fits = list(seen)
    plain.fit(NUMBERED, IRIS_Y, groups=GROUPS, sample_weight=NUMBERED[:, 0])
    same_results(search, plain)
    if fidelity == "samples":
        assert all(any(rows <= part for part in parts) for rows in fits)
        assert len(set(fits)) > len(set(parts))
    else:
        assert set(fits) == set(parts)
    for part in parts:
        assert fits.count(part) >= 3


@pytest.mark.parametrize("scheduler", [StopsSome(), "asha", "hyperband", "median", "race"])
def test_a_candidate_stopped_between_folds_has_no_scores_of_the_others(scheduler: Any) -> None:
    alphas = [1.0, 9.0, 0.0, 8.0, 3.0, 9.5, 7.0]
    cv = StratifiedKFold(6)
    common = {"cv": cv, "n_jobs": 1, "error_score": "raise"}
    ours = TuneGridSearchCV(Records(), {"alpha": alphas}, scheduler=scheduler, fidelity="folds", **common)
    ours.refit = False
    ours.fit(NUMBERED, IRIS_Y)
    plain = GridSearchCV(Records(), {"alpha": alphas}, refit=False, **common).fit(NUMBERED, IRIS_Y)
    in_full(ours, plain)
    results = ours.cv_results_
    each = np.stack([results[f"split{number}_test_score"] for number in range(6)], axis=1)
    theirs = np.stack([plain.cv_results_[f"split{number}_test_score"] for number in range(6)], axis=1)
    assert results["stopped_early"].any()
    for row, count in enumerate(results["resource"]):
        assert results["stopped_early"][row] == (count < 6)
        np.testing.assert_array_equal(each[row, :count], theirs[row, :count])
        assert np.isnan(each[row, count:]).all()
        assert results["mean_test_score"][row] == pytest.approx(each[row, :count].mean())
    full, stopped = (results["rank_test_score"][results["stopped_early"] == kind] for kind in (False, True))
    assert full.max() < stopped.min()
    assert not results["stopped_early"][ours.best_index_]
    assert ours.best_score_ == np.max(results["mean_test_score"][~results["stopped_early"]])


@pytest.mark.parametrize("fidelity", ["rounds", "samples", "folds"])
def test_what_was_stopped_early_is_behind_however_good_it_looks(fidelity: str) -> None:
    # Those that are stopped have the better scores.
    search = TuneGridSearchCV(
        Records(), {"alpha": [5.0, 0.0, 6.0, 0.0]}, scheduler=StopsSome(), fidelity=fidelity, cv=KFold(3), n_jobs=1
    )
    search.refit = False
    search.fit(NUMBERED, IRIS_Y)
    results = search.cv_results_
    assert results["stopped_early"].tolist() == [False, True, False, True]
    assert (results["mean_test_score"][[1, 3]] == 1).all()
    assert set(results["rank_test_score"][[0, 2]]) <= {1, 2}
    assert (results["rank_test_score"][[1, 3]] == 3).all()
    assert search.best_index_ in (0, 2)
    assert search.best_score_ < 1


@pytest.mark.parametrize(
    ("estimator", "grid"),
    [
        (SVC(), {"C": [0.1, 1.0, 10.0, 100.0]}),
        (make_pipeline(StandardScaler(), KNeighborsClassifier()), {"kneighborsclassifier__n_neighbors": [1, 5, 15]}),
        (GradientBoostingClassifier(n_estimators=5, random_state=0), {"max_depth": [1, 2, 3]}),
    ],
)
@pytest.mark.parametrize("scheduler", ["asha", LetsAll(), "hyperband"])
def test_with_samples_the_last_score_is_the_plain_one(estimator: Any, grid: Any, scheduler: Any) -> None:
    in_full(*compared(estimator, grid, IRIS_X, IRIS_Y, fidelity="samples", scheduler=scheduler, cv=3))


class NeedsMany(DecisionTreeClassifier):
    """Cannot be fitted on a few samples."""

    def fit(self, X: Any, y: Any, **params: Any) -> Any:
        if len(X) < 60:
            raise ValueError("too few samples")
        return super().fit(X, y, **params)


@pytest.mark.parametrize("error_score", [np.nan, "raise"])
def test_a_fit_that_fails_on_few_samples_is_no_failure_of_the_whole(error_score: Any) -> None:
    common = {"cv": 3, "n_jobs": 1, "error_score": error_score}
    grid = {"max_depth": [1, 3]}
    plain = GridSearchCV(NeedsMany(random_state=0), grid, **common).fit(IRIS_X, IRIS_Y)
    ours = TuneGridSearchCV(NeedsMany(random_state=0), grid, scheduler=LetsAll(), fidelity="samples", **common)
    in_full(ours.fit(IRIS_X, IRIS_Y), plain)


def test_a_kernel_that_was_computed_is_cut_on_both_sides() -> None:
    kernel = IRIS_X @ IRIS_X.T
    for fidelity in ("samples", "folds"):
        for cv in (TWO, StratifiedKFold(3)):
            estimator = SVC(kernel="precomputed")
            in_full(*compared(estimator, {"C": [0.01, 1.0]}, kernel, IRIS_Y, fidelity=fidelity, cv=cv))


def test_a_fit_that_fails_is_not_the_best_one() -> None:
    for scheduler in ("asha", LetsAll(), None):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            search = TuneGridSearchCV(
                RandomForestClassifier(8, random_state=0),
                {"max_features": [2, -3, "nothing", 1]},
                scheduler=scheduler,
                cv=TWO,
                n_jobs=1,
            ).fit(HARD_X, HARD_Y)
        assert any("4 fits failed" in str(each.message) for each in told)
        assert np.isnan(search.cv_results_["mean_test_score"][1:3]).all()
        assert search.best_params_["max_features"] in (1, 2)


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


# ---------------------------------------------------------------- spaces


def test_lists_of_spaces_are_scikit_learns() -> None:
    space = [
        {"kernel": ["rbf"], "C": loguniform(0.1, 10), "gamma": loguniform(1e-3, 1)},
        {"kernel": ["linear"], "C": loguniform(0.1, 10)},
        {"kernel": ["poly"], "degree": [2, 3]},
    ]
    common = {"cv": TWO, "random_state": 3, "n_jobs": 1}
    plain = RandomizedSearchCV(SVC(), space, n_iter=6, **common).fit(IRIS_X, IRIS_Y)
    ours = TuneSearchCV(SVC(), space, n_trials=6, **common).fit(IRIS_X, IRIS_Y)
    same_results(ours, plain)
    assert ours.best_params_ == plain.best_params_


def plain_scores(search: Any, estimator: Any, X: Any, y: Any) -> None:
    """Each candidate of a search has the scores of a plain evaluation."""
    grid = [{name: [value] for name, value in each.items()} for each in search.cv_results_["params"]]
    plain = GridSearchCV(estimator, grid, cv=search.cv, n_jobs=1, refit=False).fit(X, y)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"], rtol=EXACT, atol=0
    )
    assert search.best_score_ == np.max(search.cv_results_["mean_test_score"])
    assert search.best_params_ == search.cv_results_["params"][search.best_index_]


SEARCHES: dict[str, Callable[[], Any]] = {
    "random": lambda: "random",
    "tpe": lambda: "tpe",
    "sobol": lambda: "sobol",
    "evolutionary": lambda: "evolutionary",
    "object": lambda: OptunaSearch(sampler="tpe", seed=1),
}


@pytest.mark.parametrize("search", SEARCHES)
def test_conditional_spaces_by_any_searcher(search: str) -> None:
    space = {
        "C": tune.loguniform(0.1, 10),
        "kind": tune.choice(
            [
                {"kernel": "rbf", "gamma": tune.loguniform(1e-3, 1)},
                {"kernel": "poly", "degree": tune.randint(2, 4), "more": tune.choice([{"coef0": 0.5}, {"coef0": 1.0}])},
                {"kernel": "linear"},
            ]
        ),
        "tol": tune.sample_from(lambda config: config["C"] * 1e-4),
    }
    made = TuneSearchCV(
        SVC(), space, search=SEARCHES[search](), n_trials=9, cv=TWO, random_state=0, n_jobs=1, error_score="raise"
    ).fit(IRIS_X, IRIS_Y)
    for each in made.cv_results_["params"]:
        own = {"rbf": {"gamma"}, "poly": {"degree", "coef0"}, "linear": set()}[each["kernel"]]
        assert set(each) == {"C", "kernel", "tol", *own}
        assert each["tol"] == pytest.approx(each["C"] * 1e-4)
    assert len({each["kernel"] for each in made.cv_results_["params"]}) > 1
    plain_scores(made, SVC(), IRIS_X, IRIS_Y)


@pytest.mark.parametrize("search", SEARCHES)
def test_lists_and_distributions_by_any_searcher(search: str) -> None:
    space = [
        {"kernel": ["rbf"], "C": loguniform(0.1, 10), "class_weight": [None, "balanced", {0: 1.0, 1: 5.0, 2: 1.0}]},
        {"kernel": ["poly"], "degree": randint(2, 4), "C": np.array([0.5, 1.0])},
    ]
    made = TuneSearchCV(
        SVC(), space, search=SEARCHES[search](), n_trials=9, cv=TWO, random_state=0, n_jobs=1, error_score="raise"
    ).fit(IRIS_X, IRIS_Y)
    params = made.cv_results_["params"]
    assert {each["kernel"] for each in params} == {"rbf", "poly"}
    for each in params:
        assert set(each) == {"kernel", "C", "class_weight" if each["kernel"] == "rbf" else "degree"}
        assert each.get("class_weight") in (None, "balanced", {0: 1.0, 1: 5.0, 2: 1.0})
    plain_scores(made, SVC(), IRIS_X, IRIS_Y)


@pytest.mark.parametrize("search", SEARCHES)
def test_weights_of_classes_are_values(search: str) -> None:
    options = [{0: 1.0, 1: 5.0}, {0: 5.0, 1: 1.0}, None]
    for values in (options, tune.choice(options)):
        made = TuneSearchCV(
            LogisticRegression(max_iter=50),
            {"class_weight": values, "C": tune.loguniform(0.1, 10)},
            search=SEARCHES[search](),
            n_trials=6,
            cv=TWO,
            random_state=0,
            n_jobs=1,
            error_score="raise",
        ).fit(HARD_X, HARD_Y)
        found = [each["class_weight"] for each in made.cv_results_["params"]]
        assert all(each in options for each in found)
        assert any(isinstance(each, dict) for each in found)
        plain_scores(made, LogisticRegression(max_iter=50), HARD_X, HARD_Y)


@pytest.mark.parametrize("search", SEARCHES)
def test_estimators_are_values(search: str) -> None:
    pipeline = Pipeline([("scale", StandardScaler()), ("clf", SVC())])
    space = {
        "scale": [StandardScaler(), MinMaxScaler(), "passthrough"],
        "model": tune.choice(
            [
                {"clf": SVC(), "clf__C": tune.loguniform(0.1, 10)},
                {"clf": RandomForestClassifier(5, random_state=0), "clf__max_depth": tune.randint(1, 5)},
            ]
        ),
    }
    made = TuneSearchCV(
        pipeline, space, search=SEARCHES[search](), n_trials=6, cv=TWO, random_state=0, n_jobs=1, error_score="raise"
    ).fit(HARD_X, HARD_Y)
    for each in made.cv_results_["params"]:
        assert set(each) == {"scale", "clf", "clf__C" if isinstance(each["clf"], SVC) else "clf__max_depth"}
    grid = [{name: [value] for name, value in each.items()} for each in made.cv_results_["params"]]
    plain = GridSearchCV(pipeline, grid, cv=TWO, refit=False).fit(HARD_X, HARD_Y)
    np.testing.assert_allclose(made.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"], rtol=EXACT)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_searcher_and_a_scheduler_together(search: str) -> None:
    space = {"max_depth": tune.randint(1, 6), "max_features": uniform(0.2, 0.8), "n_estimators": [4, 8, 12]}
    made = TuneSearchCV(
        RandomForestClassifier(random_state=0),
        space,
        search=SEARCHES[search](),
        scheduler="asha",
        n_trials=10,
        cv=TWO,
        random_state=0,
        n_jobs=1,
        error_score="raise",
    ).fit(HARD_X, HARD_Y)
    results = made.cv_results_
    assert made.fidelity_ == "rounds"
    assert len(results["params"]) == 10
    for row in np.flatnonzero(~results["stopped_early"]):
        grid = {name: [value] for name, value in results["params"][row].items()}
        plain = GridSearchCV(RandomForestClassifier(random_state=0), grid, cv=TWO).fit(HARD_X, HARD_Y)
        assert results["mean_test_score"][row] == pytest.approx(plain.best_score_, rel=EXACT)
        assert results["resource"][row] == results["params"][row]["n_estimators"]


@pytest.mark.parametrize("search", ["random", "tpe", "sobol", "evolutionary"])
def test_the_same_seed_finds_the_same(search: str) -> None:
    space = {"C": tune.loguniform(0.1, 10), "kernel": ["rbf", "poly"]}
    found = [
        TuneSearchCV(SVC(), space, search=search, n_trials=5, cv=TWO, random_state=seed, n_jobs=1)
        .fit(IRIS_X, IRIS_Y)
        .cv_results_["params"]
        for seed in (0, 0, 1)
    ]
    assert found[0] == found[1] != found[2]


# ---------------------------------------------------------------- names of arguments


def test_the_names_of_other_searches_mean_the_same(tmp_path: Path) -> None:
    space = {"max_depth": randint(1, 6)}
    estimator = RandomForestClassifier(50, random_state=0)
    common = {"cv": TWO, "random_state": 0, "n_jobs": 1}
    ours = TuneSearchCV(
        estimator, space, n_trials=4, scheduler="asha", search="random", max_resources=8, storage_path=tmp_path / "a",
        **common,
    ).fit(HARD_X, HARD_Y)  # fmt: skip
    theirs = TuneSearchCV(
        estimator, space, n_iter=4, early_stopping="ASHAScheduler", search_optimization="random", max_iters=8,
        local_dir=tmp_path / "b", **common,
    ).fit(HARD_X, HARD_Y)  # fmt: skip
    same_results(theirs, ours)
    assert len(ours.cv_results_["params"]) == 4
    assert max(ours.cv_results_["resource"]) == max(theirs.cv_results_["resource"]) == 8
    assert all(any((tmp_path / each).iterdir()) for each in ("a", "b"))
    assert clone(theirs).get_params()["n_iter"] == 4


@pytest.mark.parametrize(
    ("name", "value", "other", "same"),
    [
        ("n_trials", 3, "n_iter", 4),
        ("scheduler", "asha", "early_stopping", True),
        ("search", "tpe", "search_optimization", "sobol"),
        ("max_resources", 4, "max_iters", 5),
        ("storage_path", "a", "local_dir", "b"),
    ],
)
def test_both_names_of_an_argument_are_a_mistake(name: str, value: Any, other: str, same: Any) -> None:
    estimator = RandomForestClassifier(8)
    with pytest.raises(ArgumentError) as raised:
        TuneSearchCV(estimator, {"max_depth": [1, 2]}, n_jobs=1, **{name: value, other: same}).fit(HARD_X, HARD_Y)
    assert other in str(raised.value)
    assert name in str(raised.value)
    if name not in ("n_trials", "search"):
        with pytest.raises(ArgumentError, match=other):
            TuneGridSearchCV(estimator, {"max_depth": [1, 2]}, **{name: value, other: same}).fit(HARD_X, HARD_Y)


def test_all_mistakes_of_arguments_are_told_at_once() -> None:
    wrong: dict[str, Any] = {
        "n_trials": 0,
        "n_jobs": 0,
        "scheduler": "ashaa",
        "fidelity": "round",
        "error_score": "bad",
        "max_resources": -1,
        "verbose": -1,
        "refit": 3.5,
        "search": "tpee",
        "time_budget_s": -1,
    }
    with pytest.raises(ArgumentError) as raised:
        TuneSearchCV(SVC(), {"C": [1.0]}, **wrong).fit(IRIS_X, IRIS_Y)
    said = str(raised.value)
    for name in wrong:
        assert (name if name != "search" else "tpee") in said, name
    with pytest.raises(ArgumentError) as raised:
        TuneSearchCV(SVC, {"C": [1.0]}, n_iter=3, n_trials=4, early_stopping=True, scheduler="median").fit(
            IRIS_X, IRIS_Y
        )
    assert all(each in str(raised.value) for each in ("estimator", "n_iter", "early_stopping"))


def test_mistakes_of_the_space_and_of_the_fidelity_are_told_with_those_of_arguments() -> None:
    with pytest.raises(ArgumentError) as raised:
        TuneSearchCV(
            SVC(), {"C": 5, "gamma": []}, search="tpe", n_jobs=0, scheduler="asha", fidelity="rounds", max_resources=4
        ).fit(IRIS_X, IRIS_Y)
    said = str(raised.value)
    assert all(f"\n- {each}" in said or f" {each}:" in said for each in ("C", "gamma", "n_jobs", "max_resources"))


@pytest.mark.parametrize(
    ("estimator", "more", "named"),
    [
        (SVC(), {"scheduler": "asha", "fidelity": "rounds"}, "fidelity"),
        (GaussianNB(), {"scheduler": "asha", "fidelity": "rounds"}, "max_resources="),
        (SVC(), {"max_resources": 5}, "max_resources"),
        (RandomForestClassifier(9), {"scheduler": "race", "fidelity": "rounds"}, "race"),
        (RandomForestClassifier(9), {"scheduler": ASHAScheduler(max_t=4)}, "max_t"),
    ],
)
def test_what_does_not_go_together_is_told_with_a_way_out(estimator: Any, more: Any, named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        TuneGridSearchCV(estimator, {}, n_jobs=1, **more).fit(IRIS_X, IRIS_Y)


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
