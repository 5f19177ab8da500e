"""Parameters of fit and the routing of metadata, as with scikit-learn's searches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import (
    GroupKFold,
    LeaveOneGroupOut,
    StratifiedKFold,
    cross_validate,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn_searches import (
    TREE,
    Kind,
    Looks,
    X,
    Y,
    assert_alike,
    both_kinds,
    error_of,
    function_a,
)

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
