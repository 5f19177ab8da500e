"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault(
    "KERAS_BACKEND", "torch"
)  # fixed when Keras is imported; the tests start the other one themselves

import hypothesis
import pytest

hypothesis.settings.register_profile("local", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", parent=hypothesis.settings.get_profile("local"), derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


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
