"""The PyTorch example runs as it is and inside a tuning run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str]]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SCRIPT = Path(__file__).resolve().parent.parent / "examples" / "pytorch_pbt.py"


def run_script(*options: str) -> subprocess.CompletedProcess[str]:
    # Wide, so that no line of the output is wrapped.
    env = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *options], capture_output=True, text=True, timeout=280, env=env, check=False
    )


def test_help_and_bad_options(run_here: Run) -> None:
    assert "--population" in run_here("pytorch_pbt", "--help")[1]
    code, said = run_here("pytorch_pbt", "--epochs", "0")
    assert code == 2 and "--epochs: expected at least 1, got 0" in said


def test_the_training_alone(run_here: Run) -> None:
    code, said = run_here("pytorch_pbt", "--alone", "--epochs", "3", "--width", "4")
    accuracies = re.findall(r"^epoch \d: accuracy (\d\.\d+)$", said, re.MULTILINE)
    assert code == 0 and len(accuracies) == 3 and float(accuracies[-1]) > 0.5, said


def test_the_whole_example_at_small_size(tmp_path: Path) -> None:
    done = run_script(
        *("--population", "4", "--epochs", "8", "--interval", "2", "--width", "4"),
        *("--accuracy", "0.9", "--storage-path", str(tmp_path)),
    )
    assert done.returncode == 0, done.stderr
    best = re.search(r"^Best accuracy (\d\.\d{4}) after (\d) epochs, with$", done.stdout, re.MULTILINE)
    assert best, done.stdout
    assert float(best[1]) >= 0.9 or int(best[2]) == 8
    assert float(best[1]) > 0.6
    for name in ("lr", "momentum", "weight_decay"):
        assert re.search(rf"^  {name} +[\d.e-]+$", done.stdout, re.MULTILINE)
    exploits = re.search(
        r"^Exploits inside the running loop: (\d+), by a new entry .*: (\d+)$", done.stdout, re.MULTILINE
    )
    assert exploits and int(exploits[1]) > 0 and int(exploits[2]) == 0, done.stdout
    assert f"Accuracy of its last checkpoint: {best[1]}" in done.stdout
    assert "Traceback" not in done.stderr


def test_the_change_to_the_training_function_is_as_small_as_it_says() -> None:
    text = SCRIPT.read_text()
    added = re.findall(r"^    \+ +(.*)$", text, re.MULTILINE)
    body = text[text.index("def train_digits") : text.index("@torch.no_grad")]
    about_tuning = [line.strip() for line in body.splitlines() if "state" in line.lower()]
    assert added == about_tuning and len(added) == 3
