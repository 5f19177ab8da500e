"""What travels to the workers: the pickled training function, and large arguments in Ray's object store."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import ray
from ray import cloudpickle

from tune_plugins.arguments import Mistakes
from tune_plugins.errors import ArgumentError

if TYPE_CHECKING:
    from tune_plugins.driver.trial_function import TrialFunction


def pickled(trainable: TrialFunction) -> bytes:
    """What a worker calls with the config, by cloudpickle.

    Raises:
        ArgumentError: names the variable that cannot be pickled.
    """
    try:
        data: bytes = cloudpickle.dumps(trainable.entry)
        return data
    except Exception as error:
        culprits = _culprits(trainable.function)
        what = "; ".join(culprits) if culprits else f"{type(error).__name__}: {error}"
        raise ArgumentError(
            "Tuner",
            [
                f"trainable: expected a function or class that can be sent to another process, but {trainable.name} "
                f"cannot be pickled because of {what}. Create such an object inside the function, or pass data with "
                "tune.with_parameters."
            ],
        ) from error


def in_object_store(trainable: TrialFunction) -> dict[str, Any]:
    """References of the large arguments, each put into Ray's object store once.

    Raises:
        ArgumentError: names those that cannot be pickled.
    """
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
    """Variables of a function, and of the functions it calls, or of a class, that cannot be pickled."""
    if inspect.isclass(function):
        return _culprits_of_class(function)
    function = getattr(function, "__func__", getattr(function, "func", function))
    found: list[str] = []
    try:
        closure = inspect.getclosurevars(function)
    except (TypeError, ValueError):
        return found
    names = [("variable", closure.nonlocals), ("global variable", closure.globals)]
    for kind, values in names:
        for name, value in values.items():
            if name == "__class__":
                continue  # of a method that uses super()
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


def _culprits_of_class(owner: type) -> list[str]:
    """Variables of its methods, and its attributes, that cannot be pickled."""
    found: list[str] = []
    for name, value in vars(owner).items():
        if inspect.isfunction(value):
            found += [culprit for culprit in _culprits(value) if culprit not in found]
        elif not name.startswith("__"):
            try:
                cloudpickle.dumps(value)
            except Exception as error:
                found.append(f"the class attribute {name!r} of type {type(value).__name__} ({error})")
    return found
