"""``python -m benchmarks.search``: every searcher on every table, then the page of the documentation.

Runs that are done are kept in ``benchmarks/output/search.jsonl`` and not made again; `--fresh` forgets them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.environment import HPO, ROOT
from benchmarks.measure import OUTPUT, hold_to_cores
from benchmarks.search import ours, page, peers, tables

console = Console(highlight=False)
Key = tuple[str, str, int]  # method, table, seed
DELAYED = "one trial late: "


def main() -> int:
    """Returns the exit status: 0 all goals met, 1 one missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two seeds on three tables; the page is not written")
    parser.add_argument("--fresh", action="store_true", help="forget the runs that are done")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="leave the peers out")
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no further run after so many (default 60)")
    options = parser.parse_args()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # there is a process for each core
        os.environ[variable] = "1"
    start = time.monotonic()
    store = OUTPUT / ("search_quick.jsonl" if options.quick else "search.jsonl")
    if options.fresh:
        store.unlink(missing_ok=True)
    done = dict(_kept(store))
    wanted = [key for key in _wanted(options.quick, options.peers) if key not in done]
    console.print(f"{len(done)} runs are done, {len(wanted)} are to be made")
    jobs = list(_jobs(wanted))
    python = str(HPO.python(console.print)) if options.peers else ""
    OUTPUT.mkdir(exist_ok=True)
    with store.open("a", encoding="utf-8") as file, ProcessPoolExecutor(len(hold_to_cores()) or None) as pool:
        coming = [pool.submit(_run, job, python) for job in jobs]
        for number, future in enumerate(as_completed(coming), 1):
            if time.monotonic() - start > 60 * options.minutes:
                pool.shutdown(wait=False, cancel_futures=True)
                console.print(f"{options.minutes:g} minutes are over; call again to go on with the rest")
                return 1
            for key, found in future.result():
                done[key] = found
                file.write(json.dumps([*key, *found]) + "\n")
            file.flush()
            if number % 50 == 0 or number == len(coming):
                console.print(f"{number} of {len(coming)} jobs, {(time.monotonic() - start) / 60:.1f} minutes")
    lines, missed = page.judge(done, ours.overhead())
    console.print("\n".join(lines))
    if not options.quick and options.peers:
        console.print(f"written: {page.publish(done, lines).relative_to(ROOT)}")
    return 1 if missed else 0


def _wanted(quick: bool, with_peers: bool) -> Iterator[Key]:
    seeds = range(2 if quick else 30)
    names = tables.FEW if quick else tables.NAMES
    few = range(2 if quick else 5)
    for method in (*ours.FAST, *(peers.METHODS if with_peers else ()), DELAYED + "tpe", DELAYED + "evolutionary"):
        for table in names:
            if ours.takes(method, table):
                yield from ((method, table, seed) for seed in seeds)
    for method in ours.SLOW:
        for table in tables.FEW:
            yield from ((method, table, seed) for seed in few)


def _jobs(wanted: list[Key]) -> Iterator[list[Key]]:
    """Runs that share a method and a table and are made by one process."""
    for (method, _), keys in groupby(wanted, key=lambda key: key[:2]):
        if method in peers.METHODS:
            yield list(keys)
        else:
            yield from ([key] for key in keys)


def _run(job: list[Key], python: str) -> list[tuple[Key, tuple[list[float], float]]]:
    """For each run its losses, and seconds for a suggestion."""
    method, name, seed = job[0]
    if method in peers.METHODS:
        seeds = [str(seed) for _, _, seed in job]
        command = [python, "-m", "benchmarks.search.peers", method, name, *seeds]
        printed = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
        runs = map(json.loads, printed.splitlines())
        return [((method, name, run["seed"]), (run["run"][0], run["run"][1])) for run in runs]
    late = method.startswith(DELAYED)
    return [(job[0], ours.run(method.removeprefix(DELAYED), tables.table(name), seed, late=int(late)))]


def _kept(store: Path) -> Iterator[tuple[Key, Any]]:
    if store.exists():
        for line in store.read_text(encoding="utf-8").splitlines():
            method, table, seed, losses, seconds = json.loads(line)
            yield (method, table, seed), (losses, seconds)


if __name__ == "__main__":
    sys.exit(main())
