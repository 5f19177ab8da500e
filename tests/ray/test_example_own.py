"""The example of a framework of one's own runs as it is and inside a tuning run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

Run = Callable[..., tuple[int, str]]


def test_alone_and_as_a_population(run_here: Run, tmp_path: Path) -> None:
    code, said = run_here("own_adapter", "--alone", "--epochs", "2")
    assert code == 0 and re.search(r"loss: \d\.\d{4}", said), said
    code, said = run_here("own_adapter", "--population", "4", "--epochs", "12", "--storage-path", str(tmp_path))
    assert code == 0 and "Traceback" not in said, said
    result = re.search(r"^Validation loss \d\.\d{4}, accuracy (0\.\d{4})$", said, re.MULTILINE)
    assert result and float(result[1]) > 0.85, said
