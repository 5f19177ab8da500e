"""The other end of a preloading process: starts one on this machine, and talks to it.

It lives in the driver, and on other nodes in an actor beside the preloading process.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from typing import Any, BinaryIO

from tune_plugins.worker.orders import (
    Ended,
    Fork,
    Forked,
    Kill,
    Left,
    NotForked,
    Preload,
    Preloaded,
    Serve,
    Succeed,
    Watched,
)
from tune_plugins.worker.watch import oom_kills

CAN_FORK = sys.platform == "linux" and hasattr(os, "pidfd_open")
"""Whether there can be a preloading process on this system."""

NO_CODE = 255
"""Stands for the exit status of a process that never was."""

_LEAVE_S = 2.0  # how long the preloading process may take to end all that it has forked
_OUTPUT_SHOWN = 2000  # bytes of what modules printed when they were imported, for an error


class ForkedProcess:
    """A process that was forked, as its `Agent` knows it.

    Attributes:
        pid: None: it is not there yet.
        code: how it has ended: exit status, or the negative number of the signal; None: it lives.
        turn, left: numbers of the last run that it was told to serve, and of the last one that it has left.
        error: why the training function could not be loaded.
        fate: why it has ended, where that is known better than by `code`.
        still, shortage: see `Watched`, of a process on another node.
    """

    def __init__(self, worker: str, agent: Agent) -> None:
        self.worker, self._agent = worker, agent
        self.pid: int | None = None
        self.code: int | None = None
        self.turn = self.left = 0
        self.error: str | None = None
        self.fate = ""
        self.still, self.shortage = False, ""

    def serve(self, address: Any, key: bytes, cargo: str, node: str) -> None:
        """Have it run the trials of one experiment."""
        self.turn, self.error = self.turn + 1, None
        self._agent.tell(Serve(self.worker, address, key, cargo, node, self.turn))

    def kill(self) -> None:
        """End it at once, with all that it has started."""
        if self.code is None:
            self._agent.tell(Kill(self.worker))

    @property
    def over(self) -> bool:
        """Whether it serves no run: it has left, or has ended."""
        self._agent.listen()
        return self.code is not None or self.left == self.turn

    def how(self) -> str:
        """How it has ended, in words."""
        assert self.code is not None
        if self.fate:
            return self.fate
        if self.code < 0:
            with suppress(ValueError):
                return f"it was ended by {signal.Signals(-self.code).name}"
            return f"it was ended by signal {-self.code}"
        return f"it ended by itself with exit status {self.code}"


class Agent:
    """A preloading process.

    Args:
        preload: what it imports.
        environ: its environment variables.
        label: what distinguishes it from others of this process.

    Attributes:
        runs: how many use it now.
        connection: on which it can be heard.
        node: id of the other node where it is; None: here.
        culprits: names of the modules that are to blame for `trouble`, if any.
        ready: everything is imported, and it may be forked.
        trouble: why it is of no use; empty: it is, or may be.

    Raises:
        OSError: no process can be started.
    """

    def __init__(self, preload: Preload, environ: Mapping[str, str], label: object = None) -> None:
        # Children write to it as long as they live.
        output = tempfile.TemporaryFile(mode="a+b")  # noqa: SIM115
        ours, its = socket.socketpair()
        start = f"from tune_plugins.worker.preloader import main; main({its.fileno()})"
        # Behind everything else: what is installed beside this package must not hide the standard library.
        code = f"import sys; sys.path += {_search_path()!r}; {start}"
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        with its:
            process = subprocess.Popen(
                [sys.executable, *flags, "-c", code],
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environ),
                start_new_session=True,  # Ctrl-C of the terminal is for the driver
            )
        self._set_up(ours, process, output, label, preload.modules)
        self.tell(preload)

    def _set_up(
        self,
        ours: socket.socket,
        process: subprocess.Popen[bytes] | None,
        output: BinaryIO,
        label: object,
        modules: Iterable[str],
    ) -> None:
        self.label, self.runs = label, 0
        self.node: str | None = None
        self.ready, self.trouble = False, ""
        self.culprits: tuple[str, ...] = ()
        self._has = frozenset(modules)
        self._processes: dict[str, ForkedProcess] = {}
        self._lock = threading.RLock()
        self._process, self._output = process, output
        self._oom_kills = oom_kills()
        self.connection = Connection(ours.detach())

    def successor(self, modules: Sequence[str]) -> Agent:
        """Another one, forked from this one, that imports more."""
        ours, its = socket.socketpair()
        agent = Agent.__new__(Agent)
        output = os.fdopen(os.dup(self._output.fileno()), "a+b")
        agent._set_up(ours, None, output, self.label, self._has | frozenset(modules))
        with its, self._lock, suppress(OSError):
            self.connection.send(Succeed(tuple(modules)))
            send_handle(self.connection, its.fileno(), 0)
        return agent

    @property
    def size(self) -> int:
        """How many modules it has imported, or will."""
        return len(self._has)

    def has(self, module: str) -> bool:
        """Whether it has imported a module, or will, or has tried."""
        return module in self._has

    @property
    def busy(self) -> bool:
        """Whether processes live that were forked from it."""
        self.listen()
        return bool(self._processes)

    def fork(self, worker: str) -> ForkedProcess:
        """A new process, which is there as soon as everything is imported."""
        process = ForkedProcess(worker, self)
        with self._lock:
            if self.connection.closed:
                process.code = -signal.SIGKILL
                return process
            self._processes[worker] = process
            self.tell(Fork(worker))
        return process

    def tell(self, order: Any) -> None:
        """Send an order; where nobody is left to obey, `listen` will notice."""
        with self._lock, suppress(OSError):
            self.connection.send(order)

    def listen(self) -> None:
        """Take in what it has said since."""
        with self._lock:
            try:
                while not self.connection.closed and self.connection.poll():
                    self._hear(self.connection.recv())
            except (EOFError, OSError):
                self._gone()

    def _hear(self, said: Any) -> None:
        if isinstance(said, Preloaded):
            self.culprits, self.ready = tuple(said.hazards), not said.hazards
            self.trouble = "; ".join(f"{why} when {name} is imported" for name, why in said.hazards.items())
            self._has |= said.modules
            return
        process = self._processes[said.worker]
        if isinstance(said, Forked):
            process.pid = said.pid
        elif isinstance(said, NotForked):
            process.code, process.fate = NO_CODE, f"could not be started: {said.why}"
            del self._processes[said.worker]
        elif isinstance(said, Watched):
            process.still, process.shortage = said.still, said.shortage
        elif isinstance(said, Left):
            process.left, process.error = said.turn, said.error
        elif isinstance(said, Ended):
            process.code = said.code
            del self._processes[said.worker]

    def _gone(self) -> None:
        """The preloading process has ended, and all that it had forked with it."""
        self.connection.close()
        how = ""
        if self._process is not None:
            try:
                code = self._process.wait(timeout=_LEAVE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                code = self._process.wait()
            how = f" (signal {-code})" if code < 0 else f" (exit status {code})"
        self.ready = False
        self.trouble = self.trouble or f"it has ended{how}. {self.output()}".strip()
        for process in self._processes.values():
            process.code, process.fate = -signal.SIGKILL, "the process that it was forked from has ended"
        self._processes.clear()

    def killed_for_memory(self) -> bool:
        """Whether the kernel has ended a process for want of memory since the last time."""
        before, self._oom_kills = self._oom_kills, oom_kills()
        return self._oom_kills > before

    def output(self) -> str:
        """The end of what modules printed when they were imported."""
        if self._output.closed:
            return ""
        size = os.fstat(self._output.fileno()).st_size
        shown = os.pread(self._output.fileno(), _OUTPUT_SHOWN, max(0, size - _OUTPUT_SHOWN))
        return shown.decode("utf-8", "replace").strip()

    def wait_until(self, reached: Callable[[], bool], timeout: float) -> bool:
        """Listen until something is so; False if it is not within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            self.listen()
            if reached():
                return True
            left = deadline - time.monotonic()
            if left <= 0 or self.connection.closed:
                return False
            with suppress(OSError):  # another thread may have found it gone
                self.connection.poll(min(left, 0.1))

    def close(self) -> None:
        """End the preloading process and all that it has forked."""
        with self._lock:
            if not self.connection.closed:
                self.connection.close()
            self._gone()  # it ends what it has forked, and then itself
            self._output.close()


def _search_path() -> list[str]:
    """So that this package itself is found, however the driver finds it."""
    return [os.path.dirname(os.path.abspath(path)) for path in sys.modules["tune_plugins"].__path__]
