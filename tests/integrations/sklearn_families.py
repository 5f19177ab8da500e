"""Families of estimators that train step by step, and what tests of them share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import sklearn
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris, make_classification, make_regression
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
)
from sklearn.preprocessing import (
    OneHotEncoder,
    StandardScaler,
)

from tune_plugins.core.scheduler import TrialScheduler
from tune_plugins.integrations.sklearn import TuneGridSearchCV

EXACT = 1e-7  # relative: sums of trees are made in another order, where a training goes on from an earlier one
IRIS_X, IRIS_Y = load_iris(return_X_y=True)
_mixed = np.random.default_rng(0).permutation(150)
IRIS_X, IRIS_Y = np.ascontiguousarray(IRIS_X[_mixed]), IRIS_Y[_mixed]
HARD_X, HARD_Y = make_classification(160, 8, n_informative=4, flip_y=0.2, n_classes=2, random_state=3)
REG_X, REG_Y = make_regression(160, 6, n_informative=4, noise=20.0, random_state=1)
REG_Y = REG_Y / 50

TWO = KFold(2)  # not shuffled, so that all parts are views


class LetsAll(TrialScheduler):
    """Looks at every report, and stops nobody."""


def scoring_of(estimator: Any, y: Any) -> Any:
    """A score in which the smallest difference of two models can be seen."""
    if sklearn.base.is_classifier(estimator):
        if hasattr(estimator, "predict_proba"):
            return "neg_log_loss"
        return "roc_auc" if len(np.unique(y)) == 2 and hasattr(estimator, "decision_function") else "accuracy"
    return None


def same_results(ours: Any, plain: Any, rtol: float = EXACT) -> None:
    """The same candidates in the same order, with the same scores."""
    mine, theirs = ours.cv_results_, plain.cv_results_
    assert [str(each) for each in mine["params"]] == [str(each) for each in theirs["params"]]
    scores = [key for key in theirs if "_test_" in key or "_train_" in key]
    assert scores
    for key in scores:
        np.testing.assert_allclose(mine[key], theirs[key], rtol=rtol, atol=0, err_msg=key)
    assert [key for key in mine if key.startswith("param")] == [key for key in theirs if key.startswith("param")]


def in_full(ours: Any, plain: Any, rtol: float = EXACT) -> None:
    """The candidates that were evaluated as a whole have the scores of the plain search."""
    mine, theirs = ours.cv_results_, plain.cv_results_
    assert [str(each) for each in mine["params"]] == [str(each) for each in theirs["params"]]
    rows = np.flatnonzero(~mine["stopped_early"])
    assert len(rows)
    for key in [key for key in theirs if key.startswith(("split", "mean_test", "std_test", "mean_train"))]:
        np.testing.assert_allclose(mine[key][rows], theirs[key][rows], rtol=rtol, atol=0, err_msg=key)


def compared(
    estimator: Any, grid: Any, X: Any, y: Any, *, scheduler: Any = None, cv: Any = TWO, fit: Any = None, **more: Any
) -> tuple[Any, Any]:
    """Our search of a grid, each candidate looked at while it trains, and scikit-learn's."""
    scoring = more.pop("scoring", scoring_of(estimator, y))
    common = {"cv": cv, "scoring": scoring, "refit": False, "n_jobs": 1, "error_score": "raise"}
    plain = GridSearchCV(estimator, grid, **common, return_train_score=more.get("return_train_score", False))
    plain.fit(X, y, **(fit or {}))
    scheduler = LetsAll() if scheduler is None else scheduler
    ours = TuneGridSearchCV(estimator, grid, scheduler=scheduler, **common, **more).fit(X, y, **(fit or {}))
    return ours, plain


MIXED = pd.DataFrame(
    {
        "age": REG_X[:, 0],
        "city": pd.Categorical(np.array(["a", "b", "c", "d"])[(np.abs(REG_X[:, 1]) * 3).astype(int) % 4]),
        "size": REG_X[:, 2].astype(np.float32),
        "rooms": (REG_X[:, 3] * 3).astype(int),
        "name": pd.Series(np.array(["x", "y", "z"], dtype=object)[(np.abs(REG_X[:, 4]) * 5).astype(int) % 3]),
        "old": REG_X[:, 5] > 0,
    },
    index=[f"row {number}" for number in range(160)],
)
MIXED_Y = pd.Series(REG_Y, index=MIXED.index, name="price")


def columns() -> Any:
    return make_column_transformer(
        (StandardScaler(), ["age", "size"]),
        (OneHotEncoder(handle_unknown="ignore"), ["city", "name"]),
        remainder="passthrough",
    )
