"""Spaces of candidates, and the names that scripts for tune-sklearn and scikit-learn give their arguments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import loguniform, randint, uniform
from sklearn.base import clone
from sklearn.ensemble import (
    RandomForestClassifier,
)
from sklearn.linear_model import (
    LogisticRegression,
)
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    StandardScaler,
)
from sklearn.svm import SVC
from sklearn_families import (
    EXACT,
    HARD_X,
    HARD_Y,
    IRIS_X,
    IRIS_Y,
    TWO,
    same_results,
)

import tune_plugins as tune
from tune_plugins.errors import ArgumentError
from tune_plugins.integrations.sklearn import TuneGridSearchCV, TuneSearchCV
from tune_plugins.schedulers import ASHAScheduler
from tune_plugins.search.optuna import OptunaSearch

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore::FutureWarning", "ignore:X does not have valid feature"
)


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
