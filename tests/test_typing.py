"""What type checkers say of users' scripts: mypy and pyright report what is wrong, and nothing else.

The scripts in `tests/typed` mark each line that is to be reported with ``# wrong``, or ``# wrong: mypy`` where pyright
lets it pass. The checkers look at the built wheel, as they do at users'. Other packages are not there: their code would
take most of the time.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from collections import defaultdict
from pathlib import Path

import pytest
from pages import blocks, pages

pytestmark = pytest.mark.slow  # a wheel, an environment, two checkers without a cache

TYPED = Path(__file__).parent / "typed"
MYPY = "[mypy]\nstrict = True\nignore_missing_imports = True\n"
PYRIGHT = {"reportMissingImports": False, "reportMissingModuleSource": False}
# The code in the pages has no types; and that a trial has a checkpoint is clear from the text around it.
IN_PAGES = """
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-subclassing-any
# mypy: disable-error-code=union-attr
# pyright: reportOptionalMemberAccess=false, reportPossiblyUnboundVariable=false
"""


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of an environment that holds the wheel, and nothing else."""
    home = tmp_path_factory.mktemp("user")
    venv.create(home, with_pip=False, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", site, wheel)
    subprocess.run(pip, check=True)
    return home / "bin" / "python"


@pytest.fixture(scope="module")
def differences(python: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Where the checkers say something else than the marks, by the name of the script."""
    folder = tmp_path_factory.mktemp("scripts")
    scripts = {path.name: path.read_text(encoding="utf-8") for path in TYPED.glob("*.py")}
    for page, code in {**pages(), "README.md": blocks(repository / "README.md")}.items():
        scripts[f"page_{re.sub('[^a-z]', '_', page.lower())}.py"] = "\n".join(code) + IN_PAGES
    for name, text in {**scripts, "mypy.ini": MYPY, "pyrightconfig.json": json.dumps(PYRIGHT)}.items():
        (folder / name).write_text(text, encoding="utf-8")
    said: defaultdict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for name, line, message in re.findall(
        r"^(.+?):(\d+): error: (.*)$", run("mypy", f"--python-executable={python}", *scripts, cwd=folder), re.M
    ):
        said[name, int(line)]["mypy"] = message
    problems = json.loads(run("pyright", "--outputjson", f"--pythonpath={python}", cwd=folder))["generalDiagnostics"]
    for problem in problems:
        if problem["severity"] == "error":
            said[Path(problem["file"]).name, problem["range"]["start"]["line"] + 1]["pyright"] = problem["message"]
    found: dict[str, list[str]] = {name: [] for name in scripts}
    for name, text in scripts.items():
        for number, line in enumerate(text.splitlines(), 1):
            mark = re.search(r"# wrong(: mypy)?$", line)
            expected = set() if mark is None else {"mypy"} if mark[1] else {"mypy", "pyright"}
            given = said.pop((name, number), {})
            if set(given) != expected:
                found[name].append(f"{name}:{number}: {line.strip()}\n    expected {sorted(expected)}, got {given}")
    assert not said, f"errors elsewhere: {dict(said)}"
    return found


def run(checker: str, *options: str, cwd: Path) -> str:
    environment = os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}  # it does not ask for a newer version
    command = [sys.executable, "-m", checker, *options]
    done = subprocess.run(command, cwd=cwd, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def test_checkers_report_what_is_wrong_and_nothing_else(differences: dict[str, list[str]]) -> None:
    scripts = [path.name for path in TYPED.glob("*.py")]
    assert len(scripts) >= 3
    wrong = [line for script in scripts for line in differences[script]]
    assert not wrong, "\n".join(wrong)


def test_checkers_accept_the_code_in_the_pages(differences: dict[str, list[str]]) -> None:
    found = [lines for name, lines in differences.items() if name.startswith("page_")]
    assert len(found) > 15
    wrong = [line for lines in found for line in lines]
    assert not wrong, "\n".join(wrong)
