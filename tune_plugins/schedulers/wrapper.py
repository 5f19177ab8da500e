"""What schedulers that stand around another one have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tune_plugins.core.leases import reached
from tune_plugins.core.metrics import Mode
from tune_plugins.core.scheduler import Action, Decision, TrialScheduler
from tune_plugins.core.searcher import Fidelity
from tune_plugins.core.trial import Lease, Milestone, Trial


class Wrapper(TrialScheduler):
    """Stands between a run and another scheduler, which is asked about everything.

    Args:
        base: the scheduler inside.
    """

    base: TrialScheduler

    def __init__(self, base: Any) -> None:
        self.base = base
        super().__init__()
        # What is no scheduler is named as a mistake.
        if isinstance(base, TrialScheduler):
            self._take_over(base)
            self._own = base._own

    def _take_over(self, base: TrialScheduler) -> None:
        for name in (
            "metric",
            "mode",
            "metrics",
            "modes",
            "time_attr",
            "needs_metric",
            "needs_population",
            "changes_configs",
            "takes_several",
            "wants_searcher",
            "asked_at_every_report",
        ):
            setattr(self, name, getattr(base, name))

    def setup(self, *, metric: str | None, mode: Mode | None, seed: int) -> None:
        """Set the scheduler inside up."""
        base = self.base
        base.cluster_resources, base.trial_resources = self.cluster_resources, self.trial_resources
        base.request_of = self.request_of
        base.searcher, self.seed = self.searcher, seed
        base.setup(metric=metric, mode=mode, seed=seed)
        self._take_over(base)

    @property
    def fidelity(self) -> Fidelity | None:
        """As the scheduler inside."""
        return self.base.fidelity

    def initial_config(self, index: int, config: dict[str, Any]) -> dict[str, Any]:
        """As the scheduler inside."""
        return self.base.initial_config(index, config)

    def on_trial_add(self, trial: Trial) -> None:
        """Pass it on."""
        self.base.on_trial_add(trial)

    def on_trial_complete(self, trial: Trial, result: dict[str, Any] | None) -> None:
        """Pass it on."""
        self.base.on_trial_complete(trial, result)

    def on_trial_error(self, trial: Trial) -> None:
        """Pass it on."""
        self.base.on_trial_error(trial)

    def choose_trial_to_run(self, pending: Mapping[str, Trial], paused: Mapping[str, Trial]) -> Trial | None:
        """As the scheduler inside."""
        return self.base.choose_trial_to_run(pending, paused)

    def on_trial_resume(self, trial: Trial) -> Decision | None:
        """As the scheduler inside."""
        return self.base.on_trial_resume(trial)

    def accepts_trials(self) -> bool:
        """As the scheduler inside."""
        return self.base.accepts_trials()

    def resume_reason(self, trial: Trial) -> str:
        """As the scheduler inside."""
        return self.base.resume_reason(trial)

    def discarded(self) -> Iterable[tuple[Trial, str]]:
        """As the scheduler inside."""
        return self.base.discarded()

    def on_search_end(self) -> None:
        """Pass it on."""
        self.base.on_search_end()

    def on_idle(self, search_ended: bool) -> None:
        """Pass it on."""
        self.base.on_idle(search_ended)

    def callbacks(self) -> Iterable[Any]:
        """Those of the scheduler inside."""
        return self.base.callbacks()

    def notes(self) -> list[str]:
        """Those of the scheduler inside."""
        return self.base.notes()

    def warnings(self) -> list[str]:
        """Those of the scheduler inside."""
        return self.base.warnings()


def as_lease(granted: Milestone | Lease | None) -> Lease:
    """What `next_milestone` returned."""
    return granted if isinstance(granted, Lease) else Lease(milestone=granted)


def ask(scheduler: TrialScheduler, method: Any, trial: Trial, lease: Lease, result: dict[str, Any]) -> Decision:
    """What a scheduler decides about a trial under the lease that it gave itself, which need not be that of the run.

    Args:
        scheduler: stands inside another one.
        method: its `on_trial_result`.
        trial: of the run.
        lease: what its `next_milestone` said last.
        result: one of the trial's.
    """
    granted, trial.lease = trial.lease, lease
    try:
        said = method(trial, result)
    finally:
        trial.lease = granted
    asked = scheduler.asked_at_every_report or (lease.milestone is not None and reached(lease.milestone, result))
    if not asked:
        return Decision(Action.CONTINUE)
    return said if isinstance(said, Decision) else Decision(Action(said))
