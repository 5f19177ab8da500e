"""The schedule of hyper-parameters that population based training found, and its replay in one trial."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tune_plugins.arguments import shown_call
from tune_plugins.core.metrics import Mode
from tune_plugins.core.scheduler import Action, Decision, TrialScheduler
from tune_plugins.core.trial import Lease, Milestone, Trial
from tune_plugins.errors import ArgumentError, TuneError
from tune_plugins.schedulers.explore import changes
from tune_plugins.space.encoding import decode, encode
from tune_plugins.space.jsonable import dumps, loads
from tune_plugins.space.nested import copy_of

_HOW_TO_GET_ONE = (
    "Use result.pbt_schedule of a run with PopulationBasedTraining, a file that its save() wrote, or a "
    "pbt_policy_<trial>.txt."
)


@dataclass(frozen=True)
class ScheduleStep:
    """From `iteration` on, the training has used `config`; the state came from trial `trial_id`."""

    iteration: int
    config: dict[str, Any]
    trial_id: str = ""


@dataclass(frozen=True)
class PBTSchedule:
    """The hyper-parameters over time of the training that a trial holds at its end, all its ancestors included.

    Attributes:
        steps: the first one is the config it began with, at iteration 0.

    >>> schedule = PBTSchedule((ScheduleStep(0, {"lr": 0.1}), ScheduleStep(20, {"lr": 0.12})))
    >>> schedule.config_at(25)
    {'lr': 0.12}
    """

    steps: tuple[ScheduleStep, ...]

    def config_at(self, iteration: int) -> dict[str, Any]:
        """The config that was used behind `iteration`."""
        return [step.config for step in self.steps if step.iteration <= iteration][-1]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the schedule as JSON, for `load` and `PopulationBasedTrainingReplay`."""
        steps = [{"iteration": s.iteration, "config": encode(s.config), "trial_id": s.trial_id} for s in self.steps]
        Path(path).write_text(dumps({"pbt_schedule": steps}) + "\n", encoding="utf-8")

    @staticmethod
    def load(path: str | os.PathLike[str]) -> PBTSchedule:
        """Read a file that `save` wrote, or a ``pbt_policy_<trial>.txt``, also one of Ray Tune.

        Raises:
            ArgumentError: the file is missing, or neither of these.
        """
        try:
            text = Path(path).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise _no_schedule(path, error) from error
        try:
            lines = [loads(line) for line in text.splitlines() if line.strip()]
            if len(lines) == 1 and isinstance(lines[0], dict):
                steps = [
                    ScheduleStep(int(s["iteration"]), decode(s["config"]), s["trial_id"])
                    for s in lines[0]["pbt_schedule"]
                ]
                if not steps or steps[0].iteration != 0:
                    raise ValueError("it has no config at iteration 0")
                return PBTSchedule(tuple(steps))
            return _from_policy(lines)
        except (ValueError, KeyError, TypeError, IndexError, json.JSONDecodeError) as error:
            raise _no_schedule(path, error) from error


def _no_schedule(path: str | os.PathLike[str], error: Exception) -> ArgumentError:
    said = f"policy: expected a file with a schedule, got {os.fspath(path)!r}: {error}. {_HOW_TO_GET_ONE}"
    return ArgumentError("PopulationBasedTrainingReplay", [said])


def _from_policy(lines: Sequence[Any]) -> PBTSchedule:
    """Ray Tune's lines: [trial, source, iteration of trial, iteration of source, config of source, new config].

    Only the unbroken chain at the end belongs to the state that the trial holds.
    """
    if not lines:
        raise ValueError("it is empty")
    steps: list[ScheduleStep] = []
    first: dict[str, Any] = {}
    follower: str | None = None
    for trial, source, _, iteration, old, new in reversed(lines):
        if follower is not None and trial != follower:
            break
        follower, first = source, decode(old)
        steps.append(ScheduleStep(int(iteration), decode(new), str(source)))
    return PBTSchedule((ScheduleStep(0, first), *reversed(steps)))


class HasConfig(Protocol):
    """A trial and a config it had, as the record tells it."""

    @property
    def trial_id(self) -> str:
        """Of the trial."""

    @property
    def config(self) -> dict[str, Any]:
        """Of the trial, from then on."""


class Exploited(HasConfig, Protocol):
    """An exploit, as the record tells it."""

    @property
    def source_id(self) -> str:
        """The trial whose state was adopted."""

    @property
    def source_iteration(self) -> int:
        """Of that state."""


def schedule_of(trial_id: str, exploits: Sequence[Exploited], configs: Iterable[HasConfig]) -> PBTSchedule | None:
    """The schedule of a trial out of what was recorded of all trials; None if it never exploited anybody.

    Args:
        trial_id: of the trial.
        exploits: of all trials, in order, without those that were undone.
        configs: of all trials, in order.
    """
    first: dict[str, dict[str, Any]] = {}
    for recorded in configs:
        first.setdefault(recorded.trial_id, recorded.config)
    steps: list[ScheduleStep] = []
    holder, position = trial_id, len(exploits)
    while True:
        # The last exploit of the holder before the state was taken from it.
        found = next((n for n in range(position - 1, -1, -1) if exploits[n].trial_id == holder), None)
        if found is None:
            break
        exploit = exploits[found]
        if not steps or exploit.source_iteration < steps[-1].iteration:
            steps.append(ScheduleStep(exploit.source_iteration, exploit.config, exploit.source_id))
        holder, position = exploit.source_id, found
    if not steps:
        return None
    if steps[-1].iteration > 0:
        steps.append(ScheduleStep(0, first[holder], holder))
    return PBTSchedule(tuple(reversed(steps)))


class PopulationBasedTrainingReplay(TrialScheduler):
    """Trains one trial with the hyper-parameters that population based training found, changed at the same points.

    Args:
        policy: ``result.pbt_schedule``, the path of a file that `PBTSchedule.save` wrote, or of a
            ``pbt_policy_<trial>.txt``, also one of Ray Tune's.
            The trial starts with its first config; `param_space` adds what that leaves out.

    Raises:
        ArgumentError: there is no schedule, or the file holds none.
    """

    needs_metric = False
    changes_configs = True

    def __init__(self, policy: PBTSchedule | str | os.PathLike[str] | None) -> None:
        super().__init__()
        if policy is None:
            raise ArgumentError(
                "PopulationBasedTrainingReplay", [f"policy: the trial has no schedule. {_HOW_TO_GET_ONE}"]
            )
        if not isinstance(policy, (PBTSchedule, str, os.PathLike)):
            raise ArgumentError(
                "PopulationBasedTrainingReplay",
                [f"policy: expected a schedule or the path of a file, got {policy!r}. {_HOW_TO_GET_ONE}"],
            )
        self.schedule = policy if isinstance(policy, PBTSchedule) else PBTSchedule.load(policy)
        self._done: dict[str, int] = {}

    def __repr__(self) -> str:
        return shown_call(self, policy=self.schedule)

    def setup(self, *, metric: str | None, mode: Mode | None, seed: int) -> None:
        """Start at the first step of the schedule."""
        super().setup(metric=metric, mode=mode, seed=seed)
        self._done = {}

    def initial_config(self, index: int, config: dict[str, Any]) -> dict[str, Any]:
        """The first config of the schedule over that of the search space."""
        return _merged(config, self.schedule.steps[0].config)

    def next_milestone(self, trial: Trial) -> Lease:
        """The next point at which the config changes."""
        later = [s.iteration for s in self.schedule.steps if s.iteration > max(self._done.get(trial.id, 0), 0)]
        if not later:
            return Lease()
        return Lease(Milestone("training_iteration", later[0]), save=True)

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> Decision | str:
        """At a point of the schedule: go on from here with the next config."""
        milestone = trial.lease.milestone
        if milestone is None or int(result["training_iteration"]) < milestone.value:
            return Action.CONTINUE
        at = int(result["training_iteration"])
        self._done[trial.id] = at
        config = _merged(trial.config, self.schedule.config_at(at))
        told = changes(trial.config, config)
        if trial.donation(at) is None:
            raise TuneError(
                f"PopulationBasedTrainingReplay: trial {trial.id} has no checkpoint at iteration {at}, where its "
                "config changes. Hand one to report() there, or use an adapter that saves them."
            )
        return Decision(Action.EXPLOIT, f"iteration {at} of the schedule: {told}", source_id=trial.id, config=config)

    def on_trial_complete(self, trial: Trial, result: dict[str, Any] | None) -> None:
        """Forget the trial."""
        self._done.pop(trial.id, None)

    def on_trial_error(self, trial: Trial) -> None:
        """Forget the trial."""
        self._done.pop(trial.id, None)


def _merged(config: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = copy_of(config)
    for key, value in over.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return merged


__all__ = ["PBTSchedule", "PopulationBasedTrainingReplay", "ScheduleStep", "schedule_of"]
