"""Makes the environment of its own that Ray Tune is measured in."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
RAY_TUNE = ROOT / ".venv-bench-raytune"
REQUIREMENTS = ("ray[tune]==2.60.*", "xgboost", "pandas", "numpy")


class EnvironmentFailed(RuntimeError):
    """The environment could not be made; the text says which command failed and with what."""


def ray_tune_python(say: Callable[[str], None]) -> Path:
    """The Python of the environment, which is made where it is missing or out of date.

    Versions are those of constraints.txt, hence the same as in the environment of ours.

    Args:
        say: called with a line for people about each step.

    Raises:
        EnvironmentFailed: a command failed.
    """
    python = RAY_TUNE / ("Scripts" if os.name == "nt" else "bin") / "python"
    recipe = "\n".join([*REQUIREMENTS, sys.version, CONSTRAINTS.read_text()])
    wanted = hashlib.sha256(recipe.encode()).hexdigest()
    stamp = RAY_TUNE / "recipe.sha256"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    say(f"making {RAY_TUNE.name} with {', '.join(REQUIREMENTS)} (once; several hundred MB)")
    shutil.rmtree(RAY_TUNE, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(RAY_TUNE)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "-c", str(CONSTRAINTS), *REQUIREMENTS])
    stamp.write_text(wanted)
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise EnvironmentFailed(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stdout[-3000:]}")
