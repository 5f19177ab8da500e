"""Schedulers written for Ray Tune, behind the contract of this package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from tune_plugins.core.leases import end_of
from tune_plugins.core.metrics import Mode
from tune_plugins.core.ray_form import NOOP, Answer, Controller, in_our_form, is_ray_form, is_ray_style
from tune_plugins.core.scheduler import Action, Decision, TrialScheduler
from tune_plugins.core.trial import FREE, Lease, Trial, TrialStatus
from tune_plugins.errors import ArgumentError, TuneError
from tune_plugins.schedulers.wrapper import Wrapper, as_lease, ask

__all__ = ["RayController", "RayStyleScheduler", "as_scheduler"]

_WAITING = (TrialStatus.PENDING, TrialStatus.PAUSED)
_BY_DEFAULT = in_our_form(TrialScheduler(), "choose_trial_to_run")


def as_scheduler(given: TrialScheduler) -> TrialScheduler:
    """A scheduler as the engine calls it; one written for Ray Tune behind a class of the same name, for messages."""
    if not is_ray_style(given):
        return given
    kind: Callable[[Any], TrialScheduler] = type(type(given).__name__, (RayStyleScheduler,), {})
    return kind(given)


class RayController(Controller):
    """What a scheduler written for Ray Tune is given as the controller: the trials, and a way to end others.

    Schedulers of this package that it derives from or holds are called through here as well. Each has its own
    milestones, so it is shown a trial under its own lease.

    Args:
        scheduler: the user's.
        metric: of the run, for schedulers that it holds.
        mode: of the run.
        seed: of the run.
    """

    def __init__(self, scheduler: TrialScheduler, metric: str | None, mode: Mode | None, seed: int) -> None:
        self._scheduler, self._run = scheduler, (metric, mode, seed)
        self._trials: dict[str, Trial] = {}
        self._live: dict[str, Trial] = {}
        self._pending: Mapping[str, Trial] = {}
        self._paused: Mapping[str, Trial] = {}
        self._parts = {id(scheduler): _Part(scheduler)}
        self._wishes: dict[str, Action] = {}

    def __getattr__(self, name: str) -> Any:
        there = ", ".join(each for each in vars(RayController) if not each.startswith("_") and each != "call")
        raise AttributeError(
            f"The controller has no {name!r}: a scheduler written for Ray Tune finds there {there}. 'A scheduler of "
            "your own' in the documentation says what the schedulers of this package get instead."
        )

    # ---------------------------------------------------------------------- for the user's scheduler

    def get_trials(self) -> list[Trial]:
        """All trials so far, in order of creation."""
        return list(self._trials.values())

    def get_live_trials(self) -> set[Trial]:
        """Those that have not ended."""
        return set(self._live.values())

    def get_trial(self, trial_id: str) -> Trial | None:
        """One of them."""
        return self._trials.get(trial_id)

    def has_resources_for_trial(self, trial: Trial) -> bool:
        """True: nobody is asked for a trial where no slot is free."""
        return True

    def stop_trial(self, trial: Trial) -> None:
        """End a trial: one that waits does not start any more, another one ends at its next report."""
        self._wishes[trial.id] = Action.STOP

    def pause_trial(self, trial: Trial, should_checkpoint: bool = True) -> None:
        """Pause a trial at its next report; the one that has just reported: now."""
        if trial.status not in _WAITING:
            self._wishes[trial.id] = Action.PAUSE

    # ------------------------------------------------------------------- for schedulers of this package

    def call(self, scheduler: TrialScheduler, method: Callable[..., Any], *arguments: Any) -> Any:
        """Call a method in our form, of the user's scheduler or of one that it holds."""
        part, what = self._part_of(scheduler), method.__name__
        if what == "choose_trial_to_run":
            return self._choose(part, method)
        trial, *results = arguments
        if what == "on_trial_result":
            return self._ask(part, method, trial, *results)
        if what == "on_trial_add":
            part.leases[trial.id] = FREE  # a real one when it starts
        return method(scheduler, trial, *(result or None for result in results))

    def _part_of(self, scheduler: TrialScheduler) -> _Part:
        part = self._parts.get(id(scheduler))
        if part is None:
            metric, mode, seed = self._run
            scheduler.setup(metric=scheduler.metric or metric, mode=scheduler.mode or mode, seed=seed)
            part = self._parts[id(scheduler)] = _Part(scheduler)
        return part

    def _ask(self, part: _Part, method: Callable[..., Any], trial: Trial, result: dict[str, Any]) -> Answer:
        lease = part.leases.get(trial.id, trial.lease)
        decision = ask(part.scheduler, partial(method, part.scheduler), trial, lease, result)
        # Where the lease is not that of the run, nobody else ends the trial there.
        if decision.action is Action.CONTINUE and part.scheduler is not self._scheduler:
            end = end_of(result, lease, ())
            decision = decision if end is None else Decision(Action.STOP, end.reason)
        answer = Answer(NOOP if decision.action is Action.EXPLOIT else decision.action.value)
        answer.decision = decision
        return answer

    def _choose(self, part: _Part, method: Callable[..., Any]) -> Trial | None:
        if method is _BY_DEFAULT:
            return next(iter(self._pending.values()), None) or next(iter(self._paused.values()), None)
        known = part.leases
        waiting = ({i: t for i, t in some.items() if i in known} for some in (self._pending, self._paused))
        chosen: Trial | None = method(part.scheduler, *waiting)
        return chosen

    # -------------------------------------------------------------------------------- for the wrapper

    def _add(self, trial: Trial) -> None:
        self._trials[trial.id] = self._live[trial.id] = trial
        self._parts[id(self._scheduler)].leases[trial.id] = FREE

    def _end(self, trial: Trial) -> None:
        del self._live[trial.id]
        self._wishes.pop(trial.id, None)
        for part in self._parts.values():
            part.leases.pop(trial.id, None)

    def _schedulers(self, trial: Trial | None = None) -> list[TrialScheduler]:
        """The user's and those that it holds, or those of them that know a trial."""
        return [part.scheduler for part in self._parts.values() if trial is None or trial.id in part.leases]

    def _grant(self, trial: Trial) -> Lease:
        """Ask all for their milestones; returns the lease of the run."""
        save, mine = False, self._parts[id(self._scheduler)].leases
        for part in self._parts.values():
            if trial.id in part.leases:
                part.leases[trial.id] = lease = as_lease(part.scheduler.next_milestone(trial))
                save |= lease.save
        return replace(mine[trial.id], save=save)

    def _offer(self, pending: Mapping[str, Trial], paused: Mapping[str, Trial]) -> None:
        self._pending, self._paused = pending, paused

    def _stopped(self) -> list[tuple[Trial, str]]:
        """Those that wait and shall end."""
        ended = [i for i, wish in self._wishes.items() if wish is Action.STOP and self._trials[i].status in _WAITING]
        return [(self._trials[i], self._why(self._wishes.pop(i))) for i in ended]

    def _wish(self, trial: Trial) -> Decision | None:
        wish = self._wishes.pop(trial.id, None)
        return None if wish is None else Decision(wish, self._why(wish))

    def _why(self, wish: Action) -> str:
        return f"{type(self._scheduler).__name__} called {wish.lower()}_trial()"


def _is_plain(scheduler: TrialScheduler) -> bool:
    """Whether it says nothing of what it compares by."""
    said = next(each for each in type(scheduler).__mro__ if "needs_metric" in vars(each))
    return said is TrialScheduler


@dataclass
class _Part:
    """The user's scheduler or one that it holds, and the leases that it has given to the trials it was told of."""

    scheduler: TrialScheduler
    leases: dict[str, Lease] = field(default_factory=dict)


class RayStyleScheduler(Wrapper):
    """Calls a scheduler that is written for Ray Tune.

    Its methods get a `RayController`. It is asked at every report, unless its results are read by a scheduler of this
    package that it derives from. As there, one more trial than slots waits while it chooses among them, as long as the
    searcher has any; without a choice of its own, trials that wait come before paused ones.

    Args:
        scheduler: the object.
    """

    def __init__(self, scheduler: TrialScheduler) -> None:
        super().__init__(scheduler)
        self._theirs: Any = scheduler  # is called in the other form
        self._controller = RayController(scheduler, None, None, 0)
        chooses = type(scheduler).choose_trial_to_run
        self._wants = 2 if is_ray_form(chooses) else 1 if chooses is TrialScheduler.choose_trial_to_run else 0
        self._searching = self._may_come = True

    def _take_over(self, base: TrialScheduler) -> None:
        super()._take_over(base)
        self.reads_results, self.reads_every_result = base.reads_results, base.reads_every_result
        plain = type(base).next_milestone is TrialScheduler.next_milestone
        self.asked_at_every_report = base.asked_at_every_report or plain
        # One that derives from nothing else compares by what it likes.
        self.needs_metric = base.needs_metric and not _is_plain(base)

    def __repr__(self) -> str:
        return repr(self.base)

    def mistakes(self) -> list[str]:
        """Those of the scheduler."""
        return self.base.mistakes()

    def setup(self, *, metric: str | None, mode: Mode | None, seed: int) -> None:
        """Set the scheduler up, and tell it what trials are compared by."""
        super().setup(metric=metric, mode=mode, seed=seed)
        self._controller = RayController(self.base, metric, mode, seed)
        self._searching = self._may_come = True
        if type(self.base).set_search_properties is not TrialScheduler.set_search_properties:
            if self._theirs.set_search_properties(metric, mode) is False:
                raise ArgumentError(
                    type(self).__name__,
                    [
                        f"set_search_properties() returned False for metric={metric!r}, mode={mode!r}: it has others "
                        "already. Give them in one place only."
                    ],
                )
            self._take_over(self.base)

    def on_trial_add(self, trial: Trial) -> None:
        """A trial was created."""
        self._may_come = True
        self._controller._add(trial)
        self._theirs.on_trial_add(self._controller, trial)

    def next_milestone(self, trial: Trial) -> Lease:
        """That of the scheduler."""
        return self._controller._grant(trial)

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> Decision | str:
        """What the scheduler says, with the reason of the one of this package that it asked."""
        said = self._theirs.on_trial_result(self._controller, trial, result)
        decision = self._controller._wish(trial)
        if decision is not None:
            return decision
        if isinstance(said, Answer):
            answer: Decision = said.decision
            return answer
        return Action.CONTINUE if isinstance(said, str) and said == NOOP else said

    def on_trial_complete(self, trial: Trial, result: dict[str, Any] | None) -> None:
        """A trial has ended, or was removed while it waited."""
        self._may_come = True
        if trial.history[-1:] == ("drop",):
            self._theirs.on_trial_remove(self._controller, trial)
        else:
            self._theirs.on_trial_complete(self._controller, trial, result or {})
        self._controller._end(trial)

    def on_trial_error(self, trial: Trial) -> None:
        """A trial has failed."""
        self._may_come = True
        self._theirs.on_trial_error(self._controller, trial)
        self._controller._end(trial)

    def choose_trial_to_run(self, pending: Mapping[str, Trial], paused: Mapping[str, Trial]) -> Trial | None:
        """Whom the scheduler chooses among the trials that the controller tells of."""
        if len(pending) < self._wants and self._searching and self._may_come:
            self._may_come = False  # the searcher is asked, once until a trial has come or ended
            return None
        self._controller._offer(pending, paused)
        chosen = self._theirs.choose_trial_to_run(self._controller)
        if chosen is None:
            return None
        found = pending.get(chosen.id) or paused.get(chosen.id)
        if found is None and chosen.status is not TrialStatus.PAUSED:  # one that is being saved cannot start yet
            raise TuneError(
                f"{type(self).__name__}.choose_trial_to_run() returned trial {chosen.id}, which is {chosen.status}: "
                "expected one that is PENDING or PAUSED, or None."
            )
        return found

    def on_trial_resume(self, trial: Trial) -> Decision | None:
        """What the scheduler of this package says that has paused it."""
        said = [scheduler.on_trial_resume(trial) for scheduler in self._controller._schedulers(trial)]
        return next((decision for decision in said if decision is not None), None)

    def resume_reason(self, trial: Trial) -> str:
        """Why the scheduler of this package has resumed it."""
        reasons = [scheduler.resume_reason(trial) for scheduler in self._controller._schedulers(trial)]
        return next(filter(None, reasons), "")

    def discarded(self) -> Iterable[tuple[Trial, str]]:
        """Those that were to be stopped while they waited."""
        found = self._controller._stopped()
        for scheduler in self._controller._schedulers():
            found += scheduler.discarded()
        return found

    def on_search_end(self) -> None:
        """Pass it on."""
        self._searching = False
        for scheduler in self._controller._schedulers():
            scheduler.on_search_end()

    def on_idle(self, search_ended: bool) -> None:
        """Pass it on."""
        for scheduler in self._controller._schedulers():
            scheduler.on_idle(search_ended)

    def notes(self) -> list[str]:
        """What its `debug_string` says."""
        return str(self._theirs.debug_string()).splitlines()

    def warnings(self) -> list[str]:
        """Those of all schedulers of this package that had a say."""
        return [warning for scheduler in self._controller._schedulers() for warning in scheduler.warnings()]
