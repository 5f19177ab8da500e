"""The contract between the engine and a scheduling algorithm.

A scheduler decides about trials at their milestones and which trial gets a free slot. It sees
`Trial` records and results, never workers, files or clocks, so that the same scheduler runs on Ray,
inline and under a virtual clock. Its state is a function of the calls it got: a replay rebuilds it.
"""

from __future__ import annotations

import inspect
import math
from abc import ABCMeta
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from tune_plugins.arguments import Mistakes, override_mistakes, shown_call
from tune_plugins.core.metrics import Mode, lookup
from tune_plugins.core.ray_form import FORMS, NOOP, RayForms, in_our_form, is_ours, takes_both
from tune_plugins.core.resources import PlacementGroupFactory
from tune_plugins.core.searcher import Fidelity, Searcher
from tune_plugins.core.trial import Lease, Milestone, Trial
from tune_plugins.errors import ArgumentError


class Action(StrEnum):
    """What can be decided about a trial that stands at its milestone."""

    CONTINUE = "CONTINUE"
    PAUSE = "PAUSE"
    STOP = "STOP"
    EXPLOIT = "EXPLOIT"


@dataclass(frozen=True, slots=True)
class Decision:
    """An action with its reason in words and numbers, which is recorded.

    Attributes:
        action: see `Action`.
        reason: e.g. ``"0.412 worse than the cut 0.398, rank 7 of 18"``.
        source_id: EXPLOIT: the trial whose checkpoint is adopted.
        config: EXPLOIT: the new hyper-parameters.
        resources: PAUSE: what the trial takes when it goes on, as for `with_resources`; its process is given back.
    """

    action: Action
    reason: str = ""
    source_id: str | None = None
    config: dict[str, Any] | None = None
    resources: Any = None


class _Checked(ABCMeta):
    """Tells the mistakes of an object when it has been constructed: only then all of its arguments are there."""

    if not TYPE_CHECKING:  # checkers would no longer see the arguments of the class

        def __call__(cls, *args, **kwargs):
            scheduler = super().__call__(*args, **kwargs)
            Mistakes(cls.__name__, scheduler.mistakes()).raise_if_any()
            return scheduler

        @property
        def __signature__(cls):
            """That of ``__init__``, which `__call__` hides from ``help``."""
            signature = inspect.signature(cls.__init__)
            return signature.replace(parameters=list(signature.parameters.values())[1:])


class TrialScheduler(metaclass=_Checked):
    """Base class of schedulers; override `on_trial_result`, and `next_milestone` to make reports free.

    One that derives from another scheduler and overrides `on_trial_result` alone is asked at every report, too.

    Args:
        metric: metric to compare trials by; None: the one of `TuneConfig`.
        mode: "min" or "max"; None: the one of `TuneConfig`.
        time_attr: what milestones are counted in: ``training_iteration``, ``time_total_s`` or any
            reported metric that only grows.

    Raises:
        ArgumentError: lists what `mistakes` finds.
    """

    CONTINUE = Action.CONTINUE
    PAUSE = Action.PAUSE
    STOP = Action.STOP
    NOOP = NOOP
    """Of a scheduler in the form of Ray Tune: it has told the controller what becomes of the trial, or nothing does."""

    needs_metric = True
    """Whether the scheduler compares trials; if so, a metric and mode must be given somewhere."""
    reads_results = True
    """Whether `on_trial_result` wants to be called at all."""
    reads_every_result = True
    """Whether it wants the results before a milestone too; False: only the one that reached it, which costs less."""
    asked_at_every_report = False
    """Whether every report is a milestone, beside those of `next_milestone`."""
    needs_population = False
    """Whether all trials are created before the first one starts, so that the scheduler knows who waits for a slot."""
    changes_configs = False
    """Whether trials may get other hyper-parameters while they train."""
    takes_several = False
    """Whether it compares trials by several metrics; `setup` gets tuples of them then."""
    metrics: Sequence[str] = ()
    modes: Sequence[Mode] = ()
    """Of one that `takes_several`: those that were given to it, or else those of the run."""
    wants_searcher = False
    """Whether it looks at `searcher`, e.g. to choose by a model whom to resume; the loop waits for suggestions then."""
    searcher: Searcher | None = None
    """The searcher of the run, for one that `wants_searcher`; set before a run starts."""
    cluster_resources: Mapping[str, float] = {"CPU": 1.0}
    """What all nodes have together, e.g. ``{"CPU": 16.0}``; set before a run starts."""
    trial_resources: Mapping[str, float] = {"CPU": 1.0}
    """What a trial takes at its start; set before a run starts."""
    request_of: Callable[[dict[str, Any]], PlacementGroupFactory] | None = None
    """The same of a trial with a certain config, in bundles; set before a run starts."""

    metric: str | None = None
    mode: Mode | None = None
    time_attr: str = "training_iteration"
    seed: int = 0
    _own: tuple[str | None, Mode | None] = (None, None)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in FORMS:
            if is_ours(vars(cls).get(name)):
                setattr(cls, name, takes_both(vars(cls)[name]))
        own, order = vars(cls), cls.__mro__

        def home(name: str) -> int:
            return next(place for place, each in enumerate(order) if name in vars(each))

        results, milestones = home("on_trial_result"), home("next_milestone")
        # What another scheduler says of its own `on_trial_result` does not hold for that of this one, or of a mixin.
        flags = {"reads_results": True, "reads_every_result": True}
        if milestones == 0:
            flags["asked_at_every_report"] = False
        elif results < milestones and order[milestones] is not TrialScheduler:
            # The milestones are those of a scheduler that has no say in between; this one may have.
            flags["asked_at_every_report"] = True
        for name, value in flags.items():
            if name not in own and (not value or results < home(name)):
                setattr(cls, name, value)

    def __init__(
        self, metric: str | None = None, mode: Mode | None = None, time_attr: str = "training_iteration"
    ) -> None:
        self.metric, self.mode, self.time_attr = metric, mode, time_attr
        self._own = metric, mode

    def mistakes(self) -> list[str]:
        """Everything that is wrong with the arguments, in words; asked at construction, and before each run."""
        found = Mistakes(type(self).__name__)
        found.metric("metric", self.metric, none=True)
        found.mode("mode", self.mode, none=True)
        named = "'training_iteration', 'time_total_s' or the name of a reported metric"
        found.text("time_attr", self.time_attr, named)
        return found.found + override_mistakes("scheduler", self, TrialScheduler, RayForms)

    def setup(self, *, metric: str | None, mode: Mode | None, seed: int) -> None:
        """Called once before the first trial of each run; a metric or mode set in the constructor wins.

        A scheduler may serve one run after another: forget here what an earlier one left behind.
        """
        own_metric, own_mode = self._own
        self.metric, self.mode, self.seed = own_metric or metric, own_mode or mode, seed

    @property
    def fidelity(self) -> Fidelity | None:
        """How far trials are trained and where they are compared, for searchers; known once `setup` was called."""
        return None

    # ------------------------------------------------------------------------------- decisions

    def initial_config(self, index: int, config: dict[str, Any]) -> dict[str, Any]:
        """The config that trial number `index` starts with, given the one that was suggested. Do not change that."""
        return config

    @takes_both
    def on_trial_add(self, trial: Trial) -> None:
        """A trial was created."""

    def next_milestone(self, trial: Trial) -> Milestone | Lease | None:
        """Up to where `trial` may go on without asking; None: to its end.

        Called before a trial starts, goes on or is resumed. The default asks at every report.
        """
        return Milestone("training_iteration", trial.iteration + 1)

    @takes_both
    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> Decision | str:
        """Decide about `trial`; called for each result, in order, when it stands at its milestone or has ended.

        What is returned counts for the result that reached the milestone only.
        """
        return Action.CONTINUE

    @takes_both
    def on_trial_complete(self, trial: Trial, result: dict[str, Any] | None) -> None:
        """The trial has ended without error, by itself or because it was stopped; `result` is its last one."""

    @takes_both
    def on_trial_error(self, trial: Trial) -> None:
        """The trial has failed for good."""

    @takes_both
    def choose_trial_to_run(self, pending: Mapping[str, Trial], paused: Mapping[str, Trial]) -> Trial | None:
        """Which trial gets a free slot; None: a new one, or, if there are no more, nobody.

        `pending` and `paused` are in order of arrival. The default takes the first pending one.
        """
        return next(iter(pending.values()), None)

    # --------------------------------------------- for schedulers that pause; the defaults do nothing

    def on_trial_resume(self, trial: Trial) -> Decision | None:
        """A paused trial goes on: EXPLOIT makes it another one's copy first; CONTINUE or None lets it go on as it is.

        Only `choose_trial_to_run` decides whether it goes on at all.
        """
        return None

    def accepts_trials(self) -> bool:
        """Whether a new trial may be created for a slot that `choose_trial_to_run` had nobody for."""
        return True

    def resume_reason(self, trial: Trial) -> str:
        """Why `choose_trial_to_run` resumed this paused trial, in words and numbers; recorded as a decision."""
        return ""

    def discarded(self) -> Iterable[tuple[Trial, str]]:
        """Paused trials that shall never go on, each with the reason; told once, and they end now."""
        return ()

    def on_search_end(self) -> None:
        """The searcher has no more trials: none will be added from now on."""

    def on_idle(self, search_ended: bool) -> None:
        """Nothing runs and nobody was chosen: what waits ends now, unless you let some of it go on.

        `choose_trial_to_run` is called once more afterwards.
        """

    def callbacks(self) -> Iterable[Any]:
        """Callbacks of a run with this scheduler, beside those of the user; for what it writes into files."""
        return ()

    # ---------------------------------------------- what schedulers of Ray Tune have, and call of one another

    def set_search_properties(self, metric: str | None, mode: Mode | None, **spec: Any) -> bool:
        """Called by a scheduler in the form of Ray Tune that holds this one: as `setup`, with the seed as it is."""
        self.setup(metric=metric, mode=mode, seed=self.seed)
        return True

    def on_trial_remove(self, controller: Any, trial: Trial) -> None:
        """In the form of Ray Tune: a trial ended while it waited."""
        controller.call(self, in_our_form(self, "on_trial_complete"), trial, trial.last_result)

    def debug_string(self) -> str:
        """The lines of `notes`."""
        return "\n".join(self.notes())

    # ----------------------------------------------------------------------------- for people

    def __repr__(self) -> str:
        """The arguments that were given, as far as they differ from the defaults."""
        return shown_call(self, metric=self._own[0], mode=self._own[1])

    def notes(self) -> list[str]:
        """Lines for the live display, e.g. the cut of each rung."""
        return []

    def warnings(self) -> list[str]:
        """Why trials could not be compared, or nothing followed from it: plain sentences, each with its remedy.

        Asked when a run is over; shown below its summary and kept as `ResultGrid.warnings`.
        """
        return []

    # -------------------------------------------------------------------------------- helpers

    def score(self, result: dict[str, Any]) -> float:
        """The metric of `result` as a number of which less is better; +inf for NaN, +-inf, None, text and missing.

        An infinite value counts as failed also where it points to the good side: a loss of -inf is a diverged one.
        """
        if self.metric is None:
            raise ArgumentError(
                type(self).__name__,
                ["metric: expected the name of a metric, since score() compares by it, got None. Add metric=, mode=."],
            )
        value = lookup(result, self.metric)
        try:
            number = float(value)
        except (TypeError, ValueError):
            return math.inf
        if not math.isfinite(number):
            return math.inf
        return -number if self.mode == "max" else number

    def shown(self, score: float) -> str:
        """A score as people know it: the metric's own sign, four significant digits."""
        if math.isinf(score):
            return "nan"
        return f"{-score if self.mode == 'max' else score:.4g}"


class FIFOScheduler(TrialScheduler):
    """Runs trials in order of creation, each to its end; nothing ever waits."""

    needs_metric = False
    reads_results = False

    def next_milestone(self, trial: Trial) -> Milestone | Lease | None:
        """Never."""
        return None


__all__ = ["Action", "Decision", "FIFOScheduler", "TrialScheduler"]
