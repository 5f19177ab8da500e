"""What importing the package costs, beyond starting Python."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.engine import Engine
from benchmarks.registry import AtMost, Benchmark, Job, Row, Side


def import_seconds(engine: Engine, *, repeats: int) -> dict[str, float]:
    """Median wall time of a Python that imports the package, less that of one that imports nothing, in seconds."""
    statements = ("pass", f"import {engine.package}")
    times: dict[str, list[float]] = {statement: [] for statement in statements}
    for repeat in range(repeats + 1):
        for statement in statements:
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            if repeat:  # the first one may have compiled bytecode
                times[statement].append(time.perf_counter() - start)
    nothing, package = (statistics.median(times[statement]) for statement in statements)
    return {"import_s": package - nothing, "python_s": nothing}


BENCHMARK = Benchmark(
    name="import_time",
    title="Importing the package",
    module=__name__,
    jobs=(
        Job("Ray Tune", Side.RAY_TUNE, "import_seconds", {"repeats": 10}, quick={"repeats": 3}, rounds=1),
        Job("ours", Side.OURS, "import_seconds", {"repeats": 10}, quick={"repeats": 3}, rounds=1),
    ),
    rows=(Row("import of the package", "import_s", "s", peer="Ray Tune", goal=AtMost(0.15)),),
)
