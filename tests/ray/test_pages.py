"""The code in the pages of the documentation runs, page by page, on the Ray that the tests share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
MADE = {"_build", "generated"}
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)


def pages() -> dict[str, list[str]]:
    """{page: its Python blocks}; a page without any is none of these."""
    found = {
        path.relative_to(DOCS).as_posix(): BLOCK.findall(path.read_text(encoding="utf-8"))
        for path in sorted(DOCS.rglob("*.md"))
        if not MADE & set(path.relative_to(DOCS).parts)
    }
    return {page: blocks for page, blocks in found.items() if blocks}


PAGES = pages()


def test_there_are_pages_with_code() -> None:
    assert len(PAGES) > 15 and {"quickstart.md", "frameworks/keras.md"} <= set(PAGES)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_code_in_the_pages_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks marked `python` are one complete program, page by page; a fragment is marked `py` instead."""
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"__name__": "__main__"}
    for number, block in enumerate(PAGES[page], 1):
        exec(compile(block, f"{page}, block {number}", "exec"), space)
