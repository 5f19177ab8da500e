"""Names that users import: which there are, and what is said of those that are not there."""

from __future__ import annotations

import ast
import copy
import importlib
import importlib.util
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import blocks, pages
from test_docs import load

import tune_plugins as tune
from tune_plugins.space import FUNCTIONS


def names_for_checkers(path: Path) -> set[str]:
    """``home.name`` of what a module imports for checkers only, relative to itself; of a star ``home.*``."""
    (block,) = (node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    found = set()
    for node in block.body:
        assert isinstance(node, ast.ImportFrom) and node.module
        assert all(alias.name == "*" or alias.asname == alias.name for alias in node.names), "import X as X exports X"
        found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("package", ["tune_plugins", "tune_plugins.space"])
def test_checkers_and_python_see_the_same_names(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__file__
    checked = names_for_checkers(Path(module.__file__))
    functions = "tune_plugins.space.functions"
    assert {name.rpartition(".")[2] for name in checked} - {"*"} | set(FUNCTIONS) == set(dir(module))
    for full in checked - {f"{functions}.*"}:
        home, _, name = full.rpartition(".")
        assert getattr(importlib.import_module(home), name) is getattr(module, name), full
    assert set(importlib.import_module(functions).__all__) == set(FUNCTIONS)
    assert all(getattr(module, name) is getattr(importlib.import_module(functions), name) for name in FUNCTIONS)


PUBLIC = [*load(Path(__file__).parent.parent / "docs" / "_api.py").MODULES, "tune_plugins.integrations"]


@pytest.mark.parametrize("adapters", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["engine", "adapters"])
def test_every_public_module_lists_its_names(adapters: bool) -> None:
    listed = [module for module in PUBLIC if adapters == module.startswith("tune_plugins.integrations.")]
    assert len(listed) >= 6
    for module in map(importlib.import_module, listed):
        assert isinstance(module.__all__, list) and module.__all__ == list(dict.fromkeys(module.__all__))
        assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.slow
def test_what_the_pages_import_is_public(repository: Path) -> None:
    found = set()
    examples = [path.read_text(encoding="utf-8") for path in (repository / "examples").glob("*.py")]
    for code in ["\n".join(parts) for parts in (*pages().values(), blocks(repository / "README.md"))] + examples:
        top = re.search(r"^import tune_plugins as tune$", code, re.M)
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tune_plugins"):
                found |= {(node.module, alias.name) for alias in node.names}
            elif top and isinstance(node, ast.Attribute) and ast.unparse(node.value) == "tune":
                found.add(("tune_plugins", node.attr))
    assert len(found) > 30
    wrong = {(m, n) for m, n in found if n not in dir(importlib.import_module(m)) and not has_module(f"{m}.{n}")}
    assert wrong == set()


def has_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


FRAMEWORKS = "catboost, keras, lightgbm, lightning, sklearn, torch, transformers and xgboost"
CALLBACKS = FRAMEWORKS.replace("sklearn, ", "")
SAID = {
    "tune_plugins.Tunerr": "Did you mean 'Tuner'?",
    "tune_plugins.unifrom": "Did you mean 'uniform'?",
    "tune_plugins.ASHAScheduler": "It lives in tune_plugins.schedulers: from tune_plugins.schedulers import "
    "ASHAScheduler",
    "tune_plugins.AshaScheduler": "Did you mean 'ASHAScheduler' of tune_plugins.schedulers?",
    "tune_plugins.Searcher": "It lives in tune_plugins.search: from tune_plugins.search import Searcher",
    "tune_plugins.TrialPlateauStopper": "It lives in tune_plugins.stoppers: from tune_plugins.stoppers import "
    "TrialPlateauStopper",
    "tune_plugins.schedulers.Stopper": "It lives in tune_plugins: from tune_plugins import Stopper",
    "tune_plugins.SyncConfig": "Nothing is uploaded while a run goes on: give RunConfig(storage_path=...), and copy "
    "the folder.",
    "tune_plugins.stopper.TimoutStopper": "Did you mean 'TimeoutStopper'?",
    "tune_plugins.tune.ASHAScheduler": "It lives in tune_plugins.schedulers: from tune_plugins.schedulers import "
    "ASHAScheduler",
    "tune_plugins.schedulers.TuneConfig": "It lives in tune_plugins: from tune_plugins import TuneConfig",
    "tune_plugins.search.BasicVariantGenerater": "Did you mean 'BasicVariantGenerator'?",
    "tune_plugins.stoppers.TimeOutStopper": "Did you mean 'TimeoutStopper'?",
    "tune_plugins.space.Floats": "Did you mean 'Float'?",
    "tune_plugins.integrations.xgbost": f"There are {FRAMEWORKS}.",
    "tune_plugins.integrations.TuneReportCallback": f"There are {CALLBACKS}, "
    "each with its own: from tune_plugins.integrations.xgboost import TuneReportCallback",
    "tune_plugins.nothing_like_it": "",
}


@pytest.mark.parametrize("full", SAID)
def test_an_unknown_name_says_what_was_meant(full: str) -> None:
    module, _, name = full.rpartition(".")
    said = f" {SAID[full]}" if SAID[full] else ""
    with pytest.raises(AttributeError) as caught:
        getattr(importlib.import_module(module), name)
    assert str(caught.value) == f"module {module!r} has no attribute {name!r}" + (said and f".{said}")
    with pytest.raises(ImportError) as refused:
        exec(f"from {module} import {name}")
    assert str(refused.value).startswith(f"cannot import name {name!r} from {module!r}")
    assert str(refused.value).endswith(said or ")")


def test_python_adds_nothing_to_what_is_said() -> None:
    code = "import tune_plugins as tune\ntune.Tunerr"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=False)
    last = "AttributeError: module 'tune_plugins' has no attribute 'Tunerr'. Did you mean 'Tuner'?"
    assert done.stderr.splitlines()[-1] == last


def test_a_worker_asks_for_no_hints() -> None:
    """`from package import module` asks the package for the name first: nothing is looked for there."""
    code = "import sys, tune_plugins.worker.process; assert 'tune_plugins.schedulers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_framework_that_is_there_but_not_imported() -> None:
    code = "import tune_plugins as tune\ntune.integrations.xgboost"
    said = "Import it first: from tune_plugins.integrations import xgboost as tune_xgboost"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(said)


def test_tools_may_ask_for_what_is_not_there() -> None:
    assert not any(hasattr(tune, name) for name in ("__wrapped__", "_repr_html_", "nothing_like_it", ""))
    assert __import__("tune_plugins.schedulers", fromlist=["", "Tuner"]) is tune.schedulers
    assert copy.copy(tune.uniform) is tune.uniform and pickle.loads(pickle.dumps(tune.Tuner)) is tune.Tuner
    scope: dict[str, object] = {}
    exec("from tune_plugins import *", scope)
    assert set(tune.__all__) <= set(scope)


def test_modules_are_there_after_one_import() -> None:
    code = (
        "import tune_plugins as tune\n"
        "tune.schedulers.ASHAScheduler, tune.search.Searcher, tune.stoppers.Stopper, tune.callbacks.Callback\n"
        "tune.testing.RecordingSession, tune.integrations, tune.space.Float, tune.errors.TuneError"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
