"""Notes what came of each case of each adapter's suite, and keeps the table in the documentation up to it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tune_plugins.testing.adapters import AdapterConformance, conformance_table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "frameworks" / "conformance.md"
BEGIN, END = "<!-- table from the test run: begin -->\n", "<!-- table from the test run: end -->\n"


@pytest.fixture(autouse=True)
def _environment_is_put_back() -> Iterator[None]:
    """As a worker does it behind each trial."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


suites: dict[str, type[AdapterConformance]] = {}
outcomes: dict[tuple[str, str], str] = {}


def cases() -> list[str]:
    return [name.removeprefix("test_") for name in vars(AdapterConformance) if name.startswith("test_")]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Generator[None, Any, Any]:
    report = yield
    suite = getattr(item, "cls", None)
    if inspect.isclass(suite) and issubclass(suite, AdapterConformance):
        case = item.originalname.removeprefix("test_") if isinstance(item, pytest.Function) else ""
        suites[suite.label] = suite
        key = (suite.label, case)
        if report.when == "call" or report.outcome != "passed":
            worse = outcomes.get(key, "passed") != "passed"
            outcomes[key] = outcomes[key] if worse else report.outcome
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the table where all adapters ran all cases; in continuous integration an old one is an error."""
    complete = suites and all((label, case) in outcomes for label in suites for case in cases())
    files = list(PAGE.parents[2].glob("tests/integrations/test_*_conformance.py"))
    if not complete or len({suite.module for suite in suites.values()}) < len(files):
        return
    ordered = [suites[label] for label in sorted(suites, key=str.lower)]
    before = PAGE.read_text(encoding="utf-8")
    head, _, rest = before.partition(BEGIN)
    after = f"{head}{BEGIN}\n{conformance_table(ordered, outcomes)}\n{END}{rest.partition(END)[2]}"
    if after == before:
        return
    PAGE.write_text(after, encoding="utf-8")
    print(f"\n{PAGE.name}: the table of adapters and cases has changed; commit the file.")
    if os.environ.get("CI") and session.exitstatus == 0:
        session.exitstatus = 1
