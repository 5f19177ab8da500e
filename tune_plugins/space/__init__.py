"""Search spaces: domains, grids and the configs made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

FUNCTIONS = (
    "choice",
    "distribution",
    "grid_search",
    "lograndint",
    "loguniform",
    "normal",
    "ordinal",
    "qlograndint",
    "qloguniform",
    "qrandint",
    "qrandn",
    "quniform",
    "randint",
    "randn",
    "sample_from",
    "uniform",
)
"""Those that people write a search space with; they are names of `tune_plugins` itself as well."""

# isort: off
if TYPE_CHECKING:
    from tune_plugins.space.constraints import Constraint as Constraint, constraint as constraint
    from tune_plugins.space.distributions import Distribution as Distribution
    from tune_plugins.space.domains import (
        Categorical as Categorical,
        Domain as Domain,
        Float as Float,
        Function as Function,
        Integer as Integer,
        Normal as Normal,
    )
    from tune_plugins.space.functions import *  # noqa: F403
    from tune_plugins.space.nested import flatten as flatten, unflatten as unflatten
    from tune_plugins.space.nodes import Parameter as Parameter
    from tune_plugins.space.variants import Space as Space
else:
    # isort: on
    from tune_plugins._imports import on_first_use

    # A worker copies configs, and should not pay for the domains that they were drawn from.
    __all__, __getattr__, __dir__ = on_first_use(
        __name__,
        {
            "constraints": ("Constraint", "constraint"),
            "distributions": ("Distribution",),
            "domains": ("Categorical", "Domain", "Float", "Function", "Integer", "Normal"),
            "functions": FUNCTIONS,
            "nested": ("flatten", "unflatten"),
            "nodes": ("Parameter",),
            "variants": ("Space",),
        },
    )
