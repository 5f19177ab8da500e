"""Keeps the table of adapters and cases in the documentation up to what came out of their suites.

A plugin of the whole run and not of tests/integrations, since with several processes the outcomes come together in the
one that runs no test itself. Each report of a case brings along what the table needs to know of its suite.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "frameworks" / "conformance.md"
BEGIN, END = "<!-- table from the test run: begin -->\n", "<!-- table from the test run: end -->\n"

suites: dict[str, dict[str, Any]] = {}
outcomes: dict[tuple[str, str], str] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Generator[None, Any, Any]:
    report = yield
    suite = getattr(item, "cls", None)
    if inspect.isclass(suite) and isinstance(item, pytest.Function) and hasattr(suite, "MAY_BE_DECLARED"):
        report.adapter_case = {
            "label": suite.label,
            "declared": dict(suite.declared),
            "module": suite.module,
            "case": item.originalname.removeprefix("test_"),
        }
    return report


def pytest_runtest_logreport(report: Any) -> None:
    about = getattr(report, "adapter_case", None)
    if about is None:
        return
    suites[about["label"]] = about
    if report.when == "call" or report.outcome != "passed":
        key = (about["label"], about["case"])
        outcomes[key] = report.outcome if outcomes.get(key, "passed") == "passed" else outcomes[key]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the table where all adapters ran all cases; in continuous integration an old one is an error."""
    if not suites or hasattr(session.config, "workerinput"):
        return
    from tune_plugins.testing.adapters import AdapterConformance, conformance_table

    cases = [name.removeprefix("test_") for name in vars(AdapterConformance) if name.startswith("test_")]
    files = list(PAGE.parents[2].glob("tests/integrations/test_*_conformance.py"))
    if not all((label, case) in outcomes for label in suites for case in cases):
        return
    if len({suite["module"] for suite in suites.values()}) < len(files):
        return
    ordered: Any = [SimpleNamespace(**suites[label]) for label in sorted(suites, key=str.lower)]
    before = PAGE.read_text(encoding="utf-8")
    head, _, rest = before.partition(BEGIN)
    after = f"{head}{BEGIN}\n{conformance_table(ordered, outcomes)}\n{END}{rest.partition(END)[2]}"
    if after == before:
        return
    PAGE.write_text(after, encoding="utf-8")
    print(f"\n{PAGE.name}: the table of adapters and cases has changed; commit the file.")
    if os.environ.get("CI") and session.exitstatus == 0:
        session.exitstatus = 1
