"""Every legal move of a trial, in one table; the documentation's diagram is made from it."""

from __future__ import annotations

from tune_plugins.core.trial import TrialStatus

S = TrialStatus

TRANSITIONS: dict[TrialStatus, dict[str, TrialStatus]] = {
    S.PENDING: {"start": S.STARTING, "drop": S.TERMINATED, "checkpoint": S.PENDING},
    S.STARTING: {
        "started": S.RUNNING,
        "stop": S.STOPPING,
        "finished": S.TERMINATED,
        "error": S.ERROR,
        "retry": S.PENDING,
        "checkpoint": S.STARTING,
    },
    S.RUNNING: {
        "results": S.RUNNING,
        "checkpoint": S.RUNNING,
        "continue": S.RUNNING,
        "exploit": S.RUNNING,
        "exploited": S.RUNNING,
        "pause": S.PAUSED,
        "paused": S.RUNNING,  # it says so when it has been woken already
        "stop": S.STOPPING,
        "finished": S.TERMINATED,
        "error": S.ERROR,
        "retry": S.PENDING,
    },
    S.PAUSED: {
        "checkpoint": S.PAUSED,
        "paused": S.PAUSED,
        "evicted": S.PAUSED,
        "wake": S.RUNNING,  # its process waited in memory
        "start": S.STARTING,  # from its checkpoint
        "stop": S.STOPPING,
        "drop": S.TERMINATED,
        "error": S.ERROR,
        "retry": S.PENDING,
    },
    S.STOPPING: {
        "started": S.STOPPING,
        "results": S.STOPPING,
        "checkpoint": S.STOPPING,
        "exploited": S.STOPPING,
        "paused": S.STOPPING,  # told to pause, and then to stop
        "evicted": S.TERMINATED,
        "finished": S.TERMINATED,
        "error": S.ERROR,
    },
    # Checkpoints are made durable in the background, also after the end, and that can fail.
    S.TERMINATED: {"checkpoint": S.TERMINATED, "error": S.ERROR},
    S.ERROR: {"checkpoint": S.ERROR, "error": S.ERROR},
}
"""Status -> what happens -> next status. Nothing else sets a status."""
