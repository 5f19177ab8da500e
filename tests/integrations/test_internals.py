"""Internals of the frameworks on which adapters rely: a new version that moves one is told of here, by its name."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest
from test_every_adapter import MODULES

import tune_plugins.integrations
from tune_plugins.integrations import Internals
from tune_plugins.testing import moved_internals

FOLDER = Path(tune_plugins.integrations.__file__).parent
SHARED = {"_boosting": ("xgboost", "lightgbm", "catboost"), "_torch_optimizers": ("torch", "lightning", "transformers")}


def internals_of(name: str) -> Internals:
    internals = importlib.import_module(f"tune_plugins.integrations.{name}").INTERNALS
    assert isinstance(internals, Internals)
    return internals


@pytest.mark.parametrize("name", MODULES)
def test_all_of_them_are_in_the_installed_version(name: str) -> None:
    internals = internals_of(name)
    assert internals.seen and internals.names
    assert moved_internals(internals.names) == []


def test_what_has_moved_is_named() -> None:
    names = (
        "json.decoder.JSONDecoder: strict, parse_floats, decode",  # `strict` is set in a method
        "json.dumps: obj, skip_keys",
        "json.encoder: INFINITY, INFINITE",
        "json.decoders",
        "json.decoder.Decoder: strict",
        "json.decoder.JSONDecoder.decode: s, end",  # parameter and local variable
        "no_such_package.module: a",
    )
    assert moved_internals(names) == [
        "json.decoder.JSONDecoder: parse_floats",
        "json.dumps: skip_keys",
        "json.encoder: INFINITE",
        "json.decoders",
        "json.decoder.Decoder",
    ]


@pytest.mark.parametrize("name", MODULES)
def test_every_private_name_that_an_adapter_uses_is_listed(name: str) -> None:
    """Those of its own modules are known by where they are made; all others belong to a framework."""
    files = [FOLDER / f"{name}.py", *FOLDER.glob(f"_{name}_*.py"), *FOLDER.glob(f"_{name}/*.py")]
    files += [FOLDER / f"{shared}.py" for shared, users in SHARED.items() if name in users]
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in [*files, FOLDER / "_adapter.py"]]
    own = {made for tree in trees for node in ast.walk(tree) for made in made_by(node)}
    used = {each for tree in trees[:-1] for node in ast.walk(tree) for each in private_names(node)}
    users = next((users for users in SHARED.values() if name in users), (name,))
    listed = {word for user in users for text in internals_of(user).names for word in re.findall(r"\w+", text)}
    assert sorted(each for each in used - own if each not in listed) == []


def made_by(node: ast.AST) -> list[str]:
    """Names that a piece of code makes: functions, variables and attributes of `self`."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return [node.id]
    of_self = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
    return [node.attr] if isinstance(node, ast.Attribute) and of_self and isinstance(node.ctx, ast.Store) else []


def private_names(node: ast.AST) -> list[str]:
    """Attributes and imports with an underscore, also as text, and all that is imported from private modules."""
    names: list[str] = []
    if isinstance(node, ast.Attribute):
        names = [node.attr]
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
        names = [node.value]
    elif isinstance(node, ast.ImportFrom) and not str(node.module).startswith("tune_plugins"):
        private = any(part.startswith("_") or part == "src" for part in str(node.module).split("."))
        names = [alias.name for alias in node.names if private or alias.name.startswith("_")]
        return [each for each in names if node.module != "__future__"]
    return [each for each in names if each.startswith("_") and not each.startswith("__") and each != "_getframe"]
