"""Tests on a real Ray: one small one for all, started by the package itself; drivers of their own where needed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import tune_plugins as tune
from tune_plugins.record.reader import RecordedExploit
from tune_plugins.results import ResultGrid

Fit = Callable[..., ResultGrid]
HERE = Path(__file__).resolve().parent

# Whatever the machine has, a driver process started by a test has two CPUs; it may ask for its descendants.
_TWO_CPUS = """
import os, sys
from pathlib import Path
os.sched_getaffinity = lambda pid: {0, 1}
import tune_plugins as tune

def descendants(pid):
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            pass
    found, new = set(), {pid}
    while new:
        found |= new
        new = {child for child, parent in parents.items() if parent in new} - found
    return found - {pid}
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The shared Ray is started once: tests that end it, or start drivers with a Ray of their own, come last.

    Where there are several processes, each has a shared Ray, and takes file by file of both kinds.
    """

    def ends_ray(item: pytest.Item) -> bool:
        return "driver" in getattr(item, "fixturenames", ()) or item.get_closest_marker("ends_ray") is not None

    items.sort(key=ends_ray)
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.xdist_group(f"{item.path.stem}{'-last' * ends_ray(item)}"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What is marked `both_kinds` runs on forked processes and on Ray actors."""
    if metafunc.definition.get_closest_marker("both_kinds") is not None:
        metafunc.fixturenames.append("kind_of_workers")
        metafunc.parametrize("kind_of_workers", ["auto", "actors"], indirect=True)


@pytest.fixture
def kind_of_workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `RunConfig.workers` is, also in drivers that a test starts."""
    kind: str = request.param
    monkeypatch.setenv("TUNE_WORKERS", kind)
    return kind


@pytest.fixture(scope="session", autouse=True)
def _two_cpus() -> Iterator[None]:
    # In a folder of its own Ray finds no Ray of the other process; sockets lie there, so that its name has to be short.
    with (
        pytest.MonkeyPatch.context() as patch,
        TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as folder,
    ):
        patch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("RAY_TMPDIR", folder)
        yield
        tune.shutdown()


@pytest.fixture
def fit(tmp_path: Path) -> Fit:
    """Runs trials on the shared Ray: ``fit(train, {"x": 1}, mode="min", stop=...)``."""
    tune_names = tune.TuneConfig.__dataclass_fields__
    failure_names = tune.FailureConfig.__dataclass_fields__
    checkpoint_names = tune.CheckpointConfig.__dataclass_fields__

    def run(train: Any, space: dict[str, Any] | None = None, **options: Any) -> ResultGrid:
        chosen = {n: options.pop(n) for n in list(options) if n in tune_names}
        failure = {n: options.pop(n) for n in list(options) if n in failure_names}
        keep = {n: options.pop(n) for n in list(options) if n in checkpoint_names}
        config = tune.RunConfig(
            **{"storage_path": tmp_path / "results", "verbose": 0, **options},
            failure_config=tune.FailureConfig(**failure),
            checkpoint_config=tune.CheckpointConfig(**keep),
        )
        tuner = tune.Tuner(train, param_space=space, tune_config=tune.TuneConfig(**chosen), run_config=config)
        return tuner.fit()

    return run


@pytest.fixture
def trained_by() -> Callable[[Sequence[RecordedExploit], int], str]:
    """Who made the state that an exploit takes over: ``trained_by(exploits, number)``."""

    def find(exploits: Sequence[RecordedExploit], number: int) -> str:
        at, donor = exploits[number].source_iteration, exploits[number].source_id
        for earlier in reversed(exploits[:number]):
            if earlier.trial_id == donor:
                if earlier.source_iteration < at:
                    break
                donor = earlier.source_id  # the donor had not got so far by itself
        return donor

    return find


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Any]]:
    """Writes a module of the user's and imports it here: ``module("helper", "ANSWER = 42")``."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made: list[str] = []

    def make(name: str, text: str) -> Any:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        made.append(name)
        sys.modules.pop(name, None)
        return __import__(name)

    yield make
    for name in made:
        sys.modules.pop(name, None)


class Driver:
    """A Python process of its own that tunes."""

    def __init__(self, directory: Path, code: str, environ: dict[str, str], interpreter: list[str]) -> None:
        script = directory / "driver.py"
        script.write_text(_TWO_CPUS + textwrap.dedent(code))
        self.process = subprocess.Popen(
            [*interpreter, str(script)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=directory,
            env={**os.environ, "TUNE_STORAGE_PATH": str(directory / "results"), "PYTHONUNBUFFERED": "1", **environ},
            start_new_session=True,
        )

    def wait_for(self, word: str) -> str:
        """Read lines of standard output up to the first that has `word`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if word in line:
                return line
        pytest.fail(f"the driver never printed {word!r}: {self.process.communicate()[1]}")

    def end(self, timeout: float = 800) -> tuple[int, str, str]:
        """Exit code, standard output (the rest of it) and standard error."""
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, err


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Starts drivers: ``driver("... tune.Tuner(...).fit()")``; the shared Ray is ended before, to leave room."""
    tune.shutdown()
    started: list[Driver] = []

    def start(code: str, environ: dict[str, str] | None = None) -> Driver:
        started.append(Driver(tmp_path, code, environ or {}, [sys.executable]))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


@pytest.fixture
def ok(driver: Callable[..., Driver]) -> Callable[..., str]:
    """Runs a driver to its end, which must be a good one, and returns what it printed."""

    def run(code: str, environ: dict[str, str] | None = None) -> str:
        code_, out, err = driver(code, environ).end()
        assert code_ == 0, f"exit code {code_}\n{out}\n{err}"
        return out

    return run
