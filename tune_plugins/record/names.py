"""Which names may become part of a path."""

from __future__ import annotations

import re

_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")


def check_name(what: str, name: object) -> str | None:
    """A mistake in words where `name` may not become part of a path, else None."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.strip(".") == "":
        return (
            f"{what}: expected 1 to 100 characters out of A-Z a-z 0-9 . _ - (not only dots), got {name!r}. "
            "Choose a plain name; put folders into storage_path."
        )
    return None
