"""``python -m benchmarks``: measure ours and its peers in turn, show the table, write it into the documentation."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from benchmarks import machine
from benchmarks.environment import ROOT, EnvironmentFailed, ray_tune_python
from benchmarks.measure import OUTPUT, Crash, Measurement, Record, hold_to_cores, measure_all
from benchmarks.registry import Job, Side, discover
from benchmarks.table import judge, markdown, number, terminal_table

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
    pythons = {Side.OURS: Path(sys.executable), Side.BARE: Path(sys.executable)}
    if options.peers and any(job.side is Side.RAY_TUNE for benchmark in chosen for job in benchmark.jobs):
        try:
            pythons[Side.RAY_TUNE] = ray_tune_python(lambda text: console.print(escape(text)))
        except EnvironmentFailed as error:
            console.print(f"[bold red]no environment for Ray Tune[/bold red] (--no-peers leaves it out)\n{error}")
            return 2
    cores = hold_to_cores()
    described = machine.describe(len(cores))
    console.print(escape(described))

    rounds = 1 if options.quick else options.rounds
    records = []
    for benchmark in chosen:
        console.print(f"\n[bold]{benchmark.title}[/bold] ({benchmark.name})")
        records.append(measure_all(benchmark, pythons, rounds=rounds, quick=options.quick, say=_say))

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
    ]
    _keep(records, facts)
    failed = sum(line.failed for record in records for line in judge(record))
    crashes = sum(len(record.crashes) for record in records)
    page = RESULTS.relative_to(ROOT)
    if options.only or options.quick or not options.peers:
        console.print(f"{page} is left as it was: only a part was measured")
    elif crashes:
        console.print(f"{page} is left as it was: a side crashed")
    else:
        RESULTS.write_text(markdown(records, facts))
        console.print(f"written: {page}")
    if failed or crashes:
        console.print(f"[bold red]{failed} goals missed, {crashes} crashes[/bold red] in {minutes:.1f} minutes")
        return 1
    console.print(f"[green]all goals met[/green] in {minutes:.1f} minutes")
    return 0


_SIDES = (("ours", Side.OURS), ("Ray Tune", Side.RAY_TUNE))


def _parse(arguments: Sequence[str] | None, names: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each job (default 5)")
    parser.add_argument("--quick", action="store_true", help="one round of less work: tries the harness")
    parser.add_argument("--no-peers", action="store_false", dest="peers", help="without Ray Tune")
    options = parser.parse_args(arguments)
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
