"""Metrics in a result: how they are named and found."""

from __future__ import annotations

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
