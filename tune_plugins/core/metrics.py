"""Metrics in a result: how they are named and found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def lookup(result: dict[str, Any], name: str, default: Any = None) -> Any:
    """The value of a metric in a result, where `name` may be a path such as ``eval/loss``.

    >>> lookup({"eval": {"loss": 0.5}}, "eval/loss")
    0.5
    """
    if name in result:
        return result[name]
    value: Any = result
    for part in name.split("/"):
        if not isinstance(value, dict) or part not in value:
            return default
        value = value[part]
    return value


def flat_names(result: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    """Names of all metrics of a result, nested ones joined by ``/``."""
    for name, value in result.items():
        if isinstance(value, Mapping):
            yield from flat_names(value, f"{prefix}{name}/")
        else:
            yield prefix + name
