"""What the live and the plain display have in common: hooks into aggregates, and never a harm to the run."""

from __future__ import annotations

import functools
import logging
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from rich.text import Text

from tune_plugins.callbacks import Callback, RunInfo
from tune_plugins.core.ends import ErrorInfo
from tune_plugins.core.trial import Trial
from tune_plugins.display.lines import Line, to_text
from tune_plugins.display.outbox import Outbox
from tune_plugins.display.progress import Progress
from tune_plugins.display.summary import summary

if TYPE_CHECKING:
    from rich.console import Console

_log = logging.getLogger(__name__)
_H = TypeVar("_H", bound=Callable[..., None])


def guarded(hook: _H) -> _H:
    """The hook, made harmless: the first exception in it switches the display off and is logged."""

    def harmless(self: Reporter, *args: Any, **kwargs: Any) -> None:
        if self.broken:
            return
        try:
            hook(self, *args, **kwargs)
        except Exception:
            self.give_up()
        except SystemExit as error:
            # rich leaves the program when the reader of a pipe has gone; the run goes on without a display.
            if not isinstance(error.__context__, BrokenPipeError):
                raise
            self.give_up(reader_gone=True)

    functools.update_wrapper(harmless, hook)
    return cast(_H, harmless)


class Reporter(Callback):
    """Base of the displays: a callback that keeps the aggregates and collects what is to be written.

    Args:
        console: where to write.
        verbose: 1, or 2 and more for a line for each finished trial.
        clock: seconds since some moment; for intervals.
        wall: seconds since the epoch; for the age of trials.
    """

    reads_reported_only = True
    """Results need nothing that was not reported."""

    def __init__(
        self,
        console: Console,
        verbose: int = 1,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.console, self.verbose, self.clock, self.wall = console, verbose, clock, wall
        self.run = RunInfo()
        self.progress = Progress(self.run)
        self.outbox = Outbox()
        self.notes: Sequence[str] = ()
        self.broken = False
        self.began = self._seen_at = clock()
        self._resumed = False
        self._told = False
        self._newest: dict[str, Any] = {}

    # ------------------------------------------------------------------ for the displays to fill in

    @abstractmethod
    def begin(self) -> None:
        """The run begins."""

    @abstractmethod
    def step(self, now: float) -> None:
        """Show progress if it is time; the aggregates are up to date."""

    @abstractmethod
    def end(self) -> None:
        """Leave the terminal as it was found, with the last state of the trials on it."""

    @abstractmethod
    def abandon(self) -> None:
        """Like `end`, in haste and without drawing: something went wrong."""

    # ------------------------------------------------------------------ writing

    def write(self, lines: Sequence[Line]) -> None:
        """Write lines at once; long ones are wrapped by the terminal only."""
        if lines:
            text = Text("\n").join([to_text(each) for each in lines])
            # A character that the encoding of the terminal or file lacks must not end the display; UTF-8 lacks those in
            # the name of a broken file.
            encoding = self.console.encoding
            text.plain = text.plain.encode(encoding, "replace").decode(encoding)
            self.console.print(text, soft_wrap=True, highlight=False, markup=False, emoji=False)

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self.clock() - self.began

    def time_of_trials(self) -> float:
        """Now, on the clock of the trials' own times: under a virtual one the time of the newest result."""
        return self._newest.get("timestamp", 0.0) if self.run.virtual_clock else self.wall()

    def give_up(self, reader_gone: bool = False) -> None:
        """Switch the display off after an exception, which is logged; call it while handling one.

        A reader that has gone (``| head``) is no fault and not worth a warning.
        """
        self.broken = True
        _log.log(
            logging.DEBUG if self._told or reader_gone else logging.WARNING,
            "the display of the run failed and is switched off; the run goes on",
            exc_info=True,
        )
        self._told = True
        try:
            self.abandon()
        except Exception:
            _log.debug("the terminal could not be restored", exc_info=True)

    def _update(self, trials: list[Trial]) -> float:
        now = self.clock()
        if not self._resumed:
            self._resumed = True
            self.progress.rescan(trials, at_start=True)
        self.progress.update(trials, now - self._seen_at)
        self._seen_at = now
        return now

    # ------------------------------------------------------------------ hooks

    @guarded
    def setup(
        self,
        stop: Any = None,
        num_samples: int | None = None,
        total_num_samples: int | None = None,
        *,
        run: RunInfo | None = None,
        **info: Any,
    ) -> None:
        """Called once before the first trial starts."""
        run = run or RunInfo()
        self.run, self.progress = run, Progress(run)
        self.began = self._seen_at = self.clock()
        self.begin()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Only notes that the trial changed: called for each of maybe 30,000 results a second."""
        self.progress.touched[trial.id] = trial
        self._newest = result

    @guarded
    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """The trial function was entered (again)."""
        self.progress.touched[trial.id] = trial

    @guarded
    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """The trial ended without error."""
        self.progress.touched[trial.id] = trial
        if self.verbose >= 2:
            self.outbox.finished(trial, self.progress.metric, self.progress.value(trial))

    @guarded
    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, *, error: ErrorInfo, **info: Any
    ) -> None:
        """The trial failed for good: shown at once."""
        self.progress.touched[trial.id] = trial
        if self.outbox.failed(trial, error, self.run.path):
            self.write(self.outbox.take(self.clock()))

    @guarded
    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, *, error: ErrorInfo, **info: Any
    ) -> None:
        """The trial failed and will be tried again: shown at once."""
        self.progress.touched[trial.id] = trial
        if self.outbox.recovered(trial, error):
            self.write(self.outbox.take(self.clock()))

    @guarded
    def on_trial_output(
        self, iteration: int, trials: list[Trial], trial: Trial | None, lines: Sequence[str], **info: Any
    ) -> None:
        """Lines that a trial printed: written with the next step."""
        self.outbox.output(trial, lines, self.clock())

    @guarded
    def on_step_end(
        self,
        iteration: int,
        trials: list[Trial],
        *,
        notes: Sequence[str] = (),
        stages: Mapping[str, str] | None = None,
        **info: Any,
    ) -> None:
        """Called about ten times a second."""
        self.notes = notes
        self.progress.stages = Counter((stages or {}).values())
        now = self._update(trials)
        self.write(self.outbox.take(now))
        self.step(now)

    def on_experiment_end(
        self, trials: list[Trial], *, reason: str = "", warnings: Sequence[str] = (), **info: Any
    ) -> None:
        """The final summary; tried even where the display failed before."""
        self.broken = False
        self._end(trials, reason, warnings)

    @guarded
    def _end(self, trials: list[Trial], reason: str, warnings: Sequence[str]) -> None:
        self._update(trials)
        self.progress.rescan(trials)
        self.write(self.outbox.take(self.clock(), last=True))
        self.end()
        retold = self.outbox.retold()
        self.write([*([retold] if retold else []), *summary(self.progress, reason, self.elapsed, trials, warnings)])
