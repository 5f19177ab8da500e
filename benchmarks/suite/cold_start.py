"""The first fit of a process, which is a script's only one: what it costs until everything runs, and in memory.

Beside it, in the same rounds: this package with Ray actors, each of which imports by itself (``workers="actors"``); the
same scripts without an engine; Ray Tune with reused actors; Optuna in two processes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.cold import __path__ as COLD
from benchmarks.engine import Engine
from benchmarks.environment import ROOT
from benchmarks.measure import OUTPUT
from benchmarks.registry import AtMost, AtMostTimes, Benchmark, Job, NotRun, Row, Side, TimesFaster
from benchmarks.suite import pbt_lightning

FLIGHTS, VALIDATION = 80_000, 16_000
SCRIPTS = Path(next(iter(COLD)))
SAMPLE_S = 0.5


# --------------------------------------------------------------------------------- a population, first fit


def bare(engine: Engine, *, epochs: int, **common: Any) -> dict[str, float]:
    """The trainings of the population without an engine, and what importing Lightning takes in a fresh process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import lightning.pytorch"], check=True)
    import_s = time.perf_counter() - start
    wall_s = pbt_lightning.bare(engine, epochs=epochs)["wall_s"]
    return {"wall_s": wall_s, "limit_s": 1.3 * wall_s + import_s + 3.0}


def population(
    engine: Engine, *, epochs: int, options: Mapping[str, Any], workers: str | None = None, **common: Any
) -> dict[str, float]:
    """The first fit of 8 Lightning trials on 2 slots."""
    run = {} if workers is None else {"workers": workers}
    figures = pbt_lightning.population(engine, epochs=epochs, options=options, warm=False, run=run)
    return {"cold_s": figures["cold_s"], "epochs": figures["epochs"]}


def memory(engine: Engine, *, epochs: int, workers: str, **common: Any) -> dict[str, float]:
    """Proportional memory of all processes of the population together, beside that of one which trains alone.

    The largest sum of samples; pages that several processes share count once.
    """
    most = 0.0
    over = threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(SAMPLE_S):
            most = max(most, _proportional_memory())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    pbt_lightning.population(engine, epochs=epochs, options={}, warm=False, run={"workers": workers})
    over.set()
    watcher.join()
    alone = subprocess.run([sys.executable, "-c", _ALONE], cwd=ROOT, check=True, capture_output=True, text=True)
    one = float(alone.stdout.split()[-1])
    return {"mb": most / 1e6, "times_one": most / one}


_ALONE = """
import psutil
from benchmarks import digits
digits.train_lightning({"lr": 0.01, "momentum": 0.8}, 2, [])
print(psutil.Process().memory_full_info().pss)
"""


def _proportional_memory() -> float:
    """Of the processes that this one has started and that hold PyTorch: trials, and what they were forked from."""
    import psutil

    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            maps = Path(f"/proc/{process.pid}/maps").read_text()
            if "libtorch" in maps:
                total += process.memory_full_info().pss
        except (psutil.Error, OSError):
            continue
    return total


# ---------------------------------------------------------------------------------------- first report


def first_report(engine: Engine, *, how: str, frameworks: list[str], **common: Any) -> dict[str, float]:
    """Seconds from ``python script.py`` to the first round or epoch."""
    return {framework: _until_first(engine, framework, how) for framework in frameworks}


def _until_first(engine: Engine, framework: str, how: str) -> float:
    start = time.perf_counter()
    script = [sys.executable, str(SCRIPTS / "first_report.py"), framework, how, str(engine.storage)]
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True, env=_environment()) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("first report"):
                seconds = time.perf_counter() - start
                process.stdout.read()
                if process.wait() == 0:
                    return seconds
    raise RuntimeError(f"the script of {framework} ({how}) ended with {process.wait()} and no report")


# -------------------------------------------------------------------------------------------- a script


def script(engine: Engine, *, how: str, data: str) -> dict[str, float]:
    """Seconds for a whole script: imports, 32 configurations of XGBoost on flights, and its end."""
    start = time.perf_counter()
    command = [sys.executable, str(SCRIPTS / "flights.py"), how, data, str(engine.storage)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=_environment(), check=True)
    wall_s = time.perf_counter() - start
    (best,) = (line.split()[1] for line in done.stdout.splitlines() if line.startswith("best "))
    return {"wall_s": wall_s, "best": float(best)}


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "torch"}


def prepare(options: argparse.Namespace) -> Mapping[str, Any]:
    """Writes the flights for the scripts; one file for all sides."""
    try:
        import numpy as np

        from examples import flights_data

        parts = flights_data.load()
    except (ImportError, SystemExit) as error:
        raise NotRun(f"the flights cannot be read ({error}): pip install -e '.[demo]'") from error
    OUTPUT.mkdir(exist_ok=True)
    path = OUTPUT / "flights.npz"
    arrays = {}
    for name, rows in (("train", FLIGHTS - VALIDATION), ("validation", VALIDATION)):
        table = parts[name].features.copy()
        for column in flights_data.CATEGORIES:
            table[column] = table[column].cat.codes
        chosen = np.random.default_rng(0).permutation(len(table))[:rows]
        arrays[name] = table.to_numpy(np.float32)[chosen]
        arrays[f"{name}_late"] = parts[name].late.to_numpy(np.float32)[chosen]
    np.savez(path, **arrays)
    return {"data": str(path)}


FRAMEWORKS = ["xgboost", "keras", "lightning"]
EPOCHS = pbt_lightning.EPOCHS
FORKED, ACTORS, RAY_TUNE, OPTUNA = "ours", "ours, actors", "Ray Tune, reuse", "Optuna"
PLAIN, PLAIN_SCRIPT, SCRIPT, SCRIPT_ACTORS = "bare / slots", "plain script", "ours, script", "ours, actors, script"
FIRST, FIRST_ACTORS, MEMORY, MEMORY_ACTORS = "ours, first", "ours, actors, first", "ours, memory", "actors, memory"
REUSE = {"reuse_actors": True}


def _job(label: str, side: Side, work: str, rounds: int | None = None, **parameters: Any) -> Job:
    quick = {"epochs": 4} if "epochs" in parameters else {}
    return Job(label, side, work, parameters, quick=quick, rounds=rounds, timeout_s=900.0)


BENCHMARK = Benchmark(
    name="cold_start",
    title="The first fit of a process",
    module=__name__,
    prepare=prepare,
    jobs=(
        _job(PLAIN, Side.BARE, "bare", epochs=EPOCHS),
        _job(FORKED, Side.OURS, "population", epochs=EPOCHS, options={}, workers="auto"),
        _job(ACTORS, Side.OURS, "population", epochs=EPOCHS, options={}, workers="actors"),
        _job(RAY_TUNE, Side.RAY_TUNE, "population", 1, epochs=EPOCHS, options=REUSE),
        _job(PLAIN_SCRIPT, Side.OURS, "first_report", how="plain", frameworks=FRAMEWORKS),
        _job(FIRST, Side.OURS, "first_report", how="auto", frameworks=FRAMEWORKS),
        _job(FIRST_ACTORS, Side.OURS, "first_report", how="actors", frameworks=FRAMEWORKS),
        _job(SCRIPT, Side.OURS, "script", how="auto"),
        _job(OPTUNA, Side.BARE, "script", how="optuna"),
        _job(SCRIPT_ACTORS, Side.OURS, "script", how="actors"),
        _job("Ray Tune, script", Side.RAY_TUNE, "script", 1, how="ray.tune"),
        _job(MEMORY, Side.OURS, "memory", 1, epochs=6, workers="auto"),
        _job(MEMORY_ACTORS, Side.OURS, "memory", 1, epochs=6, workers="actors"),
    ),
    rows=(
        Row("PBT, 8 Lightning trials, first fit", "cold_s", "s", ACTORS, AtMostTimes(0.35)),
        Row("... first fit", "cold_s", "s", RAY_TUNE, TimesFaster(1.0)),
        Row("... what it may take: 1.3 x bare / slots + an import + 3 s", "limit_s", "s", None, None, PLAIN),
        Row("XGBoost script to its first report", "xgboost", "s", PLAIN_SCRIPT, AtMostTimes(3.0), FIRST),
        Row("Keras script to its first report", "keras", "s", PLAIN_SCRIPT, AtMostTimes(2.0), FIRST),
        Row("Lightning script to its first report", "lightning", "s", PLAIN_SCRIPT, AtMostTimes(2.0), FIRST),
        Row("... with actors: XGBoost", "xgboost", "s", PLAIN_SCRIPT, None, FIRST_ACTORS),
        Row("... with actors: Keras", "keras", "s", PLAIN_SCRIPT, None, FIRST_ACTORS),
        Row("... with actors: Lightning", "lightning", "s", PLAIN_SCRIPT, None, FIRST_ACTORS),
        Row("script: 32 XGBoost configurations on 80,000 flights", "wall_s", "s", OPTUNA, AtMostTimes(0.8), SCRIPT),
        Row("... with actors", "wall_s", "s", OPTUNA, None, SCRIPT_ACTORS),
        Row("... the same", "wall_s", "s", "Ray Tune, script", AtMostTimes(0.6), SCRIPT),
        Row("... best log loss", "best", "", OPTUNA, AtMostTimes(1.001), SCRIPT, is_duration=False),
        Row("memory of 8 resident trials, of one process", "times_one", "x", None, AtMost(2.0), MEMORY),
        Row("... with actors", "times_one", "x", None, None, MEMORY_ACTORS),
    ),
)
