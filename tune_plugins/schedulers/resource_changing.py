"""Resources that change while a trial runs: what ended trials have freed goes to those that go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tune_plugins.arguments import Mistakes, shown_call
from tune_plugins.core.metrics import Mode, lookup
from tune_plugins.core.scheduler import Action, Decision, FIFOScheduler, TrialScheduler
from tune_plugins.core.trial import Lease, Milestone, Trial

Allocation = Callable[[Mapping[str, Trial], Trial, dict[str, Any], "ResourceChangingScheduler"], Any]
"""Called with all live trials by id, the trial that stands at a milestone, its result and the scheduler; returns what
the trial shall take, as for `with_resources`, or None for no change."""


@dataclass(frozen=True)
class DistributeResources:
    """Shares what the cluster has evenly among the live trials, in whole steps; nobody gets less than at the start.

    Args:
        base: what a trial takes at least; default: what it takes at the start.
        increase_by: one step; default: one CPU, and one GPU where `base` has a GPU.
        increase_by_times: at most so many steps for a trial; -1: no limit.
        reserve_resources: what is left to others.
        total: what there is; default: what the cluster of the run has.
    """

    base: Mapping[str, float] | None = None
    increase_by: Mapping[str, float] | None = None
    increase_by_times: int = -1
    reserve_resources: Mapping[str, float] | None = None
    total: Mapping[str, float] | None = None

    def __call__(
        self, trials: Mapping[str, Trial], trial: Trial, result: dict[str, Any], scheduler: ResourceChangingScheduler
    ) -> dict[str, float] | None:
        """What `trial` shall take."""
        base = dict(self.base or scheduler.trial_resources)
        step = dict(self.increase_by or {"CPU": 1.0, **({"GPU": 1.0} if base.get("GPU") else {})})
        reserved = self.reserve_resources or {}
        total = self.total or scheduler.cluster_resources
        steps = []
        for name, size in step.items():
            if size <= 0:
                continue
            free = total.get(name, 0.0) - reserved.get(name, 0.0) - len(trials) * base.get(name, 0.0)
            whole = int(free / size + 1e-9)
            # Those left over by the division go to the oldest trials.
            place = sum(other.index < trial.index for other in trials.values())
            steps.append(max(0, whole // len(trials) + (place < whole % len(trials))))
        count = min(steps, default=0)
        if self.increase_by_times >= 0:
            count = min(count, self.increase_by_times)
        return {name: base.get(name, 0.0) + count * step.get(name, 0.0) for name in {**base, **step}}


class ResourceChangingScheduler(TrialScheduler):
    """Lets another scheduler decide about trials, and changes what they may take while they run.

    A trial whose resources change saves a checkpoint, gives its process back and goes on in another one. One that
    has no checkpoint to go on from keeps what it has.

    Args:
        base_scheduler: decides about everything else; default: `FIFOScheduler`.
        resources_allocation_function: see `Allocation`; default: `DistributeResources()`.
        interval: the function is asked at the milestones of the base scheduler, and where that has none each so
            many iterations.
    """

    def __init__(
        self,
        base_scheduler: TrialScheduler | None = None,
        resources_allocation_function: Allocation | None = None,
        interval: int = 1,
    ) -> None:
        self.base = base_scheduler if base_scheduler is not None else FIFOScheduler()
        self.allocate = resources_allocation_function or DistributeResources()
        self.interval = interval
        self._live: dict[str, Trial] = {}
        self._moving: dict[str, Trial] = {}  # paused only to change their resources
        self._base_lease: dict[str, Lease] = {}
        self._stays: set[str] = set()  # these have no checkpoint to go on from elsewhere
        super().__init__(
            getattr(self.base, "metric", None),
            getattr(self.base, "mode", None),
            getattr(self.base, "time_attr", "training_iteration"),
        )
        self.needs_metric = getattr(self.base, "needs_metric", False)
        self.needs_population = getattr(self.base, "needs_population", False)
        self.asked_at_every_report = getattr(self.base, "asked_at_every_report", False)

    def __repr__(self) -> str:
        base = None if type(self.base) is FIFOScheduler else self.base
        allocate = None if self.allocate == DistributeResources() else self.allocate
        return shown_call(self, base_scheduler=base, resources_allocation_function=allocate)

    def mistakes(self) -> list[str]:
        """Its own, and those of the base scheduler."""
        found = Mistakes(type(self).__name__)
        found.function(
            "resources_allocation_function",
            self.allocate,
            "of (trials, trial, result, scheduler)",
            arguments=4,
            remedy="DistributeResources() is one.",
        )
        found.whole("interval", self.interval, least=1)
        if found.check(isinstance(self.base, TrialScheduler), "base_scheduler", "a TrialScheduler", self.base):
            found.found += [f"base_scheduler: {mistake}" for mistake in self.base.mistakes()]
        return found.found

    def setup(self, *, metric: str | None, mode: Mode | None, seed: int) -> None:
        """Set the base scheduler up."""
        super().setup(metric=metric, mode=mode, seed=seed)
        self.base.cluster_resources, self.base.trial_resources = self.cluster_resources, self.trial_resources
        self.base.setup(metric=metric, mode=mode, seed=seed)
        for noted in (self._live, self._moving, self._base_lease, self._stays):
            noted.clear()

    def initial_config(self, index: int, config: dict[str, Any]) -> dict[str, Any]:
        """As the base scheduler."""
        return self.base.initial_config(index, config)

    def on_trial_add(self, trial: Trial) -> None:
        """A trial was created."""
        self._live[trial.id] = trial
        self.base.on_trial_add(trial)

    def next_milestone(self, trial: Trial) -> Lease:
        """That of the base scheduler, or the next one of its own."""
        granted = self.base.next_milestone(trial)
        lease = granted if isinstance(granted, Lease) else Lease(milestone=granted)
        self._base_lease[trial.id] = lease
        if lease.milestone is not None:
            return lease
        value = (trial.iteration // self.interval + 1) * self.interval
        return replace(lease, milestone=Milestone("training_iteration", value))

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> Decision | str:
        """What the base scheduler decides; a trial that it lets go on may get other resources."""
        self._moving.pop(trial.id, None)
        milestone, base_lease = trial.lease.milestone, self._base_lease[trial.id]
        decision = Decision(Action.CONTINUE)
        if self.base.reads_results:
            # The base scheduler sees the lease that it gave.
            shown = self.base.on_trial_result(replace(trial, lease=base_lease), result)
            if base_lease.milestone is not None or self.base.asked_at_every_report:
                decision = shown if isinstance(shown, Decision) else Decision(Action(shown))
        reached = None if milestone is None else lookup(result, milestone.attr)
        if decision.action is not Action.CONTINUE or not isinstance(reached, (int, float)):
            return decision
        if milestone is None or reached < milestone.value:
            return decision
        wanted = self.allocate(dict(self._live), trial, result, self)
        has = self.trial_resources if trial.resources is None else trial.resources
        if wanted is None or wanted == has or trial.id in self._stays:
            return decision
        self._moving[trial.id] = trial
        why = f"resources {_shown(has)} -> {_shown(wanted)}, with {len(self._live)} live trials"
        return Decision(Action.PAUSE, f"{decision.reason}; {why}" if decision.reason else why, resources=wanted)

    def choose_trial_to_run(self, pending: Mapping[str, Trial], paused: Mapping[str, Trial]) -> Trial | None:
        """First those that only waited for their new resources."""
        ready = next((i for i in self._moving if i in paused), None)
        if ready is not None:
            return self._moving[ready]
        return self.base.choose_trial_to_run(pending, {i: t for i, t in paused.items() if i not in self._moving})

    def on_trial_resume(self, trial: Trial) -> Decision | None:
        """As the base scheduler, unless it was paused only for its resources."""
        if self._moving.pop(trial.id, None) is not None:
            if trial.resident:
                self._stays.add(trial.id)
                return Decision(Action.CONTINUE, "keeps its resources, since it has no checkpoint to go on from")
            return None
        return self.base.on_trial_resume(trial)

    def on_trial_complete(self, trial: Trial, result: dict[str, Any] | None) -> None:
        """One trial less to share with."""
        self._forget(trial)
        self.base.on_trial_complete(trial, result)

    def on_trial_error(self, trial: Trial) -> None:
        """One trial less to share with."""
        self._forget(trial)
        self.base.on_trial_error(trial)

    def _forget(self, trial: Trial) -> None:
        for known in (self._live, self._moving, self._base_lease):
            known.pop(trial.id, None)
        self._stays.discard(trial.id)

    def accepts_trials(self) -> bool:
        """As the base scheduler."""
        return self.base.accepts_trials()

    def resume_reason(self, trial: Trial) -> str:
        """As the base scheduler, unless it was paused only for its resources."""
        return "" if trial.id in self._moving else self.base.resume_reason(trial)

    def discarded(self) -> Iterable[tuple[Trial, str]]:
        """As the base scheduler."""
        return self.base.discarded()

    def on_search_end(self) -> None:
        """Pass it on."""
        self.base.on_search_end()

    def on_idle(self, search_ended: bool) -> None:
        """Pass it on."""
        self.base.on_idle(search_ended)

    def notes(self) -> list[str]:
        """Those of the base scheduler."""
        return self.base.notes()

    def warnings(self) -> list[str]:
        """Those of the base scheduler."""
        return self.base.warnings()


def _shown(resources: Any) -> str:
    if isinstance(resources, Mapping):
        return ", ".join(f"{name}: {amount:g}" for name, amount in resources.items() if amount)
    return str(resources)
