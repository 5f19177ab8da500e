"""Metrics in a result: how they are named, found and compared."""

from __future__ import annotations

from typing import Any, Literal

Mode = Literal["min", "max"]
"""Whether less or more of a metric is better."""
Scope = Literal["last", "all", "avg", "last-5-avg", "last-10-avg"]
"""By which of its values a trial is judged: the last one, the best it ever had, a mean."""


DEFAULT_METRIC = "_metric"
"""Name of the one metric of a training that returns or yields a number."""

DONE = "done"
"""A result that says so is the last one of its trial."""


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
