"""The Keras example runs as it is and inside a tuning run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str]]

pytestmark = pytest.mark.slow  # each run imports Keras and PyTorch

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "keras_digits.py"


def test_help_and_bad_options(run_here: Run) -> None:
    assert "--num-samples" in run_here("keras_digits", "--help")[1]
    code, said = run_here("keras_digits", "--epochs", "0")
    assert code == 2 and "--epochs: expected at least 1, got 0" in said


def test_the_training_alone(run_here: Run) -> None:
    code, said = run_here("keras_digits", "--alone", "--epochs", "2")
    assert code == 0 and re.search(r"validation loss and accuracy: \[\d\.\d+, 0\.\d+\]", said), said


def test_the_whole_example_at_small_size(run_here: Run, tmp_path: Path) -> None:
    code, said = run_here("keras_digits", "--num-samples", "4", "--epochs", "3", "--storage-path", str(tmp_path))
    assert code == 0, said
    epochs = re.search(r"^Epochs trained: (\d+) of 12$", said, re.MULTILINE)
    assert epochs and 3 <= int(epochs[1]) < 12, said
    loss = r"^Validation loss \d\.\d{4} at the end\n"
    result = re.search(loss + r"Test loss \d\.\d{4}, test accuracy (0\.\d{4}) with the model", said, re.MULTILINE)
    assert result and float(result[1]) > 0.3, said
    for name in ("lr", "momentum", "filters", "dropout"):
        assert name in said
    assert "Traceback" not in said


def test_the_change_to_the_training_function_is_as_small_as_it_says() -> None:
    text = SCRIPT.read_text()
    page = (SCRIPT.parent.parent / "docs" / "frameworks" / "keras.md").read_text()
    code = text.split('"""', 2)[2]
    shown = re.findall(r"^    \+(.*)$", text, re.MULTILINE)
    assert len(shown) == 3 and all(f"\n{line}\n" in code and f"\n+{line}\n" in page for line in shown)
    body = code[code.index("def train_digits") : code.index("def make_model")]
    assert [line for line in body.splitlines() if "tune" in line.lower()] == [shown[1]]
    (removed,) = re.findall(r"^    -(.*)$", text, re.MULTILINE)
    assert shown[2] == removed.removesuffix(")") + ", callbacks=callbacks)" and f"\n-{removed}\n" in page
