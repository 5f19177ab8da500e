"""Looks after forked processes, of which Ray's own health checks and memory monitor know nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from tune_plugins.core.ends import EndCause
from tune_plugins.driver.ray.workers import ForkedWorker, Loss
from tune_plugins.worker.watch import RELIEF_S, STILL_S, Stillness, largest_in_shortage


class Guard:
    """Of one run."""

    def __init__(self) -> None:
        self._watched: dict[ForkedWorker, Stillness] = {}
        self._relieved = 0.0

    def relieve(self, workers: Iterable[ForkedWorker]) -> None:
        """Where memory is short, end the process that holds most of it, before the kernel ends one that it chooses."""
        if time.monotonic() - self._relieved < RELIEF_S:
            return
        by_pid = {worker.pid: worker for worker in workers if worker.pid is not None}
        if (found := largest_in_shortage(by_pid)) is not None:
            pid, why = found
            by_pid[pid].end(Loss(f"the process of the trial {why}", EndCause.OUT_OF_MEMORY))
            self._relieved = time.monotonic()

    def hanging(self, workers: Mapping[ForkedWorker, float]) -> list[ForkedWorker]:
        """Those that hang, of workers which have never come to a report, given since when each runs a trial."""
        now = time.monotonic()
        watched = {}
        for worker in workers:
            if worker.pid is not None:
                watched[worker] = self._watched.get(worker) or Stillness(worker.pid)
        self._watched = watched
        here = [worker for worker, stillness in watched.items() if stillness.seconds() >= STILL_S]
        # What was said of one on another node may be from before its trial.
        return here + [worker for worker, began in workers.items() if worker.still and now - began >= STILL_S]
