"""A trial whose trainable is a class: the loop that calls its methods."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune_plugins import session as tune_session
from tune_plugins.errors import TuneError, WarmRestartNeeded
from tune_plugins.session import Session, Verdict
from tune_plugins.trainable import Trainable, checked_result, read_state, reset_config, save_state

logger = logging.getLogger(__name__)


def run_class(trainable_class: type[Trainable], config: dict[str, Any], /, **parameters: Any) -> None:
    """Make an object and step it to its end; what the Tuner runs in place of a training function.

    Args:
        trainable_class: the user's.
        config: of the trial.
        **parameters: what `with_parameters` gave.

    Raises:
        TuneError: not called inside a trial; a checkpoint was not written by a `Trainable`; a method returned
            something it must not.
    """
    session = _session(trainable_class)
    trainable = trainable_class(config, **parameters)
    _to_its_end(trainable, session)
    trainable.cleanup()


def run_class_again(trainable_class: type[Trainable], config: dict[str, Any], /, **parameters: Any) -> None:
    """As `run_class`, with the object of the trial before in this process, if `reset_config` can take the new config.

    Of one run only: its parameters are the same for all trials.
    """
    session = _session(trainable_class)
    of = trainable_class, session.context.experiment_dir
    trainable = _kept.pop(of, None)
    release()
    if trainable is not None and not _has_begun_anew(trainable, config):
        _clean_up(trainable)
        trainable = None
    if trainable is None:
        trainable = trainable_class(config, **parameters)
    _to_its_end(trainable, session)
    _kept[of] = trainable


def _has_begun_anew(trainable: Trainable, config: dict[str, Any]) -> bool:
    try:
        return trainable.reset(config)
    except Exception:
        name = type(trainable).__name__
        logger.exception("reset_config() of %s failed; the trial gets a new object", name)
        return False


def _clean_up(trainable: Trainable) -> None:
    """What was opened for one trial is no matter of another: an error is told, and no more."""
    try:
        trainable.cleanup()
    except Exception:
        logger.exception("cleanup() of %s failed", type(trainable).__name__)


_kept: dict[tuple[type[Trainable], str], Trainable] = {}
"""By class and folder of the experiment, the object of the last trial that has come to its end; at most one."""


def release() -> None:
    """Clean up the object that waits for a next trial."""
    while _kept:
        _clean_up(_kept.popitem()[1])


def _session(trainable_class: type[Trainable]) -> Session:
    session = tune_session.current()
    if session is None:
        raise TuneError(
            f"{trainable_class.__name__} was to be run as a trial outside of one. "
            "Run it through Tuner(...).fit(), or make an object and call train() yourself."
        )
    return session


def _to_its_end(trainable: Trainable, session: Session) -> None:
    try:
        _train(_Running(trainable), session)
    except BaseException:
        try:
            trainable.cleanup()
        except Exception:
            # Whoever reads the record wants to know what came first; and a verdict must not be lost.
            logger.exception("cleanup() of %s failed, too", type(trainable).__name__)
        raise


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
        # A state of its own has its hyper-parameters; and `reset_config` may begin anew, as Ray Tune has it.
        if running.saved_by != session.context.trial_dir or not running.saved_by:
            running.reset(trainable.config)  # False is no news: the object was set up with this config
    logs = implements(type(trainable), "log_result")
    while not running.done:
        began = time.perf_counter()
        result = checked_result(trainable, trainable.step())
        trainable._iteration += 1
        trainable._elapsed += time.perf_counter() - began
        running.done = bool(result.get("done", False))
        if logs:
            trainable.log_result(trainable.completed(result))
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
    saved_by: str = ""
    """Folder of the trial whose state was loaded last, as far as it is known."""

    def save_state(self, directory: Path) -> None:
        save_state(self.trainable, directory, done=self.done)

    def load_state(self, directory: Path, iteration: int | None) -> None:
        noted = read_state(directory)
        state = noted["state"]
        try:
            self.trainable.load_checkpoint(str(directory) if state is None else state)
        except Exception as error:
            if iteration is None:
                raise
            # E.g. the donor's layers have another size: a new object is made for its config, and loads it.
            text = f"{type(self.trainable).__name__}.load_checkpoint() failed in the running object: {error}"
            raise WarmRestartNeeded(text.partition("\n")[0]) from error
        self.trainable._begin(noted["iteration"] if iteration is None else iteration, noted.get("time_total_s", 0.0))
        self.done = noted["done"]
        self.saved_by = noted.get("trial", "")

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
        return reset_config(self.trainable, _replaced(config, {}))


def _replaced(config: Mapping[str, Any], changed: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """A copy of the nested dicts of `config` with new values for some flat names."""
    return {
        key: _replaced(value, changed, f"{path}{key}/")
        if isinstance(value, Mapping) and value
        else changed.get(f"{path}{key}", value)
        for key, value in config.items()
    }
