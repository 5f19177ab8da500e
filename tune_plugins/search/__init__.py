"""Search algorithms: what configuration to try next."""

from tune_plugins.core.searcher import Searcher, Signal
from tune_plugins.search.basic_variant import BasicVariantGenerator

__all__ = ["BasicVariantGenerator", "Searcher", "Signal"]
