"""Adapters for frameworks, one module each; installed and imported as `tune_plugins.integrations`.

An adapter plugs into the framework's own callback mechanism, so that a training script gains
tuning by one added argument and still runs alone, without a tuning run around it.

Here is what all of them stand on: `Adapter`, `Fit`, `Internals` and `built_model` are the base for an adapter of a
framework of one's own.
"""

from typing import TYPE_CHECKING

from tune_plugins._imports import unknown_name
from tune_plugins.integrations._adapter import Adapter, Fit, Internals, built_model

__all__ = ["Adapter", "Fit", "Internals", "built_model"]


def _hint(name: str) -> str:
    """What somebody may have meant who asks for a framework, or for the callback of an unnamed one."""
    import pkgutil

    frameworks = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    if name in frameworks:
        return f"Import it first: from {__name__} import {name} as tune_{name}"
    if not name.islower():
        frameworks.remove("sklearn")  # has searches, and no callbacks
    there = f"There are {', '.join(frameworks[:-1])} and {frameworks[-1]}"
    if name.islower():
        return f"{there}."
    return f"{there}, each with its own: from {__name__}.{frameworks[-1]} import {name}"


if not TYPE_CHECKING:
    __getattr__ = unknown_name(__name__, _hint)
