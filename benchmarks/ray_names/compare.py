"""Each public name of Ray Tune's beside ours: the same, different, or absent."""

from __future__ import annotations

import importlib
import inspect
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from benchmarks.ray_names.notes import DIFFERENT, FORMS, HANDED_OUT, INNER, REFUSED, RENAMED, UNSEEN
from tune_plugins.compat.modules import INSTEAD
from tune_plugins.search.absent import hint

os.environ.setdefault("KERAS_BACKEND", "torch")  # the one that is installed; read when Keras is imported
DATA = Path(__file__).with_name("names.json")
HOMES = {"ray.tune": "tune_plugins", "ray.air.integrations": "tune_plugins.logger"}


class Verdict(StrEnum):
    """What a script for Ray Tune finds under a name."""

    SAME = "same"  # takes every argument that Ray's takes, has every method and attribute
    DIFFERENT = "different"
    ABSENT = "absent"


@dataclass(frozen=True)
class Row:
    """One name.

    Attributes:
        module: where Ray has it, the first of several.
        name: its name there.
        verdict: what it is here.
        missing: arguments, methods and attributes of Ray's that are not here.
        checked: methods and attributes of Ray's that are here.
        text: what differs, why, and what to write.
        elsewhere: modules of Ray's that have the name as well, and whose namesakes here do not.
    """

    module: str
    name: str
    verdict: Verdict
    missing: Sequence[str] = ()
    checked: Sequence[str] = ()
    text: str = ""
    elsewhere: Sequence[str] = field(default=())


def collected() -> dict[str, Any]:
    """What `collect` has found: ``{"ray": version, "names": [...]}``."""
    found: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
    return found


def rows() -> list[Row]:
    """All names, in the order of the data; needs the frameworks and search libraries, not Ray Tune."""
    found: dict[Any, Row] = {}
    for each in collected()["names"]:
        row = _row(each)
        # What is the same thing here is one row: Ray has a class twice.
        mine = find(row.module, row.name) if each["kind"] == "class" else None
        found.setdefault((row.name, mine or row.module), row)
    return list(found.values())


def area_of(module: str) -> str:
    """The table that a name of a module stands in.

    >>> area_of("ray.tune.search.optuna"), area_of("ray.air.integrations.wandb")
    ('ray.tune.search', 'ray.tune.logger')
    """
    if module.startswith("ray.air"):
        return "ray.tune.logger"
    return ".".join(module.split(".")[:3])


def ours(module: str) -> str:
    """The module here whose name a script for Ray Tune gets to by the change of one word."""
    for theirs, mine in HOMES.items():
        if module == theirs or module.startswith(f"{theirs}."):
            return mine + module.removeprefix(theirs)
    raise ValueError(f"module: expected one of {', '.join(HOMES)} or below, got {module!r}")


def find(module: str, name: str) -> Any:
    """Ours by Ray's name, under Ray's name for the module; None: there is none."""
    try:
        return getattr(importlib.import_module(ours(module)), name)
    except (ImportError, AttributeError):
        return None


def _row(theirs: Mapping[str, Any]) -> Row:
    module, name = theirs["module"], theirs["name"]
    mine = find(module, name)
    if mine is None:
        return Row(module, name, Verdict.ABSENT, text=INSTEAD.get(name) or hint(name))
    missing, checked = [], []
    if theirs["kind"] == "constant":
        missing += ["its value"] * (theirs.get("value", mine) != mine)
    elif theirs["kind"] == "function":
        missing += [f"{each}=" for each in _lacking(name, theirs["takes"], mine)]
    else:
        if name not in HANDED_OUT and theirs["kind"] == "class":
            missing += [f"{each}=" for each in _lacking(name, theirs["takes"], mine.__init__)]
        for attribute, takes in theirs["attributes"].items():
            if attribute in INNER.get(name, ()):
                continue
            lacking = list(_of_attribute(name, attribute, takes, mine))
            missing += lacking
            checked += [attribute] * (not lacking)
    missing = [each for each in dict.fromkeys(missing) if f"{each}=" not in missing]
    elsewhere = [other for other in theirs.get("also", ()) if find(other, name) is None]
    if missing or name in UNSEEN:
        return Row(module, name, Verdict.DIFFERENT, missing, checked, DIFFERENT.get(name, ""), elsewhere)
    return Row(module, name, Verdict.SAME, checked=checked, elsewhere=elsewhere)


def _of_attribute(name: str, attribute: str, takes: Sequence[str] | None, mine: Any) -> Iterator[str]:
    """What is missing of a method or attribute of Ray's."""
    if not hasattr(mine, attribute) and not _has_instance(mine, attribute):
        yield attribute if takes is None else f"{attribute}()"
    elif takes is not None and callable(method := getattr(mine, attribute, None)):
        lacking = _lacking(f"{name}.{attribute}", takes, method)
        yield from (f"{attribute}({each}=)" for each in lacking if each not in FORMS.get(name, ()))


def _has_instance(kind: type, attribute: str) -> bool:
    """Whether objects of a class have an attribute that the class itself has not: declared, or set when one is made."""
    for each in kind.__mro__:
        if attribute in vars(each).get("__annotations__", ()):
            return True
        if inspect.isfunction(made := vars(each).get("__init__")) and attribute in made.__code__.co_names:
            return True
    return False


def _lacking(name: str, takes: Sequence[str], mine: Any) -> Iterator[str]:
    """Arguments of Ray's that ours does not take by name, except one that scripts give by position."""
    parameters = [each for each in inspect.signature(mine).parameters.values() if each.name != "self"]
    names = {each.name for each in parameters}
    takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters)
    for argument in (given.rstrip("=") for given in takes):
        if argument.startswith("*"):
            continue
        known = argument in names or takes_all or RENAMED.get((name, argument)) in names
        if argument in REFUSED.get(name, ()) or not known:
            yield argument
