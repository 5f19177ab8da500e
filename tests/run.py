"""Runs the tests in two parts, with the arguments of pytest: `python tests/run.py -k asha`; part of `make test`.

What needs no Ray is spread over several processes, file by file: each process imports the frameworks once. The rest
(tests/ray) follows in two, each with one Ray for all that it takes: much of it waits for Ray. The last line adds up
what both parts counted. With --fast there is one part: what needs neither Ray nor a framework nor an environment of
its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
PASSED, FAILED, NO_TESTS = 0, 1, 5  # exit codes of pytest; with all others the run did not come to its end
MOST_PROCESSES = 4  # each holds all frameworks, which takes 1.5 GiB
MOST_RAYS = 2


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parts(fast: bool) -> dict[str, list[str]]:
    """{name of a part: options of pytest for it}."""
    spread = ["-n", str(min(cores(), MOST_PROCESSES)), "--dist", "loadfile"]
    # In the order of tests/ray/conftest.py: what ends the Ray of a process comes last.
    rays = ["-n", str(min(cores(), MOST_RAYS)), "--dist", "loadgroup", "--no-loadscope-reorder"]
    return {"fast": spread} if fast else {"without-ray": spread, "with-ray": rays}


def main(arguments: list[str]) -> int:
    """Exit code: 0 where all that was selected has passed, that of the first part that did not otherwise."""
    fast = "--fast" in arguments
    selection = [argument for argument in arguments if argument != "--fast"]
    total: Counter[str] = Counter(passed=0, failed=0, skipped=0)
    codes = []
    with TemporaryDirectory() as directory:
        for part, options in parts(fast).items():
            noted = Path(directory, f"{part}.json")
            command = [sys.executable, "-m", "pytest", f"--part={part}", f"--counts={noted}", *options, *selection]
            codes.append(subprocess.run(command, cwd=ROOT, check=False).returncode)
            if noted.exists():
                total.update(json.loads(noted.read_text()))
            if codes[-1] not in (PASSED, FAILED, NO_TESTS):
                total["failed"] += not total["failed"]  # it did not come to its end: this is no good run
                break
    if set(codes) == {NO_TESTS}:
        print("no test was selected in any part")
        return NO_TESTS
    print(
        f"{total['passed']} passed, {total['failed']} failed" + f", {total['skipped']} skipped" * bool(total["skipped"])
    )
    return next((code for code in codes if code not in (PASSED, NO_TESTS)), PASSED)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
