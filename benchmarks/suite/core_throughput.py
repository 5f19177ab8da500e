"""What the core costs itself: a million results of 100,000 trials through ASHA, under the virtual clock, on one core.

Nothing is trained and nothing is recorded: what takes the time is the core, the scheduler and the simulated runtime.

An *event* is what the core takes in: the start of a trial, one result, its end. Results come one by one here, which is
the hardest case: workers send those before a milestone in batches.
"""

from __future__ import annotations

import gc
import os
import time
import tracemalloc
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from benchmarks.engine import Engine
from benchmarks.registry import AtLeast, AtMost, Benchmark, Job, Row, Side

WORKERS = 1000
GRACE, ETA, MAX_T = 4, 4, 100
"""Rungs at 4, 16 and 64, so that a trial makes about ten results in the mean, as many as asked for."""


class Falling:
    """A training whose loss falls at a speed and to a level that its config says."""

    def start(self, index: int, config: dict[str, Any], seed: int) -> int:
        """No step is done yet."""
        return 0

    def step(self, state: int, config: dict[str, Any]) -> tuple[int, Mapping[str, Any], float]:
        """One step, of 1 to 2 virtual seconds."""
        return state + 1, {"loss": config["x"] + 1.0 / (state + 1)}, 1.0 + config["x"]


def run(trials: int, marks: tuple[int, ...] = ()) -> tuple[Any, int, int, list[float]]:
    """Drive all trials to their end.

    Args:
        trials: how many.
        marks: numbers of finished trials at which the time is taken.

    Returns:
        The experiment, numbers of events and of results, and at each mark CPU seconds per event since the last one.
    """
    from tune_plugins.core.events import ResultsReported, TrialFinished
    from tune_plugins.core.experiment import Rules
    from tune_plugins.driver.simulated import SimulatedCluster, SimulatedRuntime
    from tune_plugins.schedulers import ASHAScheduler
    from tune_plugins.search import Searcher
    from tune_plugins.testing.experiment import SearchedExperiment

    def one_by_one(event: Any) -> Iterator[Any]:
        """The event, or one for each of its results; the trial waits with the last one if it waits."""
        if type(event) is ResultsReported and len(event.results) > 1:
            for result in event.results[:-1]:
                yield ResultsReported(event.time, event.trial_id, (result,))
            yield ResultsReported(event.time, event.trial_id, event.results[-1:], event.waiting)
        else:
            yield event

    class Uniform(Searcher):
        """Draws one number."""

        reads_results = False

        def suggest(self, trial_id: str, index: int) -> dict[str, Any]:
            return {"x": Random(index).random()}

    scheduler = ASHAScheduler(max_t=MAX_T, grace_period=GRACE, reduction_factor=ETA)
    scheduler.setup(metric="loss", mode="min", seed=0)
    experiment = SearchedExperiment(Uniform(), scheduler, Rules(metric="loss", mode="min", trial_limit=trials))
    runtime = SimulatedRuntime(Falling(), SimulatedCluster(WORKERS), seed=0)
    events = results = finished = before = 0
    costs: list[float] = []
    last = time.process_time()
    while not experiment.finished:
        for event in (single for polled in runtime.poll() for single in one_by_one(polled)):
            runtime.perform(experiment.handle(event))
            events += 1
            kind = type(event)
            if kind is ResultsReported:
                results += 1
            elif kind is TrialFinished:
                finished += 1
                if finished in marks:
                    now = time.process_time()
                    costs.append((now - last) / (events - before))
                    last, before = now, events
    return experiment, events, results, costs


def throughput(engine: Engine, *, trials: int) -> dict[str, float]:
    """The rate over the whole run, and the cost per event among the last trials beside that of the first."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    run(2 * WORKERS)  # imports and caches
    # Windows as long as the shortest one asked about, away from the beginning, where a thousand trials start at once.
    marks = (WORKERS, 2 * WORKERS, trials - 2 * WORKERS, trials - WORKERS)
    start = time.perf_counter()
    experiment, events, results, costs = run(trials, marks)
    wall_s = time.perf_counter() - start
    if not experiment.finished or len(experiment.trials) != trials:
        raise RuntimeError(f"expected {trials} finished trials, got {len(experiment.trials)}.")
    return {
        "events": float(events),
        "results": float(results),
        "wall_s": wall_s,
        "events_per_s": events / wall_s,
        "early_us_per_event": costs[1] * 1e6,
        "late_us_per_event": costs[3] * 1e6,
        "late_to_early": costs[3] / costs[1],
    }


def memory(engine: Engine, *, trials: int) -> dict[str, float]:
    """What the experiment, its scheduler and its configs hold when all trials have finished, for each trial."""
    run(2 * WORKERS)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    experiment, _, _, _ = run(trials)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"bytes_per_trial": (after - before) / len(experiment.trials)}


BENCHMARK = Benchmark(
    name="core_throughput",
    title=f"100,000 trials through ASHA on {WORKERS:,} virtual workers, one core",
    module=__name__,
    jobs=(
        Job("ours", Side.OURS, "throughput", {"trials": 100_000}, quick={"trials": 10_000}),
        Job("memory", Side.OURS, "memory", {"trials": 100_000}, quick={"trials": 10_000}, rounds=1),
    ),
    rows=(
        Row("core: events", "events_per_s", "events/s", goal=AtLeast(50_000), higher_is_better=True),
        Row("core: cost of an event, last 1,000 trials to second", "late_to_early", "x", goal=AtMost(1.5)),
        Row("core: memory of a finished trial", "bytes_per_trial", "bytes", goal=AtMost(1024), ours="memory"),
    ),
)
