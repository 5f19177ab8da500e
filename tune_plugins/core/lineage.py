"""Whose checkpoints hold the training that a trial has: what exploits do to the line of descent.

A trial that exploits another one *adopts* a checkpoint of it. From then on its training is no longer the one it began:
its own checkpoints from before are *outdated*, and the earlier states of the training it has now are checkpoints of
its donor, and of the donor's donors, which it *inherits*. A third trial that exploits this one may get any of them.
The adopted checkpoint is pinned until the trial has saved a later one; the inherited ones are not, and drop out of
the line when their owner's retention removes them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tune_plugins.core.events import Command
from tune_plugins.core.retention import Retention
from tune_plugins.core.trial import Ancestry, CheckpointRecord, Trial


class Lineage:
    """Part of the pure core: keeps `Trial.checkpoints` and `Trial.ancestry`.

    Args:
        retention: says which checkpoints are deleted.
    """

    def __init__(self, retention: Retention) -> None:
        self.retention = retention
        self._heirs: dict[str, Trial] = {}  # trials that inherit checkpoints of others

    def saved(self, trial: Trial, checkpoint: CheckpointRecord) -> list[Command]:
        """A trial has another checkpoint of its own."""
        commands: list[Command] = []
        trial.checkpoints = [*trial.checkpoints, checkpoint]
        if trial.ancestry is not None:  # the name of one that retention has removed may come again
            trial.ancestry.outdated -= {checkpoint.id}
        if trial.adopted is not None and checkpoint.iteration > trial.adopted.iteration:
            commands += self._release(trial)
        before = len(trial.checkpoints)
        commands += self.retention.apply(trial)
        if self._heirs and len(trial.checkpoints) < before:
            kept = {c.id for c in trial.checkpoints}
            for heir in self._heirs.values():
                ancestry = heir.ancestry
                assert ancestry is not None
                ancestry.inherited = tuple(c for c in ancestry.inherited if c.trial_id != trial.id or c.id in kept)
        return commands

    def adopt(self, trial: Trial, source: Trial, checkpoint: CheckpointRecord, config: dict[str, Any]) -> list[Command]:
        """A trial goes on from `checkpoint`, which holds a state of the training of `source`, under a new config."""
        self.retention.pin(checkpoint)
        commands = self._release(trial)
        before = trial.ancestry
        trial.ancestry = Ancestry(
            adopted=checkpoint,
            inherited=tuple(c for c in source.states() if c.iteration <= checkpoint.iteration),
            outdated=frozenset(c.id for c in trial.checkpoints),
            config_before=trial.config,
            results_before=trial.results_count,
            before=None if before is None else replace(before, before=None),
        )
        trial.config, trial.iteration = config, checkpoint.iteration
        self._heirs[trial.id] = trial
        return commands

    def undo_if_idle(self, trial: Trial) -> tuple[CheckpointRecord | None, list[Command]]:
        """Where a trial comes to its end, and has trained nothing since its last exploit, that one never happened.

        Its results and checkpoints are those of the config before: the donor stood at its end, or the trial was told
        to stop at once.

        Returns:
            The checkpoint that was adopted in vain, or None; and what follows from letting go of it.
        """
        ancestry = trial.ancestry
        if ancestry is None or (adopted := ancestry.adopted) is None or not trial.last_result:
            return None, []
        if trial.results_count != ancestry.results_before:
            return None, []
        trial.config, trial.iteration = ancestry.config_before, trial.last_result["training_iteration"]
        commands = self._release(trial)
        trial.ancestry = ancestry.before
        if trial.ancestry is None:
            self._heirs.pop(trial.id, None)
        return adopted, commands

    def step_back(self, trial: Trial) -> bool:
        """Let a trial go on from before `Trial.fell_at`: whether there is such a state of the training it has now.

        Of its own, or of those that it has inherited, one of which it adopts anew. A training that it began itself may
        begin anew as well; one that it has taken over may not: from the beginning it would be another one.
        """
        ancestry = trial.ancestry
        if ancestry is None or trial.resume_point() is not None:
            return True
        earlier = [c for c in ancestry.inherited if trial.fell_at is not None and c.iteration < trial.fell_at]
        if not earlier:
            return False
        self.retention.pin(earlier[-1])
        ancestry.adopted = earlier[-1]
        return True

    def ended(self, trial: Trial) -> list[Command]:
        """A trial is over and needs nobody's checkpoint any more."""
        commands = self._release(trial)
        trial.ancestry = None
        self._heirs.pop(trial.id, None)
        return commands

    def _release(self, trial: Trial) -> list[Command]:
        if trial.adopted is None:
            return []
        assert trial.ancestry is not None
        adopted, trial.ancestry.adopted = trial.adopted, None
        return self.retention.unpin(adopted)
