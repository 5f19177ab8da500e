"""Figure 2 of the PBT paper: a problem that no fixed hyper-parameters solve, under a virtual clock.

Jaderberg et al., *Population Based Training of Neural Networks*, 2017, https://arxiv.org/abs/1711.09846: maximise
Q = 1.2 - (t0^2 + t1^2) by the gradient of a surrogate 1.2 - (h0 t0^2 + h1 t1^2), with two workers of h = (0, 1) and
(1, 0) that start at t = (0.9, 0.9); with PBT they exploit every 4 steps.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from benchmarks.engine import Engine
from benchmarks.registry import AtMost, Benchmark, Job, Row, Side

START, BEST = 0.9, 1.2
STEPS, EXPLOIT_EVERY, RATE = 200, 4, 0.02
HYPER_PARAMETERS = ({"h0": 0.0, "h1": 1.0}, {"h0": 1.0, "h1": 0.0})


class Surrogate:
    """Gradient ascent on the surrogate; the state is t."""

    def start(self, index: int, config: dict[str, Any], seed: int) -> tuple[float, float]:
        """Where all workers start."""
        return START, START

    def step(self, state: tuple[float, float], config: dict[str, Any]) -> Any:
        """One step of one virtual second."""
        h = config["h"]
        t0, t1 = state[0] * (1 - 2 * RATE * h["h0"]), state[1] * (1 - 2 * RATE * h["h1"])
        return (t0, t1), {"q": BEST - t0**2 - t1**2}, 1.0


def figure_2(engine: Engine, *, seeds: int) -> dict[str, float]:
    """Q that grid search reaches, and what PBT falls short of the best Q by, in the median of the seeds."""
    tune = engine.tune

    def best(scheduler: Any, seed: int) -> float:
        results = tune.simulate(
            Surrogate(),
            param_space={"h": tune.grid_search(list(HYPER_PARAMETERS))},
            tune_config=tune.TuneConfig(metric="q", mode="max", scheduler=scheduler, seed=seed),
            run_config=tune.RunConfig(stop={"training_iteration": STEPS}, verbose=0),
            cluster=tune.SimulatedCluster(workers=2),
        )
        return float(results.get_best_result().metrics["q"])

    def pbt() -> Any:
        part = tune.uniform(0.0, 1.0)
        return engine.schedulers.PopulationBasedTraining(
            time_attr="training_iteration",
            perturbation_interval=EXPLOIT_EVERY,
            hyperparam_mutations={"h": {"h0": part, "h1": part}},
        )

    start = time.perf_counter()
    reached = [best(pbt(), seed) for seed in range(seeds)]
    wall = time.perf_counter() - start
    return {
        "grid_q": best(None, 0),
        "pbt_short": BEST - statistics.median(reached),
        "ms_per_run": wall / seeds * 1e3,
    }


BENCHMARK = Benchmark(
    name="pbt_toy",
    title="Figure 2 of the PBT paper, virtual clock",
    module=__name__,
    jobs=(Job("ours", Side.OURS, "figure_2", {"seeds": 50}, rounds=1),),
    rows=(
        Row("PBT toy: grid search reaches Q =", "grid_q", "", goal=AtMost(0.395), higher_is_better=True),
        Row("... PBT falls short of 1.2 by", "pbt_short", "", goal=AtMost(0.01), is_duration=False),
        Row("... one run", "ms_per_run", "ms"),
    ),
)
