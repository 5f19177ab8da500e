"""Ranking points by several objectives at once; less is better in each. NumPy is imported on use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Points = np.ndarray[Any, np.dtype[np.float64]]


def dominates(points: Points, point: Sequence[float]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """For each of `points` (n x objectives): whether it is nowhere worse than `point` and somewhere better."""
    import numpy as np

    return np.logical_and((points <= point).all(axis=1), (points < point).any(axis=1))


def non_dominated(points: Sequence[Sequence[float]]) -> list[int]:
    """Numbers of the points that no other one dominates, in order; of equal ones all."""
    import numpy as np

    array = np.asarray(points, dtype=float)
    return [number for number, point in enumerate(points) if not dominates(array, point).any()]


class Fronts:
    """Points sorted into non-dominated fronts, kept up to date as points arrive.

    A point of front k is dominated by some point of front k - 1 and by none of its own front (Deb et al.: *A Fast and
    Elitist Multiobjective Genetic Algorithm: NSGA-II*, 2002). A new point goes to the first front that does not
    dominate it, and pushes down those that it dominates (Li, Deb, Zhang, Kwong: *Efficient Nondomination Level
    Update Method*, IEEE Trans. Cybernetics 2017): the sorting is never done anew.
    """

    def __init__(self) -> None:
        self._fronts: list[Points] = []
        self.total = 0

    def __len__(self) -> int:
        return self.total

    @property
    def sizes(self) -> list[int]:
        """Number of points in each front, the best one first."""
        return [len(front) for front in self._fronts]

    def front(self, number: int) -> Points:
        """Points of a front in order of arrival in it."""
        return self._fronts[number]

    def add(self, point: Sequence[float]) -> int:
        """Note a point and return the number of its front, from 0."""
        import numpy as np

        self.total += 1
        # Whether a front dominates the point is monotone in its number: a front that does not is followed by none.
        low, high = 0, len(self._fronts)
        while low < high:
            middle = (low + high) // 2
            if dominates(self._fronts[middle], point).any():
                low = middle + 1
            else:
                high = middle
        moving = np.asarray([point], dtype=float)
        number = low
        while len(moving):
            if number == len(self._fronts):
                self._fronts.append(moving)
                break
            front = self._fronts[number]
            pushed = np.zeros(len(front), dtype=bool)
            for one in moving:
                pushed |= (one <= front).all(axis=1) & (one < front).any(axis=1)
            self._fronts[number] = np.concatenate([front[~pushed], moving])
            moving, number = front[pushed], number + 1
        return low


def spread_rank(front: Points, last: int, places: int) -> int | None:
    """Rank from 1 of point number `last` when `places` points of a front are taken so that they lie far apart.

    An epsilon-net (Clarkson 2006), as multi-objective ASHA breaks ties (Schmucker et al. 2021, section 3): the first
    point taken is the best one in the first objective, each further one is the one farthest from those taken. Each
    objective is divided by its range in the front, so that units do not matter; among equals the older one is taken.

    Returns:
        The rank, or None if the point is not among the `places`.
    """
    import numpy as np

    low, high = front.min(axis=0), front.max(axis=0)
    width = np.where(high > low, high - low, 1.0)
    # One array for each objective: summing over the short axis of a matrix would take most of the time.
    columns = [np.ascontiguousarray(column) for column in ((front - low) / width).T]
    taken = int(np.argmin(columns[0]))
    distance = np.full(len(front), np.inf)
    step, gap = np.empty(len(front)), np.empty(len(front))
    for rank in range(1, min(places, len(front)) + 1):
        if taken == last:
            return rank
        step.fill(0.0)
        for column in columns:
            np.subtract(column, column[taken], out=gap)
            np.multiply(gap, gap, out=gap)
            np.add(step, gap, out=step)
        np.minimum(distance, step, out=distance)
        distance[taken] = -1.0
        taken = int(distance.argmax())
    return None
