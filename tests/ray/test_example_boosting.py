"""The examples of XGBoost, LightGBM and CatBoost run as they are and inside a tuning run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str]]

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "bad", "said", "printed"),
    [
        ("xgboost_pbt", "--population", "--population: expected at least 2, got 0", r"eval-error:0\.\d+"),
        ("lightgbm_digits", "--rounds", "--rounds: expected at least 1, got 0", r"validation error: 0\.\d+"),
        ("catboost_digits", "--rounds", "--rounds: expected at least 1, got 0", r"validation accuracy: 0\.\d+"),
    ],
)
def test_options_and_the_training_alone(run_here: Run, name: str, bad: str, said: str, printed: str) -> None:
    assert "--storage-path" in run_here(name, "--help")[1]
    code, told = run_here(name, bad, "0")
    assert code == 2 and said in told
    code, told = run_here(name, "--alone", "--rounds", "4")
    assert code == 0 and re.search(printed, told), told


def accuracy_of_the_loaded_model(said: str) -> float:
    """As an example prints it beside the last loss recorded."""
    loss = r"^Validation loss \d\.\d{4} at the end\n"
    result = re.search(loss + r"Test accuracy ([01]\.\d{4}) with the .* best round, (\d+)$", said, re.MULTILINE)
    assert result and 1 <= int(result[2]) <= 12, said
    return float(result[1])


def test_population_of_xgboost_at_small_size(run_here: Run, tmp_path: Path) -> None:
    options = ("--population", "4", "--rounds", "12", "--interval", "5", "--storage-path", str(tmp_path))
    code, said = run_here("xgboost_pbt", *options)
    assert code == 0, said
    exploits = re.search(r"running training: (\d+), by a new entry: (\d+)$", said, re.MULTILINE)
    assert exploits and int(exploits[1]) >= 1 and int(exploits[2]) == 0, said
    assert accuracy_of_the_loaded_model(said) > 0.85
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["lightgbm_digits", "catboost_digits"])
def test_asha_at_small_size(run_here: Run, tmp_path: Path, name: str) -> None:
    options = ("--num-samples", "12", "--rounds", "12", "--storage-path", str(tmp_path))
    code, said = run_here(name, *options)
    assert code == 0, said
    rounds = re.search(r"^Rounds trained: (\d+) of 144$", said, re.MULTILINE)
    assert rounds and 50 <= int(rounds[1]) < 144, said
    assert accuracy_of_the_loaded_model(said) > 0.7
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("name", "function"),
    [("xgboost_pbt", "train_cancer"), ("lightgbm_digits", "train_digits"), ("catboost_digits", "train_digits")],
)
def test_the_change_to_the_training_function_is_as_small_as_it_says(name: str, function: str) -> None:
    _, intro, code = (EXAMPLES / f"{name}.py").read_text().split('"""', 2)
    added, removed = (re.findall(rf"^    \{sign}(.*)$", intro, re.MULTILINE) for sign in "+-")
    assert len(added) == 3 and len(removed) == 1 and all(f"\n{line}\n" in code for line in added)
    assert removed[0] == added[2].replace(", callbacks=callbacks", "")
    body = code[code.index(f"def {function}") :].split("\ndef ")[0]
    assert [line for line in body.splitlines() if "tune" in line.lower()] == [added[1]]
