"""Writes the table of schedulers and cases from the suites that the tests run, so that it cannot differ from them."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def page(repository: Path) -> str:
    """The table as Markdown."""
    from tune_plugins.testing.schedulers import conformance_table

    path = repository / "tests" / "schedulers" / "test_conformance.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)
    return conformance_table(tests.SUITES) + "\n"
