"""The tree of errors, and that each survives the way to another process."""

from __future__ import annotations

import inspect
import pickle
import re

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
