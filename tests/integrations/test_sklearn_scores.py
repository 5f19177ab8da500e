"""Scores, the best candidate, and fits and scores that fail, as with scikit-learn's searches."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, make_scorer, recall_score
from sklearn.model_selection import (
    KFold,
)
from sklearn.svm import LinearSVC
from sklearn_searches import (
    DEPTHS,
    TREE,
    Fails,
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


class Unscored(LinearSVC):  # type: ignore[misc]
    """Has no score of its own."""

    @property
    def score(self) -> Any:
        raise AttributeError("score")


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
