"""Errors of user code as data, raised by the libraries that pass them on from other processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch.multiprocessing.spawn import start_processes
from torch.utils.data import DataLoader

from tune_plugins.core.ends import EndCause
from tune_plugins.worker.failures import as_data, errored

SEVERAL_LINES = "one\nTraceback (most recent call last):\n  two\nKeyError: three"


class Demanding(ValueError):
    """PyTorch cannot make another one, and raises a RuntimeError instead: its 25522 and 30147."""

    def __init__(self, code: int, *, detail: str) -> None:
        super().__init__(f"code {code}: {detail}")


class Rows:
    """A data set whose rows cannot be read."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        try:
            raise OSError("the file of the row")
        finally:
            raise self.error


def in_a_data_loader(error: Exception) -> None:
    list(DataLoader(Rows(error), num_workers=1))  # type: ignore[arg-type]


def in_a_rank(error: Exception) -> None:
    start_processes(_rank, (error,), nprocs=1, start_method="fork")


def _rank(rank: int, error: Exception) -> None:
    raise error


@pytest.mark.parametrize("raised_in", [in_a_data_loader, in_a_rank])
@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (KeyError("label"), "KeyError", "'label'"),
        (ValueError(SEVERAL_LINES), "ValueError", SEVERAL_LINES),
        (ValueError("ends with lines\n\n"), "ValueError", "ends with lines"),
        (AssertionError(), "AssertionError", ""),
        (Demanding(3, detail="row"), f"{__name__}.Demanding", "code 3: row"),
        (MemoryError("row"), "MemoryError", "row"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_of_another_process_is_that_error(
    raised_in: Callable[[Exception], Any], error: Exception, kind: str, message: str
) -> None:
    with pytest.raises(Exception, match="Traceback") as caught:
        raised_in(error)
    found = as_data(caught.value)
    assert (found.type, found.message) == (kind, message)
    assert "in in_a_" in found.traceback, "here, and there:"
    assert ("in __getitem__" in found.traceback) or ("in _rank" in found.traceback)
    if raised_in is in_a_data_loader:
        assert "OSError: the file of the row" in found.traceback


def test_memory_that_another_process_lacked() -> None:
    with pytest.raises(MemoryError) as caught:
        in_a_data_loader(MemoryError("row"))
    assert errored("00000", caught.value).cause is EndCause.OUT_OF_MEMORY


@pytest.mark.parametrize(
    "message",
    [
        "Caught a cold in winter\nOriginal Traceback (most recent call last):\n",
        "Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n",
        "-- Process 0 terminated with the following error:\nno traceback",
    ],
)
def test_a_message_that_only_looks_like_one_of_pytorch_stays(message: str) -> None:
    found = as_data(RuntimeError(message))
    assert (found.type, found.message) == ("RuntimeError", message)
