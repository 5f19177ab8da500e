"""The documentation: parts that are made from the code, and the code in its pages."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
from pages import DOCS, blocks
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


def listed(page: str) -> list[str]:
    """What the toctrees of a page list, in order."""
    lists = re.findall(r"^```\{toctree\}\n((?:.*\n)*?)```$", page, re.M)
    return [line for text in lists for line in text.splitlines() if line and not line.startswith(":")]


def test_first_page_lists_every_page_once_in_the_order_of_use(repository: Path) -> None:
    docs = repository / "docs"
    pages = listed((docs / "index.md").read_text(encoding="utf-8"))
    there = {path.relative_to(docs).with_suffix("").as_posix() for path in docs.rglob("*.md")}
    apart = {"index", "benchmark_results"}  # the second is included in a page
    written = {page for page in there - apart if page.partition("/")[0] not in ("_build", "generated")}
    assert sorted(pages) == sorted(written | {"generated/api/index", "generated/examples/index"})
    guide = [page for page in pages if page.startswith("guide/")]
    assert (guide[0], guide[-1]) == ("guide/trials", "guide/debugging")
    order = ["trials", "space", "searchers", "stopping", "progress", "results", "files", "callbacks", "own_scheduler"]
    assert [page for page in guide if page.removeprefix("guide/") in order] == [f"guide/{name}" for name in order]


@pytest.mark.slow
def test_first_page_begins_with_an_example_and_the_picture_of_its_run(repository: Path) -> None:
    page = (repository / "docs" / "index.md").read_text(encoding="utf-8")
    code, shown = page.index("```python\n"), page.index("](generated/live_table.svg)")
    assert code < shown < page.index("```{toctree}") and "\n#" not in page[5:code]
    live_table = load(repository / "docs" / "_live_table.py")
    drawn = live_table.svg()
    assert drawn == live_table.svg()
    picture = ElementTree.fromstring(drawn)
    texts = [(each.text or "").replace("\xa0", " ") for each in picture.iter("{http://www.w3.org/2000/svg}text")]
    words = " ".join(texts)
    total = re.search(r"num_samples=(\d+)", page)
    assert total and f"/{total[1]} trials" in words
    assert all(name in words for name in ("eta", "max_depth", "eval-logloss", "RUNNING", "TERMINATED", "cut"))
    assert set(re.findall(r"https?://[^\s\"')]+", drawn)) == {"http://www.w3.org/2000/svg"}
    assert "@font-face" not in drawn


@pytest.mark.slow
def test_reference_has_a_page_for_each_module_and_describes_every_public_name_once(repository: Path) -> None:
    api = load(repository / "docs" / "_api.py")
    pages = api.pages()
    assert list(pages) == ["index", *listed(pages["index"])] == ["index", *api.MODULES]
    described = re.findall(r":: ([\w.]+)$", "\n".join(pages.values()), re.M)
    assert len(described) == len(set(described))
    for module in api.MODULES:
        told = re.findall(rf":: {module}\.(\w+)$", pages[module], re.M)
        told += re.findall(r"^- \{py:obj\}`[\w.]+\.(\w+)`$", pages[module], re.M)
        home = importlib.import_module(module)
        assert sorted(told) == [n for n in api.public_names(module) if not isinstance(getattr(home, n), ModuleType)]


def test_examples_link_their_sources(repository: Path) -> None:
    pages = load(repository / "docs" / "_examples.py").pages(repository)
    files = sorted(path.name for path in (repository / "examples").glob("*.py"))
    assert listed(pages["index"]) == [name.removesuffix(".py") for name in files]
    titles = re.findall(r"^## .*`(\w+\.py)`$", pages["index"], re.M)
    assert re.findall(r"\{doc\}`examples/(\w+\.py) <", pages["index"]) == titles and len(titles) > 8
    for name in files:
        sources = re.findall(r"[< ]([^\s<]+\.py)(?=>|$)", pages[name.removesuffix(".py")], re.M)
        folder = repository / "docs" / "generated" / "examples"
        assert len(sources) == 2 and {(folder / path).resolve() for path in sources} == {repository / "examples" / name}


FRAMEWORKS = sorted(path.stem for path in (DOCS / "frameworks").glob("*.md") if path.stem != "conformance")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_page_of_a_framework_shows_how_to_load_the_best_model(framework: str) -> None:
    path = DOCS / "frameworks" / f"{framework}.md"
    code = blocks(path)  # which is run, as are the examples that a page includes
    for name, begin in re.findall(r"^```\{literalinclude\} (\S+)\n:start-at: \"(.*)\"$", path.read_text("utf-8"), re.M):
        source = (path.parent / name).read_text(encoding="utf-8")
        code.append(source[source.index(begin) :])
    best = r"best\.get_best_checkpoint\(\)"
    loads = rf"^ *model = ({best}\.load_model\(|\w+\.get_model\({best}\)|search\.best_estimator_)"
    assert re.search(loads, "\n".join(code), re.M)


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
