"""The process that runs trials: user code in its main thread, mail in others."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Any

from tune_plugins.core.events import Event, ResultsReported, StopTrial, TrialErrored
from tune_plugins.errors import TuneError
from tune_plugins.worker.attempt import ORIGINAL_DIRECTORY, release_objects, run_job, seed_everything, started
from tune_plugins.worker.channel import Wire, pack, unpack
from tune_plugins.worker.children import children_may_report
from tune_plugins.worker.failures import as_data, errored
from tune_plugins.worker.joining import join_on_use
from tune_plugins.worker.messages import Imported, Job, Output, PackedJob, RayIsAt, Recall, Recalled, Remark, WantsRay
from tune_plugins.worker.output import OutputCapture
from tune_plugins.worker.surroundings import Surroundings

_FLUSH_S = 0.08  # somewhat less than the 100 ms that a report may wait
_QUEUE_LIMIT = 2000  # a report that finds so many queued sends them itself, at the driver's pace
_OUTPUT_LIMIT = 500  # the same for portions of what trials print


class Worker:
    """Runs the jobs that come over its wire until it is told to leave.

    Args:
        wire: to the driver.
        trainable: called with the config.
        node: id of this node.
        own: names of the user's modules.
        forked: not an actor: it tells the driver what trials import, and joins Ray when one uses it.
    """

    def __init__(
        self,
        wire: Wire,
        trainable: Callable[..., Any],
        node: str,
        own: Collection[str] = (),
        *,
        forked: bool = False,
    ) -> None:
        self._wire, self._trainable, self._node, self._own = wire, trainable, node, own
        self._jobs: deque[Job | None] = deque()
        self._jobs_changed = threading.Condition()
        self._background = ThreadPoolExecutor(1, thread_name_prefix="tune-checkpoints")
        self._mail, self._forked = WorkerMail(wire), forked
        self._ray_is_at: queue.SimpleQueue[RayIsAt] = queue.SimpleQueue()
        if forked:
            join_on_use(self._ask_for_ray)

    def run(self) -> None:
        """Run jobs until the driver says leave or is gone. Must be called in the main thread."""
        with children_may_report():
            os.environ[ORIGINAL_DIRECTORY] = os.getcwd()
            self._surroundings = Surroundings(self._own)
            self._mail.imports = ImportsSeen()
            self._run()

    def _run(self) -> None:
        # Ctrl-C reaches the whole process group; the driver decides what it means.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        reader = threading.Thread(target=self._read, name="tune-mail", daemon=True)
        reader.start()
        capture = OutputCapture(self._mail.output)
        try:
            while (job := self._next_job()) is not None:
                self._run_job(job, capture)
        finally:
            release_objects()
            capture.close()
            self._background.shutdown()
            self._mail.flush()
            self._surroundings.leave()
            signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
            self._mail.close()

    def _next_job(self) -> Job | None:
        with self._jobs_changed:
            if self._jobs:
                return self._jobs.popleft()
        # Somebody waits for what was done so far, since there is nothing else to do.
        self._mail.flush()
        with self._jobs_changed:
            self._jobs_changed.wait_for(lambda: self._jobs)
            return self._jobs.popleft()

    def _read(self) -> None:
        while True:
            try:
                message = unpack(self._wire.recv_bytes())
            except (EOFError, OSError, TypeError):
                # The driver is gone: the results of user code could go nowhere, so it must not run on.
                if self._mail.busy:
                    os._exit(1)
                message = None
            if message is None:
                self._queue_job(None)
                return
            if isinstance(message, PackedJob):
                try:
                    self._queue_job(unpack(message.data))
                except Exception as error:
                    found = as_data(error)
                    what = f"the config of the trial cannot be loaded in a worker process: {found.message}"
                    told = replace(found, message=what)
                    self._mail.send(TrialErrored(time.time(), message.trial_id, told, fatal=True))
            elif isinstance(message, RayIsAt):
                self._ray_is_at.put(message)
            elif isinstance(message, Recall):
                with self._jobs_changed:
                    recalled = tuple(job.trial_id for job in self._jobs if job is not None)
                    self._jobs.clear()
                self._mail.send(Recalled(recalled))
            else:
                self._mail.deliver(message)

    def _ask_for_ray(self) -> Mapping[str, str]:
        """How to join the driver's Ray, which is started where it is not up."""
        self._mail.send(WantsRay())
        self._mail.flush()
        answer = self._ray_is_at.get()
        if answer.trouble:
            raise TuneError(answer.trouble)
        return answer.environ

    def _queue_job(self, job: Job | None) -> None:
        with self._jobs_changed:
            self._jobs.append(job)
            self._jobs_changed.notify()

    # ------------------------------------------------------------------------------ one trial

    def _run_job(self, job: Job, capture: OutputCapture) -> None:
        self._mail.begin(job.trial_id)
        self._mail.event(started(job, self._node))
        # Should this trial take the process down with it, those before it are safe.
        self._mail.flush()
        try:
            capture.begin(job.trial_id, job.log_files)
            run_job(job, self._trainable, self._mail, self._background, self._reset)
        except (OSError, KeyboardInterrupt) as error:
            # The log files cannot be written; or user code raised KeyboardInterrupt, since SIGINT is ignored here.
            self._mail.event(errored(job.trial_id, error))
        finally:
            if self._mail.imports is not None:
                for message in self._mail.imports.new():  # before the environment is put back
                    self._mail.send(message)
            capture.end()
            self._mail.end()

    def _reset(self, job: Job) -> None:
        """Undo what the trial before may have changed."""
        self._surroundings.restore()
        seed_everything(job.seed)


# Set here for each trial, and by PyTorch, its libraries and Lightning when they are imported, seeded or begin to train;
# what is imported depends on none of them.
_WITHOUT_EFFECT = frozenset(
    (
        ORIGINAL_DIRECTORY,
        "KMP_DUPLICATE_LIB_OK",
        "KMP_INIT_AT_FORK",
        "LOCAL_RANK",
        "MASTER_ADDR",
        "MASTER_PORT",
        "NODE_RANK",
        "PL_GLOBAL_SEED",
        "PL_SEED_WORKERS",
        "PYTORCH_NVML_BASED_CUDA_CHECK",
        "TORCHINDUCTOR_CACHE_DIR",
        "WORLD_SIZE",
    )
)


def _environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _WITHOUT_EFFECT}


class ImportsSeen:
    """Modules that trials import, as long as they leave the environment as it is: it may decide what is imported."""

    def __init__(self) -> None:
        # Not their names: to look at each of some thousand would copy the pages that forked processes share.
        self._known = len(sys.modules)
        self._environ = _environ()

    def new(self) -> list[Imported]:
        """A message about those since the last time; none where there are none."""
        count, self._known = len(sys.modules) - self._known, len(sys.modules)
        if count <= 0 or _environ() != self._environ:
            return []
        names = list(islice(reversed(sys.modules), count))[::-1]
        importable = [n for n in names if getattr(getattr(sys.modules.get(n), "__spec__", None), "name", None) == n]
        return [Imported(tuple(importable))] if importable else []


class WorkerMail:
    """Queues results and events of the running trial and sends them in batches."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.imports: ImportsSeen | None = None
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._queue: list[Any] = []
        self._results: list[dict[str, Any]] = []
        self._trial_id = ""
        self._commands: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._stop: StopTrial | None = None
        self._early_stops: dict[str, StopTrial] = {}
        self._wanted = threading.Event()
        self.closed = False
        threading.Thread(target=self._flush_later, name="tune-flush", daemon=True).start()

    # ------------------------------------------------------------- from the main thread

    def begin(self, trial_id: str) -> None:
        """A trial starts: from now on results are its."""
        with self._lock:
            self._trial_id = trial_id
            self._stop = self._early_stops.pop(trial_id, None)
            self._commands = queue.SimpleQueue()

    def end(self) -> None:
        """The trial is over; commands for it that come late are dropped."""
        with self._lock:
            self._trial_id = ""

    @property
    def busy(self) -> bool:
        """Whether a trial is running."""
        return bool(self._trial_id)

    def result(self, result: dict[str, Any]) -> None:
        """Queue a result."""
        with self._lock:
            results = self._results
            results.append(result)
            count = len(results)
        if count == 1:
            self._wanted.set()
        elif count >= _QUEUE_LIMIT:
            self.flush()

    def event(self, event: Event) -> None:
        """Queue an event behind the results reported so far."""
        with self._lock:
            self._collect(waiting=False)
            self._queue.append(event)
        self._wanted.set()

    def milestone(self, result: dict[str, Any]) -> None:
        """Send everything; this result stands at the milestone."""
        with self._lock:
            self._results.append(result)
            self._collect(waiting=True)
        self.flush()

    def verdict(self) -> Any:
        """Wait for the next command for this trial."""
        return self._commands.get()

    def stop_wanted(self) -> StopTrial | None:
        """A wish to stop that came from outside."""
        return self._stop

    # ---------------------------------------------------------------- from other threads

    def remark(self, text: str) -> None:
        """Queue something that the user should know about the run."""
        self.send(Remark(text))

    def output(self, trial_id: str, lines: list[str]) -> None:
        """Queue lines that the trial printed; waits where there are too many, so that its prints wait, too."""
        self.send(Output(trial_id, lines))
        if len(self._queue) >= _OUTPUT_LIMIT:
            self.flush()

    def send(self, message: Any) -> None:
        """Queue anything else."""
        with self._lock:
            self._queue.append(message)
        self._wanted.set()

    def deliver(self, command: Any) -> None:
        """A command came for a trial."""
        with self._lock:
            mine = command.trial_id == self._trial_id
            if isinstance(command, StopTrial):
                if mine:
                    self._stop = command
                else:
                    # Its job may still wait in line behind another.
                    self._early_stops[command.trial_id] = command
            if mine:
                self._commands.put(command)

    # -------------------------------------------------------------------------- sending

    def _collect(self, *, waiting: bool) -> None:
        if self._results:
            self._queue.append(ResultsReported(time.time(), self._trial_id, tuple(self._results), waiting))
            self._results = []

    def flush(self) -> None:
        """Send everything that is queued, in order."""
        with self._sending:
            with self._lock:
                self._collect(waiting=False)
                batch, self._queue = self._queue, []
            if batch:
                if self.imports is not None:
                    batch += self.imports.new()
                try:
                    self._wire.send_bytes(pack(batch))
                except (OSError, ValueError):
                    if self.busy:
                        os._exit(1)

    def _flush_later(self) -> None:
        while True:
            self._wanted.wait()
            time.sleep(_FLUSH_S)
            self._wanted.clear()
            if self.closed:
                return
            self.flush()

    def close(self) -> None:
        """Stop sending and close the wire."""
        self.closed = True
        self._wanted.set()
        self._wire.close()
