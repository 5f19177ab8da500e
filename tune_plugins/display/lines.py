"""Styled lines: text in parts, each with a style, put together without any markup language.

Parts are never parsed, so untrusted text (names, config values, output of trials) cannot style or break anything.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.cells import cell_len, set_cell_size
from rich.text import Text

Part = tuple[str, str]
"""Text and the name of its rich style ("" for none)."""

Line = list[Part]


def line(*parts: str | Part) -> Line:
    """A line of plain strings and (text, style) pairs; empty ones are left out."""
    pairs = ((part, "") if isinstance(part, str) else part for part in parts)
    return [pair for pair in pairs if pair[0]]


def joined(lines: Iterable[Line], separator: str) -> Line:
    """Lines made one, with a separator between those that are not empty."""
    found: Line = []
    for each in lines:
        if each:
            found += [(separator, ""), *each] if found else each
    return found


def width(parts: Line) -> int:
    """Columns that a line takes."""
    return sum(cell_len(text) for text, _ in parts)


def fitted(parts: Line, columns: int) -> Line:
    """The line, cut with an ellipsis where it is wider than `columns`."""
    if width(parts) <= columns:
        return parts
    found: Line = []
    left = columns - 1
    for text, style in parts:
        size = cell_len(text)
        if size > left:
            found.append((set_cell_size(text, max(left, 0)) + "…", style))
            break
        found.append((text, style))
        left -= size
    return found


def padded(text: str, columns: int, right: bool = False) -> str:
    """The text in exactly `columns` columns, cut or filled with spaces (on the left if `right`)."""
    missing = columns - cell_len(text)
    if missing < 0:
        return set_cell_size(text, max(columns - 1, 0)) + "…"
    return " " * missing + text if right else text + " " * missing


def to_text(parts: Line) -> Text:
    """The line as a rich text."""
    text = Text(end="")
    for content, style in parts:
        text.append(content, style)
    return text
