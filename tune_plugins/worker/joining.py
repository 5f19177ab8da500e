"""Ray in a forked process: ``ray.init()``, or the first task or actor, joins the Ray of the run by itself.

The process is no worker of Ray's, so it joins as a job of its own. Its address is asked for only then: a Ray that
nothing needs is not started.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_OF_A_NEW_ONE = frozenset(
    (
        "_system_config",
        "_temp_dir",
        "_memory",
        "dashboard_host",
        "dashboard_port",
        "include_dashboard",
        "labels",
        "num_cpus",
        "num_gpus",
        "object_store_memory",
        "resources",
    )
)
"""Arguments of ``ray.init`` for a Ray that it starts; one that is joined refuses them."""


def join_on_use(environ: Callable[[], Mapping[str, str]]) -> None:
    """Have this process join Ray when it uses it.

    Args:
        environ: environment variables that say where Ray is, and how to be let in; may take as long as Ray takes to
            start, and may raise.
    """
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    if (ray := sys.modules.get("ray")) is not None:
        _wrap(ray, environ)
    else:
        sys.meta_path.insert(0, _Finder(environ))


def _wrap(ray: Any, environ: Callable[[], Mapping[str, str]]) -> None:
    init = getattr(ray.init, "__wrapped__", ray.init)

    @functools.wraps(init)
    def joining(*args: Any, **options: Any) -> Any:
        given = args or options.get("address") is not None or os.environ.get("RAY_ADDRESS")
        if not (given or ray.is_initialized()):
            options = {name: value for name, value in options.items() if name not in _OF_A_NEW_ONE}
            os.environ.update(environ())
            with suppress(Exception):  # Ray has looked at the environment when it was loaded, and does it again
                ray._raylet.Config.initialize("")
        return init(*args, **options)

    ray.init = joining


class _Finder(MetaPathFinder):
    def __init__(self, environ: Callable[[], Mapping[str, str]]) -> None:
        self._environ = environ

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "ray":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._environ)
        return spec


class _Loader(Loader):
    def __init__(self, own: Loader, environ: Callable[[], Mapping[str, str]]) -> None:
        self._own, self._environ = own, environ

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._own.exec_module(module)
        _wrap(module, self._environ)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)  # e.g. get_data, get_filename
