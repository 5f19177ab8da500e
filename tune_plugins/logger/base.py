"""The base of all loggers, in the form of Ray Tune's `LoggerCallback`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar

from tune_plugins.callbacks import HOOKS, Callback
from tune_plugins.core.trial import CheckpointRecord, Trial
from tune_plugins.errors import TuneError
from tune_plugins.logger.background import Background

__all__ = ["LoggedTrial", "LoggerCallback"]

_values_of = attrgetter(*(field.name for field in fields(Trial)))


@dataclass(slots=True, eq=False)
class LoggedTrial(Trial):
    """A trial as it was when it did what a logger is told of. Two of the same trial are equal, as keys of a dict too.

    Attributes:
        checkpoint_then: what `checkpoint` was.
    """

    checkpoint_then: CheckpointRecord | None = None

    @property
    def checkpoint(self) -> CheckpointRecord | None:
        """In `log_trial_save` the one that was saved, else the newest one, perhaps later than that moment."""
        return self.checkpoint_then

    def __eq__(self, other: object) -> bool:
        # Trials of several runs have the same ids, and one logger may see them all.
        return isinstance(other, Trial) and (other.id, other.names.directory) == (self.id, self.names.directory)

    def __hash__(self) -> int:
        return hash(self.id)


class LogMethods:
    """What a logger overrides."""

    def log_trial_start(self, trial: Trial) -> None:
        """The training function was entered, for the first time or again."""

    def log_trial_restore(self, trial: Trial) -> None:
        """The trial goes on from a checkpoint, its own or, in an exploit, another trial's."""

    def log_trial_save(self, trial: Trial) -> None:
        """The checkpoint ``trial.checkpoint`` is complete; the last one may come after the trial's end."""

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """The trial has reported.

        Args:
            iteration: number of the step of the loop; that of the training is ``result["training_iteration"]``.
            trial: as it was then, with the `config` in force.
            result: what it reported, with `trial_id`, `config`, `training_iteration`, `time_total_s` (seconds),
                `timestamp` (seconds since the epoch) and so on; a dict of the logger's own.
        """

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """The trial is over; `failed`: with an error."""


class LoggerCallback(LogMethods, Callback):
    """Base class of loggers: override any of the ``log_trial_*`` methods.

    They are called one after another, in the order of what happened, in a thread that belongs to this logger: neither
    the run nor another logger waits for a slow disk or server. What they get is of that moment, though the trial may
    have gone further.

    When the run is over it waits until all is written, and says so if that takes more than five seconds; Ctrl-C gives
    up the rest. A method that raises is told once, and goes on being called. Hooks of `Callback` may be overridden too:
    those that tell of a trial run in that thread as well, in place of the ``log_trial_*`` method that they would have
    called; `setup` and those of a step run in the loop, `on_experiment_end` there after everything else.

    Memory: at most 50,000 results wait, some 50 MB. When there are as many the run waits for the logger, all in all ten
    seconds in its life; after that results are left out as long as there is no room, which is told. They are in the
    record, and starts, checkpoints and ends, with ``trial.last_result``, are logged nevertheless.

    >>> class Lines(LoggerCallback):
    ...     def log_trial_result(self, iteration, trial, result):
    ...         with open(f"{trial}.txt", "a") as file:
    ...             print(result["training_iteration"], result["loss"], file=file)
    """

    one_of_a_run: ClassVar[bool] = False
    """A run takes one object of this class only: two would write into the same files."""
    _methods: ClassVar[type] = LogMethods
    _background: Background | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # A subclass that closes its files in a hook need not know that there is a queue.
        for name in _OF_A_TRIAL & vars(cls).keys():
            setattr(cls, name, _in_the_queue(name, vars(cls)[name]))
        if (own := vars(cls).get("on_experiment_end")) is not None:
            cls.on_experiment_end = _after_the_queue(own)  # type: ignore[method-assign]

    def __getstate__(self) -> dict[str, Any]:
        """Without the thread: a training function may refer to a logger, and is sent to other processes."""
        return {name: value for name, value in vars(self).items() if name != "_background"}

    def _caught_up(self) -> None:
        """Called in the thread when nothing waits: what was gathered is to be written."""

    def _queue(
        self, name: str, trial: Trial, checkpoint: CheckpointRecord | None = None, *more: Any, **options: bool
    ) -> None:
        method = getattr(self, name)
        if getattr(method, "__func__", method) is vars(LogMethods)[name]:
            return
        self._put(name, trial, checkpoint, *more, **options)

    def _put(
        self, name: str, trial: Trial, checkpoint: CheckpointRecord | None = None, *more: Any, **options: bool
    ) -> None:
        if self._background is None:
            self._background = Background(type(self).__name__, self._perform, self._caught_up)
        # As few objects as can be: the garbage collector looks at all that wait, over and over.
        values = (*_values_of(trial), checkpoint or trial.checkpoint)
        if self._background.is_this_thread:  # a hook of a subclass calls the one that it overrides
            self._perform(name, values, tuple(trial.checkpoints), *more)
        else:
            self._background.put(name, values, tuple(trial.checkpoints), *more, **options)

    def _perform(
        self, name: str, values: tuple[Any, ...], checkpoints: tuple[CheckpointRecord, ...], *more: Any
    ) -> None:
        """Call one of the methods, in the thread."""
        trial = LoggedTrial(*values)
        trial.checkpoints = list(checkpoints)
        if name == "log_trial_result":
            iteration, result = more
            trial.config, trial.last_result = result["config"], result
            trial.iteration = result["training_iteration"]
            self.log_trial_result(iteration, trial, result)
        elif name == "log_trial_end":
            self.log_trial_end(trial, failed=more[0])
        elif name in _OF_A_TRIAL:
            own, info = more
            trial.config = info.get("result", {}).get("config", trial.config)
            own(self, **{**info, "trial": trial})
        else:
            getattr(self, name)(trial)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Queue `log_trial_start`."""
        self._queue("log_trial_start", trial)

    def on_trial_restore(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Queue `log_trial_restore`."""
        self._queue("log_trial_restore", trial)

    def on_checkpoint(
        self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: CheckpointRecord, **info: Any
    ) -> None:
        """Queue `log_trial_save`."""
        self._queue("log_trial_save", trial, checkpoint)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Queue `log_trial_result`."""
        own = dict(result)  # other callbacks get the same dict, and may write into it
        self._queue("log_trial_result", trial, None, iteration, own, may_be_left_out=True)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Queue `log_trial_end`."""
        self._queue("log_trial_end", trial, None, False)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Queue `log_trial_end`, of a trial that failed for good."""
        self._queue("log_trial_end", trial, None, True)

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Wait until everything is written."""
        self._drain()

    def _drain(self) -> None:
        if self._background is not None:
            self._background.drain()
            self._background = None  # not before: what is still to be done may ask for it


_OF_A_TRIAL = frozenset(name for name in HOOKS if name.startswith(("on_trial_", "on_checkpoint"))) - {"on_trial_output"}
"""Hooks that tell of something a trial has done."""


def _in_the_queue(name: str, own: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(own)
    def hook(self: LoggerCallback, *arguments: Any, **info: Any) -> Any:
        if arguments or "trial" not in info:  # of a subclass of that one, by super()
            return own(self, *arguments, **info)
        self._put(name, info["trial"], info.get("checkpoint"), own, info)
        return None

    return hook


def _after_the_queue(own: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(own)
    def on_experiment_end(self: LoggerCallback, *arguments: Any, **info: Any) -> Any:
        self._drain()
        return own(self, *arguments, **info)

    return on_experiment_end


def checkpoint_folder(trial: Trial) -> Path:
    """The folder of the checkpoint that `log_trial_save` tells of.

    Raises:
        TuneError: it is gone: a logger works behind the run.
    """
    checkpoint = trial.checkpoint
    if checkpoint is None or checkpoint.path is None or not Path(checkpoint.path).is_dir():
        raise TuneError(
            f"{checkpoint.id if checkpoint else 'the checkpoint'} of trial {trial.id} was removed before it could be "
            "copied. Raise CheckpointConfig(num_to_keep=...) where all are wanted."
        )
    return Path(checkpoint.path)
