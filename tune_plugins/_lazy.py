"""Names of a package that are imported on first use, so that importing the package costs next to nothing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def on_first_use(package: str, homes: Mapping[str, Iterable[str]], modules: Iterable[str] = ()) -> Callable[[str], Any]:
    """A ``__getattr__`` for the module `package`.

    Args:
        package: its dotted name.
        homes: module below the package -> names that live there.
        modules: modules and packages below it that are its attributes themselves.
    """
    home_of = {name: home for home, names in homes.items() for name in names}
    inner = frozenset(modules)

    def get(name: str) -> Any:
        if name in home_of:
            value = getattr(importlib.import_module(f"{package}.{home_of[name]}"), name)
        elif name in inner:
            value = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    return get
