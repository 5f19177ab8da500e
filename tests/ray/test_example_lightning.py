"""The Lightning example, as it is and inside a tuning run, at small size."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str]]


def test_alone(run_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = run_here("lightning_digits", "--size", "200", "--alone", "--epochs", "2")
    assert code == 0 and "trained alone for 2 epochs" in said
    assert not list(tmp_path.iterdir()), "nothing is left in the user's folder"


@pytest.mark.slow
def test_tuned(run_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results"
    options = ("--size", "200", "--trials", "3", "--epochs", "4", "--storage-path", str(results))
    code, said = run_here("lightning_digits", *options)
    assert code == 0, said[-4000:]
    assert list(results.iterdir())
    accuracy = re.search(r"validation accuracy (\d\.\d+)", said)
    assert accuracy and float(accuracy.group(1)) > 0.1
    loaded = re.search(r"^accuracy of the model of the best epoch (\d\.\d+)$", said, re.MULTILINE)
    assert loaded and float(loaded[1]) >= float(accuracy[1]), said
    epochs = re.search(r"epochs trained: (\d+) of 12", said)
    assert epochs and 6 <= int(epochs.group(1)) <= 12


def test_bad_options(run_here: Run) -> None:
    code, said = run_here("lightning_digits", "--epochs", "0")
    assert code == 2 and "--epochs: expected at least 1, got 0" in said


def test_the_change_to_the_training_function_is_as_small_as_it_says(repository: Path) -> None:
    _, docstring, code = (repository / "examples" / "lightning_digits.py").read_text().split('"""', 2)
    added, removed = (re.findall(rf"^    \{sign}(.*)$", docstring, re.MULTILINE) for sign in "+-")
    assert len(added) == 3 and all(line in code.splitlines() for line in added)
    body = code[code.index("def train(") : code.index("def main(")].splitlines()
    first = body.index(added[1])
    assert body[first : first + 2] == added[1:]
    alone = [*body[:first], *removed, *body[first + 2 :]]
    assert not [line for line in alone if "tune" in line.lower() or "callback" in line]
