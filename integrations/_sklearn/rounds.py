"""Estimators that are trained in rounds: where their number is set, and how a training goes on from some to more."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.pipeline import Pipeline

from tune_plugins.arguments import is_whole

COUNTERS = ("n_estimators", "max_iter", "iterations", "max_epochs", "epochs")
"""Parameters that say how many rounds to train: of scikit-learn, XGBoost and LightGBM; of CatBoost; of skorch."""

_LIMITS = ("max_iter", "max_epochs", "epochs")
"""Those of them that a training need not reach."""

_GROWS = (
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
"""With ``warm_start`` these become what one fit with all rounds makes. Others, which shuffle anew, restart a schedule
of the learning rate or forget a momentum, become something else: their scores would not be those of a whole fit."""


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
        if done is None:
            done = getattr(estimator, "n_estimators_", None) if self.course is Course.GROWS else None
        if done is None or not (self.is_limit or self.course is Course.GROWS):
            return False
        return bool(np.size(done)) and int(np.max(done)) < rounds


def last_step(estimator: Any) -> Any:
    """What goes on by rounds: the last step of a pipeline, or the estimator itself."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def rounds_of(estimator: Any, max_resources: int | None = None) -> Rounds | None:
    """The rounds of an estimator that is not a pipeline; None where it has none, or it is not known how many.

    Args:
        estimator: with its parameters.
        max_resources: passes over the data of one that has `partial_fit` and no other rounds.
    """
    if not hasattr(estimator, "get_params"):  # "passthrough"
        return None
    parameters = estimator.get_params(deep=False)
    for name in COUNTERS:
        if (end := _count(estimator, name, parameters)) is not None:
            return Rounds(_course(estimator), end, name, is_limit=name in _LIMITS or isinstance(estimator, _GROWS))
    kwargs = parameters.get("fit_kwargs")  # of Keras' wrappers
    if isinstance(kwargs, Mapping) and is_whole(kwargs.get("epochs")):
        return Rounds(Course.ANEW, int(kwargs["epochs"]), "fit_kwargs", "epochs")
    if hasattr(estimator, "partial_fit") and max_resources is not None:
        return Rounds(Course.PASSES, max_resources)
    return None


def _count(estimator: Any, name: str, parameters: Mapping[str, Any]) -> int | None:
    if name not in parameters:
        return None
    count = parameters[name]
    if count is None and name == "n_estimators" and hasattr(estimator, "get_num_boosting_rounds"):
        count = estimator.get_num_boosting_rounds()  # XGBoost's own default
    return int(count) if is_whole(count) and count >= 1 else None


def _course(estimator: Any) -> Course:
    if not isinstance(estimator, _GROWS):
        return Course.ANEW
    # What looks at data set aside splits them off anew each time that it goes on.
    stops_itself = getattr(estimator, "n_iter_no_change", None) is not None and not hasattr(estimator, "early_stopping")
    out_of_bag = bool(getattr(estimator, "oob_score", False))
    return Course.ANEW if stops_itself or out_of_bag else Course.GROWS


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
        estimator: the candidate, a pipeline or not; it is cloned.
        rounds: of its last step.
        classes: of the whole data, for `partial_fit`.
    """

    def __init__(self, estimator: Any, rounds: Rounds, classes: Any = None) -> None:
        self._given, self._rounds, self._classes = estimator, rounds, classes
        self.estimator: Any = None
        self._done = 0

    def fit_to(self, rounds: int, X: Any, y: Any, params: Mapping[str, Any]) -> Any:
        """The estimator, trained to so many rounds on the same data as before.

        Raises:
            Exception: whatever its fit raises.
        """
        course = self._rounds.course
        if self.estimator is None:
            self.estimator = _kept(clone(self._given))
            self._done = 0
        elif course is Course.ANEW:
            _replace_last(self.estimator, clone(last_step(self._given)), self)
        if course is Course.PASSES:
            fit_by_passes(self.estimator, rounds - self._done, self._classes, X, y, params)
        else:
            last = self._rounds.told(last_step(self.estimator), rounds)
            if course is Course.GROWS:
                last.set_params(warm_start=True)
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
        return self._kept


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
