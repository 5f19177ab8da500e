"""What the kernel tells of processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tune_plugins.worker import watch


@pytest.fixture
def process() -> Iterator[Callable[[str], Any]]:
    started: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
        )
        assert started[-1].stdout is not None
        started[-1].stdout.readline()
        return started[-1]

    yield start
    for each in started:
        with suppress(ProcessLookupError):
            os.killpg(each.pid, signal.SIGKILL)  # with its children
        each.communicate()


_HANGS = "import threading; l = threading.Lock(); l.acquire(); print(flush=True); l.acquire()"
_BUSY = {
    "sleeps": "import time; print(flush=True); time.sleep(600)",
    "computes": "print(flush=True)\nwhile True: pass",
    "reads": "import os; r, w = os.pipe(); print(flush=True); os.read(r, 1)",
    "waits for a child": "import subprocess; print(flush=True); subprocess.run(['sleep', '600'])",
}


def test_a_process_that_waits_for_a_lock_is_still(process: Any) -> None:
    stillness = watch.Stillness(process(_HANGS).pid)
    deadline = time.monotonic() + 60
    while stillness.seconds() < 0.5:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("what", sorted(_BUSY))
def test_one_that_does_anything_else_is_not(process: Any, what: str) -> None:
    stillness = watch.Stillness(process(_BUSY[what]).pid)
    for _ in range(10):
        time.sleep(0.05)
        assert stillness.seconds() < 0.3


def test_one_that_is_gone_is_not(process: Any) -> None:
    ended = process("print(flush=True)")
    ended.wait()
    stillness = watch.Stillness(ended.pid)
    time.sleep(0.1)
    assert stillness.seconds() < 0.1
    assert watch.own_bytes(ended.pid) == 0


def test_memory_is_known_and_the_largest_is_named(process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    used, total = watch.memory()
    assert 0 < used < total
    small = process("print(flush=True); import time; time.sleep(600)").pid
    large = process("x = bytearray(b'x' * 100_000_000); print(flush=True); import time; time.sleep(600)").pid
    assert watch.own_bytes(large) > watch.own_bytes(small) + 90_000_000
    assert watch.largest_in_shortage([small, large]) is None
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.00001")
    found = watch.largest_in_shortage([small, large])
    assert found is not None and found[0] == large and "for want of memory" in found[1]
    assert watch.largest_in_shortage([]) is None
    monkeypatch.setenv("RAY_memory_usage_threshold", "what")
    assert watch.memory_limit() == 0.95
    assert watch.oom_kills() >= 0 and os.getpid()
