"""What all adapters stand on; public as `tune_plugins.integrations`, for adapters of frameworks of one's own.

An adapter is a callback class of its framework that derives from `Adapter` as well. During a fit it does four things::

    fit = self.begin_fit(Fit, callbacks)      # None outside a tuning run
    if fit.start is not None: ...             # load that checkpoint and go on from it
    if self.send(metrics, iteration): ...     # after each epoch or round; True: end by the framework's own mechanism
    self.finish_fit()                         # the training has come to its end

and it says how its running model is saved (`save_state`) and given another state (`load_state`) or other
hyper-parameters (`apply_config`), by which the engine reaches it; how the best model so far is kept (`copy_model`), and
how one is loaded from a checkpoint (`read_model`).
"""

from __future__ import annotations

import inspect
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar
from weakref import finalize

from tune_plugins import session as tune_session
from tune_plugins._imports import unknown_name
from tune_plugins.arguments import Mistakes
from tune_plugins.errors import ArgumentError, TuneError
from tune_plugins.integrations._metrics import Metrics, check_metrics, select_metrics
from tune_plugins.record.checkpoint import LINKS, Checkpoint, copy_into
from tune_plugins.record.models import BEST, CARD, BestModel, Build, ModelCard
from tune_plugins.session.best import BestSoFar
from tune_plugins.session.model_port import ModelPort, names_applied

F = TypeVar("F", bound="Fit")
T = TypeVar("T")
A = TypeVar("A", bound="Adapter")

Copy = int | Callable[[Path], None]
"""A model that is kept: the function writes it into an empty directory; a number stands for its first rounds."""

_PACKAGE = __name__.rpartition(".")[0]
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Fit:
    """One training call inside a trial. An adapter derives from it what else there is to know of a call."""

    session: tune_session.Session
    counts: bool = True
    """`training_iteration` is what the framework counts; otherwise, behind an earlier fit, the session counts on."""
    port: ModelPort | None = None
    """How the engine reaches the training; None: nothing goes on from the checkpoints of this fit."""
    saver: ModelPort | None = None
    """How the engine has the model saved: `port`, or for a later fit of the trial another one; None: it has none."""
    best: BestSoFar | None = None
    """The best result of this training; None where nothing is compared."""
    best_copy: Copy | None = None
    """The model that belongs to it, where it can be had."""
    reported_at: Any = None
    """What `Adapter.position` was at the last report."""
    finished: bool = False
    """The end was told after the last report."""

    @property
    def start(self) -> Checkpoint | None:
        """The checkpoint that this fit is to go on from."""
        return None if self.port is None else self.session.start_checkpoint


@dataclass(frozen=True)
class Internals:
    """What an adapter relies on in its framework beyond what that documents: all of it, in one list.

    Attributes:
        seen: versions of the framework in which all of it was found.
        names: as `tune_plugins.testing.moved_internals` takes them, which says what a new version has moved.
    """

    seen: tuple[str, ...]
    names: tuple[str, ...]


class Adapter:
    """Base of every callback that reports to a tuning run, beside the framework's own base class.

    Attributes:
        saves: the adapter offers checkpoints.
        endings: that the name of its file may have; empty: any.
        filename: name of the file in a checkpoint, as it was given.
        model: what is trained, during a fit; else None.
        trainer: what trains it, during a fit, where the framework has such an object; else None.
        silent: during a fit for which another callback acts.
        _fit: what `begin_fit` has returned, for the adapter itself; it sets it to None when the fit is over.
    """

    saves: bool = False
    endings: tuple[str, ...] = ()
    silent: bool = False
    _fit: Any = None

    @property
    def model(self) -> Any:
        """What is trained, during a fit; else None."""
        return getattr(self._fit, "model", None)

    @property
    def trainer(self) -> Any:
        """What trains it, during a fit, where the framework has such an object; else None."""
        return getattr(self._fit, "trainer", None)

    # ----------------------------------------------------------------------------- the engine calls these

    def save_state(self, directory: Path) -> None:
        """Write everything from which the training can go on; see `tune_plugins.session.model_port.ModelPort`."""
        raise NotImplementedError(f"{type(self).__name__} does not define save_state")

    def load_state(self, directory: Path, iteration: int) -> None:
        """Make the running training go on from a saved state; see `tune_plugins.session.model_port.ModelPort`."""
        raise NotImplementedError(f"{type(self).__name__} does not define load_state")

    def position(self) -> Any:
        """Where the training is, as anything that can be compared, such as the number of steps.

        For frameworks that may train on behind a report without another one: what is saved then is not the state that
        was reported.
        """
        return None

    def copy_model(self) -> Copy | None:
        """The model as it is now, the best one so far: kept in memory, and written with the next checkpoint.

        Called at a report that is better than all before, where the run has a metric. It is to cost little: copy
        weights, and leave formats and files to the function that is returned.

        Returns:
            A function that writes the copy into the directory it is given, as `read_model` reads it; or the number of
            rounds, for a model of which a later checkpoint has the first rounds as they are now; or None, if the best
            model is to be had only where a checkpoint of it is saved.
        """
        return None

    @classmethod
    def read_model(cls, directory: Path, filename: str, build: Any, config: Mapping[str, Any]) -> Any:
        """The model in the directory of a checkpoint, or in one that `copy_model` has made.

        Args:
            directory: holds the files.
            filename: of the model, as this adapter was given it.
            build: what the user has given `load_model`; see `built_model`.
            config: hyper-parameters of the trial, as far as they are known.
        """
        raise NotImplementedError(f"{cls.__name__} does not define read_model")

    @classmethod
    def cut_model(cls, directory: Path, filename: str, rounds: int, target: Path) -> None:
        """Write into the directory `target` the model of another one, with its first rounds only."""
        raise NotImplementedError(f"{cls.__name__} does not define cut_model")

    @classmethod
    def get_model(
        cls,
        checkpoint: Checkpoint,
        filename: str | None = None,
        *,
        build: Build | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> Any:
        """The model in a checkpoint that this adapter has saved; see `tune_plugins.Checkpoint.load_model`.

        Args:
            checkpoint: e.g. ``result.checkpoint``.
            filename: of the model; default: as it was saved.
            build: makes the model that weights are loaded into, where the framework stores nothing else.
            config: for `build`.
        """
        if filename is None and (card := ModelCard.read(checkpoint.path)) is not None:
            filename = card.filename
        elif filename is None and (parameter := inspect.signature(cls).parameters.get("filename")) is not None:
            filename = parameter.default
        return cls.read_model(Path(checkpoint.path), filename or "", build, config or {})

    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
        """Change hyper-parameters of the running training, after the state of another trial was loaded.

        A callback changes by itself what its framework can change. Override this for what only your script knows; what
        you need is in `self.model` (and `self.trainer`), and a name may be applied only where the result is that of a
        training with the new value. For any other name the training function is entered anew::

            class Callback(TuneReportCheckpointCallback):
                def apply_config(self, changed, before):
                    applied = set(super().apply_config(changed, before))
                    if "dropout" in changed:
                        self.model.dropout.p = changed["dropout"]
                        applied.add("dropout")
                    return applied

        Args:
            changed: new values by name; names of nested ones are joined by ``/``.
            before: the whole config up to now, by names of the same kind.

        Returns:
            The names that are applied.

        Raises:
            WarmRestartNeeded: the training function is to be entered anew, and why.
        """
        return set()

    # -------------------------------------------------------------------------- an adapter calls these

    def set_up(
        self,
        *,
        metrics: Metrics = None,
        filename: str | None = None,
        frequency: int = 0,
        checkpoint_at_end: bool = True,
        mistakes: Iterable[str] = (),
    ) -> None:
        """Look at the arguments that adapters have in common, and keep them; to be called by the constructor.

        Args:
            metrics: what to report: None for all, a name, several names, or {name to report: source}.
            filename: name of the file in a checkpoint; None for an adapter that has none.
            frequency: save a checkpoint every so many reports; 0: only when the tuning run asks for one.
            checkpoint_at_end: save one when the training ends.
            mistakes: in the arguments that only this adapter has, one text each.

        Raises:
            ArgumentError: an argument is wrong; lists all mistakes.
        """
        found = Mistakes(type(self).__name__)
        self._own_metrics = self._metrics = check_metrics(metrics, found)
        self.filename, self._frequency, self._at_end = filename or "", frequency, checkpoint_at_end
        if filename is not None and not self._is_file_name(filename):
            ending = f" ending in {' or '.join(self.endings)}" if self.endings else ""
            if filename == BEST:
                ending += f" and other than {BEST!r}, the folder of the best model"
            found.add(
                f"filename: expected a plain file name{ending}, got {filename!r}. "
                f"Write e.g. 'model{self.endings[0] if self.endings else '.ckpt'}'."
            )
        found.whole("frequency", frequency, least=0, remedy="Write 0 to save only when the tuning run asks for it.")
        found.flag("checkpoint_at_end", checkpoint_at_end)
        found.found += mistakes
        found.raise_if_any()

    def begin_fit(
        self, kind: Callable[..., F], callbacks: Iterable[Any] = (), *, savable: bool = True, claim: bool = True
    ) -> F | None:
        """A training call begins: what it is to the trial, or None outside a tuning run.

        Of several adapters among the callbacks, as Ray Tune's pair of one that reports and one that saves, the one that
        saves acts for all of them, and the others get None; see `join`.

        Args:
            kind: `Fit`, or a class derived from it.
            callbacks: all of the call.
            savable: this call has a model that can be saved and gone on from.
            claim: take the checkpoints now. Otherwise the adapter claims them by ``fit.session.claim_checkpoints()``
                when it knows that this call trains.

        Raises:
            ArgumentError: several of the callbacks save, or take different metrics for the same.
        """
        self._fit, self.silent = None, False
        session = tune_session.current()
        if session is None:
            return None
        adapters = [callback for callback in callbacks if isinstance(callback, Adapter)] or [self]
        if self is not leader(adapters):
            self.silent = True
            return None
        self.join([adapter for adapter in adapters if adapter is not self])
        owns = self.saves and savable and (session.claim_checkpoints() if claim else not session.checkpoints_claimed)
        # A trial that goes on, and a fit that does not: what its framework counts begins with 1 again.
        counts = not session.has_reported and (owns or session.start_checkpoint is None)
        self._fit = kind(session, counts=counts, port=Port(self) if owns else None)
        fit: F = self._fit
        if self.saves and savable:
            self._keep_best(fit)
        return fit

    def join(self, others: Sequence[Adapter]) -> None:
        """Report in this fit what all of them were asked to: the metrics that any of them names, else all.

        An adapter with more arguments that say what is reported, and when, joins these as well.
        """
        self._metrics = self._own_metrics
        for other in others:
            for name, source in (other._own_metrics or {}).items():
                if (known := (self._metrics or {}).get(name, source)) != source:
                    raise ArgumentError(
                        type(self).__name__,
                        [
                            f"metrics: {name!r} is {known!r} in one of the callbacks that report to the tuning run, "
                            f"and {source!r} in another. Name them differently, or keep one of the callbacks."
                        ],
                    )
                self._metrics = {**(self._metrics or {}), name: source}

    def _keep_best(self, fit: Fit) -> None:
        """Let the models of a fit be saved: the best one so far, too."""
        fit.saver = fit.port or Port(self)
        context = fit.session.context
        if context.metric is None or context.mode is None:
            return
        fit.best = best = BestSoFar(context.metric, context.mode)
        card = None
        with suppress(TuneError):  # of a later version, say: the training goes on, and looks for its best model anew
            card = None if fit.start is None else ModelCard.read(fit.start.path)
        if fit.start is None or card is None or (known := card.best) is None:
            return
        if (known.trial_id, known.metric, known.mode) == (context.trial_id, best.metric, best.mode):
            best.value, fit.best_copy = known.value, known.rounds
            if known.rounds is None:
                with suppress(OSError):
                    fit.best_copy = _Linked(Path(fit.start.path, known.folder or ""), context.trial_dir)

    def send(
        self,
        metrics: Mapping[str, Any],
        iteration: int | None = None,
        *,
        offers_state: bool = True,
        last: bool = False,
        measured: bool = True,
    ) -> bool:
        """Report a result; True if the training is to end now. Outside a tuning run it does nothing.

        An exploit happens in here: the state and the config may be others when this returns.

        Args:
            metrics: names and plain values.
            iteration: what the framework counts; None: the session counts.
            offers_state: the state is one that can be saved, and another one can be taken over.
            last: nothing is left to train: the trial is neither paused here, nor given another state.
            measured: the metrics are of the model as it is now; else `consider` was called when they were measured.
        """
        fit: Fit | None = self._fit
        if fit is None:
            return False
        fit.finished = False
        if measured:
            self.consider(metrics)
        elif fit.best is not None:
            fit.best.newest = False
        fit.reported_at = self.position()
        verdict = fit.session.report(
            metrics,
            iteration=iteration if fit.counts else None,
            model=fit.saver if offers_state else None,
            save_every=self._frequency,
            last=last,
            goes_on=fit.port is not None,
        )
        return verdict is tune_session.Verdict.STOP

    def consider(self, metrics: Mapping[str, Any]) -> None:
        """Keep the model as it is now, if it is the best one so far by these metrics of it."""
        fit: Fit | None = self._fit
        if fit is not None and fit.best is not None and fit.best.is_beaten_by(metrics):
            fit.best_copy = self._copied(fit)

    def finish_fit(self) -> None:
        """The training has come to its end, also after a stop: leave the last checkpoint. Once is enough."""
        fit: Fit | None = self._fit
        if fit is not None and fit.saver is not None and not fit.finished:
            fit.finished = True
            fit.session.finish(fit.saver, at_end=self._at_end, goes_on=fit.port is not None)

    def _copied(self, fit: Fit) -> Copy | None:
        try:
            return self.copy_model()
        except Exception:
            logger.warning("The best model of the training is not kept, since it could not be copied:", exc_info=True)
            fit.best = None
            return None

    def _write_card(self, directory: Path) -> None:
        """Note in a checkpoint how its model is loaded, and leave the best one there."""
        best = None
        try:
            best = self._best_into(directory)
        except Exception:
            logger.warning("The best model of the training could not be saved; the last one is:", exc_info=True)
            shutil.rmtree(directory / BEST, ignore_errors=True)
        ModelCard(_name(type(self)), self.filename, best).write(directory)

    def _best_into(self, directory: Path) -> BestModel | None:
        """Write the best model so far into a checkpoint, if it is not the state in there: what the card says of it."""
        fit: Fit = self._fit
        known, kept = fit.best, fit.best_copy
        if known is None or known.value is None:
            return None
        context = fit.session.context
        best = BestModel(known.metric, known.mode, known.value, context.trial_id)
        if isinstance(kept, int):
            return replace(best, rounds=kept)
        if known.newest and fit.reported_at == self.position():
            return best
        if kept is None:
            return None
        target = directory / BEST
        target.mkdir()
        kept(target)
        # From now on its files are at hand: nothing more in memory, and no second time through the framework.
        fit.best_copy = _Linked(target, context.trial_dir)
        ModelCard(_name(type(self)), self.filename).write(target)
        return replace(best, folder=BEST)

    def select(
        self, available: Iterable[str], if_none: str = "", also: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """{name to report: name in the framework} of the metrics asked for.

        Args:
            available: the names that the framework gives.
            if_none: what the user can do where it gives none.
            also: {other name by which a metric may be asked for: its name}.

        Raises:
            ArgumentError: a name is not among them; lists those there are.
        """
        return select_metrics(self._metrics, available, where=type(self).__name__, if_none=if_none, also=also)

    def checkpoint_file(self, directory: str | Path) -> str:
        """Path of the adapter's file in the directory of a checkpoint.

        Raises:
            ArgumentError: there is no such file; names those there are.
        """
        remedy = f"Give {type(self).__name__} the name under which it was saved."
        return existing_file(directory, self.filename, where=type(self).__name__, argument="filename", remedy=remedy)

    def _together(self, method: str, *arguments: Any) -> Any:
        """Call a method for the engine; an adapter of a distributed training does so on all ranks."""
        return getattr(self, method)(*arguments)

    def _is_file_name(self, name: Any) -> bool:
        if not isinstance(name, str) or not name or Path(name).name != name or name == BEST:
            return False
        return not self.endings or (name.endswith(self.endings) and name not in self.endings)


@dataclass(frozen=True, slots=True)
class Port:
    """The running training as the engine reaches it; see `tune_plugins.session.model_port.ModelPort`."""

    adapter: Adapter

    def save_state(self, directory: Path) -> None:
        self.adapter._together("save_state", directory)
        self.adapter._write_card(directory)

    def load_state(self, directory: Path, iteration: int) -> None:
        self.adapter._together("load_state", directory, iteration)
        fit: Fit = self.adapter._fit
        fit.best_copy = None
        if fit.best is not None:
            fit.best.begin_anew()

    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
        returned = self.adapter._together("apply_config", dict(changed), dict(before))
        return names_applied(returned, changed, f"{type(self.adapter).__name__}.")


def leader(adapters: Sequence[A]) -> A:
    """Which of the adapters of a training call acts for all of them: the one that saves, or else the first.

    Raises:
        ArgumentError: several of them save.
    """
    savers = [adapter for adapter in adapters if adapter.saves]
    if len(savers) > 1:
        raise ArgumentError(
            type(savers[0]).__name__,
            [
                f"callbacks: expected one callback that saves checkpoints for the tuning run, got {len(savers)}. "
                "Keep one of them."
            ],
        )
    return (savers or adapters)[0]


def existing_file(directory: str | Path, name: str, *, where: str, argument: str, remedy: str) -> str:
    """Path of a file in the directory of a checkpoint.

    Args:
        directory: of the checkpoint.
        name: of the file.
        where: name of the adapter, for the error.
        argument: of the adapter, which is at fault if there is no such file.
        remedy: what to do then.

    Raises:
        ArgumentError: there is no such file; names those there are.
    """
    path = os.path.join(directory, name)
    if os.path.isfile(path):
        return path
    names = os.listdir(directory) if os.path.isdir(directory) else []
    there = sorted(name for name in names if not name.startswith("."))
    found = f"it has {', '.join(map(repr, there))}" if there else "it is empty or gone"
    raise ArgumentError(
        where,
        [
            f"{argument}: the checkpoint {os.fspath(directory)!r}, from which this trial is to go on, has no file "
            f"{name!r}; {found}. {remedy}"
        ],
    )


def built_model(build: Any, config: Mapping[str, Any], framework: str) -> Any:
    """The model that `load_model` was told to load weights into.

    Args:
        build: what the user has given: a class or function.
        config: hyper-parameters of the trial.
        framework: its name, for the error.

    Raises:
        ArgumentError: it is missing, or needs what the config does not have.
    """
    example = "Write e.g. load_model(build_model), with the function that your training builds its model with"
    if not callable(build):
        raise ArgumentError(
            "load_model",
            [
                f"build: expected a class or function that makes the model, since {framework} stores weights and not "
                f"the model they belong to; got {build!r}. {example}."
            ],
        )
    parameters = arguments_of(build)
    needed = [p.name for p in parameters if p.default is inspect.Parameter.empty]
    if all(name in config for name in needed):
        return build(**{p.name: config[p.name] for p in parameters if p.name in config})
    if len(needed) == 1 and parameters[0].kind is not inspect.Parameter.KEYWORD_ONLY:
        return build(config)
    raise ArgumentError(
        "load_model",
        [
            f"build: {getattr(build, '__name__', build)!r} needs {', '.join(map(repr, needed))}, and the config has "
            f"{', '.join(map(repr, config)) or 'nothing'}. {example}, or load_model(lambda config: ...)."
        ],
    )


def arguments_of(build: Any) -> list[inspect.Parameter]:
    """What a class or function can be given by name or place, one by one."""
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p for p in inspect.signature(build).parameters.values() if p.kind not in several]


class _Linked:
    """The best model in a checkpoint: its files have another name as well, by which they outlast that."""

    def __init__(self, model: Path, trial_dir: str) -> None:
        directory = tempfile.mkdtemp(prefix=LINKS, dir=trial_dir or None)
        finalize(self, shutil.rmtree, directory, ignore_errors=True)
        copy_into(model, directory, link=True, without=(BEST, CARD))
        self._directory = directory

    def __call__(self, directory: Path) -> None:
        copy_into(self._directory, directory, link=True)


def _name(adapter: type) -> str:
    """As it stands in a `ModelCard`: the class of this package that it derives from."""
    for base in adapter.__mro__:
        package, _, module = base.__module__.rpartition(".")
        if package == _PACKAGE and not module.startswith("_"):
            return f"{module}.{base.__qualname__}"
    return f"{adapter.__module__}.{adapter.__qualname__}"


_OF_RAY = {
    "RayTrainReportCallback": "TuneReportCheckpointCallback",
    "RayReportCallback": "TuneReportCheckpointCallback",
    "ReportCheckpointCallback": "TuneReportCheckpointCallback",
    "TuneCheckpointCallback": "TuneReportCheckpointCallback",
    "TuneReporterCallback": "TuneReportCallback",
    "TuneCallback": "TuneReportCallback",
}
"""{name of a callback of Ray's: name here}."""


def names_of_ray(module: str) -> Callable[[str], Any]:
    """A ``__getattr__`` for an adapter's module: what Ray calls differently is told by its name here."""

    def hint(name: str) -> str:
        return f"It is here: from {module} import {_OF_RAY[name]}" if name in _OF_RAY else ""

    return unknown_name(module, hint)


def callers() -> Iterator[FrameType]:
    """Frames of the functions that called the one that asks, the nearest first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def running_call(module: str, *functions: str) -> FrameType | None:
    """The nearest call of one of the functions of a module among the callers."""
    for frame in callers():
        if frame.f_code.co_name in functions and frame.f_globals.get("__name__") == module:
            return frame
    return None


def calling(kind: type[T]) -> T | None:
    """The nearest object of a class that a method among the callers belongs to."""
    for frame in callers():
        if isinstance(caller := frame.f_locals.get("self"), kind):
            return caller
    return None
