"""What exploits cost: population based training of 4 trials of 60 steps, an exploit every 5 steps, through two slots.

The trainings do nothing, so that what is measured is pausing, copying states and going on. The training function is
the same on all sides: it saves its state, one small file, with every fifth report, and goes on from the checkpoint that
it is given.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.engine import Engine
from benchmarks.registry import Benchmark, Job, Row, Side, TimesFaster

TRIALS, STEPS, INTERVAL = 4, 60, 5


def population(engine: Engine, *, steps: int, warm_up_steps: int, options: Mapping[str, Any]) -> dict[str, float]:
    """Time the population after a shorter one in the same process; every trial must have come to its last step."""
    tune = engine.tune
    report, get_checkpoint, checkpoint_type = tune.report, tune.get_checkpoint, tune.Checkpoint

    def train(config: dict[str, Any]) -> None:
        state = {"step": 0, "value": 0.0}
        if checkpoint := get_checkpoint():
            with checkpoint.as_directory() as folder:
                state = json.loads((Path(folder) / "state.json").read_text())
        while state["step"] < config["steps"]:
            state = {"step": state["step"] + 1, "value": state["value"] + config["rate"]}
            if state["step"] % INTERVAL:
                report(dict(state))
                continue
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "state.json").write_text(json.dumps(state))
                report(dict(state), checkpoint=checkpoint_type.from_directory(folder))

    def fit(steps: int) -> tuple[float, int]:
        scheduler = engine.schedulers.PopulationBasedTraining(
            time_attr="training_iteration",
            perturbation_interval=INTERVAL,
            hyperparam_mutations={"rate": tune.uniform(0.0, 1.0)},
        )
        done = engine.fit(
            train,
            {"rate": tune.uniform(0.0, 1.0), "steps": steps},
            samples=TRIALS,
            trials=TRIALS,
            iterations=0,
            options={**options, "metric": "value", "mode": "max", "scheduler": scheduler},
            concurrent=None,  # all trials of a population live at once, two of them run
        )
        # A trial that adopts the state of one that is ready has nothing left to do, and reports no more.
        last = sorted(result.metrics["step"] for result in done.grid)
        if last[0] < steps - INTERVAL or last[-1] != steps:
            raise RuntimeError(f"expected {TRIALS} trials trained for {steps} steps, got steps {last}.")
        return done.wall_s, _exploits(scheduler)

    with engine.cluster():
        fit(warm_up_steps)
        wall_s, exploits = fit(steps)
    if not exploits:
        raise RuntimeError("no trial exploited another one: there was nothing to measure.")
    return {"wall_s": wall_s, "exploits": float(exploits)}


def _exploits(scheduler: Any) -> int:
    """How many exploits a scheduler has made; Ray Tune's and ours name it differently."""
    for name in ("_exploits", "_num_perturbations"):
        if isinstance(count := getattr(scheduler, name, None), int):
            return count
    raise RuntimeError(f"{type(scheduler).__name__} does not say how many exploits it made.")


DEFAULT = "Ray Tune"
REUSE = "Ray Tune, reuse"
WORK = {"steps": STEPS, "warm_up_steps": 2 * INTERVAL}

BENCHMARK = Benchmark(
    name="pbt_ray",
    title=f"PBT of {TRIALS} trials x {STEPS} steps, interval {INTERVAL}, 2 slots",
    module=__name__,
    jobs=(
        Job(
            DEFAULT,
            Side.RAY_TUNE,
            "population",
            {**WORK, "options": {"reuse_actors": False}},
            quick={"steps": 20},
            rounds=1,
            timeout_s=600.0,
        ),
        Job(REUSE, Side.RAY_TUNE, "population", {**WORK, "options": {"reuse_actors": True}}, rounds=3),
        Job("ours", Side.OURS, "population", {**WORK, "options": {}}),
    ),
    rows=(
        Row(f"PBT, {TRIALS} trials x {STEPS} steps", "wall_s", "s", DEFAULT, TimesFaster(50)),
        Row(f"PBT, {TRIALS} trials x {STEPS} steps", "wall_s", "s", REUSE, TimesFaster(4)),
    ),
)
