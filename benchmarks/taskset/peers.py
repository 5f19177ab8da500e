"""Runs peers' schedulers over the curves of a task: their own classes, called directly under a virtual clock.

Imported only in the environment that has Syne Tune and Optuna. Each scheduler hears of every report as it does from its
own package's loop, in the order of virtual time, and gets the same configurations in the same order as ours.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import count
from typing import Any, Protocol

from benchmarks.taskset.data import Task
from benchmarks.taskset.trace import WORKERS, budget


class Peer(Protocol):
    """A peer's scheduler behind three calls."""

    def start(self) -> tuple[Any, int]:
        """A new trial and the number of its configuration."""

    def report(self, trial: Any, step: int, loss: float) -> bool:
        """Tell the scheduler a report; False: the trial is stopped."""

    def complete(self, trial: Any, step: int, loss: float) -> None:
        """Tell it that a trial has come to its end; the last report was told before."""


def run(task: Task, order: Sequence[int], seed: int, make_peer: Callable[..., Peer]) -> list[tuple[float, float]]:
    """One run; returns virtual time and loss of each report."""
    peer = make_peer(task, order, seed)
    end = budget(task)
    serial = count()
    reports: list[tuple[float, float]] = []
    heap: list[tuple[float, int, Any, int, int]] = []

    def start(now: float) -> None:
        trial, config = peer.start()
        heapq.heappush(heap, (now + 1.0, next(serial), trial, config, 1))

    for _ in range(WORKERS):
        start(0.0)
    while heap and heap[0][0] <= end:
        now, _, trial, config, step = heapq.heappop(heap)
        loss = task.curves[config][step - 1]
        reports.append((now, loss))
        goes_on = peer.report(trial, step, loss)
        if goes_on and step < task.steps:
            heapq.heappush(heap, (now + 1.0, next(serial), trial, config, step + 1))
            continue
        if goes_on:
            peer.complete(trial, step, loss)
        start(now)
    return reports


class SyneTune:
    """`syne_tune`'s asynchronous successive halving; version 0.16 has the stopping form only."""

    def __init__(
        self, task: Task, order: Sequence[int], seed: int, *, grace_period: int, reduction_factor: int
    ) -> None:
        import numpy as np
        from syne_tune.backend.trial_status import Trial
        from syne_tune.config_space import randint
        from syne_tune.optimizer.schedulers.asha import AsynchronousSuccessiveHalving
        from syne_tune.optimizer.schedulers.searchers.single_objective_searcher import SingleObjectiveBaseSearcher

        class InOrder(SingleObjectiveBaseSearcher):
            """Suggests the configurations in the order given."""

            def __init__(self, config_space: dict[str, Any]) -> None:
                super().__init__(config_space)
                self.left = iter(order)

            def suggest(self, **kwargs: Any) -> dict[str, Any]:
                return {"index": next(self.left)}

            def on_trial_result(self, *args: Any, **kwargs: Any) -> None:
                """Random search learns nothing."""

        np.random.seed(seed)
        self._trial = Trial
        self._number = count()
        space = {"index": randint(0, len(order) - 1)}
        self.scheduler = AsynchronousSuccessiveHalving(
            space,
            metric="loss",
            do_minimize=True,
            searcher=InOrder(space),
            time_attr="step",
            max_t=task.steps,
            grace_period=grace_period,
            reduction_factor=reduction_factor,
            random_seed=seed,
        )

    def start(self) -> tuple[Any, int]:
        """See `Peer`."""
        config = self.scheduler.suggest().config
        trial = self._trial(next(self._number), config, datetime.now())
        self.scheduler.on_trial_add(trial)
        return trial, config["index"]

    def report(self, trial: Any, step: int, loss: float) -> bool:
        """See `Peer`."""
        goes_on = self.scheduler.on_trial_result(trial, {"loss": loss, "step": step}) == "CONTINUE"
        if not goes_on:
            self.scheduler.on_trial_remove(trial)
        return goes_on

    def complete(self, trial: Any, step: int, loss: float) -> None:
        """See `Peer`."""
        self.scheduler.on_trial_complete(trial, {"loss": loss, "step": step})


class Optuna:
    """An `optuna` study with a pruner; the sampler is not asked, the number of a trial gives its configuration.

    `arguments` are those of the pruner, given the number of steps of a full training.
    """

    def __init__(
        self,
        task: Task,
        order: Sequence[int],
        seed: int,
        *,
        pruner: str,
        arguments: Callable[[int], dict[str, Any]],
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._states = optuna.trial.TrialState
        self._order = order
        # HyperbandPruner deals trials to brackets by a hash of the study's name.
        self.study = optuna.create_study(
            study_name=f"{task.name}-{seed}",
            direction="minimize",
            sampler=optuna.samplers.RandomSampler(seed=seed),
            pruner=getattr(optuna.pruners, pruner)(**arguments(task.steps)),
        )

    def start(self) -> tuple[Any, int]:
        """See `Peer`."""
        trial = self.study.ask()
        return trial, self._order[trial.number]

    def report(self, trial: Any, step: int, loss: float) -> bool:
        """See `Peer`."""
        trial.report(loss, step)
        if trial.should_prune():
            self.study.tell(trial, state=self._states.PRUNED)
            return False
        return True

    def complete(self, trial: Any, step: int, loss: float) -> None:
        """See `Peer`."""
        if math.isnan(loss):
            self.study.tell(trial, state=self._states.FAIL)
        else:
            self.study.tell(trial, loss)
