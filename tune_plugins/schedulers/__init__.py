"""Schedulers: which trials go on, which stop."""

from tune_plugins.schedulers.asha import ASHAScheduler, AsyncHyperBandScheduler
from tune_plugins.schedulers.scheduler import Action, Decision, FIFOScheduler, TrialScheduler

__all__ = [
    "ASHAScheduler",
    "Action",
    "AsyncHyperBandScheduler",
    "Decision",
    "FIFOScheduler",
    "TrialScheduler",
]
