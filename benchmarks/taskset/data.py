"""Reads the tasks: learning curves of 1,000 configurations of an optimizer on six real trainings (TaskSet).

Metz, Maheswaranathan, Sun, Freeman, Poole, Sohl-Dickstein: *Using a thousand optimization tasks to learn
hyperparameter search strategies*, 2020, https://arxiv.org/abs/2002.11887. The data is read from a folder of the user's
and is no part of this project: one ``<task>.npz`` a task with ``valid_loss`` (configurations x points, float32).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks.registry import NotRun

VARIABLE = "TUNE_BENCH_TASKSET"


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: of its file.
        curves: validation loss after each step of each configuration, NaN where it has diverged.
        untrained: validation loss before any training, the median over the configurations.
        best: smallest validation loss of any configuration at any step.
    """

    name: str
    curves: list[list[float]]
    untrained: float
    best: float

    @property
    def steps(self) -> int:
        """Length of a full training; a step is 1/50 of it and takes one unit of virtual time."""
        return len(self.curves[0])

    def regret(self, loss: float) -> float:
        """0 for the best loss there is, 1 for that of an untrained model and whatever is worse, NaN included."""
        if not loss < self.untrained:
            return 1.0
        return (loss - self.best) / (self.untrained - self.best)


def find_folder(given: str | None) -> Path:
    """The folder with the tasks: as given, else of the environment variable.

    Raises:
        NotRun: there are no tasks; says where they were looked for.
    """
    named = given or os.environ.get(VARIABLE)
    folder = Path(named).resolve() if named else None
    if folder is None or not any(folder.glob("*.npz")):
        raise NotRun(
            f"no learning curves (*.npz) in {folder or 'any folder named'}. They are no part of this project: give the "
            f"folder that holds the TaskSet curves with --taskset DIR or in the environment variable {VARIABLE}."
        )
    return folder


def read_tasks(folder: Path) -> list[Task]:
    """All tasks of a folder, by name."""
    import numpy as np

    tasks = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as data:
            losses = data["valid_loss"].astype(float)
        # The first point is measured before training: it is the same for all configurations but for the initial
        # weights, costs nothing and says nothing, so that it is no step.
        trained = losses[:, 1:]
        tasks.append(
            Task(
                name=path.stem,
                curves=trained.tolist(),
                untrained=float(np.median(losses[:, 0])),
                best=float(trained[np.isfinite(trained)].min()),
            )
        )
    return tasks


def short_name(task: str) -> str:
    """A task's name without what all have in common."""
    return task.removeprefix("imdb_")
