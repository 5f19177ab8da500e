"""The page of the documentation that tells what becomes of each name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from benchmarks.environment import ROOT
from benchmarks.ray_names.compare import Row, Verdict, area_of, collected, ours

PAGE = ROOT / "docs" / "moving" / "ray_names.md"

HEAD = """<!-- written by `python -m benchmarks.ray_names --page`; do not edit -->

# Names of Ray Tune

Every public name of Ray Tune {version}, and what a script finds under it once `ray.tune` is replaced by `tune_plugins`
in its imports (`ray.air.integrations` by `tune_plugins.logger`). Of {total} names {same} are the same, {different} are
different, {absent} are absent.

- **same**: takes every argument that Ray's takes, by name, and has its methods and attributes. A script that uses it
  runs among the tests.
- **different**: what is missing, and what to write.
- **absent**: what to write. An import of the name, or an argument that is not taken, says so as well.

Left out are methods by which Ray's own loop drives an object (`INNER` in `benchmarks/ray_names/notes.py`). How things
behave under the same names is told in {{doc}}`../differences-from-ray-tune`, how to move a script in
{{doc}}`from_ray_tune`.
"""


def page(rows: Sequence[Row]) -> str:
    """The page in Markdown."""
    count = Counter(row.verdict for row in rows)
    numbers = {verdict.value: count[verdict] for verdict in Verdict}
    parts = [HEAD.format(version=collected()["ray"], total=len(rows), **numbers)]
    ordered = sorted(rows, key=lambda row: (area_of(row.module), row.name.lower(), row.module))
    for area, inside in groupby(ordered, key=lambda row: area_of(row.module)):
        lines = [f"## `{area}`", "", "| name | | what differs, what to write |", "|---|---|---|"]
        parts.append("\n".join([*lines, *(_line(row, area) for row in inside)]) + "\n")
    if missing := _missing_modules(rows):
        parts.append("\n".join(["## Modules", "", "Names of these are found in other modules:", "", *missing]) + "\n")
    return "\n".join(parts)


def _line(row: Row, area: str) -> str:
    where = row.module.removeprefix(f"{area}.") if row.module != area else ""
    name = f"`{row.name}`" + f" of `{where}`" * bool(where)
    lacks = f"Without {', '.join(f'`{each}`' for each in row.missing)}. " if row.missing else ""
    return f"| {name} | {row.verdict} | {lacks}{row.text} |".replace("  |", " |")


def _missing_modules(rows: Sequence[Row]) -> list[str]:
    found = sorted((other, row.name, row.module) for row in rows for other in row.elsewhere)
    return [f"- `from {ours(other)} import {name}`: write `from {ours(home)}`." for other, name, home in found]
