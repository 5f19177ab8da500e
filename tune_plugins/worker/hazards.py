"""Why a process that has imported something must not be forked."""

from __future__ import annotations

import os
import sys
import threading

_ONE_A_PROCESS = frozenset(
    (
        "_io.BufferedRandom",
        "_io.BufferedReader",
        "_io.BufferedWriter",
        "_io.FileIO",
        "_io.TextIOWrapper",
        "numpy.random._generator.Generator",
        "numpy.random.mtrand.RandomState",
        "random.Random",
        "socket.socket",
        "sqlite3.Connection",
        "uuid.UUID",
    )
)
"""Types of module variables: shared files and connections, and what is meant to be different in each process."""

_STREAMS = (sys.stdin, sys.stdout, sys.stderr)


def one_a_process(name: str) -> str:
    """A variable of a module that processes must not share, as each would have its own otherwise; empty: none."""
    for variable, value in list(vars(sys.modules[name]).items()):
        kind = type(value)
        shared = f"{kind.__module__}.{kind.__qualname__}" in _ONE_A_PROCESS
        if shared and not any(value is stream for stream in _STREAMS):
            return f"{name}.{variable} (a {kind.__qualname__}) would be one for all"
    return ""


_SAFE_THREADS = frozenset(("jemalloc_bg_thd",))
"""Names that libraries give to threads which they look after at a fork: jemalloc's handlers of a fork hold its locks
over it and switch the thread off in the child (jemalloc, background_thread.c). PyArrow brings it, so pandas does."""


def count_threads() -> int:
    """Those of this process, with those of libraries, that a fork would leave behind unawares."""
    tasks = os.listdir("/proc/self/task")
    return len(tasks) - sum(_name_of(task) in _SAFE_THREADS for task in tasks[1:])


def _name_of(task: str) -> str:
    try:
        with open(f"/proc/self/task/{task}/comm") as file:
            return file.read().strip()
    except OSError:
        return ""  # it has ended meanwhile


def hazard(threads: int) -> str:
    """Why a fork of this process would not be safe; `threads`: how many there are besides those of user code."""
    if threading.active_count() > 2:  # this one, and the one that watches the driver
        names = [thread.name for thread in threading.enumerate()]
        return f"a thread runs ({names[-1]})"
    if count_threads() > threads:
        return "a library has opened threads"
    torch = sys.modules.get("torch")
    if torch is not None and getattr(torch, "cuda", None) is not None and torch.cuda.is_initialized():
        return "CUDA is initialised"
    bridge = sys.modules.get("jax._src.xla_bridge")
    if bridge is not None and bridge.backends_are_initialized():
        return "a back end of jax is initialised"
    return ""
