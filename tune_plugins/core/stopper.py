"""The contract of a stop rule that must see every result; `tune_plugins.stoppers` has the ones there are."""

from __future__ import annotations

from typing import Any

from tune_plugins.core.metrics import Mode

__all__ = ["Stopper"]


class Stopper:
    """Base class: `__call__` ends one trial, `stop_all` the whole experiment. Every report is a milestone.

    A stopper is a function of what it was told: after an interruption it is told the recorded results again.

    Attributes:
        reason: why it last said yes, in words and numbers; recorded with the decision.
    """

    reason: str = ""

    def setup(self, *, metric: str | None, mode: Mode | None) -> None:
        """Called before each run with the metric and mode of `TuneConfig`: forget earlier runs here."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """True if the trial that reported `result` is to end here."""
        return False

    def stop_all(self) -> bool:
        """True if all trials are to end; asked after each result."""
        return False

    def why(self) -> str:
        """Which stopper it was, and why."""
        name = type(self).__name__
        return f"{name}: {self.reason}" if self.reason else name
