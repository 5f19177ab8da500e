"""The example of a framework of one's own runs as it is and inside a tuning run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

Run = Callable[..., tuple[int, str]]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_alone(run_here: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    code, said = run_here("own_adapter", "--alone", "--epochs", "2")
    assert code == 0 and re.search(r"loss: \d\.\d{4}", said), said


def test_as_a_population(tmp_path: Path) -> None:
    options = ["--population", "4", "--epochs", "12", "--storage-path", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "own_adapter.py"), *options],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0 and "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    result = re.search(r"^Validation loss (\d\.\d{4}), accuracy (0\.\d{4})$", done.stdout, re.MULTILINE)
    assert result and float(result[2]) > 0.85, done.stdout
    loaded = re.search(r"^Loss of its best model .*, loaded: (\d\.\d{4})$", done.stdout, re.MULTILINE)
    assert loaded and float(loaded[1]) <= float(result[1]), done.stdout
