"""Optional packages, names that are loaded on first use, and what is said of names that are not there.

A ``__getattr__`` made here belongs under ``if not TYPE_CHECKING``: for a checker that sees one, every name exists.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any, cast

from tune_plugins.errors import MissingDependencyError

_DOORS = ("", ".space", ".callbacks", ".schedulers", ".search", ".stoppers", ".logger", ".errors")
"""Where a name may live that was looked for elsewhere, below ``tune_plugins``; of several the first is told."""


def require(module: str, *, extra: str, needed_by: str) -> ModuleType:
    """Import and return `module`.

    Raises:
        MissingDependencyError: the module (or its top-level package) is not installed.
            An ImportError from *inside* an installed package is passed on as it is.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name and error.name.partition(".")[0] == top:
            raise MissingDependencyError(module, extra, needed_by) from error
        raise


def on_first_use(
    package: str, homes: Mapping[str, Iterable[str]], modules: Iterable[str] = ()
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """``__all__``, ``__getattr__`` and ``__dir__`` of a package that loads what it offers when it is asked for.

    Args:
        package: its dotted name.
        homes: module below the package -> names that live there.
        modules: modules and packages below it that are its attributes themselves.
    """
    home_of = {name: home for home, names in homes.items() for name in names}
    names, inner = sorted(home_of), frozenset(modules)
    missing = unknown_name(package)

    def get(name: str) -> Any:
        if name in home_of:
            value = getattr(importlib.import_module(f"{package}.{home_of[name]}"), name)
        elif name in inner or (package == _TOP and not name.startswith("_") and _is_alias(name)):
            value = importlib.import_module(f"{package}.{name}")
        else:
            return missing(name)
        setattr(sys.modules[package], name, value)
        return value

    return names, get, lambda: sorted([*names, *inner])


def unknown_name(module: str, hint: Callable[[str], str] | None = None) -> Callable[[str], Any]:
    """A ``__getattr__`` for `module` that knows no name, and says what may have been meant.

    Args:
        module: its dotted name.
        hint: called with the name, returns a sentence or nothing; default: looks for it in the whole package.
    """

    def missing(name: str) -> Any:
        # Names with an underscore are asked for by tools, which expect no more than a quick no.
        said = "" if name.startswith("_") else (hint or _hint(module))(name)
        if not said:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        if _in_an_import():
            raise ImportError(f"cannot import name {name!r} from {module!r}. {said}", name=module)
        # Without the module, or Python adds its own "Did you mean" to ours.
        raise AttributeError(f"module {module!r} has no attribute {name!r}. {said}", name=name, obj=None)

    return missing


def names_from(module: str, homes: Iterable[str]) -> Callable[[str], Any]:
    """A ``__getattr__`` for `module`, whose names live in other ones; the first of these that has a name gives it."""
    missing = unknown_name(module)

    def get(name: str) -> Any:
        if not name.startswith("__"):
            for home in map(importlib.import_module, homes):
                if name in home.__all__ or name in vars(home):
                    return getattr(home, name)
        return missing(name)

    return get


def _in_an_import() -> bool:
    """Whether the code that asks a module for a name is ``from module import name``.

    Of an AttributeError Python makes there an ImportError of its own, and nobody reads what the first one said.
    """
    import opcode

    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    return frame.f_code.co_code[frame.f_lasti] == opcode.opmap["IMPORT_FROM"]


def _hint(module: str) -> Callable[[str], str]:
    def hint(name: str) -> str:
        import difflib
        import importlib.util

        try:
            if (
                hasattr(sys.modules.get(module), "__path__")
                and importlib.util.find_spec(f"{module}.{name}") is not None
            ):
                return ""  # `from package import module` asks for the name first; that is to cost nothing
        except ModuleNotFoundError:  # of a module that says what to write in its place, as `hasattr` must not raise
            inner = f"{module}.{name}".partition(".")[2]
            return str(importlib.import_module(f"{_TOP}.compat.modules").instead_of(inner))

        top = __name__.partition(".")[0]
        homes: dict[str, str] = {}
        for home in (module, *(top + door for door in _DOORS)):
            for known in importlib.import_module(home).__all__:
                homes.setdefault(known, home)
        instead = importlib.import_module(f"{top}.compat.modules").INSTEAD
        if name in instead:
            return str(instead[name])
        if name in homes:
            return f"It lives in {homes[name]}: from {homes[name]} import {name}"
        by_lower = {known.lower(): known for known in homes}
        for close in difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.75):
            known = by_lower[close]
            return f"Did you mean {known!r}" + ("?" if homes[known] == module else f" of {homes[known]}?")
        return ""

    return hint


_TOP = __name__.partition(".")[0]


def _is_alias(module: str) -> bool:
    """Whether Ray Tune has this module, below `_TOP`, and it is somewhere else here."""
    return module in importlib.import_module(f"{_TOP}.compat.modules").HOMES


class _Aliases:
    """Finds modules of Ray Tune's that are elsewhere here, or says what to write; see `tune_plugins.compat.modules`."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Only asked when no other finder knows the module."""
        top, _, inner = name.partition(".")
        if top != _TOP or not inner or inner.startswith("compat"):
            return None
        if not _is_alias(inner):
            if said := importlib.import_module(f"{_TOP}.compat.modules").instead_of(inner):
                raise ModuleNotFoundError(f"No module named {name!r}. {said}", name=name)
            return None
        return importlib.machinery.ModuleSpec(name, cast(Any, self), is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """The alias."""
        top, _, inner = spec.name.partition(".")
        made: ModuleType = importlib.import_module(f"{top}.compat.modules").alias(inner)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """It is whole."""


sys.meta_path.append(_Aliases())
