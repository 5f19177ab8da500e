"""What one trial costs: trials that report once and do nothing else, through two slots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.engine import Engine
from benchmarks.registry import AtMost, Benchmark, Job, Row, Side, TimesFaster


def one_report_trials(engine: Engine, *, trials: int, warm_up: int, options: Mapping[str, Any]) -> dict[str, float]:
    """Time `trials` trials after a fit of `warm_up` trials in the same process."""
    tune = engine.tune
    report = tune.report

    def train(config: dict[str, Any]) -> None:
        report({"score": config["x"]})

    space = {"x": tune.uniform(0.0, 1.0)}
    with engine.cluster():
        engine.fit(train, space, samples=warm_up, trials=warm_up, iterations=1, options=options)
        fit = engine.fit(train, space, samples=trials, trials=trials, iterations=1, options=options)
    return {"wall_s": fit.wall_s, "ms_per_trial": fit.wall_s / trials * 1e3}


DEFAULT = "Ray Tune"
REUSE = "Ray Tune, reuse"

BENCHMARK = Benchmark(
    name="one_report",
    title="Trials that report once, 2 slots",
    module=__name__,
    jobs=(
        Job(
            DEFAULT,
            Side.RAY_TUNE,
            "one_report_trials",
            {"trials": 8, "warm_up": 2, "options": {"reuse_actors": False}},
            quick={"trials": 4},
            rounds=3,
        ),
        Job(
            REUSE,
            Side.RAY_TUNE,
            "one_report_trials",
            {"trials": 100, "warm_up": 2, "options": {"reuse_actors": True}},
            quick={"trials": 20},
        ),
        Job(
            "ours",
            Side.OURS,
            "one_report_trials",
            {"trials": 500, "warm_up": 20, "options": {}},
            quick={"trials": 100},
        ),
    ),
    rows=(
        Row("one-report trial", "ms_per_trial", "ms", goal=AtMost(4.0)),
        Row("one-report trial", "ms_per_trial", "ms", peer=DEFAULT, goal=TimesFaster(300)),
        Row("one-report trial", "ms_per_trial", "ms", peer=REUSE, goal=TimesFaster(15)),
    ),
)
