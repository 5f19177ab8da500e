"""Finding or starting Ray."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from tune_plugins.driver.ray.connecting import connected, cpus, is_ours, join, session_of, start_if_none, stop
from tune_plugins.driver.resources import Shape


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
        return nodes() if self.up else [{"CPU": float(cpus())}]

    def start(self) -> None:
        """Have Ray up.

        Raises:
            TuneError: it cannot be started; says why.
        """
        start_if_none()
        with _starting:
            if not self.up:
                import ray

                self.ours = is_ours(ray)  # else the user has called ray.init meanwhile
                self.home, self.session, self._environ = own_node(), session_of(ray), _rays_environment()
                for slot in self.slots:
                    slot.move_to_ray()
                self.slots.clear()

    def start_beside(self, then: Callable[[], None]) -> Future[None]:
        """Have Ray come up in another thread, which calls `then`; `start` takes no time afterwards."""
        done: Future[None] = Future()

        def run() -> None:
            try:
                start_if_none()
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
_starting = threading.Lock()


def find(*, needs_ray: bool) -> Cluster:
    """The running Ray (``ray.init`` was called, or ``RAY_ADDRESS`` is set), else a small local one.

    The local one has the CPUs this process may use, no dashboard, and prints nothing. It is started only where it is
    needed, now or later.

    Raises:
        TuneError: Ray cannot be reached or started; says why.
    """
    global _current
    if (ray := connected()) is not None:
        session = session_of(ray)
        if _current is None or _current.session != session:
            _leave(_current)
            _current = Cluster(ours=is_ours(ray), session=session)
        return _current
    if address := os.environ.get("RAY_ADDRESS"):
        _leave(_current)
        ray = join(address)
        _current = Cluster(ours=False, session=session_of(ray))
        return _current
    if _current is None or _current.up or not _current.ours:  # none, or one that was shut down
        _leave(_current)
        _current = Cluster(ours=True)
    if needs_ray:
        _current.start()
    return _current


def _leave(cluster: Cluster | None) -> None:
    if cluster is not None:
        cluster.release()


def shutdown() -> None:
    """End the warm workers, and Ray if this package started it.

    Between runs warm workers keep their CPUs; call this before other work in the same process needs these. The
    next run starts anew. At the exit of the process it happens by itself.
    """
    from tune_plugins.driver.ray import preloading

    global _current
    cluster, _current = _current, None
    if cluster is not None and (connected() is not None or not cluster.up):
        cluster.release()
        if cluster.ours and cluster.up:
            stop(cluster.session)
    preloading.shutdown()


def nodes() -> list[dict[str, float]]:
    """Resources of each living node."""
    import ray

    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def own_node() -> str:
    """Id of the node of this process."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def runtime_env_of_job() -> dict[str, Any]:
    """The environment for workers that ``ray.init`` was given, which only Ray can make."""
    import ray

    return dict(ray.get_runtime_context().runtime_env)
