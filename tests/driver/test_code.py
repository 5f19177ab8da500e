"""What the code of a training function reaches, and the sources of the user's modules."""

from __future__ import annotations

import functools
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tune_plugins.driver.code import holds_ray, is_users, reach, snapshot


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Any]:
    """Writes a module of the user's and imports it."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str, text: str) -> Any:
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        monkeypatch.delitem(sys.modules, name, raising=False)
        return functools.reduce(getattr, name.split(".")[1:], __import__(name))

    return make


def _imports_ray(config: Any) -> Any:
    import ray.util

    return ray.util


def _calls_it(config: Any) -> Any:
    return [_imports_ray(config) for _ in range(2)]


class _Class:
    @property
    def found(self) -> Any:
        return _calls_it(1)


class _Derived(_Class):
    @staticmethod
    def step() -> Any:
        import json.decoder

        return json.decoder


@functools.cache
def _cached() -> Any:
    import wave

    return wave


def _closure(inner: Any) -> Any:
    def train(config: Any) -> Any:
        return inner(config)

    return train


@pytest.mark.parametrize(
    "trainable",
    [
        _imports_ray,
        _calls_it,
        _closure(_calls_it),
        functools.partial(_calls_it, 1),
        _Class,
        _Derived,
        _Class().__class__,
        lambda config: _calls_it(config),
        functools.wraps(_calls_it)(lambda config: _calls_it(config)),
    ],
)
def test_ray_is_found_wherever_it_is_named(trainable: Any) -> None:
    assert reach(trainable).ray == "it imports ray.util"


def test_ray_is_found_in_globals_and_closures(module: Any) -> None:
    helper = module("names_ray", "import ray\ndef train(config):\n    return ray.nodes()\n")
    assert reach(helper.train).ray == "it names the module ray"
    helper = module("from_ray", "from ray import get\ndef train(config, get=get):\n    return get\n")
    assert "ray." in reach(helper.train).ray
    assert not reach(lambda config: np.zeros(3)).ray


def test_imports_are_those_of_functions_that_are_reached(module: Any) -> None:
    helper = module("reached", "def used():\n    import wave\n    from . import x\ndef unused():\n    import chunk\n")

    def train(config: Any) -> Any:
        import csv

        return helper.used(), csv

    assert set(reach(train).imports) == {"csv", "wave"}
    assert set(reach(_Derived).imports) == {"json.decoder", "ray.util"}
    assert set(reach(_cached).imports) == {"wave"}


def test_functions_that_have_to_do_with_the_environment_are_told() -> None:
    def sets() -> None:
        import os

        os.environ["X"] = "1"

    assert reach(sets).environ and not reach(_cached).environ


def test_code_that_is_not_the_users_is_not_looked_at() -> None:
    assert not reach(np.linalg.norm).imports
    assert not is_users("numpy") and not is_users("json") and not is_users("tune_plugins.tuner")
    assert is_users(__name__) and is_users("__main__") and not is_users("no.such.module") and not is_users(None)


@pytest.mark.parametrize("value", [3, "x", None, {"a": [1, {"b": (2,)}]}, np.zeros(2)])
def test_a_config_without_ray(value: Any) -> None:
    assert not holds_ray(value)


def test_something_of_rays_in_a_config() -> None:
    reference = type("ObjectRef", (), {"__module__": "ray._raylet"})()
    assert holds_ray(reference) and holds_ray({"a": [{"b": reference}]})


def test_a_snapshot_has_the_modules_that_are_loaded_and_what_these_import(module: Any, tmp_path: Path) -> None:
    (tmp_path / "imported_late.py").write_text("X = 1\n")
    (tmp_path / "unrelated.py").write_text("X = 1\n")
    (tmp_path / "package_of_user").mkdir()
    for name in ("__init__", "model", "inner/__init__", "inner/deep"):
        (path := tmp_path / "package_of_user" / f"{name}.py").parent.mkdir(exist_ok=True)
        path.write_text("")
    module("loaded", "def f():\n    import imported_late\n    from package_of_user.model import x\n")
    sources = snapshot().sources
    package = {f"package_of_user{name}" for name in ("", ".model", ".inner", ".inner.deep")}
    assert {"loaded", "imported_late", *package} <= sources.keys()
    assert "unrelated" not in sources and not any(name.startswith(("numpy", "tune_plugins")) for name in sources)
    assert sources["package_of_user.inner"].package and not sources["package_of_user.model"].package
    assert "unrelated" in snapshot(["unrelated"]).sources


def test_a_later_snapshot_is_compared_with_an_earlier_one(module: Any, tmp_path: Path) -> None:
    module("compared", "X = 1\n")
    before = snapshot()
    module("another", "Y = 1\n")
    assert before.still_holds(snapshot())
    (tmp_path / "compared.py").write_text("X = 2\n")
    assert not before.still_holds(snapshot())
