"""Which internals of a framework an adapter relies on are still there: the check of its list `INTERNALS`."""

from __future__ import annotations

import dis
import importlib
import inspect
from collections.abc import Iterable, Iterator
from types import CodeType
from typing import Any


def moved_internals(names: Iterable[str]) -> list[str]:
    """Those of the names that the installed version does not have, each with what is missing.

    Args:
        names: ``"package.module.function: a, b"`` for parameters and local variables of a function,
            ``"package.module.Class: a, b"`` for attributes of a class or of its objects, ``"package.module: a"`` for
            those of a module; without a colon for the thing itself. What belongs to, or needs, a package that is not
            installed is passed over.

    >>> moved_internals(["json.decoder.JSONDecoder: strict, lax", "json.dumps: obj, skipkeys", "json.yaml"])
    ['json.decoder.JSONDecoder: lax', 'json.yaml']
    """
    moved = []
    for name in names:
        path, _, listed = name.partition(":")
        wanted = [each.strip() for each in listed.split(",") if each.strip()]
        try:
            thing = _find(path)
        except ModuleNotFoundError as error:
            if "." in str(error.name):  # else a whole package is not installed
                moved.append(path)
        except AttributeError:
            moved.append(path)
        else:
            if missing := [each for each in wanted if not _has(thing, each)]:
                moved.append(f"{path}: {', '.join(missing)}")
    return moved


def _find(path: str) -> Any:
    """The module, or what is in it."""
    *parents, name = path.split(".")
    if not parents:
        return importlib.import_module(name)
    found = _find(".".join(parents))
    if not hasattr(found, name) and inspect.ismodule(found):
        return importlib.import_module(path)
    return getattr(found, name)


def _has(thing: Any, name: str) -> bool:
    if inspect.isclass(thing):
        return hasattr(thing, name) or any(name in _of_objects(base) for base in thing.__mro__)
    if inspect.ismodule(thing):
        return hasattr(thing, name)
    code = inspect.unwrap(getattr(thing, "__func__", thing)).__code__
    return name in (*code.co_varnames, *code.co_cellvars)


def _of_objects(kind: type) -> Iterator[str]:
    """Attributes that the class declares, or that its methods set."""
    yield from vars(kind).get("__annotations__", ())
    for member in vars(kind).values():
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if inspect.isfunction(function := inspect.unwrap(function) if callable(function) else function):
            yield from _stored(function.__code__)


def _stored(code: CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname == "STORE_ATTR":
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _stored(constant)
