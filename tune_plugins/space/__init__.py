"""Search spaces: domains, grids and the configs made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tune_plugins._lazy import on_first_use

if TYPE_CHECKING:
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

# A worker copies configs, and should not pay for the domains that they were drawn from.
__getattr__ = on_first_use(
    __name__,
    {
        "domains": ["Categorical", "Domain", "Float", "Function", "Integer", "Normal"],
        "functions": [
            "choice",
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
            "uniform",
        ],
        "nested": ["flatten", "unflatten"],
        "variants": ["Space"],
    },
)


def __dir__() -> list[str]:
    return __all__
