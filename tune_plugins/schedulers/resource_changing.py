"""Resources that change while a trial runs: what ended trials have freed goes to those that go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tune_plugins.arguments import Mistakes, shown_call
from tune_plugins.core.leases import reached
from tune_plugins.core.metrics import Mode
from tune_plugins.core.resources import PlacementGroupFactory, as_request, bundle_mistakes, named
from tune_plugins.core.scheduler import Action, Decision, FIFOScheduler, TrialScheduler
from tune_plugins.core.trial import Lease, Milestone, Trial
from tune_plugins.errors import ArgumentError
from tune_plugins.schedulers.ray_style import as_scheduler
from tune_plugins.schedulers.wrapper import Wrapper, as_lease, ask

Allocation = Callable[["LiveTrials", Trial, dict[str, Any], "ResourceChangingScheduler"], Any]
"""Called with all live trials by id, the trial that stands at a milestone, its result and the scheduler; returns what
the trial shall take, as for `with_resources`, or None for no change."""


class LiveTrials(dict[str, Trial]):
    """All live trials by id; also what a function that was written for Ray Tune asks its controller for."""

    def get_live_trials(self) -> set[Trial]:
        """The trials."""
        return set(self.values())

    def get_trials(self) -> list[Trial]:
        """The same, in order of creation."""
        return list(self.values())


@dataclass(frozen=True)
class DistributeResources:
    """Shares what the cluster has evenly among the live trials, in whole steps; nobody gets less than at the start.

    Args:
        add_bundles: True: a step is a bundle of its own, which may lie on another node; False: the trial's one bundle
            grows.
        increase_by: one step; default: the last bundle of what a trial takes at the start with `add_bundles`, else one
            CPU, and one GPU where it has a GPU.
        increase_by_times: at most so many steps for a trial; -1: no limit.
        reserve_resources: what is left to others.
        base: what a trial takes at least; default: what it takes at the start.
        total: what there is; default: what the cluster of the run has.

    Raises:
        ArgumentError: lists all mistakes.
    """

    add_bundles: bool = False
    increase_by: Mapping[str, float] | None = None
    increase_by_times: int = -1
    reserve_resources: Mapping[str, float] | None = None
    base: Mapping[str, float] | PlacementGroupFactory | None = None
    total: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        Mistakes(type(self).__name__, self.mistakes()).raise_if_any()

    def mistakes(self) -> list[str]:
        """Everything that is wrong with the arguments, in words."""
        found = Mistakes(type(self).__name__)
        found.flag("add_bundles", self.add_bundles)
        found.whole("increase_by_times", self.increase_by_times, least=-1, remedy="-1: no limit.")
        for name in ("increase_by", "reserve_resources", "base", "total"):
            given = getattr(self, name)
            if given and not isinstance(given, PlacementGroupFactory):  # {} is nothing given
                found.found += bundle_mistakes(name, given)
        return found.found

    def __call__(
        self, trials: Mapping[str, Trial], trial: Trial, result: dict[str, Any], scheduler: ResourceChangingScheduler
    ) -> PlacementGroupFactory | None:
        """What `trial` shall take."""
        base, step = self._start(trial, scheduler)
        free = self._free(trials, scheduler)
        shares = []
        for name, size in step.items():
            whole = int(free.get(name, 0.0) / size + 1e-9)
            # Those left over by the division go to the oldest trials.
            place = sum(other.index < trial.index for other in trials.values())
            shares.append(max(0, whole // len(trials) + (place < whole % len(trials))))
        return self._grown(base, step, min(shares, default=0))

    def _start(
        self, trial: Trial, scheduler: ResourceChangingScheduler
    ) -> tuple[PlacementGroupFactory, dict[str, float]]:
        """What the trial takes at least, and one step."""
        base = as_request(self.base) if self.base else scheduler.at_start(trial)
        if not self.add_bundles and (len(base.bundles) > 1 or base.head_bundle_is_empty):
            raise ArgumentError(
                type(self).__name__,
                [
                    f"add_bundles: expected True, since a trial takes several bundles, {base!r}, got False. Write "
                    f"{type(self).__name__}(add_bundles=True), or ask for one bundle."
                ],
            )
        usual = base.bundles[-1] if self.add_bundles else {"CPU": 1, "GPU": 1 if base.bundles[0].get("GPU") else 0}
        return base, named(self.increase_by or usual)

    def _free(self, trials: Mapping[str, Trial], scheduler: ResourceChangingScheduler) -> dict[str, float]:
        """What there is beside that which each live trial takes at least."""
        free = dict(self.total or scheduler.cluster_resources)
        least = [self._start(trial, scheduler)[0].required_resources for trial in trials.values()]
        for taken in (self.reserve_resources or {}, *least):
            for name, amount in taken.items():
                free[name] = free.get(name, 0.0) - amount
        return free

    def _grown(self, base: PlacementGroupFactory, step: dict[str, float], count: int) -> PlacementGroupFactory:
        if self.increase_by_times >= 0:
            count = min(count, self.increase_by_times)
        if self.add_bundles:
            first: list[dict[str, float]] = [{}] if base.head_bundle_is_empty else []
            return PlacementGroupFactory([*first, *base.bundles, *([step] * count)], base.strategy)
        only = base.bundles[0]
        grown = {name: only.get(name, 0.0) + count * step.get(name, 0.0) for name in {**only, **step}}
        return PlacementGroupFactory([grown], base.strategy)


@dataclass(frozen=True)
class DistributeResourcesToTopJob(DistributeResources):
    """Gives all that is free to the trial whose last result is the best; the others keep what they have.

    Args:
        add_bundles: this and all up to `total`: as for `DistributeResources`.
        metric: metric to compare; None: the one of the scheduler, or of `TuneConfig`.
        mode: "min" or "max"; None: the one of the scheduler, or of `TuneConfig`.
    """

    metric: str | None = None
    mode: Mode | None = None

    def mistakes(self) -> list[str]:
        """Everything that is wrong with the arguments, in words."""
        found = Mistakes(type(self).__name__, super().mistakes())
        found.metric("metric", self.metric, none=True)
        found.mode("mode", self.mode, none=True)
        return found.found

    def __call__(
        self, trials: Mapping[str, Trial], trial: Trial, result: dict[str, Any], scheduler: ResourceChangingScheduler
    ) -> PlacementGroupFactory | None:
        """What `trial` shall take; None: what it has."""
        metric, mode = self.metric or scheduler.metric, self.mode or scheduler.mode
        if metric is None or mode is None:
            raise ArgumentError(
                type(self).__name__,
                [f"metric, mode: expected by what the best trial is found, got {metric!r}, {mode!r}. Add them here."],
            )
        judge = TrialScheduler(metric, mode)
        best = min(trials.values(), key=lambda other: (judge.score(other.last_result), other.index))
        if best is not trial:
            return None
        base, step = self._start(trial, scheduler)
        free = dict(self.total or scheduler.cluster_resources)
        others = [scheduler.takes(other).required_resources for other in trials.values() if other is not trial]
        for taken in (self.reserve_resources or {}, base.required_resources, *others):
            for name, amount in taken.items():
                free[name] = free.get(name, 0.0) - amount
        count = min((int(free.get(name, 0.0) / size + 1e-9) for name, size in step.items()), default=0)
        return self._grown(base, step, max(0, count))


class ResourceChangingScheduler(Wrapper):
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
        base = FIFOScheduler() if base_scheduler is None else base_scheduler
        self.allocate = resources_allocation_function or DistributeResources()
        self.interval = interval
        self._live: dict[str, Trial] = {}
        self._moving: dict[str, Trial] = {}  # paused only to change their resources
        self._promised: dict[str, PlacementGroupFactory] = {}  # what these will take
        self._base_lease: dict[str, Lease] = {}
        self._stays: set[str] = set()  # these have no checkpoint to go on from elsewhere
        super().__init__(as_scheduler(base) if isinstance(base, TrialScheduler) else base)

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
        # Its function may compare trials where the base scheduler does not.
        self.metric, self.mode = self.metric or metric, self.mode or mode
        for noted in (self._live, self._moving, self._promised, self._base_lease, self._stays):
            noted.clear()

    def at_start(self, trial: Trial) -> PlacementGroupFactory:
        """What a trial takes at its start."""
        return self.request_of(trial.config) if self.request_of else as_request(self.trial_resources)

    def takes(self, trial: Trial) -> PlacementGroupFactory:
        """What a trial takes now, or as soon as it goes on."""
        if trial.id in self._moving:
            return self._promised[trial.id]
        return self.at_start(trial) if trial.resources is None else as_request(trial.resources)

    @property
    def base_trial_resources(self) -> PlacementGroupFactory:
        """What a trial takes at its start, where that is the same for all."""
        return as_request(self.trial_resources)

    def on_trial_add(self, trial: Trial) -> None:
        """A trial was created."""
        self._live[trial.id] = trial
        self.base.on_trial_add(trial)

    def next_milestone(self, trial: Trial) -> Lease:
        """That of the base scheduler, or the next one of its own."""
        lease = self._base_lease[trial.id] = as_lease(self.base.next_milestone(trial))
        if lease.milestone is not None:
            return lease
        value = (trial.iteration // self.interval + 1) * self.interval
        return replace(lease, milestone=Milestone("training_iteration", value))

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> Decision | str:
        """What the base scheduler decides; a trial that it lets go on may get other resources."""
        self._moving.pop(trial.id, None)
        decision = Decision(Action.CONTINUE)
        if self.base.reads_results:
            decision = ask(self.base, self.base.on_trial_result, trial, self._base_lease[trial.id], result)
        milestone = trial.lease.milestone
        if decision.action is not Action.CONTINUE or milestone is None or not reached(milestone, result):
            return decision
        wanted = self.allocate(LiveTrials(self._live), trial, result, self)
        has = self.takes(trial)
        if wanted is None or as_request(wanted) == has or trial.id in self._stays:
            return decision
        self._moving[trial.id], self._promised[trial.id] = trial, as_request(wanted)
        why = f"resources {_shown(has)} -> {_shown(self._promised[trial.id])}, with {len(self._live)} live trials"
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
        for known in (self._live, self._moving, self._promised, self._base_lease):
            known.pop(trial.id, None)
        self._stays.discard(trial.id)

    def resume_reason(self, trial: Trial) -> str:
        """As the base scheduler, unless it was paused only for its resources."""
        return "" if trial.id in self._moving else self.base.resume_reason(trial)


def _shown(request: PlacementGroupFactory) -> str:
    bundles = [", ".join(f"{name}: {amount:g}" for name, amount in bundle.items()) for bundle in request.bundles]
    return bundles[0] if len(bundles) == 1 else " + ".join(f"{{{bundle}}}" for bundle in bundles)
