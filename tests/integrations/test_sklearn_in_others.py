"""Searches in pipelines and searches, pickled and shown, and under scikit-learn's own checks."""

from __future__ import annotations

import copy
import io
import logging
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn_searches import (
    DEPTHS,
    GRID,
    IRIS_X,
    IRIS_Y,
    TREE,
    Kind,
    Looks,
    Threshold,
    X,
    Y,
    assert_alike,
    assert_same_results,
    both_kinds,
)

from tune_plugins.integrations.sklearn import TuneGridSearchCV, TuneSearchCV

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
