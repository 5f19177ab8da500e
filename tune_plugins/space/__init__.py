"""Search spaces: domains, grids and the configs made of them."""

from tune_plugins.space.domains import Categorical, Domain, Float, Function, Integer, Normal
from tune_plugins.space.functions import (
    choice,
    grid_search,
    lograndint,
    loguniform,
    normal,
    qlograndint,
    qloguniform,
    qrandint,
    qrandn,
    quniform,
    randint,
    randn,
    sample_from,
    uniform,
)
from tune_plugins.space.nested import flatten, unflatten
from tune_plugins.space.variants import Space

__all__ = [
    "Categorical",
    "Domain",
    "Float",
    "Function",
    "Integer",
    "Normal",
    "Space",
    "choice",
    "flatten",
    "grid_search",
    "lograndint",
    "loguniform",
    "normal",
    "qlograndint",
    "qloguniform",
    "qrandint",
    "qrandn",
    "quniform",
    "randint",
    "randn",
    "sample_from",
    "unflatten",
    "uniform",
]
