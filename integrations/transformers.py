"""Hugging Face Transformers: the `Trainer` reports, saves, goes on, stops and exploits, by one callback.

Outside a tuning run the callbacks do nothing, so that the same script trains alone.

>>> def train(config):
...     arguments = TrainingArguments(..., eval_strategy="epoch", learning_rate=config["learning_rate"])
...     trainer = Trainer(model, arguments, ..., callbacks=[TuneReportCheckpointCallback()])
...     trainer.train()

What it touches of Transformers: the documented events of callbacks, `control`, `state` and the format of checkpoints.
Callbacks are not given the Trainer, and hear of an evaluation before that has drawn its conclusions: it is found in
the frames of the callers, and three of its methods are wrapped, in the one object. A state is saved and loaded by the
Trainer's own methods, most of them private. All that is not documented, also in `_transformers_state`, is in
`INTERNALS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args
from weakref import WeakSet

from tune_plugins import session as tune_session
from tune_plugins._imports import require
from tune_plugins.arguments import Mistakes
from tune_plugins.errors import ArgumentError, TuneError, WarmRestartNeeded
from tune_plugins.integrations._adapter import Adapter, Copy, Fit, Internals, calling, names_of_ray
from tune_plugins.integrations._files import move_into_trial
from tune_plugins.integrations._metrics import Metrics, check_events, joined
from tune_plugins.session.values import plain

require("torch", extra="transformers", needed_by="tune_plugins.integrations.transformers")
require("transformers", extra="transformers", needed_by="tune_plugins.integrations.transformers")

from transformers import Trainer, TrainerCallback  # noqa: E402

from tune_plugins.integrations import _transformers_state as trainer_state  # noqa: E402
from tune_plugins.integrations._torch_optimizers import Built, hyperparameters  # noqa: E402
from tune_plugins.integrations._torch_optimizers import apply as apply_to_optimizers  # noqa: E402

__all__ = ["TuneReportCallback", "TuneReportCheckpointCallback", "hyperparameter_search", "install", "uninstall"]

INTERNALS = Internals(
    seen=("5.23.0",),
    names=(
        "transformers.Trainer: _maybe_log_save_evaluate, _save_optimizer_and_scheduler, _load_optimizer_and_scheduler",
        "transformers.Trainer: _save_scaler, _load_scaler, _save_rng_state, _load_rng_state, _load_callback_state",
        "transformers.Trainer: _load_from_checkpoint, store_flos, current_flos, callback_handler, _tr_loss",
        "transformers.Trainer: _total_loss_scalar, _globalstep_last_logged, _initial_global_step",
        "transformers.Trainer: _initial_num_input_tokens_seen, _save",
        "transformers.Trainer: _hp_search_setup, _report_to_hp_search, _memory_tracker, _init_training_state",
        "transformers.Trainer.save_model: _internal_call",
        "transformers.TrainingArguments: _setup_devices",
        "transformers.TrainerState.compute_steps: args, max_steps",
        "transformers.PreTrainedModel: _keys_to_ignore_on_save",
        "transformers.hyperparameter_search: ALL_HYPERPARAMETER_SEARCH_BACKENDS, RayTuneBackend",
        "transformers.hyperparameter_search: HyperParamSearchBackendBase",
        "transformers.trainer: DEFAULT_PROGRESS_CALLBACK",
        "numpy._core.multiarray: _reconstruct",
    ),
)

Event = Literal["evaluate", "epoch_end", "log"]
_ON: tuple[Event, ...] = get_args(Event)
_ALWAYS = ("epoch", "global_step")
_AFTER = "_maybe_log_save_evaluate"  # of Trainer: does all that follows a step or an epoch


@dataclass(slots=True)
class _Fit(Fit):
    """One call of `Trainer.train` inside a trial."""

    trainer: Any = None
    directory: Path | None = None
    """Of the checkpoint that the call goes on from."""
    built: Built = field(default_factory=list)
    newest: dict[str, Any] = field(default_factory=dict)
    """The newest value of each metric that the Trainer has logged."""
    seen: set[str] = field(default_factory=set)
    """What has happened since the last report, in the words of `on`."""
    over: bool = False
    """The loop has been left."""

    @property
    def model(self) -> Any:
        """That of the Trainer."""
        return self.trainer.model


class TuneReportCallback(TrainerCallback, Adapter):
    """Reports the evaluations of a `Trainer` to the tuning run; saves no checkpoints.

    Reported are the newest values that the Trainer has logged (``eval_loss``, ``eval_accuracy``, ``loss``,
    ``learning_rate``, ...), and always ``epoch`` and ``global_step``. A report follows all that the Trainer itself does
    after an evaluation or an epoch: other callbacks, the step of a `ReduceLROnPlateau`, its own checkpoint. Evaluations
    before the first step (``eval_on_start=True``) and those outside `train` are not reported. Told to stop, the
    callback sets ``control.should_training_stop``.

    Args:
        metrics: what to report: None for all, a name, several names, or {name to report: source}.
        on: report after each ``"evaluate"`` (`eval_strategy` of the TrainingArguments says when), each ``"epoch_end"``,
            or each training ``"log"`` (`logging_strategy`); or after any of several.

    Raises:
        ArgumentError: an argument is wrong; or, when training, a metric does not exist (it lists those that do), or the
            Trainer never does what `on` asks for.
    """

    def __init__(self, metrics: Metrics = None, on: Event | Iterable[Event] = "evaluate") -> None:
        self._set_up(on, metrics=metrics)

    def _set_up(self, on: Event | Iterable[Event], **common: Any) -> None:
        found = Mistakes("")
        self._own_on = self._on = check_events(on, _ON, found, remedy="Leave it out to report each evaluation.")
        self.set_up(mistakes=found.found, **common)
        self._installed: WeakSet[Any] = WeakSet()  # Trainers

    # ------------------------------------------------------------------------------- events of the Trainer

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take hold of the Trainer, which callbacks are not given."""
        if tune_session.current() is not None:
            self._install(_running_trainer())

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at what the script has built."""
        session = tune_session.current()
        if session is None:
            self._fit = None
            return
        if self._fit is None and not self.silent:
            self._begin_late()
        fit: _Fit | None = self._fit
        if fit is None:  # another callback acts for this one
            return
        where = type(self).__name__
        self._check_processes(args, where)
        self._check_events(args, where)
        state.compute_steps(args, state.max_steps)  # those of this script, not of the checkpoint
        if fit.directory is not None:
            trainer_state.forget_others_best(fit.trainer, state, fit.directory, session.context.trial_id)
        if not fit.built:
            fit.built = hyperparameters(*trainer_state.parts(fit.trainer))
        self._note_history(fit)
        fit.over = False
        fit.seen.clear()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Note the values; the summary of the whole training is the end of it."""
        fit: _Fit | None = self._fit
        if fit is None or not logs:
            return
        if "total_flos" in logs:  # "train_runtime" may be that of an evaluation on the training data
            # Before `load_best_model_at_end`: a checkpoint holds the newest weights, to be gone on from.
            fit.over = True
            self.finish_fit()
            return
        fit.newest.update(logs)
        if "loss" in logs:
            fit.seen.add("log")

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note that there are metrics to report; where they are reported later, keep the model that they are of."""
        if self._fit is not None:
            self._fit.seen.add("evaluate")
            if self._on != ("evaluate",) and self._fit.best is not None:
                newest, wanted = self._fit.newest, self._metrics
                self.consider(newest if wanted is None else {n: newest[s] for n, s in wanted.items() if s in newest})

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Forget what came before the first step, such as an evaluation on start."""
        if self._fit is not None:
            self._fit.seen.clear()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note that the epoch is complete but for its evaluation."""
        if self._fit is not None:
            self._fit.seen.add("epoch_end")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave the last checkpoint, if nothing has been logged at the end."""
        if self._fit is not None:
            self._fit.over = True
            self.finish_fit()

    def join(self, others: Sequence[Adapter]) -> None:
        """Report what, and when, any of them was asked to."""
        super().join(others)
        self._on = joined(self._own_on, *(other._own_on for other in others if isinstance(other, TuneReportCallback)))

    # ------------------------------------------------------------------------------ inside the Trainer

    def _install(self, trainer: Any) -> None:
        """Be told when `train` is called and when all that follows a step or an epoch is done.

        Callbacks hear of an evaluation before the Trainer has drawn its conclusions from it, and of `train` after it
        has decided where to begin; this one wraps methods of the Trainer object, and of no class.
        """
        if trainer in self._installed:
            return
        self._installed.add(trainer)
        if (session := tune_session.current()) is not None:
            # What the script leaves in the working directory is an empty folder: the Trainer has made it already.
            move_into_trial(session, "Transformers", trainer.args, "output_dir", "logging_dir")
        if not hasattr(trainer, _AFTER):
            raise TuneError(
                f"This version of transformers has no Trainer.{_AFTER}, after which results are reported. "
                "Use one that tune-plugins supports: pip install 'tune-plugins[transformers]'"
            )
        wrap_method(trainer, "train", partial(self._around_train, trainer))
        wrap_method(trainer, _AFTER, self._around_conclusions)
        wrap_method(trainer, "_load_optimizer_and_scheduler", self._around_loading)
        wrap_method(trainer, "_init_training_state", self._around_position)

    def _around_train(self, trainer: Any, train: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        fit = self._begin(trainer)
        try:
            if fit is None:
                return train(*args, **kwargs)
            with fit.start.as_directory() if fit.start is not None else nullcontext() as directory:
                if directory is not None:
                    fit.directory = Path(directory)
                    trainer_state.check_directory(fit.directory, type(self).__name__)
                    args, kwargs = args[1:], {**kwargs, "resume_from_checkpoint": str(directory)}
                return train(*args, **kwargs)
        finally:
            self._fit, self.silent = None, False

    def _begin(self, trainer: Any) -> _Fit | None:
        return self.begin_fit(partial(_Fit, trainer=trainer), trainer.callback_handler.callbacks)

    def _around_loading(self, load: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """The checkpoint's hyper-parameters come along with the states; the running script's are put back."""
        fit: _Fit | None = self._fit
        if fit is None or fit.directory is None:
            return load(*args, **kwargs)
        fit.built = hyperparameters(*trainer_state.parts(fit.trainer))
        result = load(*args, **kwargs)
        trainer_state.restore_hyperparameters(fit.trainer, fit.directory, fit.built, live=False)
        if trainer_state.has_other_batches(fit.trainer, fit.directory):
            trainer_state.follow_recount(fit.trainer)
        return result

    def _around_position(self, begin: Callable[..., Any], /, max_steps: int, in_epoch: int, *args: Any) -> Any:
        """The Trainer counts steps, which with batches of another size belong to another epoch."""
        position = begin(max_steps, in_epoch, *args)
        fit: _Fit | None = self._fit
        if fit is None or fit.directory is None or not trainer_state.has_other_batches(fit.trainer, fit.directory):
            return position
        return trainer_state.recount(fit.trainer, in_epoch)

    def _around_conclusions(self, conclude: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        result = conclude(*args, **kwargs)
        fit: _Fit | None = self._fit
        if fit is not None and not fit.seen.isdisjoint(self._on):
            measured = "evaluate" in fit.seen and self._on == ("evaluate",)
            fit.seen.clear()
            state = fit.trainer.state
            last = 0 < state.max_steps <= state.global_step
            if self.send(self._values(fit), last=last, measured=measured):
                fit.trainer.control.should_training_stop = True
        return result

    # ---------------------------------------------------------------------------------------- reporting

    def _values(self, fit: _Fit) -> dict[str, Any]:
        state = fit.trainer.state
        always = {"epoch": state.epoch, "global_step": state.global_step}
        available = {**fit.newest, **always}
        if self._metrics is not None:
            selected = self.select(available, "Set eval_strategy='epoch' in the TrainingArguments.")
            available = {name: available[source] for name, source in selected.items()} | always
        return {name: plain(value) for name, value in available.items()}

    def _begin_late(self) -> None:
        """The callback was added to a Trainer that had been made before."""
        name = type(self).__name__
        if self.saves:
            raise TuneError(
                f"{name} was given to the Trainer after that was made, by add_callback() or outside the trial: it "
                "could not go on from a checkpoint. Make the Trainer with it, in the trial: "
                f"Trainer(..., callbacks=[{name}()])"
            )
        trainer = _running_trainer()
        self._install(trainer)
        self._begin(trainer)

    def _check_processes(self, args: Any, where: str) -> None:
        if args.world_size > 1:
            raise TuneError(
                f"{where}: this training has {args.world_size} processes, which the callback does not support. "
                "Train each trial in one process, or write the loop by hand with "
                "tune_plugins.integrations.torch.TrainState, which knows of ranks."
            )

    def _check_events(self, args: Any, where: str) -> None:
        need = {"evaluate": "eval_strategy", "log": "logging_strategy"}
        never = [event for event in self._on if getattr(vars(args).get(need.get(event, "")), "value", None) == "no"]
        if len(never) == len(self._on):
            raise ArgumentError(
                where,
                [
                    f"on={event!r}: the TrainingArguments say {need[event]}='no', so that nothing would be reported. "
                    f"Set {need[event]}='epoch' there, or on='epoch_end' here."
                    for event in never
                ],
            )

    def _note_history(self, fit: _Fit) -> None:
        fit.newest = {}
        for logs in fit.trainer.state.log_history:
            fit.newest.update((name, value) for name, value in logs.items() if name != "step")


class TuneReportCheckpointCallback(TuneReportCallback):
    """Reports the evaluations of a `Trainer` and saves checkpoints in its own format; goes on from one by itself.

    A trial that starts from a checkpoint continues it by plain ``trainer.train()``, with the result of
    ``trainer.train(resume_from_checkpoint=directory)`` under the hyper-parameters of the running script. On an exploit
    at the end of an epoch, a donor of the same epoch is taken over inside the running call: weights, optimizer,
    schedule and random state; `learning_rate`, `weight_decay`, `adam_beta1`, ... and `max_grad_norm` are changed where
    the script uses the config's values as they are. Anything else enters the function anew.

    The best weights so far by the metric of the run are kept in memory, and are written with the next checkpoint
    (`Result.get_best_checkpoint`). With several calls of `train` in a trial, only the first one goes on from a
    checkpoint; later ones are repeated if the trial has to be resumed. Their models are saved at their ends, for what
    is in them: the last checkpoint is that of the last call. Nothing is written into the `output_dir` of the script;
    what the Trainer itself writes goes to the trial's folder where `output_dir` is a relative path.

    Args:
        metrics: what to report: None for all, a name, several names, or {name to report: source}.
        on: report after each ``"evaluate"``, each ``"epoch_end"``, or each training ``"log"``; or any of several.
        frequency: save a checkpoint every so many reports; 0: only when the tuning run asks for one.
        checkpoint_at_end: save one when the training ends.

    Raises:
        ArgumentError: an argument is wrong; a metric does not exist; the checkpoint to go on from does not fit.
        TuneError: the callback was added to the Trainer after that was made, or there are several processes.
    """

    saves = True

    def __init__(
        self,
        metrics: Metrics = None,
        on: Event | Iterable[Event] = "evaluate",
        frequency: int = 0,
        checkpoint_at_end: bool = True,
    ) -> None:
        self._set_up(on, metrics=metrics, frequency=frequency, checkpoint_at_end=checkpoint_at_end)

    def save_state(self, directory: Path) -> None:
        """Write what the Trainer itself writes, but for its pickle of code."""
        trainer_state.save(self.trainer, directory, self._fit.built, self._fit.session.context.trial_id)

    def position(self) -> Any:
        """Number of steps: the training may go on behind a report, and come to its end before another one."""
        return self.trainer.state.global_step

    def copy_model(self) -> Copy | None:
        """The weights; of a model with adapters (PEFT) those that are trained."""
        return partial(trainer_state.save_weights, self.trainer, trainer_state.weights(self.model))

    @classmethod
    def read_model(cls, directory: Path, filename: str, build: Any, config: Mapping[str, Any]) -> Any:
        """The model: of the class that it says it is, or is given, else what `build` makes, with the weights."""
        return trainer_state.load_model(directory, build, config)

    def load_state(self, directory: Path, iteration: int) -> None:
        """Put the state of a donor of the same epoch into the running training."""
        fit: _Fit = self._fit
        if fit.over:
            raise WarmRestartNeeded("the Trainer's loop has come to its end")
        state = fit.trainer.state
        if fit.trainer.control.should_training_stop and state.global_step < state.max_steps:
            raise WarmRestartNeeded("another callback has told the Trainer to stop")
        trainer_state.load_live(fit.trainer, directory, fit.built, fit.session.context.trial_id)
        self._note_history(fit)

    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
        """Change what the optimizer was given as it stands in the config, and `max_grad_norm`.

        For overriding it see `tune_plugins.integrations.Adapter.apply_config`; there are `self.trainer` and
        `self.model`, the model that is trained.

        Raises:
            WarmRestartNeeded: the learning rate's schedule cannot be rescaled; says why.
        """
        trainer = self.trainer
        found = apply_to_optimizers(*trainer_state.parts(trainer), changed, before, self._fit.built)
        if (reason := trainer_state.why_not_rescaled(trainer)) and any(map(_is_rate, found)):
            raise WarmRestartNeeded(reason)
        for name, value in changed.items():
            # TrainingArguments follow what the optimizer was given; the Trainer reads `max_grad_norm` in each step.
            if (name in found or name == "max_grad_norm") and name in before and hasattr(trainer.args, name):
                now, old, value = map(trainer_state.plain_data, (getattr(trainer.args, name), before[name], value))
                if type(value) in (int, float) and type(old) in (int, float) and now == old:
                    setattr(trainer.args, name, value)
                    found.add(name)
        return found


def _is_rate(name: str) -> bool:
    return name.rpartition("/")[2] in ("lr", "learning_rate")


def wrap_method(trainer: Any, name: str, around: Callable[..., Any]) -> None:
    """Let a method of this one object go through `around`, which gets the method and its arguments."""
    method = getattr(trainer, name)

    @wraps(method)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return around(method, *args, **kwargs)

    setattr(trainer, name, wrapper)


def _running_trainer() -> Any:
    """The Trainer whose event this is: among the callers."""
    if (trainer := calling(Trainer)) is not None:
        return trainer
    raise TuneError("The events of a Trainer came from something else. Give the callback to a transformers.Trainer.")


def hyperparameter_search(
    trainer: Trainer,
    hp_space: Callable[[Any], Mapping[str, Any]] | None = None,
    n_trials: int = 20,
    direction: str | list[str] = "minimize",
    compute_objective: Callable[[dict[str, float]], Any] | None = None,
    hp_name: Callable[[Any], str] | None = None,
    **tune_arguments: Any,
) -> Any:
    """Search for the hyper-parameters of a `Trainer`: its own ``hyperparameter_search(backend="ray")`` on this engine.

    Each trial trains a copy of the Trainer, with the hyper-parameters in its TrainingArguments and a new model. It is
    reported, saved, stopped and resumed as by `TuneReportCheckpointCallback`: after each evaluation, with everything
    that was logged and ``objective``. The Trainer's `output_dir` has a folder ``run-<trial_id>`` for each trial. The
    Trainer itself stays as it is, but for `hp_space`, `compute_objective` and `hp_name`, which it notes as usual.

    >>> best = hyperparameter_search(
    ...     trainer, lambda trial: {"learning_rate": tune.loguniform(1e-6, 1e-4)}, n_trials=8, scheduler="asha"
    ... )  # doctest: +SKIP

    Args:
        trainer: made with `model_init`: a function without arguments, or of the dict of hyper-parameters.
        hp_space: called with None, returns {name: value or domain}; names are those of TrainingArguments, or what
            `model_init` knows. Default: `learning_rate`, `num_train_epochs`, `seed`, `per_device_train_batch_size`.
        n_trials: number of configurations; -1: as many as there is time for, until `time_budget_s`.
        direction: "minimize" or "maximize" the objective; a list for several objectives.
        compute_objective: called with the metrics of an evaluation, returns a number, or a list for several objectives.
            Default: the sum of what `compute_metrics` returns, or the loss.
        hp_name: called with the hyper-parameters, returns the name of the trial and of its folder in `output_dir`.
        **tune_arguments: those of Ray Tune's ``run`` (`resources_per_trial`, `scheduler`, `search_alg`, `stop`,
            `name`, `storage_path` or `local_dir`, `keep_checkpoints_num`, `checkpoint_score_attr`, `callbacks`,
            `verbose`, `max_concurrent_trials`, `time_budget_s`, `max_failures`, `raise_on_failed_trial`, ...), and all
            others of `TuneConfig`, `RunConfig`, `CheckpointConfig` and `FailureConfig`. Default resources: a CPU, and a
            GPU where the Trainer uses one.

    Returns:
        A `transformers.trainer_utils.BestRun` (`run_id`, `objective`, `hyperparameters`, `run_summary`), whose
        `run_summary` is an `ExperimentAnalysis`. With several objectives a list of them: the Pareto front. Trials are
        compared by their last results, or as the environment variable ``RAY_SCOPE`` says ("all", "avg", ...).

    Raises:
        ArgumentError: lists everything that is wrong with the arguments.
        TuneError: trials have failed, or none has a usable objective.
    """
    return _engine().search(trainer, hp_space, n_trials, direction, compute_objective, hp_name, tune_arguments)


def install() -> None:
    """Let `Trainer.hyperparameter_search(backend="ray", ...)` be `hyperparameter_search` in this process."""
    _engine().set_backend(own=True)


def uninstall() -> None:
    """Give ``backend="ray"`` back to Ray Tune."""
    _engine().set_backend(own=False)


def _engine() -> Any:
    """The search stands above the adapters, which it uses; a worker never loads it."""
    return importlib.import_module("tune_plugins.integrations._transformers_search")


if not TYPE_CHECKING:
    __getattr__ = names_of_ray(__name__)
