"""Searchers written for Ray Tune, behind the contract of this package."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from tune_plugins.core.metrics import Mode, modes_of, names_of, objective_mistakes
from tune_plugins.core.searcher import Outcome, Searcher, SearchTask, Signal
from tune_plugins.errors import ArgumentError
from tune_plugins.space import Space

__all__ = ["RayForms", "RayStyleSearcher", "is_ray_style"]


class RayForms:
    """How Ray Tune calls a searcher, as far as this package does not."""

    def suggest(self, trial_id: str) -> Any:
        """A config; None for not now; "FINISHED"."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial ended."""

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any]) -> Any:
        """What is to be searched for, and where."""


def is_ray_style(given: object) -> bool:
    """Whether an object has a searcher's methods in one of the forms of Ray Tune's `Searcher`."""
    if not callable(getattr(given, "suggest", None)) or isinstance(given, type):
        return False
    return (
        not isinstance(given, Searcher)
        or _takes_one(given.suggest)
        or type(given).set_search_properties is not Searcher.set_search_properties
        or "error" in _names(given.on_trial_complete)
    )


class RayStyleSearcher(Searcher):
    """Calls a searcher that is written for Ray Tune.

    Understood are ``suggest(trial_id)``, ``on_trial_complete(trial_id, result=None, error=False)`` and
    ``set_search_properties(metric, mode, config)``, each by itself, also in a class that derives from `Searcher`. It
    cannot take over what was suggested in an earlier life of the run; what it is told of that trial then is passed on.

    Args:
        searcher: the object.
    """

    def __init__(self, searcher: Any) -> None:
        self.searcher = searcher
        super().__init__()
        self._takes_index = not _takes_one(searcher.suggest)
        complete = getattr(searcher, "on_trial_complete", None)
        self._takes_error = complete is not None and "error" in _names(complete)
        # What it says of itself; one of Ray Tune's own class is read as far as the names are the same.
        for name in ("points_to_evaluate", "evaluated_rewards", "warm_start", "random_state", "timeout_s"):
            if isinstance(searcher, Searcher):
                setattr(self, name, getattr(searcher, name))
        self.reads_results = callable(getattr(searcher, "on_trial_result", None))
        if isinstance(searcher, Searcher):
            self.reads_results = searcher.reads_results

    @property
    def label(self) -> str:
        """See `Searcher.label`."""
        return type(self.searcher).__name__

    @property
    def own_objectives(self) -> tuple[tuple[str, ...], tuple[Mode, ...]]:
        """See `Searcher.own_objectives`."""
        if isinstance(self.searcher, Searcher):
            return self.searcher.own_objectives
        metric, mode = getattr(self.searcher, "metric", None), getattr(self.searcher, "mode", None)
        if metric is None or objective_mistakes(metric, mode):
            return super().own_objectives
        return names_of(metric), modes_of(mode, len(names_of(metric)))

    @property
    def total_trials(self) -> int | None:
        """See `Searcher.total_trials`."""
        return self.searcher.total_trials if isinstance(self.searcher, Searcher) else super().total_trials

    def mistakes(self) -> list[str]:
        """See `Searcher.mistakes`."""
        return super().mistakes() + (self.searcher.mistakes() if isinstance(self.searcher, Searcher) else [])

    def space_mistakes(self, around: Space) -> list[str]:
        """See `Searcher.space_mistakes`."""
        return super().space_mistakes(around) if self._is_bare else self.searcher.space_mistakes(around)

    def space_of(self, around: Space) -> Space:
        """See `Searcher.space_of`."""
        return super().space_of(around) if self._is_bare else self.searcher.space_of(around)

    @property
    def _is_bare(self) -> bool:
        """Whether it knows nothing of this package."""
        return not isinstance(self.searcher, Searcher)

    def save(self, checkpoint_path: str) -> None:
        """See `Searcher.save`: what the searcher inside writes, where it can."""
        (self._method("save") or super().save)(checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        """See `Searcher.restore`."""
        (self._method("restore") or super().restore)(checkpoint_path)

    def prepare(self, task: SearchTask) -> None:
        """See `Searcher.prepare`."""
        try:
            super().prepare(task)
        except ArgumentError as error:
            raise ArgumentError(self.label, error.mistakes) from None

    def setup(self, task: SearchTask) -> None:
        """See `Searcher.setup`."""
        super().setup(task)
        if isinstance(self.searcher, Searcher):
            self.searcher.setup(task)
        tell = getattr(self.searcher, "set_search_properties", None)
        if getattr(tell, "__func__", None) is Searcher.set_search_properties:  # which is for scripts
            tell = None
        if callable(tell) and tell(task.metric, task.mode, task.space.param_space) is False:
            raise ArgumentError(
                self.label,
                [
                    f"set_search_properties() returned False for metric={task.metric!r}, mode={task.mode!r} and "
                    f"{task.space!r}: it cannot work on them, or has others already. Give them in one place only."
                ],
            )

    def suggest(self, trial_id: str, index: int) -> Any:
        """See `Searcher.suggest`."""
        suggested = self.searcher.suggest(trial_id, index) if self._takes_index else self.searcher.suggest(trial_id)
        return Signal.COMPLETE if isinstance(suggested, str) and suggested == "FINISHED" else suggested

    def on_suggested(self, trial_id: str, index: int, config: dict[str, Any]) -> None:
        """See `Searcher.on_suggested`."""
        if (method := self._method("on_suggested")) is not None:
            method(trial_id, index, config)

    def add_evaluated_point(self, config: dict[str, Any], value: Any) -> None:
        """See `Searcher.add_evaluated_point`."""
        if (method := self._method("add_evaluated_point")) is not None:
            method(config, value)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """See `Searcher.on_trial_result`."""
        if (method := self._method("on_trial_result")) is not None:
            method(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None, outcome: Outcome = Outcome.COMPLETED
    ) -> None:
        """See `Searcher.on_trial_complete`."""
        method = self._method("on_trial_complete")
        if method is None:
            return
        if self._takes_error:
            method(trial_id, result, error=outcome in (Outcome.FAILED, Outcome.DROPPED))
        else:
            method(trial_id, result, outcome=outcome)

    def _method(self, name: str) -> Callable[..., Any] | None:
        method = getattr(self.searcher, name, None)
        return method if callable(method) else None


def _takes_one(method: Callable[..., Any]) -> bool:
    """Whether it takes one argument by position, and no more."""
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return False
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return False
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters) == 1


def _names(method: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(method).parameters)
    except (TypeError, ValueError):
        return []
