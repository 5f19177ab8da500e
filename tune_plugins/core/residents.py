"""The paused trials: which of them wait in memory, which on disk, and which are on their way from one to the other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from tune_plugins.core.trial import Trial


class Residents:
    """Part of the pure core: the pool of paused trials.

    A *resident* trial waits inside its process: that holds memory, but no slot, and a switch costs one message. The
    number of residents is bounded; a trial beyond it is *evicted*: it saves a checkpoint and gives its process back.
    Between the command to leave and the trial's word that it has left, nobody can say where it is.

    Args:
        limit: how many may be resident; None: any number.
        wanted: how many are to be, where they can be evicted; None: as many as may.

    Attributes:
        limit: the same.
        paused: all paused trials by id, in the order in which they came.
    """

    def __init__(self, limit: int | None, wanted: int | None = None) -> None:
        self.limit = limit
        self._wanted = limit if wanted is None else wanted
        self.paused: dict[str, Trial] = {}
        self._leaving: set[str] = set()
        self._count = 0

    @property
    def full(self) -> bool:
        """Whether the next one must leave."""
        return self._wanted is not None and self._count >= self._wanted

    @property
    def overfull(self) -> bool:
        """Whether one that was to leave could not: it has nothing to go on from elsewhere."""
        return self.limit is not None and self._count > self.limit

    @property
    def leaving(self) -> bool:
        """Whether anybody was told to give its process back and has not said so yet."""
        return bool(self._leaving)

    def startable(self) -> Mapping[str, Trial]:
        """Those that may go on now: all but those that are leaving."""
        return _Without(self.paused, self._leaving) if self._leaving else self.paused

    def has_process(self, trial: Trial) -> bool:
        """Whether somebody must be told when this paused trial is to end."""
        return trial.resident or trial.id in self._leaving

    def enter(self, trial: Trial) -> None:
        """It is paused now."""
        self.paused[trial.id] = trial

    def leave(self, trial: Trial) -> None:
        """It is paused no more."""
        del self.paused[trial.id]
        self._leaving.discard(trial.id)
        self._set(trial, False)

    def told(self, trial: Trial, *, evict: bool) -> None:
        """It was told to wait in memory, or to give its process back."""
        self._set(trial, not evict)
        if evict:
            self._leaving.add(trial.id)

    def said(self, trial: Trial, *, resident: bool) -> None:
        """It says where it waits: one that has nothing to go on from elsewhere stays in memory."""
        self._leaving.discard(trial.id)
        self._set(trial, resident)

    def _set(self, trial: Trial, resident: bool) -> None:
        self._count += resident - trial.resident
        trial.resident = resident

    def validate(self) -> None:
        """Check what must hold between any two events.

        Raises:
            AssertionError: says what does not.
        """
        assert self._leaving <= self.paused.keys(), f"leaving and not paused: {self._leaving - self.paused.keys()}"
        assert self._count == sum(t.resident for t in self.paused.values()), f"residents: {self._count}"


class _Without(Mapping[str, Trial]):
    """The trials of `all_` but for `left_out`; a view, since there may be a great many."""

    def __init__(self, all_: Mapping[str, Trial], left_out: Collection[str]) -> None:
        self._all, self._left_out = all_, left_out

    def __getitem__(self, trial_id: str) -> Trial:
        if trial_id in self._left_out:
            raise KeyError(trial_id)
        return self._all[trial_id]

    def __iter__(self) -> Iterator[str]:
        return (trial_id for trial_id in self._all if trial_id not in self._left_out)

    def __len__(self) -> int:
        return len(self._all) - sum(trial_id in self._all for trial_id in self._left_out)
