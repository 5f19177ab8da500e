"""How trials compare that were told to a searcher: some of them cut short, some of them by several metrics.

A trial that a scheduler stopped early did worse than others that had come as far, so it stands behind all that went on
from there, whatever its value: first come the trials that went to their end, then those that were stopped, the longest
run ones first. Among trials that came as far, less loss is better; of several metrics, the non-dominated front and the
crowding distance decide (Deb, Pratap, Agarwal and Meyarivan, 2002, A fast and elitist multiobjective genetic algorithm:
NSGA-II, sections III-A and III-B).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from tune_plugins.arguments import Mistakes
from tune_plugins.core.evaluated import as_number
from tune_plugins.core.metrics import lookup
from tune_plugins.core.searcher import Fidelity, Outcome, SearchTask

Standing = tuple[float, tuple[float, ...]]
"""How far a trial came, as of `reached`, and its losses."""


def goal_mistakes(task: SearchTask, *, several: bool = True) -> list[str]:
    """Why a task has no metric that a searcher could optimise, in words.

    Args:
        task: with the searcher's own metric and mode, if it has them.
        several: the searcher can optimise several metrics at a time.
    """
    found = Mistakes("")
    remedy = "Give TuneConfig(metric=..., mode=...)."
    found.check(bool(task.metrics), "metric", "the name of a metric to optimise", task.metric, remedy)
    right = len(task.modes) == len(task.metrics) and all(mode in ("min", "max") for mode in task.modes)
    found.check(right, "mode", "'min' or 'max' for each metric", task.mode, remedy)
    if not several and len(task.metrics) > 1:
        found.add(
            f"metric: expected one metric, got {list(task.metrics)}. Name one, or optimise several by "
            "EvolutionarySearch or OptunaSearch."
        )
    return found.found


def reached(result: Mapping[str, Any], outcome: Outcome, fidelity: Fidelity | None) -> float:
    """How far a trial came: infinity is to its end, else the number of rungs, or the time where there are none."""
    if outcome is Outcome.COMPLETED:
        return math.inf
    time_attr = "training_iteration" if fidelity is None else fidelity.time_attr
    time = as_number(lookup(dict(result), time_attr)) or 0.0
    return bisect_right(fidelity.levels, time) if fidelity is not None and fidelity.levels else time


def ranked(standings: Sequence[Standing]) -> list[int]:
    """Their numbers, the best one first; among equals the older one."""
    order = []
    by_reach = sorted(range(len(standings)), key=lambda number: -standings[number][0])
    for _, group in groupby(by_reach, key=lambda number: standings[number][0]):
        numbers = list(group)
        if len(standings[numbers[0]][1]) == 1:
            order += sorted(numbers, key=lambda number: standings[number][1])
        else:
            places = _by_fronts([standings[number][1] for number in numbers])
            order += [numbers[place] for place in places]
    return order


def _by_fronts(points: Sequence[tuple[float, ...]]) -> list[int]:
    """Numbers of points: the non-dominated ones first, then those dominated by these alone, ..."""
    order: list[int] = []
    left = list(range(len(points)))
    while left:
        front = [p for p in left if not any(_dominates(points[q], points[p]) for q in left)]
        crowding = _crowding([points[p] for p in front])
        order += [front[place] for place in sorted(range(len(front)), key=lambda place: -crowding[place])]
        left = [p for p in left if p not in front]
    return order


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def _crowding(front: Sequence[tuple[float, ...]]) -> list[float]:
    """How far the neighbours of each point of a front are apart, over all objectives."""
    distance = [0.0] * len(front)
    for values in zip(*front, strict=True):
        order = sorted(range(len(front)), key=values.__getitem__)
        width = values[order[-1]] - values[order[0]]
        distance[order[0]] = distance[order[-1]] = math.inf
        for before, here, after in zip(order, order[1:], order[2:], strict=False):
            distance[here] += (values[after] - values[before]) / width if width else 0.0
    return distance
