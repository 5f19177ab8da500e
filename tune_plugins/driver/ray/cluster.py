"""Finding or starting Ray."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from tune_plugins.errors import TuneError


class Cluster:
    """The Ray cluster this process uses.

    Attributes:
        ours: started by this process, and nobody else's; it is kept for the next run and closed at exit.
        session: identifies the connection; another one after `ray.shutdown`.
        release: gives back what idle workers hold; set by whoever keeps some.
    """

    def __init__(self, ours: bool, session: str) -> None:
        self.ours, self.session = ours, session
        self.release: Callable[[], None] = lambda: None


_current: Cluster | None = None


def join_or_start() -> Cluster:
    """The running Ray (``ray.init`` was called, or ``RAY_ADDRESS`` is set), else a small local one.

    The local one has the CPUs this process may use, no dashboard, and prints nothing.

    Raises:
        TuneError: Ray cannot be reached or started; says why.
    """
    global _current
    # The banner and the notes on authentication are Ray's own affair; warnings and errors that matter still come.
    level = logging.getLogger("ray").level
    import ray

    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS")
        logger = logging.getLogger("ray")
        logger.setLevel(logging.ERROR)
        try:
            if address:
                _knock(address)
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            else:
                _in_lasting_thread(lambda: _start(ray))
        except Exception as error:
            what = f"join Ray at RAY_ADDRESS={address!r}" if address else "start a local Ray"
            raise TuneError(f"cannot {what}: {error}") from error
        finally:
            logger.setLevel(level)
        _current = Cluster(ours=not address, session=_session(ray))
        return _current
    session = _session(ray)
    if _current is None or _current.session != session:
        _current = Cluster(ours=False, session=session)
    return _current


def _start(ray: Any) -> None:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Ray starts one idle worker process a CPU at once; ours come by themselves when they are needed.
    ray.init(
        address="local",
        num_cpus=cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=True,
        # Ray lowers the priority of its workers (niceness 15): beside anything else on the machine, trials would train
        # slower than the same script run by hand.
        _system_config={"worker_niceness": 0},
    )
    atexit.register(_stop, _session(ray))


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


def _stop(session: str) -> None:
    import ray

    if ray.is_initialized() and _session(ray) == session:
        ray.shutdown()


def shutdown() -> None:
    """End the warm workers, and Ray if this package started it.

    Between runs warm workers keep their CPUs; call this before other work in the same process needs these. The
    next run starts anew. At the exit of the process it happens by itself.
    """
    if _current is None or not sys.modules["ray"].is_initialized():
        return
    _current.release()
    if _current.ours:
        _stop(_current.session)


def _session(ray: Any) -> str:
    return str(ray.get_runtime_context().get_job_id()) + str(ray.get_runtime_context().gcs_address)


def nodes() -> list[dict[str, float]]:
    """Resources of each living node."""
    import ray

    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def own_node() -> str:
    """Id of the node of this process."""
    import ray

    return str(ray.get_runtime_context().get_node_id())
