"""The session of a trial: queues reports, waits at milestones, saves checkpoints when somebody needs one."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, Protocol

from tune_plugins.core.autofill import AUTOFILLED, SUMMED, Attempt, add_up
from tune_plugins.core.ends import SAID_DONE, End
from tune_plugins.core.events import (
    CheckpointSaved,
    Event,
    ExploitDone,
    ExploitTrial,
    GrantLease,
    PauseTrial,
    StopTrial,
    TrialPaused,
)
from tune_plugins.core.leases import end_of, reached
from tune_plugins.core.metrics import DONE, lookup
from tune_plugins.core.scores import finite
from tune_plugins.core.trial import CheckpointRecord
from tune_plugins.errors import (
    TrialEvicted,
    TrialRestarted,
    TrialStopped,
    TrialUnwound,
    TuneError,
    WarmRestartNeeded,
)
from tune_plugins.record.checkpoint import MANIFEST, TEMPORARY, Checkpoint, CheckpointWriter, copy_into, reported_with
from tune_plugins.session.contract import TrialContext, Verdict
from tune_plugins.session.model_port import ModelPort, exploit_in_place
from tune_plugins.session.place import place
from tune_plugins.session.turns import Turns
from tune_plugins.session.values import PLAIN, plain
from tune_plugins.space.nested import copy_of
from tune_plugins.worker.failures import errored
from tune_plugins.worker.messages import Job


class Mail(Protocol):
    """How a session talks to the driver."""

    def result(self, result: dict[str, Any]) -> None:
        """Queue a result; it is sent within 100 ms."""

    def event(self, event: Any) -> None:
        """Queue an event behind the results."""

    def milestone(self, result: dict[str, Any]) -> None:
        """Send everything queued and this result, at which the trial waits for a verdict."""

    def verdict(self) -> Any:
        """Wait for the next command for this trial."""

    def stop_wanted(self) -> StopTrial | None:
        """A wish from outside to stop, that came while the trial was running."""

    def remark(self, text: str) -> None:
        """Pass on what the user should know about the run."""


class TrialSession:
    """See `tune_plugins.session.Session`; lives in the process of the trial.

    Args:
        job: the attempt.
        mail: the way to the driver.
        background: checkpoints are made durable there while training goes on.
    """

    stopped = TrialStopped

    def __init__(self, job: Job, mail: Mail, background: Executor) -> None:
        self.job, self.mail, self.background = job, mail, background
        self.config = copy_of(job.config)  # user code may write into its own
        self.trial_dir = Path(job.experiment_dir) / job.dirname
        self.context = TrialContext(
            trial_id=job.trial_id,
            trial_name=job.name,
            trial_dir=str(self.trial_dir),
            experiment_name=job.experiment_name,
            experiment_dir=job.experiment_dir,
            trial_resources=job.resources,
            config=self.config,
            seed=job.seed,
            metric=job.metric,
            mode=job.mode,
        )
        start = job.checkpoint
        self.start_checkpoint = None if start is None or start.path is None else Checkpoint(start.path)
        self.iteration = job.iteration
        self.end: End | None = None
        self.exploit: ExploitTrial | None = None
        self._lease = job.lease
        self._last: dict[str, Any] = {}
        self._over = False  # nothing is left to train behind the last report
        self._saved_at = job.iteration if start is not None else -1  # with a state to go on from
        self._kept_at = self._saved_at  # with any state
        self._reports_since_save = 0
        self._best_score: float | None = None
        self._ending = threading.Lock()
        self._closed = False
        self._save_error: BaseException | None = None
        self._saving: Future[None] | None = None
        self._unwound: TrialUnwound | TuneError | None = None
        self._turns = Turns()
        self.checkpoints_claimed = False
        # time_total_s leaves out the time spent paused, and goes on where the checkpoint was taken.
        elapsed = elapsed_at(start)
        self._sums = _sums_at(start)
        self._clock = time.perf_counter() - elapsed
        # What is counted since the start is made where it is read, and here only where a threshold is set on it.
        self._attempt = Attempt(os.getpid(), *place(), job.iteration, elapsed)
        self._limits_filled = any(rule.name in AUTOFILLED or rule.name.startswith("config/") for rule in job.stop)

    # ------------------------------------------------------------------------------- reporting

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
        """See `tune_plugins.session.Session.report`."""
        if self.end is not None:
            raise TrialStopped(f"report() after the trial was stopped: {self.end.reason}")
        self.raise_if_unwound()
        if not self._turns.take():
            self._unwind(TuneError(_AT_A_TIME.format(remedy=_ONE_REPORTS)))
        self._raise_save_error()
        result: dict[str, Any] = {}
        for name, value in metrics.items():
            result[name] = value if type(value) in PLAIN else plain(value)
        if iteration is None:
            given = result.get("training_iteration")
            iteration = given if isinstance(given, int) else self.iteration + 1
        if iteration <= self.iteration and self._last:
            if iteration < self.iteration or any(n in self._last and n not in _COUNTED for n in result):
                told = _MUST_GROW.format(iteration=iteration, before=self.iteration, remedy=_ONE_REPORTS)
                self._unwind(TuneError(told))
            result = {**self._last, **result}  # more of the same iteration
        add_up(result, self._sums)
        self._check_metric(result)
        self._over = last
        self.iteration = iteration
        result["training_iteration"] = iteration
        result["time_total_s"] = time.perf_counter() - self._clock
        result["timestamp"] = time.time()
        self._last = result

        lease = self._lease
        waits = lease.milestone is not None and not last and reached(lease.milestone, result)
        if checkpoint is not None:
            self._write(lambda directory: _copy(checkpoint, directory, self.trial_dir), wait=waits)
        elif model is not None and self._checkpoint_due(result, save_every, asked=waits and lease.save and goes_on):
            self._write(model.save_state, wait=waits, goes_on=goes_on)
        end = end_of(self._filled(result) if self._limits_filled else result, lease, self.job.stop)
        if end is None and result.get(DONE) is True:
            end = SAID_DONE
        if end is None and (wish := self.mail.stop_wanted()) is not None:
            end = End(wish.cause, wish.reason)
        if waits and end is None:
            return self._await_verdict(result, model if goes_on else None)
        self.mail.result(result)
        return Verdict.CONTINUE if end is None else self._stop(end)

    def _filled(self, result: dict[str, Any]) -> dict[str, Any]:
        facts = {"trial_id": self.job.trial_id, "experiment_tag": "", "done": False}
        return self._attempt.filled(result, config=self.config, **facts)  # type: ignore[arg-type]

    @property
    def has_reported(self) -> bool:
        """See `tune_plugins.session.Session.has_reported`."""
        return bool(self._last)

    def report_returned(self, metrics: Mapping[str, Any]) -> None:
        """What the function returned: added to its last result, or the only one if nothing was reported."""
        self.raise_if_unwound()
        if not self._last:
            if self.end is None:
                self.report(metrics)
            return
        self._raise_save_error()
        added = {name: plain(value) for name, value in metrics.items()}
        self._check_metric(added)
        now = {"time_total_s": time.perf_counter() - self._clock, "timestamp": time.time()}
        self._last = {**self._last, **added, "training_iteration": self.iteration, **now}
        self.mail.result(self._last)

    def _check_metric(self, result: dict[str, Any]) -> None:
        """The run's metric is compared: text or a list would rank last, and nobody would know why.

        Raises:
            TypeError: it is no number; fails the trial, at the line that reports it.
        """
        name = self.job.metric
        value = None if name is None else lookup(result, name)
        if value is not None and not isinstance(value, (int, float)):
            raise TypeError(
                f"the metric {name!r}, by which trials are compared, must be a number, got {type(value).__name__}: "
                f"{str(value)[:80]}. Report a number under this name, and anything else under another one."
            )

    def _stop(self, end: End) -> Verdict:
        self.end = end
        return Verdict.STOP

    def _await_verdict(self, result: dict[str, Any], model: ModelPort | None) -> Verdict:
        paused_at = time.perf_counter()
        self.settle()  # a checkpoint of before that came behind the verdict would seem to be of what follows it
        self.mail.milestone(result)
        while True:
            verdict = self.mail.verdict()
            if isinstance(verdict, GrantLease):
                self._lease = verdict.lease
                self._clock += time.perf_counter() - paused_at
                return Verdict.CONTINUE
            if isinstance(verdict, StopTrial):
                return self._stop(End(verdict.cause, verdict.reason))
            if isinstance(verdict, ExploitTrial):
                self._exploit(verdict, model)
                return Verdict.CONTINUE
            assert isinstance(verdict, PauseTrial)
            if verdict.evict:
                if self._saved_at != self.iteration and model is not None:
                    self._write(model.save_state, wait=True)
                if self._saved_at == self.iteration:
                    self.mail.event(TrialPaused(time.time(), self.job.trial_id, resident=False))
                    self._unwind(TrialEvicted("paused; goes on later from its checkpoint"))
            # Nothing to go on from elsewhere: the process keeps the state.
            self.mail.event(TrialPaused(time.time(), self.job.trial_id, resident=True))

    def _exploit(self, exploit: ExploitTrial, model: ModelPort | None) -> None:
        """Go on from another trial's state: in here, or from a new entry into the function."""
        donor = exploit.checkpoint
        assert donor.path is not None
        try:
            done = exploit_in_place(
                model, Path(donor.path), donor.iteration, self.job.config, exploit.config, own=self.config
            )
        except WarmRestartNeeded as reason:
            self.exploit = exploit
            why = str(reason)
            self.mail.event(ExploitDone(time.time(), self.job.trial_id, False, why, donor.iteration, elapsed_at(donor)))
            self._unwind(TrialRestarted(f"goes on from trial {donor.trial_id}; {why}"))
        elapsed = elapsed_at(donor)
        self.mail.event(ExploitDone(time.time(), self.job.trial_id, True, done, donor.iteration, elapsed))
        self._attempt.go_on_from(donor.iteration, elapsed)
        self.job = replace(self.job, config=exploit.config, checkpoint=donor, iteration=donor.iteration)
        self.config.clear()
        self.config.update(copy_of(exploit.config))
        self._lease = exploit.lease
        self.iteration = self._saved_at = self._kept_at = donor.iteration
        self._reports_since_save = 0
        self._clock = time.perf_counter() - elapsed
        self._sums = _sums_at(donor)

    def _unwind(self, how: TrialUnwound | TuneError) -> NoReturn:
        self._unwound = how
        raise how

    def raise_if_unwound(self) -> None:
        """User code that swallowed the exception which ends this attempt gets it again, and nothing else counts."""
        if self._unwound is not None:
            raise self._unwound

    def remark(self, text: str) -> None:
        """See `tune_plugins.session.Session.remark`."""
        self.mail.remark(text)

    # ----------------------------------------------------------------------------- checkpoints

    def claim_checkpoints(self) -> bool:
        """See `tune_plugins.session.Session.claim_checkpoints`."""
        with self._ending:  # ranks of a training ask at the same time, each in a thread of its own
            claimed, self.checkpoints_claimed = self.checkpoints_claimed, True
        return not claimed

    def finish(self, model: ModelPort, *, at_end: bool, goes_on: bool = True) -> None:
        """See `tune_plugins.session.Session.finish`."""
        wanted = self.job.policy.at_end
        if (at_end if wanted is None else wanted) and self._kept_at != self.iteration and self._last:
            try:
                self._write(model.save_state, wait=False, goes_on=goes_on)
            except Exception as error:
                self._save_error = error  # should nobody see it raised, as in a generator that is being closed
                raise

    def _checkpoint_due(self, result: dict[str, Any], save_every: int, *, asked: bool) -> bool:
        self._reports_since_save += 1
        policy = self.job.policy
        due = asked
        for frequency in (save_every, policy.frequency):
            due = due or (frequency > 0 and self._reports_since_save >= frequency)
        if policy.score_attribute is not None and (score := self._score(result)) is not None:
            better = min if policy.score_order == "min" else max
            if self._best_score is None or better(score, self._best_score) != self._best_score:
                self._best_score = score
                due = True
        return due

    def _score(self, result: dict[str, Any]) -> float | None:
        name = self.job.policy.score_attribute
        value = None if name is None else lookup(result, name)
        return finite(value)

    def _write(self, save: Callable[[Path], None], *, wait: bool, goes_on: bool = True) -> None:
        """Write the state here and now; checksums, fsync and rename follow in the background."""
        writer = CheckpointWriter(self.trial_dir / f"checkpoint_{self.iteration:06d}")
        try:
            save(writer.path)
        except BaseException:
            writer.abort()
            raise
        self._kept_at = self.iteration
        if goes_on:
            self._saved_at = self.iteration
        self._reports_since_save = 0
        trial_id, iteration, last, score = self.job.trial_id, self.iteration, self._last, self._score(self._last)
        goes_on = goes_on and not self._over

        def commit() -> None:
            try:
                record = writer.commit(iteration, score, last, trial_id=trial_id)
            except BaseException as error:
                with self._ending:
                    self._save_error = error
                    late = self._closed
                if late:
                    # The trial was over already: nobody else will say that its last checkpoint is missing.
                    self.mail.event(errored(trial_id, error, fatal=True))
            else:
                record = replace(record, goes_on=goes_on)
                self.mail.event(CheckpointSaved(time.time(), trial_id, record))

        self._saving = self.background.submit(commit)
        if wait:
            self.settle()
            self._raise_save_error()

    def settle(self) -> None:
        """Wait until all checkpoints are durable, or have failed."""
        if self._saving is not None:
            self._saving.result()

    def _raise_save_error(self) -> None:
        if self._save_error is not None:
            raise self._save_error

    def close(self, finished: Event) -> BaseException | None:
        """User code has ended: queue the event that says so, or return what went wrong with a checkpoint.

        Trouble with the last checkpoint that comes later is an event of its own, behind this one.
        """
        with self._ending:
            if self._save_error is None:
                self._closed = True
                self.mail.event(finished)
            return self._save_error


_COUNTED = frozenset(("training_iteration", "time_total_s", "timestamp"))
_AT_A_TIME = "Two processes or threads of this trial report, and the one before is still there: {remedy}"
_MUST_GROW = (
    "training_iteration must grow: {iteration} was reported after {before}. Report once an iteration, with all "
    "metrics, or other metrics in a second report of it. If the script counts by itself and begins anew: report no "
    "training_iteration, and it is counted. If trainings in several processes or threads report at the same "
    "time: {remedy}"
)
_ONE_REPORTS = (
    "their results would be mixed into one sequence. Let one of them report, e.g. give the callback to one fold only; "
    "or none, and report the mean behind the loop: tune.report(score=scores.mean()). Or run them one after another: "
    "n_jobs=1, a pool of one process, or processes that end before the next one reports."
)


def _sums_at(record: CheckpointRecord | None) -> dict[str, Any]:
    """Totals that were reported with a checkpoint, from which they are added up further."""
    reported = {} if record is None or record.path is None else reported_with(record.path)
    return {total: reported[total] for total in SUMMED.values() if total in reported}


def elapsed_at(record: CheckpointRecord | None) -> float:
    """`time_total_s` at which a checkpoint was taken, in seconds; 0 where there is none."""
    if record is None or record.path is None:
        return 0.0
    elapsed = reported_with(record.path).get("time_total_s")
    return float(elapsed) if isinstance(elapsed, (int, float)) else 0.0


def _copy(checkpoint: Checkpoint, directory: Path, trial_dir: Path) -> None:
    own: list[str] = []
    if os.path.samefile(checkpoint.path, trial_dir):  # all that the trial has written: without earlier checkpoints
        own = [
            name
            for name in os.listdir(trial_dir)
            if name.startswith(TEMPORARY) or Path(trial_dir, name, MANIFEST).exists()
        ]
    copy_into(checkpoint.path, directory, without=own)
