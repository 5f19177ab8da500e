"""All kinds of data and splits that scikit-learn's searches take."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_blobs, make_multilabel_classification
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import f1_score, make_scorer
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
    LeavePGroupsOut,
    PredefinedSplit,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
)
from sklearn.naive_bayes import ComplementNB
from sklearn.neighbors import KernelDensity, KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeRegressor
from sklearn_searches import (
    DEPTHS,
    TREE,
    Kind,
    Looks,
    X,
    Y,
    assert_alike,
    assert_same_results,
    both_kinds,
    error_of,
    one_kind,
)

# ------------------------------------------------------------------------------ estimators


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
