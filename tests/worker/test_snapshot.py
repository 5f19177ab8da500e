"""A process imports the version of a module that its run has begun with."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path

import pytest

from tune_plugins.worker.snapshot import Snapshot, Source


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("snapped", "snapped_package", "snapped_package.inner"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def _source(path: Path, text: str) -> Source:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return Source(str(path), text.encode(), path.name == "__init__.py")


def test_an_edited_module_is_imported_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "snapped.py"
    Snapshot({"snapped": _source(path, "X = 'old'\nimport pathlib\nHERE = pathlib.Path(__file__)\n")}).install()
    path.write_text("X = 'new'\n")
    module = importlib.import_module("snapped")
    assert module.X == "old" and path == module.HERE
    assert module.__spec__ is not None and module.__spec__.origin == str(path)


def test_a_package_that_is_gone_is_imported_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "snapped_package"
    sources = {
        "snapped_package": _source(folder / "__init__.py", "from snapped_package import inner\n"),
        "snapped_package.inner": _source(folder / "inner.py", "def f():\n    return 'old'\n"),
    }
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    Snapshot(sources).install()
    package = importlib.import_module("snapped_package")
    assert package.inner.f() == "old" and package.__path__ == [str(folder)]


def test_what_has_not_changed_is_imported_as_ever(tmp_path: Path) -> None:
    Snapshot({"snapped": _source(tmp_path / "snapped.py", "X = 1\n")}).install()
    module = importlib.import_module("snapped")
    assert type(module.__loader__).__name__ == "SourceFileLoader"
    assert inspect.getsource(module) == "X = 1\n"


def test_a_new_snapshot_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    count = len(sys.meta_path)
    for text in ("X = 1\n", "X = 2\n"):
        Snapshot({"snapped": Source(str(tmp_path / "snapped.py"), text.encode())}).install()
    assert len(sys.meta_path) == count + 1
    assert importlib.import_module("snapped").X == 2
    Snapshot().install()
    assert len(sys.meta_path) == count
