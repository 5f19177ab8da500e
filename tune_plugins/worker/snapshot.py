"""One version of the user's modules for all processes of a run: their sources as they were when it began.

A file that is edited while a run goes on would be new in the processes that are started or import it later, and old in
the others. The driver reads the sources (`tune_plugins.driver.code`); a process that runs trials imports from them
whatever has changed on disk since, or is not there at all, as on another node.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType


@dataclass(frozen=True)
class Source:
    """One module.

    Attributes:
        path: of its file.
        text: what was in it.
        package: it has submodules.
        loads: how often the driver has loaded it; 0: never. What it read then may differ, with the same text.
    """

    path: str
    text: bytes
    package: bool = False
    loads: int = 0

    def same(self, later: Source) -> bool:
        """Whether it is the same in a later snapshot."""
        reloaded = self.loads and later.loads and later.loads != self.loads
        return (self.path, self.text) == (later.path, later.text) and not reloaded

    @property
    def on_disk(self) -> bool:
        """Whether the file still says the same."""
        try:
            return Path(self.path).read_bytes() == self.text
        except OSError:
            return False


@dataclass(frozen=True)
class Snapshot:
    """Sources by the name of their module."""

    sources: Mapping[str, Source] = field(default_factory=dict)

    def still_holds(self, later: Snapshot) -> bool:
        """Whether all modules in here are the same in a later one, or on disk."""
        return all(
            source.same(later.sources[name]) if name in later.sources else source.on_disk
            for name, source in self.sources.items()
        )

    def install(self) -> None:
        """From now on this process imports these modules in this version."""
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
        if self.sources:
            sys.meta_path.insert(0, _Finder(self.sources))


class _Finder(MetaPathFinder):
    """Finds what differs on disk; the rest is found as ever, with its compiled files."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        source = self._sources.get(fullname)
        if source is None or source.on_disk:
            return None
        inside = [str(Path(source.path).parent)] if source.package else None
        loader = _Loader(fullname, source)
        return spec_from_file_location(fullname, source.path, loader=loader, submodule_search_locations=inside)


class _Loader(SourceLoader):
    def __init__(self, name: str, source: Source) -> None:
        self._name, self._source = name, source

    def get_filename(self, fullname: str) -> str:
        return self._source.path

    def get_data(self, path: str) -> bytes:
        return self._source.text if path == self._source.path else Path(path).read_bytes()
