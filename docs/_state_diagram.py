"""Draws the engine's table of transitions, so that the documentation cannot differ from the code.

The picture has one column for each status and one row for each legal move: an arrow from the column of the status
before to that of the status after, with the name of what happened. It is plain SVG in the page's own colours.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

Transitions = Mapping[str, Mapping[str, str]]

COLUMN, ROW, HEADER, LEFT = 116, 26, 44, 66


def _moves(transitions: Transitions) -> list[tuple[str, str, list[str]]]:
    """(before, after, names of what happens), one entry for each pair of statuses, staying put first."""
    moves: list[tuple[str, str, list[str]]] = []
    for before, row in transitions.items():
        pairs: dict[str, list[str]] = {}
        for name, after in row.items():
            pairs.setdefault(str(after), []).append(name)
        moves += [(str(before), after, names) for after, names in sorted(pairs.items(), key=lambda p: p[0] != before)]
    return moves


def svg(transitions: Transitions) -> str:
    """The picture: no blank lines in it, so that it can stand in Markdown."""
    x = {str(status): LEFT + i * COLUMN for i, status in enumerate(transitions)}
    moves = _moves(transitions)
    width = LEFT * 2 + (len(x) - 1) * COLUMN
    height = HEADER + (len(moves) + 1) * ROW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" font-size="11" '
        'font-family="sans-serif" fill="currentColor" stroke="none" style="max-width: 100%; height: auto">',
        "<title>Statuses of a trial and the moves between them</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="currentColor"/></marker></defs>',
    ]
    for status, at in x.items():
        parts += [
            f'<line x1="{at}" y1="{HEADER - 10}" x2="{at}" y2="{height - 8}" stroke="currentColor" '
            'stroke-opacity="0.25"/>',
            f'<rect x="{at - 52}" y="8" width="104" height="26" rx="5" fill="none" stroke="currentColor"/>',
            f'<text x="{at}" y="25" text-anchor="middle" font-weight="bold">{escape(status)}</text>',
        ]
    y, last = HEADER, ""
    for before, after, names in moves:
        y += ROW
        if before != last:
            parts.append(
                f'<line x1="8" y1="{y - 20}" x2="{width - 8}" y2="{y - 20}" stroke="currentColor" '
                'stroke-opacity="0.15" stroke-dasharray="2 3"/>'
            )
            last = before
        label, start, end = escape(", ".join(names)), x[before], x[after]
        parts.append(f'<circle cx="{start}" cy="{y}" r="3"/>')
        if start == end:
            # Staying put: a small loop, its label on the side where there is room.
            side, anchor = (1, "start") if start < width - 3 * COLUMN else (-1, "end")
            parts += [
                f'<path d="M{start} {y} c{side * 18} -12 {side * 18} 12 {side * 4} 3" fill="none" '
                'stroke="currentColor" marker-end="url(#tip)"/>',
                f'<text x="{start + side * 20}" y="{y + 4}" text-anchor="{anchor}">{label}</text>',
            ]
        else:
            side = 1 if end > start else -1
            parts += [
                f'<line x1="{start}" y1="{y}" x2="{end - side}" y2="{y}" stroke="currentColor" '
                'marker-end="url(#tip)"/>',
                f'<text x="{start + side * 8}" y="{y - 4}" text-anchor="{"start" if side > 0 else "end"}">'
                f"{label}</text>",
            ]
    return "\n".join([*parts, "</svg>"])


def table(transitions: Transitions) -> str:
    """The same as a Markdown table."""
    rows = ["| status | what happens | status after |", "|---|---|---|"]
    for before, after, names in _moves(transitions):
        then = "stays" if before == after else f"`{after}`"
        rows.append(f"| `{before}` | {', '.join(f'`{name}`' for name in names)} | {then} |")
    return "\n".join(rows)


def page(transitions: Transitions) -> str:
    """What the documentation includes."""
    return f"```{{raw}} html\n{svg(transitions)}\n```\n\n{table(transitions)}\n"
