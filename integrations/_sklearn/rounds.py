"""Estimators that are trained in rounds: where their number is set, and how a training goes on from some to more."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from sklearn import ensemble
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from tune_plugins.arguments import is_whole

COUNTERS = ("n_estimators", "max_iter", "iterations", "max_epochs", "epochs")
"""Parameters that say how many rounds to train: of scikit-learn, XGBoost and LightGBM; of CatBoost; of skorch."""

_LIMITS = ("max_iter", "max_epochs", "epochs")
"""Those of them that a training need not reach."""

_GROWS = (
    ensemble.BaggingClassifier,
    ensemble.BaggingRegressor,
    ensemble.ExtraTreesClassifier,
    ensemble.ExtraTreesRegressor,
    ensemble.GradientBoostingClassifier,
    ensemble.GradientBoostingRegressor,
    ensemble.HistGradientBoostingClassifier,
    ensemble.HistGradientBoostingRegressor,
    ensemble.RandomForestClassifier,
    ensemble.RandomForestRegressor,
)
"""With ``warm_start`` these become what one fit with all rounds makes; what is derived from them may not. Others, which
shuffle anew, restart a schedule of the learning rate or forget a momentum, become something else: their scores would
not be those of a whole fit."""


_STOPS_ITSELF = 10_000
"""From more samples on gradient boosting by histograms stops by itself, unless told otherwise."""


class Course(StrEnum):
    """How an estimator comes from some rounds to more."""

    GROWS = "grows"  # by `warm_start`, from the rounds that it has
    ANEW = "anew"  # from the beginning: rungs lie so far apart that all of them together cost little more than the last
    PASSES = "passes"  # by `partial_fit`, one pass over the data a round


@dataclass(frozen=True)
class Rounds:
    """The rounds of an estimator.

    Attributes:
        course: how it comes to more of them.
        parameter: that counts them; empty where only `partial_fit` does.
        key: in a dict that is the value of `parameter`; empty: the value itself counts.
        end: as many as it is told to train.
        is_limit: a training may end before, and then says so by ``n_iter_``.
    """

    course: Course
    end: int
    parameter: str = ""
    key: str = ""
    is_limit: bool = False

    def told(self, estimator: Any, rounds: int) -> Any:
        """The estimator, told to train so many rounds."""
        if not self.parameter:
            return estimator
        value: Any = rounds
        if self.key:
            value = {**(estimator.get_params(deep=False)[self.parameter] or {}), self.key: rounds}
        return estimator.set_params(**{self.parameter: value})

    def ended_by_itself(self, estimator: Any, rounds: int) -> bool:
        """Whether a training that was told so many rounds needed fewer, so that more would change nothing."""
        done = getattr(estimator, "n_iter_", None)
        if done is None or not self.is_limit or _tells_of_one_training_only(estimator):
            return False
        return bool(np.size(done)) and int(np.max(done)) < rounds


def _tells_of_one_training_only(estimator: Any) -> bool:
    """Whether ``n_iter_`` is that of the best of several starts, or of the last of several fits."""
    parameters = estimator.get_params(deep=False)
    starts = parameters.get("n_init", 1)
    if starts == "auto":  # of KMeans
        starts = 1 if parameters.get("init") == "k-means++" else 10
    return starts != 1 or "cv" in parameters


def clone_of(estimator: Any) -> Any:
    """A clone with all parameters: that of a wrapper of Keras has lost its ``fit_kwargs``."""
    made = clone(estimator)
    if not hasattr(estimator, "get_params"):
        return made
    lost = {
        name: value
        for name, value in estimator.get_params(deep=True).items()
        if name.rpartition("__")[2] == "fit_kwargs" and value
    }
    return made.set_params(**lost) if lost else made


def last_step(estimator: Any) -> Any:
    """What goes on by rounds: the last step of a pipeline, or the estimator itself."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def rounds_of(whole: Any, max_resources: int | None, n_samples: int) -> Rounds | None:
    """The rounds of an estimator, of its last step if it is a pipeline; None where it has none, or who knows how many.

    Args:
        whole: the estimator with its parameters.
        max_resources: passes over the data of one that has `partial_fit` and no other rounds.
        n_samples: of the training data; of several, of the largest.
    """
    estimator = last_step(whole)
    if not hasattr(estimator, "get_params"):  # "passthrough"
        return None
    parameters = estimator.get_params(deep=False)
    for name in COUNTERS:
        if (end := _count(estimator, name, parameters)) is not None:
            course = _course(estimator, n_samples) if _keeps(whole) else Course.ANEW
            return Rounds(course, end, name, is_limit=name in _LIMITS)
    kwargs = parameters.get("fit_kwargs")  # of Keras' wrappers
    if isinstance(kwargs, Mapping) and is_whole(kwargs.get("epochs")):
        return Rounds(Course.ANEW, int(kwargs["epochs"]), "fit_kwargs", "epochs")
    if hasattr(estimator, "partial_fit") and max_resources is not None:
        return Rounds(Course.PASSES, max_resources)
    return None


def _keeps(estimator: Any) -> bool:
    """Whether what comes before the last step is kept; that of another kind of pipeline is made anew each time."""
    while type(estimator) is Pipeline:
        estimator = estimator.steps[-1][1]
    return not isinstance(estimator, Pipeline)


def _count(estimator: Any, name: str, parameters: Mapping[str, Any]) -> int | None:
    if name not in parameters:
        return None
    count = parameters[name]
    if count is None and name == "n_estimators" and hasattr(estimator, "get_num_boosting_rounds"):
        count = estimator.get_num_boosting_rounds()  # XGBoost's own default; 1 of its random forest
    return int(count) if is_whole(count) and count >= 1 else None


def _course(estimator: Any, n_samples: int) -> Course:
    if type(estimator) not in _GROWS:
        return Course.ANEW
    # What stops by itself trains on where it had stopped just at a rung, or looks at other data set aside.
    early = getattr(estimator, "early_stopping", getattr(estimator, "n_iter_no_change", None) is not None)
    stops_itself = n_samples > _STOPS_ITSELF if early == "auto" else early
    # A generator has gone on since it was last drawn from.
    generator = not (estimator.random_state is None or is_whole(estimator.random_state))
    return Course.ANEW if stops_itself or generator or getattr(estimator, "oob_score", False) else Course.GROWS


def fit_by_passes(estimator: Any, count: int, classes: Any, X: Any, y: Any, params: Mapping[str, Any]) -> None:
    """Fit an estimator, its last step by so many more passes of `partial_fit` over the data.

    Args:
        estimator: a pipeline or not.
        count: of passes.
        classes: all class labels, also those that the data lack; None where there are none.
        X: data.
        y: targets, or None.
        params: of `fit`.
    """
    last = last_step(estimator)
    takes = inspect.signature(last.partial_fit).parameters
    more = {"classes": classes} if "classes" in takes and classes is not None else {}

    def fit(X: Any, y: Any = None, **params: Any) -> Any:
        for _ in range(count):
            last.partial_fit(X, *(() if y is None else (y,)), **more, **params)
        return last

    last.fit = fit  # which is what a pipeline around it calls
    try:
        estimator.fit(X, *(() if y is None else (y,)), **params)
    finally:
        del last.fit


class Training:
    """One candidate on the training data of one split: fitted to so many rounds, and later to more.

    Args:
        make: makes the candidate, a pipeline or not.
        rounds: of its last step.
        classes: of the whole data, for `partial_fit`.
    """

    def __init__(self, make: Callable[[], Any], rounds: Rounds, classes: Any = None) -> None:
        self._make, self._rounds, self._classes = make, rounds, classes
        self.estimator: Any = None
        self._done = 0

    def fit_to(self, rounds: int, X: Any, y: Any, params: Mapping[str, Any]) -> Any:
        """The estimator, trained to so many rounds on the same data as before.

        Raises:
            Exception: whatever its fit raises.
        """
        course = self._rounds.course
        if self.estimator is None:
            self.estimator = _kept(self._make())
            self._done = 0
        elif course is Course.ANEW:
            _replace_last(self.estimator, last_step(self._make()), self)
        if course is Course.PASSES:
            fit_by_passes(self.estimator, rounds - self._done, self._classes, X, y, params)
        else:
            last = last_step(self.estimator)
            if course is Course.GROWS:
                last.set_params(warm_start=True)
            if course is Course.GROWS or rounds != self._rounds.end:
                self._rounds.told(last, rounds)
            with warnings.catch_warnings():
                if course is Course.GROWS:  # the data are the same, so that the weights are right
                    warnings.filterwarnings("ignore", message="class_weight presets")
                self.estimator.fit(X, *(() if y is None else (y,)), **params)
        self._done = rounds
        return self.estimator

    @property
    def ended_by_itself(self) -> bool:
        """More rounds would change nothing."""
        return self._rounds.ended_by_itself(last_step(self.estimator), self._done)

    def forget(self) -> None:
        """Begin anew next time."""
        self.estimator = None


class _KeptPipeline(Pipeline):
    """Fits its transformers once; what they made of the training data is kept for the next fit on the same data."""

    def _fit(self, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(self, "_kept"):
            self._kept = super()._fit(*args, **kwargs)
        return deepcopy(self._kept)  # the last step may write into it


def _kept(estimator: Any) -> Any:
    if type(estimator) is not Pipeline:
        return estimator
    arguments = estimator.get_params(deep=False)
    arguments["steps"] = [*arguments["steps"][:-1], (arguments["steps"][-1][0], _kept(arguments["steps"][-1][1]))]
    return _KeptPipeline(**arguments)


def _replace_last(estimator: Any, last: Any, training: Training) -> None:
    if not isinstance(estimator, Pipeline):
        training.estimator = last
        return
    while isinstance(estimator.steps[-1][1], Pipeline):
        estimator = estimator.steps[-1][1]
    estimator.steps[-1] = (estimator.steps[-1][0], last)
