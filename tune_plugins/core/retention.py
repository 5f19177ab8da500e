"""Which checkpoints of a trial are kept, and for how long one that somebody needs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tune_plugins.core.events import Command, DeleteCheckpoint
from tune_plugins.core.metrics import Mode
from tune_plugins.core.trial import CheckpointRecord, Trial


@dataclass
class Retention:
    """Part of the pure core: says which checkpoints are to be deleted, and deletes nothing itself.

    Attributes:
        num_to_keep: per trial, at least 1; the newest one is always kept, and the newest to go on from. None: all.
        score_attribute: None: the newest are kept; else those with the best score.
        score_order: "min" or "max".
    """

    num_to_keep: int | None = None
    score_attribute: str | None = None
    score_order: Mode = "max"
    _pins: Counter[tuple[str, str]] = field(default_factory=Counter, init=False)
    _doomed: dict[tuple[str, str], CheckpointRecord] = field(default_factory=dict, init=False)

    def pin(self, checkpoint: CheckpointRecord) -> None:
        """Keep a checkpoint from being deleted until `unpin`."""
        self._pins[checkpoint.trial_id, checkpoint.id] += 1

    def pinned(self, checkpoint: CheckpointRecord) -> bool:
        """Whether somebody needs it."""
        return self._pins[checkpoint.trial_id, checkpoint.id] > 0

    def unpin(self, checkpoint: CheckpointRecord) -> list[Command]:
        """Let go of a pinned checkpoint; it is deleted now if retention had wanted that."""
        key = (checkpoint.trial_id, checkpoint.id)
        self._pins[key] -= 1
        if self._pins[key] <= 0:
            del self._pins[key]
            if (doomed := self._doomed.pop(key, None)) is not None:
                return [DeleteCheckpoint(doomed.trial_id, doomed)]
        return []

    def apply(self, trial: Trial) -> list[Command]:
        """Take the checkpoints off a trial that are not to be kept; delete those that nobody needs."""
        keep = self.num_to_keep
        if keep is None or len(trial.checkpoints) <= keep:
            return []
        # The newest one, and where that is the model of a later fit, the newest one that the trial could go on from.
        needed = [trial.checkpoints[-1], next((c for c in reversed(trial.checkpoints) if c.goes_on), None)]
        if self.score_attribute is None:
            kept = trial.checkpoints[-keep:]
        else:
            sign = 1.0 if self.score_order == "min" else -1.0
            ranked = sorted(trial.checkpoints, key=lambda c: (c.score is None, sign * (c.score or 0.0), -c.iteration))
            kept = ranked[:keep]
        commands: list[Command] = []
        for checkpoint in [c for c in trial.checkpoints if c not in needed and c not in kept]:
            trial.checkpoints.remove(checkpoint)
            if self.pinned(checkpoint):
                self._doomed[trial.id, checkpoint.id] = checkpoint
            else:
                commands.append(DeleteCheckpoint(trial.id, checkpoint))
        return commands
