"""What type checkers say of users' scripts: mypy and pyright report what is wrong, and nothing else.

The scripts in `tests/typed` mark each line that is to be reported with ``# wrong``, or ``# wrong: mypy`` where pyright
lets it pass. The checkers look at the built wheel, as they do at users'.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from pages import blocks, pages

TYPED = Path(__file__).parent / "typed"
# Other packages are not there: their code takes most of the time, and is none of ours.
MYPY = "[mypy]\nstrict = True\nignore_missing_imports = True\n"
PYRIGHT = {"reportMissingImports": False, "reportMissingModuleSource": False}


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of an environment that holds the wheel, and nothing else."""
    home = tmp_path_factory.mktemp("user")
    venv.create(home, with_pip=False, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", site, wheel)
    subprocess.run(pip, check=True)
    return home / "bin" / "python"


def differences(
    scripts: Mapping[str, str], python: Path, folder: Path, mypy: Iterable[str] = (), **pyright: bool
) -> list[str]:
    """Where the checkers say something else than the marks in scripts, given by name, with further settings."""
    (folder / "mypy.ini").write_text(MYPY)
    (folder / "pyrightconfig.json").write_text(json.dumps(PYRIGHT | pyright))
    for name, text in scripts.items():
        (folder / name).write_text(text, encoding="utf-8")
    said: defaultdict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    out = run("mypy", f"--python-executable={python}", *mypy, *scripts, cwd=folder)
    for name, line, message in re.findall(r"^(.+?):(\d+): error: (.*)$", out, re.M):
        said[name, int(line)]["mypy"] = message
    out = run("pyright", "--outputjson", "--pythonpath", str(python), cwd=folder)
    for problem in json.loads(out)["generalDiagnostics"]:
        if problem["severity"] == "error":
            said[Path(problem["file"]).name, problem["range"]["start"]["line"] + 1]["pyright"] = problem["message"]
    found = []
    for name, text in scripts.items():
        for number, line in enumerate(text.splitlines(), 1):
            mark = re.search(r"# wrong(: mypy)?$", line)
            expected = set() if mark is None else {"mypy"} if mark[1] else {"mypy", "pyright"}
            if set(given := said.pop((name, number), {})) != expected:
                found.append(f"{name}:{number}: {line.strip()}\n    expected {sorted(expected)}, got {given}")
    return found + [f"{place}: {given}" for place, given in said.items()]


def run(checker: str, *options: str, cwd: Path) -> str:
    environment = os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}  # it does not ask for a newer version
    command = [sys.executable, "-m", checker, *options]
    done = subprocess.run(command, cwd=cwd, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def test_checkers_report_what_is_wrong_and_nothing_else(python: Path, tmp_path: Path) -> None:
    scripts = {path.name: path.read_text(encoding="utf-8") for path in TYPED.glob("*.py")}
    assert len(scripts) >= 3
    wrong = differences(scripts, python, tmp_path)
    assert not wrong, "\n".join(wrong)


def test_checkers_accept_the_code_in_the_pages(python: Path, repository: Path, tmp_path: Path) -> None:
    """As it is, without types; that there is a checkpoint is clear from the text."""
    programs = {**pages(), "README.md": blocks(repository / "README.md")}
    scripts = {re.sub(r"\W", "_", page.removesuffix(".md")) + ".py": "\n".join(code) for page, code in programs.items()}
    untyped = [f"--allow-{what}" for what in ("untyped-defs", "untyped-calls", "incomplete-defs", "subclassing-any")]
    mypy = [*untyped, "--disable-error-code=union-attr"]
    optional = {"reportOptionalMemberAccess": False, "reportPossiblyUnboundVariable": False}
    wrong = differences(scripts, python, tmp_path, mypy, **optional)
    assert not wrong, "\n".join(wrong)
