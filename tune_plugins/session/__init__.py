"""What training code and adapters talk to inside a trial.

`current` is the session of the trial that runs in this process, or in a parent of it; adapters call its `report`
and `finish`. `tune_plugins.report`, `get_checkpoint` and `get_context` are the same for loops written by hand.
"""

from tune_plugins.session.active import (
    activate,
    at_end_of_trial,
    checkpoint_dir,
    current,
    ended,
    enter,
    get_checkpoint,
    get_context,
    is_beside_another,
    report,
)
from tune_plugins.session.contract import Session, TrialContext, TrialResources, Verdict

__all__ = [
    "Session",
    "TrialContext",
    "TrialResources",
    "Verdict",
    "activate",
    "at_end_of_trial",
    "checkpoint_dir",
    "current",
    "ended",
    "enter",
    "get_checkpoint",
    "get_context",
    "is_beside_another",
    "report",
]
