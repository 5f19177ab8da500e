"""Warm worker processes: Ray actors that wait for trials, each bound to a slot."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from typing import Any

from tune_plugins.driver.ray.actor import WorkerActor
from tune_plugins.driver.ray.cluster import Cluster
from tune_plugins.driver.resources import Shape

_numbers = itertools.count()
_TRACE = 0.001  # of a GPU
_WARM_A_SLOT = 4  # idle processes kept in one slot: a population that takes turns needs several, and finds them warm


@dataclass(eq=False)
class Slot:
    """A placement group.

    Attributes:
        workers: how many live in it: one, and those whose trial is paused in memory.
        serving: how many of them serve a run; the others are idle.
    """

    group: Any
    workers: int = 0
    serving: int = 0


@dataclass(eq=False)
class PooledWorker:
    """An actor and the slot that holds its resources.

    Attributes:
        serving: reference of the call in which it serves a run.
        warm: has served a run before.
        idle: serves none now.
    """

    id: str
    shape: Shape
    actor: Any
    slot: Slot
    serving: Any = None
    warm: bool = False
    idle: bool = False

    def dispose(self) -> None:
        """End the process, and give its resources back unless another worker shares them."""
        import ray
        from ray.util.placement_group import remove_placement_group

        ray.kill(self.actor)
        if not self.idle:
            self.slot.serving -= 1
        self.slot.workers -= 1
        if not self.slot.workers:
            remove_placement_group(self.slot.group)


class WorkerPool:
    """Idle workers of this process, by shape; lives as long as the Ray connection.

    Attributes:
        runs: how many runs of this process take workers from here now.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.runs = 0
        self._idle: dict[Shape, list[PooledWorker]] = {}

    def take(self, shape: Shape, *, fresh: bool = False, beside: PooledWorker | None = None) -> PooledWorker:
        """A warm worker of this shape, or a new one; `beside`: one that shares the slot of that worker."""
        slot = None if beside is None else beside.slot
        for worker in () if fresh else reversed(self._idle.get(shape, [])):  # the one that served last is warmest
            # One that shares its slot with a worker that serves a run is for that run, while the other waits.
            if worker.slot is slot or (slot is None and not worker.slot.serving):
                self._idle[shape].remove(worker)
                worker.idle = False
                worker.slot.serving += 1
                return worker
        return self._create(shape, slot)

    def give_back(self, worker: PooledWorker) -> None:
        """Keep an idle worker for the next run; one of too many is disposed of."""
        idle = self._idle.setdefault(worker.shape, [])
        gpu = any("GPU" in bundle for bundle in map(dict, worker.shape.bundles))  # an idle process holds memory of it
        if sum(other.slot is worker.slot for other in idle) >= (1 if gpu else _WARM_A_SLOT):
            worker.dispose()
            return
        worker.warm = worker.idle = True
        worker.slot.serving -= 1
        idle.append(worker)

    def release(self, keep: Shape | None = None) -> None:
        """Dispose of idle workers, except those of one shape."""
        for shape in list(self._idle):
            if shape != keep:
                for worker in self._idle.pop(shape):
                    worker.dispose()

    def _create(self, shape: Shape, slot: Slot | None) -> PooledWorker:
        import ray
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        if slot is None:
            slot = Slot(placement_group([dict(bundle) for bundle in shape.bundles], strategy=shape.strategy))
        slot.workers += 1
        slot.serving += 1
        own = dict(shape.bundles[0])
        # The slot holds the CPUs, the process none: so a paused trial can wait in memory without a slot. GPUs
        # must be asked for by the process, or Ray hides them from it; a trace of the slot's only one is enough.
        gpus = own.get("GPU", 0.0)
        actor = (
            ray.remote(WorkerActor)
            .options(
                num_cpus=0,
                num_gpus=gpus if gpus > 1 else min(gpus, _TRACE),
                max_restarts=0,
                scheduling_strategy=PlacementGroupSchedulingStrategy(
                    placement_group=slot.group,
                    placement_group_bundle_index=0,
                    placement_group_capture_child_tasks=True,
                ),
            )
            .remote(max(1, int(own.get("CPU", 1))))
        )
        return PooledWorker(f"{os.getpid()}-{next(_numbers)}", shape, actor, slot)


_pool: WorkerPool | None = None


def pool_for(cluster: Cluster) -> WorkerPool:
    """The pool of this process; a new one after Ray was shut down."""
    global _pool
    if _pool is None or _pool.cluster is not cluster:
        _pool = WorkerPool(cluster)
        cluster.release = _pool.release
    return _pool
