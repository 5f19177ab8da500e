"""The project as a stranger gets it: the built wheel, a bare install, the README, the commands."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

import pytest
from pages import blocks

HEAVY = {"ray", "torch", "pandas", "pyarrow", "numpy", "scipy", "fsspec", "rich", "matplotlib"} | {
    *("xgboost", "lightgbm", "catboost", "lightning", "pytorch_lightning"),
    *("keras", "tensorflow", "jax", "sklearn", "optuna"),
}
FRAMEWORK_EXTRAS = {"xgboost", "lightning", "keras", "torch", "sklearn", "lightgbm", "catboost", "transformers"}
SEARCH_EXTRAS = {
    "sobol",
    "optuna",
    "hyperopt",
    "bayesopt",
    "ax",
    "nevergrad",
    "configspace",
    "flaml",
    "zoopt",
    "pareto",
}


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    """Output of a command that must succeed; outside the checkout nothing of it may be importable by accident."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "RAY_ADDRESS")} | env
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="session")
def project(repository: Path) -> dict[str, Any]:
    return tomllib.loads((repository / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="session")
def bare_python(wheel: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of a new environment that holds the wheel and its base dependencies only."""
    home = tmp_path_factory.mktemp("bare")
    venv.create(home, with_pip=False)
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile", "--no-input")
    run(*pip, "-c", repository / "constraints.txt", wheel, cwd=home)
    return python


def project_files(repository: Path) -> Iterator[Path]:
    """Text files of the project: what git tracks or would track; in an unpacked archive, what was not made later."""
    made = {"build", "dist", "_build", "generated", "output", "__pycache__"}
    if (repository / ".git").exists() and shutil.which("git"):
        listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=repository)
        paths = [repository / name for name in listed.split("\0") if name]
    else:
        paths = [
            path
            for path in repository.rglob("*")
            if not any(
                part in made or part.startswith((".venv", ".git")) or part.endswith(("_cache", ".egg-info"))
                for part in path.relative_to(repository).parts[:-1]
            )
        ]
    for path in paths:
        if path.is_file() and path.suffix not in {".png", ".ubj", ".gz", ".zip", ".db"}:
            yield path


# ------------------------------------------------------------------------------------------ the wheel


def test_wheel_holds_exactly_the_packages_of_the_checkout(wheel: Path, repository: Path) -> None:
    sources = {
        Path(imported, path.relative_to(repository / folder)).as_posix()
        for folder, imported in (("tune_plugins", "tune_plugins"), ("integrations", "tune_plugins/integrations"))
        for path in (repository / folder).rglob("*.py")
    }
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == sources | {"tune_plugins/py.typed"}


def test_wheel_ships_one_top_level_name(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"tune_plugins"}


def test_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        header = HeaderParser().parsestr(archive.read(metadata).decode())
        assert any(name.endswith("/licenses/LICENSE") for name in archive.namelist())
    version = re.search(r'__version__ = "(.+)"', zipfile.ZipFile(wheel).read("tune_plugins/_version.py").decode())
    assert version and header["Version"] == version[1] == "0.1.0"
    assert header["Requires-Python"] == ">=3.11"
    base = {re.split(r"[^\w.-]", line)[0] for line in header.get_all("Requires-Dist", []) if "extra ==" not in line}
    assert base == {"ray", "cloudpickle", "filelock", "fsspec", "rich", "pandas", "sortedcontainers"}


def test_extras_are_complete(project: dict[str, Any]) -> None:
    extras = project["optional-dependencies"]
    user = FRAMEWORK_EXTRAS | SEARCH_EXTRAS | {"tensorboard", "mlflow", "wandb", "comet", "plot"}
    assert set(extras) == user | {"all", "bench", "demo", "dev", "dev-light", "docs"}
    inside = {name for line in extras["all"] for name in line.partition("[")[2].rstrip("]").split(",")}
    assert inside == user


def test_editable_install_imports_adapters_from_their_folder(repository: Path, tmp_path: Path) -> None:
    code = "import tune_plugins.integrations as i, tune_plugins as t; print(*i.__path__, t.__file__, sep='\\n')"
    lines = run(sys.executable, "-c", code, cwd=tmp_path).splitlines()
    assert str(repository / "integrations") in lines
    assert str(repository / "tune_plugins" / "__init__.py") in lines


# ------------------------------------------------------------------------------------- the bare install

TUNING = """
import json
import sys

import tune_plugins as tune


def train(config):
    for step in range(3):
        tune.report({"loss": (config["x"] - 1) ** 2 + 1 / (step + 1)})


if __name__ == "__main__":
    results = tune.Tuner(
        train,
        param_space={"x": tune.uniform(0, 2)},
        tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=4, max_concurrent_trials=1, seed=1),
        run_config=tune.RunConfig(storage_path=sys.argv[1], verbose=0),
    ).fit()
    best = results.get_best_result()
    print(json.dumps([len(results), results.num_errors, best.config["x"], best.metrics["loss"]]))
"""

MISSING = """
from tune_plugins.errors import MissingDependencyError

try:
    import tune_plugins.integrations.xgboost as adapter
    adapter.TuneReportCheckpointCallback()
except MissingDependencyError as error:
    print(error.module, error.extra)
    print(error)
"""


@pytest.mark.slow
def test_bare_install_runs_a_tuning(bare_python: Path, tmp_path: Path) -> None:
    (tmp_path / "tuning.py").write_text(TUNING)
    printed = run(bare_python, "tuning.py", tmp_path / "results", cwd=tmp_path)
    count, errors, x, loss = json.loads(printed.splitlines()[-1])
    assert (count, errors) == (4, 0)
    assert 0 <= x <= 2
    assert loss == pytest.approx((x - 1) ** 2 + 1 / 3)


@pytest.mark.slow
def test_bare_install_names_missing_module_and_extra(bare_python: Path, tmp_path: Path) -> None:
    first, *message = run(bare_python, "-c", MISSING, cwd=tmp_path).splitlines()
    assert first == "xgboost xgboost"
    assert "pip install 'tune-plugins[xgboost]'" in " ".join(message)


def test_import_loads_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys, tune_plugins; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = set(run(sys.executable, "-c", code, cwd=tmp_path).split())
    assert "tune_plugins" in loaded
    assert loaded.isdisjoint(HEAVY), f"import tune_plugins loads {sorted(loaded & HEAVY)}"


# --------------------------------------------------------------------------------- README and commands


@pytest.mark.slow
def test_readme_code_runs(repository: Path, tmp_path: Path) -> None:
    code = blocks(repository / "README.md")
    assert code
    (tmp_path / "readme.py").write_text("\n".join(code))
    run(sys.executable, "readme.py", cwd=tmp_path)


def test_make_targets_named_in_readme_exist(repository: Path) -> None:
    named = set(re.findall(r"\bmake ([a-z]+)\b(?=[`\s])", (repository / "README.md").read_text()))
    targets = set(re.findall(r"^([a-z]+):", (repository / "Makefile").read_text(), re.M))
    assert {"demo", "test"} <= named <= targets
    assert targets >= {"demo", "test", "lint", "bench", "docs", "clean"}


def test_readme_names_the_adapters_there_are(repository: Path) -> None:
    (row,) = (line for line in (repository / "README.md").read_text().splitlines() if line.startswith("| adapters |"))
    named = set(re.findall(r"`([a-z_]+)`", row))
    there = {path.stem for path in (repository / "integrations").glob("[!_]*.py")}
    assert named == there


def test_the_docs_name_the_pythons_and_systems_of_the_package(repository: Path, project: dict[str, Any]) -> None:
    page = (repository / "docs" / "installation.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| ([\d., ]+) \|", page.partition("\n## What is tested where\n")[2], re.M)
    classifiers = "\n".join(project["classifiers"])
    systems = {system.partition(",")[0].lower() for system, _ in rows}
    assert systems == {name.lower() for name in re.findall(r"^Operating System :: .*?(\w+)$", classifiers, re.M)}
    pythons = {version for _, versions in rows for version in versions.split(", ")}
    assert pythons == set(re.findall(r"^Programming Language :: Python :: (3\.\d+)$", classifiers, re.M))
    oldest = min(pythons, key=lambda version: int(version.partition(".")[2]))
    assert project["requires-python"] == f">={oldest}"
    for text in (page, (repository / "README.md").read_text(encoding="utf-8")):
        assert set(re.findall(r"Python (3\.\d+) or newer", text)) == {oldest}


def test_pinned_versions_satisfy_the_ranges(repository: Path, project: dict[str, Any]) -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = [line for line in (repository / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    extras = project["optional-dependencies"]
    asked = [text for name in ("demo", "dev", "dev-light", "docs", "xgboost") for text in extras[name]]
    for text in project["dependencies"] + asked:
        wanted = Requirement(text)
        if wanted.name != "tune-plugins":
            assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), text


# -------------------------------------------------------------------------------------- tidy sources

CORE = ("core", "stoppers", "schedulers", "search", "space")
"""Modules and packages that decide: the same events give the same commands, whenever and wherever."""
OUTSIDE = {"time", "threading", "multiprocessing", "subprocess", "socket", "asyncio", "os", "sqlite3", "pathlib", "ray"}
NO_PART_OF_A_RUN = {
    "schedulers/pbt_replay.py": {"os", "pathlib.Path"},  # reads what an earlier run has recorded
    "schedulers/pbt_log.py": {"pathlib.Path"},  # a callback, which the driver calls
    "stoppers.py": {"time"},  # a time-out that is asked by hand
}
"""What modules of the core may do where no run is decided."""


def imported_names(path: Path) -> Iterator[str]:
    """Dotted names of all modules that a file imports, wherever in it, and of the names taken from them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_core_has_no_clock_file_thread_or_ray(repository: Path) -> None:
    package = repository / "tune_plugins"
    files = [path for path in package.rglob("*.py") if path.relative_to(package).with_suffix("").parts[0] in CORE]
    assert len(files) > 20
    found = [
        f"{path.relative_to(package)} imports {name}"
        for path in files
        for name in imported_names(path)
        if name.partition(".")[0] in OUTSIDE
        and name != "os.PathLike"  # a type
        and name not in NO_PART_OF_A_RUN.get(path.relative_to(package).as_posix(), ())
    ]
    assert not found, "\n".join(found)


def test_only_the_ray_shell_imports_ray(repository: Path) -> None:
    found = {
        path.relative_to(repository).as_posix()
        for folder in ("tune_plugins", "integrations")
        for path in (repository / folder).rglob("*.py")
        if any(name.partition(".")[0] == "ray" for name in imported_names(path))
    }
    assert found
    assert {name for name in found if not name.startswith("tune_plugins/driver/ray/")} == set()


def test_no_file_names_a_path_of_one_machine(repository: Path) -> None:
    personal = re.compile(r"(?<![\w.:/~*-])/(?:(?:home|Users)/(?!me/)|root/|mnt/|opt/)\w|file:///\w")
    found = [
        f"{path.relative_to(repository)}:{number}: {line.strip()}"
        for path in project_files(repository)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if personal.search(line)
    ]
    assert not found, "\n".join(found)


def test_only_benchmarks_import_ray_tune(repository: Path) -> None:
    found = [
        f"{path.relative_to(repository)}: {name}"
        for path in project_files(repository)
        if path.suffix == ".py" and "benchmarks" not in path.relative_to(repository).parts
        for name in imported_names(path)
        if re.match(r"ray\.(tune|train|air)\b", name)
    ]
    assert not found, f"the engine stands on Ray Core alone, yet these import Ray's libraries: {found}"
