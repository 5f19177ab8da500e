"""Adapters for frameworks, one module each; installed and imported as `tune_plugins.integrations`.

An adapter plugs into the framework's own callback mechanism, so that a training script gains
tuning by one added argument and still runs alone, without a tuning run around it.
"""
