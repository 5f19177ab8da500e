"""What is known already: configs of an earlier run, with the value of the metric."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tune_plugins.core.ends import EndCause
from tune_plugins.core.metrics import lookup
from tune_plugins.errors import ArgumentError
from tune_plugins.space import Space
from tune_plugins.space.nested import flatten, unflatten

logger = logging.getLogger(__name__)


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
    rows = list(_rows(source, space, metrics))
    fitting: list[tuple[dict[str, Any], Any]] = []
    why: Sequence[str] = ()
    for config, values in rows:
        numbers = [as_number(value) for value in values]
        if not numbers or None in numbers:
            continue
        if not isinstance(config, dict):
            why = config
        elif mistakes := _misfits(config, space):
            why = mistakes
        else:
            fitting.append((config, numbers[0] if len(numbers) == 1 else numbers))
    if rows and not fitting:
        raise ArgumentError(
            "warm_start",
            [
                f"warm_start: expected configs that fit param_space, of trials that ran to their end, with "
                f"{' and '.join(metrics) or 'a metric'}, got {len(rows)} of which none does"
                + (f" (the last one: {why[0]})" if why else "")
                + "."
            ],
        )
    if len(fitting) < len(rows):
        logger.warning(
            "warm_start: %d of %d results are used; the others are of trials that did not run to their end, have no "
            "finite metric, or do not fit param_space%s",
            len(fitting),
            len(rows),
            f" (the last of these: {why[0]})" if why else "",
        )
    return fitting


def _misfits(config: Mapping[str, Any], space: Space) -> Sequence[str]:
    if mistakes := space.check_point(config):
        return mistakes
    try:
        space.values_of(config)
    except ArgumentError as error:
        return error.mistakes
    return ()


def _rows(
    source: Any, space: Space, metrics: Sequence[str]
) -> Iterable[tuple[dict[str, Any] | Sequence[str], list[Any]]]:
    """Configs (or why there is none) with the metrics; of trials that were stopped early or failed, no metrics."""
    if source is None:
        return
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        for row in source.to_dict("records"):
            full = _is_full(row.get("cause"), row.get("status"))
            yield _from_cells(row, space), [row.get(name) for name in metrics] if full else [None]
        return
    expected = "a ResultGrid, a data frame with columns such as 'config/lr', or pairs of config and value"
    if isinstance(source, (str, Mapping)) or not isinstance(source, Iterable):
        raise ArgumentError("warm_start", [f"warm_start: expected {expected}, got {source!r}."])
    for item in source:
        if hasattr(item, "config") and hasattr(item, "metrics"):
            full = _is_full(getattr(item, "cause", None), getattr(item, "status", None))
            yield item.config, [lookup(item.metrics, name) for name in metrics] if full else [None]
        elif isinstance(item, Sequence) and len(item) == 2 and isinstance(item[0], Mapping):
            value = item[1]
            yield dict(item[0]), list(value) if isinstance(value, Sequence) else [value]
        else:
            raise ArgumentError("warm_start", [f"warm_start: expected {expected}, got an item {item!r}."])


def _is_full(cause: Any, status: Any) -> bool:
    """Whether a trial was trained as far as it was ever to be: a value of less training is no value of its config."""
    if isinstance(cause, str):
        return cause in _FULL
    return status is None or str(status) == "TERMINATED"


_FULL = frozenset(cause for cause in EndCause if cause.full or cause is EndCause.STOPPER)


def _from_cells(row: Mapping[Any, Any], space: Space) -> dict[str, Any] | Sequence[str]:
    """The config of a row. A frame has a cell for each parameter, also for those that a trial did not have."""
    given = {str(key)[len("config/") :]: value for key, value in row.items() if str(key).startswith("config/")}
    there = {name: value for name, value in given.items() if not (isinstance(value, float) and value != value)}
    without_none = {name: value for name, value in there.items() if value is not None}
    why: Sequence[str] = ["it fits no option"]
    for cells in (there, without_none, _whole(there), _whole(without_none)):
        try:
            nested = unflatten(cells)
            why = space.check_point(nested)
            config = {} if why else space.variant("cells", 0, nested)  # numbers of the type that the space has
        except ValueError as error:  # a cell of an option beside those of what is in others; an `ArgumentError`
            why = [str(error)]
            continue
        # What the cells leave out was drawn; a None of the config may be an empty cell as well.
        lacking = [n for n, value in flatten(config).items() if n not in cells and value is not None and value != {}]
        if not why and not lacking:
            return config
        why = why or [f"{name}: it has no value" for name in lacking]
    return why


def _whole(cells: Mapping[str, Any]) -> dict[str, Any]:
    """A column in which a number is missing, or not whole, has made floats of all of them."""
    return {n: int(v) if isinstance(v, float) and v.is_integer() else v for n, v in cells.items()}
