"""What travels to the workers: the pickled training function, and its large arguments."""

from __future__ import annotations

import inspect
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle

from tune_plugins.arguments import Mistakes
from tune_plugins.driver.code import is_rays
from tune_plugins.errors import ArgumentError
from tune_plugins.worker.cargo import Packed, packed

if TYPE_CHECKING:
    from tune_plugins.driver.trial_function import TrialFunction


@dataclass(frozen=True)
class Pickled:
    """A training function on its way.

    Attributes:
        data: the pickle.
        modules: those that must be imported before it can be loaded.
    """

    data: bytes = b""
    modules: tuple[str, ...] = ()


def pickled(trainable: TrialFunction, *, reaches_ray: bool) -> Pickled:
    """What a worker calls with the config; with Ray's own pickling where it has to do with Ray.

    Raises:
        ArgumentError: names the variable that cannot be pickled.
    """
    try:
        with _by_value():
            if reaches_ray:
                from ray import cloudpickle as ray_pickle

                return Pickled(ray_pickle.dumps(trainable.entry))
            modules: dict[str, None] = {}
            return Pickled(_dumps(trainable.entry, modules), tuple(modules))
    except HoldsRay:
        raise
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


class HoldsRay(Exception):
    """Something of Ray's is in what is to be pickled, which only Ray can send."""


def dumps(value: Any) -> bytes:
    """Pickled for a process that does not belong to Ray.

    Raises:
        HoldsRay: that would be of no use to it.
    """
    return _dumps(value, {})


def _dumps(value: Any, modules: dict[str, None], **options: Any) -> bytes:
    file = io.BytesIO()
    _Pickler(file, modules, **options).dump(value)
    return file.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Notes in `modules` from which ones things come."""

    def __init__(self, file: io.BytesIO, modules: dict[str, None], **options: Any) -> None:
        super().__init__(file, **options)
        self.modules = modules

    def reducer_override(self, obj: Any) -> Any:
        if is_rays(type(obj).__module__) or is_rays(getattr(obj, "__module__", None)):
            raise HoldsRay(f"it holds something of Ray's, a {type(obj).__qualname__}")
        if isinstance(obj, ModuleType):
            self._note(obj.__name__)
        elif isinstance(obj, (type, FunctionType, BuiltinFunctionType)) and obj.__module__ is not None:
            found: Any = sys.modules.get(obj.__module__)
            for name in obj.__qualname__.split("."):
                found = getattr(found, name, None)
            if found is obj:  # else it goes by value
                self._note(obj.__module__)
        return super().reducer_override(obj)

    def _note(self, module: str) -> None:
        if module in sys.modules and module not in ("__main__", "__mp_main__"):
            self.modules[module] = None


@contextmanager
def _by_value() -> Iterator[None]:
    """Modules that were registered with Ray's own cloudpickle go by value, too."""
    ray = sys.modules.get("ray.cloudpickle")
    added = []
    for name in () if ray is None else ray.list_registry_pickle_by_value():
        if name not in cloudpickle.list_registry_pickle_by_value() and name in sys.modules:
            cloudpickle.register_pickle_by_value(sys.modules[name])
            added.append(sys.modules[name])
    try:
        yield
    finally:
        for module in added:
            cloudpickle.unregister_pickle_by_value(module)


def packed_parameters(trainable: TrialFunction) -> tuple[dict[str, Packed], tuple[str, ...]]:
    """The large arguments for a `Cargo`, and the modules that must be imported before they can be loaded.

    Raises:
        ArgumentError: names those that cannot be pickled.
    """
    modules: dict[str, None] = {}
    dumps = partial(_dumps, modules=modules)
    return _each_parameter(trainable, lambda value: packed(value, dumps)), tuple(modules)


def in_object_store(trainable: TrialFunction) -> dict[str, Any]:
    """References of the large arguments, each put into Ray's object store once; one that the user has put there stays.

    Raises:
        ArgumentError: names those that cannot be pickled.
    """
    import ray

    return _each_parameter(trainable, lambda value: value if isinstance(value, ray.ObjectRef) else ray.put(value))


def _each_parameter(trainable: TrialFunction, send: Callable[[Any], Any]) -> dict[str, Any]:
    mistakes = Mistakes("Tuner")
    sent = {}
    for name, value in trainable.parameters.items():
        try:
            sent[name] = send(value)
        except HoldsRay:
            raise
        except Exception as error:
            mistakes.add(
                f"with_parameters: expected objects that can be sent to another process, but {name!r} of type "
                f"{type(value).__name__} cannot ({(str(error).strip() or type(error).__name__).splitlines()[0]}). "
                "Create such an object inside the function."
            )
    mistakes.raise_if_any()
    return sent


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
