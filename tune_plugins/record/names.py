"""Which names may become part of a path."""

from __future__ import annotations

import re

from tune_plugins.core.names import as_file_name

_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,100}")
# Separators of paths on every system, what a terminal would obey, ends of lines, and what UTF-8 cannot hold.
_FORBIDDEN = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def check_name(what: str, name: object) -> str | None:
    """A mistake in words where `name` may not be the name of an experiment, else None; see `numbered`."""
    if not isinstance(name, str) or _FORBIDDEN.search(name) or not name.strip(" ."):
        return (
            f"{what}: expected text without / and \\ and control characters (not only dots and spaces), got {name!r}. "
            "Choose such a name; put folders into storage_path."
        )
    return None


def is_plain(name: object) -> bool:
    """Whether `name` is 1 to 100 characters out of A-Z a-z 0-9 . _ - (not only dots): a file name as it stands."""
    return isinstance(name, str) and _PLAIN.fullmatch(name) is not None and name.strip(".") != ""


def numbered(name: str, number: int) -> tuple[str, str]:
    """The `number`-th name of experiments that are called alike, from 1: for people, and as that of a folder.

    >>> numbered("Größe 3", 1), numbered("lr=0.1", 2)
    (('Größe 3', 'Gr_e_3'), ('lr=0.1-2', 'lr=0.1-2'))
    """
    end = f"-{number}" if number > 1 else ""
    return name + end, as_file_name(name, end)
