"""Estimators with `partial_fit` alone and Keras; what a search that stops early says of its candidates is so."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.ensemble import (
    GradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.metrics import get_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    StratifiedKFold,
    TimeSeriesSplit,
)
from sklearn.naive_bayes import BernoulliNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    StandardScaler,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from sklearn_families import (
    EXACT,
    HARD_X,
    HARD_Y,
    IRIS_X,
    IRIS_Y,
    REG_X,
    REG_Y,
    TWO,
    LetsAll,
    compared,
    in_full,
    same_results,
)

from tune_plugins.core.scheduler import Action, TrialScheduler
from tune_plugins.core.trial import Trial
from tune_plugins.integrations.sklearn import TuneGridSearchCV

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore::FutureWarning", "ignore:X does not have valid feature"
)


class StopsSome(TrialScheduler):
    """Stops every other candidate at its first report."""

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> str:
        number = self.numbers.setdefault(trial.id, len(self.numbers))
        return Action.STOP if number % 2 else Action.CONTINUE

    def setup(self, **options: Any) -> None:
        super().setup(**options)
        self.numbers: dict[str, int] = {}


# ---------------------------------------------------------------- partial_fit alone, and Keras


class Passes(ClassifierMixin, BaseEstimator):
    """Has nothing but passes over the data."""

    def __init__(self, rate: float = 0.5) -> None:
        self.rate = rate

    def fit(self, X: Any, y: Any) -> Passes:
        vars(self).pop("passes_", None)
        return self.partial_fit(X, y)

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Passes:
        if not hasattr(self, "passes_"):
            self.classes_ = np.unique(y) if classes is None else np.asarray(classes)
            self.passes_ = 0
            self.centres_ = np.zeros((len(self.classes_), X.shape[1]))
        self.passes_ += 1
        for number, label in enumerate(self.classes_):
            if (mine := X[np.asarray(y) == label]).shape[0]:
                self.centres_[number] += self.rate * (mine.mean(0) - self.centres_[number])
        seen.append((self.passes_, tuple(self.classes_)))
        return self

    def predict(self, X: Any) -> Any:
        return self.classes_[((X[:, None] - self.centres_) ** 2).sum(2).argmin(1)]


class RegressorOfPasses(RegressorMixin, BaseEstimator):
    """Likewise, and `partial_fit` asks for no classes."""

    def __init__(self, rate: float = 0.5) -> None:
        self.rate = rate

    def fit(self, X: Any, y: Any) -> RegressorOfPasses:
        vars(self).pop("mean_", None)
        return self.partial_fit(X, y)

    def partial_fit(self, X: Any, y: Any) -> RegressorOfPasses:
        self.mean_ = getattr(self, "mean_", 0.0) + self.rate * (np.mean(y) - getattr(self, "mean_", 0.0))
        self.passes_ = getattr(self, "passes_", 0) + 1
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.mean_)


seen: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> Iterator[None]:
    seen.clear()
    yield
    seen.clear()


@pytest.mark.parametrize("scheduler", ["asha", LetsAll(), "hyperband", None])
@pytest.mark.parametrize("kind", ["alone", "pipeline", "nested"])
def test_passes_are_those_of_partial_fit(kind: str, scheduler: Any) -> None:
    estimator = Passes()
    if kind != "alone":
        estimator = make_pipeline(StandardScaler(), estimator)
    if kind == "nested":
        estimator = make_pipeline(MinMaxScaler(), estimator)
    name = {"alone": "rate", "pipeline": "passes__rate", "nested": "pipeline__passes__rate"}[kind]
    search = TuneGridSearchCV(
        estimator, {name: [0.01, 0.1, 0.5]}, scheduler=scheduler, max_resources=7, cv=KFold(3), n_jobs=1
    ).fit(IRIS_X, IRIS_Y)
    last = search.best_estimator_
    while isinstance(last, Pipeline):
        last = last[-1]
    assert last.passes_ == 7
    assert "fit" not in vars(last)
    train, test = next(KFold(3).split(IRIS_X))
    for row in range(3):
        if scheduler is not None and search.cv_results_["stopped_early"][row]:
            continue
        plain = Passes(search.cv_results_["params"][row][name])
        before = clone(estimator[:-1]) if kind == "pipeline" else None
        if kind == "nested":
            before = make_pipeline(MinMaxScaler(), StandardScaler())
        X = IRIS_X if before is None else before.fit(IRIS_X[train]).transform(IRIS_X)
        for _ in range(7):
            plain.partial_fit(X[train], IRIS_Y[train], classes=np.unique(IRIS_Y))
        assert search.cv_results_["split0_test_score"][row] == plain.score(X[test], IRIS_Y[test])


@pytest.mark.parametrize("labels", [np.array([10, 20, 30]), np.array(["one", "two", "three"])])
def test_passes_know_the_labels_of_all_data(labels: Any) -> None:
    cv = PredefinedSplit(IRIS_Y)  # each training lacks one label
    for estimator in (Passes(), make_pipeline(StandardScaler(), Passes())):
        seen.clear()
        search = TuneGridSearchCV(estimator, {}, scheduler=LetsAll(), max_resources=3, cv=cv, n_jobs=1)
        search.fit(IRIS_X, list(labels[IRIS_Y]))
        assert {classes for _, classes in seen} == {tuple(np.unique(labels))}


@pytest.mark.parametrize(
    ("estimator", "X"),
    [
        (GaussianNB(), IRIS_X),
        (MultinomialNB(), IRIS_X),
        (MultinomialNB(), sp.csr_matrix(IRIS_X)),
        (BernoulliNB(binarize=2.0), sp.csc_matrix(IRIS_X)),
    ],
)
def test_bayes_in_passes(estimator: Any, X: Any) -> None:
    weights = np.linspace(0.1, 2.0, 150)
    name = "var_smoothing" if isinstance(estimator, GaussianNB) else "alpha"
    search = TuneGridSearchCV(
        estimator,
        {name: [1e-3, 0.1]},
        scheduler=LetsAll(),
        max_resources=4,
        cv=TWO,
        scoring="neg_log_loss",
        n_jobs=1,
        error_score="raise",
    ).fit(X, IRIS_Y, sample_weight=weights)
    assert search.fidelity_ == "rounds"
    assert search.cv_results_["resource"].tolist() == [4, 4]
    X = sp.csr_matrix(X) if sp.issparse(X) else X
    for row, parameters in enumerate(search.cv_results_["params"]):
        for split, (train, test) in enumerate(TWO.split(IRIS_X)):
            plain = clone(estimator).set_params(**parameters)
            for _ in range(4):
                plain.partial_fit(X[train], IRIS_Y[train], classes=np.unique(IRIS_Y), sample_weight=weights[train])
            expected = get_scorer("neg_log_loss")(plain, X[test], IRIS_Y[test], sample_weight=weights[test])
            assert search.cv_results_[f"split{split}_test_score"][row] == pytest.approx(expected, rel=EXACT)


def test_passes_of_a_regressor_are_not_given_classes() -> None:
    search = TuneGridSearchCV(
        RegressorOfPasses(), {"rate": [0.1, 0.5]}, scheduler=LetsAll(), max_iters=5, cv=2, n_jobs=1, error_score="raise"
    ).fit(REG_X, REG_Y)
    assert search.best_estimator_.passes_ == 5


def build(X: Any, y: Any, units: int = 4) -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((X.shape[1],)),
            keras.layers.Dense(units, activation="tanh"),
            keras.layers.Dense(3, "softmax"),
        ]
    )
    model.compile(loss="categorical_crossentropy", optimizer="adam")
    return model


def build_regressor(X: Any, y: Any) -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((X.shape[1],)), keras.layers.Dense(1)])
    model.compile(loss="mse", optimizer="adam")
    return model


def test_keras_is_trained_in_epochs() -> None:
    epochs = {"epochs": 5, "verbose": 0, "batch_size": 10}
    classifier = keras.wrappers.SKLearnClassifier(build)
    regressor = make_pipeline(StandardScaler(), keras.wrappers.SKLearnRegressor(build_regressor))
    for estimator, grid, X, y in (
        (classifier, {"fit_kwargs": [epochs], "model_kwargs": [{"units": 2}, {"units": 6}]}, IRIS_X, IRIS_Y),
        (regressor, {"sklearnregressor__fit_kwargs": [epochs, {**epochs, "epochs": 3}]}, REG_X, REG_Y),
    ):
        common = {"cv": TWO, "n_jobs": 1, "error_score": "raise", "refit": False}
        plain = GridSearchCV(estimator, grid, **common).fit(X, y)
        ours = TuneGridSearchCV(estimator, grid, scheduler=LetsAll(), **common).fit(X, y)
        assert ours.fidelity_ == "rounds"
        assert ours.cv_results_["resource"].tolist() == ([5, 5] if estimator is classifier else [5, 3])
        in_full(ours, plain, rtol=1e-5)  # float32
        same_results(TuneGridSearchCV(estimator, grid, **common).fit(X, y), plain, rtol=1e-5)


def test_epochs_that_the_wrapper_of_keras_was_made_with_are_not_lost() -> None:
    # Keras' own `__sklearn_clone__` forgets them, so that scikit-learn's searches train one epoch.
    classifier = keras.wrappers.SKLearnClassifier(build, fit_kwargs={"epochs": 5, "verbose": 0})
    grid = {"model_kwargs": [{"units": 2}]}
    for more, epochs in ({}, 5), ({"max_resources": 3}, 3):
        search = TuneGridSearchCV(classifier, grid, scheduler=LetsAll(), cv=TWO, n_jobs=1, **more).fit(IRIS_X, IRIS_Y)
        assert search.fidelity_ == "rounds"
        assert search.cv_results_["resource"].tolist() == [epochs]
        assert search.best_estimator_.fit_kwargs == {"epochs": epochs, "verbose": 0}
        assert len(search.best_estimator_.history_.epoch) == epochs


# ---------------------------------------------------------------- honest results


class Records(ClassifierMixin, BaseEstimator):
    """Notes the rows that it was fitted on, and those that it was to predict: their numbers are in column 0."""

    def __init__(self, n_estimators: int = 8, alpha: float = 0.0) -> None:
        self.n_estimators, self.alpha = n_estimators, alpha

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Records:
        self.rows_ = frozenset(int(row) for row in X[:, 0])
        self.classes_ = np.unique(y)
        if sample_weight is not None:
            np.testing.assert_array_equal(sample_weight, X[:, 0])
        np.testing.assert_array_equal(y, X[:, 1].astype(int))
        seen.append(self.rows_)
        return self

    def predict(self, X: Any) -> Any:
        assert not self.rows_ & {int(row) for row in X[:, 0]}
        noise = np.random.default_rng(int(self.alpha)).random(len(X)) < self.alpha / 10
        return np.where(noise, self.classes_[0], X[:, 1].astype(int))


NUMBERED = np.column_stack([np.arange(150.0), IRIS_Y, IRIS_X])
GROUPS = np.random.default_rng(0).integers(0, 9, 150)


@pytest.mark.parametrize("fidelity", ["rounds", "folds", "samples", None])
@pytest.mark.parametrize(
    "cv",
    [
        StratifiedKFold(3, shuffle=True, random_state=0),
        TimeSeriesSplit(3, gap=5, max_train_size=40),
        GroupKFold(3),
        LeaveOneGroupOut(),
        [(np.arange(100), np.arange(100, 150)), (np.arange(0, 150, 2), np.arange(1, 150, 2))],
        [(np.arange(150) % 3 > 0, np.arange(150) % 3 == 0), (np.arange(150) % 3 < 2, np.arange(150) % 3 == 2)],
    ],
)
def test_splits_are_used_as_they_are_and_held_out_data_reach_no_fit(fidelity: Any, cv: Any) -> None:
    splits = list(cv.split(NUMBERED, IRIS_Y, GROUPS)) if hasattr(cv, "split") else cv
    parts = [
        frozenset(np.flatnonzero(train).tolist() if train.dtype == bool else train.tolist()) for train, _ in splits
    ]
    search = TuneGridSearchCV(
        Records(),
        {"alpha": [1.0, 5.0, 2.0]},
        scheduler=LetsAll() if fidelity else None,
        fidelity=fidelity,
        cv=cv,
        n_jobs=1,
        refit=False,
        error_score="raise",
    ).fit(NUMBERED, IRIS_Y, groups=GROUPS, sample_weight=NUMBERED[:, 0])
    plain = GridSearchCV(Records(), {"alpha": [1.0, 5.0, 2.0]}, cv=cv, refit=False, error_score="raise")
    fits = list(seen)
    plain.fit(NUMBERED, IRIS_Y, groups=GROUPS, sample_weight=NUMBERED[:, 0])
    same_results(search, plain)
    if fidelity == "samples":
        assert all(any(rows <= part for part in parts) for rows in fits)
        assert len(set(fits)) > len(set(parts))
    else:
        assert set(fits) == set(parts)
    for part in parts:
        assert fits.count(part) >= 3


@pytest.mark.parametrize("scheduler", [StopsSome(), "asha", "hyperband", "median", "race"])
def test_a_candidate_stopped_between_folds_has_no_scores_of_the_others(scheduler: Any) -> None:
    alphas = [1.0, 9.0, 0.0, 8.0, 3.0, 9.5, 7.0]
    cv = StratifiedKFold(6)
    common = {"cv": cv, "n_jobs": 1, "error_score": "raise"}
    ours = TuneGridSearchCV(Records(), {"alpha": alphas}, scheduler=scheduler, fidelity="folds", **common)
    ours.refit = False
    ours.fit(NUMBERED, IRIS_Y)
    plain = GridSearchCV(Records(), {"alpha": alphas}, refit=False, **common).fit(NUMBERED, IRIS_Y)
    in_full(ours, plain)
    results = ours.cv_results_
    each = np.stack([results[f"split{number}_test_score"] for number in range(6)], axis=1)
    theirs = np.stack([plain.cv_results_[f"split{number}_test_score"] for number in range(6)], axis=1)
    assert results["stopped_early"].any()
    for row, count in enumerate(results["resource"]):
        assert results["stopped_early"][row] == (count < 6)
        np.testing.assert_array_equal(each[row, :count], theirs[row, :count])
        assert np.isnan(each[row, count:]).all()
        assert results["mean_test_score"][row] == pytest.approx(each[row, :count].mean())
    full, stopped = (results["rank_test_score"][results["stopped_early"] == kind] for kind in (False, True))
    assert full.max() < stopped.min()
    assert not results["stopped_early"][ours.best_index_]
    assert ours.best_score_ == np.max(results["mean_test_score"][~results["stopped_early"]])


@pytest.mark.parametrize("fidelity", ["rounds", "samples", "folds"])
def test_what_was_stopped_early_is_behind_however_good_it_looks(fidelity: str) -> None:
    # Those that are stopped have the better scores.
    search = TuneGridSearchCV(
        Records(), {"alpha": [5.0, 0.0, 6.0, 0.0]}, scheduler=StopsSome(), fidelity=fidelity, cv=KFold(3), n_jobs=1
    )
    search.refit = False
    search.fit(NUMBERED, IRIS_Y)
    results = search.cv_results_
    assert results["stopped_early"].tolist() == [False, True, False, True]
    assert (results["mean_test_score"][[1, 3]] == 1).all()
    assert set(results["rank_test_score"][[0, 2]]) <= {1, 2}
    assert (results["rank_test_score"][[1, 3]] == 3).all()
    assert search.best_index_ in (0, 2)
    assert search.best_score_ < 1


@pytest.mark.parametrize(
    ("estimator", "grid"),
    [
        (SVC(), {"C": [0.1, 1.0, 10.0, 100.0]}),
        (make_pipeline(StandardScaler(), KNeighborsClassifier()), {"kneighborsclassifier__n_neighbors": [1, 5, 15]}),
        (GradientBoostingClassifier(n_estimators=5, random_state=0), {"max_depth": [1, 2, 3]}),
    ],
)
@pytest.mark.parametrize("scheduler", ["asha", LetsAll(), "hyperband"])
def test_with_samples_the_last_score_is_the_plain_one(estimator: Any, grid: Any, scheduler: Any) -> None:
    in_full(*compared(estimator, grid, IRIS_X, IRIS_Y, fidelity="samples", scheduler=scheduler, cv=3))


class NeedsMany(DecisionTreeClassifier):
    """Cannot be fitted on a few samples."""

    def fit(self, X: Any, y: Any, **params: Any) -> Any:
        if len(X) < 60:
            raise ValueError("too few samples")
        return super().fit(X, y, **params)


@pytest.mark.parametrize("error_score", [np.nan, "raise"])
def test_a_fit_that_fails_on_few_samples_is_no_failure_of_the_whole(error_score: Any) -> None:
    common = {"cv": 3, "n_jobs": 1, "error_score": error_score}
    grid = {"max_depth": [1, 3]}
    plain = GridSearchCV(NeedsMany(random_state=0), grid, **common).fit(IRIS_X, IRIS_Y)
    ours = TuneGridSearchCV(NeedsMany(random_state=0), grid, scheduler=LetsAll(), fidelity="samples", **common)
    in_full(ours.fit(IRIS_X, IRIS_Y), plain)


def test_a_kernel_that_was_computed_is_cut_on_both_sides() -> None:
    kernel = IRIS_X @ IRIS_X.T
    for fidelity in ("samples", "folds"):
        for cv in (TWO, StratifiedKFold(3)):
            estimator = SVC(kernel="precomputed")
            in_full(*compared(estimator, {"C": [0.01, 1.0]}, kernel, IRIS_Y, fidelity=fidelity, cv=cv))


def test_a_fit_that_fails_is_not_the_best_one() -> None:
    for scheduler in ("asha", LetsAll(), None):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            search = TuneGridSearchCV(
                RandomForestClassifier(8, random_state=0),
                {"max_features": [2, -3, "nothing", 1]},
                scheduler=scheduler,
                cv=TWO,
                n_jobs=1,
            ).fit(HARD_X, HARD_Y)
        assert any("4 fits failed" in str(each.message) for each in told)
        assert np.isnan(search.cv_results_["mean_test_score"][1:3]).all()
        assert search.best_params_["max_features"] in (1, 2)
