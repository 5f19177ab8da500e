"""Warm worker processes that wait for trials, each bound to a slot."""

from __future__ import annotations

from collections.abc import Callable

from tune_plugins.driver.ray.cluster import Cluster
from tune_plugins.driver.ray.slots import Slot
from tune_plugins.driver.ray.workers import ActorWorker, ForkedWorker, Kind, PooledWorker
from tune_plugins.worker.agent import Agent

_WARM_A_SLOT = 4  # idle processes kept in one slot: a population that takes turns needs several, and finds them warm


class WorkerPool:
    """Idle workers of this process, by kind; lives as long as the Ray connection.

    Attributes:
        runs: how many runs of this process take workers from here now.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.runs = 0
        self._idle: dict[Kind, list[PooledWorker]] = {}

    def take(
        self,
        kind: Kind,
        agent: Callable[[str], Agent | None],
        *,
        fresh: bool = False,
        beside: PooledWorker | None = None,
    ) -> PooledWorker:
        """A warm worker of this kind, or a new one.

        Args:
            kind: what is needed.
            agent: of the preloading process of a node, from which a new one is forked; None: it is not ready.
            fresh: not a warm one.
            beside: one that shares the slot of that worker.
        """
        for worker in [one for one in self._idle.get(kind, ()) if not one.alive]:
            self._idle[kind].remove(worker)
            worker.dispose()
        slot = None if beside is None else beside.slot
        for worker in () if fresh else reversed(self._idle.get(kind, [])):  # the one that served last is warmest
            # One that shares its slot with a worker that serves a run is for that run, while the other waits.
            if worker.slot is slot or (slot is None and not worker.slot.serving):
                self._idle[kind].remove(worker)
                worker.idle = False
                worker.slot.serving += 1
                return worker
        held = slot or Slot(self.cluster, kind.shape)
        try:
            return ForkedWorker(kind, held, agent) if kind.forked else ActorWorker(kind, held)
        except BaseException:
            if slot is None:
                held.release()
            raise

    def count(self, kind: Kind) -> int:
        """How many workers of a kind are idle, and warm."""
        return len(self._idle.get(kind, ()))

    def give_back(self, worker: PooledWorker) -> None:
        """Keep an idle worker for the next run; one of too many is disposed of."""
        idle = self._idle.setdefault(worker.kind, [])
        gpu = any("GPU" in bundle for bundle in map(dict, worker.kind.shape.bundles))  # it would hold memory of it
        if not worker.alive or sum(other.slot is worker.slot for other in idle) >= (1 if gpu else _WARM_A_SLOT):
            worker.dispose()
            return
        worker.warm = worker.idle = True
        worker.slot.serving -= 1
        idle.append(worker)

    def release(self, keep: Kind | None = None) -> None:
        """Dispose of idle workers, except those of one kind."""
        for kind in list(self._idle):
            if kind != keep:
                for worker in self._idle.pop(kind):
                    worker.dispose()


_pool: WorkerPool | None = None


def pool_for(cluster: Cluster) -> WorkerPool:
    """The pool of this process; a new one after Ray was shut down."""
    global _pool
    if _pool is None or _pool.cluster is not cluster:
        _pool = WorkerPool(cluster)
        cluster.release = _pool.release
    return _pool
