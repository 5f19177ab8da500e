"""Carries out one job in a process of its own, and waits until all that it started is gone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.engine import CORES
from benchmarks.environment import ROOT
from benchmarks.registry import Benchmark, Crash, Job, Measurement, Record, Side

OUTPUT = ROOT / "benchmarks" / "output"
MARK = "TUNE_PLUGINS_BENCHMARK"
SETTLE_S = 20.0


def hold_to_cores() -> list[int]:
    """Bind this process and all that it will start to `CORES` cores; returns them (empty: not possible here)."""
    if not hasattr(os, "sched_setaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    os.sched_setaffinity(0, cores)
    return cores


def measure_all(
    benchmark: Benchmark,
    pythons: Mapping[Side, Path],
    *,
    rounds: int,
    quick: bool,
    common: Mapping[str, Any],
    say: Callable[[Job, int, Measurement | Crash], None],
) -> Record:
    """Measure the jobs in turn, round by round (A B A B), so that a change of the machine meets all of them.

    Args:
        benchmark: whose jobs.
        pythons: interpreter for each side; jobs of a side that is missing are left out.
        rounds: number of measurements of each job that sets no lower limit itself.
        quick: with the jobs' quick parameters.
        common: parameters that all jobs get.
        say: called after each measurement. A job that crashed is not tried again.
    """
    record = Record(benchmark)
    for turn in range(rounds):
        for job in benchmark.jobs:
            if job.side not in pythons or job.label in record.crashes:
                continue
            if job.rounds is not None and turn >= job.rounds:
                continue
            outcome = measure(benchmark, job, pythons[job.side], quick=quick, common=common)
            if isinstance(outcome, Crash):
                record.crashes[job.label] = outcome
            else:
                record.measurements.setdefault(job.label, []).append(outcome)
            say(job, turn, outcome)
    return record


def measure(
    benchmark: Benchmark, job: Job, python: Path, *, quick: bool = False, common: Mapping[str, Any] | None = None
) -> Measurement | Crash:
    """Run one job once, in a fresh process with a fresh folder that is removed afterwards."""
    OUTPUT.mkdir(exist_ok=True)
    storage = tempfile.mkdtemp(prefix="storage_", dir=OUTPUT)
    parameters = {**(common or {}), **job.parameters, **(job.quick if quick else {})}
    order = {"module": benchmark.module, "work": job.work, "parameters": parameters, "storage": storage}
    mark = uuid.uuid4().hex
    # Settings of the caller must not favour a side.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    environment |= {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", MARK: mark}
    try:
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [str(python), "-m", str(job.side), json.dumps(order)],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
            reason = ""
            try:
                answer, _ = process.communicate(timeout=job.timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                answer, _ = process.communicate()
                reason = f"took longer than {job.timeout_s:g} s"
            except BaseException:
                process.kill()
                process.wait()
                raise
            finally:
                _settle(mark, SETTLE_S if process.returncode == 0 else 0.0)
            errors.seek(0)
            output = errors.read().decode(errors="replace")[-3000:]
    finally:
        shutil.rmtree(storage, ignore_errors=True)
    if not reason and process.returncode:
        last = output.strip().splitlines()[-1:] or ["no output"]
        reason = f"ended with status {process.returncode}: {last[0]}"
    elif not reason and not answer.strip():
        reason = "ended without printing figures"
    if reason:
        return Crash(reason, output)
    return Measurement(**json.loads(answer))


def _settle(mark: str, patience_s: float) -> None:
    """Wait until no process carries `mark`, so that the next measurement has the machine to itself."""
    deadline = time.monotonic() + patience_s
    while left := _marked(mark):
        if time.monotonic() >= deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _marked(mark: str) -> list[int]:
    """Processes that were started with `mark` in their environment; none where there is no /proc."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in entry.read_bytes():
                found.append(int(entry.parent.name))
    return found
