"""The Lightning example, as it is and inside a tuning run, at small size."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


def example(repository: Path, tmp_path: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(repository / "examples" / "lightning_digits.py"), "--size", "200", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def test_alone(repository: Path, tmp_path: Path) -> None:
    assert "trained alone for 2 epochs" in example(repository, tmp_path, "--alone", "--epochs", "2")
    assert not list(tmp_path.iterdir()), "nothing is left in the user's folder"


@pytest.mark.slow
def test_tuned(repository: Path, tmp_path: Path) -> None:
    said = example(repository, tmp_path, "--trials", "3", "--epochs", "4")
    accuracy = re.search(r"validation accuracy (\d\.\d+)", said)
    assert accuracy and float(accuracy.group(1)) > 0.1
    epochs = re.search(r"epochs trained: (\d+) of 12", said)
    assert epochs and 6 <= int(epochs.group(1)) <= 12
