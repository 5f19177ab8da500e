"""Which threads keep a process from being forked."""

from __future__ import annotations

import ctypes
import threading

import pytest

from tune_plugins.worker.hazards import count_threads

_PR_SET_NAME = 15


@pytest.mark.parametrize(("name", "counted"), [("jemalloc_bg_thd", 0), ("polars-ooc-clea", 1), ("", 1)])
def test_threads_count_unless_their_library_looks_after_them(name: str, counted: int) -> None:
    there, over = threading.Event(), threading.Event()

    def run() -> None:
        if name:
            ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
        there.set()
        over.wait()

    before = count_threads()
    thread = threading.Thread(target=run)
    thread.start()
    try:
        there.wait()
        assert count_threads() == before + counted
    finally:
        over.set()
        thread.join()
