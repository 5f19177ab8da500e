"""Metrics in a result: how they are named, found and compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from tune_plugins.arguments import Mistakes

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


def names_of(metric: str | Sequence[str] | None) -> tuple[str, ...]:
    """The names of one metric, of several, or of none."""
    return () if metric is None else (metric,) if isinstance(metric, str) else tuple(metric)


def modes_of(mode: Mode | Sequence[Mode] | None, count: int) -> tuple[Mode, ...]:
    """The mode of each of `count` metrics, where one may have been given for all."""
    return () if mode is None else (mode,) * count if isinstance(mode, str) else tuple(mode)


def objective_mistakes(metric: Any, mode: Any) -> list[str]:
    """What is wrong with one metric or several, and with the mode of each or one for all, in words."""
    found = Mistakes("")
    several = isinstance(metric, Sequence) and not isinstance(metric, str)
    if not several:
        found.metric("metric", metric, none=True, remedy="Leave it out for none.")
        found.mode("mode", mode, none=True)
        return found.found
    right = bool(metric) and all(isinstance(name, str) and name for name in metric) and len(set(metric)) == len(metric)
    found.check(right, "metric", "names of different reported metrics", metric)
    modes = mode if isinstance(mode, Sequence) and not isinstance(mode, str) else [mode]
    for one in dict.fromkeys(map(repr, modes)):
        found.mode("mode", next(each for each in modes if repr(each) == one), none=mode is None)
    if not found.found and isinstance(mode, Sequence) and not isinstance(mode, str) and len(modes) != len(metric):
        found.add(
            f"mode: expected one for each of the {len(metric)} metrics, got {len(modes)}: {mode!r}. Write "
            "mode='min' or mode='max' for one that holds for all."
        )
    return found.found
