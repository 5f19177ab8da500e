"""No adapter escapes the conformance suite: they are found by looking, not by a list."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import tune_plugins.integrations
from tune_plugins.testing.adapters import AdapterConformance

MODULES = sorted(
    module.name
    for module in pkgutil.iter_modules(tune_plugins.integrations.__path__)
    if not module.name.startswith("_")
)


def all_suites() -> list[type[AdapterConformance]]:
    for path in sorted(Path(__file__).parent.glob("test_*_conformance.py")):
        importlib.import_module(path.stem)
    found: list[type[AdapterConformance]] = []
    rest: list[type[AdapterConformance]] = [AdapterConformance]
    while rest:
        suite = rest.pop()
        rest += suite.__subclasses__()
        if hasattr(suite, "label"):
            found.append(suite)
    return found


SEARCHES = {"sklearn"}
"""Modules that drive the engine; all others plug into a training."""


@pytest.mark.parametrize("name", [name for name in MODULES if name not in SEARCHES])
def test_every_public_class_of_an_adapter_is_covered(name: str) -> None:
    module = importlib.import_module(f"tune_plugins.integrations.{name}")
    public = {getattr(module, each) for each in module.__all__}
    adapters = {each for each in public if inspect.isclass(each)}
    assert adapters, f"{name} has no public class"
    covered = {adapter for suite in all_suites() if suite.module == module.__name__ for adapter in suite.adapters}
    assert adapters <= covered


def test_what_is_declared_is_a_case_that_may_be() -> None:
    for suite in all_suites():
        assert set(suite.declared) <= set(AdapterConformance.MAY_BE_DECLARED), suite.label
        assert all(suite.declared.values()), f"{suite.label}: say why"


def test_labels_differ() -> None:
    labels = [suite.label for suite in all_suites()]
    assert len(labels) == len(set(labels))
