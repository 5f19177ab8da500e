"""A session that records what an adapter does, without a tuning run."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tune_plugins import session as tune_session
from tune_plugins.arguments import Mistakes
from tune_plugins.errors import TrialRestarted, TrialStopped, TrialUnwound, TuneError, WarmRestartNeeded
from tune_plugins.record.checkpoint import Checkpoint, copy_into
from tune_plugins.session import TrialContext, Verdict
from tune_plugins.session.model_port import ModelPort, exploit_in_place
from tune_plugins.space.nested import copy_of


@dataclass(frozen=True)
class RecordedReport:
    """One call of `report`.

    Attributes:
        iteration: `training_iteration` of the result.
        metrics: as reported.
        checkpoint: what was saved or handed over with it, if anything.
        verdict: what the adapter was told.
        savable: the adapter offered to save a state that the training can go on from.
        last: the adapter said that nothing is left to train.
    """

    iteration: int
    metrics: dict[str, Any]
    checkpoint: Checkpoint | None
    verdict: Verdict
    savable: bool
    last: bool = False


@dataclass(frozen=True)
class Exploit:
    """The verdict to go on from another trial's state.

    Attributes:
        checkpoint: the donor's.
        iteration: `training_iteration` of it.
        config: the mutated config, whole.
    """

    checkpoint: Checkpoint
    iteration: int
    config: Mapping[str, Any]


class RecordingSession:
    """A `tune_plugins.session.Session` in memory, which follows a script and keeps the contract to the letter.

    Used as a context manager it is the session of this process inside the ``with`` block, so that
    `tune_plugins.report` and every adapter talk to it.

    Args:
        stop_at: the report of this iteration, or of the first one past it, gets the verdict STOP.
        save_at: iterations whose report asks for a checkpoint; any container, or a function of the iteration.
        raise_at: {iteration: exception raised by its report}, e.g. ``{5: TrialEvicted()}``; raised after saving.
        exploit_at: {iteration: the exploit that is the verdict on its report}. Each happens once. The config before
            is that of `context`: pass ``TrialContext(config=config)`` with the dict that the training function gets,
            which is updated as in a tuning run. Where the adapter cannot, TrialRestarted is raised.
        start_checkpoint: the checkpoint that the trial is to go on from.
        start_iteration: `training_iteration` whose state that is.
        save_at_end: the retention wants a last checkpoint, whatever the adapter's `at_end` says.
        context: facts about the trial.
        directory: where checkpoints go; default: a temporary directory, removed when the process ends.

    Attributes:
        reports: every report, in order.
        checkpoints: {iteration: checkpoint} of all that were saved, including the last one.
        finished: number of calls of `finish`.
        exploits: what was done in each exploit that was carried out inside the running training, in words.
        restarts: why an exploit could not be carried out there, one text each.
        remarks: what the user was to be told about the run.
        checkpoints_claimed: a fit has taken the checkpoints.
        models: {iteration: checkpoint} of those that nothing can go on from: of fits behind the first one.

    Raises:
        ArgumentError: an argument is wrong.

    >>> import tune_plugins.session as session
    >>> with RecordingSession(stop_at=3) as recorded:
    ...     for step in range(10):
    ...         session.report(loss=1 / (step + 1))
    Traceback (most recent call last):
        ...
    tune_plugins.errors.TrialStopped
    >>> recorded.iterations, recorded.values("loss")
    ([1, 2, 3], [1.0, 0.5, 0.3333333333333333])
    """

    stopped = TrialStopped

    def __init__(
        self,
        *,
        stop_at: int | None = None,
        save_at: Container[int] | Callable[[int], bool] = (),
        raise_at: Mapping[int, BaseException] | None = None,
        exploit_at: Mapping[int, Exploit] | None = None,
        start_checkpoint: Checkpoint | None = None,
        start_iteration: int = 0,
        save_at_end: bool = False,
        context: TrialContext | None = None,
        directory: str | Path | None = None,
    ) -> None:
        mistakes = Mistakes("RecordingSession")
        if stop_at is not None and stop_at < 1:
            mistakes.add(f"stop_at: expected an iteration, 1 or more, got {stop_at!r}. Iterations count from 1.")
        if start_iteration < 0:
            mistakes.add(
                f"start_iteration: expected 0 or more, got {start_iteration!r}. Leave it out for a fresh start."
            )
        if start_iteration and start_checkpoint is None:
            mistakes.add(f"start_iteration: got {start_iteration!r} without a start_checkpoint. Give both or neither.")
        given: object = save_at
        if not callable(given) and not isinstance(given, Container):
            mistakes.add(f"save_at: expected a set of iterations or a function, got {save_at!r}. Write e.g. {{5, 10}}.")
        mistakes.raise_if_any()
        if directory is None:
            directory = tempfile.mkdtemp(prefix="recording-session-")
            # Not with this object: its checkpoints are what the next session starts from.
            atexit.register(shutil.rmtree, directory, ignore_errors=True)
        self.context = TrialContext() if context is None else context
        self._config = copy_of(self.context.config)  # user code may write into its own
        self.start_checkpoint = start_checkpoint
        self.reports: list[RecordedReport] = []
        self.checkpoints: dict[int, Checkpoint] = {}
        self.models: dict[int, Checkpoint] = {}
        self.finished = 0
        self.exploits: list[str] = []
        self.restarts: list[str] = []
        self.remarks: list[str] = []
        self._exploit_at = dict(exploit_at or {})
        self._directory = Path(directory)
        self._stop_at, self._save_at, self._raise_at = stop_at, save_at, dict(raise_at or {})
        self._save_at_end = save_at_end
        self._iteration = start_iteration
        self._saved_iteration = start_iteration if start_checkpoint is not None else -1
        self._unsaved_reports = 0
        self._stopped = False
        self._unwound: TrialUnwound | None = None
        self.checkpoints_claimed = False
        self._before: tune_session.Session | None = None

    @property
    def iterations(self) -> list[int]:
        """`training_iteration` of every report."""
        return [report.iteration for report in self.reports]

    @property
    def last_checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint."""
        return self.checkpoints[max(self.checkpoints)] if self.checkpoints else None

    def values(self, metric: str) -> list[Any]:
        """The values of one metric, one a report.

        Raises:
            KeyError: a report lacks it.
        """
        return [report.metrics[metric] for report in self.reports]

    def __enter__(self) -> RecordingSession:
        self._before = tune_session.current()
        tune_session.activate(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        tune_session.activate(self._before)

    def report(
        self,
        metrics: Mapping[str, Any],
        *,
        iteration: int | None = None,
        checkpoint: Checkpoint | None = None,
        model: ModelPort | None = None,
        save_every: int = 0,
        last: bool = False,
        goes_on: bool = True,
    ) -> Verdict:
        """Record one result; see `tune_plugins.session.Session.report`.

        Raises:
            TrialStopped: a report after the verdict STOP.
            TuneError: the iteration is not past the last one, a value is neither a number nor text nor a dict of
                such, or `save_state` left its directory empty.
        """
        if self._stopped:
            raise TrialStopped
        self.raise_if_unwound()
        iteration = self._iteration + 1 if iteration is None else iteration
        if iteration <= self._iteration:
            raise TuneError(f"The iteration must grow: {iteration} was reported after {self._iteration}.")
        _check_values(metrics)
        self._iteration = iteration
        self._unsaved_reports += 1
        wanted = self._save_at(iteration) if callable(self._save_at) else iteration in self._save_at
        due = 0 < save_every <= self._unsaved_reports
        saved = None
        if checkpoint is not None:
            saved = self._store(lambda directory: copy_into(checkpoint.path, directory))
        elif model is not None and not goes_on:
            if due:
                self._store(model.save_state, goes_on=False)
        elif model is not None and (wanted or due or (iteration in self._exploit_at and not last)):
            saved = self._store(model.save_state)
        model = model if goes_on else None
        self._stopped = self._stop_at is not None and iteration >= self._stop_at
        verdict = Verdict.STOP if self._stopped else Verdict.CONTINUE
        self.reports.append(RecordedReport(iteration, dict(metrics), saved, verdict, model is not None, last))
        if (error := self._raise_at.get(iteration)) is not None:
            if isinstance(error, TrialUnwound) and not isinstance(error, TrialStopped):
                self._unwound = error
            raise error
        if not self._stopped and not last and (exploit := self._exploit_at.pop(iteration, None)) is not None:
            self._exploit(exploit, model)
        return verdict

    def _exploit(self, exploit: Exploit, model: ModelPort | None) -> None:
        directory, own = Path(exploit.checkpoint.path), self.context.config
        try:
            done = exploit_in_place(model, directory, exploit.iteration, self._config, exploit.config, own)
        except WarmRestartNeeded as reason:
            self.restarts.append(str(reason))
            self._unwound = TrialRestarted(str(reason))
            raise self._unwound from None
        self.exploits.append(done)
        self._iteration = self._saved_iteration = exploit.iteration
        self._unsaved_reports = 0
        self._config = copy_of(exploit.config)
        if isinstance(own, dict):
            own.clear()
            own.update(exploit.config)

    @property
    def has_reported(self) -> bool:
        """Something was reported; see `tune_plugins.session.Session.has_reported`."""
        return bool(self.reports)

    def remark(self, text: str) -> None:
        """Keep it; see `tune_plugins.session.Session.remark`."""
        self.remarks.append(text)

    def claim_checkpoints(self) -> bool:
        """True once; see `tune_plugins.session.Session.claim_checkpoints`."""
        claimed, self.checkpoints_claimed = self.checkpoints_claimed, True
        return not claimed

    def raise_if_unwound(self) -> None:
        """Raise again what has ended this attempt; see `tune_plugins.session.Session.raise_if_unwound`."""
        if self._unwound is not None:
            raise self._unwound

    def finish(self, model: ModelPort, *, at_end: bool, goes_on: bool = True) -> None:
        """Record the end of the training; see `tune_plugins.session.Session.finish`."""
        self.finished += goes_on
        if (at_end or self._save_at_end) and self._saved_iteration != self._iteration:
            self._store(model.save_state, goes_on=goes_on)

    def _store(self, save: Callable[[Path], None], *, goes_on: bool = True) -> Checkpoint:
        directory = self._directory / f"checkpoint_{self._iteration:06d}"
        if directory.exists():  # after an exploit the same iterations may come again
            directory = Path(tempfile.mkdtemp(prefix=f"{directory.name}_", dir=self._directory))
        directory.mkdir(parents=True, exist_ok=True)
        save(directory)
        if not any(directory.iterdir()):
            raise TuneError(
                f"The checkpoint of iteration {self._iteration} is empty: `save_state` has written no file."
            )
        stored = Checkpoint.from_directory(directory)
        (self.checkpoints if goes_on else self.models)[self._iteration] = stored
        self._saved_iteration, self._unsaved_reports = self._iteration, 0
        return stored


def _check_values(metrics: Mapping[str, Any], path: str = "") -> None:
    """Exact types: what a NumPy scalar or a tensor does in a record depends on its version."""
    for name, value in metrics.items():
        if not isinstance(name, str):
            raise TuneError(f"Metric names must be text, got {path}{name!r}.")
        if isinstance(value, Mapping):
            _check_values(value, f"{path}{name}/")
        elif value is not None and type(value) not in (bool, int, float, str):
            raise TuneError(
                f"The metric {path + name!r} is a {type(value).__module__}.{type(value).__qualname__}; "
                "expected a plain Python number or text. Convert it, e.g. with float(value)."
            )
