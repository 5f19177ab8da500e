"""The searches of scikit-learn's interface do what scikit-learn's own do: each case is asked of both, and compared.

Without a scheduler, and with candidates of lists and distributions of scipy, nothing but times may differ.
"""

from __future__ import annotations

import copy
import io
import logging
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
from scipy.stats import expon, randint, uniform
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.base import is_classifier as says_classifier
from sklearn.base import is_regressor as says_regressor
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_iris, make_blobs, make_classification, make_multilabel_classification
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning, NotFittedError, UnsetMetadataPassedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDClassifier
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, make_scorer, recall_score
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
    LeavePGroupsOut,
    ParameterGrid,
    PredefinedSplit,
    RandomizedSearchCV,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.model_selection._search import BaseSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import ComplementNB, GaussianNB
from sklearn.neighbors import KernelDensity, KNeighborsClassifier, LocalOutlierFactor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, SplineTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import Tags
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils._tags import ClassifierTags, TargetTags
from sklearn.utils.estimator_checks import estimator_checks_generator

from tune_plugins.integrations.sklearn import TuneGridSearchCV, TuneSearchCV

IRIS_X, IRIS_Y = load_iris(return_X_y=True)
X, Y = make_classification(n_samples=90, n_features=6, n_informative=4, flip_y=0.2, random_state=0)
TREE = DecisionTreeClassifier(random_state=0)
DEPTHS = {"max_depth": [1, 2, 5]}

TIMES = ("mean_fit_time", "std_fit_time", "mean_score_time", "std_score_time")


# ---------------------------------------------------------------------- the two searches, and scikit-learn's


@dataclass(frozen=True)
class Kind:
    """One of our searches and the one that it stands in for."""

    name: str
    ours_class: Any
    theirs_class: Any

    def ours(self, estimator: Any, candidates: Any, **options: Any) -> Any:
        return self._make(self.ours_class, "n_trials", estimator, candidates, options)

    def theirs(self, estimator: Any, candidates: Any, **options: Any) -> Any:
        return self._make(self.theirs_class, "n_iter", estimator, candidates, options)

    def both(self, estimator: Any, candidates: Any, **options: Any) -> tuple[Any, Any]:
        return self.ours(estimator, candidates, **options), self.theirs(estimator, candidates, **options)

    def _make(self, search: Any, trials: str, estimator: Any, candidates: Any, options: dict[str, Any]) -> Any:
        count = options.pop("count", None)
        if self.name == "grid":
            return search(estimator, candidates, **options)
        count = count or len(ParameterGrid(candidates))
        return search(estimator, candidates, **{"random_state": 0, trials: count, **options})


GRID = Kind("grid", TuneGridSearchCV, GridSearchCV)
RANDOM = Kind("random", TuneSearchCV, RandomizedSearchCV)
KINDS = [pytest.param(GRID, id="grid"), pytest.param(RANDOM, id="random")]
both_kinds = pytest.mark.parametrize("kind", KINDS)
one_kind = pytest.mark.parametrize("kind", KINDS[1:])
"""Of wide tables: what they look at is the same code for both."""


def assert_alike(ours: Any, theirs: Any, data: Any = None) -> None:
    """All that the fit has left behind is the same, except times."""
    assert_same_results(ours.cv_results_, theirs.cv_results_)
    for name in ("best_index_", "best_score_", "n_splits_", "multimetric_", "n_features_in_"):
        assert hasattr(ours, name) == hasattr(theirs, name), name
        if hasattr(theirs, name):
            np.testing.assert_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
    for name in ("best_params_", "refit_time_", "classes_", "feature_names_in_", "best_estimator_", "scorer_"):
        assert hasattr(ours, name) == hasattr(theirs, name), name
    if hasattr(theirs, "best_params_"):
        assert repr(ours.best_params_) == repr(theirs.best_params_)
    assert isinstance(ours.scorer_, dict) == isinstance(theirs.scorer_, dict)
    if isinstance(theirs.scorer_, dict):
        assert list(ours.scorer_) == list(theirs.scorer_)
    if data is not None:
        np.testing.assert_array_equal(ours.predict(data), theirs.predict(data))


def assert_same_results(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert list(ours) == list(theirs)
    for key, expected in theirs.items():
        found = ours[key]
        assert type(found) is type(expected), key
        if key == "params":
            assert list(map(repr, found)) == list(map(repr, expected))
            continue
        assert found.dtype == expected.dtype, key
        assert found.shape == expected.shape, key
        if key in TIMES:
            assert np.all((found >= 0) | np.isnan(found)), key
        elif isinstance(expected, np.ma.MaskedArray):
            np.testing.assert_array_equal(found.mask, expected.mask, err_msg=key)
            assert list(map(repr, found)) == list(map(repr, expected)), key
        else:
            np.testing.assert_array_equal(found, expected, err_msg=key)


def error_of(search: Any, *data: Any, **params: Any) -> Exception:
    with pytest.raises(Exception) as caught:
        search.fit(*data, **params)
    return caught.value


# ------------------------------------------------------------------------------ estimators


class Threshold(ClassifierMixin, BaseEstimator):
    """Predicts by the first feature; its own score grows with the parameter, up to a limit."""

    def __init__(self, level: Any = 0) -> None:
        self.level = level

    def fit(self, X: Any, y: Any) -> Threshold:
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        return (np.asarray(X)[:, 0] > self.level).astype(int)

    def transform(self, X: Any) -> Any:
        return X + self.level

    def inverse_transform(self, X: Any) -> Any:
        return X - self.level

    def score(self, X: Any = None, y: Any = None) -> float:
        return float(min(self.level, 2))


class Fails(ClassifierMixin, BaseEstimator):
    """Cannot be fitted with some values of its parameter."""

    def __init__(self, bad: bool = False, exception: Any = ValueError) -> None:
        self.bad, self.exception = bad, exception

    def fit(self, X: Any, y: Any = None) -> Fails:
        if self.bad:
            raise self.exception("this one is not to be fitted")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.zeros(len(X), dtype=int)


class Unscored(LinearSVC):  # type: ignore[misc]
    """Has no score of its own."""

    @property
    def score(self) -> Any:
        raise AttributeError("score")


class Looks(ClassifierMixin, BaseEstimator):
    """Looks at what it is given by a function, and fails where that says no."""

    def __init__(self, look: Callable[..., bool] | None = None, number: int = 0) -> None:
        self.look, self.number = look, number

    def fit(self, X: Any, y: Any = None, **params: Any) -> Looks:
        assert self.look is None or self.look(X, y, **params)
        self.classes_ = np.array([0, 1])
        self.params_ = params
        return self

    def predict(self, X: Any) -> Any:
        return np.zeros(len(X), dtype=int)

    def score(self, X: Any, y: Any = None) -> float:
        return 1.0 / (1 + self.number)


class Minimal:
    """A classifier that inherits from nothing of scikit-learn."""

    def __init__(self, param: Any = None) -> None:
        self.param = param

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {"param": self.param}

    def set_params(self, **params: Any) -> Minimal:
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def fit(self, X: Any, y: Any) -> Minimal:
        self.classes_, counts = np.unique(y, return_counts=True)
        self.most_ = self.classes_[counts.argmax()]
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.most_)

    def score(self, X: Any, y: Any) -> float:
        return float(np.mean(self.predict(X) == y))

    def __sklearn_tags__(self) -> Tags:
        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            transformer_tags=None,
            classifier_tags=ClassifierTags(),
            regressor_tags=None,
        )


class Writes(RegressorMixin, BaseEstimator):
    """Writes into the data that it is given."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def fit(self, X: Any, y: Any) -> Writes:
        X *= self.factor
        self.model_ = LinearRegression().fit(X, y)
        return self

    def predict(self, X: Any) -> Any:
        X *= self.factor
        return self.model_.predict(X)


class Once(BaseEstimator):
    """Cannot be fitted a second time."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def fit(self, X: Any, y: Any) -> Once:
        assert not hasattr(self, "fitted_")
        self.fitted_ = True
        return self

    def predict(self, X: Any) -> Any:
        return np.zeros(len(X))


# ------------------------------------------------------------------------------ parameters of the search


@both_kinds
def test_a_search_is_one_of_scikit_learn_and_takes_all_of_its_parameters(kind: Kind) -> None:
    ours, theirs = kind.ours_class(TREE, DEPTHS), kind.theirs_class(TREE, DEPTHS)
    assert isinstance(ours, BaseSearchCV)
    found, expected = ours.get_params(deep=False), theirs.get_params(deep=False)
    assert set(expected) <= set(found)
    assert {name: found[name] for name in expected if name != "n_iter"} == {
        name: value for name, value in expected.items() if name != "n_iter"
    }


@both_kinds
def test_parameters_are_kept_as_they_were_given_and_can_be_set(kind: Kind) -> None:
    tree, candidates, cv = DecisionTreeClassifier(), {"max_depth": [1]}, KFold(3)
    search = kind.ours(tree, candidates, cv=cv, scoring="f1", refit=False, error_score=0, verbose=1)
    given = search.get_params(deep=False)
    assert given["estimator"] is tree and given["cv"] is cv
    assert (given["scoring"], given["refit"], given["error_score"], given["verbose"]) == ("f1", False, 0, 1)
    search.set_params(estimator__max_features=2, scoring="recall", n_jobs=1)
    assert tree.max_features == 2 and search.scoring == "recall" and search.n_jobs == 1
    with pytest.raises(ValueError, match="Invalid parameter"):
        search.set_params(no_such_thing=1)


@both_kinds
def test_a_clone_has_the_same_parameters_and_is_not_fitted(kind: Kind) -> None:
    search = kind.ours(TREE, DEPTHS, cv=3, scoring="f1").fit(X, Y)
    other = clone(search)
    assert repr(other) == repr(search)
    assert other.estimator is not search.estimator
    assert not [name for name in vars(other) if name.endswith("_") and not name.startswith("_")]
    assert_same_results(other.fit(X, Y).cv_results_, search.cv_results_)


@both_kinds
def test_a_fit_leaves_the_parameters_the_estimator_and_the_data_as_they_were(kind: Kind) -> None:
    tree, candidates, data, target = clone(TREE), {"max_depth": [1, 2]}, X.copy(), Y.copy()
    search = kind.ours(tree, candidates, cv=3)
    before = {name: repr(value) for name, value in search.get_params().items()}
    assert search.fit(data, target) is search
    assert {name: repr(value) for name, value in search.get_params().items()} == before
    assert search.estimator is tree and not hasattr(tree, "tree_")
    assert candidates == {"max_depth": [1, 2]}
    np.testing.assert_array_equal(data, X)
    np.testing.assert_array_equal(target, Y)


@both_kinds
def test_a_second_fit_does_the_same_again(kind: Kind) -> None:
    search = kind.ours(TREE, DEPTHS, cv=3)
    first = search.fit(X, Y).cv_results_
    assert_same_results(search.fit(X, Y).cv_results_, first)
    assert search.fit(IRIS_X, IRIS_Y).n_features_in_ == 4


@one_kind
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("refit", 5),
        ("error_score", "ignore"),
        ("verbose", -1),
        ("cv", 1),
        ("cv", "many"),
        ("scoring", "no_such_metric"),
        ("scoring", []),
        ("scoring", ["f1", "f1"]),
        ("scoring", [1]),
        ("estimator", "tree"),
        ("estimator", DecisionTreeClassifier),
    ],
)
def test_wrong_arguments_end_in_a_value_error_or_in_what_scikit_learn_raises(kind: Kind, name: str, value: Any) -> None:
    ours, theirs = kind.both(TREE, {"max_depth": [1]}, cv=3)
    expected = error_of(theirs.set_params(**{name: value}), X, Y)
    found = error_of(ours.set_params(**{name: value}), X, Y)
    assert isinstance(found, (ValueError, type(expected)))
    assert not hasattr(ours, "cv_results_")


@both_kinds
def test_numbers_of_numpy_are_numbers(kind: Kind) -> None:
    options = {"cv": np.int64(3), "error_score": np.float64(0.5), "verbose": np.int64(0), "n_jobs": np.int64(1)}
    ours, theirs = kind.both(TREE, DEPTHS, count=np.int64(3), refit=np.bool_(True), **options)
    assert_alike(ours.fit(X, Y), theirs.fit(X, Y), X)


# ------------------------------------------------------------------------------ what a fitted search does


@both_kinds
@pytest.mark.parametrize(
    ("estimator", "candidates", "methods"),
    [
        (
            LogisticRegression(),
            {"C": [0.1, 1.0]},
            ("predict", "predict_proba", "predict_log_proba", "decision_function"),
        ),
        (LocalOutlierFactor(novelty=True), {"n_neighbors": [5, 10]}, ("predict", "score_samples", "decision_function")),
        (PCA(random_state=0), {"n_components": [1, 2]}, ("transform", "score_samples")),
        (Ridge(), {"alpha": [0.1, 1.0]}, ("predict",)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseEstimator) else None,
)
def test_methods_are_those_of_the_best_estimator(
    kind: Kind, estimator: Any, candidates: Any, methods: Sequence[str]
) -> None:
    scoring = "accuracy" if isinstance(estimator, LocalOutlierFactor) else None
    ours, theirs = kind.both(estimator, candidates, cv=3, scoring=scoring)
    ours.fit(X, Y), theirs.fit(X, Y)
    for method in methods:
        np.testing.assert_array_equal(getattr(ours, method)(X), getattr(ours.best_estimator_, method)(X))
        np.testing.assert_array_equal(getattr(ours, method)(X), getattr(theirs, method)(X))
    assert ours.score(X, Y) == theirs.score(X, Y)


@both_kinds
def test_a_transform_is_undone_by_the_inverse_transform(kind: Kind) -> None:
    search = kind.ours(Threshold(), {"level": [1, 2, 3]}, cv=2).fit(X, Y)
    assert search.best_params_ == {"level": 2}
    np.testing.assert_array_equal(search.transform(X), X + 2)
    np.testing.assert_allclose(search.inverse_transform(search.transform(X)), X)


METHODS = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "transform",
    "inverse_transform",
    "score_samples",
    "score",
)


@both_kinds
@pytest.mark.parametrize(
    "estimator",
    [LogisticRegression(), SVC(), LinearSVC(), Ridge(), PCA(), KMeans(), KernelDensity(), Threshold()],
    ids=str,
)
def test_a_search_has_the_methods_of_its_estimator_also_before_the_fit(kind: Kind, estimator: Any) -> None:
    for refit in (True, False):
        ours, theirs = kind.both(estimator, {}, refit=refit)
        names = (*METHODS, "classes_", "n_features_in_", "feature_names_in_", "set_fit_request", "set_output")
        assert [hasattr(ours, name) for name in names] == [hasattr(theirs, name) for name in names]


@both_kinds
@pytest.mark.parametrize("method", ["predict", "predict_proba", "transform", "inverse_transform", "score_samples"])
def test_a_method_before_the_fit_says_that_it_is_not_fitted(kind: Kind, method: str) -> None:
    class All(Threshold):
        predict_proba = score_samples = Threshold.transform

    with pytest.raises(NotFittedError, match=f"{kind.ours_class.__name__} instance is not fitted yet"):
        getattr(kind.ours(All(), {"level": [1]}), method)(X)


@both_kinds
@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba", "decision_function"])
def test_without_a_refit_there_is_a_best_candidate_and_no_prediction(kind: Kind, method: str) -> None:
    ours, theirs = kind.both(LogisticRegression(), {"C": [0.1, 1.0]}, refit=False, cv=3)
    assert_alike(ours.fit(X, Y), theirs.fit(X, Y))
    assert not hasattr(ours, "best_estimator_") and not hasattr(ours, "refit_time_")
    assert hasattr(ours, "best_index_") and hasattr(ours, "best_params_") and hasattr(ours, "best_score_")
    with pytest.raises(AttributeError, match=f"has no attribute '{method}'") as caught:
        getattr(ours, method)(X)
    assert f"`refit=False`. {method} is available only after refitting" in str(caught.value.__cause__)
    with pytest.raises(AttributeError, match="refit=False"):
        ours.score(X, Y)


@both_kinds
def test_a_method_that_the_best_estimator_lacks_is_not_there(kind: Kind) -> None:
    search = kind.ours(TREE, {"max_depth": [1, 2]}, cv=2).fit(X, Y)
    with pytest.raises(
        AttributeError, match=f"'{kind.ours_class.__name__}' has no attribute 'score_samples'"
    ) as caught:
        search.score_samples(X)
    assert str(caught.value.__cause__) == "'DecisionTreeClassifier' object has no attribute 'score_samples'"
    assert not hasattr(kind.ours(SVC(), {}, cv=2, count=1).fit(X, Y), "predict_proba")


@both_kinds
def test_whether_there_are_probabilities_is_up_to_the_best_candidate(kind: Kind) -> None:
    given = SGDClassifier(loss="hinge", random_state=0)
    with_them, without = (kind.ours(given, {"loss": [loss]}, cv=3) for loss in ("log_loss", "hinge"))
    assert not hasattr(with_them, "predict_proba") and not hasattr(without, "predict_proba")
    assert with_them.fit(X, Y).predict_proba(X).shape == (len(X), 2)
    assert with_them.predict_log_proba(X).shape == (len(X), 2)
    assert not hasattr(without.fit(X, Y), "predict_proba")


@both_kinds
def test_classes_are_those_of_the_best_estimator_where_it_has_some(kind: Kind) -> None:
    search = kind.ours(LinearSVC(random_state=0), {"C": [0.1, 1]}, cv=3)
    assert not hasattr(search, "classes_")
    words = np.array(["no", "yes"])[Y]
    np.testing.assert_array_equal(search.fit(X, words).classes_, ["no", "yes"])
    assert set(search.predict(X)) == {"no", "yes"}
    assert not hasattr(kind.ours(LinearSVC(), {"C": [0.1]}, refit=False, cv=3).fit(X, Y), "classes_")
    assert not hasattr(kind.ours(Ridge(), {"alpha": [0.1]}, cv=3).fit(X, Y), "classes_")


@both_kinds
def test_features_are_those_of_the_best_estimator(kind: Kind) -> None:
    frame = pd.DataFrame(X, columns=list("abcdef"))
    search = kind.ours(TREE, {"max_depth": [1, 2]}, cv=3)
    assert not hasattr(search, "n_features_in_") and not hasattr(search, "feature_names_in_")
    search.fit(frame, Y)
    assert search.n_features_in_ == 6
    assert list(search.feature_names_in_) == list("abcdef")
    assert not hasattr(kind.ours(TREE, {"max_depth": [1]}, cv=3).fit(X, Y), "feature_names_in_")
    assert not hasattr(kind.ours(TREE, {"max_depth": [1]}, cv=3, refit=False).fit(frame, Y), "feature_names_in_")


@both_kinds
@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        Ridge(),
        KMeans(),
        PCA(),
        SVC(kernel="precomputed"),
        KNeighborsClassifier(metric="precomputed"),
        DecisionTreeRegressor(),
        make_pipeline(StandardScaler(), LinearSVC()),
        LocalOutlierFactor(novelty=True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_tags_are_those_of_the_estimator(kind: Kind, estimator: Any) -> None:
    ours, theirs = kind.both(estimator, {})
    assert ours.__sklearn_tags__() == theirs.__sklearn_tags__()
    assert says_classifier(ours) == says_classifier(estimator)
    assert says_regressor(ours) == says_regressor(estimator)


@both_kinds
@pytest.mark.parametrize("pairwise", [True, False])
def test_the_tag_of_pairwise_data_follows_a_parameter_of_the_estimator(kind: Kind, pairwise: bool) -> None:
    class Pairs(BaseEstimator):
        def __init__(self, pairwise: bool = True) -> None:
            self.pairwise = pairwise

        def __sklearn_tags__(self) -> Tags:
            tags = super().__sklearn_tags__()
            tags.input_tags.pairwise = self.pairwise
            return tags

    search = kind.ours(Pairs(), {}).set_params(estimator__pairwise=pairwise)
    assert search.__sklearn_tags__().input_tags.pairwise is pairwise


# ------------------------------------------------------------------------------ candidates


GRIDS: dict[str, Any] = {
    "one": {"max_depth": [2]},
    "none": {},
    "two names": {"max_depth": [3, 1], "criterion": ["gini", "entropy"]},
    "several": [{"max_depth": [1, 2]}, {"min_samples_leaf": [3, 5], "criterion": ["entropy"]}],
    "with an empty one": [{"max_depth": [1, 10]}, {}, {"max_depth": [5]}],
    "array": {"max_depth": np.arange(1, 4)},
    "floats": {"min_samples_leaf": np.linspace(0.05, 0.4, 3)},
    "range": {"max_depth": range(1, 4)},
    "tuple": {"max_features": ("sqrt", None, 2, 0.5)},
    "dicts": {"class_weight": [None, "balanced", {0: 1, 1: 3}]},
    "twice": {"max_depth": [2, 2, 1]},
}


@both_kinds
@pytest.mark.parametrize("candidates", GRIDS.values(), ids=GRIDS)
def test_lists_give_the_same_candidates_in_the_same_order(kind: Kind, candidates: Any) -> None:
    ours, theirs = kind.both(TREE, candidates, cv=3, return_train_score=True)
    assert_alike(ours.fit(X, Y), theirs.fit(X, Y), X)


@pytest.mark.parametrize(
    "candidates",
    [
        {"max_depth": randint(1, 9), "min_samples_leaf": uniform(0.01, 0.3)},
        {"criterion": ["gini", "entropy"], "ccp_alpha": expon(scale=0.1)},
        [{"max_depth": randint(1, 9)}, {"min_samples_leaf": [2, 3]}],
    ],
    ids=["distributions", "a list beside", "several"],
)
def test_distributions_give_the_candidates_that_scikit_learn_draws(candidates: Any) -> None:
    for random_state in (0, 7):
        ours, theirs = RANDOM.both(TREE, candidates, count=6, cv=3, random_state=random_state)
        assert_alike(ours.fit(X, Y), theirs.fit(X, Y), X)


def test_a_generator_goes_on_from_fit_to_fit_as_with_scikit_learn() -> None:
    ours = RANDOM.ours(TREE, {"ccp_alpha": uniform(0, 0.2)}, count=3, cv=3, random_state=np.random.RandomState(3))
    theirs = RANDOM.theirs(TREE, {"ccp_alpha": uniform(0, 0.2)}, count=3, cv=3, random_state=np.random.RandomState(3))
    drawn = []
    for _ in range(2):
        assert_alike(ours.fit(X, Y), theirs.fit(X, Y), X)
        drawn.append(list(ours.cv_results_["param_ccp_alpha"]))
    assert drawn[0] != drawn[1]


def test_without_a_random_state_candidates_are_drawn_by_the_generator_of_numpy() -> None:
    ours, theirs = RANDOM.both(TREE, {"ccp_alpha": uniform(0, 0.2)}, count=3, cv=3, random_state=None)
    np.random.seed(5)
    ours.fit(X, Y)
    np.random.seed(5)
    assert_alike(ours, theirs.fit(X, Y), X)


def test_a_generator_that_is_shared_with_the_splitter_is_used_in_the_same_order() -> None:
    searches = []
    for make in (RANDOM.ours, RANDOM.theirs):
        rng = np.random.RandomState(1)
        cv = KFold(3, shuffle=True, random_state=rng)
        searches.append(make(TREE, {"ccp_alpha": uniform(0, 0.2)}, count=3, cv=cv, random_state=rng).fit(X, Y))
    assert_alike(*searches)


def test_more_trials_than_points_of_a_grid_are_told_of_and_try_each_point_once() -> None:
    candidates = [{"max_depth": [1, 2], "criterion": ["gini", "entropy"]}, {"min_samples_leaf": [2, 4]}]
    ours, theirs = RANDOM.both(TREE, candidates, count=9, cv=3)
    with pytest.warns(UserWarning, match="The total space of parameters 6 is smaller than n_iter=9"):
        ours.fit(X, Y)
    with pytest.warns(UserWarning, match="is smaller than"):
        theirs.fit(X, Y)
    assert_alike(ours, theirs, X)
    assert len(ours.cv_results_["params"]) == 6
    assert all(point in ours.cv_results_["params"] for point in ParameterGrid(candidates))


def test_fewer_trials_than_points_of_a_grid_try_none_twice() -> None:
    candidates = {"max_depth": list(range(1, 8)), "min_samples_leaf": list(range(1, 5))}
    ours, theirs = RANDOM.both(TREE, candidates, count=12, cv=2)
    assert_alike(ours.fit(X, Y), theirs.fit(X, Y), X)
    assert len({tuple(sorted(each.items())) for each in ours.cv_results_["params"]}) == 12


def test_the_number_of_trials_is_ten_unless_it_is_given_by_one_of_its_names() -> None:
    space = {"ccp_alpha": uniform(0, 0.2)}
    assert len(TuneSearchCV(TREE, space, cv=2).fit(X, Y).cv_results_["params"]) == 10
    assert len(TuneSearchCV(TREE, space, n_iter=3, cv=2).fit(X, Y).cv_results_["params"]) == 3
    assert len(TuneSearchCV(TREE, space, n_trials=2, cv=2).fit(X, Y).cv_results_["params"]) == 2


@both_kinds
@pytest.mark.parametrize(
    "candidates",
    [
        0,
        "C",
        [{"max_depth": [0]}, 0],
        {"max_depth": 1},
        {"max_depth": "1,2,3"},
        {"max_depth": []},
        {"max_depth": np.ones((3, 2))},
        {"no_such_parameter": [1]},
        [{"max_depth": [1]}, {"no_such_parameter": [1]}],
    ],
    ids=str,
)
def test_wrong_candidates_are_refused_as_scikit_learn_does(kind: Kind, candidates: Any) -> None:
    ours, theirs = kind.both(TREE, candidates, cv=2, count=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer points than trials
        expected, found = error_of(theirs, X, Y), error_of(ours, X, Y)
    assert isinstance(expected, type(found))
    if type(expected) is not InvalidParameterError:  # it says in other words what the type is to be
        assert str(found) == str(expected)


@both_kinds
def test_steps_of_a_pipeline_may_be_candidates_and_stay_unfitted(kind: Kind) -> None:
    candidates = {"model": [LinearRegression(), Ridge(alpha=3.0)]}
    ours, theirs = kind.both(Pipeline([("model", LinearRegression())]), candidates, cv=2)
    assert_alike(ours.fit(X, Y), theirs.fit(X, Y), X)
    tried = ours.cv_results_["param_model"]
    assert {type(each) for each in tried} == {LinearRegression, Ridge}
    for each in (*tried, *candidates["model"], *(row["model"] for row in ours.cv_results_["params"])):
        assert not hasattr(each, "coef_")
        assert each is not ours.best_estimator_["model"]


@both_kinds
def test_a_step_and_parameters_of_it_may_be_searched_together(kind: Kind) -> None:
    svc = LinearSVC(random_state=0)
    candidates = [
        {"scale": [StandardScaler(), "passthrough", None], "model": [svc], "model__C": [0.01, 0.1]},
        {"model": [TREE], "model__max_depth": [2]},
    ]
    ours, theirs = kind.both(Pipeline([("scale", None), ("model", None)]), candidates, cv=2, scoring="accuracy")
    assert_alike(ours.fit(X, Y), theirs.fit(X, Y), X)
    assert svc.C == 1.0 and TREE.max_depth is None
    assert all(not hasattr(each, "scale_") for each in ours.cv_results_["param_scale"] if each is not np.ma.masked)


@both_kinds
def test_one_candidate_gives_the_model_that_its_parameters_give(kind: Kind) -> None:
    search = kind.ours(SVC(gamma="auto"), {"C": [1.0], "kernel": ["rbf"], "gamma": [0.1]}).fit(X, Y)
    np.testing.assert_array_equal(
        search.best_estimator_.dual_coef_, SVC(C=1.0, kernel="rbf", gamma=0.1).fit(X, Y).dual_coef_
    )


@both_kinds
def test_estimators_that_inherit_from_nothing_can_be_tuned(kind: Kind) -> None:
    for estimator, candidates in (
        (Minimal(), {"param": [1, 10]}),
        (Pipeline([("scale", StandardScaler()), ("model", Minimal())]), {"model__param": [1, 10]}),
    ):
        ours, theirs = kind.both(estimator, candidates, error_score="raise")
        assert_alike(ours.fit(X, Y), theirs.fit(X, Y), X)
        assert says_classifier(ours)


@both_kinds
def test_an_estimator_is_never_fitted_twice(kind: Kind) -> None:
    search = kind.ours(Once(), {"number": [0, 1]}, scoring="accuracy", error_score="raise").fit(X, Y)
    assert search.best_estimator_.fitted_


# ------------------------------------------------------------------------------ cv_results_


def test_results_of_several_grids_are_masked_where_a_candidate_lacks_a_parameter() -> None:
    candidates = [{"kernel": ["rbf"], "C": [1, 10], "gamma": [0.1, 1]}, {"kernel": ["poly"], "degree": [1, 2]}]
    search = TuneGridSearchCV(SVC(), candidates, cv=3, return_train_score=True).fit(X, Y)
    results = search.cv_results_
    kinds = {name.removeprefix("param_"): value.dtype.kind for name, value in results.items() if "param_" in name}
    assert kinds == {"C": "i", "gamma": "f", "kernel": "O", "degree": "i"}
    poly = results["param_kernel"] == "poly"
    assert poly.sum() == 2
    np.testing.assert_array_equal(results["param_C"].mask, poly)
    np.testing.assert_array_equal(results["param_gamma"].mask, poly)
    np.testing.assert_array_equal(results["param_degree"].mask, ~poly)
    scores = [f"split{number}_{part}_score" for number in range(3) for part in ("test", "train")]
    scores += [f"{what}_{part}_score" for what in ("mean", "std") for part in ("test", "train")]
    names = ["param_C", "param_gamma", "param_kernel", "param_degree", "params", "rank_test_score", *scores, *TIMES]
    assert sorted(results) == sorted(names)
    assert results["rank_test_score"].dtype == np.int32
    assert all(results[name].dtype == np.float64 and np.all(results[name] <= 1) for name in scores)


def test_results_of_distributions_are_masked_where_a_candidate_lacks_a_parameter() -> None:
    candidates = [
        {"kernel": ["rbf"], "C": expon(scale=10), "gamma": expon(scale=0.1)},
        {"kernel": ["poly"], "degree": [2, 3]},
    ]
    ours, theirs = RANDOM.both(SVC(), candidates, count=12, cv=3, return_train_score=True)
    assert_alike(ours.fit(X, Y), theirs.fit(X, Y), X)
    results = ours.cv_results_
    poly = results["param_kernel"] == "poly"
    assert 0 < poly.sum() < 12
    np.testing.assert_array_equal(results["param_C"].mask, poly)
    np.testing.assert_array_equal(results["param_degree"].mask, ~poly)


def function_a(X: Any) -> Any:
    return X


def function_b(X: Any) -> Any:
    return X * 2


VALUES: dict[str, list[Any]] = {
    "none and numbers": [None, 1, 2],
    "numbers and words": [1, "one", 1.5],
    "words": ["a", "bb", "ccc"],
    "booleans": [True, False],
    "integers and floats": [1, 2.5],
    "numbers of numpy": [np.float32(0.5), np.float64(0.25)],
    "none and dicts": [None, {"option": "A"}, {"option": "B"}],
    "none and lists": [None, [1, 2]],
    "one dict": [{"a": 1}],
    "tuples": [(1, 1), (1, 2)],
    "tuples of several lengths": [(1,), (1, 2), ()],
    "lists of several lengths": [[[1], [2], [3]], [[1], [2]]],
    "arrays": [np.zeros(2), np.ones(2)],
    "arrays of several lengths": [np.zeros((2, 2)), np.ones((3, 2))],
    "functions": [function_a, function_b],
    "estimators": [OneHotEncoder(), OrdinalEncoder(), PCA()],
    "classes": [PCA, Ridge],
    "large": [2**40, 2**41],
    "not finite": [np.nan, np.inf],
}


@one_kind
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_values_of_parameters_of_any_type_come_back_as_they_were(kind: Kind, values: list[Any]) -> None:
    ours, theirs = kind.both(Threshold(), {"level": values}, cv=2, scoring=lambda model, X, y: 1.0, refit=False)
    assert_alike(ours.fit(X, Y), theirs.fit(X, Y))
    for mine, other in zip(ours.cv_results_["params"], theirs.cv_results_["params"], strict=True):
        assert type(mine["level"]) is type(other["level"])


@both_kinds
def test_arrays_of_several_lengths_may_be_tried(kind: Kind) -> None:
    knots = [np.linspace(-4, 4, count * 2).reshape(-1, 2) for count in (4, 5, 6)]
    model = make_pipeline(SplineTransformer(extrapolation="periodic"), Ridge())
    ours, theirs = kind.both(model, {"splinetransformer__knots": knots}, cv=2)
    assert_alike(ours.fit(X[:, :2], Y), theirs.fit(X[:, :2], Y))
    assert ours.cv_results_["param_splinetransformer__knots"].dtype == object


@both_kinds
def test_encoders_with_a_dtype_of_their_own_may_be_tried(kind: Kind) -> None:
    frame = pd.DataFrame({"number": [1, 2, 3, 4, 5, 6], "word": ["a", "b", "a", "b", "a", "b"]})
    columns = ColumnTransformer([("enc", OneHotEncoder(), ["word"])], remainder="passthrough")
    candidates = {"columns__enc": [OneHotEncoder(sparse_output=False), OrdinalEncoder()]}
    ours, theirs = kind.both(Pipeline([("columns", columns), ("model", LinearRegression())]), candidates, cv=2)
    target = pd.Series([1.0, 4.1, 2.0, 3.0, 1.0, 0.5])
    assert_alike(ours.fit(frame, target), theirs.fit(frame, target))
    assert ours.cv_results_["param_columns__enc"].dtype == object


@both_kinds
def test_equal_scores_share_the_better_rank_and_the_first_one_is_best(kind: Kind) -> None:
    search = kind.ours(Threshold(), {"level": [1, 2, 3, 0]}, cv=2).fit(X, Y)
    by_level = dict(zip(search.cv_results_["param_level"], search.cv_results_["rank_test_score"], strict=True))
    assert by_level == {2: 1, 3: 1, 1: 3, 0: 4}
    first = min(number for number, each in enumerate(search.cv_results_["params"]) if each["level"] in (2, 3))
    assert search.best_index_ == first


@both_kinds
def test_means_do_not_weigh_splits_by_their_size(kind: Kind) -> None:
    data, target = make_blobs([20, 20, 20, 20], centers=[[0, 0], [9, 0], [0, 9], [9, 9]], shuffle=False, random_state=0)
    mask = np.ones(80, dtype=bool)
    mask[20:60:2] = False
    ours, theirs = kind.both(SVC(), {"C": [1, 10]}, cv=[[mask, ~mask], [~mask, mask]], return_train_score=True)
    assert_alike(ours.fit(data, target), theirs.fit(data, target), data)
    results = ours.cv_results_
    scores = [results[f"split{number}_test_score"][0] for number in range(2)]
    assert scores[0] != scores[1]
    assert results["mean_test_score"][0] == np.mean(scores)
    assert results["std_test_score"][0] == np.std(scores)


@both_kinds
def test_train_scores_are_there_only_if_asked_for(kind: Kind) -> None:
    without = kind.ours(TREE, {"max_depth": [1, 2]}, cv=3).fit(X, Y)
    assert not [name for name in without.cv_results_ if "train" in name]
    with_them = kind.ours(TREE, {"max_depth": [1, 2]}, cv=3, return_train_score=True).fit(X, Y)
    assert [name for name in with_them.cv_results_ if "train" in name]
    for name, values in without.cv_results_.items():
        if name.endswith("_score"):
            np.testing.assert_array_equal(values, with_them.cv_results_[name])


@both_kinds
@pytest.mark.parametrize("metric", ["f1", "roc_auc", "neg_log_loss"])
def test_scores_are_those_of_a_loop_over_candidates_and_splits(kind: Kind, metric: str) -> None:
    search = kind.ours(LogisticRegression(), {"C": [0.1, 1, 10]}, scoring=metric, cv=3).fit(X, Y)
    scorer = sklearn.metrics.get_scorer(metric)
    for row, parameters in enumerate(search.cv_results_["params"]):
        for number, (train, test) in enumerate(StratifiedKFold(3).split(X, Y)):
            model = LogisticRegression(**parameters).fit(X[train], Y[train])
            assert search.cv_results_[f"split{number}_test_score"][row] == scorer(model, X[test], Y[test])


@both_kinds
def test_times_are_measured_and_those_of_fits_that_failed_have_no_score_time(kind: Kind) -> None:
    search = kind.ours(Fails(), {"bad": [True, False]}, cv=2, error_score=0)
    with pytest.warns(FitFailedWarning):
        search.fit(X, Y)
    results = search.cv_results_
    failed = results["param_bad"].astype(bool)
    assert np.all(results["mean_fit_time"] >= 0) and np.all(results["std_fit_time"] >= 0)
    assert np.all(results["mean_score_time"][failed] == 0.0)
    assert np.all(results["mean_score_time"][~failed] > 0)
    assert isinstance(search.refit_time_, float) and search.refit_time_ >= 0


# ------------------------------------------------------------------------------ data


SPARSE = {
    name: getattr(scipy.sparse, name)
    for name in ("csr_matrix", "csr_array", "csc_matrix", "csc_array", "coo_matrix", "coo_array", "lil_matrix")
}


@both_kinds
@pytest.mark.parametrize("container", SPARSE.values(), ids=SPARSE)
def test_sparse_data_of_any_format_are_cut(kind: Kind, container: Any) -> None:
    data = container(np.where(np.abs(X) > 0.5, X, 0))
    ours, theirs = kind.both(SVC(kernel="linear"), {"C": [0.1, 1.0]}, scoring="f1", cv=3)
    assert_alike(ours.fit(data, Y), theirs.fit(data, Y), data.tocsr())


@both_kinds
def test_a_loss_of_sparse_data_is_worse_where_it_is_greater(kind: Kind) -> None:
    loss = make_scorer(lambda y, predicted: -f1_score(y, predicted), greater_is_better=False)
    ours, theirs = kind.both(SVC(kernel="linear"), {"C": [0.01, 1.0]}, scoring=loss, cv=3)
    data = scipy.sparse.csr_matrix(X)
    assert_alike(ours.fit(data, Y), theirs.fit(data, Y), data)
    assert (
        ours.best_params_
        == kind.ours(SVC(kernel="linear"), {"C": [0.01, 1.0]}, scoring="f1", cv=3).fit(X, Y).best_params_
    )


@both_kinds
def test_lists_stay_lists(kind: Kind) -> None:
    for data, target, look in (
        (X.tolist(), Y, lambda X, y: isinstance(X, list) and isinstance(y, np.ndarray)),
        (X, Y.tolist(), lambda X, y: isinstance(X, np.ndarray) and isinstance(y, list)),
        (X.tolist(), Y.tolist(), lambda X, y: isinstance(X, list) and isinstance(y, list)),
        (list("abcdefghij") * 9, Y.tolist(), lambda X, y: isinstance(X[0], str)),
    ):
        ours, theirs = kind.both(Looks(look), {"number": [1, 2]}, cv=KFold(3), error_score="raise")
        assert_alike(ours.fit(data, target), theirs.fit(data, target), data)


@both_kinds
def test_data_of_more_dimensions_are_cut_along_the_first(kind: Kind) -> None:
    data, target = np.arange(10 * 5 * 3 * 2).reshape(10, 5, 3, 2), np.arange(10 * 7 * 11).reshape(10, 7, 11)
    search = kind.ours(
        Looks(lambda X, y: X.shape[1:] == (5, 3, 2) and y.shape[1:] == (7, 11) and len(X) == len(y)),
        {"number": [1, 2, 3]},
        error_score="raise",
    )
    assert search.fit(data, target).score(data, target) == 0.5


@both_kinds
@pytest.mark.parametrize("shuffle", [False, True])
def test_frames_and_series_stay_frames_and_series(kind: Kind, shuffle: bool) -> None:
    frame = pd.DataFrame(X, columns=list("abcdef"), index=np.arange(1000, 1000 + len(X)))
    target = pd.Series(Y, index=frame.index, name="target")

    def look(X: Any, y: Any) -> bool:
        return isinstance(X, pd.DataFrame) and isinstance(y, pd.Series) and X.index.equals(y.index)

    cv = KFold(3, shuffle=shuffle, random_state=0 if shuffle else None)
    ours, theirs = kind.both(Looks(look), {"number": [1, 2]}, cv=cv, error_score="raise")
    assert_alike(ours.fit(frame, target), theirs.fit(frame, target), frame)


@both_kinds
def test_frames_with_categories_and_missing_values_are_cut(kind: Kind) -> None:
    frame = pd.DataFrame(
        {
            "number": pd.array([1, None, 3] * 30, dtype="Int64"),
            "kind": pd.Categorical(["a", "b", None] * 30),
            "word": ["x", "y", "z"] * 30,
        }
    )
    columns = ColumnTransformer([("words", OneHotEncoder(handle_unknown="ignore"), ["kind", "word"])])
    ours, theirs = kind.both(make_pipeline(columns, SVC()), {"svc__C": [0.1, 1.0]}, cv=3)
    assert_alike(ours.fit(frame, Y), theirs.fit(frame, Y), frame)


@both_kinds
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_frame_of_targets_is_cut(kind: Kind, shuffle: bool) -> None:
    targets = pd.DataFrame({"a": Y, "b": 1 - Y})
    cv = KFold(3, shuffle=shuffle, random_state=0 if shuffle else None)
    ours, theirs = kind.both(DecisionTreeRegressor(random_state=0), {"max_depth": [1, 2]}, cv=cv)
    assert_alike(ours.fit(X, targets), theirs.fit(X, targets), X)
    one = pd.DataFrame({"a": Y})
    assert_alike(ours.fit(X, one), theirs.fit(X, one), X)


@both_kinds
@pytest.mark.parametrize("estimator", [DecisionTreeRegressor(random_state=0), TREE], ids=str)
def test_several_outputs_are_scored_as_the_estimator_does(kind: Kind, estimator: Any) -> None:
    data, targets = make_multilabel_classification(n_samples=60, return_indicator=True, random_state=0)
    ours, theirs = kind.both(estimator, {"max_depth": [1, 2, 3]}, cv=KFold())
    assert_alike(ours.fit(data, targets), theirs.fit(data, targets), data)
    for row, parameters in enumerate(ours.cv_results_["params"]):
        for number, (train, test) in enumerate(KFold().split(data)):
            model = clone(estimator).set_params(**parameters).fit(data[train], targets[train])
            assert ours.cv_results_[f"split{number}_test_score"][row] == model.score(data[test], targets[test])


@both_kinds
@pytest.mark.parametrize(
    "labels",
    [np.array(["no", "yes"]), np.array([False, True]), np.array(["no", "yes"], dtype=object), np.array([-1, 7])],
)
def test_labels_of_any_type_are_predicted(kind: Kind, labels: Any) -> None:
    ours, theirs = kind.both(LogisticRegression(), {"C": [0.1, 1.0]}, cv=3)
    assert_alike(ours.fit(X, labels[Y]), theirs.fit(X, labels[Y]), X)
    assert ours.classes_.dtype == theirs.classes_.dtype


@both_kinds
def test_missing_values_are_the_estimators_affair(kind: Kind) -> None:
    data = X.copy()
    data[::3, 1] = np.nan
    model = Pipeline([("impute", SimpleImputer()), ("model", LogisticRegression())])
    ours, theirs = kind.both(model, {"model__C": [0.1, 1.0], "impute__strategy": ["mean", "median"]}, cv=3)
    assert_alike(ours.fit(data, Y), theirs.fit(data, Y), data)


@both_kinds
def test_texts_are_cut_and_tuples_are_parameters(kind: Kind) -> None:
    model = Pipeline([("words", TfidfVectorizer()), ("model", ComplementNB())])
    candidates = {"words__ngram_range": ((1, 1), (1, 2)), "words__norm": ("l1", "l2")}
    texts = ["one two", "two three", "three one", "four one", "five four", "two five"]
    ours, theirs = kind.both(model, candidates, cv=3)
    assert_alike(ours.fit(texts, [0, 0, 1, 0, 1, 1]), theirs.fit(texts, [0, 0, 1, 0, 1, 1]), texts)
    assert set(ours.cv_results_["param_words__ngram_range"]) == {(1, 1), (1, 2)}


@both_kinds
def test_unsupervised_learning_with_targets_for_the_score_only(kind: Kind) -> None:
    data, target = make_blobs(n_samples=60, random_state=0)
    means = KMeans(random_state=0, init="random", n_init=1)
    names = ["adjusted_rand_score", "fowlkes_mallows_score"]
    for scoring, refit in ((names, names[0]), (names, names[1]), (names[1], True)):
        ours, theirs = kind.both(means, {"n_clusters": [2, 3, 4]}, scoring=scoring, refit=refit, cv=3)
        assert_alike(ours.fit(data, target), theirs.fit(data, target), data)
        assert ours.best_params_ == {"n_clusters": 3}


@both_kinds
def test_unsupervised_learning_without_targets(kind: Kind) -> None:
    data, _ = make_blobs(n_samples=60, random_state=0)
    ours, theirs = kind.both(KMeans(random_state=0, n_init=1), {"n_clusters": [2, 3, 4]}, cv=3)
    assert_alike(ours.fit(data), theirs.fit(data), data)
    assert_alike(ours.fit(data, None), theirs.fit(data, None), data)
    assert ours.score(data) == theirs.score(data)


@both_kinds
def test_an_estimator_without_predictions_is_scored_by_a_function(kind: Kind) -> None:
    data, _ = make_blobs(n_samples=30, random_state=1)

    def scoring(model: Any, X: Any) -> float:
        return 42 if model.bandwidth == 0.1 else 0

    ours, theirs = kind.both(KernelDensity(), {"bandwidth": [0.01, 0.1, 1]}, scoring=scoring)
    assert_alike(ours.fit(data), theirs.fit(data))
    assert ours.best_params_ == {"bandwidth": 0.1} and ours.best_score_ == 42


@both_kinds
@pytest.mark.parametrize(
    "cv", [KFold(3), StratifiedKFold(3, shuffle=True, random_state=0)], ids=["in order", "shuffled"]
)
def test_a_kernel_that_was_computed_before_is_cut_in_rows_and_columns(kind: Kind, cv: Any) -> None:
    kernel, other = X[:60] @ X[:60].T, X[60:] @ X[:60].T
    for data in (kernel, scipy.sparse.csr_matrix(kernel)):
        ours, theirs = kind.both(SVC(kernel="precomputed"), {"C": [0.01, 0.1]}, cv=cv, error_score="raise")
        if scipy.sparse.issparse(data):
            assert isinstance(error_of(ours, data, Y[:60]), type(error_of(theirs, data, Y[:60])))
            continue
        assert_alike(ours.fit(data, Y[:60]), theirs.fit(data, Y[:60]), other)
        linear = kind.ours(SVC(kernel="linear"), {"C": [0.01, 0.1]}, cv=cv).fit(X[:60], Y[:60])
        np.testing.assert_allclose(ours.cv_results_["mean_test_score"], linear.cv_results_["mean_test_score"])


@both_kinds
def test_distances_that_were_computed_before_give_what_the_data_give(kind: Kind) -> None:
    near = kind.ours(KNeighborsClassifier(), {"n_neighbors": [3, 9]}, cv=2).fit(X, Y)
    distances = euclidean_distances(X)
    given = kind.ours(KNeighborsClassifier(metric="precomputed"), {"n_neighbors": [3, 9]}, cv=2).fit(distances, Y)
    np.testing.assert_array_equal(given.predict(distances), near.predict(X))
    np.testing.assert_array_equal(given.cv_results_["mean_test_score"], near.cv_results_["mean_test_score"])


@both_kinds
@pytest.mark.parametrize("data", [np.zeros((10, 20)), np.eye(10).tolist()], ids=["not square", "a list"])
def test_a_kernel_that_is_none_is_refused(kind: Kind, data: Any) -> None:
    ours, theirs = kind.both(SVC(kernel="precomputed"), {"C": [0.1, 1.0]}, cv=KFold(2))
    expected = error_of(theirs, data, np.arange(10) % 2)
    found = error_of(ours, data, np.arange(10) % 2)
    assert isinstance(found, ValueError) and type(expected) is ValueError
    assert str(expected) in str(found) and "fits failed" not in str(found)


@both_kinds
def test_data_and_targets_of_several_lengths_are_refused(kind: Kind) -> None:
    ours, theirs = kind.both(LinearSVC(), {"C": [0.1, 1.0]})
    found = error_of(ours, X[:80], Y)
    assert isinstance(found, ValueError) and str(found) == str(error_of(theirs, X[:80], Y))


@both_kinds
@pytest.mark.parametrize("cv", [KFold(3), ShuffleSplit(3, random_state=0)], ids=["in order", "shuffled"])
def test_an_estimator_that_writes_into_its_data_writes_into_copies(kind: Kind, cv: Any) -> None:
    data, other = X.copy(), X.copy()
    ours, theirs = kind.both(Writes(), {"factor": [0.5, 2.0]}, cv=cv, refit=False, return_train_score=True)
    assert_alike(ours.fit(data, Y), theirs.fit(other, Y))
    np.testing.assert_array_equal(data, X)


@both_kinds
def test_data_that_nobody_may_write_into_can_be_searched(kind: Kind) -> None:
    data = X.copy()
    data.flags.writeable = False
    ours, theirs = kind.both(LogisticRegression(), {"C": [0.1, 1.0]}, cv=3)
    assert_alike(ours.fit(data, Y), theirs.fit(data, Y), data)


# ------------------------------------------------------------------------------ splits


SPLITTERS: dict[str, Callable[[], Any]] = {
    "default": lambda: None,
    "number": lambda: 4,
    "k-fold": lambda: KFold(3),
    "shuffled": lambda: ShuffleSplit(4, test_size=0.3, random_state=1),
    "repeated": lambda: RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0),
    "predefined": lambda: PredefinedSplit(np.arange(len(X)) % 4 - 1),
    "list of indices": lambda: list(KFold(3).split(X)),
    "lists": lambda: [(list(range(60)), list(range(60, 90))), (list(range(30, 90)), list(range(30)))],
    "tuple of one": lambda: ((np.arange(60), np.arange(60, 90)),),
    "masks": lambda: [(np.arange(len(X)) % 3 != part, np.arange(len(X)) % 3 == part) for part in range(3)],
    "generator": lambda: KFold(3, shuffle=True, random_state=0).split(X),
    "many": lambda: ShuffleSplit(25, test_size=0.3, random_state=1),
}


@one_kind
@pytest.mark.parametrize("cv", SPLITTERS.values(), ids=SPLITTERS)
def test_splits_are_those_that_were_asked_for(kind: Kind, cv: Callable[[], Any]) -> None:
    candidates = {"max_depth": [1, 3]}
    ours, theirs = kind.ours(TREE, candidates, cv=cv()), kind.theirs(TREE, candidates, cv=cv())
    assert_alike(ours.fit(X, Y), theirs.fit(X, Y), X)


@both_kinds
def test_folds_are_stratified_for_classifiers_only(kind: Kind) -> None:
    target = np.sort(Y)
    for estimator, cv in ((TREE, StratifiedKFold(5)), (DecisionTreeRegressor(random_state=0), KFold(5))):
        given, other = (kind.ours(estimator, DEPTHS, cv=each).fit(X, target) for each in (5, cv))
        assert_same_results(given.cv_results_, other.cv_results_)


class OneTime:
    """A splitter that can be asked once."""

    def __init__(self, count: int) -> None:
        self.count, self.splits = count, iter(list(KFold(count).split(X)))

    def split(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator[Any]:
        yield from self.splits

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        return self.count


@both_kinds
def test_a_splitter_is_asked_once_for_all_candidates(kind: Kind) -> None:
    once = kind.ours(TREE, DEPTHS, cv=OneTime(4), return_train_score=True).fit(X, Y)
    assert_alike(once, kind.theirs(TREE, DEPTHS, cv=KFold(4), return_train_score=True).fit(X, Y), X)


@both_kinds
def test_all_candidates_have_the_same_folds_also_where_these_are_shuffled(kind: Kind) -> None:
    search = kind.ours(TREE, {"max_depth": [1, 1, 4, 4]}, cv=KFold(4, shuffle=True), return_train_score=True)
    results = search.fit(X, Y).cv_results_
    for depth in (1, 4):
        rows = np.flatnonzero(results["param_max_depth"] == depth)
        for name in (f"split{number}_{part}_score" for number in range(4) for part in ("test", "train")):
            assert results[name][rows[0]] == results[name][rows[1]]


@both_kinds
def test_splits_that_are_used_up_are_told_of(kind: Kind) -> None:
    for cv in (iter([]), []):
        ours, theirs = kind.ours(Ridge(), {"alpha": [0.1, 1.0]}, cv=cv), kind.theirs(Ridge(), {"alpha": [0.1]}, cv=cv)
        found = error_of(ours, X, Y)
        assert type(found) is ValueError and str(found) == str(error_of(theirs, X, Y))
        assert "Was the CV iterator empty" in str(found)


@both_kinds
def test_a_splitter_that_counts_wrongly_is_told_of(kind: Kind) -> None:
    class Wrong(KFold):
        def get_n_splits(self, *args: Any, **kwargs: Any) -> int:
            return 1

    ours, theirs = kind.both(Ridge(), {"alpha": [0.1, 1.0]}, cv=Wrong(3))
    found = error_of(ours, X, Y)
    assert type(found) is ValueError and str(found) == str(error_of(theirs, X, Y))
    assert "Expected 1 splits, got 3" in str(found)


@both_kinds
@pytest.mark.parametrize(
    "cv",
    [LeaveOneGroupOut(), LeavePGroupsOut(2), GroupKFold(3), GroupShuffleSplit(3, random_state=0)],
    ids=lambda cv: type(cv).__name__,
)
def test_groups_go_to_the_splitter_and_are_missed_where_it_needs_some(kind: Kind, cv: Any) -> None:
    groups = np.random.RandomState(0).randint(0, 3, len(X))
    ours, theirs = kind.both(TREE, {"max_depth": [1, 2]}, cv=cv)
    with pytest.raises(ValueError, match="The 'groups' parameter should not be None"):
        ours.fit(X, Y)
    assert_alike(ours.fit(X, Y, groups=groups), theirs.fit(X, Y, groups=groups), X)
    assert_alike(ours.fit(X, Y, groups=list(groups)), theirs.fit(X, Y, groups=list(groups)), X)


@both_kinds
def test_groups_are_of_no_use_to_other_splitters_and_do_no_harm(kind: Kind) -> None:
    ours, theirs = kind.both(TREE, {"max_depth": [1, 2]}, cv=StratifiedKFold(3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert_alike(ours.fit(X, Y, groups=Y), theirs.fit(X, Y, groups=Y), X)


# ------------------------------------------------------------------------------ scores and the best candidate


@both_kinds
def test_an_estimator_without_a_score_needs_scoring(kind: Kind) -> None:
    found = error_of(kind.ours(Unscored(), {"C": [0.1, 1]}), [[1]])
    assert isinstance(found, TypeError) and "no scoring" in str(found)
    with_score = kind.ours(LinearSVC(random_state=0), {"C": [0.1, 1]}, scoring="accuracy").fit(X, Y)
    without = kind.ours(Unscored(random_state=0), {"C": [0.1, 1]}, scoring="accuracy").fit(X, Y)
    assert_same_results(without.cv_results_, with_score.cv_results_)
    assert without.score(X, Y) == with_score.score(X, Y)


@both_kinds
def test_score_is_by_the_scoring_that_was_given(kind: Kind) -> None:
    found = {}
    for scoring in (None, "accuracy", "roc_auc", make_scorer(f1_score), "neg_log_loss"):
        ours, theirs = kind.both(LogisticRegression(), {"C": [0.1]}, scoring=scoring, cv=3)
        assert_alike(ours.fit(X, Y), theirs.fit(X, Y), X)
        found[str(scoring)] = ours.score(X, Y)
        assert found[str(scoring)] == theirs.score(X, Y)
    assert found["None"] == found["accuracy"] != found["roc_auc"] < 1.0


SEVERAL: dict[str, Any] = {
    "list": ["accuracy", "recall"],
    "tuple": ("accuracy", "recall"),
    "dict": {"accuracy": make_scorer(accuracy_score), "recall": "recall"},
    "function": lambda model, X, y: {
        "accuracy": accuracy_score(y, model.predict(X)),
        "recall": recall_score(y, model.predict(X)),
    },
}


@one_kind
@pytest.mark.parametrize("scoring", SEVERAL.values(), ids=SEVERAL)
@pytest.mark.parametrize("refit", ["accuracy", "recall", False])
def test_several_metrics_give_what_each_of_them_gives_alone(kind: Kind, scoring: Any, refit: Any) -> None:
    ours, theirs = kind.both(TREE, DEPTHS, scoring=scoring, refit=refit, cv=3, return_train_score=True)
    assert_alike(ours.fit(X, Y), theirs.fit(X, Y), X if refit else None)
    assert ours.multimetric_
    for metric in ("accuracy", "recall"):
        alone = kind.ours(TREE, DEPTHS, scoring=metric, cv=3, return_train_score=True).fit(X, Y)
        for name, values in alone.cv_results_.items():
            if name.endswith("_score"):
                np.testing.assert_array_equal(ours.cv_results_[name.removesuffix("score") + metric], values)
        if refit == metric:
            assert ours.best_params_ == alone.best_params_ and ours.best_score_ == alone.best_score_
            assert ours.score(X, Y) == alone.score(X, Y)
    if not refit:
        assert not [name for name in ("best_index_", "best_params_", "best_score_") if hasattr(ours, name)]


@both_kinds
@pytest.mark.parametrize("refit", [True, "precision", "acc_"])
@pytest.mark.parametrize(
    "scoring", [{"acc": "accuracy", "f1": "f1"}, lambda model, X, y: {"acc": 1.0, "f1": 0.5}], ids=["dict", "function"]
)
def test_several_metrics_need_the_name_of_one_to_refit(kind: Kind, scoring: Any, refit: Any) -> None:
    ours, theirs = kind.both(TREE, {"max_depth": [1]}, scoring=scoring, refit=refit, cv=2)
    found = error_of(ours, X, Y)
    assert type(found) is ValueError and str(found) == str(error_of(theirs, X, Y))
    assert "For multi-metric scoring, the parameter refit must be set to a scorer key" in str(found)


@both_kinds
@pytest.mark.parametrize("scoring", ["recall", ["recall"], make_scorer(recall_score)], ids=["name", "list", "scorer"])
def test_one_metric_may_be_named_to_refit(kind: Kind, scoring: Any) -> None:
    ours, theirs = kind.both(TREE, DEPTHS, scoring=scoring, refit="recall", cv=3)
    assert_alike(ours.fit(X, Y), theirs.fit(X, Y), X)
    assert ours.score(X, Y) == theirs.score(X, Y)


@both_kinds
def test_a_function_that_returns_one_number_is_a_metric(kind: Kind) -> None:
    def scoring(model: Any, X: Any, y: Any) -> Any:
        return recall_score(y, model.predict(X))

    named = kind.ours(TREE, DEPTHS, scoring="recall", cv=3).fit(X, Y)
    for returned in (scoring, lambda *args: np.float32(scoring(*args)), lambda *args: np.array(scoring(*args))):
        ours, theirs = kind.both(TREE, DEPTHS, scoring=returned, cv=3)
        assert_alike(ours.fit(X, Y), theirs.fit(X, Y), X)
        assert ours.best_params_ == named.best_params_
        assert ours.score(X, Y) == pytest.approx(named.score(X, Y), rel=1e-6)  # one of them is in single precision


@both_kinds
def test_a_function_may_return_numbers_of_any_type_for_each_metric(kind: Kind) -> None:
    def scoring(model: Any, X: Any, y: Any) -> dict[str, Any]:
        matrix = confusion_matrix(y, model.predict(X))
        return {"tn": matrix[0, 0], "fp": matrix[0, 1], "fn": int(matrix[1, 0]), "right": True}

    ours, theirs = kind.both(TREE, DEPTHS, scoring=scoring, refit="fp", cv=3)
    assert_alike(ours.fit(X, Y), theirs.fit(X, Y), X)
    assert ours.score(X, Y) == theirs.score(X, Y) == confusion_matrix(Y, ours.predict(X))[0, 1]


@both_kinds
@pytest.mark.parametrize("returned", ["good", None, np.ones(2)], ids=str)
def test_a_score_that_is_no_number_ends_the_search(kind: Kind, returned: Any) -> None:
    ours, theirs = kind.both(TREE, DEPTHS, scoring=lambda model, X, y: returned, cv=2, refit=False)
    expected = error_of(theirs, X, Y)
    found = error_of(ours, X, Y)
    assert isinstance(found, ValueError) and "scoring must return a number" in str(expected)
    assert str(expected) in str(found) and "fits failed" not in str(found)


@both_kinds
def test_a_score_that_is_no_number_for_one_candidate_ends_the_search(kind: Kind) -> None:
    def scoring(model: Any, X: Any, y: Any) -> Any:
        return "good" if model.max_depth == 5 else 1.0

    with pytest.raises(ValueError, match="scoring must return a number, got good"):
        kind.ours(TREE, DEPTHS, scoring=scoring, cv=2).fit(X, Y)


@both_kinds
def test_a_function_may_choose_the_best_candidate(kind: Kind) -> None:
    seen: list[Any] = []

    def worst(results: dict[str, Any]) -> Any:
        seen.append(results)
        return results["mean_test_score"].argmin()

    ours, theirs = kind.both(TREE, DEPTHS, refit=worst, cv=3, scoring="f1", return_train_score=True)
    assert_alike(ours.fit(X, Y), theirs.fit(X, Y), X)
    assert ours.best_index_ == ours.cv_results_["mean_test_score"].argmin()
    assert not hasattr(ours, "best_score_")
    assert_same_results(seen[0], seen[1])
    assert ours.score(X, Y) == theirs.score(X, Y)


@both_kinds
def test_a_function_may_choose_by_several_metrics(kind: Kind) -> None:
    for scoring in ({"acc": make_scorer(accuracy_score), "f1": "f1"}, lambda model, X, y: {"f1": model.max_depth}):
        ours, theirs = kind.both(
            TREE, DEPTHS, scoring=scoring, cv=3, refit=lambda out: int(out["mean_test_f1"].argmin())
        )
        assert_alike(ours.fit(X, Y), theirs.fit(X, Y), X)
        assert not hasattr(ours, "best_score_")


@both_kinds
@pytest.mark.parametrize(
    ("returned", "error", "said"),
    [
        (None, TypeError, "best_index_ returned is not an integer"),
        (1.0, TypeError, "best_index_ returned is not an integer"),
        ("1", TypeError, "best_index_ returned is not an integer"),
        (-1, IndexError, "best_index_ index out of range"),
        (3, IndexError, "best_index_ index out of range"),
    ],
)
def test_a_function_that_chooses_none_of_the_candidates_is_told_of(
    kind: Kind, returned: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        kind.ours(TREE, DEPTHS, refit=lambda results: returned, cv=2).fit(X, Y)


@both_kinds
@pytest.mark.parametrize("train", [False, True])
def test_scores_that_are_not_finite_are_told_of_and_rank_last(kind: Kind, train: bool) -> None:
    def scoring(model: Any, X: Any, y: Any) -> float:
        return np.nan if model.max_depth in (2, 5) else 0.5

    candidates = {"max_depth": [2, 3, 5, 8]}
    ours, theirs = kind.both(TREE, candidates, scoring=scoring, cv=3, return_train_score=train)
    said = []
    for search in (ours, theirs):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            search.fit(X, Y)
        said.append([str(each.message) for each in caught])
    assert said[0] == said[1]
    assert len(said[0]) == 1 + train and "test scores are non-finite" in said[0][0]
    assert_alike(ours, theirs, X)
    missing = np.isnan(ours.cv_results_["mean_test_score"])
    assert set(ours.cv_results_["rank_test_score"][missing]) == {3}


@both_kinds
def test_infinite_scores_are_ranked(kind: Kind) -> None:
    def scoring(model: Any, X: Any, y: Any) -> float:
        return {1: -np.inf, 2: np.inf, 5: 0.0}[model.max_depth]

    ours, theirs = kind.both(TREE, DEPTHS, scoring=scoring, cv=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_alike(ours.fit(X, Y), theirs.fit(X, Y), X)
    assert ours.best_params_ == {"max_depth": 2}


@both_kinds
def test_where_all_scores_are_missing_the_first_candidate_is_the_best(kind: Kind) -> None:
    ours, theirs = kind.both(TREE, DEPTHS, scoring=lambda model, X, y: np.nan, cv=2)
    with pytest.warns(UserWarning, match="non-finite"):
        ours.fit(X, Y)
    with pytest.warns(UserWarning, match="non-finite"):
        theirs.fit(X, Y)
    assert_alike(ours, theirs, X)
    assert ours.best_index_ == 0


# ------------------------------------------------------------------------------ what fails


@both_kinds
@pytest.mark.parametrize("error_score", [0.0, -1, np.nan])
@pytest.mark.parametrize("scoring", ["accuracy", ["accuracy", "f1"], None], ids=str)
def test_a_fit_that_fails_is_told_of_and_has_the_error_score(kind: Kind, error_score: float, scoring: Any) -> None:
    refit = "accuracy" if isinstance(scoring, list) else True
    options = {"scoring": scoring, "refit": refit, "error_score": error_score, "return_train_score": True}
    ours, theirs = kind.both(Fails(), {"bad": [False, True, False]}, **options)
    for search in (ours, theirs):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            search.fit(X, Y)
        said = [str(each.message) for each in caught if issubclass(each.category, FitFailedWarning)]
        assert len(said) == 1
        assert "5 fits failed out of a total of 15" in said[0]
        assert f"for these parameters will be set to {error_score}." in said[0]
        assert "ValueError: this one is not to be fitted" in said[0]
    assert_alike(ours, theirs, X)
    if np.isnan(error_score):
        bad = ours.cv_results_["param_bad"].astype(bool)
        rank = ours.cv_results_["rank_test_accuracy" if isinstance(scoring, list) else "rank_test_score"]
        assert list(rank[bad]) == [3] and not ours.best_params_["bad"]


@both_kinds
def test_where_all_fits_fail_there_is_an_error_with_their_errors(kind: Kind) -> None:
    for scoring in (None, ["accuracy", "f1"], lambda model, X, y: {"acc": 1}):
        ours, theirs = kind.both(Fails(), {"bad": [True] * 3}, scoring=scoring, refit=False, error_score=0.1)
        found, expected = error_of(ours, X, Y), error_of(theirs, X, Y)
        assert type(found) is type(expected) is ValueError
        assert "All the 15 fits failed." in str(found) and "your model is misconfigured" in str(found)
        assert "ValueError: this one is not to be fitted" in str(found)


class OwnError(Exception):
    """Known to no one else."""


@both_kinds
@pytest.mark.parametrize("exception", [ValueError, KeyError, OwnError, AssertionError])
def test_with_raise_the_error_of_a_fit_ends_the_search(kind: Kind, exception: type[Exception]) -> None:
    search = kind.ours(Fails(exception=exception), {"bad": [False, True]}, error_score="raise")
    with pytest.raises(exception, match="not to be fitted"):
        search.fit(X, Y)
    assert not hasattr(search, "cv_results_")


@both_kinds
def test_an_error_of_the_refit_is_raised_whatever_the_error_score(kind: Kind) -> None:
    whole = len(X)

    def look(X: Any, y: Any) -> bool:
        if len(X) == whole:
            raise OwnError("of the refit")
        return True

    for error_score in (np.nan, 0.0, "raise"):
        with pytest.raises(OwnError, match="of the refit"):
            kind.ours(Looks(look), {"number": [1, 2]}, error_score=error_score, cv=3).fit(X, Y)


@both_kinds
def test_a_fit_that_fails_with_a_function_of_several_metrics_has_the_error_score_for_each(kind: Kind) -> None:
    def scoring(model: Any, X: Any, y: Any) -> dict[str, float]:
        return {"acc": 1.0, "other": 2.0}

    for refit in (False, "acc"):
        ours, theirs = kind.both(Fails(), {"bad": [True, False, False]}, scoring=scoring, refit=refit, error_score=0.1)
        for search in (ours, theirs):
            with pytest.warns(FitFailedWarning, match=r"5 fits failed out of a total of 15(.|\n)*set to 0\.1"):
                search.fit(X, Y)
        assert_alike(ours, theirs)
        assert sorted(ours.cv_results_["mean_test_acc"]) == [pytest.approx(0.1), 1.0, 1.0]


@both_kinds
def test_fits_that_fail_on_some_splits_only_are_counted_by_split(kind: Kind) -> None:
    def look(X: Any, y: Any) -> bool:
        return X[0, 0] != globals()["X"][0, 0]  # the first sample is not in the first test fold only

    ours, theirs = kind.both(Looks(look), {"number": [0, 1]}, cv=KFold(3), refit=False, error_score=-1)
    for search in (ours, theirs):
        with pytest.warns(FitFailedWarning, match="4 fits failed out of a total of 6"):
            search.fit(X, Y)
    assert_alike(ours, theirs)
    assert list(ours.cv_results_["split1_test_score"]) == [-1, -1]


def failing_score(model: Any, X: Any, y: Any) -> float:
    if model.max_depth == 2:
        raise OwnError("of the scorer")
    return 1.0 / model.max_depth


@both_kinds
@pytest.mark.parametrize("scoring", [failing_score, {"bad": failing_score, "f1": "f1"}], ids=["one", "several"])
def test_a_score_that_fails_is_told_of_and_is_the_error_score(kind: Kind, scoring: Any) -> None:
    for error_score in (np.nan, -3.0):
        options = {"scoring": scoring, "refit": "bad" if isinstance(scoring, dict) else True}
        ours, theirs = kind.both(TREE, DEPTHS, **options, error_score=error_score, cv=3)
        for search in (ours, theirs):
            with pytest.warns(UserWarning, match="Scoring failed(.|\n)*OwnError: of the scorer"):
                search.fit(X, Y)
        assert_alike(ours, theirs, X)
        assert ours.best_params_ == {"max_depth": 1}


@both_kinds
@pytest.mark.parametrize("scoring", [failing_score, {"bad": failing_score, "f1": "f1"}], ids=["one", "several"])
def test_with_raise_the_error_of_a_score_ends_the_search(kind: Kind, scoring: Any) -> None:
    options = {"scoring": scoring, "refit": "f1" if isinstance(scoring, dict) else True}
    with pytest.raises(OwnError, match="of the scorer"):
        kind.ours(TREE, DEPTHS, **options, error_score="raise", cv=3).fit(X, Y)


@both_kinds
def test_values_that_the_estimator_refuses_are_fits_that_fail(kind: Kind) -> None:
    ours, theirs = kind.both(TREE, {"max_depth": [2, -1], "criterion": ["gini", "no such"]}, cv=2)
    for search in (ours, theirs):
        with pytest.warns(FitFailedWarning, match="6 fits failed out of a total of 8"):
            search.fit(X, Y)
    assert_alike(ours, theirs, X)


@both_kinds
def test_warnings_of_the_estimator_reach_the_user(kind: Kind) -> None:
    ours, theirs = kind.both(LogisticRegression(max_iter=1), {"C": [0.1, 1.0]}, cv=2)
    counts = []
    for search in (ours, theirs):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            search.fit(X, Y)
        counts.append(sum(issubclass(each.category, ConvergenceWarning) for each in caught))
    assert counts[0] == counts[1] == 5


@both_kinds
def test_warnings_may_be_errors(kind: Kind) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        with pytest.raises(ConvergenceWarning):
            kind.ours(LogisticRegression(max_iter=1), {"C": [0.1]}, cv=2, error_score="raise").fit(X, Y)


# ------------------------------------------------------------------------------ parameters of fit


@both_kinds
def test_parameters_of_fit_with_a_value_for_each_sample_are_cut(kind: Kind) -> None:
    numbers = np.arange(len(X))

    def look(X: Any, y: Any, weight: Any, name: Any, missing: Any) -> bool:
        rows = [int(np.flatnonzero((globals()["X"] == row).all(axis=1))[0]) for row in X]
        return list(weight) == rows and [str(row) for row in rows] == list(name) and missing is None

    params = {"weight": numbers, "name": [str(number) for number in numbers], "missing": None}
    ours, theirs = kind.both(Looks(look), {"number": [1, 2]}, cv=3, error_score="raise")
    assert_alike(ours.fit(X, Y, **params), theirs.fit(X, Y, **params), X)
    np.testing.assert_array_equal(ours.best_estimator_.params_["weight"], numbers)


@both_kinds
def test_parameters_of_fit_in_a_series_or_a_sparse_column_are_cut(kind: Kind) -> None:
    def look(X: Any, y: Any, series: Any, column: Any) -> bool:
        return isinstance(series, pd.Series) and len(series) == column.shape[0] == len(X)

    params = {"series": pd.Series(Y), "column": scipy.sparse.csr_matrix(X[:, :1])}
    kind.ours(Looks(look), {"number": [1, 2]}, cv=3, error_score="raise").fit(X, Y, **params)


@both_kinds
def test_other_parameters_of_fit_are_passed_as_they_are(kind: Kind) -> None:
    given = {"number": 42, "function": function_a, "pair": (X[:20], Y[:20]), "short": np.ones(3), "word": "sum"}

    def look(X: Any, y: Any, **params: Any) -> bool:
        return params["function"] is function_a and isinstance(params["pair"], tuple) and len(params["short"]) == 3

    ours, theirs = kind.both(Looks(look), {"number": [1, 2]}, cv=3, error_score="raise")
    assert_alike(ours.fit(X, Y, **given), theirs.fit(X, Y, **given), X)
    assert ours.best_estimator_.params_["number"] == 42
    assert ours.best_estimator_.params_["pair"][0] is given["pair"][0]


@both_kinds
def test_a_parameter_that_fit_does_not_take_is_told_of(kind: Kind) -> None:
    ours, theirs = kind.both(GaussianNB(), {"var_smoothing": [1e-9, 1e-8]}, cv=2, error_score="raise")
    found = error_of(ours, X, Y, no_such=1)
    assert isinstance(found, TypeError)
    assert str(error_of(theirs, X, Y, no_such=1)) in str(found)


@both_kinds
def test_parameters_of_fit_reach_a_step_of_a_pipeline(kind: Kind) -> None:
    weights = np.random.RandomState(0).randint(0, 4, len(X))
    model = Pipeline([("scale", StandardScaler()), ("model", LogisticRegression())])
    ours, theirs = kind.both(model, {"model__C": [0.1, 1.0]}, cv=3)
    params = {"model__sample_weight": weights}
    assert_alike(ours.fit(X, Y, **params), theirs.fit(X, Y, **params), X)
    plain = kind.ours(model, {"model__C": [0.1, 1.0]}, cv=3).fit(X, Y)
    assert not np.array_equal(plain.best_estimator_["model"].coef_, ours.best_estimator_["model"].coef_)


@both_kinds
@pytest.mark.parametrize("scoring", [None, "accuracy", ["accuracy", "f1"]], ids=str)
def test_weights_of_samples_go_to_the_fit_and_to_the_score(kind: Kind, scoring: Any) -> None:
    weights = np.random.RandomState(0).randint(0, 5, len(X)).astype(float)
    refit = "f1" if isinstance(scoring, list) else True
    ours, theirs = kind.both(LogisticRegression(), {"C": [0.1, 1, 10]}, scoring=scoring, refit=refit, cv=3)
    for given in (weights, weights.tolist(), None):
        assert_alike(ours.fit(X, Y, sample_weight=given), theirs.fit(X, Y, sample_weight=given), X)


@both_kinds
def test_weights_of_samples_are_the_same_as_samples_that_are_repeated(kind: Kind) -> None:
    weights = np.random.RandomState(42).randint(0, 4, len(X))
    groups = np.arange(len(X)) % 3
    estimator, candidates = LogisticRegression(), {"C": [0.1, 10]}
    weighted, repeated = (kind.ours(estimator, candidates) for _ in range(2))
    many, target, of_many = X.repeat(weights, axis=0), Y.repeat(weights), groups.repeat(weights)
    weighted.set_params(cv=list(LeaveOneGroupOut().split(X, groups=groups))).fit(X, Y, sample_weight=weights)
    repeated.set_params(cv=list(LeaveOneGroupOut().split(many, groups=of_many))).fit(many, target)
    for name, values in repeated.cv_results_.items():
        if name.endswith("_score"):
            # Sums over samples are in another order, which moves the optimum in the last places.
            np.testing.assert_allclose(weighted.cv_results_[name], values, err_msg=name)
    assert weighted.best_index_ == repeated.best_index_


@both_kinds
def test_a_score_that_takes_no_weights_is_told_of(kind: Kind) -> None:
    def half(y: Any, predicted: Any) -> float:
        return 0.5

    for scoring in (lambda model, X, y: 0.5, make_scorer(half), {"fake": make_scorer(half), "accuracy": "accuracy"}):
        search = kind.ours(LogisticRegression(), {"C": [1, 10]}, scoring=scoring, refit=False, cv=2)
        said = "The scoring fake=.* does not support sample_weight" if isinstance(scoring, dict) else "does not support"
        with pytest.warns(UserWarning, match=said) as caught:
            search.fit(X, Y, sample_weight=np.ones(len(X)))
        assert len(caught) == 1


@both_kinds
def test_score_takes_no_metadata_without_routing(kind: Kind) -> None:
    search = kind.ours(LinearSVC(), {"C": [1]}, cv=2).fit(X, Y)
    with pytest.raises(ValueError, match="is only supported if"):
        search.score(X, Y, metadata=1)


# ------------------------------------------------------------------------------ routing of metadata


@pytest.fixture
def routing() -> Iterator[None]:
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@both_kinds
@pytest.mark.usefixtures("routing")
def test_routed_weights_go_where_they_were_asked_for(kind: Kind) -> None:
    weights = np.random.RandomState(0).randint(0, 5, len(X)).astype(float)
    for to_fit in (True, False):
        for to_score in (True, False):
            ours, theirs = kind.both(
                LogisticRegression().set_fit_request(sample_weight=to_fit),
                {"C": [0.1, 10]},
                scoring=make_scorer(accuracy_score).set_score_request(sample_weight=to_score),
                cv=3,
            )
            if not (to_fit or to_score):
                assert type(error_of(ours, X, Y, sample_weight=weights)) is type(
                    error_of(theirs, X, Y, sample_weight=weights)
                )
                continue
            ours.fit(X, Y, sample_weight=weights), theirs.fit(X, Y, sample_weight=weights)
            assert_alike(ours, theirs, X)
            if to_score:
                assert ours.score(X, Y, sample_weight=weights) == theirs.score(X, Y, sample_weight=weights)


@both_kinds
@pytest.mark.usefixtures("routing")
def test_routed_metadata_that_nobody_has_spoken_about_is_refused(kind: Kind) -> None:
    ours, theirs = kind.both(LogisticRegression(), {"C": [0.1, 10]}, cv=3)
    found = error_of(ours, X, Y, sample_weight=np.ones(len(X)))
    assert isinstance(found, UnsetMetadataPassedError)
    expected = error_of(theirs, X, Y, sample_weight=np.ones(len(X)))
    assert str(found) == str(expected).replace(kind.theirs_class.__name__, kind.ours_class.__name__)
    assert isinstance(error_of(ours, X, Y, no_such=1), TypeError)


@both_kinds
@pytest.mark.usefixtures("routing")
def test_routed_groups_go_to_the_splitter(kind: Kind) -> None:
    groups = np.arange(len(X)) % 5
    ours, theirs = kind.both(TREE, {"max_depth": [1, 2]}, cv=GroupKFold(3))
    assert_alike(ours.fit(X, Y, groups=groups), theirs.fit(X, Y, groups=groups), X)
    assert type(error_of(ours, X, Y)) is type(error_of(theirs, X, Y))
    ours.set_params(cv=StratifiedKFold(3)), theirs.set_params(cv=StratifiedKFold(3))
    assert type(error_of(ours, X, Y, groups=groups)) is type(error_of(theirs, X, Y, groups=groups))


@both_kinds
@pytest.mark.usefixtures("routing")
def test_routed_metadata_of_scorers_may_have_other_names_and_are_cut(kind: Kind) -> None:
    seen: list[tuple[Any, Any]] = []

    def consume(y: Any, predicted: Any, sample_weight: Any = None, metadata: Any = None) -> float:
        seen.append((sample_weight, metadata))
        assert len(sample_weight) == len(metadata) == len(y)
        return float(np.average(y == predicted, weights=sample_weight))

    scorer = make_scorer(consume).set_score_request(sample_weight="of_score", metadata="notes")
    numbers = np.arange(len(X)) + 1.0
    searches = kind.both(
        LinearSVC(), {"C": [1]}, refit="accuracy", cv=2, scoring={"mine": scorer, "accuracy": "accuracy"}
    )
    for search in searches:
        search.fit(X, Y, of_score=numbers, notes=list(map(str, numbers)))
    assert_alike(*searches, X)
    assert len(seen) == 4
    for (weight, notes), (_, test) in zip(seen, [*StratifiedKFold(2).split(X, Y)] * 2, strict=True):
        np.testing.assert_array_equal(weight, numbers[test])
        assert list(notes) == list(map(str, numbers[test]))


@both_kinds
@pytest.mark.usefixtures("routing")
def test_a_search_routes_metadata_as_part_of_something_else(kind: Kind) -> None:
    weights, groups = np.random.RandomState(0).rand(len(X)), np.arange(len(X)) % 6
    scores = []
    for make in (kind.ours, kind.theirs):
        scorer = make_scorer(accuracy_score).set_score_request(sample_weight=True)
        search = make(
            LogisticRegression().set_fit_request(sample_weight=True), {"C": [0.1, 1]}, scoring=scorer, cv=GroupKFold(2)
        )
        model = Pipeline([("scale", StandardScaler().set_fit_request(sample_weight=False)), ("search", search)])
        params = {"sample_weight": weights, "groups": groups}
        scores.append(cross_validate(model, X, Y, params=params, cv=GroupKFold(3), scoring=scorer)["test_score"])
    np.testing.assert_array_equal(*scores)


@both_kinds
@pytest.mark.usefixtures("routing")
def test_the_routing_is_that_of_scikit_learn(kind: Kind) -> None:
    ours, theirs = kind.both(
        LogisticRegression().set_fit_request(sample_weight="mine"), {"C": [1]}, cv=GroupKFold(2), scoring="accuracy"
    )
    found, expected = (str(search.get_metadata_routing()) for search in (ours, theirs))
    assert found == expected
    assert str(sklearn.utils.metadata_routing.get_routing_for_object(ours)) == str(
        sklearn.utils.metadata_routing.get_routing_for_object(theirs)
    )


# ------------------------------------------------------------------------------ as part of something else


@both_kinds
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_cross_validation_of_a_search_gives_what_scikit_learn_gives(kind: Kind, n_jobs: int | None) -> None:
    ours, theirs = kind.both(TREE, {"max_depth": [1, 3]}, cv=2)
    expected = cross_validate(theirs, X, Y, cv=3, return_train_score=True, return_estimator=True)
    found = cross_validate(ours, X, Y, cv=3, return_train_score=True, return_estimator=True, n_jobs=n_jobs)
    for name in ("test_score", "train_score"):
        np.testing.assert_array_equal(found[name], expected[name])
    for mine, other in zip(found["estimator"], expected["estimator"], strict=True):
        assert_alike(mine, other, X)
    np.testing.assert_array_equal(cross_val_score(ours, X, Y, cv=3, n_jobs=n_jobs), expected["test_score"])


@both_kinds
def test_predictions_of_a_cross_validation_are_those_of_scikit_learn(kind: Kind) -> None:
    ours, theirs = kind.both(LogisticRegression(), {"C": [0.1, 3]}, cv=2)
    for method in ("predict", "predict_proba"):
        np.testing.assert_array_equal(
            *(cross_val_predict(search, X, Y, cv=3, method=method) for search in (ours, theirs))
        )


@both_kinds
def test_a_search_may_be_a_step_of_a_pipeline_the_last_or_another(kind: Kind) -> None:
    predictions = []
    for make in (kind.ours, kind.theirs):
        chosen = make(PCA(random_state=0), {"n_components": [2, 4]}, cv=2)
        model = make_pipeline(StandardScaler(), chosen, make(LinearSVC(random_state=0), {"C": [0.1, 1]}, cv=2))
        model.fit(X, Y)
        assert list(model.classes_) == [0, 1]
        predictions.append([model.predict(X), model.decision_function(X), model.score(X, Y)])
    for found, expected in zip(*predictions, strict=True):
        np.testing.assert_array_equal(found, expected)


@both_kinds
def test_searches_may_be_nested(kind: Kind) -> None:
    inner, their_inner = kind.both(TREE, {"max_depth": [1, 3]}, cv=2)
    candidates = {"estimator__criterion": ["gini", "entropy"], "cv": [2, 3]}
    ours, theirs = kind.ours(inner, candidates, cv=2), kind.theirs(their_inner, candidates, cv=2)
    assert_alike(ours.fit(X, Y), theirs.fit(X, Y), X)
    assert ours.best_estimator_.best_params_ == theirs.best_estimator_.best_params_


@both_kinds
def test_a_search_may_be_the_estimator_of_an_ensemble(kind: Kind) -> None:
    def models(make: Callable[..., Any]) -> list[Any]:
        search = make(TREE, {"max_depth": [1, 3]}, cv=2)
        return [
            BaggingClassifier(search, n_estimators=2, random_state=0),
            VotingClassifier([("a", search), ("b", GaussianNB())], voting="soft"),
            OneVsRestClassifier(search),
        ]

    for mine, other in zip(models(kind.ours), models(kind.theirs), strict=True):
        np.testing.assert_array_equal(
            mine.fit(IRIS_X, IRIS_Y).predict(IRIS_X), other.fit(IRIS_X, IRIS_Y).predict(IRIS_X)
        )
    regressors = [
        TransformedTargetRegressor(make(Ridge(), {"alpha": [0.1, 1.0]}, cv=2), func=np.log1p, inverse_func=np.expm1)
        for make in (kind.ours, kind.theirs)
    ]
    np.testing.assert_array_equal(*(model.fit(X, Y).predict(X) for model in regressors))


@both_kinds
def test_frames_come_out_of_a_search_where_they_were_asked_for(kind: Kind) -> None:
    frame = pd.DataFrame(X, columns=list("abcdef"))
    search = kind.ours(PCA(random_state=0).set_output(transform="pandas"), {"n_components": [2, 3]}, cv=2).fit(frame)
    assert list(search.transform(frame).columns) == ["pca0", "pca1", "pca2"]
    scaled = make_pipeline(StandardScaler(), PCA(random_state=0)).set_output(transform="pandas")
    ours, theirs = kind.both(scaled, {"pca__n_components": [2, 3]}, cv=2)
    pd.testing.assert_frame_equal(ours.fit(frame).transform(frame), theirs.fit(frame).transform(frame))
    with sklearn.config_context(transform_output="pandas"):
        ours, theirs = kind.both(PCA(random_state=0), {"n_components": [2, 3]}, cv=2)
        pd.testing.assert_frame_equal(ours.fit(frame).transform(frame), theirs.fit(frame).transform(frame))


@both_kinds
def test_the_configuration_of_scikit_learn_holds_in_fits_too(kind: Kind) -> None:
    seen: list[Any] = []

    def look(X: Any, y: Any) -> bool:
        config = sklearn.get_config()
        seen.append((config["assume_finite"], config["working_memory"]))
        return True

    with sklearn.config_context(assume_finite=True, working_memory=77):
        kind.ours(Looks(look), {"number": [1, 2]}, cv=2, error_score="raise").fit(X, Y)
    assert seen == [(True, 77)] * 5


@both_kinds
def test_columns_are_known_by_name_to_a_step_of_a_pipeline(kind: Kind) -> None:
    frame = pd.DataFrame({"a": X[:, 0], "b": ["x", "y", "z"] * 30})
    columns = ColumnTransformer([("a", StandardScaler(), ["a"]), ("b", OneHotEncoder(), ["b"])])
    model = make_pipeline(columns, FunctionTransformer(), LogisticRegression())
    ours, theirs = kind.both(model, {"columntransformer__a__with_mean": [True, False]}, cv=3)
    assert_alike(ours.fit(frame, Y), theirs.fit(frame, Y), frame)


# ------------------------------------------------------------------------------ kept and shown


@both_kinds
@pytest.mark.parametrize("refit", [True, False])
def test_a_fitted_search_can_be_pickled_dumped_and_copied(kind: Kind, refit: bool, tmp_path: Path) -> None:
    search = kind.ours(TREE, DEPTHS, cv=3, refit=refit).fit(X, Y)
    joblib.dump(search, tmp_path / "search.joblib")
    others = [joblib.load(tmp_path / "search.joblib"), copy.deepcopy(search), copy.copy(search)]
    others += [pickle.loads(pickle.dumps(search, protocol)) for protocol in (2, pickle.HIGHEST_PROTOCOL)]
    for other in others:
        assert_alike(other, search, X if refit else None)
        if refit:
            assert other.score(X, Y) == search.score(X, Y)
        assert_same_results(clone(other).fit(X, Y).cv_results_, search.cv_results_)


@both_kinds
def test_a_search_that_is_not_fitted_can_be_pickled(kind: Kind) -> None:
    search = pickle.loads(pickle.dumps(kind.ours(TREE, DEPTHS, cv=3)))
    assert_alike(search.fit(X, Y), kind.theirs(TREE, DEPTHS, cv=3).fit(X, Y), X)


def test_the_text_of_a_search_shows_what_was_given() -> None:
    search = TuneGridSearchCV(SVC(), {"C": [1, 2]}, cv=3)
    assert repr(search) == "TuneGridSearchCV(cv=3, estimator=SVC(), param_grid={'C': [1, 2]})"


@both_kinds
def test_the_diagram_shows_the_estimator_and_when_it_is_fitted_the_best_one(kind: Kind) -> None:
    pipeline = Pipeline([("scale", StandardScaler()), ("model", DummyClassifier())])
    candidates = {"model": [DummyClassifier(), LogisticRegression()]}
    search = kind.ours(pipeline, candidates, refit=False, cv=2)
    for shown in (search, search.fit(X, Y)):
        assert "<div>DummyClassifier</div>" in shown._repr_html_()
    html = kind.ours(pipeline, candidates, cv=2).fit(X, Y)._repr_html_()
    assert "<div>DummyClassifier</div>" not in html
    assert "<div>LogisticRegression</div>" in html
    assert f"<div>{kind.ours_class.__name__}</div>" in html


@both_kinds
@pytest.mark.parametrize("verbose", [0, 1, 2, 3, True, False])
def test_what_is_printed_does_not_change_what_is_found(
    kind: Kind, verbose: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = kind.both(TREE, DEPTHS, cv=3, return_train_score=True)
    ours.set_params(verbose=verbose).fit(X, Y)
    printed = capsys.readouterr()
    assert bool(printed.out + printed.err) is bool(verbose)
    assert_alike(ours, theirs.fit(X, Y), X)


@both_kinds
def test_a_search_prints_to_whatever_stands_for_the_screen(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert kind.ours(Threshold(), {"level": [1, 2, 3]}, cv=2, verbose=3).fit(X, Y).best_params_ == {"level": 2}


def test_callbacks_of_scikit_learn_are_told_of_as_not_called(caplog: pytest.LogCaptureFixture) -> None:
    class Counts:
        calls = 0

        def setup(self, *args: Any, **kwargs: Any) -> None:
            self.calls += 1

        on_fit_task_begin = on_fit_task_end = teardown = setup

    counts = Counts()
    with caplog.at_level(logging.WARNING):
        GRID.ours(TREE, DEPTHS, cv=2).set_callbacks(counts).fit(X, Y)
    assert "Callbacks of scikit-learn (set_callbacks) are not called" in caplog.text
    assert counts.calls == 0


# ------------------------------------------------------------------------------ scikit-learn's own checks


CHECKED = (
    TuneSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, n_trials=2, cv=2),
    TuneGridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, scheduler="asha", fidelity="folds", cv=3),
)


def checks() -> Iterator[Any]:
    """All but those of array libraries, which are not installed."""
    for estimator in CHECKED:
        for given in estimator_checks_generator(estimator):
            _, check = getattr(given, "values", given)
            function = getattr(check, "func", check)
            if not function.__name__.startswith("check_array_api"):
                yield given


def name_of(value: Any) -> str:
    if isinstance(value, BaseEstimator):
        return f"{type(value).__name__}-{type(value.estimator).__name__}" + ("-asha" if value.scheduler else "")
    options = ",".join(f"{name}={option}" for name, option in getattr(value, "keywords", {}).items())
    return f"{getattr(value, 'func', value).__name__}({options})"


@pytest.mark.parametrize(("estimator", "check"), checks(), ids=name_of)
def test_the_checks_of_scikit_learn_hold(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


def test_small_searches_and_their_checks_do_not_start_ray() -> None:
    script = """
import sys
import warnings
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.datasets import load_iris
from sklearn.utils.estimator_checks import check_estimator
from tune_plugins.integrations.sklearn import TuneGridSearchCV, TuneSearchCV

warnings.simplefilter("ignore")
TuneSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, n_trials=2, cv=2).fit(*load_iris(return_X_y=True))
search = TuneGridSearchCV(Ridge(random_state=0), {"alpha": [0.1, 1.0]}, cv=2)
check_estimator(search, legacy=False, on_skip=None)
ray = sys.modules.get("ray")
print("started" if ray is not None and ray.is_initialized() else "not started")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "not started"
