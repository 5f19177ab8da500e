"""HTML for notebooks. All text is escaped; there are no scripts and no addresses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from tune_plugins.display.text import clean

if TYPE_CHECKING:
    from tune_plugins.display.lines import Line

_CSS = {
    "bold": "font-weight:bold",
    "dim": "opacity:0.7",
    "italic": "font-style:italic",
    "green": "color:#1a7f37",
    "cyan": "color:#0b7285",
    "yellow": "color:#9a6700",
    "red": "color:#cf222e",
    "bright_black": "color:#8c959f",
}
"""Of the words of a style; all colours can be read on white and on black."""


def preformatted(lines: Iterable[Line]) -> str:
    """Styled lines, in columns as in a terminal."""
    rows = ("".join(_span(text, style) for text, style in parts) for parts in lines)
    return f'<pre style="line-height:1.25;white-space:pre">{chr(10).join(rows)}</pre>'


def _span(text: str, style: str) -> str:
    css = ";".join(_CSS[word] for word in style.split() if word in _CSS)
    return f'<span style="{css}">{escape(text)}</span>' if css else escape(text)


def block(*parts: str) -> str:
    """Parts below each other."""
    return f"<div>{''.join(parts)}</div>"


def paragraph(title: str, text: str = "") -> str:
    """A bold beginning and what follows it."""
    return f"<p><b>{_text(title)}</b> {_text(text)}</p>"


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], bold: int | None = None) -> str:
    """Rows of text below their titles; row number `bold` in bold type."""
    head = "".join(f"<th>{_text(title)}</th>" for title in titles)
    body = (
        "".join(f"<td>{f'<b>{_text(cell)}</b>' if number == bold else _text(cell)}</td>" for cell in row)
        for number, row in enumerate(rows)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(f'<tr>{row}</tr>' for row in body)}</tbody></table>"


def _text(text: str) -> str:
    return escape(clean(text, 1000))
