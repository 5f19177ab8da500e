"""How soon good configurations are found: schedulers on real learning curves under a virtual clock.

Random search over the configurations of six TaskSet tasks with four virtual workers and the budget of twenty full
trainings; all methods of a seed try the same configurations in the same order. What is compared is the regret of the
incumbent, averaged over virtual time (`benchmarks.taskset.trace.judge`).
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.engine import Engine
from benchmarks.registry import BelowOnEach, Benchmark, Job, NotAbove, Row, Side
from benchmarks.taskset import ours, page, peers
from benchmarks.taskset.data import find_folder, read_tasks
from benchmarks.taskset.trace import judge, order_of

GRACE, ETA = 1, 3
"""First rung, in steps of 50, and reduction factor; the same for all methods that have them."""
SEEDS = 30

RANDOM, STOPPING, PROMOTION = "random search", "ASHA, stopping", "ASHA, promotion"
DEFAULT, HYPERBAND, MEDIAN = "ASHA, stopping, default minimum", "HyperBand", "median stopping"
SYNE_TUNE, OPTUNA_SH, OPTUNA_HYPERBAND = "Syne Tune ASHA", "Optuna SuccessiveHalving", "Optuna Hyperband"


def _rungs(steps: int) -> dict[str, int]:
    return {"max_t": steps, "grace_period": GRACE, "reduction_factor": ETA}


SCHEDULERS: dict[str, Callable[[Any, int], Any]] = {
    RANDOM: lambda schedulers, steps: schedulers.FIFOScheduler(),
    STOPPING: lambda schedulers, steps: schedulers.ASHAScheduler(**_rungs(steps), min_results_per_rung=1),
    DEFAULT: lambda schedulers, steps: schedulers.ASHAScheduler(**_rungs(steps)),
    PROMOTION: lambda schedulers, steps: schedulers.ASHAScheduler(
        **_rungs(steps), min_results_per_rung=1, variant="promotion"
    ),
    HYPERBAND: lambda schedulers, steps: schedulers.HyperBandScheduler(max_t=steps, reduction_factor=ETA),
    MEDIAN: lambda schedulers, steps: schedulers.MedianStoppingRule(
        time_attr="training_iteration", grace_period=GRACE, min_samples_required=3
    ),
}
PEERS: dict[str, Callable[..., peers.Peer]] = {
    SYNE_TUNE: functools.partial(peers.SyneTune, grace_period=GRACE, reduction_factor=ETA),
    OPTUNA_SH: functools.partial(
        peers.Optuna,
        pruner="SuccessiveHalvingPruner",
        arguments=lambda steps: {"min_resource": GRACE, "reduction_factor": ETA},
    ),
    OPTUNA_HYPERBAND: functools.partial(
        peers.Optuna,
        pruner="HyperbandPruner",
        arguments=lambda steps: {"min_resource": GRACE, "max_resource": steps, "reduction_factor": ETA},
    ),
}


def regret(engine: Engine, *, method: str, folder: str, seeds: int) -> dict[str, float | dict[str, list[float]]]:
    """Regret of one method on all tasks: averaged over virtual time, at the end, and its mean course."""
    over_time: dict[str, list[float]] = {}
    final: dict[str, list[float]] = {}
    course: dict[str, list[float]] = {}
    start, reports = time.perf_counter(), 0
    for task in read_tasks(Path(folder)):
        courses = []
        for seed in range(seeds):
            order = order_of(task, seed)
            if method in PEERS:
                seen = peers.run(task, order, seed, PEERS[method])
            else:
                seen = ours.run(task, order, seed, SCHEDULERS[method])
            mean, points = judge(task, seen)
            over_time.setdefault(task.name, []).append(mean)
            final.setdefault(task.name, []).append(points[-1])
            courses.append(points)
            reports += len(seen)
        course[task.name] = [statistics.fmean(values) for values in zip(*courses, strict=True)]
    return {
        "regret": over_time,
        "final_regret": final,
        "course": course,
        "reports_per_s": reports / (time.perf_counter() - start),
    }


def prepare(options: argparse.Namespace) -> Mapping[str, Any]:
    """The folder of the tasks, as all jobs get it."""
    return {"folder": str(find_folder(options.taskset))}


def _job(method: str) -> Job:
    side = Side.HPO if method in PEERS else Side.OURS
    return Job(
        method, side, "regret", {"method": method, "seeds": SEEDS}, quick={"seeds": 3}, rounds=1, timeout_s=1200.0
    )


def _row(method: str, peer: str | None, goal: BelowOnEach | NotAbove | None) -> Row:
    return Row(f"regret of {method}", "regret", "", peer, goal, ours=method, is_duration=False)


BENCHMARK = Benchmark(
    name="taskset_regret",
    title=f"Regret on six tasks, {SEEDS} seeds, under the virtual clock",
    module=__name__,
    jobs=tuple(_job(method) for method in (*SCHEDULERS, *PEERS)),
    rows=(
        _row(STOPPING, RANDOM, BelowOnEach()),
        _row(STOPPING, SYNE_TUNE, NotAbove()),
        _row(STOPPING, OPTUNA_SH, NotAbove()),
        _row(PROMOTION, RANDOM, BelowOnEach()),
        _row(PROMOTION, SYNE_TUNE, NotAbove()),
        _row(PROMOTION, OPTUNA_SH, NotAbove()),
        _row(HYPERBAND, RANDOM, BelowOnEach()),
        _row(HYPERBAND, OPTUNA_HYPERBAND, NotAbove()),
        _row(DEFAULT, OPTUNA_SH, None),
        _row(MEDIAN, RANDOM, None),
    ),
    prepare=prepare,
    publish=functools.partial(page.publish, methods=tuple(SCHEDULERS), peers=tuple(PEERS), baseline=RANDOM),
)
