"""Errors that users see, and the exceptions by which a verdict unwinds user code.

Every message names what was given, what was expected and what to do about it::

    TuneError (Exception)             everything that the engine raises
    +-- ArgumentError (ValueError)    arguments are wrong: all of them at once, each with its remedy
    +-- MissingDependencyError (ImportError)
    |                                 an optional package is not installed; names the extra
    +-- StorageError                  the record cannot be written or read (in tune_plugins.record.file)
    +-- TrialError                    a trial failed: type, message and traceback of the user's error, as data
    +-- WorkerLostError               the process of a trial died: a name for `TrialError.type_name`
    +-- WarmRestartNeeded             from an adapter to the engine: not inside the running training
    +-- IllegalEventError             a bug of the engine

    TrialUnwound (BaseException)      a verdict that leaves user code by unwinding it; `except Exception` does not
    |                                 swallow it
    +-- TrialStopped                  in a loop written by hand: the trial is to end
    +-- TrialEvicted                  paused; goes on later in another process
    +-- TrialRestarted                the function is entered anew, with another config and checkpoint

Who is to act: for an `ArgumentError` and a `TrialError` whoever wrote the script; for a `MissingDependencyError`, a
`StorageError` and a lost worker whoever looks after the machine; for an `IllegalEventError` we.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "ArgumentError",
    "IllegalEventError",
    "MissingDependencyError",
    "TrialError",
    "TrialEvicted",
    "TrialRestarted",
    "TrialStopped",
    "TrialUnwound",
    "TuneError",
    "WarmRestartNeeded",
    "WorkerLostError",
]


class TuneError(Exception):
    """Base class of all errors of tune-plugins."""


class ArgumentError(TuneError, ValueError):
    """One or several arguments are wrong; the message lists all of them.

    Attributes:
        mistakes: one sentence or two for each mistake, each ending with its remedy.
    """

    def __init__(self, where: str, mistakes: Iterable[str]) -> None:
        self.where = where
        self.mistakes = tuple(mistakes)
        count = len(self.mistakes)
        head = f"{where}: {count} mistake{'s' if count != 1 else ''} in the arguments"
        super().__init__("\n".join([head, *(f"  {i}. {m}" for i, m in enumerate(self.mistakes, 1))]))

    def __reduce__(self) -> tuple[type[ArgumentError], tuple[str, tuple[str, ...]]]:
        return type(self), (self.where, self.mistakes)


class MissingDependencyError(TuneError, ImportError):
    """An optional package is needed and not installed; names the module and the extra."""

    def __init__(self, module: str, extra: str, needed_by: str) -> None:
        self.module, self.extra, self.needed_by = module, extra, needed_by
        super().__init__(
            f"{needed_by} needs the module {module!r}, which is not installed. "
            f"Install it with: pip install 'tune-plugins[{extra}]'"
        )

    def __reduce__(self) -> tuple[type[MissingDependencyError], tuple[str, str, str]]:
        return type(self), (self.module, self.extra, self.needed_by)


class IllegalEventError(TuneError):
    """An event does not fit the state of its trial: a bug of the engine, not of the user.

    The message carries the trial's history. The state is unchanged after it.
    """


class TrialError(TuneError):
    """A trial failed; stands for the original exception where that cannot travel between processes.

    Attributes:
        type_name: qualified name of the original exception type.
        message: the original message.
        traceback: the original traceback as text.
    """

    def __init__(self, type_name: str, message: str, traceback: str = "") -> None:
        self.type_name, self.message, self.traceback = type_name, message, traceback
        super().__init__(f"{type_name}: {message}" + (f"\n\n{traceback}" if traceback else ""))

    def __reduce__(self) -> tuple[type[TrialError], tuple[str, str, str]]:
        return type(self), (self.type_name, self.message, self.traceback)


class WorkerLostError(TuneError):
    """The process of a trial died (killed, out of memory, node lost)."""


class WarmRestartNeeded(TuneError):
    """An exploit cannot be carried out inside the running training; the message says why.

    Raised by an adapter; the engine then enters the training function anew, in the same process.
    """


class TrialUnwound(BaseException):
    """Base of the exceptions that end user code early by decision of the engine.

    Derived from `BaseException` so that ``except Exception`` in user code does not swallow it.
    """


class TrialStopped(TrialUnwound):
    """The trial was stopped: raised by `report` in a hand-written loop."""


class TrialEvicted(TrialUnwound):
    """The trial is paused and gives its process back; it goes on later from its checkpoint."""


class TrialRestarted(TrialUnwound):
    """The trial function is entered anew in the same process, with another config and checkpoint."""
