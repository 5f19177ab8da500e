"""Stop rules for trials and for the whole experiment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class Stopper:
    """Base class: `__call__` ends one trial, `stop_all` the whole experiment. Every report is a milestone."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """True if the trial that reported `result` is to end here."""
        return False

    def stop_all(self) -> bool:
        """True if all trials are to end; asked after each result."""
        return False


class FunctionStopper(Stopper):
    """Ends a trial where ``function(trial_id, result)`` is true."""

    def __init__(self, function: Callable[[str, dict[str, Any]], bool]) -> None:
        self.function = function

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """What the function says."""
        return bool(self.function(trial_id, result))


def split_stop(stop: Any) -> tuple[dict[str, float], Stopper | None]:
    """Divide `RunConfig.stop` into thresholds, which act in the worker, and a rule that must see each result."""
    if stop is None:
        return {}, None
    if isinstance(stop, Mapping):
        return {str(k): float(v) for k, v in stop.items()}, None
    return {}, stop if isinstance(stop, Stopper) else FunctionStopper(stop)
