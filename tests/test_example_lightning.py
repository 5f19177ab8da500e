"""The Lightning example, as it is and inside a tuning run, at small size."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


def run(repository: Path, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(repository / "examples" / "lightning_digits.py"), *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
        check=False,
    )


def example(repository: Path, tmp_path: Path, *arguments: str) -> str:
    done = run(repository, tmp_path, "--size", "200", *arguments)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def test_alone(repository: Path, tmp_path: Path) -> None:
    assert "trained alone for 2 epochs" in example(repository, tmp_path, "--alone", "--epochs", "2")
    assert not list(tmp_path.iterdir()), "nothing is left in the user's folder"


@pytest.mark.slow
def test_tuned(repository: Path, tmp_path: Path) -> None:
    said = example(repository, tmp_path, "--trials", "3", "--epochs", "4", "--storage-path", str(tmp_path / "results"))
    assert list((tmp_path / "results").iterdir())
    accuracy = re.search(r"validation accuracy (\d\.\d+)", said)
    assert accuracy and float(accuracy.group(1)) > 0.1
    epochs = re.search(r"epochs trained: (\d+) of 12", said)
    assert epochs and 6 <= int(epochs.group(1)) <= 12


def test_bad_options(repository: Path, tmp_path: Path) -> None:
    done = run(repository, tmp_path, "--epochs", "0")
    assert done.returncode == 2 and "--epochs: expected at least 1, got 0" in done.stdout


def test_the_change_to_the_training_function_is_as_small_as_it_says(repository: Path) -> None:
    _, docstring, code = (repository / "examples" / "lightning_digits.py").read_text().split('"""', 2)
    added, removed = (re.findall(rf"^    \{sign}(.*)$", docstring, re.MULTILINE) for sign in "+-")
    assert len(added) == 3 and all(line in code.splitlines() for line in added)
    body = code[code.index("def train(") : code.index("def main(")].splitlines()
    first = body.index(added[1])
    assert body[first : first + 2] == added[1:]
    alone = [*body[:first], *removed, *body[first + 2 :]]
    assert not [line for line in alone if "tune" in line.lower() or "callback" in line]
