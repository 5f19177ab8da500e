"""Preloading processes on other nodes: a Ray actor beside each starts it and carries the frames of its processes.

    driver <--switchboard--> Relay (actor beside the driver) <--Ray--> NodeAgent (actor) <--sockets--> processes

The actor holds no resources: those of trials are held by their slots, as everywhere.
"""

from __future__ import annotations

import os
import queue
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

from tune_plugins.worker.agent import Agent
from tune_plugins.worker.cargo import Cargo, packed
from tune_plugins.worker.channel import RelayedWire, Wire
from tune_plugins.worker.orders import Ended, Forked, Kill, Preload, Serve, Watched
from tune_plugins.worker.setting import Setting
from tune_plugins.worker.watch import RELIEF_S, STILL_S, Stillness, largest_in_shortage

_NEWS_S = 5.0  # how long a call waits for news before it is made again
_WATCH_S = 0.5
_CLOSE_S = 5.0  # how long it may take to end what there is on another node


class NodeAgent:
    """The actor.

    Args:
        preload: what is to be imported.
        environ: environment variables of processes, beside those of the node.
        trainable: the pickled training function.
        parameters: references of its large arguments.
        setting: of the driver, without its environment.
        relay: handle of the `Relay`.
        node: id of this node.
    """

    def __init__(
        self,
        preload: Preload,
        environ: Mapping[str, str],
        trainable: bytes,
        parameters: Mapping[str, Any],
        setting: Setting,
        relay: Any,
        node: str,
    ) -> None:
        import cloudpickle
        import ray

        self._relay, self._node = relay, node
        values = {name: ray.get(reference) for name, reference in parameters.items()}
        self._cargo = Cargo(trainable, {n: packed(v, cloudpickle.dumps) for n, v in values.items()}, setting)
        self._directory = tempfile.mkdtemp(prefix="tune-")
        self._key = secrets.token_bytes(32)
        self._listener = Listener(str(Path(self._directory) / "s"), family="AF_UNIX", backlog=1024, authkey=self._key)
        self._agent = _Noting(preload, {**os.environ, **environ})
        threading.Thread(target=self._accept, name="tune-accept", daemon=True).start()
        threading.Thread(target=self._watch, name="tune-watch", daemon=True).start()

    def tell(self, order: Any) -> None:
        """Pass an order on to the preloading process."""
        if isinstance(order, Serve):
            address = self._listener.address
            order = replace(order, address=address, key=self._key, cargo=self._cargo.path, node=self._node)
        self._agent.tell(order)

    def news(self) -> list[Any] | None:
        """What the preloading process has said since, waiting some seconds for it; None: it has ended."""
        self._agent.wait_until(lambda: not self._agent.said.empty(), _NEWS_S)
        found = []
        while not self._agent.said.empty():
            found.append(self._agent.said.get())
        return None if self._agent.connection.closed and not found else found

    def close(self) -> None:
        """End the preloading process and all that it has forked."""
        self._agent.close()
        self._cargo.close()
        self._listener.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _watch(self) -> None:
        """Memory and hangs of the processes here, as `Guard` does on the driver's node."""
        watched: dict[str, tuple[Stillness, bool]] = {}
        while not self._agent.connection.closed:
            pids = dict(self._agent.pids)
            if (found := largest_in_shortage(pids.values())) is not None:
                pid, why = found
                worker = next(name for name in pids if pids[name] == pid)
                self._agent.said.put(Watched(worker, shortage=why))
                self._agent.tell(Kill(worker))
                time.sleep(RELIEF_S)
            for worker, pid in pids.items():
                stillness, before = watched.get(worker) or (Stillness(pid), False)
                still = stillness.seconds() >= STILL_S
                if still is not before:
                    self._agent.said.put(Watched(worker, still))
                watched[worker] = stillness, still
            watched = {worker: watched[worker] for worker in pids}
            time.sleep(_WATCH_S)

    # ------------------------------------------------------------------------------ frames of processes

    def _accept(self) -> None:
        import ray

        while True:
            try:
                connection = self._listener.accept()
                wire = RelayedWire(self._relay, connection.recv_bytes().decode(), ray.get)
            except Exception:
                if self._agent.connection.closed:
                    return
                continue  # a process that has died meanwhile; or the relay has, and so the run is over
            for carry in (_to_driver, _to_process):
                threading.Thread(target=carry, args=(connection, wire), name="tune-carry", daemon=True).start()


class _Noting(Agent):
    """Notes what it hears, for the driver; `pids`: of the processes that live, by name."""

    def __init__(self, preload: Preload, environ: Mapping[str, str]) -> None:
        self.said: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.pids: dict[str, int] = {}
        super().__init__(preload, environ)

    def _hear(self, said: Any) -> None:
        if isinstance(said, Forked):
            self.pids[said.worker] = said.pid
        elif isinstance(said, Ended):
            self.pids.pop(said.worker, None)
        self.said.put(said)


def _to_driver(connection: Connection, wire: Wire) -> None:
    with suppress(EOFError, OSError):
        while True:
            wire.send_bytes(connection.recv_bytes())
    wire.close()


def _to_process(connection: Connection, wire: Wire) -> None:
    with suppress(EOFError, OSError):
        while True:
            connection.send_bytes(wire.recv_bytes())
    _hang_up(connection)


def _hang_up(connection: Connection) -> None:
    """Both sides notice, also a thread of this one that waits for something to come."""
    with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)


# ------------------------------------------------------------------------------------------ in the driver


class RemoteAgent(Agent):
    """The preloading process of another node, as the driver sees it.

    Args:
        actor: handle of the `NodeAgent`.
        node: id of its node.
        preload: what it imports.
        label: what distinguishes it from others.
    """

    def __init__(self, actor: Any, node: str, preload: Preload, label: object) -> None:
        ours, its = socket.socketpair()
        nothing = tempfile.TemporaryFile(mode="a+b")  # noqa: SIM115 (what it prints stays on its node)
        self._set_up(ours, None, nothing, label, preload.modules)
        self.node, self._actor = node, actor
        far = Connection(its.detach())
        carriers = (self._carry_orders, self._carry_news)
        self._threads = [threading.Thread(target=c, args=(far,), name="tune-node", daemon=True) for c in carriers]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """See `Agent.close`; a thread that used Ray after the user's `ray.shutdown` would end this process."""
        super().close()
        for thread in self._threads:
            thread.join(timeout=_CLOSE_S)

    def _carry_orders(self, far: Connection) -> None:
        import ray

        with suppress(EOFError, OSError, ray.exceptions.RayError):
            while True:
                ray.get(self._actor.tell.remote(far.recv()))
        with suppress(Exception):
            ray.get(self._actor.close.remote(), timeout=_CLOSE_S)
        with suppress(Exception):
            ray.kill(self._actor)

    def _carry_news(self, far: Connection) -> None:
        import ray

        with suppress(OSError, ray.exceptions.RayError):
            while (news := ray.get(self._actor.news.remote())) is not None:
                for said in news:
                    far.send(said)
        _hang_up(far)


def open_on(
    node: str,
    preload: Preload,
    environ: Mapping[str, str],
    goods: tuple[bytes, Mapping[str, Any], Setting],
    relay: Any,
    label: object,
) -> RemoteAgent:
    """Start a preloading process on another node.

    Args:
        node: its id.
        preload: what it imports.
        environ: environment variables, beside those of the node.
        goods: the pickled training function, references of its large arguments, the setting.
        relay: handle of the `Relay`.
        label: what distinguishes it from others.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node, soft=False)
    actor = (
        ray.remote(NodeAgent)
        .options(num_cpus=0, max_concurrency=100, scheduling_strategy=there)
        .remote(preload, environ, *goods, relay, node)
    )
    return RemoteAgent(actor, node, preload, label)
