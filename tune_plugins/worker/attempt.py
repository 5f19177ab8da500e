"""Running a training function as a trial: what it returns, raises or is unwound by becomes an event."""

from __future__ import annotations

import inspect
import os
import random
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import Any

from tune_plugins import session as session_module
from tune_plugins.core.ends import RETURNED
from tune_plugins.core.events import TrialFinished, TrialStarted
from tune_plugins.core.metrics import DEFAULT_METRIC
from tune_plugins.errors import TrialEvicted, TrialRestarted, TrialStopped, TrialUnwound
from tune_plugins.record.checkpoint import LINKS, sweep
from tune_plugins.session import Verdict
from tune_plugins.session.place import place
from tune_plugins.session.values import plain
from tune_plugins.worker import children
from tune_plugins.worker.failures import errored
from tune_plugins.worker.messages import Job
from tune_plugins.worker.session import Mail, TrialSession, elapsed_at

ORIGINAL_DIRECTORY = "TUNE_ORIG_WORKING_DIR"
"""Environment variable: the directory of the driver, for a trial that runs in its own folder."""


def run_job(
    job: Job, function: Callable[[dict[str, Any]], Any], mail: Mail, background: Executor, reset: Callable[[Job], None]
) -> None:
    """Enter the training function, and again after each restart, until it is over; the last event says how.

    Args:
        job: the attempt.
        function: takes the config.
        mail: where results and events go.
        background: makes checkpoints durable.
        reset: called before the function is entered.
    """
    session = TrialSession(job, mail, background)
    folder = session.trial_dir
    sweep(folder, LINKS)  # of an attempt that was killed
    leave: Callable[[], None] = nothing
    try:
        while True:
            reset(job)
            before = os.getcwd()
            if os.environ.get(ORIGINAL_DIRECTORY) != before:  # to write it costs, and to put the environment back
                os.environ[ORIGINAL_DIRECTORY] = before
            if job.in_own_folder:
                sys.path[:] = [path or before for path in sys.path]  # empty: the working directory
                folder.mkdir(parents=True, exist_ok=True)
                os.chdir(folder)
            leave = session_module.enter(session)
            try:
                if mail.stop_wanted() is None:
                    _enter(function, session)
            except TrialRestarted:
                leave()
                job = _next_attempt(job, session)
                session = TrialSession(job, mail, background)
                continue
            break
    except TrialEvicted:
        pass
    except TrialStopped:
        _finish(session, mail, unwound=True)
    except SystemExit as error:
        if error.code in (None, 0):
            _finish(session, mail)
        else:
            _fail(session, mail, error)
    except KeyboardInterrupt:
        session_module.ended(session)
        raise
    except BaseException as error:
        _fail(session, mail, error)
    else:
        _finish(session, mail)
    finally:
        leave()
        sweep(folder, LINKS)


def started(job: Job, node: str = "") -> TrialStarted:
    """The event that the function is entered in this process, of which `node` is Ray's name of its machine."""
    begins = job.iteration, elapsed_at(job.checkpoint)
    return TrialStarted(time.time(), job.trial_id, node, os.getpid(), *place(), *begins)


def _of_the_script(error: FileNotFoundError) -> None:
    """Add where the file is, if it is in the directory of the script and was looked for in the trial's own."""
    name, there = error.filename, os.environ.get(ORIGINAL_DIRECTORY, "")
    if isinstance(name, str) and not os.path.isabs(name) and os.path.exists(os.path.join(there, name)):
        error.args = (
            error.errno,
            f"{error.strerror}: with RunConfig(working_dir='trial') the trial runs in its own folder, and {name!r} is "
            f"in that of the script; open os.path.join(os.environ[{ORIGINAL_DIRECTORY!r}], {name!r})",
        )
        error.strerror = error.args[1]


def release_objects() -> None:
    """No trial will follow in this process, or of this run: what waits for one is cleaned up."""
    if (module := sys.modules.get("tune_plugins.worker.class_trial")) is not None:
        module.release()


def nothing() -> None:
    """Do nothing."""


def _enter(function: Callable[[dict[str, Any]], Any], session: TrialSession) -> None:
    try:
        _call(function, session)
    except (TrialUnwound, KeyboardInterrupt):
        raise
    except BaseException:
        # Where the ranks of a distributed training were told to end, those that wait for them fail.
        session.raise_if_unwound()
        if session in children.told_to_stop:
            raise TrialStopped(session.end.reason if session.end else "") from None
        raise
    session.raise_if_unwound()


def _call(function: Callable[[dict[str, Any]], Any], session: TrialSession) -> None:
    returned = function(session.config)
    if inspect.isgenerator(returned):
        yielding: Generator[Any, Any, Any] = returned
        returned = yield_from(yielding, session)
    if (metrics := _as_metrics(returned)) is not None:
        session.report_returned(metrics)
    elif returned is not None and not session.has_reported and session.start_checkpoint is None:
        # Else it is what a script ends with: a model, a history.
        raise TypeError(
            f"a trial function must return None, a dict of metrics or a number, got {type(returned).__name__}: "
            f"{str(plain(returned))[:80]}. Return {{'metric': value}} or call report()."
        )


def yield_from(generator: Generator[Any, Any, Any], session: TrialSession) -> Any:
    """Report what a generator yields; what it returns in the end, None where it was stopped before."""
    while True:
        try:
            yielded = next(generator)
        except StopIteration as end:
            return end.value
        if (metrics := _as_metrics(yielded)) is None:
            raise TypeError(f"a trial function must yield dicts of metrics, or numbers, got {yielded!r}")
        if session.report(metrics) is Verdict.STOP:
            generator.close()
            return None


def _as_metrics(returned: Any) -> dict[str, Any] | None:
    """A dict of metrics, or the one metric of a training that gives a number; None: neither."""
    if isinstance(returned, dict):
        return returned
    number = plain(returned)
    return {DEFAULT_METRIC: number} if type(number) in (int, float) else None


def _next_attempt(job: Job, session: TrialSession) -> Job:
    exploit = session.exploit
    assert exploit is not None
    return replace(
        job,
        config=exploit.config,
        lease=exploit.lease,
        checkpoint=exploit.checkpoint,
        iteration=exploit.checkpoint.iteration,
        attempt=job.attempt + 1,
    )


def _finish(session: TrialSession, mail: Mail, *, unwound: bool = False) -> None:
    session_module.ended(session)
    end = session.end or RETURNED
    finished = TrialFinished(time.time(), session.job.trial_id, end.reason, end.cause, unwound)
    if (error := session.close(finished)) is not None:
        _fail(session, mail, error)


def _fail(session: TrialSession, mail: Mail, error: BaseException) -> None:
    session_module.ended(session)
    # The next attempt is to go on from the last checkpoint, which may still be on its way to the disk.
    session.settle()
    if session.job.in_own_folder and isinstance(error, FileNotFoundError):
        _of_the_script(error)
    mail.event(errored(session.job.trial_id, error))


def keep_random_states() -> Callable[[], None]:
    """What puts the random generators that `seed_everything` seeds back to where they are now."""
    restore = [partial(random.setstate, random.getstate())]
    if "numpy" in sys.modules:
        numpy = sys.modules["numpy"].random
        restore.append(partial(numpy.set_state, numpy.get_state()))
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        restore.append(partial(torch.set_rng_state, torch.get_rng_state()))

    def put_back() -> None:
        for each in restore:
            each()

    return put_back


def seed_everything(seed: int) -> None:
    """Seed the random generators that training code uses, as far as they are loaded."""
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
