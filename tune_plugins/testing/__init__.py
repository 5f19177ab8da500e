"""Tools to test schedulers, searchers, adapters and stores that build on tune-plugins."""

from typing import TYPE_CHECKING

from tune_plugins._imports import unknown_name
from tune_plugins.testing.internals import moved_internals
from tune_plugins.testing.session import Exploit, RecordedReport, RecordingSession

__all__ = ["Exploit", "RecordedReport", "RecordingSession", "moved_internals"]

if not TYPE_CHECKING:
    __getattr__ = unknown_name(__name__)
