"""What a search without early stopping adds to the fits: beside `RandomizedSearchCV` with joblib's processes.

Both fit the same candidates on the same folds, two at a time, in turn in one process: A B B A. The first fit of a
process is measured in processes of its own.
"""

from __future__ import annotations

import statistics
import time
import warnings
from typing import Any

from benchmarks.engine import CORES, Engine
from benchmarks.registry import AtMost, Benchmark, Job, Row, Side

FOLDS = 5


def _search(kind: Any, work: str, candidates: int, **options: Any) -> tuple[Any, Any, Any]:
    """A search, and its data: fits of about 1 ms, or of about 100."""
    from scipy.stats import loguniform
    from sklearn.datasets import load_digits, load_iris
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.naive_bayes import GaussianNB

    if work == "short":
        X, y = load_iris(return_X_y=True)
        estimator, space = GaussianNB(), {"var_smoothing": loguniform(1e-12, 1.0)}
    else:
        X, y = load_digits(return_X_y=True)
        estimator = RandomForestClassifier(n_estimators=30, random_state=0)
        space = {"min_impurity_decrease": loguniform(1e-9, 1e-4)}
    return kind(estimator, space, cv=FOLDS, n_jobs=CORES, random_state=0, **{options.pop("count"): candidates}), X, y


def _seconds(kind: Any, work: str, candidates: int, count: str) -> float:
    search, X, y = _search(kind, work, candidates, count=count)
    start = time.perf_counter()
    search.fit(X, y)
    return time.perf_counter() - start


def in_turn(engine: Engine, *, work: str, candidates: int, pairs: int) -> dict[str, float]:
    """Time both, once everything is warm."""
    from sklearn.model_selection import RandomizedSearchCV

    warnings.simplefilter("ignore")
    ours = (engine.adapter("sklearn").TuneSearchCV, "n_trials")
    peer = (RandomizedSearchCV, "n_iter")
    found: dict[Any, list[float]] = {ours: [], peer: []}
    with engine.cluster():
        for kind, count in (ours, peer):
            _seconds(kind, work, 2 * CORES, count)
        for pair in range(pairs):
            for side in (ours, peer) if pair % 2 else (peer, ours):
                found[side].append(_seconds(side[0], work, candidates, side[1]))
    fits = candidates * FOLDS
    return {
        "ratio": statistics.median(a / b for a, b in zip(found[ours], found[peer], strict=True)),
        "added_ms": statistics.median(a - b for a, b in zip(found[ours], found[peer], strict=True)) / fits * 1e3,
        "fit_ms": statistics.median(found[peer]) * CORES / fits * 1e3,
    }


def first(engine: Engine, *, candidates: int) -> dict[str, float]:
    """Time the first fit of a process, with what it imports and starts."""
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    if engine.package:
        kind, count = engine.adapter("sklearn").TuneSearchCV, "n_trials"
    else:
        from sklearn.model_selection import RandomizedSearchCV

        kind, count = RandomizedSearchCV, "n_iter"
    search, X, y = _search(kind, "long", candidates, count=count)
    search.fit(X, y)
    wall_s = time.perf_counter() - start
    if engine.package:
        engine.tune.shutdown()
    return {"first_s": wall_s}


LONG, SHORT, BARE = "fits of 100 ms", "fits of 1 ms", "RandomizedSearchCV"

BENCHMARK = Benchmark(
    name="sklearn_overhead",
    title="searches for scikit-learn without early stopping, beside RandomizedSearchCV, 2 slots",
    module=__name__,
    jobs=(
        Job(LONG, Side.OURS, "in_turn", {"work": "long", "candidates": 40, "pairs": 6}, quick={"pairs": 2}),
        Job(SHORT, Side.OURS, "in_turn", {"work": "short", "candidates": 200, "pairs": 6}, quick={"pairs": 2}),
        Job("ours", Side.OURS, "first", {"candidates": 20}),
        Job(BARE, Side.BARE, "first", {"candidates": 20}),
    ),
    rows=(
        Row("200 fits of 100 ms", "ratio", "x RandomizedSearchCV", ours=LONG, goal=AtMost(1.05), is_duration=False),
        Row("1,000 fits of 1 ms: added to each", "added_ms", "ms", ours=SHORT, goal=AtMost(1.0), is_duration=False),
        Row("first fit of a process, 100 fits of 100 ms", "first_s", "s", peer=BARE),
    ),
)
