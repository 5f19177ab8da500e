"""What public scripts and bug reports do with searches for scikit-learn, each as a small case of its own.

Numbers are issues: of ray-project/tune-sklearn (ts), scikit-learn/scikit-learn (sk), optuna/optuna (op),
ing-bank/probatus (pb), ageron/handson-ml3 (hm), scikit-optimize/scikit-optimize (so).
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from lightgbm import LGBMClassifier
from scipy.stats import loguniform, randint, uniform
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, make_classification, make_regression
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier, StackingClassifier
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier, SGDRegressor
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    RandomizedSearchCV,
    StratifiedKFold,
    cross_val_score,
    train_test_split,
)
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.utils import compute_sample_weight
from xgboost import XGBClassifier

from tune_plugins.errors import ArgumentError
from tune_plugins.integrations.sklearn import TuneGridSearchCV, TuneSearchCV

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("stops", [False, True])
def test_combinations_that_do_not_go_together_have_the_error_score(stops: bool) -> None:  # ts 248
    X, y = load_digits(return_X_y=True)
    X, y = X[:200], y[:200]
    pipeline = Pipeline([("pca", PCA(n_components=8, random_state=0)), ("linearsvc", LinearSVC(random_state=0))])
    grid = {
        "linearsvc__penalty": ["l1", "l2"],
        "linearsvc__loss": ["hinge", "squared_hinge"],
        "linearsvc__dual": [True, False],
        "linearsvc__C": [0.01, 1.0, 10.0],
    }
    search = TuneSearchCV(pipeline, grid, n_trials=8, random_state=100, cv=3, early_stopping=stops)
    with pytest.warns(FitFailedWarning):
        search.fit(X, y)
    with pytest.warns(FitFailedWarning):
        plain = RandomizedSearchCV(pipeline, grid, n_iter=8, random_state=100, cv=3).fit(X, y)
    failed = np.isnan(plain.cv_results_["mean_test_score"])
    assert failed.any() and not failed.all()
    np.testing.assert_array_equal(np.isnan(search.cv_results_["mean_test_score"]), failed)
    assert not failed[search.best_index_]
    if not stops:
        assert search.best_params_ == plain.best_params_


def test_groups_with_early_stopping() -> None:  # ts 189
    X, y = make_classification(n_samples=120, random_state=0)
    groups = np.repeat(np.arange(12), 10)
    search = TuneSearchCV(
        SGDClassifier(random_state=0),
        {"alpha": loguniform(1e-5, 1e-1)},
        early_stopping=True,
        max_iters=20,
        cv=GroupKFold(3),
        random_state=0,
    ).fit(X, y, groups=groups)
    assert search.n_splits_ == 3 and search.fidelity_ == "rounds"


def test_weights_with_early_stopping() -> None:  # ts 123, so 783
    X, y = make_regression(n_samples=90, random_state=0)
    weights = np.linspace(0.1, 2.0, 90)
    space = {"penalty": ["l2", "l1"], "loss": ["squared_error", "huber"], "alpha": loguniform(1e-6, 1e-1)}
    estimator = make_pipeline(StandardScaler(), SGDRegressor(random_state=0))
    space = {f"sgdregressor__{name}": value for name, value in space.items()}
    search = TuneSearchCV(estimator, space, early_stopping="MedianStoppingRule", cv=3, random_state=1)
    search.fit(X, y, sgdregressor__sample_weight=weights)
    plain = RandomizedSearchCV(estimator, space, n_iter=10, cv=3, random_state=1)
    plain.fit(X, y, sgdregressor__sample_weight=weights)
    full = ~search.cv_results_["stopped_early"]
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"][full], plain.cv_results_["mean_test_score"][full]
    )


def test_gradient_boosting_in_a_pipeline_stops_early() -> None:  # ts 151, 146, 103
    X, y = make_regression(n_samples=150, noise=5.0, random_state=0)
    search = TuneSearchCV(
        Pipeline([("scale", StandardScaler()), ("gb", GradientBoostingRegressor(random_state=16))]),
        {"gb__learning_rate": [0.01, 0.1, 0.5, 1], "gb__max_depth": [2, 4], "gb__subsample": [0.5, 1]},
        n_trials=12,
        max_iters=10,
        early_stopping=True,
        cv=3,
        random_state=0,
    ).fit(X, y)
    assert search.cv_results_["stopped_early"].any()
    assert search.best_estimator_.named_steps["gb"].n_estimators_ == 10


def test_the_number_of_trees_is_tuned_beside_early_stopping() -> None:  # ts 101
    X, y = load_iris(return_X_y=True)
    search = TuneSearchCV(
        RandomForestClassifier(random_state=0),
        {"n_estimators": [4, 16, 32], "max_depth": [1, 2, 3]},
        n_trials=9,
        scheduler="asha",
        cv=3,
        random_state=0,
    ).fit(X, y)
    for params, resource, stopped in zip(
        *(search.cv_results_[name] for name in ("params", "resource", "stopped_early")), strict=True
    ):
        assert resource < params["n_estimators"] if stopped else resource == params["n_estimators"]
    assert len(search.best_estimator_.estimators_) == search.best_params_["n_estimators"]


def test_a_searcher_of_another_name_and_a_pair_for_a_range_are_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:  # ts 195
    X, y = load_iris(return_X_y=True)
    pairs = {"alpha": (1e-4, 1.0), "epsilon": (0.01, 0.1)}
    with pytest.raises(ArgumentError, match=r"'random', 'sobol', .*'tpe'.* got 'bayesian'"):
        TuneSearchCV(SGDClassifier(), pairs, search_optimization="bayesian").fit(X, y)
    with caplog.at_level(logging.WARNING):
        TuneSearchCV(SGDClassifier(random_state=0), pairs, search="tpe", n_trials=2, cv=2).fit(X, y)
    assert "alpha: (0.0001, 1.0) is a choice of two values" in caplog.text


def test_a_search_in_a_pipeline_of_columns_can_be_cloned_and_nested() -> None:  # ts 221
    rng = np.random.RandomState(0)
    frame = pd.DataFrame({"week": range(60), "a": rng.rand(60), "b": rng.rand(60), "kind": list("uvw") * 20})
    y = (frame.a > frame.b).astype(int)
    columns = ColumnTransformer(
        [("drop", "drop", ["week"]), ("numeric", "passthrough", ["a", "b"]), ("kind", OneHotEncoder(), ["kind"])],
        sparse_threshold=0,
    )
    pipeline = Pipeline([("enc", columns), ("clf", LogisticRegression())])
    cv = StratifiedKFold(n_splits=3, shuffle=True, random_state=0)
    search = TuneSearchCV(pipeline, {"clf__C": loguniform(1e-2, 1e2)}, n_trials=3, cv=cv, random_state=0)
    assert set(clone(search).get_params()) == set(search.get_params())
    scores = cross_val_score(search, frame, y, cv=2)
    assert len(scores) == 2 and np.isfinite(scores).all()
    outer = TuneGridSearchCV(search, {"estimator__clf__fit_intercept": [True, False]}, cv=2).fit(frame, y)
    assert outer.best_estimator_.best_params_["C" if "C" in outer.best_estimator_.best_params_ else "clf__C"] > 0


def test_a_candidate_that_fails_is_never_the_best_one() -> None:  # sk 20678
    X, y = load_iris(return_X_y=True)
    search = TuneGridSearchCV(
        RandomForestClassifier(random_state=0),
        {"max_depth": [-10, 3, 10]},
        scheduler="asha",
        max_resources=10,
        refit=False,
        cv=3,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.fit(X, y)
    assert search.best_params_["max_depth"] in (3, 10) and search.best_score_ > 0.9


def test_weights_of_the_user_stay_as_they_are() -> None:  # sk 20594
    X, y = make_regression(n_samples=60, n_targets=2, random_state=0)
    weights = np.ascontiguousarray(compute_sample_weight("balanced", np.arange(60) % 3 == 0))
    given = weights.copy()
    search = TuneGridSearchCV(MultiOutputRegressor(Ridge()), {"estimator__alpha": [0.1, 1.0, 10.0]}, cv=KFold(3))
    search.fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(weights, given)


def test_groups_reach_the_inner_search_of_a_nested_cross_validation() -> None:  # sk 7646, pb 278
    X = np.arange(40.0).reshape(-1, 1)
    y = np.array([0, 1] * 20)
    groups = np.repeat(np.arange(8), 5)
    with sklearn.config_context(enable_metadata_routing=True):
        search = TuneSearchCV(
            LogisticRegression(), {"C": np.logspace(-3, 3, 13)}, n_trials=4, cv=GroupKFold(2), random_state=0
        )
        scores = cross_val_score(search, X, y, params={"groups": groups}, cv=GroupKFold(2))
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("fidelity", ["rounds", "folds", "samples"])
def test_the_best_parameters_are_those_of_rank_1(fidelity: str) -> None:  # sk 24901, hm 106
    X, y = load_breast_cancer(return_X_y=True)
    search = TuneSearchCV(
        make_pipeline(StandardScaler(), SGDClassifier(random_state=0)),
        {"sgdclassifier__alpha": loguniform(1e-6, 1e1), "sgdclassifier__penalty": ["l1", "l2"]},
        n_trials=12,
        scheduler="asha",
        fidelity=fidelity,
        cv=4,
        random_state=3,
    ).fit(X[:200], y[:200])
    table = pd.DataFrame(search.cv_results_)
    assert table.rank_test_score[search.best_index_] == 1
    assert table.params[search.best_index_] == search.best_params_
    assert search.results_.get_best_result().config == search.best_params_
    full = table[~table.stopped_early].dropna().sort_values("mean_test_score", ascending=False)
    assert full.mean_test_score.iloc[0] == search.best_score_


def test_few_samples_have_all_classes() -> None:  # sk 20775
    rng = np.random.RandomState(0)
    y = np.repeat(["a", "b", "c", "d"], [180, 12, 6, 6])
    X = rng.rand(len(y), 3) + (y == "a")[:, None]
    search = TuneSearchCV(
        SVC(), {"C": loguniform(1e-2, 1e2)}, n_trials=6, scheduler="asha", fidelity="samples", cv=3, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", FitFailedWarning)
        search.fit(X, y)
    assert search.cv_results_["stopped_early"].any()


def test_candidates_are_halved_from_fold_to_fold() -> None:  # sk 31608
    X, y = load_breast_cancer(return_X_y=True)
    search = TuneSearchCV(
        SVC(),
        {"C": loguniform(1e-4, 1e3), "gamma": loguniform(1e-8, 1e-1)},
        n_trials=12,
        scheduler="asha",
        fidelity="folds",
        cv=5,
        random_state=0,
    ).fit(X[:150], y[:150])
    folds = search.cv_results_["resource"]
    assert set(folds) <= {1, 4, 5} and (folds == 1).sum() > (folds == 5).sum() >= 1
    for row, count in enumerate(folds):
        seen = [not np.isnan(search.cv_results_[f"split{number}_test_score"][row]) for number in range(5)]
        assert seen == [True] * count + [False] * (5 - count)


def test_lightgbm_stops_early_without_partial_fit() -> None:  # op 1651
    X, y = load_iris(return_X_y=True)
    search = TuneSearchCV(
        LGBMClassifier(n_jobs=1, verbosity=-1, min_child_samples=5),
        {"num_leaves": randint(2, 15), "learning_rate": loguniform(1e-3, 1.0)},
        n_trials=10,
        max_iters=16,
        early_stopping=True,
        cv=3,
        random_state=0,
    ).fit(X, y)
    assert search.cv_results_["stopped_early"].any() and search.best_estimator_.n_estimators == 16


def test_several_metrics_and_the_one_to_refit_by() -> None:  # op 2935
    X, y = load_breast_cancer(return_X_y=True)
    search = TuneSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression()),
        {"logisticregression__C": loguniform(1e-3, 1e2)},
        n_trials=6,
        search="tpe",
        scoring=["roc_auc", "accuracy"],
        refit="roc_auc",
        cv=3,
        random_state=0,
    ).fit(X[:150], y[:150])
    assert search.best_score_ == search.cv_results_["mean_test_roc_auc"].max()
    assert search.results_.get_best_result().metrics["score_in_full"] == search.best_score_
    assert set(search.scorer_) == {"roc_auc", "accuracy"} and search.multimetric_


def test_early_stopping_of_xgboost_itself_with_data_of_its_own() -> None:  # pages on XGBoost with RandomizedSearchCV
    X, y = load_breast_cancer(return_X_y=True)
    X, X_eval, y, y_eval = train_test_split(X[:250], y[:250], random_state=0)
    estimator = XGBClassifier(n_estimators=40, early_stopping_rounds=3, n_jobs=1, random_state=0)
    space = {"max_depth": randint(2, 5), "learning_rate": uniform(0.05, 0.5), "subsample": uniform(0.5, 0.5)}
    common: dict[str, Any] = {"cv": 3, "random_state": 0}
    fit = {"eval_set": [(X_eval, y_eval)], "verbose": False}
    plain = RandomizedSearchCV(estimator, space, n_iter=5, **common).fit(X, y, **fit)
    ours = TuneSearchCV(estimator, space, n_trials=5, **common).fit(X, y, **fit)
    stops = TuneSearchCV(estimator, space, n_trials=5, scheduler="asha", **common).fit(X, y, **fit)
    np.testing.assert_array_equal(ours.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"])
    full = ~stops.cv_results_["stopped_early"]
    np.testing.assert_array_equal(
        stops.cv_results_["mean_test_score"][full], plain.cv_results_["mean_test_score"][full]
    )


def test_a_whole_pipeline_of_columns_with_a_forest() -> None:  # hm 106
    rng = np.random.RandomState(1)
    frame = pd.DataFrame({"x": rng.rand(90), "y": rng.rand(90), "city": rng.choice(["p", "q"], 90)})
    target = (frame.x + (frame.city == "p") > 0.9).to_numpy()
    columns = make_column_transformer((StandardScaler(), ["x", "y"]), (OneHotEncoder(), ["city"]))
    pipeline = Pipeline([("preprocessing", columns), ("random_forest", RandomForestClassifier(random_state=0))])
    search = TuneSearchCV(
        pipeline,
        {"random_forest__max_features": randint(1, 4), "random_forest__n_estimators": randint(4, 20)},
        n_iter=6,
        cv=3,
        random_state=42,
        early_stopping=True,
    ).fit(frame, target)
    assert search.feature_names_in_.tolist() == ["x", "y", "city"]
    assert search.predict(frame.iloc[:3]).shape == (3,)


def test_searches_as_parts_of_a_stack() -> None:
    X, y = load_iris(return_X_y=True)
    stack = StackingClassifier(
        [
            ("svc", TuneGridSearchCV(SVC(), {"C": [0.1, 1.0]}, cv=2)),
            ("sgd", TuneSearchCV(SGDClassifier(random_state=0), {"alpha": [1e-4, 1e-2]}, n_trials=2, cv=2)),
        ],
        final_estimator=LogisticRegression(),
        cv=2,
    )
    assert stack.fit(X, y).score(X, y) > 0.8
    search = TuneGridSearchCV(stack, {"svc__estimator__gamma": ["scale", "auto"]}, cv=2).fit(X, y)
    assert search.best_params_["svc__estimator__gamma"] in ("scale", "auto")
