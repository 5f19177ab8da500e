"""The example of a search for scikit-learn runs as it is, and beside scikit-learn's own search."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

Run = Callable[..., tuple[int, str]]

pytestmark = pytest.mark.slow

SMALL = ("--rows", "4000", "--candidates", "6", "--rounds", "16", "--verbose", "0")


def test_wrong_options_are_told(run_here: Run) -> None:
    code, said = run_here("sklearn_flights", "--candidates", "0")
    assert code == 2 and "--candidates: expected at least 1, got 0" in said


def test_both_searches_at_small_size(run_here: Run) -> None:
    code, said = run_here("sklearn_flights", *SMALL)
    assert code == 0 and "Traceback" not in said, said
    assert re.search(r"^6 candidates, [1-5] of them trained for all 16 rounds$", said, re.MULTILINE), said
    code, plain = run_here("sklearn_flights", *SMALL, "--plain")
    assert code == 0, plain
    for printed in (said, plain):
        found = re.search(r"^test AUC (0\.\d{4}) on [\d,]+ flights of other days", printed, re.MULTILINE)
        assert found and float(found[1]) > 0.55, printed
