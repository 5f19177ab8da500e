"""The searcher at work: what the core has for it, in order, and its answers."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from tune_plugins.core.ends import Outcome
from tune_plugins.core.events import AskSearcher, Event, SearcherCommand, SuggestionMade, TellEnd, TellResult
from tune_plugins.core.searcher import Searcher, Signal
from tune_plugins.errors import ArgumentError, TuneError

logger = logging.getLogger(__name__)

_PATIENCE_S = 60.0


class Suggestions:
    """Tells and asks the searcher: at once, or in a thread, so that no verdict waits for a model.

    Args:
        searcher: prepared for the run.
        clock: the time now, for events.
        wake: called from the thread when there is an answer; None: no thread, each call returns when it is done.
        recorded: answers of an earlier life of the run by number of the trial, which the searcher is told of instead of
            being asked.
        results_in: where the results are, for errors.

    Attributes:
        working: the searcher is at work in the caller's thread.
    """

    def __init__(
        self,
        searcher: Searcher,
        clock: Callable[[], float] = time.time,
        wake: Callable[[], None] | None = None,
        recorded: Mapping[int, dict[str, Any]] | None = None,
        results_in: str = "",
    ) -> None:
        self.working = False
        self._searcher, self._clock, self._recorded = searcher, clock, recorded or {}
        self._told_where = f" All results up to here are in {results_in}." if results_in else ""
        self._wake = wake
        self._asked_at: float | None = None
        self._complained = False
        self._answers: queue.SimpleQueue[SuggestionMade | TuneError] = queue.SimpleQueue()
        self._mail: queue.SimpleQueue[SearcherCommand | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------------------- called by the loop

    def perform(self, commands: Sequence[SearcherCommand]) -> list[Event]:
        """Have commands carried out; returns the answers that are there already.

        Raises:
            TuneError: the searcher raised, or answered what is no config; names it and the trial.
        """
        if self._wake is not None:
            for command in commands:
                if isinstance(command, AskSearcher):
                    self._asked_at = time.monotonic()
                self._mail.put(command)
            if commands and self._thread is None:
                self._thread = threading.Thread(target=self._work, name="tune-searcher", daemon=True)
                self._thread.start()
            return []
        self.working = True
        try:
            answers = [self._carry_out(command) for command in commands]
        finally:
            self.working = False
        return [answer for answer in answers if answer is not None]

    def answers(self, anybody_runs: bool) -> list[Event]:
        """What the searcher has answered since the last call.

        Args:
            anybody_runs: there are other trials; else everybody waits for the searcher.

        Raises:
            TuneError: as `perform`; everybody has waited for the searcher for too long.
        """
        found: list[Event] = []
        with suppress(queue.Empty):
            while True:
                answer = self._answers.get_nowait()
                if isinstance(answer, TuneError):
                    raise answer
                self._asked_at, self._complained = None, False
                found.append(answer)
        if not found and self._asked_at is not None:
            self._look_at_clock(time.monotonic() - self._asked_at, anybody_runs)
        return found

    def close(self, *, failed: bool) -> None:
        """Let the searcher hear the rest; what it suggested and nobody has taken counts as dropped.

        Args:
            failed: the run has ended by an error, which is more important than one of the searcher's.

        Raises:
            TuneError: it raised.
        """
        if self._thread is None:
            return
        self._mail.put(None)
        limit = 1.0 if failed or self._asked_at is not None else self._searcher.timeout_s
        self._thread.join(limit)
        if self._thread.is_alive():
            logger.warning(
                "%s has not finished %g s after the end of the run, and is left alone.", self._name, round(limit, 1)
            )
            return
        while not self._answers.empty():
            answer = self._answers.get_nowait()
            if isinstance(answer, TuneError):
                if not failed:
                    raise answer
            elif answer.config is not None:
                self._searcher.on_trial_complete(answer.trial_id, None, outcome=Outcome.DROPPED)

    @property
    def _name(self) -> str:
        return self._searcher.label

    def _look_at_clock(self, waited: float, anybody_runs: bool) -> None:
        if waited >= self._searcher.timeout_s and not anybody_runs:
            raise TuneError(
                f"{self._name}.suggest has not answered for {waited:.0f} s, and no trial is running. "
                f"Give it more time by its attribute timeout_s (now {self._searcher.timeout_s:g} s), or take another "
                f"searcher.{self._told_where}"
            )
        if waited >= _PATIENCE_S and not self._complained:
            self._complained = True
            logger.warning("%s.suggest has been computing for %.0f s; a slot is idle meanwhile.", self._name, waited)

    # ------------------------------------------------------------------------------ in the thread

    def _work(self) -> None:
        assert self._wake is not None
        while (command := self._mail.get()) is not None:
            try:
                answer = self._carry_out(command)
            except TuneError as error:
                self._answers.put(error)
                self._wake()
                return
            if answer is not None:
                self._answers.put(answer)
                self._wake()

    def _carry_out(self, command: SearcherCommand) -> SuggestionMade | None:
        searcher, trial_id = self._searcher, command.trial_id
        method = "on_trial_result" if isinstance(command, TellResult) else "on_trial_complete"
        try:
            if isinstance(command, AskSearcher):
                method = "suggest"
                return self._ask(command)
            if isinstance(command, TellResult):
                searcher.on_trial_result(trial_id, command.result)
            elif isinstance(command, TellEnd):
                searcher.on_trial_complete(trial_id, command.result, outcome=command.outcome)
            return None
        except TuneError as error:
            if isinstance(error, ArgumentError):
                raise
            raise TuneError(f"{self._name}.{method}, trial {trial_id}: {error}{self._told_where}") from error
        except Exception as error:
            what = f"{type(error).__name__} in {self._name}.{method}, trial {trial_id}: {error}".rstrip(". ")
            raise TuneError(f"{what}.{self._told_where}") from error

    def _ask(self, command: AskSearcher) -> SuggestionMade:
        trial_id, index, told = command.trial_id, command.index, command.told
        if index in self._recorded:
            config = self._recorded[index]
            self._searcher.on_suggested(trial_id, index, config)
            return SuggestionMade(self._clock(), trial_id, index, told, config)
        answer = self._searcher.ask(trial_id, index)
        if isinstance(answer, Signal):
            return SuggestionMade(self._clock(), trial_id, index, told, None, answer.value)
        return SuggestionMade(self._clock(), trial_id, index, told, answer)
