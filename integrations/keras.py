"""Keras 3 on PyTorch, JAX or TensorFlow: report epochs, save checkpoints, stop, go on and exploit, by one callback.

Outside a tuning run the callbacks do nothing, so that the same script trains alone.

>>> def train(config):
...     model = build_model(config)
...     model.compile(keras.optimizers.Adam(config["lr"]), "sparse_categorical_crossentropy", metrics=["accuracy"])
...     model.fit(x, y, epochs=20, validation_data=(x_val, y_val), callbacks=[TuneReportCheckpointCallback()])

What it touches of Keras: the documented interface of callbacks, `stop_training`, `save_weights` and `load_weights`, and
`learning_rate` of optimizers. Callbacks are not told the data of `fit`, nor of each other: these are found in the
frames of the callers. The epoch to begin with is set as `BackupAndRestore` sets it. All that is not documented, also
in `_keras_optimizer` and `_keras_state`, is in `INTERNALS`.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from tune_plugins import session as tune_session
from tune_plugins._imports import require
from tune_plugins.arguments import Mistakes
from tune_plugins.errors import ArgumentError, MissingDependencyError, TuneError, WarmRestartNeeded
from tune_plugins.integrations._adapter import Adapter, Copy, Fit, Internals, built_model, callers, names_of_ray
from tune_plugins.integrations._metrics import Metrics, check_events, joined

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
import numpy as np  # noqa: E402

from tune_plugins.integrations import _keras_optimizer as hyper  # noqa: E402
from tune_plugins.integrations import _keras_state as state_files  # noqa: E402

__all__ = ["TuneReportCallback", "TuneReportCheckpointCallback"]

INTERNALS = Internals(
    seen=("3.15.1",),
    names=(
        *(
            f"keras.src.backend.{kind}Trainer.fit: epoch_iterator, initial_epoch, epochs, validation_data"
            for kind in ("torch.trainer.Torch", "jax.trainer.JAX", "tensorflow.trainer.TensorFlow")
        ),
        "keras.Model.fit: validation_freq",
        "keras.src.backend.jax.trainer.JAXTrainer: jax_state_sync",
        "keras.Model: _flatten_layers, _initial_epoch, _symbolic_build",
        "keras.callbacks.CallbackList: callbacks",
        "keras.callbacks.CallbackList.on_train_begin: self",
        "keras.callbacks.ModelCheckpoint: best, _batches_seen_since_last_saving, _last_batch_seen",
        "keras.callbacks.ReduceLROnPlateau: _reduce_optimizer_lr",
        "keras.Variable: assign",
        "keras.optimizers.Optimizer: _learning_rate, load_own_variables, save_own_variables",
        "keras.src.trainers.epoch_iterator.EpochIterator: data_adapter, steps_per_epoch, reset",
        "keras.src.trainers.data_adapters.generator_data_adapter.GeneratorDataAdapter",
        "keras.src.trainers.data_adapters.py_dataset_adapter.PyDatasetAdapter: py_dataset",
        "keras.src.trainers.data_adapters.torch_data_loader_adapter.TorchDataLoaderAdapter: _dataloader",
        "keras.src.backend.common.global_state: get_global_attribute, set_global_attribute",
        "keras.src.random.seed_generator: GLOBAL_SEED_GENERATOR, global_seed_generator",
        "keras.src.saving.saving_lib: get_attr_skipset",
    ),
)

Event = Literal["epoch_end", "train_batch_end", "test_end", "train_end"]
EVENTS: tuple[Event, ...] = get_args(Event)
"""When a result may be reported, and a checkpoint be saved with it."""
MODEL_CHECKPOINT_MEMORY = ("best", "_batches_seen_since_last_saving", "_last_batch_seen")


@dataclass(slots=True)
class _Fit(Fit):
    """One call of `fit` inside a trial."""

    model: Any = None
    call: _FitCall = field(default_factory=lambda: _FitCall())
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

    def learning_rate_is_assigned(self) -> bool:
        """The script, or a callback of its own, sets the learning rate in the course of this training."""
        return self.watch is not None and self.watch.assigned(self.model)


class TuneReportCallback(keras.callbacks.Callback, Adapter):
    """Reports every epoch to the tuning run; saves no checkpoints.

    The names are those of Keras' own logs, e.g. ``loss``, ``accuracy``, ``val_loss``. `training_iteration` is the
    number of epochs. The callback acts after all others have seen the epoch, whatever the order in the list, so
    that what they add to the logs is reported, too, and nothing of theirs is missing when the training ends here.
    Told to stop, it sets ``model.stop_training``.

    Args:
        metrics: what to report: None for all, a name, several names, or {name to report: source}.
        report_metrics_on: ``"epoch_end"``; ``"train_batch_end"``: every training step is an iteration;
            ``"test_end"``: every evaluation is one, the validations of `fit` as well as `evaluate` with this callback;
            ``"train_end"``: the last epoch is reported if it was not. One or several: an epoch is reported once.
        on: another name of `report_metrics_on`.

    Raises:
        ArgumentError: an argument is wrong; or, with the first result, a metric does not exist (it lists
            those that do).
    """

    def __init__(
        self,
        metrics: Metrics = None,
        report_metrics_on: Event | Iterable[Event] = "epoch_end",
        on: Event | Iterable[Event] | None = None,
    ) -> None:
        super().__init__()
        self._set_up(report_metrics_on if on is None else on, metrics=metrics)

    def _set_up(self, report_on: Any, *, checkpoint_on: Any = "epoch_end", **common: Any) -> None:
        found = Mistakes("")
        remedy = "Leave it out to report every epoch."
        self._own_report_on = check_events(report_on, EVENTS, found, name="report_metrics_on", remedy=remedy)
        remedy = "Leave it out to save at the end of an epoch."
        self._checkpoint_on = check_events(checkpoint_on, EVENTS, found, name="checkpoint_on", remedy=remedy)
        if "train_batch_end" in self._checkpoint_on:  # a checkpoint belongs to a report
            self._own_report_on = joined(self._own_report_on, ["train_batch_end"])
        self.set_up(mistakes=found.found, **common)
        self.join(())

    def join(self, others: Sequence[Adapter]) -> None:
        """Report what, and when, any of them was asked to."""
        super().join(others)
        events = (other._own_report_on for other in others if isinstance(other, TuneReportCallback))
        self._report_on = joined(self._own_report_on, *events)
        self.__dict__.pop("on_train_batch_end", None)
        if "train_batch_end" in self._report_on:
            # Set only where it is used: Keras reads the metrics back from the device after each batch for a
            # callback that has this method, and steps would no longer overlap.
            self.on_train_batch_end = self._on_train_batch_end

    # ------------------------------------------------------------------------------- Keras calls these

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Begin a fit; in a trial that is to go on from a checkpoint, load it."""
        call = _FitCall.running(self) if tune_session.current() is not None else _FitCall()
        fit = self.begin_fit(_Fit, call.callbacks)
        if fit is None:
            return
        if call.container is not None:
            # Last in a new list: Keras is in the middle of the old one.
            call.container.callbacks = [*(callback for callback in call.callbacks if callback is not self), self]
        fit.model, fit.call = self.model, call
        fit.counts = fit.counts and fit.session.start_checkpoint is None and self._report_on == ("epoch_end",)
        if fit.port is not None:
            fit.base_learning_rates = hyper.learning_rates(fit.model)
            if fit.start is not None:
                with fit.start.as_directory() as directory:
                    self._go_on(fit, directory)
            fit.watch = hyper.LearningRateWatch(fit.model)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Note where the training is."""
        if (fit := self._fit) is not None:
            _put_back_initial_epoch(fit)
            fit.epoch, fit.batch = epoch, 0

    def _on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if (fit := self._fit) is None:
            return
        fit.batch = batch + 1
        values = self._values(logs, fit, whole="epoch_end" not in self._report_on)
        if fit.call.steps is not None and fit.batch >= fit.call.steps:
            fit.held = values
        else:
            self._report(fit, values, offers_state="train_batch_end" in self._checkpoint_on)

    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Report an evaluation, if that is wanted."""
        if "test_end" not in self._report_on or self.silent:
            return
        if (fit := self._fit) is not None:
            fit.held = self._values(logs, fit)
        elif (session := tune_session.current()) is not None:
            session.report(self._values(logs, None))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Report the epoch."""
        if (fit := self._fit) is None:
            return
        by_batch = "train_batch_end" in self._report_on
        if by_batch and fit.call.steps is None and not fit.model.stop_training:
            fit.call.steps = fit.batch  # a generator: Keras itself counts in the first epoch
        if not by_batch or fit.held is not None:  # else a stop in the middle of the epoch
            fit.epoch, fit.batch = epoch + 1, 0
        held, fit.held = fit.held, None
        planned = fit.call.epochs is not None and epoch + 1 >= fit.call.epochs
        ends = "train_end" in self._report_on and (planned or fit.model.stop_training)
        values = self._values(logs, fit) if "epoch_end" in self._report_on or (ends and held is None) else held
        if values is not None:
            self._report(fit, values, offers_state=True, last=planned)
        if fit.model.stop_training or planned:
            # Now and not in `on_train_end`: there Keras has put averaged weights in place (use_ema), and others
            # their best ones (EarlyStopping), from which the training could not go on.
            self.finish_fit()

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """End the fit."""
        if (fit := self._fit) is not None:
            _put_back_initial_epoch(fit)
            self.finish_fit()
            if fit.watch is not None:
                fit.watch.end()
        self._fit = None

    # --------------------------------------------------------------------------------------- reporting

    def _report(self, fit: _Fit, values: dict[str, Any], *, offers_state: bool, last: bool = False) -> None:
        if self.send(values, fit.epoch, offers_state=offers_state, last=last):
            fit.model.stop_training = True

    def _values(self, logs: Mapping[str, Any] | None, fit: _Fit | None, *, whole: bool = True) -> dict[str, Any]:
        """What is to be reported of Keras' logs, as plain numbers; where they are not `whole`, what there is of it."""
        logs = logs or {}
        wanted = self._metrics
        if wanted is None:
            return {name: _plain(value) for name, value in logs.items()}
        if whole and (missing := [source for source in wanted.values() if source not in logs]):
            by_epoch = "epoch_end" in self._report_on
            later = by_epoch and fit is not None and fit.call.validates_later(fit.epoch)
            if not (later and all(source.startswith("val_") for source in missing)):
                self.select(logs, "Compile the model with a loss or metrics.")
        return {name: _plain(logs[source]) for name, source in wanted.items() if source in logs}

    # ------------------------------------------------------------------------------------- checkpoints

    def _go_on(self, fit: _Fit, directory: str) -> None:
        """Begin with the state of a checkpoint."""
        fit.call.build(fit.model)
        saved = self._load(fit, directory)
        if fit.call.skip_backups():  # one that has had its turn may have set this: to begin in its epoch
            fit.model._initial_epoch = None
        if saved is not None:
            fit.initial_epoch = (fit.model._initial_epoch,)
            fit.model._initial_epoch = saved.epoch  # as Keras' BackupAndRestore does; `fit` reads it next

    def _load(self, fit: _Fit, directory: str | Path) -> state_files.SavedState | None:
        """Weights, optimizer variables and random states; what the script has set as learning rate stays in force."""
        path = self.checkpoint_file(directory)
        saved = state_files.SavedState.read(directory)
        with hyper.ours():
            state_files.load_weights(fit.model, path)
        rates = fit.base_learning_rates
        if saved is not None:
            rates = hyper.rescaled(rates, saved.base_learning_rates, saved.learning_rates)
            state_files.load_randomness(fit.model, saved, fit.call.loader)
        hyper.set_learning_rates(fit.model, rates)
        return saved


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

    Checkpoints are saved when the tuning run needs one, every `frequency` reports, and at the end. The best weights so
    far by the metric of the run are kept in memory, and are written with the next of them
    (`Result.get_best_checkpoint`). With several fits in a trial, only the first one goes on from a checkpoint; later
    ones are reported with iterations that count on, and are repeated if the trial has to be resumed. Their models are
    saved at their ends, for what is in them: the last checkpoint is that of the last fit.

    Args:
        metrics: what to report: None for all, a name, several names, or {name to report: source}.
        report_metrics_on: ``"epoch_end"``; ``"train_batch_end"``: every training step is an iteration;
            ``"test_end"``: every evaluation is one, the validations of `fit` as well as `evaluate` with this callback;
            ``"train_end"``: the last epoch is reported if it was not. One or several: an epoch is reported once.
        checkpoint_on: reports that a checkpoint may be saved with, one or several: with ``"train_batch_end"`` all of
            them, else those at the end of an epoch. Keras begins an interrupted epoch anew, so that a trial which goes
            on from the middle of one trains some batches again.
        filename: name of the weights file in the checkpoint, ending in ``.weights.h5``; a name without ending gets it.
        frequency: save a checkpoint every so many reports; 0: only when the tuning run asks for one.
        checkpoint_at_end: save one when the training ends.
        on: another name of `report_metrics_on` and `checkpoint_on` together.

    Raises:
        ArgumentError: an argument is wrong; a metric does not exist; the checkpoint to go on from lacks the
            file (it lists those there are).
    """

    saves = True
    endings = (".weights.h5",)

    def __init__(
        self,
        metrics: Metrics = None,
        report_metrics_on: Event | Iterable[Event] = "epoch_end",
        checkpoint_on: Event | Iterable[Event] = "epoch_end",
        filename: str = "model.weights.h5",
        frequency: int = 0,
        checkpoint_at_end: bool = True,
        on: Event | Iterable[Event] | None = None,
    ) -> None:
        keras.callbacks.Callback.__init__(self)
        if isinstance(filename, str) and filename and "." not in filename:
            filename += self.endings[0]
        self._set_up(
            report_metrics_on if on is None else on,
            checkpoint_on=checkpoint_on if on is None else on,
            metrics=metrics,
            filename=filename,
            frequency=frequency,
            checkpoint_at_end=checkpoint_at_end,
        )

    def save_state(self, directory: Path) -> None:
        """Write Keras' weights file and what that lacks."""
        fit: _Fit = self._fit
        _sync(fit.model)
        state_files.save(
            fit.model,
            directory,
            self.filename,
            epoch=fit.epoch,
            batch=fit.batch,
            base_learning_rates=fit.base_learning_rates,
            learning_rate_assigned=fit.learning_rate_is_assigned(),
            loader=fit.call.loader,
        )

    def position(self) -> Any:
        """Epoch and batch: epochs in which nothing is reported may come behind a report."""
        fit: _Fit = self._fit
        return fit.epoch, fit.batch

    def copy_model(self) -> Copy | None:
        """The weights, as arrays."""
        model, name = self.model, self.filename
        _sync(model)
        weights = [np.array(weight) for weight in model.get_weights()]

        def write(directory: Path) -> None:
            _sync(model)
            now = [np.array(weight) for weight in model.get_weights()]
            model.set_weights(weights)
            try:
                state_files.save_weights(model, str(directory / name))
            finally:
                model.set_weights(now)

        return write

    @classmethod
    def read_model(cls, directory: Path, filename: str, build: Any, config: Mapping[str, Any]) -> Any:
        """The model that `build` makes, with the weights."""
        model = build if isinstance(build, keras.Model) else built_model(build, config, "Keras")
        if unbuilt := state_files.unbuilt(model):
            raise ArgumentError(
                "load_model",
                [
                    "build: expected it to make a model that is built, as weights are to be loaded into it; there are "
                    f"none yet in {', '.join(unbuilt)}. Give the model an Input layer, or call it once where it is "
                    "made, e.g. model(keras.ops.zeros((1, 64)))."
                ],
            )
        state_files.load_weights(model, str(directory / filename))
        return model

    def load_state(self, directory: Path, iteration: int) -> None:
        """Make the running `fit` go on from a state that was saved at the end of the same epoch."""
        fit: _Fit = self._fit
        try:
            self.checkpoint_file(directory)
        except ArgumentError as error:
            raise WarmRestartNeeded(error.mistakes[0]) from None
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
            self._load(fit, directory)
        except (TuneError, ValueError, KeyError) as error:  # Keras: ValueError, KeyError where a variable is missing
            first_line = str(error).strip().partition("\n")[0]
            raise WarmRestartNeeded(f"the donor's state does not fit the running model: {first_line}") from None
        fit.model.stop_training = False  # e.g. EarlyStopping had given up the state that is left behind
        fit.counts = False  # the session knows the iteration of the adopted state
        fit.call.forget_the_past()

    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
        """Change the learning rate and plain attributes of the only optimizer of `self.model`, the running model.

        What is built into a compiled training step takes no effect any more. For overriding it see
        `tune_plugins.integrations.Adapter.apply_config`.
        """
        fit: _Fit = self._fit
        applied = set()
        for name in hyper.learning_rate_names(changed):
            hyper.check_learning_rate(fit.model, name, before, fit.base_learning_rates, changed[name])
            assigned = fit.assigned_learning_rate or fit.learning_rate_is_assigned()
            if who := fit.call.sets_learning_rate(fit.moved_learning_rate, assigned):
                raise WarmRestartNeeded(f"{name!r} cannot be changed in a running training: {who}")
            (base,), (current,) = fit.base_learning_rates, hyper.learning_rates(fit.model)
            new = [float(changed[name])]
            hyper.set_learning_rates(fit.model, new)
            fit.base_learning_rates = hyper.learning_rates(fit.model)  # as the optimizer rounds it
            if current != base:
                hyper.set_learning_rates(fit.model, hyper.rescaled(new, [base], [current]))
            applied.add(name)
        for name in changed:
            if name not in applied and hyper.set_attribute(fit.model, name, before, changed[name]):
                applied.add(name)
        return applied

    def _together(self, method: str, *arguments: Any) -> Any:
        with hyper.ours():  # what an `apply_config` of the script assigns is part of the exploit
            return super()._together(method, *arguments)


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
        for frame in callers():
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
    def callbacks(self) -> Collection[Any]:
        """All of the fit."""
        return self.container.callbacks if self.container is not None else ()

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
        if any(isinstance(callback, keras.callbacks.LearningRateScheduler) for callback in self.callbacks):
            return "a LearningRateScheduler sets the learning rate, and may know the old value"
        reduces = any(isinstance(callback, keras.callbacks.ReduceLROnPlateau) for callback in self.callbacks)
        if assigned or (moved and not reduces):
            return "something in the script sets the learning rate, and may know the old value"
        return ""

    def forget_the_past(self) -> None:
        """Let Keras' callbacks that compare with earlier epochs begin anew: those were of another state."""
        for callback in self.callbacks:
            if isinstance(callback, (keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau)):
                callback.on_train_begin()
        for callback, memory in self.memories:
            vars(callback).update(memory)

    def skip_backups(self) -> bool:
        """Let each BackupAndRestore leave the state alone that is loaded from a checkpoint; is there any?"""
        for callback in self.later:
            if isinstance(callback, keras.callbacks.BackupAndRestore):
                callback.on_train_begin = _skip_once(callback)
        return any(isinstance(callback, keras.callbacks.BackupAndRestore) for callback in self.callbacks)


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


if not TYPE_CHECKING:
    __getattr__ = names_of_ray(__name__)
