"""A trial whose trainable is a class: the loop that calls its methods."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune_plugins import session as tune_session
from tune_plugins.errors import TuneError, WarmRestartNeeded
from tune_plugins.session import Session, Verdict
from tune_plugins.trainable import Trainable

STATE_FILE = "trainable.json"
"""In each checkpoint: ``{"iteration": steps so far, "done": ended by itself, "state": the dict returned or null}``."""

logger = logging.getLogger(__name__)


def run_class(trainable_class: type[Trainable], config: dict[str, Any], **parameters: Any) -> None:
    """Make an object and step it to its end; what the Tuner runs in place of a training function.

    Args:
        trainable_class: the user's.
        config: of the trial.
        **parameters: what `with_parameters` gave.

    Raises:
        TuneError: not called inside a trial; a checkpoint was not written by a `Trainable`; a method returned
            something it must not.
    """
    session = tune_session.current()
    if session is None:
        raise TuneError(
            f"{trainable_class.__name__} was to be run as a trial outside of one. "
            "Run it through Tuner(...).fit(), or make an object and call step() yourself."
        )
    trainable = trainable_class(config, **parameters)
    try:
        _train(_Running(trainable), session)
    except BaseException:
        try:
            trainable.cleanup()
        except Exception:
            # Whoever reads the record wants to know what came first; and a verdict must not be lost.
            logger.exception("cleanup() of %s failed, too", trainable_class.__name__)
        raise
    trainable.cleanup()


def _train(running: _Running, session: Session) -> None:
    trainable = running.trainable
    port = running if implements(type(trainable), "save_checkpoint") else None
    if session.start_checkpoint is not None:
        if not implements(type(trainable), "load_checkpoint"):
            raise TuneError(
                f"The trial is to go on from a checkpoint, and {type(trainable).__name__} does not define "
                "load_checkpoint(self, checkpoint). Define it."
            )
        with session.start_checkpoint.as_directory() as directory:
            running.load_state(Path(directory), None)
        running.reset(trainable.config)  # False is no news: the object was set up with this config
    while not running.done:
        result = trainable.step()
        if not isinstance(result, dict):
            raise TypeError(
                f"{type(trainable).__name__}.step() must return a dict of metrics, got {type(result).__name__}: "
                f"{str(result)[:80]}."
            )
        trainable._iteration += 1
        running.done = bool(result.get("done", False))
        asked = 1 if result.get("should_checkpoint") else 0
        verdict = session.report(
            result, iteration=trainable._iteration, model=port, save_every=asked, last=running.done
        )
        if verdict is Verdict.STOP:
            break
    if port is not None:
        session.finish(port, at_end=True)


def implements(trainable_class: type[Trainable], method: str) -> bool:
    """Whether a class overrides a method of `Trainable`."""
    return getattr(trainable_class, method) is not getattr(Trainable, method)


@dataclass
class _Running:
    """The object of a trial, as `tune_plugins.session.model_port.ModelPort`."""

    trainable: Trainable
    done: bool = False
    """Its state is one that has come to its end: `step` said so."""

    def save_state(self, directory: Path) -> None:
        returned: Any = self.trainable.save_checkpoint(str(directory))
        name = f"{type(self.trainable).__name__}.save_checkpoint()"
        if isinstance(returned, (str, Path)) and Path(returned) == directory:
            returned = None
        if returned is not None and not isinstance(returned, dict):
            raise TypeError(
                f"{name} must return None, having written files into the folder, or a dict of plain data, got "
                f"{type(returned).__name__}: {str(returned)[:80]}."
            )
        if (directory / STATE_FILE).exists():
            raise TuneError(f"{name} has written a file {STATE_FILE!r}, a name that is taken. Choose another one.")
        if mistakes := list(_not_plain(returned)):
            raise TypeError(
                f"{name} returned a dict that cannot be stored as JSON: {'; '.join(mistakes[:5])}. Convert these to "
                "plain numbers, text, lists and dicts, or write them into files in the folder and return None."
            )
        noted = {"iteration": self.trainable.iteration, "done": self.done, "state": returned}
        (directory / STATE_FILE).write_text(json.dumps(noted), encoding="utf-8")

    def load_state(self, directory: Path, iteration: int | None) -> None:
        try:
            noted = json.loads((directory / STATE_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise TuneError(
                f"The checkpoint {str(directory)!r}, from which this trial is to go on, was not written by a "
                f"Trainable: it has no {STATE_FILE!r}. Give a checkpoint of a trial of the same class."
            ) from None
        state = noted["state"]
        try:
            self.trainable.load_checkpoint(str(directory) if state is None else state)
        except Exception as error:
            if iteration is None:
                raise
            # E.g. the donor's layers have another size: a new object is made for its config, and loads it.
            text = f"{type(self.trainable).__name__}.load_checkpoint() failed in the running object: {error}"
            raise WarmRestartNeeded(text.partition("\n")[0]) from error
        self.trainable._iteration = noted["iteration"] if iteration is None else iteration
        self.done = noted["done"]

    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
        name = type(self.trainable).__name__
        if not implements(type(self.trainable), "reset_config"):
            raise WarmRestartNeeded(f"{name} does not define reset_config")
        if new := changed.keys() - before.keys():
            raise WarmRestartNeeded(f"{', '.join(map(repr, sorted(new)))} was not in the config before")
        if not self.reset(_replaced(tune_session.get_context().config, changed)):
            raise WarmRestartNeeded(f"{name}.reset_config returned False")
        return changed.keys()

    def reset(self, config: dict[str, Any]) -> bool:
        """Show `config` to `reset_config`; True if the training has it now."""
        self.trainable.config = config
        answer: Any = self.trainable.reset_config(_replaced(config, {}))
        if answer not in (True, False, None):
            raise TypeError(
                f"{type(self.trainable).__name__}.reset_config() must return True (the training now runs with the new "
                f"config) or False (make a new object; None is the same), got {answer!r}."
            )
        return bool(answer)


def _replaced(config: Mapping[str, Any], changed: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """A copy of the nested dicts of `config` with new values for some flat names."""
    return {
        key: _replaced(value, changed, f"{path}{key}/")
        if isinstance(value, Mapping) and value
        else changed.get(f"{path}{key}", value)
        for key, value in config.items()
    }


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
