"""Populations under the virtual clock whose invariants are checked after each event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tune_plugins.core.events import Command, DeleteCheckpoint, Event, ExploitTrial, RecordDecision, StartTrial
from tune_plugins.core.experiment import Experiment, Rules
from tune_plugins.core.leases import StopRule
from tune_plugins.core.searcher import Searcher, Signal
from tune_plugins.driver.simulated import SimulatedCluster, SimulatedRuntime
from tune_plugins.schedulers import TrialScheduler
from tune_plugins.testing.experiment import SearchedExperiment
from tune_plugins.testing.simulated import run_simulated


class Fixed(Searcher):
    """Suggests these configs."""

    reads_results = False

    def __init__(self, configs: list[dict[str, Any]]) -> None:
        self.configs = configs

    def suggest(self, trial_id: str, index: int) -> dict[str, Any] | Signal:
        return self.configs[index] if index < len(self.configs) else Signal.COMPLETE


class Walk:
    """Each step adds `rate` to what has been learned; steps of trial i take ``1 + spread * i`` seconds."""

    def __init__(self, steps: int, spread: float = 0.0) -> None:
        self.steps, self.spread = steps, spread

    def start(self, index: int, config: dict[str, Any], seed: int) -> tuple[int, float, float]:
        return 0, 0.0, 1.0 + self.spread * index

    def step(self, state: Any, config: dict[str, Any]) -> tuple[Any, Mapping[str, Any], float] | None:
        step, learned, seconds = state
        if step >= self.steps:
            return None
        learned += config["rate"]
        return (step + 1, learned, seconds), {"score": learned, "rate": config["rate"]}, seconds


@dataclass
class Run:
    experiment: Experiment
    log: list[tuple[Event, list[Command]]] = field(default_factory=list)

    def commands(self, kind: type[Any]) -> list[Any]:
        return [c for _, answer in self.log for c in answer if isinstance(c, kind)]

    @property
    def decisions(self) -> list[RecordDecision]:
        return self.commands(RecordDecision)

    @property
    def exploits(self) -> list[RecordDecision]:
        return [d for d in self.decisions if d.action == "EXPLOIT"]


def run(
    scheduler: TrialScheduler,
    configs: list[dict[str, Any]],
    training: Any,
    *,
    workers: int = 2,
    seed: int = 0,
    crash_probability: float = 0.0,
    stop: tuple[StopRule, ...] = (),
    **rules: Any,
) -> Run:
    """Run to the end; no checkpoint may be deleted that somebody is told, or may still have, to start from."""
    asked = Rules(
        **{"metric": "score", "mode": "max", "seed": seed, "max_failures": -1, "trial_limit": len(configs), **rules}
    )
    scheduler.setup(metric=asked.metric, mode=asked.mode, seed=seed)
    experiment = SearchedExperiment(Fixed(configs), scheduler, asked)
    cluster = SimulatedCluster(workers=workers, crash_probability=crash_probability)
    runtime = SimulatedRuntime(training, cluster, seed=seed, stop=stop)
    found, deleted = Run(experiment), set()

    def check(event: Event, commands: list[Command]) -> None:
        found.log.append((event, commands))
        experiment.validate()
        for command in commands:
            if isinstance(command, DeleteCheckpoint):
                deleted.add((command.trial_id, command.checkpoint.id))
            elif isinstance(command, ExploitTrial) or (
                isinstance(command, StartTrial) and command.checkpoint is not None
            ):
                assert (command.checkpoint.trial_id, command.checkpoint.id) not in deleted
        for trial in experiment.trials.values():
            if trial.adopted is not None:
                assert (trial.adopted.trial_id, trial.adopted.id) not in deleted

    run_simulated(experiment, runtime, check)
    assert all(trial.status.finished for trial in experiment.trials.values())
    return found
