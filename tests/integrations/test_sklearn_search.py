"""The searches of scikit-learn's interface do what scikit-learn's own do: each case is asked of both, and compared.

Without a scheduler, and with candidates of lists and distributions of scipy, nothing but times may differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.base import is_classifier as says_classifier
from sklearn.base import is_regressor as says_regressor
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import (
    KFold,
)
from sklearn.model_selection._search import BaseSearchCV
from sklearn.neighbors import KernelDensity, KNeighborsClassifier, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import Tags
from sklearn_searches import (
    DEPTHS,
    IRIS_X,
    IRIS_Y,
    TREE,
    Kind,
    Threshold,
    X,
    Y,
    assert_alike,
    assert_same_results,
    both_kinds,
    error_of,
    one_kind,
)

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
