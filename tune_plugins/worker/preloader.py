"""The preloading process: imports what trials need, once, and forks from itself the processes that run them.

It runs no user code but what modules do when they are imported, and opens no thread: libraries for training are safe
to fork after their import, and hang after they have computed (their threads do not exist in the child). Each forked
process is an ordinary worker that talks to the driver by itself; this one starts them, reaps them and tells how they
ended.

    driver --Preload, Succeed, Fork, Serve, Kill--> preloading process --Serve--> forked process --frames--> driver
           <--Preloaded, Forked, Left, Ended--
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.util
import os
import pickle
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from multiprocessing.reduction import recv_handle
from typing import Any

from tune_plugins.worker.cargo import Unloaded
from tune_plugins.worker.channel import connect
from tune_plugins.worker.hazards import count_threads, hazard, one_a_process
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
)
from tune_plugins.worker.process import Worker
from tune_plugins.worker.setting import Setting, name_in_main
from tune_plugins.worker.snapshot import Snapshot

_PR_SET_PDEATHSIG = 1


def main(descriptor: int) -> None:
    """Serve the driver at the other end of an inherited socket until it hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal; the driver decides what it means
    _Preloader(Connection(descriptor)).run()


@dataclass(eq=False)
class _Child:
    pid: int
    line: Connection | None
    pidfd: int


class _Preloader:
    def __init__(self, control: Connection) -> None:
        self._control = control
        # A child of the driver's may have inherited its end of the socket, which then stays open.
        self._driver = os.pidfd_open(os.getppid())
        self._children: dict[str, _Child] = {}
        self._snapshot = Snapshot()
        self._looked_at: set[str] = set()
        self._not_to_share: dict[str, str] = {}

    def run(self) -> None:
        with suppress(EOFError, OSError), _ends_with_driver(self._control, self._driver):
            wanted: Preload = self._control.recv()
            sys.path[:] = wanted.search_path
            sys.argv[:] = wanted.argv
            wanted.snapshot.install()
            self._snapshot = wanted.snapshot
            self._load(wanted.modules)
        self._serve_driver()

    def _serve_driver(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                self._turn()
        for child in self._children.values():
            _kill(child)
        os._exit(0)

    def _load(self, modules: tuple[str, ...]) -> None:
        threads = count_threads()
        if any(os.environ.get(name, "1") != "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")):
            # OpenBLAS opens its threads when it is loaded, and looks after them at a fork by itself.
            for name in ("numpy", "scipy.linalg"):
                if importlib.util.find_spec(name.partition(".")[0]) is not None:
                    importlib.import_module(name)
            threads = count_threads()
        gc.disable()  # nearly all that an import makes stays
        hazards: dict[str, str] = {}
        # A package before what is in it: it is the package that is to blame where already its import opens threads.
        for name in (part for module in modules for part in _path_to(module)):
            # What cannot be imported is left to the trials: they may never need it, and tell the error if they do.
            with suppress(BaseException):
                importlib.import_module(name)
            if found := self._hazard_of_own(name):
                hazards[name] = found
            if found := hazard(threads):
                hazards[name] = found
                break
        # What is there now lives to the end: a collection in a child would write to its pages, and so copy them.
        gc.freeze()
        gc.enable()
        self._control.send(Preloaded(frozenset(sys.modules), hazards))

    def _hazard_of_own(self, name: str) -> str:
        """What a module of the user's has made that processes must not share, as each would have its own otherwise.

        Also where `name` only imports that module.
        """
        for own in self._snapshot.sources:
            if own in sys.modules and own not in self._looked_at:
                self._looked_at.add(own)
                if found := one_a_process(own):
                    self._not_to_share[own] = found
        source = self._snapshot.sources.get(name)
        for own, found in self._not_to_share.items():
            if own == name or (source is not None and own.rpartition(".")[2].encode() in source.text):
                return found
        return ""

    def _turn(self) -> None:
        lines = {child.line: name for name, child in self._children.items() if child.line is not None}
        ends = {child.pidfd: name for name, child in self._children.items()}
        ready = wait([self._control, self._driver, *lines, *ends])
        if self._driver in ready:
            raise EOFError
        for one in ready:
            if one in lines:
                self._pass_on(lines[one])
        for one in ready:
            if one in ends:
                self._reap(ends[one])
        if self._control in ready:
            self._obey(self._control.recv())

    def _obey(self, order: Any) -> None:
        if isinstance(order, Fork):
            self._fork(order.worker)
            return
        if isinstance(order, Succeed):
            self._succeed(order)
            return
        child = self._children.get(order.worker)
        if child is None:
            return  # it has ended, which is on its way to the driver
        if isinstance(order, Kill):
            _kill(child)
        elif child.line is not None:
            with suppress(OSError):
                child.line.send(order)

    def _pass_on(self, name: str) -> None:
        child = self._children[name]
        try:
            while child.line is not None and child.line.poll():
                self._control.send(child.line.recv())
        except (EOFError, OSError):
            _hang_up(child)

    def _reap(self, name: str) -> None:
        child = self._children[name]
        self._pass_on(name)
        del self._children[name]
        try:
            code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
        except ChildProcessError:
            code = 0  # a module that ignores SIGCHLD; nobody can know
        with suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)  # what it has started and left behind
        os.close(child.pidfd)
        _hang_up(child)
        self._control.send(Ended(name, code))

    def _fork(self, worker: str) -> None:
        parent = os.getpid()
        pid = 0
        try:
            ours, its = Pipe()
            if pid := _forked():
                its.close()
                self._children[worker] = _Child(pid, ours, os.pidfd_open(pid))
                self._control.send(Forked(worker, pid))
                return
        except OSError as error:  # no memory, no process, no descriptor left: that of others go on
            if pid:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            self._control.send(NotForked(worker, str(error)))
            return
        try:
            _end_with(parent)
            os.setpgid(0, 0)
            ours.close()
            self._forget_all()
            _serve_all(worker, its)
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(0)

    def _succeed(self, order: Succeed) -> None:
        """Go on as two: this one as before, the other one with more modules and a driver's socket of its own."""
        socket = recv_handle(self._control)
        if _forked():
            os.close(socket)
            return
        self._forget_all()
        self._control = Connection(socket)
        gc.unfreeze()
        try:
            with suppress(EOFError, OSError), _ends_with_driver(self._control, self._driver):
                self._load(order.modules)
            self._serve_driver()
        finally:
            os._exit(1)

    def _forget_all(self) -> None:
        """In a fork: what belongs to the preloading process."""
        self._control.close()
        for child in self._children.values():
            _hang_up(child)
            os.close(child.pidfd)
        self._children.clear()


def _path_to(module: str) -> list[str]:
    """``a.b.c``: ``a``, ``a.b`` and ``a.b.c``, without the packages that are imported already."""
    dots = [at for at, character in enumerate(module) if character == "."]
    return [*(module[:at] for at in dots if module[:at] not in sys.modules), module]


def _forked() -> int:
    """As `os.fork`, with nothing left in buffers that both would write."""
    sys.stdout.flush()
    sys.stderr.flush()
    return os.fork()


def _hang_up(child: _Child) -> None:
    if child.line is not None:
        child.line.close()
        child.line = None


def _kill(child: _Child) -> None:
    for end in (os.killpg, os.kill):  # it may not have made its group yet
        with suppress(OSError):
            end(child.pid, signal.SIGKILL)


def _end_with(parent: int) -> None:
    """Have the kernel end this process when the preloading process ends, whatever it does then."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


@contextmanager
def _ends_with_driver(control: Connection, driver: int) -> Iterator[None]:
    """While modules are imported nobody reads from the driver; should it be gone, this process goes, too."""
    watched = select.poll()
    watched.register(control.fileno(), select.POLLRDHUP)
    watched.register(driver, select.POLLIN)
    over, end = os.pipe()
    watched.register(over, select.POLLIN)

    def watch() -> None:
        if any(descriptor != over for descriptor, _ in watched.poll()):
            os._exit(1)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.write(end, b"x")
        thread.join()
        os.close(over)
        os.close(end)


# ------------------------------------------------------------------------------------- in the forked process


def _serve_all(worker: str, line: Connection) -> None:
    while True:
        try:
            order: Serve = line.recv()
        except (EOFError, OSError):
            return
        line.send(Left(worker, order.turn, _serve(order)))


def _serve(order: Serve) -> str | None:
    """Run the trials of one experiment; returns why the training function cannot be loaded."""
    try:
        cargo = Unloaded(order.cargo)
    except (OSError, ValueError, EOFError, pickle.UnpicklingError):
        return None  # the run is over already
    setting: Setting = cargo.setting
    setting.enter()
    try:
        function: Callable[..., Any] = pickle.loads(cargo.trainable)
        parameters = cargo.parameters()
    except BaseException:
        return traceback.format_exc()
    name_in_main(function)
    try:
        wire = connect(order.address, order.key, order.worker)
    except (OSError, EOFError):
        return None
    call = (lambda config: function(config, **parameters)) if parameters else function
    Worker(wire, call, order.node, setting.snapshot.sources, forked=True).run()
    return None
