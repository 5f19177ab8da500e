"""What one report costs: 20 trials of 100 reports, through two slots."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.engine import Engine
from benchmarks.registry import AtLeast, AtMost, Benchmark, Job, Row, Side


def many_reports(
    engine: Engine, *, trials: int, reports: int, warm_up: int, options: Mapping[str, Any]
) -> dict[str, float]:
    """Time `trials` trials of `reports` reports, and each call of `report` from within the training loop.

    The last report of a trial carries the median over its other ones out, in nanoseconds.
    """
    tune = engine.tune
    report = tune.report

    def train(config: dict[str, Any]) -> None:
        durations = []
        for step in range(config["reports"] - 1):
            start = time.perf_counter_ns()
            report({"score": config["x"] * step})
            durations.append(time.perf_counter_ns() - start)
        report({"score": config["x"], "report_ns": statistics.median(durations)})

    space = {"x": tune.uniform(0.0, 1.0), "reports": reports}
    small = {"x": tune.uniform(0.0, 1.0), "reports": 10}
    with engine.cluster():
        engine.fit(train, small, samples=warm_up, trials=warm_up, iterations=10, options=options)
        fit = engine.fit(train, space, samples=trials, trials=trials, iterations=reports, options=options)
        medians_ns = [result.metrics["report_ns"] for result in fit.grid]
    return {
        "wall_s": fit.wall_s,
        "reports_per_s": trials * reports / fit.wall_s,
        "report_us": statistics.median(medians_ns) / 1e3,
    }


DEFAULT = "Ray Tune"
REUSE = "Ray Tune, reuse"
WORK = {"trials": 20, "reports": 100}

BENCHMARK = Benchmark(
    name="reports",
    title="20 trials x 100 reports, 2 slots",
    module=__name__,
    jobs=(
        Job(
            DEFAULT,
            Side.RAY_TUNE,
            "many_reports",
            {**WORK, "warm_up": 2, "options": {"reuse_actors": False}},
            quick={"trials": 2, "reports": 50},
            rounds=2,
        ),
        Job(
            REUSE,
            Side.RAY_TUNE,
            "many_reports",
            {**WORK, "warm_up": 2, "options": {"reuse_actors": True}},
            quick={"trials": 4, "reports": 50},
            rounds=3,
        ),
        Job("ours", Side.OURS, "many_reports", {**WORK, "warm_up": 20, "options": {}}),
    ),
    rows=(
        Row("20 trials x 100 reports", "reports_per_s", "reports/s", REUSE, AtLeast(30_000), higher_is_better=True),
        Row("20 trials x 100 reports", "reports_per_s", "reports/s", DEFAULT, higher_is_better=True),
        Row("report() inside the loop", "report_us", "us", REUSE, AtMost(15.0)),
    ),
)
