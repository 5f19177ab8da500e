"""Tools to test schedulers, searchers, adapters and stores that build on tune-plugins."""

from tune_plugins.testing.session import Exploit, RecordedReport, RecordingSession

__all__ = ["Exploit", "RecordedReport", "RecordingSession"]
