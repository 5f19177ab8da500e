"""Keras 3 on PyTorch, JAX or TensorFlow: report epochs, save checkpoints, stop, go on and exploit, by one callback.

Outside a tuning run the callbacks do nothing, so that the same script trains alone.

>>> def train(config):
...     model = build_model(config)
...     model.compile(keras.optimizers.Adam(config["lr"]), "sparse_categorical_crossentropy", metrics=["accuracy"])
...     model.fit(x, y, epochs=20, validation_data=(x_val, y_val), callbacks=[TuneReportCheckpointCallback()])
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from tune_plugins import session as tune_session
from tune_plugins._imports import require
from tune_plugins.errors import ArgumentError, MissingDependencyError, Mistakes, TuneError, WarmRestartNeeded
from tune_plugins.integrations._metrics import Metrics, check_metrics, select_metrics
from tune_plugins.record.checkpoint import Checkpoint

BACK_ENDS = ("torch", "jax", "tensorflow")


class _MissingBackEndError(MissingDependencyError):
    """Keras is there and the back end that it was told to use is not."""

    def __init__(self, module: str, extra: str, needed_by: str) -> None:
        super().__init__(module, extra, needed_by)
        found = [name for name in BACK_ENDS if importlib.util.find_spec(name) is not None]
        told = repr(os.environ["KERAS_BACKEND"]) if os.environ.get("KERAS_BACKEND") else "not set"
        there = f"Installed: {', '.join(found)}." if found else "Installed: none of them; pip install one, e.g. torch."
        use = found[0] if found else "torch"
        self.msg = (
            f"{needed_by} imports Keras, whose back end {module!r} is not installed. The back end is one of "
            f"{', '.join(BACK_ENDS)}; the environment variable KERAS_BACKEND ({told}) decides which when Keras is "
            "imported; without it ~/.keras/keras.json does, or else it is tensorflow. "
            f'{there} Write os.environ["KERAS_BACKEND"] = "{use}" before the first import of Keras, or in the shell: '
            f"export KERAS_BACKEND={use}"
        )

    def __reduce__(self) -> Any:
        return ImportError, (self.msg,)  # in another process this class cannot be imported either


try:
    require("keras", extra="keras", needed_by="tune_plugins.integrations.keras")
except ModuleNotFoundError as error:
    if error.name not in BACK_ENDS or importlib.util.find_spec(error.name) is not None:
        raise
    raise _MissingBackEndError(error.name, "keras", "tune_plugins.integrations.keras") from None

import keras  # noqa: E402

from tune_plugins.integrations import _keras_optimizer as hyper  # noqa: E402
from tune_plugins.integrations import _keras_state as state_files  # noqa: E402

__all__ = ["TuneReportCallback", "TuneReportCheckpointCallback"]

EVENTS = ("epoch_end", "train_batch_end", "test_end")
"""When a result may be reported."""
CHECKPOINT_EVENTS = ("epoch_end", "train_batch_end")
SUFFIX = ".weights.h5"
MODEL_CHECKPOINT_MEMORY = ("best", "_batches_seen_since_last_saving", "_last_batch_seen")


@dataclass(slots=True)
class _SessionUse:
    """What the fits of one trial have made of its session so far."""

    session: tune_session.Session | None
    reported: bool = False
    """A fit has begun: later ones let the session count on."""
    owned: bool = False
    """A fit has taken the checkpoints: they belong to the first one that can have them."""


_use = _SessionUse(None)


def _use_of(session: tune_session.Session) -> _SessionUse:
    global _use
    if _use.session is not session:
        _use = _SessionUse(session)
    return _use


@dataclass(slots=True)
class _Fit:
    """One call of `fit` inside a trial."""

    session: tune_session.Session
    model: Any
    call: _FitCall
    counts_epochs: bool
    """`training_iteration` is the number of the epoch; otherwise the session counts."""
    saves: bool
    epoch: int = 0
    """Epochs that are complete."""
    batch: int = 0
    """Batches of the next epoch that are trained as well."""
    held: dict[str, Any] | None = None
    """A result that waits for the end of the epoch, where the state is one to go on from."""
    base_learning_rates: list[float | None] = field(default_factory=list)
    """As the script built the optimizers."""
    watch: hyper.LearningRateWatch | None = None
    moved_learning_rate: bool = False
    """The learning rate in use is, or that of an adopted state was, another than what the script has set."""
    assigned_learning_rate: bool = False
    """The script has set the learning rate in the course of the training whose state was adopted."""
    initial_epoch: tuple[Any] | None = None
    """What `model._initial_epoch` was, where it is to be put back."""
    finished: bool = False


class TuneReportCallback(keras.callbacks.Callback):
    """Reports every epoch to the tuning run; saves no checkpoints.

    The names are those of Keras' own logs, e.g. ``loss``, ``accuracy``, ``val_loss``. `training_iteration` is the
    number of epochs. The callback acts after all others have seen the epoch, whatever the order in the list, so
    that what they add to the logs is reported, too, and nothing of theirs is missing when the training ends here.
    Told to stop, it sets ``model.stop_training``.

    Args:
        metrics: what to report: None for all, a name, several names, or {name to report: source}.
        report_metrics_on: ``"epoch_end"``; ``"train_batch_end"``: every training step is an iteration;
            ``"test_end"``: every evaluation is one, the validations of `fit` as well as `evaluate` with this callback.

    Raises:
        ArgumentError: an argument is wrong; or, with the first result, a metric does not exist (it lists
            those that do).
    """

    def __init__(self, metrics: Metrics = None, report_metrics_on: str = "epoch_end") -> None:
        super().__init__()
        mistakes = Mistakes(type(self).__name__)
        self._set_up(metrics, report_metrics_on, mistakes)
        mistakes.raise_if_any()

    def _set_up(self, metrics: Any, report_metrics_on: Any, mistakes: Mistakes) -> None:
        self._metrics = check_metrics(metrics, mistakes)
        self._report_on = report_metrics_on
        self._fit: _Fit | None = None
        if report_metrics_on not in EVENTS:
            mistakes.add(
                f"report_metrics_on: expected {_listed(EVENTS)}, got {report_metrics_on!r}. "
                "Leave it out to report every epoch."
            )
        if report_metrics_on == "train_batch_end":
            # Set only where it is used: Keras reads the metrics back from the device after each batch for a
            # callback that has this method, and steps would no longer overlap.
            self.on_train_batch_end = self._on_train_batch_end

    # ------------------------------------------------------------------------------- Keras calls these

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Begin a fit; in a trial that is to go on from a checkpoint, load it."""
        self._fit = None
        session = tune_session.current()
        if session is None:
            return
        call = _FitCall.running(self)
        self._refuse_second_reporter(call)
        if call.container is not None:
            # Last in a new list: Keras is in the middle of the old one.
            others = [callback for callback in call.container.callbacks if callback is not self]
            call.container.callbacks = [*others, self]
        use = _use_of(session)
        first, use.reported = not use.reported, True
        owner = self._saves() and not use.owned
        fit = _Fit(
            session,
            self.model,
            call,
            counts_epochs=first and session.start_checkpoint is None and self._report_on == "epoch_end",
            saves=owner,
        )
        if owner:
            use.owned = True
            fit.base_learning_rates = hyper.learning_rates(fit.model)
            if session.start_checkpoint is not None:
                self._restore(fit, session.start_checkpoint)
            fit.watch = hyper.LearningRateWatch(fit.model)
        self._fit = fit

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Note where the training is."""
        if (fit := self._fit) is not None:
            _put_back_initial_epoch(fit)
            fit.epoch, fit.batch = epoch, 0

    def _on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if (fit := self._fit) is None:
            return
        fit.batch = batch + 1
        values = self._values(logs, fit)
        if fit.call.steps is not None and fit.batch >= fit.call.steps:
            fit.held = values
        else:
            self._report(fit, values, offers_state=self._saves_on_batches())

    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Report an evaluation, if that is wanted."""
        if self._report_on != "test_end":
            return
        if (fit := self._fit) is not None:
            fit.held = self._values(logs, fit)
        elif (session := tune_session.current()) is not None:
            _use_of(session).reported = True
            session.report(self._values(logs, None))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Report the epoch."""
        if (fit := self._fit) is None:
            return
        by_batch = self._report_on == "train_batch_end"
        if by_batch and fit.call.steps is None and not fit.model.stop_training:
            fit.call.steps = fit.batch  # a generator: Keras itself counts in the first epoch
        if not by_batch or fit.held is not None:  # else a stop in the middle of the epoch
            fit.epoch, fit.batch = epoch + 1, 0
        held, fit.held = fit.held, None
        values = self._values(logs, fit) if self._report_on == "epoch_end" else held
        if values is not None:
            self._report(fit, values, offers_state=True)
        if fit.model.stop_training or (fit.call.epochs is not None and epoch + 1 >= fit.call.epochs):
            # Now and not in `on_train_end`: there Keras has put averaged weights in place (use_ema), and others
            # their best ones (EarlyStopping), from which the training could not go on.
            self._finish(fit)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """End the fit."""
        fit, self._fit = self._fit, None
        if fit is not None:
            _put_back_initial_epoch(fit)
            self._finish(fit)
            if fit.watch is not None:
                fit.watch.end()

    # --------------------------------------------------------------------------------------- reporting

    def _report(self, fit: _Fit, values: dict[str, Any], *, offers_state: bool) -> None:
        iteration = fit.epoch if fit.counts_epochs else None
        if self._send(fit, values, iteration, offers_state=offers_state) is tune_session.Verdict.STOP:
            fit.model.stop_training = True

    def _send(
        self, fit: _Fit, values: dict[str, Any], iteration: int | None, *, offers_state: bool
    ) -> tune_session.Verdict:
        return fit.session.report(values, iteration=iteration)

    def _finish(self, fit: _Fit) -> None:
        """Nothing is left behind by a callback without checkpoints."""

    def _values(self, logs: Mapping[str, Any] | None, fit: _Fit | None) -> dict[str, Any]:
        """What is to be reported of Keras' logs, as plain numbers."""
        logs = logs or {}
        wanted = self._metrics
        if wanted is None:
            return {name: _plain(value) for name, value in logs.items()}
        if missing := [source for source in wanted.values() if source not in logs]:
            by_epoch = self._report_on == "epoch_end"
            later = by_epoch and fit is not None and fit.call.validates_later(fit.epoch)
            if not (later and all(source.startswith("val_") for source in missing)):
                select_metrics(
                    wanted,
                    logs,
                    where=type(self).__name__,
                    if_none="Compile the model with a loss or metrics.",
                )
        return {name: _plain(logs[source]) for name, source in wanted.items() if source in logs}

    def _refuse_second_reporter(self, call: _FitCall) -> None:
        callbacks = call.container.callbacks if call.container is not None else ()
        if sum(isinstance(callback, TuneReportCallback) for callback in callbacks) > 1:
            raise ArgumentError(
                type(self).__name__,
                [
                    "callbacks: expected one callback that reports to the tuning run, got several, so that each "
                    "epoch would be reported more than once. Keep one of them."
                ],
            )

    # ------------------------------------------------------------------------------------- checkpoints

    def _saves(self) -> bool:
        return False

    def _saves_on_batches(self) -> bool:
        return False

    def _restore(self, fit: _Fit, checkpoint: Checkpoint) -> None:
        """A callback without checkpoints has nothing to go on from."""


class TuneReportCheckpointCallback(TuneReportCallback):
    """Reports every epoch and saves checkpoints; goes on from one, and exploits another trial, by itself.

    A trial that starts from a checkpoint continues it up to the number of epochs that the script asks for: with
    ``fit(epochs=20)`` and a checkpoint of 12 epochs, 8 more are trained. Weights, optimizer variables, the epoch, the
    states of dropout and of the generators that shuffle the data are restored, so that the result is, to the last
    bit, that of a training which was never interrupted. A learning rate that the script sets holds against
    the one in the checkpoint; where a callback has changed it in the course of training, it goes on in proportion.

    A checkpoint is Keras' own weights file, with the optimizer in it, and ``training_state.json``. A directory
    that has the weights file alone is fine as a start: its weights are loaded (the optimizer too, if it is in the
    file), and the training begins with the first epoch.

    Checkpoints are saved when the tuning run needs one, every `frequency` reports, and at the end. With several fits
    in a trial they belong to the first one; later fits are reported with iterations that count on, and are
    repeated if the trial has to be resumed.

    Args:
        metrics: what to report: None for all, a name, several names, or {name to report: source}.
        report_metrics_on: ``"epoch_end"``; ``"train_batch_end"``: every training step is an iteration;
            ``"test_end"``: every evaluation is one, the validations of `fit` as well as `evaluate` with this callback.
        checkpoint_on: reports that a checkpoint may be saved with: ``"epoch_end"``, those at the end of an epoch; or
            ``"train_batch_end"``, all of them. Keras begins an interrupted epoch anew, so that a trial which goes
            on from the middle of one trains some batches again.
        filename: name of the weights file in the checkpoint, ending in ``.weights.h5``.
        frequency: save a checkpoint every so many reports; 0: only when the tuning run asks for one.
        checkpoint_at_end: save one when the training ends.

    Raises:
        ArgumentError: an argument is wrong; a metric does not exist; the checkpoint to go on from lacks the
            file (it lists those there are).
    """

    def __init__(
        self,
        metrics: Metrics = None,
        report_metrics_on: str = "epoch_end",
        checkpoint_on: str = "epoch_end",
        filename: str = "model.weights.h5",
        frequency: int = 0,
        checkpoint_at_end: bool = True,
    ) -> None:
        keras.callbacks.Callback.__init__(self)
        mistakes = Mistakes(type(self).__name__)
        self._set_up(metrics, report_metrics_on, mistakes)
        self._checkpoint_on, self._filename = checkpoint_on, filename
        self._frequency, self._at_end = frequency, checkpoint_at_end
        if checkpoint_on not in CHECKPOINT_EVENTS:
            mistakes.add(
                f"checkpoint_on: expected {_listed(CHECKPOINT_EVENTS)}, got {checkpoint_on!r}. "
                "Leave it out to save at the end of an epoch."
            )
        elif checkpoint_on == "train_batch_end" and report_metrics_on != "train_batch_end":
            mistakes.add(
                "checkpoint_on: got 'train_batch_end', but a checkpoint belongs to a report, and "
                f"report_metrics_on is {report_metrics_on!r}. Set both to 'train_batch_end', or leave this one out."
            )
        if not isinstance(filename, str) or Path(filename).name != filename or not filename.endswith(SUFFIX):
            mistakes.add(
                f"filename: expected a plain file name ending in {SUFFIX}, got {filename!r}. "
                "Write e.g. 'model.weights.h5'."
            )
        if not isinstance(frequency, int) or isinstance(frequency, bool) or frequency < 0:
            mistakes.add(
                f"frequency: expected a number of reports, 0 or more, got {frequency!r}. "
                "Write 0 to save only when the tuning run asks for it."
            )
        mistakes.raise_if_any()

    def apply_config(self, model: Any, changed: Mapping[str, Any]) -> Collection[str]:
        """Change hyper-parameters of the running training after another trial's state was adopted.

        Called before the learning rate and attributes of the optimizer are dealt with: override it for names that
        only your script knows. A name may be applied only if the result is what a training with the new value
        from its beginning in this script would be; ``tune_plugins.get_context().config`` holds the old values.

        Args:
            model: the running one. What is built into its compiled training step takes no effect.
            changed: new values by name; names of nested ones are joined by ``/``.

        Returns:
            The names that are applied, here none.

        Raises:
            WarmRestartNeeded: the training function is to be entered anew, and why.
        """
        return ()

    def _saves(self) -> bool:
        return True

    def _saves_on_batches(self) -> bool:
        return self._checkpoint_on == "train_batch_end"

    def _send(
        self, fit: _Fit, values: dict[str, Any], iteration: int | None, *, offers_state: bool
    ) -> tune_session.Verdict:
        port = _Port(self, fit) if fit.saves and offers_state else None
        return fit.session.report(values, iteration=iteration, model=port, save_every=self._frequency)

    def _finish(self, fit: _Fit) -> None:
        if fit.saves and not fit.finished:
            fit.finished = True
            fit.session.finish(_Port(self, fit), at_end=self._at_end)

    def _save(self, fit: _Fit, directory: Path) -> None:
        _sync(fit.model)
        state_files.save(
            fit.model,
            directory,
            self._filename,
            epoch=fit.epoch,
            batch=fit.batch,
            base_learning_rates=fit.base_learning_rates,
            learning_rate_assigned=fit.watch is not None and fit.watch.assigned(fit.model),
            loader=fit.call.loader,
        )

    def _restore(self, fit: _Fit, checkpoint: Checkpoint) -> None:
        with checkpoint.as_directory() as directory:
            fit.call.build(fit.model)
            saved = self._load(fit, directory)
        if fit.call.skip_backups():  # one that has had its turn may have set this: to begin in its epoch
            fit.model._initial_epoch = None
        if saved is not None:
            fit.initial_epoch = (fit.model._initial_epoch,)
            fit.model._initial_epoch = saved.epoch  # as Keras' BackupAndRestore does; `fit` reads it next

    def _load(self, fit: _Fit, directory: str | Path) -> state_files.SavedState | None:
        """Weights, optimizer variables and random states; what the script has set as learning rate stays in force."""
        path = os.path.join(directory, self._filename)
        if not os.path.isfile(path):
            raise ArgumentError(type(self).__name__, [_missing_file(directory, self._filename)])
        saved = state_files.SavedState.read(directory)
        with hyper.ours():
            state_files.load_weights(fit.model, path)
        rates = fit.base_learning_rates
        if saved is not None:
            rates = hyper.rescaled(rates, saved.base_learning_rates, saved.learning_rates)
            state_files.load_randomness(fit.model, saved, fit.call.loader)
        hyper.set_learning_rates(fit.model, rates)
        return saved


@dataclass(frozen=True, slots=True)
class _Port:
    """See `tune_plugins.session.model_port.ModelPort`."""

    callback: TuneReportCheckpointCallback
    fit: _Fit

    def save_state(self, directory: Path) -> None:
        self.callback._save(self.fit, directory)

    def load_state(self, directory: Path, iteration: int) -> None:
        fit = self.fit
        if not os.path.isfile(os.path.join(directory, self.callback._filename)):
            raise WarmRestartNeeded(_missing_file(directory, self.callback._filename))
        saved = state_files.SavedState.read(directory)
        if saved is None:
            raise WarmRestartNeeded("the checkpoint holds weights alone: the training begins with its first epoch")
        if saved.batch or fit.batch:
            raise WarmRestartNeeded(
                "Keras begins an epoch anew that was interrupted, and this state is from within one"
            )
        if saved.epoch != fit.epoch:
            raise WarmRestartNeeded(
                f"Keras' loop counter cannot be set: this training has completed {fit.epoch} epochs, the state that "
                f"it is to go on from {saved.epoch}"
            )
        if reason := fit.call.data_run_on():
            raise WarmRestartNeeded(reason)
        if saved.optimizer_variables != (numbers := hyper.numbers_of_variables(fit.model)):
            raise WarmRestartNeeded(
                f"the donor's state does not fit the running model: its optimizers have {saved.optimizer_variables} "
                f"variables, those of the running model {numbers}"
            )
        if len(saved.generators.get("loader", [])) != len(state_files.generators_of(fit.call.loader)):
            raise WarmRestartNeeded("the donor's DataLoader has other random generators than that of this training")
        _sync(fit.model)
        own = hyper.learning_rates(fit.model)
        fit.moved_learning_rate = own != fit.base_learning_rates or saved.learning_rates != saved.base_learning_rates
        fit.assigned_learning_rate = saved.learning_rate_assigned
        try:
            self.callback._load(fit, directory)
        except (TuneError, ValueError, KeyError) as error:  # Keras: ValueError, KeyError where a variable is missing
            first_line = str(error).strip().partition("\n")[0]
            raise WarmRestartNeeded(f"the donor's state does not fit the running model: {first_line}") from None
        fit.model.stop_training = False  # e.g. EarlyStopping had given up the state that is left behind
        fit.counts_epochs = False  # the session knows the iteration of the adopted state
        fit.call.forget_the_past()

    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
        fit = self.fit
        with hyper.ours():
            applied = set(self.callback.apply_config(fit.model, changed))
        left = {name: value for name, value in changed.items() if name not in applied}
        config = hyper.flat(fit.session.context.config)
        for name in hyper.learning_rate_names(left):
            hyper.check_learning_rate(fit.model, name, config, fit.base_learning_rates, left[name])
            assigned = fit.assigned_learning_rate or (fit.watch is not None and fit.watch.assigned(fit.model))
            if who := fit.call.sets_learning_rate(fit.moved_learning_rate, assigned):
                raise WarmRestartNeeded(f"{name!r} cannot be changed in a running training: {who}")
            (base,), (current,) = fit.base_learning_rates, hyper.learning_rates(fit.model)
            new = [float(left[name])]
            hyper.set_learning_rates(fit.model, new)
            fit.base_learning_rates = hyper.learning_rates(fit.model)  # as the optimizer rounds it
            if current != base:
                hyper.set_learning_rates(fit.model, hyper.rescaled(new, [base], [current]))
            applied.add(name)
        for name in left:
            if name not in applied and hyper.set_attribute(fit.model, name, config, left[name]):
                applied.add(name)
        return applied


@dataclass(slots=True)
class _FitCall:
    """The call of `fit` that is running, as far as Keras does not tell its callbacks."""

    container: Any = None
    """Keras' list of the callbacks that this one is called with."""
    later: tuple[Any, ...] = ()
    """Those of them that begin after this one."""
    memories: list[tuple[Any, dict[str, Any]]] = field(default_factory=list)
    """What each ModelCheckpoint knew when the fit began."""
    epoch_iterator: Any = None
    epochs: int | None = None
    steps: int | None = None
    """Batches in an epoch; None where only a whole epoch tells."""
    validation_freq: Any = None
    """None without validation."""

    @classmethod
    def running(cls, callback: TuneReportCallback) -> _FitCall:
        """Find it among the callers."""
        params = callback.params or {}
        call = cls(epochs=params.get("epochs"), steps=params.get("steps"))
        for frame in _callers():
            names = frame.f_code.co_varnames
            if call.container is None and frame.f_code.co_name == "on_train_begin":
                caller = frame.f_locals.get("self")
                if isinstance(caller, keras.callbacks.CallbackList) and callback in caller.callbacks:
                    call.container = caller
                    call.later = tuple(caller.callbacks[caller.callbacks.index(callback) + 1 :])
                    call.memories = [
                        (each, {name: vars(each)[name] for name in MODEL_CHECKPOINT_MEMORY if name in vars(each)})
                        for each in caller.callbacks
                        if isinstance(each, keras.callbacks.ModelCheckpoint)
                    ]
            elif frame.f_code.co_name == "fit" and "epoch_iterator" in names and "initial_epoch" in names:
                given = frame.f_locals
                call.epoch_iterator, call.epochs = given["epoch_iterator"], given["epochs"]
                if given.get("validation_data") is not None:
                    call.validation_freq = given.get("validation_freq")
                break
        return call

    def build(self, model: Any) -> None:
        """Make the variables of the model, where `fit` leaves that to the first batch (TensorFlow).

        Raises:
            ArgumentError: the model cannot be built from here.
        """
        if model.built:
            return
        if self.epoch_iterator is None:
            raise ArgumentError(
                "fit",
                [
                    "model: expected one that is built, as its weights are to be loaded from a checkpoint. "
                    "Give it an Input layer, or call model.build(input_shape) before fit."
                ],
            )
        model._symbolic_build(iterator=self.epoch_iterator)
        self.epoch_iterator.reset()

    def validates_later(self, epoch: int) -> bool:
        """There is validation, but none in this epoch.

        Args:
            epoch: its number, from 1.
        """
        freq = self.validation_freq
        if freq is None:
            return False
        return epoch % freq != 0 if isinstance(freq, int) else epoch not in freq

    def data_run_on(self) -> str:
        """Why the next epoch of the running training would see other data than that of a continuation; or nothing."""
        iterator = self.epoch_iterator
        if getattr(iterator, "steps_per_epoch", None):
            return "with steps_per_epoch the data run on over the epochs, and a continuation begins them anew"
        adapter = getattr(iterator, "data_adapter", None)
        if type(adapter).__name__ == "GeneratorDataAdapter":
            return "a generator of data cannot be rewound, and a continuation begins it anew"
        dataset = getattr(adapter, "py_dataset", None)
        for method in ("on_epoch_begin", "on_epoch_end") if dataset is not None else ():
            if getattr(getattr(dataset, method), "__func__", None) is not getattr(keras.utils.PyDataset, method):
                return (
                    f"the data set {type(dataset).__name__} may change itself between epochs ({method}), and a "
                    "continuation begins with a new one"
                )
        if (loader := self.loader) is None:
            return ""
        if getattr(loader, "persistent_workers", False):
            return "persistent workers of the DataLoader keep random states, and a continuation begins with new ones"
        for sampler in (loader.sampler, loader.batch_sampler):
            if sampler is not None and type(sampler).__module__.partition(".")[0] != "torch":
                return (
                    f"the DataLoader's {type(sampler).__name__} may keep a state of its own, and a continuation begins "
                    "with a new one"
                )
        return ""

    @property
    def loader(self) -> Any:
        """The DataLoader of torch that the data come from, or None."""
        adapter: Any = getattr(self.epoch_iterator, "data_adapter", None)
        return adapter._dataloader if type(adapter).__name__ == "TorchDataLoaderAdapter" else None

    def sets_learning_rate(self, moved: bool, assigned: bool) -> str:
        """Which callback decides on the learning rate, so that it cannot be changed from outside; or nothing.

        Args:
            moved: the learning rate in use is not the one that the script gave the optimizer.
            assigned: something in the script has set it, be it to the same value.
        """
        callbacks = self.container.callbacks if self.container is not None else ()
        if any(isinstance(callback, keras.callbacks.LearningRateScheduler) for callback in callbacks):
            return "a LearningRateScheduler sets the learning rate, and may know the old value"
        reduces = any(isinstance(callback, keras.callbacks.ReduceLROnPlateau) for callback in callbacks)
        if assigned or (moved and not reduces):
            return "something in the script sets the learning rate, and may know the old value"
        return ""

    def forget_the_past(self) -> None:
        """Let Keras' callbacks that compare with earlier epochs begin anew: those were of another state."""
        for callback in self.container.callbacks if self.container is not None else ():
            if isinstance(callback, (keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau)):
                callback.on_train_begin()
        for callback, memory in self.memories:
            vars(callback).update(memory)

    def skip_backups(self) -> bool:
        """Let each BackupAndRestore leave the state alone that is loaded from a checkpoint; is there any?"""
        for callback in self.later:
            if isinstance(callback, keras.callbacks.BackupAndRestore):
                callback.on_train_begin = _skip_once(callback)
        callbacks = self.container.callbacks if self.container is not None else ()
        return any(isinstance(callback, keras.callbacks.BackupAndRestore) for callback in callbacks)


def _skip_once(callback: Any) -> Callable[..., None]:
    def on_train_begin(logs: Any = None) -> None:
        del callback.on_train_begin

    return on_train_begin


def _put_back_initial_epoch(fit: _Fit) -> None:
    if fit.initial_epoch is not None:  # Keras keeps it, and would begin a second fit of the model there, too
        (fit.model._initial_epoch,) = fit.initial_epoch
        fit.initial_epoch = None


def _sync(model: Any) -> None:
    """Under JAX the variables are empty within an epoch: put the state of the loop into them, and let it read them."""
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()


def _plain(value: Any) -> Any:
    """A value of the logs as a number, or as a dict of numbers for a metric that gives several."""
    if type(value) in (bool, int, float, str) or value is None:
        return value
    if not isinstance(value, list):
        value = keras.ops.convert_to_numpy(value).tolist()
    return {str(i): _plain(part) for i, part in enumerate(value)} if isinstance(value, list) else value


def _listed(names: Collection[str]) -> str:
    return " or ".join(map(repr, names))


def _missing_file(directory: str | Path, filename: str) -> str:
    names = os.listdir(directory) if os.path.isdir(directory) else []
    there = sorted(name for name in names if not name.startswith("."))
    found = f"it has {', '.join(map(repr, there))}" if there else "it is empty or gone"
    return (
        f"filename: the checkpoint {os.fspath(directory)!r}, from which this trial is to go on, has no file "
        f"{filename!r}; {found}. Give the callback the name under which the weights were saved."
    )


def _callers() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back
