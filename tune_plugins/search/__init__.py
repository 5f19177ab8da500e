"""Search algorithms: what configuration to try next."""

from tune_plugins.search.basic_variant import BasicVariantGenerator
from tune_plugins.search.searcher import Searcher, Signal

__all__ = ["BasicVariantGenerator", "Searcher", "Signal"]
