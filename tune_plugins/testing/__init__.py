"""Tools to test schedulers, searchers, adapters and stores that build on tune-plugins."""

from tune_plugins.testing.session import RecordedReport, RecordingSession

__all__ = ["RecordedReport", "RecordingSession"]
