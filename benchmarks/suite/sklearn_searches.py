"""Searches for scikit-learn on real data: ours with early stopping beside those that people use.

Every search tunes the same estimators over the same spaces on the same training data, one after another, and is judged
on test data that none has seen. `RandomizedSearchCV` sets the time: ours gets as much, and is asked when its best
candidate so far was as good as that of `RandomizedSearchCV` at its end, and how good it is after the same time.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.engine import CORES, Engine
from benchmarks.registry import AtMost, Benchmark, Job, Row, Side

FOLDS = 3
NOT_REACHED = 2.0
"""Counts for a score that was not reached in the time of `RandomizedSearchCV`."""


@dataclass(frozen=True)
class Model:
    """An estimator and what of it is tuned.

    Attributes:
        make: makes it, with these options for a large data set.
        space: of scikit-learn's kind.
    """

    make: Callable[..., Any]
    space: Mapping[str, Any]
    on_flights: Mapping[str, Any]


def models() -> dict[str, Model]:
    """All that are tuned, by name."""
    from scipy.stats import loguniform, randint, uniform
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression, SGDClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from xgboost import XGBClassifier

    def scaled(kind: Any, **options: Any) -> Callable[..., Any]:
        return lambda **more: Pipeline([("scale", StandardScaler()), ("model", kind(**options, **more))])

    return {
        "SGDClassifier": Model(
            scaled(SGDClassifier, random_state=0),
            {
                "model__alpha": loguniform(1e-7, 1.0),
                "model__penalty": ["l2", "l1", "elasticnet"],
                "model__loss": ["hinge", "log_loss", "modified_huber"],
                "model__learning_rate": ["optimal", "adaptive", "constant"],
                "model__eta0": loguniform(1e-3, 1.0),
            },
            {"max_iter": 50},
        ),
        "LogisticRegression": Model(scaled(LogisticRegression, max_iter=1000), {"model__C": loguniform(1e-5, 1e3)}, {}),
        "HistGradientBoosting": Model(
            lambda **more: HistGradientBoostingClassifier(random_state=0, **more),
            {
                "learning_rate": loguniform(1e-2, 1.0),
                "max_leaf_nodes": randint(4, 64),
                "min_samples_leaf": randint(5, 60),
                "l2_regularization": loguniform(1e-6, 10.0),
            },
            {},
        ),
        "RandomForest": Model(
            lambda **more: RandomForestClassifier(random_state=0, **more),
            {
                "max_depth": randint(2, 30),
                "max_features": uniform(0.05, 0.9),
                "min_samples_leaf": randint(1, 20),
                "criterion": ["gini", "entropy"],
            },
            {"n_estimators": 48, "max_samples": 0.2},
        ),
        "XGBClassifier": Model(
            lambda **more: XGBClassifier(random_state=0, n_jobs=1, **more),
            {
                "learning_rate": loguniform(1e-2, 1.0),
                "max_depth": randint(2, 10),
                "reg_lambda": loguniform(1e-3, 100.0),
                "subsample": uniform(0.5, 0.5),
                "colsample_bytree": uniform(0.3, 0.7),
            },
            {},
        ),
        "MLPClassifier": Model(
            scaled(MLPClassifier, random_state=0),
            {
                "model__alpha": loguniform(1e-6, 10.0),
                "model__learning_rate_init": loguniform(1e-4, 1e-1),
                "model__hidden_layer_sizes": [(32,), (64,), (128,), (64, 32)],
                "model__activation": ["relu", "tanh"],
            },
            {"max_iter": 16, "batch_size": 1024},
        ),
    }


def data(name: str) -> tuple[Any, Any]:
    """Features and labels."""
    import numpy as np
    from sklearn.datasets import load_breast_cancer, load_digits

    if name == "digits":
        return load_digits(return_X_y=True)
    if name == "breast cancer":
        return load_breast_cancer(return_X_y=True)
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
    import flights_data  # type: ignore[import-not-found]

    parts = flights_data.load(rows=100_000)
    columns, labels = [], []
    for part in parts.values():
        frame = part.features.copy()
        for column in flights_data.CATEGORIES:
            frame[column] = frame[column].cat.codes
        columns.append(frame.to_numpy(dtype=np.float64))
        labels.append(part.late.to_numpy())
    features = np.concatenate(columns)
    medians = np.nanmedian(features, axis=0)  # of measurements of the weather that are missing
    return np.where(np.isnan(features), medians, features), np.concatenate(labels).astype(np.int64)


@dataclass(frozen=True)
class Outcome:
    """What one search came to.

    Attributes:
        seconds: of its fit.
        right: for each test sample whether the best estimator is right.
    """

    seconds: float
    right: Any

    @property
    def score(self) -> float:
        """Accuracy on the test data."""
        return float(self.right.mean())


def compare(engine: Engine, *, seeds: Mapping[str, int], candidates: Mapping[str, int]) -> dict[str, float]:
    """All searches on all data sets and models.

    Args:
        engine: ours.
        seeds: number of splits into training and test data, by data set.
        candidates: of `RandomizedSearchCV`, by data set.
    """
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingRandomSearchCV, RandomizedSearchCV, train_test_split

    warnings.simplefilter("ignore")
    searches = engine.adapter("sklearn")
    others = ("ours", "halving", "optuna")
    speed: dict[str, list[float]] = {name: [] for name in (*others, "random")}
    worse: dict[str, int] = dict.fromkeys(others, 0)
    ahead: dict[str, list[tuple[float, float]]] = {name: [] for name in others}
    with engine.cluster():
        _warm_up(searches)
        for data_set in seeds:
            X, y = data(data_set)
            for model_name, model in models().items():
                differences: dict[str, list[tuple[float, float]]] = {name: [] for name in others}
                for seed in range(seeds[data_set]):
                    parts = train_test_split(X, y, test_size=0.25, random_state=seed, stratify=y)
                    estimator = model.make(**(model.on_flights if data_set == "flights" else {}))
                    count = candidates[data_set]
                    common = {"cv": FOLDS, "n_jobs": CORES, "random_state": seed}
                    random = RandomizedSearchCV(estimator, model.space, n_iter=count, **common)
                    peer = _run(random, parts)[0]
                    speed["random"].append(_course_of_peer(random, parts, peer))
                    found = {}
                    asha = searches.TuneSearchCV(
                        estimator,
                        model.space,
                        n_trials=count * 10,
                        scheduler="asha",
                        time_budget_s=peer.seconds,
                        **common,
                    )
                    found["ours"], reached = _course(asha, parts, peer)
                    speed["ours"].append(reached)
                    halving = HalvingRandomSearchCV(estimator, model.space, n_candidates=count, factor=3, **common)
                    found["halving"] = _run(halving, parts)[0]
                    found["optuna"] = _run(_optuna(estimator, model.space, peer.seconds, seed), parts)[0]
                    for name in ("halving", "optuna"):
                        as_good = found[name].score >= peer.score - _error_of(peer)
                        speed[name].append(found[name].seconds / peer.seconds if as_good else NOT_REACHED)
                    for name, outcome in found.items():
                        differences[name].append(_difference(outcome, peer))
                    shown = ", ".join(f"{name} {o.score:.4f} in {o.seconds:.1f} s" for name, o in found.items())
                    print(
                        f"{data_set}, {model_name}, seed {seed}: random {peer.score:.4f} in {peer.seconds:.1f} s; "
                        f"{shown}; ours was as good after {reached:.2f} of the time",
                        file=sys.stderr,
                        flush=True,
                    )
                for name, pairs in differences.items():
                    mean = statistics.fmean(mean for mean, _ in pairs)
                    error = math.sqrt(sum(error**2 for _, error in pairs)) / len(pairs)
                    worse[name] += mean < -error
                    ahead[name].append((mean, error))
    return {
        **{f"{name}_time": statistics.geometric_mean(values) for name, values in speed.items()},
        **{f"{name}_worse": float(count) for name, count in worse.items()},
        **{f"{name}_ahead": statistics.fmean(mean for mean, _ in pairs) * 100 for name, pairs in ahead.items()},
        **{f"{name}_behind": -_in_errors(pairs) for name, pairs in ahead.items()},
    }


def _in_errors(differences: Sequence[tuple[float, float]]) -> float:
    """The mean of differences, in standard errors of it."""
    error = math.sqrt(sum(error**2 for _, error in differences))
    return sum(mean for mean, _ in differences) / error if error else 0.0


def _warm_up(searches: Any) -> None:
    """Start the processes of either side, and let them import what they need."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import RandomizedSearchCV

    X, y = load_digits(return_X_y=True)
    for model in models().values():
        estimator = model.make()
        for search in (
            searches.TuneSearchCV(estimator, model.space, n_trials=2),
            RandomizedSearchCV(estimator, model.space, n_iter=2),
        ):
            search.set_params(n_jobs=CORES, cv=2, random_state=0).fit(X[:300], y[:300])


def _optuna(estimator: Any, space: Mapping[str, Any], seconds: float, seed: int) -> Any:
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna_integration import OptunaSearchCV

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def of(value: Any) -> Any:
        if isinstance(value, list):
            return CategoricalDistribution(value)
        low, high = value.support()
        if hasattr(value.dist, "pmf"):
            return IntDistribution(int(low), int(high))
        return FloatDistribution(
            float(low), float(high), log="uniform" not in value.dist.name or "log" in value.dist.name
        )

    return OptunaSearchCV(
        estimator,
        {name: of(value) for name, value in space.items()},
        n_trials=None,
        timeout=seconds,
        cv=FOLDS,
        n_jobs=CORES,
        random_state=seed,
    )


def _run(search: Any, parts: Any) -> tuple[Outcome, float]:
    X, X_test, y, y_test = parts
    start = time.time()
    search.fit(X, y)
    return Outcome(time.time() - start, search.predict(X_test) == y_test), start


def _course(search: Any, parts: Any, peer: Outcome) -> tuple[Outcome, float]:
    """What our search had come to by the end of the peer's time, and the part of it after which it was as good."""
    outcome, start = _run(search, parts)
    done = [result for result in search.results_ if result.metrics.get("evaluated_in_full")]
    done.sort(key=lambda result: float(result.metrics["timestamp"]))
    ends = [(result.metrics["timestamp"] - start, result.metrics["mean_test_score"], result.config) for result in done]
    at_the_end, reached = _along(search.estimator, ends, parts, peer)
    # Where nothing was ready in time, whoever asks then has nothing.
    nothing = Outcome(peer.seconds, outcome.right & False)
    return at_the_end or nothing, reached


def _course_of_peer(search: Any, parts: Any, peer: Outcome) -> float:
    """The part of its own time after which `RandomizedSearchCV` was as good as at its end: it cannot tell, as ours can.

    Its candidates end in order, each after a part of the time that is its part of all fits and scores.
    """
    table = search.cv_results_
    took = (table["mean_fit_time"] + table["mean_score_time"]).cumsum()
    ends = (peer.seconds - search.refit_time_) * took / took[-1]
    return _along(search.estimator, zip(ends, table["mean_test_score"], table["params"], strict=True), parts, peer)[1]


def _along(
    estimator: Any, ends: Iterable[tuple[float, float, Any]], parts: Any, peer: Outcome
) -> tuple[Outcome | None, float]:
    """The best candidates over time, each fitted anew, as the search would have done had it been ended at that moment.

    Args:
        estimator: that is tuned.
        ends: of the candidates in order of time: seconds, score in cross-validation, parameters.
        parts: training and test data.
        peer: whose time and score count.
    """
    from sklearn.base import clone

    X, X_test, y, y_test = parts
    best, reached, at_the_end = -math.inf, NOT_REACHED, None
    for seconds, score, parameters in ends:
        if not score > best:
            continue
        best = score
        begin = time.time()
        fitted = clone(estimator).set_params(**parameters).fit(X, y)
        seconds += time.time() - begin
        candidate = Outcome(seconds, fitted.predict(X_test) == y_test)
        if seconds <= peer.seconds * 1.01:
            at_the_end = candidate
        if reached == NOT_REACHED and candidate.score >= peer.score - _error_of(peer):
            reached = min(NOT_REACHED, seconds / peer.seconds)
    return at_the_end, reached


def _error_of(outcome: Outcome) -> float:
    """Standard error of the accuracy on the test data."""
    return math.sqrt(outcome.score * (1 - outcome.score) / len(outcome.right))


def _difference(ours: Outcome, peer: Outcome) -> tuple[float, float]:
    """Difference of the accuracies and its standard error; the test samples are the same."""
    difference = ours.right.astype(float) - peer.right
    return float(difference.mean()), float(difference.std() / math.sqrt(len(difference)))


BENCHMARK = Benchmark(
    name="sklearn_searches",
    title="searches for scikit-learn, six estimators on three data sets, 2 slots",
    module=__name__,
    jobs=(
        Job(
            "ours",
            Side.OURS,
            "compare",
            {
                "seeds": {"digits": 2, "breast cancer": 3, "flights": 1},
                "candidates": {"digits": 16, "breast cancer": 20, "flights": 8},
            },
            quick={"seeds": {"breast cancer": 1}, "candidates": {"breast cancer": 10}},
            rounds=1,
            timeout_s=7200.0,
        ),
    ),
    rows=(
        Row("time to the score of RandomizedSearchCV", "ours_time", "x its time", goal=AtMost(0.5)),
        Row("... RandomizedSearchCV, had one asked it at the right moment", "random_time", "x its time"),
        Row("... HalvingRandomSearchCV", "halving_time", "x its time"),
        Row("... OptunaSearchCV", "optuna_time", "x its time"),
        Row("less accurate after the same time", "ours_behind", "s.e.", goal=AtMost(1.0), is_duration=False),
        Row("... HalvingRandomSearchCV", "halving_behind", "s.e.", is_duration=False),
        Row("... OptunaSearchCV", "optuna_behind", "s.e.", is_duration=False),
        Row("more accurate after the same time by", "ours_ahead", "points", is_duration=False),
        Row("... HalvingRandomSearchCV", "halving_ahead", "points", is_duration=False),
        Row("... OptunaSearchCV", "optuna_ahead", "points", is_duration=False),
        Row("pairs of data and model where less by 1 s.e.", "ours_worse", "of 18", is_duration=False),
        Row("... HalvingRandomSearchCV", "halving_worse", "of 18", is_duration=False),
        Row("... OptunaSearchCV", "optuna_worse", "of 18", is_duration=False),
    ),
)
