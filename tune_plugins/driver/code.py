"""What the code of a training function reaches: the modules it needs, the user's own among them, and whether Ray.

Looked at, not run: functions and the functions they name, in modules of the user, down to their ``import`` statements.
"""

from __future__ import annotations

import dis
import os
import re
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from tune_plugins.worker.snapshot import Snapshot, Source

_MAIN = ("__main__", "__mp_main__")  # the script itself goes by value
_MOST_FILES = 2000  # of one package of the user's
_MOST_DEEP = 3  # of containers in a config


@dataclass
class Reach:
    """What was found.

    Attributes:
        imports: modules that functions import when they are called, in order.
        environ: a function has to do with environment variables; it may set one before it imports.
        ray: how it reaches Ray, in words; empty: it does not.
    """

    imports: dict[str, None] = field(default_factory=dict)
    environ: bool = False
    ray: str = ""


def reach(function: Any) -> Reach:
    """Everything that a function, class or other callable reaches by name."""
    found = Reach()
    seen: set[int] = set()
    todo: list[Any] = [function]
    while todo:
        thing = todo.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        todo += _look_at(thing, found)
    return found


def _look_at(thing: Any, found: Reach) -> list[Any]:
    """Note what one thing has to say; returns those it leads to."""
    if isinstance(thing, ModuleType):
        if is_rays(thing.__name__):
            found.ray = found.ray or f"it names the module {thing.__name__}"
        return []
    if isinstance(thing, partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, (MethodType, staticmethod, classmethod)):
        return [thing.__func__, getattr(thing, "__self__", None)]
    if isinstance(thing, property):
        return [one for one in (thing.fget, thing.fset, thing.fdel) if one is not None]
    if isinstance(thing, FunctionType):
        return _look_at_function(thing, found)
    owner = thing if isinstance(thing, type) else type(thing)
    if is_rays(owner.__module__):
        found.ray = found.ray or f"it holds a {owner.__module__}.{owner.__qualname__}"
        return []
    if not isinstance(thing, type):
        wrapped = vars(thing).get("__wrapped__") if hasattr(thing, "__dict__") else None  # of functools.cache
        return [one for one in (wrapped, owner if is_users(owner.__module__) else None) if one is not None]
    if not is_users(thing.__module__):
        return []
    return [value for value in vars(thing).values() if isinstance(value, _CODE)] + list(thing.__bases__)


_CODE = (FunctionType, MethodType, staticmethod, classmethod, property, type, partial)


def _look_at_function(function: FunctionType, found: Reach) -> list[Any]:
    if is_rays(function.__module__):
        found.ray = found.ray or f"it names {function.__module__}.{function.__qualname__}"
        return []
    if not is_users(function.__module__):
        return []
    names: set[str] = set()
    for code in _codes(function.__code__):
        names |= {*code.co_names}
        for name in _imports(code):
            found.imports[name] = None
            if is_rays(name):
                found.ray = found.ray or f"it imports {name}"
    found.environ = found.environ or bool(names & {"environ", "putenv", "setenv"})
    leads: list[Any] = list(function.__defaults__ or ()) + list((function.__kwdefaults__ or {}).values())
    for cell in function.__closure__ or ():
        try:
            leads.append(cell.cell_contents)
        except ValueError:
            continue  # not assigned yet
    leads += [function.__globals__[name] for name in names & function.__globals__.keys()]
    for lead in list(leads):
        if isinstance(lead, ModuleType) and is_users(lead.__name__):
            leads += [vars(lead)[name] for name in names & vars(lead).keys()]
    return leads


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _imports(code: CodeType) -> Iterator[str]:
    """Modules that the import statements of a function name; relative ones are those of a package that is known."""
    before: list[Any] = [None, None]
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME" and before[-2] == 0:  # pushed before it: the level, and the names
            yield instruction.argval
        if instruction.opname != "EXTENDED_ARG":
            before.append(instruction.argval)


def holds_ray(value: Any, depth: int = _MOST_DEEP) -> bool:
    """Whether a config holds anything of Ray's: a reference to an object, the handle of an actor."""
    if isinstance(value, Mapping):
        return depth > 0 and any(holds_ray(inner, depth - 1) for inner in value.values())
    if isinstance(value, (list, tuple, set)):
        return depth > 0 and any(holds_ray(inner, depth - 1) for inner in value)
    return is_rays(type(value).__module__)


def is_rays(module: Any) -> bool:
    """Whether a module is one of Ray."""
    name = module if isinstance(module, str) else ""
    return (name == "ray" or name.startswith("ray.")) and not name.startswith("ray.cloudpickle")


# ------------------------------------------------------------------------------------- modules of the user


def is_users(module: str | None) -> bool:
    """Whether a module is the user's own: neither installed, nor of Python, nor of this package."""
    if module is None:
        return False
    if module in _MAIN or (loaded := sys.modules.get(module)) is None:
        return module in _MAIN
    return _is_users_file(getattr(loaded, "__file__", None))


@cache
def _is_users_file(path: str | None) -> bool:
    if path is None or not path.endswith(".py"):
        return False
    return not os.path.realpath(path).startswith(_not_the_users())


@cache
def _not_the_users() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    folders = {paths[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {site.getusersitepackages(), *site.getsitepackages()}
    for package in ("tune_plugins", "tune_plugins.integrations"):
        spec = find_spec(package)
        folders |= set(spec.submodule_search_locations or ()) if spec is not None else set()
    return tuple(os.path.realpath(folder) + os.sep for folder in folders)


def snapshot(imports: Iterable[str] = ()) -> Snapshot:
    """The sources of the user's modules as they are on disk now.

    Those that are loaded here, those that `imports` name, and what these import in turn; of a package all.
    """
    todo = [name for name in list(sys.modules) if name not in _MAIN and is_users(name)]
    todo += imports
    sources: dict[str, Source] = {}
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        top = name.partition(".")[0]
        if top in seen or top in _MAIN or top in sys.stdlib_module_names:
            continue
        seen.add(top)
        for found, source in _sources_of(top):
            sources[found] = source
            todo += _imported(source)
    return Snapshot(sources)


def sources_of(modules: Iterable[str]) -> dict[str, Source]:
    """The sources of those modules, and of the packages they are in, that are the user's."""
    tops = dict.fromkeys(name.partition(".")[0] for name in modules)
    return {name: source for top in tops if top not in sys.stdlib_module_names for name, source in _sources_of(top)}


def _sources_of(top: str) -> Iterator[tuple[str, Source]]:
    """The modules of a top-level module or package, if it is the user's."""
    loaded = sys.modules.get(top)
    origin = getattr(loaded, "__file__", None)
    folders = list(getattr(loaded, "__path__", ()))
    if loaded is None:
        try:
            spec = find_spec(top)
        except (ImportError, ValueError):
            return
        if spec is None:
            return
        origin, folders = spec.origin, list(spec.submodule_search_locations or ())
    if not folders:
        if origin is not None and _is_users_file(origin):
            yield from _read(top, Path(origin))
        return
    if origin is not None and not _is_users_file(origin):
        return
    for folder in map(Path, folders):
        if _is_users_file(str(folder / "__init__.py")):
            for path in _files_in(folder):
                inside = path.relative_to(folder).with_suffix("").parts
                names = inside[:-1] if inside[-1] == "__init__" else inside
                yield from _read(".".join((top, *names)), path)


def _files_in(package: Path) -> Iterator[Path]:
    """The modules of a package; what lies beside them (data, results) is not looked through without end."""
    files, looked = 0, 0
    for folder, inside, names in os.walk(package):
        inside[:] = sorted(name for name in inside if name.isidentifier() and name != "__pycache__")
        looked += 1 + len(names)
        for name in sorted(names):
            if name.endswith(".py"):
                files += 1
                yield Path(folder, name)
        if files > _MOST_FILES or looked > 20 * _MOST_FILES:
            return


def _read(name: str, path: Path) -> Iterator[tuple[str, Source]]:
    try:
        yield name, Source(str(path), path.read_bytes(), path.name == "__init__.py", _loads(name))
    except OSError:
        return


_specs: dict[str, tuple[int, Any]] = {}


def _loads(name: str) -> int:
    """How often a module was loaded here, as far as was seen: `importlib.reload` makes another spec; 0: never."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    if spec is None:
        return 0
    count, known = _specs.get(name, (0, None))
    if spec is not known:
        _specs[name] = (count + 1, spec)
    return _specs[name][0]


def _imported(source: Source) -> list[str]:
    """Names after ``import`` and ``from``, wherever they stand in a file; some that only look so do no harm."""
    return [found.decode() for found in _IMPORT.findall(source.text)]


_IMPORT = re.compile(rb"^\s*(?:from|import)\s+([A-Za-z_]\w*)", re.MULTILINE)
