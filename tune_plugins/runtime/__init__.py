"""Shells that carry out the core's commands. Only `tune_plugins.runtime.ray*` modules import ray."""
