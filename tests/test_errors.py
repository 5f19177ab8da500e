"""The tree of errors, and that each survives the way to another process."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
import sys
import traceback
import types
from json import JSONDecodeError
from subprocess import CalledProcessError
from urllib.error import HTTPError

import pytest

from tune_plugins import errors
from tune_plugins.record.file import StorageError

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, BaseException) and value.__module__ == errors.__name__
]


def test_the_tree_at_the_head_shows_every_class_below_its_base() -> None:
    tree = inspect.getdoc(errors) or ""
    drawn: dict[str, str | None] = {}
    root = None
    for line in tree.splitlines():
        if top := re.match(r" {4}(\w+) \(", line):
            root = top[1]
            drawn[root] = None
        elif branch := re.match(r" {4}\+-- (\w+)", line):
            drawn[branch[1]] = root
    expected = {c.__name__: None if c in (errors.TuneError, errors.TrialUnwound) else c.__bases__[0] for c in CLASSES}
    expected["StorageError"] = StorageError.__bases__[0]
    assert drawn == {name: None if base is None else base.__name__ for name, base in expected.items()}


@pytest.mark.parametrize(
    "error",
    [
        errors.ArgumentError("Tuner", ["a: wrong.", "b: wrong."]),
        errors.MissingDependencyError("keras", "keras", "the adapter"),
        errors.IllegalEventError("can't"),
        errors.TrialError("m.Odd", "two\nlines", "Traceback ..."),
        errors.TrialStopped("enough"),
        errors.TrialEvicted(),
        StorageError("full"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickling(error: BaseException) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_bases_that_scripts_catch() -> None:
    assert issubclass(errors.ArgumentError, ValueError)
    assert issubclass(errors.MissingDependencyError, ImportError)
    assert not issubclass(errors.TrialUnwound, Exception), "`except Exception` must not swallow a verdict"


class Demanding(Exception):
    """Everything about it wants an attribute that only the original has: Ray's 5862."""

    def __init__(self, code: int, *, path: str) -> None:
        self.code, self.path = code, path

    @property
    def message(self) -> str:
        return self.path

    def __str__(self) -> str:
        return f"{self.code}: {self.path}"

    def __repr__(self) -> str:
        return f"Demanding({self.code})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Demanding) and other.code == self.code

    def __getattr__(self, name: str) -> object:
        return self.elsewhere[name]

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("frozen")


class MakesItself(Exception):
    def __new__(cls, code: int) -> MakesItself:
        return super().__new__(cls, code)


KINDS = [Demanding, OSError, KeyError, UnicodeDecodeError, ImportError, StopIteration, MemoryError, JSONDecodeError]
KINDS += [CalledProcessError, HTTPError, errors.ArgumentError, MakesItself, RuntimeError, Exception]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_of_a_trial_is_caught_by_its_own_type(kind: type[Exception]) -> None:
    prefix = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    name = f"{prefix}{kind.__qualname__}"
    error = errors.trial_error(name, "no row 3", "Traceback ...")
    with pytest.raises(kind) as caught:
        raise error
    assert isinstance(error, errors.TrialError) and caught.value is error
    assert (error.type_name, error.message, error.traceback) == (name, "no row 3", "Traceback ...")
    shown = "".join(traceback.format_exception(error))
    assert shown.endswith(f"tune_plugins.errors.TrialError({kind.__name__}): {name}: no row 3\n\nTraceback ...\n")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again).__name__ == type(error).__name__ and isinstance(again, kind)
        assert (str(again), repr(again), vars(again)) == (str(error), repr(error), vars(error))
    assert error == error and len({error, error}) == 1
    with pytest.raises(AttributeError, match=r"there is no 'code', since an error is recorded as type, message and tr"):
        _ = error.code  # type: ignore[attr-defined]


def test_no_module_is_asked_for_what_it_has_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers and others import a part of themselves when an attribute is asked for."""
    lazy = types.ModuleType("lazy")
    lazy.__getattr__ = lambda name: pytest.fail(f"{name} would be imported")  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy", lazy)
    assert type(errors.trial_error("lazy.models.Error", "no")) is errors.TrialError


@pytest.mark.parametrize(
    "name",
    [
        "",
        "NotLoaded",
        "no.such.module.Error",
        "xml.sax._exceptions.Missing",
        "builtins.f.<locals>.Error",
        "int",
        "KeyboardInterrupt",  # raised again, it would end more than is meant
        "SystemExit",
        "ExceptionGroup",
        "SyntaxError",
        "tune_plugins.errors.TrialError",
    ],
)
def test_an_error_whose_type_cannot_be_had_is_a_plain_one(name: str) -> None:
    loaded = set(sys.modules)
    error = errors.trial_error(name, "no")
    assert type(error) is errors.TrialError and str(error) == f"{name}: no"
    assert set(sys.modules) == loaded
