"""The documentation: parts that are made from the code, and the code in its pages."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
from rooms import ROOMS

from tune_plugins.core.ends import EndCause
from tune_plugins.core.transitions import TRANSITIONS

ALL_MOVES = [(str(s), name, str(after)) for s, row in TRANSITIONS.items() for name, after in row.items()]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def diagram(repository: Path) -> ModuleType:
    return load(repository / "docs" / "_state_diagram.py")


def test_table_tells_every_transition(diagram: ModuleType) -> None:
    told = set()
    for line in diagram.table(TRANSITIONS).splitlines()[2:]:
        before, names, after = (re.findall(r"`(\w+)`", cell) for cell in line.strip("|").split("|"))
        told |= {(before[0], name, after[0] if after else before[0]) for name in names}
    assert told == set(ALL_MOVES)


def test_picture_shows_every_transition(diagram: ModuleType) -> None:
    """Each arrow starts and ends in the columns of its statuses, under a label that names what happens."""
    space = "{http://www.w3.org/2000/svg}"
    picture = ElementTree.fromstring(diagram.svg(TRANSITIONS))
    texts = list(picture.iter(f"{space}text"))
    column = {float(t.attrib["x"]): t.text for t in texts if t.text in {str(status) for status in TRANSITIONS}}
    assert len(column) == len(TRANSITIONS)
    labels = [t.text or "" for t in texts if t.text not in column.values()]
    starts = [column[float(dot.attrib["cx"])] for dot in picture.iter(f"{space}circle")]
    shown = {(start, name) for start, label in zip(starts, labels, strict=True) for name in label.split(", ")}
    assert shown == {(before, name) for before, name, _ in ALL_MOVES}

    arrows = [line.attrib for line in picture.iter(f"{space}line") if "marker-end" in line.attrib]
    drawn = {
        (column[float(a["x1"])], column[min(column, key=lambda x, end=float(a["x2"]): abs(x - end))]) for a in arrows
    }
    assert drawn == {(before, after) for before, _, after in ALL_MOVES if before != after}


def test_picture_can_stand_in_markdown(diagram: ModuleType) -> None:
    assert "\n\n" not in diagram.svg(TRANSITIONS)


@pytest.mark.slow
def test_reference_describes_every_public_name(repository: Path) -> None:
    import tune_plugins

    page = load(repository / "docs" / "_api.py").page()
    described = set(re.findall(r":: ([\w.]+)$", page, re.M))
    public = {f"tune_plugins.{name}" for name in tune_plugins.__all__ if not name.startswith("__")}
    modules = {name for name in public if isinstance(getattr(tune_plugins, name.rpartition(".")[2]), ModuleType)}
    assert public - modules <= described


def test_results_page_names_every_cause_of_an_end(repository: Path) -> None:
    page = (repository / "docs" / "guide" / "results.md").read_text(encoding="utf-8")
    named = re.findall(r"`([A-Z_]+)`", "".join(line for line in page.splitlines() if re.match(r"\| `[A-Z_]+`", line)))
    assert named == [cause.value for cause in EndCause]


def test_design_names_every_room(repository: Path) -> None:
    page = (repository / "docs" / "design.md").read_text(encoding="utf-8")
    packages = {room.name.partition(".")[0] for room in ROOMS if (repository / "tune_plugins" / room.name).is_dir()}
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    named = {name.partition(".")[0] for row in rows for name in re.findall(r"`([\w.]+)`", row.split("|")[1])}
    assert packages <= named
