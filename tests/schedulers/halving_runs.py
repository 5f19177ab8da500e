"""Runs a scheduler over known curves under the virtual clock, and looks at what it decided."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tune_plugins.core.events import Command, Event, RecordDecision, ResultsReported, StartTrial
from tune_plugins.core.experiment import Experiment, Rules
from tune_plugins.core.trial import Trial
from tune_plugins.driver.simulated import Curve, Curves, SimulatedCluster, SimulatedRuntime
from tune_plugins.schedulers import TrialScheduler
from tune_plugins.search import Outcome, Searcher, Signal
from tune_plugins.testing.experiment import SearchedExperiment
from tune_plugins.testing.simulated import run_simulated

NAN = math.nan  # one and the same object, so that results that hold it compare equal


class Endless(Searcher):
    """Suggests nothing in particular, so many times; notes what it is told and when it is asked."""

    def __init__(self, count: int, at_a_time: int | None = None) -> None:
        self.count, self.at_a_time = count, at_a_time
        self.unfinished: set[str] = set()
        self.told: list[tuple[str, Any]] = []

    def suggest(self, trial_id: str, index: int) -> dict[str, Any] | Signal:
        if index >= self.count:
            return Signal.COMPLETE
        if self.at_a_time is not None and len(self.unfinished) >= self.at_a_time:
            return Signal.NOT_READY
        self.unfinished.add(trial_id)
        self.told.append(("asked", index))
        return {"index": index}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.told.append((trial_id, result["training_iteration"]))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None, outcome: Outcome = Outcome.COMPLETED
    ) -> None:
        self.unfinished.discard(trial_id)


@dataclass
class Run:
    """What happened."""

    experiment: Experiment
    events: list[Event] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)

    @property
    def trials(self) -> list[Trial]:
        return list(self.experiment.trials.values())

    @property
    def decisions(self) -> list[tuple[str, int, str, str]]:
        return [(c.trial_id, c.iteration, c.action, c.reason) for c in self.commands if isinstance(c, RecordDecision)]

    def reached(self) -> list[int]:
        """Longest training of each trial, in iterations."""
        longest: Counter[str] = Counter()
        for event in self.events:
            if isinstance(event, ResultsReported):
                last = max(r["training_iteration"] for r in event.results)
                longest[event.trial_id] = max(longest[event.trial_id], last)
        return [longest[trial.id] for trial in self.trials]

    def starts(self) -> int:
        return sum(isinstance(c, StartTrial) for c in self.commands)


def make_experiment(scheduler: TrialScheduler, searcher: Searcher, seed: int, rules: dict[str, Any]) -> Experiment:
    scheduler.setup(metric="loss", mode="min", seed=seed)
    searcher.seed = seed
    return SearchedExperiment(searcher, scheduler, Rules(seed=seed, **rules))


def run(
    scheduler: TrialScheduler,
    curve: Callable[[int], Sequence[Any]],
    trials: int,
    slots: int = 2,
    *,
    seconds: Callable[[int], float] = lambda index: 1.0,
    seed: int = 0,
    crash: float = 0.0,
    at_a_time: int | None = None,
    check: bool = True,
    searcher: Searcher | None = None,
    **rules: Any,
) -> Run:
    """Trials number 0 to `trials` - 1 along `curve(number)` on `slots` virtual workers; checks each transition."""
    assert not scheduler.mistakes()
    searcher = searcher or Endless(trials, at_a_time)
    experiment = make_experiment(scheduler, searcher, seed, {"max_failures": -1, **rules})
    training = Curves(lambda index, config: Curve(curve(index), seconds(index)), "loss")
    cluster = SimulatedCluster(workers=slots, crash_probability=crash, start_delay_s=0.1)
    done = Run(experiment)

    def note(event: Event, commands: list[Command]) -> None:
        done.events.append(event)
        done.commands += commands
        if check:
            experiment.validate()

    run_simulated(experiment, SimulatedRuntime(training, cluster, seed=seed), note)
    return done


def ranked(index: int) -> list[float]:
    """A flat curve; the higher the number of the trial, the better (losses)."""
    return [1000.0 - index] * 200


def noisy(seed: int, length: int = 200, failing: float = 0.0) -> Callable[[int], list[Any]]:
    """Curves that cross, and now and then report something that is no number."""

    def curve(index: int) -> list[Any]:
        rng = Random(f"{seed}:{index}")
        level, speed = rng.random(), rng.random() * 0.1
        values: list[Any] = [level - speed * step**0.5 + rng.gauss(0, 0.02) for step in range(length)]
        for step in range(length):
            if rng.random() < failing:
                values[step] = rng.choice([NAN, math.inf, -math.inf, None, "text"])
        return values

    return curve


def replayed(original: Run, scheduler: TrialScheduler, searcher: Searcher, **rules: Any) -> list[Command]:
    """The commands of a fresh experiment that is given the events of another one."""
    seed = original.experiment.rules.seed
    return make_experiment(scheduler, searcher, seed, {"max_failures": -1, **rules}).replay(original.events)


def counts(run: Run, pattern: str) -> Counter[str]:
    """How often each first group of a pattern occurs in the reasons of decisions."""
    return Counter(found[1] for *_, reason in run.decisions if (found := re.search(pattern, reason)))
