"""How a run is judged: the regret of its incumbent over virtual time."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import pairwise

from benchmarks.taskset.data import Task

WORKERS = 4
FULL_TRAININGS = 20
"""Budget of a run: the work of so many full trainings, all workers together."""
POINTS = 100
"""Equal parts of the budget at whose ends the regret is kept for the plot."""


def budget(task: Task) -> float:
    """Virtual time of a run, in steps."""
    return FULL_TRAININGS * task.steps / WORKERS


def order_of(task: Task, seed: int) -> list[int]:
    """The configurations in the order in which a run tries them, drawn at random; the same for all methods."""
    order = list(range(len(task.curves)))
    random.Random(f"{task.name}:{seed}").shuffle(order)
    return order


def judge(task: Task, reports: Iterable[tuple[float, float]]) -> tuple[float, list[float]]:
    """Mean of the incumbent's regret over the budget's virtual time, and its course.

    The incumbent is the model of the smallest validation loss reported so far, by any trial at any step (a tuner that
    keeps the best checkpoint has it in hand). Before the first report the regret is 1.

    Args:
        task: whose curves were run.
        reports: virtual time and validation loss of each report within the budget, in any order.
    """
    end = budget(task)
    regret, changes = 1.0, [(0.0, 1.0)]
    for time, loss in sorted((time, task.regret(loss)) for time, loss in reports if time <= end):
        if loss < regret:
            regret = loss
            changes.append((time, regret))
    mean = sum((after - at) * value for (at, value), (after, _) in pairwise([*changes, (end, 0.0)])) / end
    course, place = [], 0
    for point in range(1, POINTS + 1):
        while place + 1 < len(changes) and changes[place + 1][0] <= point * end / POINTS:
            place += 1
        course.append(changes[place][1])
    return mean, course
