"""Hooks that a user, a logger or a display can attach to a run, in the form of Ray Tune's callbacks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from tune_plugins._imports import unknown_name
from tune_plugins.arguments import did_you_mean, is_async, is_callable, override_mistakes, shown_signature
from tune_plugins.core.ends import EndCause, ErrorInfo
from tune_plugins.core.metrics import Mode
from tune_plugins.core.trial import CheckpointRecord, Trial, TrialStatus

__all__ = [
    "Callback",
    "CheckpointRecord",
    "EndCause",
    "ErrorInfo",
    "ProgressReporter",
    "RunInfo",
    "Trial",
    "TrialStatus",
]

if not TYPE_CHECKING:
    __getattr__ = unknown_name(__name__)


@dataclass
class RunInfo:
    """What is known of a run when it begins.

    Attributes:
        name: of the experiment.
        path: folder of the experiment.
        metric: what is optimised; None where nothing is. Of several the first one: all are in ``metrics``.
        mode: whether less ("min") or more ("max") of it is better. Of several metrics all are in ``modes``.
        total_trials: number of trials to come, None where unknown.
        slots: number of trials at a time.
        resources: what one trial takes, e.g. ``{"CPU": 1}``.
        cluster: what there is, e.g. ``{"CPU": 2, "memory": 1.2e10}`` (memory in bytes).
        time_budget_s: seconds, or None.
        scheduler, searcher: names of their classes.
        parameters: names of the hyper-parameters, nested ones joined by ``/``.
        max_iterations: `training_iteration` at which a trial ends at the latest, None where unknown.
        virtual_clock: it is simulated: times of trials and results are virtual seconds from 0.
    """

    name: str = ""
    path: str = ""
    metric: str | None = None
    mode: Mode | None = None
    total_trials: int | None = None
    slots: int = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    cluster: Mapping[str, float] = field(default_factory=dict)
    time_budget_s: float | None = None
    scheduler: str = "FIFOScheduler"
    searcher: str = "BasicVariantGenerator"
    parameters: Sequence[str] = ()
    max_iterations: float | None = None
    seed: int | None = None
    virtual_clock: bool = False
    metrics: Sequence[str] = ()
    modes: Sequence[Mode] = ()


class Callback:
    """Base class; override what you need. Hooks run in the driver, after the results are durable.

    Arguments are passed by name; those that a hook does not take are left out. A hook that asks for others is refused
    before the run. An exception in a hook is logged once as a warning and never harms the run.

    `trials` is the list of all trials so far, in order of creation; read them, do not change them. Several events may
    be made durable together, so a trial may have gone further than the event that a hook tells of, in a simulation to
    its end; a `result` is that of its moment. `iteration` counts the steps of the loop; a step takes about a tenth of
    a second and may tell of many events.

    >>> class Best(Callback):
    ...     def on_trial_complete(self, iteration, trials, trial, **info):
    ...         print(trial, trial.last_result.get("loss"))
    """

    _methods: ClassVar[type] = object
    """Has the methods that a kind of callbacks, such as a logger, calls by itself when hooks are called."""

    def setup(
        self,
        stop: Any = None,
        num_samples: int | None = None,
        total_num_samples: int | None = None,
        *,
        run: RunInfo,
        **info: Any,
    ) -> None:
        """Called once before the first trial starts.

        Args:
            stop: `RunConfig.stop`.
            num_samples: `TuneConfig.num_samples`.
            total_num_samples: number of trials to come, with all points of the grid; None where unknown.
            run: what is known of the run.
            info: what `ProgressReporter.setup` names.
        """

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """A step of the loop begins."""

    def on_step_end(
        self, iteration: int, trials: list[Trial], *, notes: Sequence[str], stages: Mapping[str, str], **info: Any
    ) -> None:
        """A step of the loop is over.

        Args:
            iteration: number of the step.
            trials: all trials so far.
            notes: lines of the scheduler, e.g. rung cut-offs.
            stages: what trials that are to run wait for, by id: "waiting for resources", "importing", "starting".
            info: nothing yet.
        """

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """The trial function was entered (again)."""

    def on_trial_restore(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """The trial goes on from a checkpoint, its own or, in an exploit, another trial's."""

    def on_trial_save(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """The trial has saved a checkpoint; `on_checkpoint` follows."""

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Called for each reported result, in order.

        `result` also has `trial_id`, the `config` of then, `experiment_tag`, `date`, `pid`, `hostname`, `node_ip`,
        `done`, and seconds and iterations since the trial was started or restored: `time_this_iter_s`,
        `time_since_restore`, `iterations_since_restore`.
        """

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """The trial ended without error; `trial.reason` says why in words, `trial.cause` as data."""

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, *, error: ErrorInfo, **info: Any
    ) -> None:
        """The trial failed and will be tried again."""

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, *, error: ErrorInfo, **info: Any
    ) -> None:
        """The trial failed for good; `error` is type, message and traceback."""

    def on_checkpoint(
        self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: CheckpointRecord, **info: Any
    ) -> None:
        """A checkpoint of the trial is complete; ``checkpoint.path`` is its folder."""

    def on_trial_output(
        self, iteration: int, trials: list[Trial], trial: Trial | None, lines: Sequence[str], **info: Any
    ) -> None:
        """Lines that a trial printed (only without `log_to_file`), or that the run has to say (None)."""

    def on_experiment_end(self, trials: list[Trial], *, reason: str, warnings: Sequence[str], **info: Any) -> None:
        """Called once; `reason` is empty where all trials came to their end, `warnings` are those of the scheduler."""

    def get_state(self) -> dict[str, Any] | None:
        """What the callback needs to go on when the experiment is continued: plain values, kept in the record.

        Asked about every ten seconds and at the end. None: nothing.
        """
        return None

    def set_state(self, state: dict[str, Any]) -> None:
        """What `get_state` gave last, for an experiment that is continued; nothing calls it as yet."""


class ProgressReporter(Callback):
    """Base class of what shows progress in place of the built-in display: ``RunConfig(progress_reporter=...)``.

    Define `report`, and `should_report` to say when. For a table with columns of your own take `CLIReporter`.

    >>> class Ended(ProgressReporter):
    ...     def report(self, trials, done, *sys_info):
    ...         print(sum(trial.status.finished for trial in trials), "of", len(trials), "trials have ended")
    """

    reads_reported_only = True
    """Results need nothing that was not reported."""

    def setup(  # type: ignore[override]
        self,
        start_time: float | None = None,
        total_samples: int | None = None,
        metric: str | None = None,
        mode: Mode | None = None,
        *,
        run: RunInfo | None = None,
        **info: Any,
    ) -> None:
        """Called once before the first trial starts.

        Args:
            start_time: seconds since the epoch.
            total_samples: number of trials to come; None where unknown.
            metric: by which trials are compared; None: by nothing.
            mode: whether less ("min") or more ("max") of it is better.
            run: what is known of the run.
            info: as of `Callback.setup`.
        """

    def should_report(self, trials: list[Trial], done: bool = False) -> bool:
        """Asked about ten times a second, and at the end of the run (`done`): whether `report` is to be called."""
        return True

    def report(self, trials: list[Trial], done: bool, *sys_info: str) -> None:
        """Show progress.

        Args:
            trials: all trials so far.
            done: the run is over.
            sys_info: nothing; there for those that were written for Ray Tune.
        """
        raise NotImplementedError(f"{type(self).__name__} must define report(self, trials, done, *sys_info).")

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Report if it is time."""
        if self.should_report(trials, False):
            self.report(trials, False)

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Report for the last time."""
        if self.should_report(trials, True):
            self.report(trials, True)


HOOKS: Mapping[str, Callable[..., Any]] = {
    name: hook for name, hook in vars(Callback).items() if inspect.isfunction(hook)
}
"""All methods of a callback by name."""


class Hook:
    """One hook of one callback, called with what it takes.

    Args:
        callback: has the method.
        name: of the method.
    """

    def __init__(self, callback: Any, name: str) -> None:
        self.owner = f"{type(callback).__name__}.{name}"
        self._method: Callable[..., Any] = getattr(callback, name)
        parameters = _parameters(self._method)
        self._takes = None if parameters is None or _takes_any(parameters) else frozenset(p.name for p in parameters)

    def __call__(self, **arguments: Any) -> Any:
        if self._takes is not None and not self._takes.issuperset(arguments):
            arguments = {name: value for name, value in arguments.items() if name in self._takes}
        return self._method(**arguments)


def hooks_of(callback: Any) -> Iterator[str]:
    """Names of the hooks that a callback has of its own; it need not derive from `Callback`."""
    for name, nothing in HOOKS.items():
        method = getattr(callback, name, nothing)
        if getattr(method, "__func__", method) is not nothing:
            yield name


def callback_mistakes(where: str, callback: Any) -> list[str]:
    """What is wrong with a callback, in words: it is none, or a hook could not be called.

    Args:
        where: where the user gave it, e.g. ``"callbacks[0]"``.
        callback: anything.
    """
    if isinstance(callback, type) and (issubclass(callback, Callback) or _has_hooks(callback)):
        return [f"{where}: expected an object, got the class {callback.__name__}. Write {callback.__name__}()."]
    if not isinstance(callback, Callback) and not _has_hooks(type(callback)):
        return [
            f"{where}: expected a tune_plugins.Callback, got {callback!r}. "
            "Framework callbacks (Lightning, Keras, XGBoost) belong into the training function."
        ]
    found = []
    for name in hooks_of(callback):
        if mistake := _signature_mistake(callback, name):
            found.append(f"{where}: {mistake}")
    looks_like_ours = ("on_trial_", "on_experiment_") if isinstance(callback, Callback) else ()
    if isinstance(callback, Callback):
        found += _logger_mistakes(where, callback)
    for name in dir(type(callback)):
        if name in HOOKS or not name.startswith(("on_", *looks_like_ours)):
            continue
        meant = did_you_mean(name, HOOKS, 0.9) if name.startswith("on_") else ""
        if name.startswith(looks_like_ours) and not meant:
            meant = f" There are: {', '.join(hook for hook in HOOKS if hook.startswith('on_'))}."
        if meant:
            found.append(f"{where}: {type(callback).__name__}.{name} is no hook, and nobody would call it.{meant}")
    return found


def _logger_mistakes(where: str, callback: Callback) -> list[str]:
    contract = callback._methods
    found, called = override_mistakes(where, callback, contract), list(vars(contract))
    for name in dir(type(callback)):
        if not name.startswith("log_trial_") or name in called:
            continue
        # In a logger, what is like none of them is a method of its own.
        meant = did_you_mean(name, called, 0.9)
        if contract is object:
            meant = " Derive from tune_plugins.logger.LoggerCallback, which calls such methods."
        if meant:
            found.append(f"{where}: {type(callback).__name__}.{name} is no hook, and nobody would call it.{meant}")
    return found


def _has_hooks(kind: type) -> bool:
    # Names such as `setup` and `on_step_end` are those of other frameworks' callbacks as well.
    return any(name.startswith(("on_trial_", "on_experiment_")) and hasattr(kind, name) for name in HOOKS)


def _signature_mistake(callback: Any, name: str) -> str:
    method, expected = getattr(callback, name), f"{name}{shown_signature(HOOKS[name])}"
    owner = f"{type(callback).__name__}.{name}"
    if not callable(method):
        return f"expected a method {expected}, got {owner} = {method!r}."
    if is_async(method):
        return f"expected def {expected}, got {owner}, which is async or yields: nobody would wait for it."
    parameters = _parameters(method)
    if parameters is None:
        return ""  # made in C, or a mock: nothing is known of it
    if name == "set_state":  # called with the state alone, whatever it is called
        return "" if is_callable(method, 1) else f"expected def {expected}, got {owner}{shown_signature(method)}."
    given = set(inspect.signature(HOOKS[name]).parameters) - {"self", "info"}
    needed = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    unknown = [p for p in needed if p.kind is p.POSITIONAL_ONLY or p.name not in given]
    by_position = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL)]
    if unknown or (by_position and not _takes_any(parameters)):
        return (
            f"expected def {expected}, got def {name}{shown_signature(method, bound=True)} in "
            f"{type(callback).__name__}. Arguments are passed by name: use these names; what you do not need goes into "
            "**info."
        )
    return ""


def _parameters(method: Callable[..., Any]) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(method).parameters.values())
    except (TypeError, ValueError):
        return None


def _takes_any(parameters: Sequence[inspect.Parameter]) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in parameters)
