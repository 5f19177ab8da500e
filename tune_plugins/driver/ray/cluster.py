"""Finding or starting Ray."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from tune_plugins.driver.ray.lean import can_be_lean, lean
from tune_plugins.driver.resources import Shape
from tune_plugins.errors import TuneError

logger = logging.getLogger(__name__)


class Cluster:
    """The Ray cluster this process uses; one of our own comes up when something needs it.

    Attributes:
        ours: for this process alone, which starts it; it is kept for the next run and closed at exit.
        session: identifies the connection, another one after `ray.shutdown`; empty: Ray is not up yet.
        home: id of the node of this process.
        slots: what is held while Ray is not up; it is told of them as soon as it is.
        release: gives back what idle workers hold; set by whoever keeps some.
    """

    def __init__(self, ours: bool, session: str = "") -> None:
        self.ours, self.session = ours, session
        self.home = own_node() if session else LOCAL
        self._environ = _rays_environment() if session else {}
        self.slots: list[LocalSlot] = []
        self.release: Callable[[], None] = lambda: None

    @property
    def up(self) -> bool:
        """Whether Ray runs, and this process is connected to it."""
        return bool(self.session)

    @property
    def nodes(self) -> list[dict[str, float]]:
        """Resources of each living node; while Ray is not up, the CPUs that it will have."""
        return nodes() if self.up else [{"CPU": float(_cpus())}]

    def start(self) -> None:
        """Have Ray up.

        Raises:
            TuneError: it cannot be started; says why.
        """
        _connect_if_none()
        with _starting:
            if not self.up:
                import ray

                self.ours = _session(ray) == _started  # else the user has called ray.init meanwhile
                self.home, self.session, self._environ = own_node(), _session(ray), _rays_environment()
                for slot in self.slots:
                    slot.move_to_ray()
                self.slots.clear()

    def start_beside(self, then: Callable[[], None]) -> Future[None]:
        """Have Ray come up in another thread, which calls `then`; `start` takes no time afterwards."""
        done: Future[None] = Future()

        def run() -> None:
            try:
                _connect_if_none()
            except BaseException as error:
                done.set_exception(error)
            else:
                done.set_result(None)
            then()

        threading.Thread(target=run, name="tune-join", daemon=True).start()
        return done

    def hold(self, slot: LocalSlot) -> None:
        """Count a slot, here or in Ray; one that comes while Ray is started is held by that."""
        with _starting:
            if not self.up:
                self.slots.append(slot)
                return
        slot.move_to_ray()

    @property
    def environ(self) -> dict[str, str]:
        """Environment variables with which another process joins this Ray, which is up."""
        return {**self._environ, "RAY_ADDRESS": str(sys.modules["ray"].get_runtime_context().gcs_address)}


def _rays_environment() -> dict[str, str]:
    """What Ray reads, some of which it has set by itself: how to be let in."""
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_")}


CPUS_VARIABLE = "TUNE_CPUS"
"""Environment variable of forked processes: how many CPUs a tuning inside a trial may use."""

LOCAL = "local"
"""Stands for the id of this node while Ray is not up."""


class LocalSlot(Protocol):
    """Resources held while Ray is not up.

    Attributes:
        shape: how much of them.
    """

    shape: Shape

    def move_to_ray(self) -> None:
        """Hold them in Ray from now on."""


_current: Cluster | None = None
_started: str | None = None  # the session of the Ray that was started here last
_starting = threading.Lock()
_connecting = threading.Lock()


def find(*, needs_ray: bool) -> Cluster:
    """The running Ray (``ray.init`` was called, or ``RAY_ADDRESS`` is set), else a small local one.

    The local one has the CPUs this process may use, no dashboard, and prints nothing. It is started only where it is
    needed, now or later.

    Raises:
        TuneError: Ray cannot be reached or started; says why.
    """
    global _current
    if (ray := _connected()) is not None:
        session = _session(ray)
        if _current is None or _current.session != session:
            _leave(_current)
            _current = Cluster(ours=session == _started, session=session)
        return _current
    if address := os.environ.get("RAY_ADDRESS"):
        _leave(_current)
        ray = _connect(address)
        _current = Cluster(ours=False, session=_session(ray))
        return _current
    if _current is None or _current.up or not _current.ours:  # none, or one that was shut down
        _leave(_current)
        _current = Cluster(ours=True)
    if needs_ray:
        _current.start()
    return _current


def _connected() -> Any:
    """The module `ray` where this process is connected to a cluster, else None; not loaded only to see that."""
    ray = sys.modules.get("ray")
    return ray if ray is not None and ray.is_initialized() else None


def _connect_if_none() -> None:
    with _connecting:
        if _connected() is None:
            _connect(None)


def _leave(cluster: Cluster | None) -> None:
    if cluster is not None:
        cluster.release()


def _connect(address: str | None) -> Any:
    # The banner and the notes on authentication are Ray's own affair; warnings and errors that matter still come.
    rays = logging.getLogger("ray")
    level = rays.level
    here = threading.current_thread() is threading.main_thread()
    handlers = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    import ray

    rays.setLevel(logging.ERROR)
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
        rays.setLevel(level)
        for number, handler in handlers if here else ():  # a run may have set its own, and Ray replaces them
            if handler is not None:
                signal.signal(number, handler)
    return ray


def _cpus() -> int:
    """Those that this process may use; in a trial, those of its slot."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(there, int(os.environ.get(CPUS_VARIABLE, there)))


def _start(ray: Any) -> None:
    if can_be_lean(ray.__version__):
        try:
            with lean() as config:
                _init(ray, config)
        except Exception as error:
            logger.debug("Ray could not be started with as few processes as it needs: %s", error)
            ray.shutdown()  # what has come up of it: nobody was connected before
    if not ray.is_initialized():
        _init(ray, {})
    global _started
    _started = _session(ray)
    atexit.register(_stop, _started)


def _init(ray: Any, config: dict[str, Any]) -> None:
    ray.init(
        address="local",
        num_cpus=_cpus(),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=True,
        # Ray lowers the priority of its workers (niceness 15): beside anything else on the machine, trials would train
        # slower than the same script run by hand.
        _system_config={"worker_niceness": 0, **config},
    )


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
    from tune_plugins.driver.ray import preloading

    global _current
    cluster, _current = _current, None
    if cluster is not None and (_connected() is not None or not cluster.up):
        cluster.release()
        if cluster.ours and cluster.up:
            _stop(cluster.session)
    preloading.shutdown()


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


def job_has_runtime_env() -> bool:
    """Whether ``ray.init`` was given an environment for workers, which only Ray can make."""
    import ray

    return bool(ray.get_runtime_context().runtime_env)
