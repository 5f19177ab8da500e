"""The parts of the searches in `tune_plugins.integrations.sklearn`."""
