"""`Trainable`: a training as a class, one `step` at a time."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tune_plugins._imports import unknown_name
from tune_plugins.core.autofill import SUMMED, Attempt, add_up
from tune_plugins.errors import TuneError
from tune_plugins.record.checkpoint import Checkpoint
from tune_plugins.session import TrialResources, get_context
from tune_plugins.session.place import place

__all__ = ["SavedTraining", "Trainable", "validate_save_restore"]

if not TYPE_CHECKING:
    __getattr__ = unknown_name(__name__)

STATE_FILE = "trainable.json"
"""In each checkpoint: ``{"iteration": steps so far, "done": ended by itself, "state": the dict returned or null,
"time_total_s": seconds of training, "trial": folder of the trial that saved it}``."""


@dataclass(frozen=True)
class SavedTraining(os.PathLike[str]):
    """What `Trainable.save` has written, and `Trainable.restore` takes; may be used as the path of its folder.

    Attributes:
        checkpoint: the state.
        metrics: the result of the last step before.
    """

    checkpoint: Checkpoint
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The folder of the checkpoint."""
        return self.checkpoint.path

    def __fspath__(self) -> str:
        return self.path


class Trainable:
    """A training as a class: derive from it, define `setup` and `step`, and give the class itself to `Tuner`.

    One call of `step` is one `training_iteration`. With `save_checkpoint` and `load_checkpoint` a trial can be paused,
    resumed and exploited; with `reset_config`, too, an exploit goes on with the same object. The order of calls::

        setup(config) [load_checkpoint(state) reset_config(config)] step() step() ... cleanup()

    where the part in brackets comes at the start of a trial that goes on from a checkpoint, and again between two steps
    when the trial adopts the state of another one. Methods are called in the main thread of the trial's process.

    An object can be made by hand as well, e.g. in a test: ``MyTrainable({"lr": 0.1})`` has `train`, `save`, `restore`,
    `reset` and `stop`.

    Args:
        config: the hyper-parameters.
        **parameters: what `with_parameters` gave; handed to `setup` as keywords.

    Attributes:
        config: the hyper-parameters in use; after an exploit the mutated ones.

    >>> class Quadratic(Trainable):
    ...     def setup(self, config):
    ...         self.x = 10.0
    ...
    ...     def step(self):
    ...         self.x -= self.config["lr"] * 2 * self.x
    ...         return {"loss": self.x**2, "done": self.x**2 < 1e-6}
    >>> Quadratic({"lr": 0.25}).step()
    {'loss': 25.0, 'done': False}
    """

    config: dict[str, Any]
    _iteration: int

    def __init__(self, config: Mapping[str, Any] | None = None, **parameters: Any) -> None:
        from tune_plugins.space.nested import copy_of

        self.config = copy_of(config or {})
        self._context = get_context()
        self._begin()
        self.setup(copy_of(self.config), **parameters)

    def _begin(self, iteration: int = 0, elapsed: float = 0.0) -> None:
        """Count from here on; `elapsed`: seconds of training before."""
        self._iteration, self._elapsed, self._last = iteration, elapsed, dict[str, Any]()
        self._sums: dict[str, Any] = {}
        self._attempt = Attempt(os.getpid(), *place(), iteration, elapsed)

    # ------------------------------------------------------------------------ to be overridden
    # Arguments are given by position, so that they may have any name; and `*args: Any, **parameters: Any` together mean
    # to type checkers that an override may take what it likes besides.

    def setup(self, config: dict[str, Any], /, *args: Any, **parameters: Any) -> None:
        """Make what the training needs: model, optimizer, data.

        Args:
            config: the hyper-parameters, a copy of `self.config`.
            *args: nothing is given by position besides.
            **parameters: the objects given to `with_parameters`; name them in the signature.
        """

    def step(self) -> dict[str, Any]:
        """Train for one iteration.

        Returns:
            The metrics to report. Two names have a meaning: ``done=True`` ends the trial after this report, and
            ``should_checkpoint=True`` saves the state with it.
        """
        raise NotImplementedError(f"{type(self).__name__} must define step(self) and return a dict of metrics.")

    def save_checkpoint(self, checkpoint_dir: str, /) -> dict[str, Any] | str | None:
        """Write the state of the training; called only when somebody needs it.

        Args:
            checkpoint_dir: an empty folder. Files whose names begin with a dot are not for you.

        Returns:
            None, or the folder, if all is in there; or a dict of plain data (None, bool, int, float, str, and lists and
            dicts of these), which is stored as JSON beside the files and handed to `load_checkpoint` in place of the
            folder.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define save_checkpoint(self, checkpoint_dir).")

    def load_checkpoint(self, checkpoint: Any, /) -> None:
        """Take over a state that `save_checkpoint` has written, of this trial or of another one.

        Args:
            checkpoint: path of the folder, to be read only; or the dict that `save_checkpoint` returned.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define load_checkpoint(self, checkpoint).")

    def reset_config(self, new_config: dict[str, Any], /) -> bool:
        """Bring other hyper-parameters into the running training, and leave its state as it is.

        Called after `load_checkpoint` of another trial's state, so that hyper-parameters which that brings along (the
        learning rate in an optimizer's, say) give way to those of the config. `self.config` is `new_config` already.

        Args:
            new_config: all hyper-parameters, also those that stay.

        Returns:
            True if the training now runs with `new_config` entirely. After False, as this method returns unless it is
            overridden, a new object is set up with the new config, in the same process.
        """
        return False

    def cleanup(self) -> None:
        """Release what `setup` has opened; called once for each object that was set up, however its time ends."""

    def log_result(self, result: dict[str, Any], /) -> None:
        """Called with the result of each step, to log it in the process of the trial."""

    def _export_model(self, export_formats: list[str], export_dir: str, /) -> dict[str, str]:
        """Write the model in these formats into a folder; returns {format: path}. See `export_model`."""
        raise NotImplementedError(
            f"{type(self).__name__} does not define _export_model(self, export_formats, export_dir)."
        )

    @classmethod
    def default_resource_request(cls, config: dict[str, Any], /) -> Any:
        """What one trial takes, as of `with_resources`, which goes before it; None: one CPU."""
        return None

    # ------------------------------------------------------------------------------ used by hand

    def train(self) -> dict[str, Any]:
        """One step; returns its result with what a run would add: `training_iteration`, `time_total_s`, ...

        Raises:
            TypeError: `step` returned no dict.
        """
        began = time.perf_counter()
        result = checked_result(self, self.step())
        self._iteration += 1
        self._elapsed += result.get("time_this_iter_s") or time.perf_counter() - began
        self._last = self.completed(result)
        self.log_result(self._last)
        return self._last

    def completed(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """A result of `step` with what results have beside what is reported."""
        times = {"training_iteration": self._iteration, "time_total_s": self._elapsed, "timestamp": time.time()}
        whole = {**times, **result}
        add_up(whole, self._sums)
        return self._attempt.filled(whole, trial_id=self.trial_id, config=self.config, experiment_tag="", done=False)

    def save(self, checkpoint_dir: str | os.PathLike[str] | None = None) -> SavedTraining:
        """Save the state by `save_checkpoint`.

        Args:
            checkpoint_dir: a folder, made if missing; None: a temporary one, which is yours to delete.

        Returns:
            What `restore` takes, here or in another process that sees the folder.
        """
        directory = Path(
            tempfile.mkdtemp(prefix="checkpoint-") if checkpoint_dir is None else checkpoint_dir
        ).absolute()
        directory.mkdir(parents=True, exist_ok=True)
        save_state(self, directory, done=bool(self._last.get("done", False)))
        return SavedTraining(Checkpoint(str(directory)), dict(self._last))

    def restore(self, checkpoint_path: str | os.PathLike[str] | Checkpoint) -> Self:
        """Go on from a state that `save`, or a trial of the same class, has saved.

        Args:
            checkpoint_path: what `save` returned, a folder, or a `Checkpoint`.

        Raises:
            TuneError: it was not written by a `Trainable`.
        """
        given = checkpoint_path
        path = given.path if isinstance(given, Checkpoint) else os.fspath(given)
        noted = read_state(path)
        self._begin(noted["iteration"], noted.get("time_total_s", 0.0))
        self._sums = {total: noted[total] for total in SUMMED.values() if total in noted}
        self.load_checkpoint(path if noted["state"] is None else noted["state"])
        return self

    def reset(self, new_config: Mapping[str, Any]) -> bool:
        """Begin anew with another config by `reset_config`; False: that cannot do it, make a new object."""
        from tune_plugins.space.nested import copy_of

        self.config = copy_of(new_config)
        self._context = get_context()
        if not reset_config(self, copy_of(new_config)):
            return False
        self._begin()
        return True

    def stop(self) -> None:
        """Release everything; calls `cleanup`."""
        self.cleanup()

    def export_model(self, export_formats: str | list[str], export_dir: str | None = None) -> dict[str, str]:
        """Write the model by the class's own `_export_model`; returns {format: path}.

        Args:
            export_formats: names of formats, or one.
            export_dir: an existing folder; default: that of the trial.
        """
        formats = [export_formats] if isinstance(export_formats, str) else list(export_formats)
        return self._export_model(formats, export_dir or self.logdir or os.getcwd())

    def get_config(self) -> dict[str, Any]:
        """The same as `config`."""
        return self.config

    # ------------------------------------------------------------------------------ to be read

    @property
    def iteration(self) -> int:
        """Number of steps that the state has behind it: after an exploit those of the state that was adopted."""
        return self._iteration

    @property
    def training_iteration(self) -> int:
        """The same as `iteration`."""
        return self._iteration

    @property
    def trial_id(self) -> str:
        """Id of the trial; empty outside one."""
        return self._context.get_trial_id()

    @property
    def trial_name(self) -> str:
        """Name of the trial, for people; empty outside one."""
        return self._context.get_trial_name()

    @property
    def trial_dir(self) -> str:
        """The trial's own folder, made on the first use; empty outside a trial."""
        return self._context.get_trial_dir() if self._context.trial_dir else ""

    @property
    def logdir(self) -> str:
        """The same as `trial_dir`."""
        return self.trial_dir

    @property
    def trial_resources(self) -> TrialResources:
        """What the trial may use, e.g. ``{"CPU": 1}``; empty outside one."""
        return self._context.get_trial_resources()


def checked_result(trainable: Trainable, result: Any) -> dict[str, Any]:
    """What `step` returned.

    Raises:
        TypeError: it is no dict.
    """
    if not isinstance(result, dict):
        raise TypeError(
            f"{type(trainable).__name__}.step() must return a dict of metrics, got {type(result).__name__}: "
            f"{str(result)[:80]}."
        )
    return result


def reset_config(trainable: Trainable, new_config: dict[str, Any]) -> bool:
    """What `reset_config` says, to which `trainable.config` has been shown already.

    Raises:
        TypeError: it is neither True nor False.
    """
    answer: Any = trainable.reset_config(new_config)
    if answer not in (True, False, None):
        raise TypeError(
            f"{type(trainable).__name__}.reset_config() must return True (the training now runs with the new "
            f"config) or False (make a new object; None is the same), got {answer!r}."
        )
    return bool(answer)


def save_state(trainable: Trainable, directory: Path, *, done: bool) -> None:
    """Have `save_checkpoint` write the state of a training into a folder.

    Raises:
        TypeError, TuneError: it did something else; says what.
    """
    file = directory / STATE_FILE
    file.unlink(missing_ok=True)  # of an earlier state
    returned: Any = trainable.save_checkpoint(str(directory))
    name = f"{type(trainable).__name__}.save_checkpoint()"
    if isinstance(returned, (str, Path)) and Path(returned) == directory:
        returned = None
    if returned is not None and not isinstance(returned, dict):
        raise TypeError(
            f"{name} must return None, having written files into the folder, or a dict of plain data, got "
            f"{type(returned).__name__}: {str(returned)[:80]}."
        )
    if file.exists():
        raise TuneError(f"{name} has written a file {STATE_FILE!r}, a name that is taken. Choose another one.")
    if mistakes := list(_not_plain(returned)):
        raise TypeError(
            f"{name} returned a dict that cannot be stored as JSON: {'; '.join(mistakes[:5])}. Convert these to "
            "plain numbers, text, lists and dicts, or write them into files in the folder and return None."
        )
    noted = {
        "iteration": trainable.iteration,
        "done": done,
        "state": returned,
        "time_total_s": trainable._elapsed,
        "trial": trainable._context.trial_dir,
        **trainable._sums,
    }
    file.write_text(json.dumps(noted), encoding="utf-8")


def read_state(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """What `save_state` has noted.

    Raises:
        TuneError: it has written nothing there.
    """
    try:
        noted: dict[str, Any] = json.loads(Path(directory, STATE_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TuneError(
            f"The checkpoint {os.fspath(directory)!r}, from which the training is to go on, was not written by a "
            f"Trainable: it has no {STATE_FILE!r}. Give a checkpoint of a trial of the same class."
        ) from None
    return noted


def _not_plain(value: Any, path: str = "") -> Iterable[str]:
    """What in `value` would not come back from JSON as it is."""
    if isinstance(value, dict):
        for key, inner in value.items():
            where = f"{path}[{key!r}]"
            if type(key) is not str:
                yield f"{where} has a key that is no text"
            yield from _not_plain(inner, where)
    elif type(value) is list:
        for number, inner in enumerate(value):
            yield from _not_plain(inner, f"{path}[{number}]")
    elif value is not None and type(value) not in (bool, int, float, str):
        yield f"{path} is a {type(value).__module__}.{type(value).__qualname__}"


def validate_save_restore(trainable_class: type[Trainable], config: Mapping[str, Any] | None = None) -> bool:
    """Whether a class can go on from its own checkpoints: trains, saves, restores in another object, and trains on.

    Args:
        trainable_class: derived from `Trainable`.
        config: the hyper-parameters.

    Returns:
        True.

    Raises:
        TuneError: a restored object has not the iteration of the one that was saved, or its next result has other
            metrics. Whatever the methods raise is raised as it is.
    """
    first = trainable_class(config)
    try:
        second = trainable_class(config)
    except BaseException:
        first.stop()
        raise
    try:
        for _ in range(3):
            first.train()
        with tempfile.TemporaryDirectory() as directory:
            second.restore(first.save(directory))
        if second.iteration != 3:
            raise TuneError(f"{trainable_class.__name__} is at iteration {second.iteration} after a restore, not at 3.")
        one, other = first.train(), second.train()
        if one.keys() != other.keys():
            different = ", ".join(sorted(one.keys() ^ other.keys()))
            raise TuneError(f"{trainable_class.__name__} reports other metrics after a restore: {different}.")
    finally:
        first.stop()
        second.stop()
    return True
