"""A result as text for people."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tune_plugins.logger.values import to_json

__all__ = ["pretty_print"]


def pretty_print(result: Mapping[str, Any], exclude: Collection[str] | None = None) -> str:
    """A result as lines ``name: value``, sorted, nested ones indented, as in Ray Tune; without its config.

    >>> print(pretty_print({"loss": 0.5, "eval": {"auc": 0.9}, "config": {"lr": 0.1}, "note": None}))
    eval:
      auc: 0.9
    loss: 0.5

    Args:
        result: of a trial.
        exclude: names to leave out, too. None and empty values are not shown.
    """
    left_out = {"config", *(exclude or ())}
    return "\n".join(_lines({name: value for name, value in result.items() if name not in left_out}))


def _lines(values: Mapping[str, Any], indent: str = "") -> list[str]:
    lines = []
    for name, value in sorted(values.items(), key=lambda item: str(item[0])):
        if isinstance(value, Mapping):
            inner = _lines(value, f"{indent}  ")
            lines += [f"{indent}{name}:", *inner] if inner else []
        elif value is not None:
            lines.append(f"{indent}{name}: {value if isinstance(value, (str, float)) else to_json(value)}")
    return lines
