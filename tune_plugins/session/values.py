"""Values of metrics as plain data, so that a report can always travel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PLAIN = frozenset({float, int, str, bool, type(None)})
"""Types that travel as they are."""

_DEEPEST = 20  # levels of nested metrics
_MOST_ELEMENTS = 10_000  # of an array


def plain(value: Any, depth: int = 0) -> Any:
    """A metric as a number, text, None, list or dict of these: numpy scalars and 0-d tensors become numbers.

    Arrays and tensors of at most 10,000 elements become lists, nested ones for several dimensions. Anything else
    becomes its `repr`, at most 200 characters, so that a report can never fail to travel.
    """
    if type(value) in PLAIN:
        return value
    if depth < _DEEPEST:
        if isinstance(value, Mapping):
            return {str(k): plain(v, depth + 1) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(v, depth + 1) for v in value]
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str(value)
    if type(value).__module__ in ("decimal", "fractions"):  # their import would cost each worker 20 ms
        return float(value)
    item = getattr(value, "item", None)
    if callable(item):
        try:
            return _plain_scalar(item())
        except Exception:  # an array of several elements, or a lazy tensor that cannot be read
            return _plain_array(value, depth)
    try:
        return repr(value)[:200]
    except Exception as error:
        return f"<{type(value).__name__}: repr failed with {type(error).__name__}>"


def _plain_array(value: Any, depth: int) -> Any:
    """The elements of an array or tensor as lists; its `repr` where there are too many, or they cannot be read."""
    try:
        count = value.numel() if callable(getattr(value, "numel", None)) else value.size
        if depth < _DEEPEST and count <= _MOST_ELEMENTS:
            return plain(value.tolist(), depth + 1)
    except Exception:
        return repr(value)[:200]
    return repr(value)[:200]


def _plain_scalar(value: Any) -> Any:
    """The result of ``.item()``, if it is a plain number or text; else its `repr`."""
    return value if type(value) in PLAIN else repr(value)[:200]
