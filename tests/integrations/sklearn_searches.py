"""The searches of scikit-learn and ours side by side, and what tests of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris, make_classification
from sklearn.model_selection import (
    GridSearchCV,
    ParameterGrid,
    RandomizedSearchCV,
)
from sklearn.tree import DecisionTreeClassifier

from tune_plugins.integrations.sklearn import TuneGridSearchCV, TuneSearchCV

IRIS_X, IRIS_Y = load_iris(return_X_y=True)
X, Y = make_classification(n_samples=90, n_features=6, n_informative=4, flip_y=0.2, random_state=0)
TREE = DecisionTreeClassifier(random_state=0)
DEPTHS = {"max_depth": [1, 2, 5]}
TIMES = ("mean_fit_time", "std_fit_time", "mean_score_time", "std_score_time")


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


def function_a(X: Any) -> Any:
    return X
