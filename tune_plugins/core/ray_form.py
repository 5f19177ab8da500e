"""The two forms of a scheduler's methods: ours, and that of Ray Tune, which hands its controller over first.

Here the engine calls ``on_trial_result(trial, result)``. A scheduler that was written for Ray Tune defines
``on_trial_result(controller, trial, result)``, and calls that of the class it derives from, or of a scheduler that it
holds, in the same form. So each method of a `TrialScheduler` in our form is made one that takes either (`takes_both`),
and what a method of a user's takes decides how it is called (`is_ray_style`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import CO_VARARGS, unwrap
from types import FunctionType
from typing import Any, TypeVar, cast

from tune_plugins.arguments import is_async

__all__ = [
    "FORMS",
    "NOOP",
    "Answer",
    "Controller",
    "RayForms",
    "in_our_form",
    "is_ours",
    "is_ray_form",
    "is_ray_style",
    "takes_both",
]

NOOP = "NOOP"
"""What a scheduler of Ray Tune's says where nothing is left for the controller to do."""


class RayForms:
    """How Ray Tune calls a scheduler, as far as this package does not."""

    def on_trial_add(self, controller: Any, trial: Any) -> Any:
        """A trial was created."""

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> Any:
        """What becomes of a trial."""

    def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> Any:
        """A trial has ended without error."""

    def on_trial_error(self, controller: Any, trial: Any) -> Any:
        """A trial has failed."""

    def choose_trial_to_run(self, controller: Any) -> Any:
        """Which trial gets a free slot."""

    def set_search_properties(self, metric: str | None, mode: str | None) -> Any:
        """What trials are compared by."""


FORMS = ("on_trial_add", "on_trial_result", "on_trial_complete", "on_trial_error", "choose_trial_to_run")
"""The methods that take a controller there, and none here."""
_CONTROLLERS = frozenset({"controller", "tune_controller", "trial_runner", "runner"})
_Method = TypeVar("_Method", bound=Callable[..., Any])


class Controller:
    """What a scheduler in the form of Ray Tune is handed over; it knows how to call one in our form."""

    def call(self, scheduler: Any, method: Callable[..., Any], *arguments: Any) -> Any:
        """Call a method in our form with what stands behind the controller in that of Ray Tune."""
        raise NotImplementedError


class Answer(str):
    """A decision as Ray Tune's schedulers know it: one of four words. What else it says goes with it.

    Attributes:
        decision: a `Decision`.
    """

    __slots__ = ("decision",)
    decision: Any


def takes_both(method: _Method) -> _Method:
    """A method in our form that can be called in that of Ray Tune, too."""
    ours, theirs = _needs(method), _needs(getattr(RayForms, method.__name__))

    @wraps(method)
    def either(self: Any, *arguments: Any, **named: Any) -> Any:
        if len(arguments) + len(named) != theirs:
            return method(self, *arguments, **named)
        controller, *rest = arguments
        if not isinstance(controller, Controller):
            raise TypeError(
                f"{type(self).__name__}.{method.__name__}: expected {ours} arguments, or the controller that your own "
                f"method was given in front of them, got {controller!r} as the first of {theirs}."
            )
        return controller.call(self, method, *rest, *named.values())

    setattr(either, _OURS, method)
    return cast(_Method, either)


def is_ours(method: object) -> bool:
    """Whether what a class defines by the name of one of `FORMS` is a method in our form."""
    if not isinstance(method, FunctionType) or hasattr(method, _OURS) or is_async(method):
        return False
    return not (is_ray_form(method) or method.__code__.co_flags & CO_VARARGS)


def is_ray_form(method: object) -> bool:
    """Whether a method of a class wants the controller."""
    if not isinstance(method, FunctionType) or hasattr(method, _OURS):
        return False
    inner: Any = unwrap(method)  # a decorator takes anything
    code = inner.__code__
    if code.co_argcount > 1 and code.co_varnames[1] in _CONTROLLERS:
        return True
    return not code.co_flags & CO_VARARGS and _needs(inner) == _needs(getattr(RayForms, inner.__name__))


def is_ray_style(scheduler: object) -> bool:
    """Whether a scheduler has methods in the form of Ray Tune."""
    return any(is_ray_form(getattr(type(scheduler), name)) for name in FORMS)


def in_our_form(scheduler: object, name: str) -> Callable[..., Any]:
    """The nearest method of that name in our form, which is called without the controller."""
    found = (getattr(vars(each).get(name), _OURS, None) for each in type(scheduler).__mro__)
    return next(cast(Callable[..., Any], method) for method in found if method is not None)


def _needs(method: Any) -> int:
    """How many arguments it has no default for."""
    return int(method.__code__.co_argcount) - len(method.__defaults__ or ()) - 1


_OURS = "in_our_form"
