"""What all tests share."""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

# Fixed when Keras is imported; the tests start the other one themselves.
os.environ.setdefault("KERAS_BACKEND", "torch" if importlib.util.find_spec("torch") else "jax")

import hypothesis
import pytest

hypothesis.settings.register_profile("local", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", parent=hypothesis.settings.get_profile("local"), derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")

# So in an environment of the extra dev-light; with dev nothing is left out.
WITHOUT_TORCH = importlib.util.find_spec("torch") is None
NEEDS_TORCH = re.compile(r"test_(example_)?(accelerate|every_adapter|lightning|(py)?torch|transformers)")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return True if WITHOUT_TORCH and NEEDS_TORCH.match(collection_path.name) else None


def pytest_report_header() -> list[str]:
    return ["no PyTorch here: the tests that need it are left out"] if WITHOUT_TORCH else []


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def _results_in_a_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test writes into the user's ~/tune_results, neither here nor in a process started by a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNE_STORAGE_PATH", str(tmp_path_factory.mktemp("tune_results")))
        yield


@pytest.fixture
def run_here(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs an example in this process, which has its framework imported already: ``(exit code, what it printed)``."""

    def run(name: str, *options: str) -> tuple[int, str]:
        code: int | str | None = 0
        monkeypatch.setattr(sys, "argv", [name, *options])
        monkeypatch.setenv("COLUMNS", "200")  # no line of the output is wrapped
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                runpy.run_path(str(repository / "examples" / f"{name}.py"), run_name="__main__")
            except SystemExit as end:
                code = end.code
        said = capsys.readouterr()
        return int(code or 0), said.out + said.err

    return run
