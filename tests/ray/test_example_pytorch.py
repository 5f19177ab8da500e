"""The PyTorch example runs as it is and inside a tuning run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str]]

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "pytorch_pbt.py"


def test_help_and_bad_options(run_here: Run) -> None:
    assert "--population" in run_here("pytorch_pbt", "--help")[1]
    code, said = run_here("pytorch_pbt", "--epochs", "0")
    assert code == 2 and "--epochs: expected at least 1, got 0" in said


def test_the_training_alone(run_here: Run) -> None:
    code, said = run_here("pytorch_pbt", "--alone", "--epochs", "3", "--width", "4")
    accuracies = re.findall(r"^epoch \d: accuracy (\d\.\d+)$", said, re.MULTILINE)
    assert code == 0 and len(accuracies) == 3 and float(accuracies[-1]) > 0.5, said


def test_the_whole_example_at_small_size(run_here: Run, tmp_path: Path) -> None:
    code, said = run_here(
        "pytorch_pbt",
        *("--population", "4", "--epochs", "8", "--interval", "2", "--width", "4"),
        *("--accuracy", "0.9", "--storage-path", str(tmp_path)),
    )
    assert code == 0, said
    best = re.search(r"^Best accuracy (\d\.\d{4}) after (\d) epochs, with$", said, re.MULTILINE)
    assert best, said
    assert float(best[1]) >= 0.9 or int(best[2]) == 8
    assert float(best[1]) > 0.6
    for name in ("lr", "momentum", "weight_decay"):
        assert re.search(rf"^  {name} +[\d.e-]+$", said, re.MULTILINE)
    exploits = re.search(r"^Exploits inside the running loop: (\d+), by a new entry .*: (\d+)$", said, re.MULTILINE)
    assert exploits and int(exploits[1]) > 0 and int(exploits[2]) == 0, said
    # Measured by another process: one of the 360 pictures may lie so close to the edge that rounding decides.
    again = re.search(r"^Accuracy of its best network, loaded: (\d\.\d{4})$", said, re.MULTILINE)
    assert again and float(again[1]) >= float(best[1]) - 0.003, said
    assert "Traceback" not in said


def test_the_change_to_the_training_function_is_as_small_as_it_says() -> None:
    text = SCRIPT.read_text()
    added = re.findall(r"^    \+ +(.*)$", text, re.MULTILINE)
    body = text[text.index("def train_digits") : text.index("@torch.no_grad")]
    about_tuning = [line.strip() for line in body.splitlines() if "state" in line.lower()]
    assert added == about_tuning and len(added) == 3
