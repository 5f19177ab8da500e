"""``python -m benchmarks``: measure ours and its peers in turn, show the table, write it into the documentation."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from benchmarks import machine
from benchmarks.environment import HPO, RAY_TUNE, ROOT, EnvironmentFailed
from benchmarks.measure import OUTPUT, hold_to_cores, measure_all
from benchmarks.registry import Benchmark, Crash, Job, Measurement, NotRun, Record, Side
from benchmarks.suite import discover
from benchmarks.table import judge, markdown, number, terminal_table
from benchmarks.taskset import data as taskset

RESULTS = ROOT / "docs" / "benchmark_results.md"
console = Console(highlight=False)
if not console.is_terminal:
    console.width = 120  # a file or a log has no width of its own


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 all goals met, 1 one missed or a side crashed, 2 the run could not be made."""
    benchmarks = discover()
    options = _parse(arguments, sorted(benchmarks))
    chosen = [benchmarks[name] for name in options.only or benchmarks]
    start = time.monotonic()
    common, not_run = _prepare(chosen, options)
    chosen = [benchmark for benchmark in chosen if benchmark.name in common]
    pythons = {Side.OURS: Path(sys.executable), Side.BARE: Path(sys.executable)}
    sides = {job.side for benchmark in chosen for job in benchmark.jobs}
    for side, environment in ((Side.RAY_TUNE, RAY_TUNE), (Side.HPO, HPO)):
        if not options.peers or side not in sides:
            continue
        try:
            pythons[side] = environment.python(lambda text: console.print(escape(text)))
        except EnvironmentFailed as error:
            console.print(f"[bold red]no environment for {environment.peers}[/bold red] (--no-peers leaves it out)")
            console.print(escape(str(error)))
            return 2
    cores = hold_to_cores()
    described = machine.describe(len(cores))
    console.print(escape(described))

    rounds = 1 if options.quick else options.rounds
    records = []
    for benchmark in chosen:
        console.print(f"\n[bold]{benchmark.title}[/bold] ({benchmark.name})")
        records.append(
            measure_all(benchmark, pythons, rounds=rounds, quick=options.quick, common=common[benchmark.name], say=_say)
        )

    console.print()
    console.print(terminal_table(records))
    for record in records:
        for label, crash in record.crashes.items():
            console.print(f"\n[bold red]{record.benchmark.name}: {label} crashed[/bold red]: {escape(crash.reason)}")
            console.print(escape(crash.output), style="dim")
    minutes = (time.monotonic() - start) / 60
    facts = [
        ("Date", date.today().isoformat()),
        ("Commit", machine.commit()),
        ("Machine", described),
        *((f"Versions, {name}", _versions(records, side)) for name, side in _SIDES),
        ("Rounds", f"{rounds} (slow peers fewer), {minutes:.1f} minutes in all"),
        *((f"Not run: {name}", reason) for name, reason in not_run.items()),
    ]
    _keep(records, facts)
    failed = sum(line.failed for record in records for line in judge(record))
    crashes = sum(len(record.crashes) for record in records)
    page = RESULTS.relative_to(ROOT)
    if options.peers and not options.quick:
        for record in records:
            if record.benchmark.publish is not None and not record.crashes:
                for path in record.benchmark.publish(record, facts):
                    console.print(f"written: {path.relative_to(ROOT)}")
    if options.only or options.quick or not options.peers:
        console.print(f"{page} is left as it was: only a part was measured")
    elif crashes:
        console.print(f"{page} is left as it was: a side crashed")
    else:
        RESULTS.write_text(markdown(records, facts))
        console.print(f"written: {page}")
    for name, reason in not_run.items():
        console.print(f"[bold yellow]{name} was not run[/bold yellow]: {escape(reason)}")
    if failed or crashes:
        console.print(f"[bold red]{failed} goals missed, {crashes} crashes[/bold red] in {minutes:.1f} minutes")
        return 1
    console.print(f"[green]all goals {'that were measured ' if not_run else ''}met[/green] in {minutes:.1f} minutes")
    return 0


_SIDES = (("ours", Side.OURS), ("Ray Tune", Side.RAY_TUNE), ("Syne Tune and Optuna", Side.HPO))


def _prepare(
    chosen: Sequence[Benchmark], options: argparse.Namespace
) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """Parameters that all jobs of a benchmark get, by its name; and why others cannot be measured here."""
    common: dict[str, Mapping[str, Any]] = {}
    not_run: dict[str, str] = {}
    for benchmark in chosen:
        try:
            common[benchmark.name] = benchmark.prepare(options) if benchmark.prepare is not None else {}
        except NotRun as reason:
            not_run[benchmark.name] = str(reason)
    return common, not_run


def _parse(arguments: Sequence[str] | None, names: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        action="extend",
        type=lambda text: text.split(","),
        metavar="NAME[,NAME...]",
        help=f"some of {', '.join(names)}; may be given several times",
    )
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each job (default 5)")
    parser.add_argument("--quick", action="store_true", help="one round of less work: tries the harness")
    parser.add_argument("--no-peers", action="store_false", dest="peers", help="without the peers")
    parser.add_argument("--taskset", metavar="DIR", help=f"folder of the learning curves; also: {taskset.VARIABLE}")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.only or ()) - set(names)):
        parser.error(f"--only: expected some of {', '.join(names)}, got {', '.join(map(repr, unknown))}")
    if options.rounds < 1:
        parser.error(f"--rounds: expected at least 1, got {options.rounds}")
    return options


def _say(job: Job, turn: int, outcome: Measurement | Crash) -> None:
    if isinstance(outcome, Crash):
        text = f"[bold red]crashed[/bold red]: {escape(outcome.reason)}"
    else:
        text = "  ".join(f"{name} {number(value)}" for name, value in outcome.figures.items())
    console.print(f"  round {turn + 1}  {job.label:<16}  {text}")


def _versions(records: Sequence[Record], side: Side) -> str:
    """Versions that the jobs of a side named, in one line."""
    found: dict[str, str] = {}
    for record in records:
        for job in record.benchmark.jobs:
            if job.side is side:
                for measurement in record.measurements.get(job.label, []):
                    found |= measurement.versions
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _keep(records: Sequence[Record], facts: Sequence[tuple[str, str]]) -> None:
    """Leave all measurements in the output folder, for whoever wants to look closer."""
    OUTPUT.mkdir(exist_ok=True)
    measured = {
        record.benchmark.name: {
            label: [asdict(measurement) for measurement in measurements]
            for label, measurements in record.measurements.items()
        }
        for record in records
    }
    (OUTPUT / "measurements.json").write_text(json.dumps({"facts": dict(facts), "measured": measured}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
