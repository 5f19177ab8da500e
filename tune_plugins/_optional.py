"""Import of optional packages, with an error that names the module and the extra."""

from __future__ import annotations

import importlib
from types import ModuleType

from tune_plugins.errors import MissingDependencyError


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
