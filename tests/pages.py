"""The code in the pages of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
MADE = {"_build", "generated"}
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)


def blocks(page: Path) -> list[str]:
    """Blocks of a page that are marked `python`, together one program; a fragment is marked `py` instead."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def pages() -> dict[str, list[str]]:
    """{page: its Python blocks}; a page without any is none of these."""
    found = {
        path.relative_to(DOCS).as_posix(): blocks(path)
        for path in sorted(DOCS.rglob("*.md"))
        if not MADE & set(path.relative_to(DOCS).parts)
    }
    return {page: code for page, code in found.items() if code}
