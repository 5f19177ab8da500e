"""The searcher at work: what the core has for it, in order, and its answers."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from tune_plugins.core.ends import Outcome
from tune_plugins.core.events import AskSearcher, Event, SearcherCommand, SuggestionMade, TellEnd, TellResult
from tune_plugins.core.searcher import Searcher, SearchTask, Signal
from tune_plugins.errors import ArgumentError, TuneError

logger = logging.getLogger(__name__)

_PATIENCE_S = 60.0
_GRACE_S = 10.0  # for a searcher that computes when the run is over
_STEP_S = 0.1

_threads: dict[int, threading.Thread] = {}
"""Those in which searchers are at work, maybe for a run that is over, by the `id` of the searcher."""


def prepare(searcher: Searcher, task: SearchTask) -> None:
    """Give a searcher the task of a run.

    Raises:
        ArgumentError: it cannot work on this task; lists all reasons.
        TuneError: it raised, or it is still at work for an earlier run.
    """
    earlier = _threads.get(id(searcher))
    if earlier is not None:
        earlier.join(_GRACE_S)
        if earlier.is_alive():
            raise TuneError(
                f"{searcher.label} is still at work for an earlier run, which has ended without waiting for it. "
                "Wait, or use another searcher object."
            )
    try:
        searcher.prepare(task)
    except TuneError:
        raise
    except Exception as error:
        raise TuneError(f"{type(error).__name__} in {searcher.label}, when it got its task: {error}") from error


class _Call(NamedTuple):
    """A method of the searcher that has been entered."""

    method: str
    trial_id: str
    since: float


class Suggestions:
    """Tells and asks the searcher: at once, or in a thread, so that no verdict waits for a model.

    Behind its first error a searcher is asked no more, and told of the ends of trials only.

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
        self._call: _Call | None = None
        self._complained: _Call | None = None
        self._broken = self._closing = False
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
                self._mail.put(command)
            if commands and self._thread is None:
                self._thread = threading.Thread(target=self._work, name="tune-searcher", daemon=True)
                _threads[id(self._searcher)] = self._thread
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
                found.append(answer)
        call = self._call
        if self._thread is not None and not found and call is not None:
            self._look_at_clock(call, time.monotonic() - call.since, anybody_runs)
        return found

    def close(self, *, ended_early: bool, interrupted: Callable[[], bool] = lambda: False) -> None:
        """Let the searcher hear the rest; what it suggested and nobody has taken counts as dropped.

        Args:
            ended_early: the run has not come to its end; so the searcher is not waited for as long as for an answer.
            interrupted: asked now and then; do not wait any longer.

        Raises:
            TuneError: it raised, or it did not return.
        """
        self._closing = True
        if self._thread is None:
            return
        self._mail.put(None)
        limit = time.monotonic() + (_GRACE_S if ended_early else self._searcher.timeout_s)
        while self._thread.is_alive() and time.monotonic() < limit and not interrupted():
            self._thread.join(_STEP_S)
        call = self._call
        if self._thread.is_alive() and call is not None:
            logger.warning(
                "%s.%s has been computing for %.0f s, and is left alone: the run is over.",
                self._searcher.label,
                call.method,
                time.monotonic() - call.since,
            )
        with suppress(queue.Empty):
            while True:
                answer = self._answers.get_nowait()
                if isinstance(answer, TuneError):
                    raise answer

    def _look_at_clock(self, call: _Call, waited: float, anybody_runs: bool) -> None:
        name = f"{self._searcher.label}.{call.method}"
        if waited >= self._searcher.timeout_s and not anybody_runs:
            raise TuneError(
                f"{name} has not returned for {waited:.0f} s, and no trial is running. Give it more time by its "
                f"attribute timeout_s (now {self._searcher.timeout_s:g} s), or take another searcher.{self._told_where}"
            )
        if waited >= _PATIENCE_S and call is not self._complained:
            self._complained = call
            logger.warning("%s has been computing for %.0f s; a slot may be idle meanwhile.", name, waited)

    # ------------------------------------------------------------------------------ in the thread

    def _work(self) -> None:
        try:
            self._serve()
        finally:
            _threads.pop(id(self._searcher), None)

    def _serve(self) -> None:
        assert self._wake is not None
        while (command := self._mail.get()) is not None:
            try:
                answer = self._carry_out(command)
            except TuneError as error:
                self._answers.put(error)
                self._wake()
                continue
            if answer is None:
                continue
            if self._closing and answer.config is not None:  # nobody will take it
                with suppress(TuneError):
                    self._carry_out(TellEnd(answer.trial_id, None, Outcome.DROPPED))
                continue
            self._answers.put(answer)
            self._wake()
        with suppress(queue.Empty):
            while isinstance(left := self._answers.get_nowait(), SuggestionMade):
                if left.config is not None:
                    with suppress(TuneError):
                        self._carry_out(TellEnd(left.trial_id, None, Outcome.DROPPED))
            self._answers.put(left)

    # ------------------------------------------------------------------------------------ either way

    def _carry_out(self, command: SearcherCommand) -> SuggestionMade | None:
        searcher, trial_id = self._searcher, command.trial_id
        if (self._broken or self._closing) and not isinstance(command, TellEnd):
            return None
        was_broken = self._broken
        try:
            if isinstance(command, AskSearcher):
                return self._ask(command)
            if isinstance(command, TellResult):
                self._enter("on_trial_result", trial_id)
                searcher.on_trial_result(trial_id, command.result)
            elif isinstance(command, TellEnd):
                self._enter("on_trial_complete", trial_id)
                searcher.on_trial_complete(trial_id, command.result, outcome=command.outcome)
            return None
        except (Exception, SystemExit) as error:
            self._broken = True
            if was_broken:
                return None  # it has been told of before what ailed it
            if isinstance(error, ArgumentError):
                raise
            assert self._call is not None
            where = f"{searcher.label}.{self._call.method}, trial {trial_id}"
            what = (
                f"{where}: {error}" if isinstance(error, TuneError) else f"{type(error).__name__} in {where}: {error}"
            )
            raise TuneError(f"{what.rstrip('. ')}.{self._told_where}") from error
        finally:
            self._call = None

    def _enter(self, method: str, trial_id: str) -> None:
        self._call = _Call(method, trial_id, time.monotonic())

    def _ask(self, command: AskSearcher) -> SuggestionMade:
        trial_id, index, told = command.trial_id, command.index, command.told
        if index in self._recorded:
            self._enter("on_suggested", trial_id)
            config = self._recorded[index]
            self._searcher.on_suggested(trial_id, index, config)
            return SuggestionMade(self._clock(), trial_id, index, told, config)
        self._enter("on_suggested" if index < len(self._searcher.points_to_try) else "suggest", trial_id)
        answer = self._searcher.ask(trial_id, index)
        if isinstance(answer, Signal):
            return SuggestionMade(self._clock(), trial_id, index, told, None, answer.value)
        return SuggestionMade(self._clock(), trial_id, index, told, answer)
