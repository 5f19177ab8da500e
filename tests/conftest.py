"""What all tests share."""

from __future__ import annotations

import gc
import json
import os
import runpy
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

# Fixed when Keras is imported; the tests start the other one themselves.
os.environ.setdefault("KERAS_BACKEND", "torch")
# Before NumPy and PyTorch look at it. The models are tiny: more threads only wait for each other, and cores are used by
# several processes. The processes that tests start have it as well, so states can be compared to the last bit.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hypothesis
import pytest

pytest_plugins = ("adapter_table",)

hypothesis.settings.register_profile("local", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", parent=hypothesis.settings.get_profile("local"), derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


TESTS = Path(__file__).resolve().parent
RAY = TESTS / "ray"
# Frameworks; search libraries; environments and builds.
SLOW_TO_START = (TESTS / "integrations", TESTS / "search", TESTS / "test_package.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tests/run.py")
    group.addoption("--part", choices=["without-ray", "with-ray", "fast"], help="run this part of the tests only")
    group.addoption("--counts", type=Path, help="write how many tests passed, failed and were skipped to this file")


def is_in(path: Path, part: str | None) -> bool:
    """Whether a file or folder of tests belongs to a part."""
    with_ray = path.is_relative_to(RAY)
    if part == "with-ray":
        return with_ray or path in RAY.parents
    if part == "fast" and any(path.is_relative_to(slow) for slow in SLOW_TO_START):
        return False
    return part is None or not with_ray


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The files of the other parts are not even imported..."""
    return None if is_in(collection_path, config.getoption("part")) else True


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """... except where they were named on the command line."""
    part = config.getoption("part")
    out = [
        item
        for item in items
        if not is_in(item.path, part) or (part == "fast" and item.get_closest_marker("slow") is not None)
    ]
    if out:
        config.hook.pytest_deselected(items=out)
        left = set(items) - set(out)
        items[:] = [item for item in items if item in left]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if (file := config.getoption("counts")) is not None:
        found = {name: len(terminalreporter.stats.get(name, ())) for name in ("passed", "failed", "error", "skipped")}
        found["failed"] += found.pop("error")
        file.write_text(json.dumps(found))


def pytest_collection_finish() -> None:
    """Keep the garbage collector off all that the frameworks made when they were imported.

    A million objects that live to the end: each full collection looks at them for 0.2 s, and the Trainer of
    transformers makes one with each training.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that nothing left over in build/ gets into it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, source)
    for name in ("tune_plugins", "integrations"):
        shutil.copytree(repository / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(build, cwd=source, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, done.stdout
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="session", autouse=True)
def _results_in_a_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test writes into the user's ~/tune_results, neither here nor in a process started by a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNE_STORAGE_PATH", str(tmp_path_factory.mktemp("tune_results")))
        yield


@pytest.fixture
def run_here(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs an example in this process, which has its framework imported already: ``(exit code, what it printed)``."""

    def run(name: str, *options: str) -> tuple[int, str]:
        code: int | str | None = 0
        monkeypatch.setattr(sys, "argv", [name, *options])
        monkeypatch.setenv("COLUMNS", "200")  # no line of the output is wrapped
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                runpy.run_path(str(repository / "examples" / f"{name}.py"), run_name="__main__")
            except SystemExit as end:
                code = end.code
        said = capsys.readouterr()
        return int(code or 0), said.out + said.err

    return run
