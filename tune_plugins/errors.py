"""Errors that users see, and the exceptions by which a verdict unwinds user code.

Every message names what was given, what was expected and what to do about it::

    TuneError (RuntimeError)          everything that the engine raises
    +-- ArgumentError (ValueError, TypeError)
    |                                 arguments are wrong: all of them at once, each with its remedy
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

import builtins
import sys
import types
from collections.abc import Iterable
from contextlib import suppress
from typing import NoReturn

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


class TuneError(RuntimeError):
    """Base class of all errors of tune-plugins; a RuntimeError, which is what scripts written for Ray Tune expect."""


class ArgumentError(TuneError, ValueError, TypeError):
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

    One made by `trial_error` is an instance of the original type too, so that ``except ThatError`` catches it.

    Attributes:
        type_name: qualified name of the original exception type.
        message: the original message.
        traceback: the original traceback as text.
    """

    type_name = message = traceback = ""  # also before a property that the original type may have

    def __init__(self, type_name: str, message: str, traceback: str = "") -> None:
        self.type_name, self.message, self.traceback = type_name, message, traceback
        self.args = (f"{type_name}: {message}" + (f"\n\n{traceback}" if traceback else ""),)

    def __repr__(self) -> str:
        """Without the traceback, which `str` has."""
        return f"TrialError({self.type_name}: {self.message})"

    def __reduce__(self) -> tuple[object, tuple[str, str, str]]:
        return trial_error, (self.type_name, self.message, self.traceback)


def trial_error(type_name: str, message: str, traceback: str = "") -> TrialError:
    """A `TrialError` that is an instance of the original exception type too, where this process has loaded that.

    Nothing is imported, and the original's own attributes are not there: type, message and traceback are all that is
    known. What makes instances in ways of its own (an exception group, a class whose ``__new__`` wants arguments), and
    what is no `Exception`, is a plain `TrialError`.
    """
    original = _loaded(type_name)
    # Python prints fields of a SyntaxError instead of its text.
    if original is not None and not issubclass(original, (TrialError, SyntaxError)):
        with suppress(Exception):  # the class of a user, whose metaclass may do anything
            kind = types.new_class(f"TrialError({original.__name__})", (TrialError, original), {}, _as_trial_error)
            error: TrialError = kind(type_name, message, traceback)
            return error
    return TrialError(type_name, message, traceback)


def _loaded(type_name: str) -> type[Exception] | None:
    """The exception class of that name, as a traceback shows it, if its module is loaded."""
    *packages, name = type_name.split(".")
    places: list[object] = [builtins, sys.modules.get("__main__")]
    for length in range(len(packages), 0, -1):
        if (module := sys.modules.get(".".join(packages[:length]))) is not None:
            places, packages = [module], packages[length:]
            break
    for place in places:
        found = place
        for part in [*packages, name]:
            # Not getattr, at which some packages import what is asked for.
            found = vars(found).get(part) if isinstance(found, (type, types.ModuleType)) else None
        if isinstance(found, type) and issubclass(found, Exception):
            return found
    return None


def _as_trial_error(namespace: dict[str, object]) -> None:
    """All that the original type may have changed is as in `TrialError`: its methods want attributes that are gone."""
    own = ("__class__", "__dict__", "__new__", "__init_subclass__", "__subclasshook__", "__weakref__", "__doc__")
    namespace |= {name: getattr(TrialError, name) for name in dir(TrialError) if name not in own}
    namespace["__getattr__"] = _gone


def _gone(error: TrialError, name: str) -> NoReturn:
    raise AttributeError(
        f"{error.type_name} of a trial: there is no {name!r}, since an error is recorded as type, message and "
        "traceback only. Put what you want to know into its message."
    )


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
