"""Candidates and `cv_results_` are those of scikit-learn's searches."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy.stats import expon, randint, uniform
from sklearn.base import BaseEstimator
from sklearn.base import is_classifier as says_classifier
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import (
    KFold,
    ParameterGrid,
    StratifiedKFold,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, SplineTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.utils import Tags
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils._tags import ClassifierTags, TargetTags
from sklearn_searches import (
    RANDOM,
    TIMES,
    TREE,
    Fails,
    Kind,
    Threshold,
    X,
    Y,
    assert_alike,
    both_kinds,
    error_of,
    function_a,
    one_kind,
)

from tune_plugins.integrations.sklearn import TuneGridSearchCV, TuneSearchCV

# ------------------------------------------------------------------------------ estimators


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
