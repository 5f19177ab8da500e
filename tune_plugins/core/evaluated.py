"""What is known already: configs of an earlier run, with the value of the metric."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tune_plugins.core.metrics import lookup
from tune_plugins.errors import ArgumentError
from tune_plugins.space import Space
from tune_plugins.space.nested import unflatten


def as_number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, (str, bytes)) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def evaluated(source: Any, space: Space, metrics: Sequence[str]) -> list[tuple[dict[str, Any], Any]]:
    """Configs that fit the space, with the value of the metric (of several: a list), from what an earlier run left.

    Args:
        source: a `ResultGrid`, a data frame with columns such as ``config/lr``, pairs of config and value, or None.
        space: of the new run.
        metrics: names of the metrics.

    Raises:
        ArgumentError: it is nothing of all this, or none of many rows has a config that fits.
    """
    rows = list(_rows(source, metrics))
    fitting = []
    why: Sequence[str] = ()
    for config, values in rows:
        numbers = [as_number(value) for value in values]
        if not numbers or None in numbers:
            continue
        if mistakes := space.check_point(config):
            why = mistakes
            continue
        try:
            space.values_of(config)
        except ArgumentError as error:
            why = error.mistakes
            continue
        fitting.append((config, numbers[0] if len(numbers) == 1 else numbers))
    if rows and not fitting:
        raise ArgumentError(
            "warm_start",
            [
                f"warm_start: expected configs that fit param_space, with {' and '.join(metrics) or 'a metric'}, got "
                f"{len(rows)} of which none does" + (f" (the last one: {why[0]})" if why else "") + "."
            ],
        )
    return fitting


def _rows(source: Any, metrics: Sequence[str]) -> Iterable[tuple[dict[str, Any], list[Any]]]:
    if source is None:
        return
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        for row in source.to_dict("records"):
            flat = {str(k)[len("config/") :]: v for k, v in row.items() if str(k).startswith("config/") and v == v}
            yield unflatten(flat), [row.get(name) for name in metrics]
        return
    expected = "a ResultGrid, a data frame with columns such as 'config/lr', or pairs of config and value"
    if isinstance(source, (str, Mapping)) or not isinstance(source, Iterable):
        raise ArgumentError("warm_start", [f"warm_start: expected {expected}, got {source!r}."])
    for item in source:
        if hasattr(item, "config") and hasattr(item, "metrics"):
            if item.metrics:
                yield item.config, [lookup(item.metrics, name) for name in metrics]
        elif isinstance(item, Sequence) and len(item) == 2 and isinstance(item[0], Mapping):
            value = item[1]
            yield dict(item[0]), list(value) if isinstance(value, Sequence) else [value]
        else:
            raise ArgumentError("warm_start", [f"warm_start: expected {expected}, got an item {item!r}."])
