"""Which metrics an adapter reports, and under which names: the same rules for every framework."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tune_plugins.arguments import Mistakes, did_you_mean
from tune_plugins.errors import ArgumentError
from tune_plugins.session.values import plain

Metrics = str | Sequence[str] | Mapping[str, str] | None
"""None: all that the framework gives; one name; several; or {name to report: name in the framework}."""


def check_metrics(metrics: Any, mistakes: Mistakes) -> dict[str, str] | None:
    """Bring the argument `metrics` of an adapter into the form {name to report: name in the framework}.

    Args:
        metrics: what the user gave, see `Metrics`.
        mistakes: is told what is wrong; the return value is then of no use.

    Returns:
        The mapping, or None for all metrics there are.
    """
    if metrics is None:
        return None
    if isinstance(metrics, str):
        metrics = [metrics]
    if isinstance(metrics, Mapping):
        pairs = list(metrics.items())
    elif isinstance(metrics, Iterable):
        pairs = [(name, name) for name in metrics]
    else:
        mistakes.add(
            f"metrics: expected None, a name, a list of names or {{name to report: source}}, got {metrics!r}. "
            "Leave it out to report all metrics."
        )
        return None
    names = [name for new, source in pairs for name in ((new,) if source is new else (new, source))]
    wrong = [name for name in names if not isinstance(name, str) or not name]
    if wrong:
        mistakes.add(f"metrics: expected names that are non-empty text, got {', '.join(map(repr, wrong))}.")
    if not pairs:
        mistakes.add("metrics: expected at least one name, got an empty collection. Write None to report all metrics.")
    return dict(pairs) if not wrong else None


def select_metrics(
    metrics: Metrics,
    available: Iterable[str],
    *,
    where: str = "metrics",
    if_none: str = "",
    also: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Names to report and where each comes from.

    Args:
        metrics: what the user asked for.
        available: the names that the framework gives.
        where: name of the adapter, for the error.
        if_none: what the user can do where the framework gives no metrics at all, for the error.
        also: {other name by which a metric may be asked for: its name}.

    Returns:
        {name to report: name in the framework}, in the order asked for.

    Raises:
        ArgumentError: a name is not among those available; it lists all wrong names and all there are.

    >>> select_metrics({"loss": "eval-logloss"}, ["eval-logloss", "eval-auc"])
    {'loss': 'eval-logloss'}
    >>> select_metrics(None, ["eval-logloss", "eval-auc"])
    {'eval-logloss': 'eval-logloss', 'eval-auc': 'eval-auc'}
    """
    names = list(dict.fromkeys(available))
    mistakes = Mistakes(where)
    wanted = check_metrics(metrics, mistakes)
    mistakes.raise_if_any()
    if wanted is None:
        return {name: name for name in names}
    wanted = {new: (also or {}).get(source, source) for new, source in wanted.items()}
    for source in dict.fromkeys(wanted.values()):
        if source in names:
            continue
        if names:
            there = ", ".join(map(repr, names))
            mistakes.add(f"metrics: there is no {source!r}; there are {there}.{did_you_mean(source, names)}")
        else:
            mistakes.add(f"metrics: there is no {source!r}, as there are no metrics at all. {if_none}".rstrip())
    mistakes.raise_if_any()
    return wanted


def check_events(
    on: Any,
    events: Sequence[str],
    mistakes: Mistakes,
    *,
    name: str = "on",
    also: Mapping[str, str] | None = None,
    remedy: str = "",
) -> tuple[str, ...]:
    """Bring an argument that says when to report, one event or several, into one form: each once.

    Args:
        on: what the user gave.
        events: those there are.
        mistakes: is told what is wrong; the return value is then of no use.
        name: of the argument.
        also: {other name of an event: that of `events`}.
        remedy: what to do.
    """
    given = [on] if isinstance(on, str) or not isinstance(on, Iterable) else list(on)
    found = [(also or {}).get(event, event) if isinstance(event, str) else event for event in given]
    right = bool(found) and all(event in events for event in found)
    expected = f"one or several of {', '.join(map(repr, events))}"
    return joined(found) if mistakes.check(right, name, expected, on, remedy) else ()


def joined(*several: Iterable[str]) -> tuple[str, ...]:
    """All names of several collections, each once."""
    return tuple(dict.fromkeys(name for names in several for name in names))


def returned_metrics(metrics: Any, *, where: str) -> dict[str, Any]:
    """Metrics that user code made, as plain values.

    Raises:
        ArgumentError: `metrics` is no mapping.
    """
    if not isinstance(metrics, Mapping):
        raise ArgumentError(where, [f"expected a dict of metrics in return, got {metrics!r}. Return {{name: value}}."])
    found: dict[str, Any] = plain(metrics)
    return found
