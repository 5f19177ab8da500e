"""The rooms of the package, what each holds and may import: for the layering test and the table in CONTRIBUTING.md.

``python tests/rooms.py`` writes that table.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
TABLE = REPOSITORY / "CONTRIBUTING.md"
BEGIN, END = "<!-- rooms: written by tests/rooms.py -->\n", "<!-- end of rooms -->\n"


@dataclass(frozen=True)
class Room:
    """A package or module and everything in it, unless a longer name in the table is nearer.

    Attributes:
        name: dotted, below ``tune_plugins``.
        holds: for the table.
        rooms: those it imports beside itself; all of them stand above it in the table.
        libraries: third-party packages it imports, at the top of a module or inside a function.
    """

    name: str
    holds: str
    rooms: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()


ROOMS = (
    Room("_version", "the version"),
    Room("errors", "everything that is raised"),
    Room("arguments", "checks of arguments, all mistakes at once", ("errors",)),
    Room("_imports", "optional packages, names that are loaded on first use, names that are not there", ("errors",)),
    Room(
        "space",
        "domains, sampling, grids, nested configs, values as JSON",
        ("errors", "arguments", "_imports"),
        ("numpy", "scipy"),
    ),
    Room(
        "core",
        "the pure core: one state machine without Ray, clock, files or threads; the contracts of scheduler, searcher "
        "and stopper",
        ("errors", "arguments", "space"),
    ),
    Room(
        "schedulers",
        "one module an algorithm",
        ("errors", "arguments", "_imports", "space", "core"),
        ("numpy", "sortedcontainers"),
    ),
    Room("search", "one module a search method", ("errors", "arguments", "_imports", "space", "core")),
    Room(
        "stoppers",
        "stop rules, and what `RunConfig.stop` says",
        ("arguments", "_imports", "core"),
        ("sortedcontainers",),
    ),
    Room("record", "the durable record and checkpoints", ("errors", "space", "core"), ("filelock",)),
    Room(
        "session",
        "what training code and adapters talk to inside a trial, and the half of it in child processes",
        ("errors", "space", "core", "record"),
    ),
    Room("trainable", "a training as a class", ("errors", "_imports", "space", "core", "record", "session")),
    Room(
        "worker",
        "the process that runs trials, up to its end of the wire",
        ("errors", "space", "core", "record", "session", "trainable"),
    ),
    Room("callbacks", "hooks around a run", ("arguments", "_imports", "core")),
    Room(
        "logger",
        "what happens in a run, for files and for the servers of experiment trackers",
        ("errors", "arguments", "_imports", "space", "core", "session", "callbacks"),
    ),
    Room(
        "config",
        "what a user sets",
        ("errors", "arguments", "core", "schedulers", "search", "stoppers", "record", "callbacks", "logger"),
    ),
    Room("display", "what people see of a run", ("arguments", "core", "callbacks", "config"), ("IPython", "rich")),
    Room(
        "driver",
        "the loop of a run, and the runtimes that carry out the core's commands",
        (
            "errors",
            "arguments",
            "space",
            "core",
            "schedulers",
            "search",
            "stoppers",
            "record",
            "session",
            "trainable",
            "worker",
            "callbacks",
            "logger",
            "config",
        ),
    ),
    Room(
        "driver.ray",
        "the runtime on Ray; only here `ray` is imported",
        ("errors", "arguments", "core", "worker", "driver"),
        ("cloudpickle", "ray"),
    ),
    Room(
        "results",
        "what came out of an experiment",
        ("errors", "arguments", "_imports", "space", "core", "schedulers", "record", "config", "display", "driver"),
        ("pandas",),
    ),
    Room(
        "tuner",
        "`Tuner`",
        ("errors", "arguments", "space", "config", "display", "driver", "driver.ray", "results"),
    ),
    Room(
        "compat",
        "scripts that were written for Ray Tune: `run`, `ExperimentAnalysis`, where its modules are here",
        (
            "errors",
            "arguments",
            "_imports",
            "space",
            "core",
            "stoppers",
            "record",
            "callbacks",
            "config",
            "driver",
            "results",
            "tuner",
        ),
        ("pandas",),
    ),
    Room("simulation", "`simulate`", ("arguments", "space", "config", "display", "driver", "results")),
    Room(
        "testing",
        "contract suites that any implementation can run, also one outside this project",
        ("errors", "arguments", "_imports", "space", "core", "schedulers", "search", "record", "session", "driver"),
        ("hypothesis", "numpy", "pytest", "torch"),
    ),
    Room(
        "integrations",
        "adapters, one module a framework, in the folder `integrations/`",
        ("errors", "arguments", "_imports", "space", "record", "session"),
        ("catboost", "keras", "lightgbm", "lightning", "numpy", "safetensors", "torch", "transformers", "xgboost"),
    ),
    Room(
        "integrations._transformers_search",
        "the search of transformers' Trainer, which drives the whole engine",
        (
            "errors",
            "arguments",
            "space",
            "core",
            "config",
            "driver",
            "compat",
            "tuner",
            "integrations",
        ),
        ("transformers",),
    ),
    Room(
        "integrations._sklearn",
        "the parts of the searches for scikit-learn: candidates, how one is evaluated, early stopping, tables",
        ("arguments", "space", "core", "schedulers", "session", "results"),
        ("numpy", "scipy", "sklearn", "threadpoolctl"),
    ),
    Room(
        "integrations.sklearn",
        "searches with the interface of scikit-learn, which drive the whole engine",
        (
            "errors",
            "arguments",
            "_imports",
            "core",
            "session",
            "callbacks",
            "config",
            "driver",
            "results",
            "tuner",
            "integrations",
            "integrations._sklearn",
        ),
        ("joblib", "numpy", "sklearn"),
    ),
)

FRONT_DOOR = "tune_plugins"
"""The package itself: imports every name on first use, and is imported by no room."""


def modules(folders: Mapping[str, str]) -> dict[str, Path]:
    """All modules of some packages by dotted name; `folders`: package -> its folder in the checkout."""
    found = {}
    for package, folder in folders.items():
        for path in (REPOSITORY / folder).rglob("*.py"):
            parts = [package, *path.relative_to(REPOSITORY / folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Modules that a file imports, with the line: anywhere in it, also inside functions and for type checkers only.

    Of ``from package import name`` it is ``package.name`` where that is a module of `known`.
    """
    known = set(known)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import, which this project does not use"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in known else str(node.module), node.lineno


def room_of(module: str) -> Room | None:
    """The room that a module belongs to; None: in none."""
    inner = module.removeprefix("tune_plugins.")
    fitting = [room for room in ROOMS if inner == room.name or inner.startswith(f"{room.name}.")]
    return max(fitting, key=lambda room: len(room.name), default=None)


def cycle_in(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """A cycle, as the names along it; empty if there is none."""
    done: set[str] = set()
    for start in graph:
        path: list[str] = []
        stack = [(start, iter(sorted(graph[start])))]
        path.append(start)
        while stack:
            name, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                done.add(name)
                stack.pop()
                path.pop()
            elif following in path:
                return [*path[path.index(following) :], following]
            elif following in graph and following not in done:
                path.append(following)
                stack.append((following, iter(sorted(graph[following]))))
    return []


def table() -> str:
    """The rooms as a table in Markdown."""
    rows = ["| room | what it holds | what it imports |", "|---|---|---|"]
    for room in ROOMS:
        place = "integrations/" if room.name == "integrations" else f"tune_plugins/{room.name.replace('.', '/')}"
        if (REPOSITORY / f"{place}.py").exists():
            place += ".py"
        rows.append(f"| `{place}` | {room.holds} | {', '.join((*room.rooms, *room.libraries)) or 'nothing'} |")
    return "\n".join(rows) + "\n"


def replaced(text: str) -> str:
    """CONTRIBUTING.md with the table as it is now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    TABLE.write_text(replaced(TABLE.read_text(encoding="utf-8")), encoding="utf-8")
