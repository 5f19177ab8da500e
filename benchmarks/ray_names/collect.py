"""Prints the public names of Ray Tune with their signatures, as JSON; runs in an environment that has Ray Tune.

A name is public where its module lists it in ``__all__``; in a module without that, where it is defined there and
Ray's annotations mark it or what it derives from; in ``ray.tune.result`` every constant is. A name of several modules
is told once, for the first.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import json
import pkgutil
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any
from unittest.mock import patch

APART = ("automl", "cli", "constants", "examples", "execution", "experimental", "impl", "resources", "syncer", "tests")
"""Modules below ``ray.tune`` that are its inner side, or that only say that they are gone."""
INNER_UTILS = (
    "callback",
    "file_transfer",
    "mock",
    "mock_trainable",
    "release_test_util",
    "resource_updater",
    "serialization",
)
BESIDE = ("ray.air.integrations.comet", "ray.air.integrations.mlflow", "ray.air.integrations.wandb")
"""Modules that scripts for Ray Tune import and that live elsewhere."""
CONSTANTS = "ray.tune.result"


def main() -> None:
    """Print ``{"ray": version, "names": [{"module", "name", "kind", ...}]}``."""
    import ray.tune

    names: dict[tuple[int, str], dict[str, Any]] = {}
    modules = ["ray.tune", *_below(ray.tune), *BESIDE]
    for module in sorted(modules, key=lambda name: (name.count("."), name)):
        for name, value in _public(_imported(module)):
            if (key := (id(value), name)) in names:
                names[key].setdefault("also", []).append(module)
            else:
                names[key] = {"module": module, "name": name, **_described(value)}
    ordered = sorted(names.values(), key=lambda each: (each["module"], each["name"]))
    json.dump({"ray": ray.__version__, "names": ordered}, sys.stdout, indent=1)
    print()


def _imported(module: str) -> ModuleType:
    """The module; the adapter for Keras without TensorFlow, which is a gigabyte and does not change its signatures."""
    if not module.endswith(".keras"):
        return importlib.import_module(module)
    stubs = {name: ModuleType(name) for name in ("tensorflow", "tensorflow.keras", "tensorflow.keras.callbacks")}
    stubs["tensorflow.keras.callbacks"].__dict__["Callback"] = object
    own = stubs["ray.train.tensorflow"] = ModuleType("ray.train.tensorflow")
    own.__dict__.update(__path__=[f"{sys.modules['ray'].__path__[0]}/train/tensorflow"], TensorflowCheckpoint=object)
    with patch.dict(sys.modules, stubs):
        return importlib.import_module(module)


def _below(package: ModuleType) -> Iterator[str]:
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        own = found.name.rpartition(".")[2]
        if own.startswith("_") or own in APART or (package.__name__ == "ray.tune.utils" and own in INNER_UTILS):
            continue
        yield found.name
        if found.ispkg:
            yield from _below(importlib.import_module(found.name))


def _public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    listed = getattr(module, "__all__", None)
    for name in sorted(listed or vars(module)):
        value = getattr(module, name)
        home = str(getattr(value, "__module__", "ray"))
        if name.startswith("_") or isinstance(value, ModuleType) or not home.startswith("ray"):
            continue
        if module.__name__ == CONSTANTS:
            if name.isupper():
                yield name, value
        elif listed is not None or (_is_marked(value) and home == module.__name__):
            yield name, value


def _is_marked(value: Any) -> bool:
    """Whether Ray's annotations say whom it is for."""
    kinds = value.__mro__ if inspect.isclass(value) else (value,)
    return any(getattr(each, "__dict__", {}).get("_annotated") == getattr(each, "__name__", "") for each in kinds)


def _described(value: Any) -> dict[str, Any]:
    if isinstance(value, enum.EnumMeta):
        return {"kind": "enum", "attributes": dict.fromkeys(value.__members__)}
    if inspect.isclass(value):
        attributes = {name: _takes(getattr(value, name)) for name in dir(value) if _is_own(value, name)}
        return {"kind": "class", "takes": _takes(value.__init__), "attributes": attributes}
    if callable(value):
        return {"kind": "function", "takes": _takes(value)}
    return {"kind": "constant"} | ({"value": value} if isinstance(value, str) else {})


def _is_own(kind: type, name: str) -> bool:
    """Whether a class brings an attribute in itself: neither a public one above it, nor the library that calls it."""
    above = [each for each in kind.__mro__[1:] if each.__module__.startswith("ray.tune.") and each.__name__[0] != "_"]
    home = next(each for each in kind.__mro__ if name in vars(each))
    old = str(getattr(getattr(kind, name), "_annotated_type", "")).endswith("DEPRECATED")
    ours = home.__module__.startswith("ray.") and not any(name in dir(each) for each in above)
    hook = kind.__module__.startswith("ray.tune.integration.") and name.startswith(("on_", "after_", "before_"))
    return ours and not hook and not name.startswith("_") and not old


def _takes(function: Callable[..., Any]) -> list[str] | None:
    """Its arguments in the way that Python writes them, ``=`` after those with a default; None: no function.

    >>> _takes(lambda a, b=1, *, c=2, **d: None)
    ['a', 'b=', '*', 'c=', '**d']
    """
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        return [] if callable(function) else None
    names: list[str] = []
    for each in inspect.signature(function).parameters.values():
        if each.kind is each.KEYWORD_ONLY and not any(name.startswith("*") for name in names):
            names.append("*")
        mark = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "")
        if each.name != "self" and not each.name.startswith("_"):
            names.append(f"{mark}{each.name}{'' if each.default is each.empty else '='}")
    return names


if __name__ == "__main__":
    main()
