"""Search algorithms: what configuration to try next."""

from typing import TYPE_CHECKING

from tune_plugins._imports import unknown_name
from tune_plugins.core.searcher import Fidelity, Outcome, SearchAlgorithm, Searcher, SearchTask, Signal
from tune_plugins.search.absent import hint
from tune_plugins.search.basic_variant import BasicVariantGenerator
from tune_plugins.search.by_name import create_searcher
from tune_plugins.search.evolutionary import EvolutionarySearch
from tune_plugins.search.hyperopt import HyperOptSearch
from tune_plugins.search.limiter import ConcurrencyLimiter
from tune_plugins.search.optuna import OptunaSearch
from tune_plugins.search.repeater import TRIAL_INDEX, Repeater
from tune_plugins.search.sobol import SobolSearch
from tune_plugins.space import Space, grid_search

__all__ = [
    "TRIAL_INDEX",
    "BasicVariantGenerator",
    "ConcurrencyLimiter",
    "EvolutionarySearch",
    "Fidelity",
    "HyperOptSearch",
    "OptunaSearch",
    "Outcome",
    "Repeater",
    "SearchAlgorithm",
    "SearchTask",
    "Searcher",
    "Signal",
    "SobolSearch",
    "Space",
    "create_searcher",
    "grid_search",
]

if not TYPE_CHECKING:
    __getattr__ = unknown_name(__name__, hint)
