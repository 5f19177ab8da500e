"""The code in the pages of the documentation runs, page by page, on the Ray that the tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pages import pages

PAGES = pages()


def test_there_are_pages_with_code() -> None:
    assert len(PAGES) > 15 and {"quickstart.md", "frameworks/keras.md"} <= set(PAGES)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_code_in_the_pages_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"__name__": "__main__"}
    for number, block in enumerate(PAGES[page], 1):
        exec(compile(block, f"{page}, block {number}", "exec"), space)
