"""``python -m benchmarks.ray_names``: collect the names of Ray Tune, compare, write the page of the documentation."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter

from benchmarks.environment import RAY_TUNE, ROOT
from benchmarks.ray_names.compare import DATA, rows
from benchmarks.ray_names.page import PAGE, page


def main() -> int:
    """Returns the exit status, 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ray_names", description=__doc__)
    parser.add_argument("--page", action="store_true", help="only compare and write, with the names collected before")
    if not parser.parse_args().page:
        command = [str(RAY_TUNE.python(print)), "-m", "benchmarks.ray_names.collect"]
        DATA.write_text(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout)
    found = rows()
    PAGE.write_text(page(found), encoding="utf-8")
    print(f"{', '.join(f'{n} {verdict}' for verdict, n in Counter(row.verdict for row in found).items())}")
    print(f"written: {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
