"""Joins a Ray that runs, or starts one of our own; says why where that is not possible."""

from __future__ import annotations

import atexit
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from tune_plugins.driver.ray.lean import can_be_lean, lean
from tune_plugins.errors import TuneError

logger = logging.getLogger(__name__)

CPUS_VARIABLE = "TUNE_CPUS"
"""Environment variable of forked processes: how many CPUs a tuning inside a trial may use."""

_PAUSES_S = (1.0, 5.0)  # before Ray is started a second and a third time
_SLOW_S = 10.0
_LOG_LINE = re.compile(rb"\[\d{4}-\d\d-\d\d [\d:,]+ [IW] \d+ \d+\] [\w.]+:\d+: ")
_NO_TOKEN = (
    "The cluster lets nobody in without its token: set RAY_AUTH_MODE=token, and the token by RAY_AUTH_TOKEN or "
    "RAY_AUTH_TOKEN_PATH"
)

_started: str | None = None  # the session of the Ray that was started here last
_connecting = threading.Lock()


def connected() -> Any:
    """The module `ray` where this process is connected to a cluster, else None; not loaded only to see that."""
    ray = sys.modules.get("ray")
    return ray if ray is not None and ray.is_initialized() else None


def session_of(ray: Any) -> str:
    """Identifies the connection."""
    return str(ray.get_runtime_context().get_job_id()) + str(ray.get_runtime_context().gcs_address)


def is_ours(ray: Any) -> bool:
    """Whether this process has started the Ray that it is connected to."""
    return session_of(ray) == _started


def start_if_none() -> None:
    """Start a local Ray unless this process is connected to one.

    Raises:
        TuneError: it cannot be started, also not when it is tried again; says why, and what else can be done.
    """
    with _connecting:
        if connected() is None:
            with _as_it_was(), _told_if_slow("a local Ray is being started"):
                _in_lasting_thread(_start)


def join(address: str) -> Any:
    """Join the Ray at an address; returns the module `ray`.

    Raises:
        TuneError: it cannot be joined; says why.
    """
    told = _told_if_slow(f"the Ray at {address} is being joined")
    with _connecting, _as_it_was(), told, _log_lines_held() as held:
        import ray

        try:
            _knock(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:
            raise TuneError(f"cannot join Ray at RAY_ADDRESS={address!r}: {_true_reason(error, held)}") from error
    return ray


def stop(session: str) -> None:
    """End the Ray of a session, if this process is connected to it."""
    ray = connected()
    if ray is not None and session_of(ray) == session:
        ray.shutdown()


def cpus() -> int:
    """Those that this process may use; in a trial, those of its slot."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(there, int(os.environ.get(CPUS_VARIABLE, there)))


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Ray's banner and notes on authentication are its own affair, and it replaces handlers that a run may have set."""
    rays = logging.getLogger("ray")
    level = rays.level
    here = threading.current_thread() is threading.main_thread()
    handlers = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    import ray  # noqa: F401  (sets the level)

    rays.setLevel(logging.ERROR)  # warnings and errors that matter still come
    try:
        yield
    finally:
        rays.setLevel(level)
        for number, handler in handlers if here else ():
            if handler is not None:
                signal.signal(number, handler)


@contextmanager
def _told_if_slow(what: str) -> Iterator[None]:
    """Nothing else is to be seen meanwhile."""
    timer = threading.Timer(_SLOW_S, logger.warning, ["%s; it has taken %g s so far", what, _SLOW_S])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


# ------------------------------------------------------------------------------------------- starting


def _start() -> None:
    """On a loaded machine Ray's processes may need longer than Ray waits for them: it is tried again."""
    import ray

    global _started
    began = time.monotonic()
    for pause in (*_PAUSES_S, None):
        try:
            _start_once(ray)
            break
        except Exception as error:
            ray.shutdown()  # what has come up of it: nobody was connected before
            if pause is None:
                raise TuneError(
                    f"cannot start a local Ray: {error} (tried {len(_PAUSES_S) + 1} times in "
                    f"{time.monotonic() - began:.0f} s). Is there memory, and room in /tmp? May this process listen on "
                    "local ports? You may also join a Ray that runs (RAY_ADDRESS), or do without: "
                    "RunConfig(runtime='inline') runs the trials one after another in this process"
                ) from error
            logger.warning("Ray did not start (%s); it is tried again in %g s", error, pause)
            time.sleep(pause)
    _started = session_of(ray)
    atexit.register(stop, _started)


def _start_once(ray: Any) -> None:
    if can_be_lean(ray.__version__):
        try:
            with lean() as config:
                _init(ray, config)
            return
        except Exception as error:
            logger.debug("Ray could not be started with as few processes as it needs: %s", error)
            ray.shutdown()
    _init(ray, {})


def _init(ray: Any, config: dict[str, Any]) -> None:
    ray.init(
        address="local",
        num_cpus=cpus(),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=True,
        # Ray lowers the priority of its workers (niceness 15): beside anything else on the machine, trials would train
        # slower than the same script run by hand.
        _system_config={"worker_niceness": 0, **config},
    )


def _in_lasting_thread(start: Callable[[], None]) -> None:
    """Call `start` in a thread that lives as long as the process: Ray's processes end with the thread they come from.

    Raises:
        BaseException: whatever `start` raises.
    """
    if threading.current_thread() is threading.main_thread():
        start()
        return
    done: Future[None] = Future()

    def run() -> None:
        try:
            start()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)
            threading.Event().wait()

    threading.Thread(target=run, name="tune-ray", daemon=True).start()
    done.result()


# -------------------------------------------------------------------------------------------- joining


def _knock(address: str) -> None:
    """See whether anybody answers: where nobody does, Ray would end the whole process.

    Raises:
        OSError, ValueError: nobody does, or the driver cannot be there.
    """
    if address.startswith("ray://"):
        raise ValueError(
            "Ray Client is not supported, since results would take a detour through it. Run this program on a node of "
            "the cluster, e.g. by `ray job submit`, with RAY_ADDRESS=auto"
        )
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _true_reason(error: Exception, held: list[str]) -> str:
    """Ray raises that it has failed to connect; why, it tells in its log only, once a second."""
    if not held:
        return str(error)
    why = held[-1].rstrip(". ")
    return f"{error}: {why}. {_NO_TOKEN if 'InvalidAuthToken' in why else ''}".rstrip()


@contextmanager
def _log_lines_held() -> Iterator[list[str]]:
    """Lines that Ray's own code logs to the standard error meanwhile; they appear afterwards where all went well.

    Yields:
        What they say, without times and places; other text passes.
    """
    said: list[str] = []
    lines: list[bytes] = []
    try:
        true_stderr = os.dup(2)
    except OSError:  # there is none
        yield said
        return
    reading, writing = os.pipe()

    def read() -> None:
        """To the end of it: a process that was started meanwhile may write there as long as it lives."""
        with open(reading, "rb") as stream, open(true_stderr, "wb", buffering=0) as passed_on:
            for line in stream:
                if over.is_set() or not (begin := _LOG_LINE.match(line)):
                    passed_on.write(line)
                    continue
                lines.append(line)
                said.append(line[begin.end() :].decode("utf-8", "replace").strip())

    over = threading.Event()
    threading.Thread(target=read, name="tune-stderr", daemon=True).start()
    os.dup2(writing, 2)
    os.close(writing)
    well = False
    try:
        yield said
        well = True
    finally:
        os.dup2(true_stderr, 2)
        over.set()
        if well:
            os.write(2, b"".join(lines))
