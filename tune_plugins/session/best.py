"""The best state of a training so far, by the metric of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tune_plugins.core.metrics import Mode, lookup
from tune_plugins.core.scores import finite
from tune_plugins.session.values import plain

__all__ = ["BestSoFar"]


@dataclass(slots=True)
class BestSoFar:
    """Which result of a training is the best one.

    Attributes:
        metric: what "best" goes by.
        mode: whether less ("min") or more ("max") of it is better.
        value: the best one; None before the first.
        newest: the newest result is it.

    >>> best = BestSoFar("loss", "min")
    >>> [best.is_beaten_by({"loss": loss}) for loss in (0.5, 0.4, 0.4, float("nan"))]
    [True, True, False, False]
    """

    metric: str
    mode: Mode
    value: float | None = None
    newest: bool = False

    def is_beaten_by(self, metrics: Mapping[str, Any]) -> bool:
        """Take a result in; whether it is better than all before. One that is only as good is not."""
        value = metrics.get(self.metric) if self.metric in metrics else lookup(dict(metrics), self.metric)
        score = finite(value if type(value) is float else plain(value))
        best = self.value
        self.newest = score is not None and (best is None or (score < best if self.mode == "min" else score > best))
        if self.newest:
            self.value = score
        return self.newest

    def begin_anew(self) -> None:
        """The training goes on from a state that is not its own."""
        self.value, self.newest = None, False
