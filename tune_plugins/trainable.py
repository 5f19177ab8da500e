"""Training functions: their resources, their large arguments, and how they travel to workers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tune_plugins.errors import ArgumentError, Mistakes
from tune_plugins.runtime.resources import Resources, shape_of


@dataclass(frozen=True)
class Trainable:
    """A training function with what `with_resources` and `with_parameters` said of it.

    Attributes:
        function: called with the config (and `parameters` as keywords).
        resources: of one trial; None: one CPU.
        parameters: large arguments; they travel to each worker process once.
    """

    function: Callable[..., Any]
    resources: Resources = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the function, for people and folders."""
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return "".join(c if c.isalnum() or c in "._-" else "_" for c in name).strip("_") or "trial"

    def __call__(self, config: dict[str, Any]) -> Any:
        """Call the function here and now."""
        return self.function(config, **self.parameters)

    def mistakes(self) -> list[str]:
        """Everything that is wrong with it, in words."""
        found = []
        if not callable(self.function):
            found.append(
                f"trainable: expected a function train(config), got {self.function!r}. "
                "Pass the function itself, without calling it."
            )
        elif inspect.isclass(self.function):
            found.append(f"trainable: expected a function train(config), got the class {self.function.__name__}.")
        else:
            try:
                inspect.signature(self.function).bind({}, **dict.fromkeys(self.parameters))
            except ValueError:
                pass  # some built-ins have no signature
            except TypeError as error:
                extra = f" with {', '.join(self.parameters)} as keywords" if self.parameters else ""
                found.append(
                    f"trainable: expected a function that can be called with one config{extra}, got "
                    f"{self.name}{inspect.signature(self.function)} ({error}). Use tune.with_parameters for more."
                )
        if not callable(self.resources):
            try:
                shape_of(self.resources)
            except ValueError as error:
                found.append(str(error))
        return found


def as_trainable(trainable: Any) -> Trainable:
    """Whatever the user gave, as a `Trainable`."""
    return trainable if isinstance(trainable, Trainable) else Trainable(trainable)


def with_resources(trainable: Any, resources: Resources) -> Trainable:
    """Say what one trial takes.

    Args:
        trainable: a training function.
        resources: e.g. ``{"cpu": 2, "gpu": 0.5}`` or any custom resource; a `PlacementGroupFactory`; or a
            function of the config that returns one of these.

    >>> with_resources(print, {"cpu": 2}).resources
    {'cpu': 2}
    """
    return replace(as_trainable(trainable), resources=resources)


def with_parameters(trainable: Any, **parameters: Any) -> Trainable:
    """Give large objects (data sets) to all trials as keyword arguments; each worker process loads them once.

    Args:
        trainable: a function ``train(config, data=...)``.
        **parameters: the objects; arrays are not copied, workers share them in memory.
    """
    known = as_trainable(trainable)
    return replace(known, parameters={**known.parameters, **parameters})


def pickled(trainable: Trainable) -> bytes:
    """The function by cloudpickle.

    Raises:
        ArgumentError: names the variable that cannot be pickled.
    """
    from ray import cloudpickle

    try:
        data: bytes = cloudpickle.dumps(trainable.function)
        return data
    except Exception as error:
        culprits = _culprits(trainable.function)
        what = "; ".join(culprits) if culprits else f"{type(error).__name__}: {error}"
        raise ArgumentError(
            "Tuner",
            [
                f"trainable: expected a function that can be sent to another process, but {trainable.name} cannot be "
                f"pickled because of {what}. Create such an object inside the function, or pass data with "
                "tune.with_parameters."
            ],
        ) from error


def in_object_store(trainable: Trainable) -> dict[str, Any]:
    """References of the large arguments, each put into Ray's object store once.

    Raises:
        ArgumentError: names those that cannot be pickled.
    """
    import ray

    mistakes = Mistakes("Tuner")
    references = {}
    for name, value in trainable.parameters.items():
        try:
            references[name] = ray.put(value)
        except Exception as error:
            mistakes.add(
                f"with_parameters: expected objects that can be sent to another process, but {name!r} of type "
                f"{type(value).__name__} cannot ({str(error).strip().splitlines()[0]}). "
                "Create such an object inside the function."
            )
    mistakes.raise_if_any()
    return references


def _culprits(function: Any) -> list[str]:
    """Variables of a function, and of the functions it calls, that cannot be pickled."""
    from ray import cloudpickle

    function = getattr(function, "__func__", getattr(function, "func", function))
    found: list[str] = []
    try:
        closure = inspect.getclosurevars(function)
    except (TypeError, ValueError):
        return found
    names = [("variable", closure.nonlocals), ("global variable", closure.globals)]
    for kind, values in names:
        for name, value in values.items():
            try:
                cloudpickle.dumps(value)
            except Exception as error:
                inner = _culprits(value) if inspect.isfunction(value) and value is not function else []
                found += inner or [f"the {kind} {name!r} of type {type(value).__name__} ({error})"]
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.default is not parameter.empty:
            try:
                cloudpickle.dumps(parameter.default)
            except Exception as error:
                found.append(f"the default of {name!r} of type {type(parameter.default).__name__} ({error})")
    return found
