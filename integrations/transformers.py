"""Hugging Face Transformers: the `Trainer` reports, saves, goes on, stops and exploits, by one callback.

Outside a tuning run the callbacks do nothing, so that the same script trains alone.

>>> def train(config):
...     arguments = TrainingArguments(..., eval_strategy="epoch", learning_rate=config["learning_rate"])
...     trainer = Trainer(model, arguments, ..., callbacks=[TuneReportCheckpointCallback()])
...     trainer.train()
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from typing import Any, Literal, get_args
from weakref import WeakSet

from tune_plugins import session as tune_session
from tune_plugins._imports import require
from tune_plugins.errors import ArgumentError, Mistakes, TuneError, WarmRestartNeeded
from tune_plugins.integrations._adapter import callers
from tune_plugins.integrations._metrics import Metrics, check_metrics, plain, select_metrics

require("torch", extra="transformers", needed_by="tune_plugins.integrations.transformers")
require("transformers", extra="transformers", needed_by="tune_plugins.integrations.transformers")

from transformers import Trainer, TrainerCallback  # noqa: E402

from tune_plugins.integrations import _transformers_state as trainer_state  # noqa: E402
from tune_plugins.integrations._torch_optimizers import Built, hyperparameters  # noqa: E402
from tune_plugins.integrations._torch_optimizers import apply as apply_to_optimizers  # noqa: E402

__all__ = ["TuneReportCallback", "TuneReportCheckpointCallback"]

Event = Literal["evaluate", "epoch_end", "log"]
_ON: tuple[Event, ...] = get_args(Event)
_ALWAYS = ("epoch", "global_step")
_AFTER = "_maybe_log_save_evaluate"  # of Trainer: does all that follows a step or an epoch

# Sessions whose checkpoints belong to a call of `train` already: to the first one.
_owned: WeakSet[Any] = WeakSet()


@dataclass(slots=True)
class _Fit:
    """One call of `Trainer.train` inside a trial."""

    session: tune_session.Session
    trainer: Any
    port: _Port | None = None
    """None: the call only reports."""
    start: Path | None = None
    """Directory of the checkpoint that the call goes on from."""
    built: Built = field(default_factory=list)
    newest: dict[str, Any] = field(default_factory=dict)
    """The newest value of each metric that the Trainer has logged."""
    seen: set[str] = field(default_factory=set)
    """What has happened since the last report, in the words of `on`."""
    over: bool = False
    """The loop has been left."""
    finished: bool = False


class TuneReportCallback(TrainerCallback):
    """Reports the evaluations of a `Trainer` to the tuning run; saves no checkpoints.

    Reported are the newest values that the Trainer has logged (``eval_loss``, ``eval_accuracy``, ``loss``,
    ``learning_rate``, ...), and always ``epoch`` and ``global_step``. A report follows all that the Trainer itself does
    after an evaluation or an epoch: other callbacks, the step of a `ReduceLROnPlateau`, its own checkpoint. Evaluations
    before the first step (``eval_on_start=True``) and those outside `train` are not reported. Told to stop, the
    callback sets ``control.should_training_stop``.

    Args:
        metrics: what to report: None for all, a name, several names, or {name to report: source}.
        on: report after each ``"evaluate"`` (`eval_strategy` of the TrainingArguments says when), each ``"epoch_end"``,
            or each training ``"log"`` (`logging_strategy`).

    Raises:
        ArgumentError: an argument is wrong; or, when training, a metric does not exist (it lists those that do), or the
            Trainer never does what `on` asks for.
    """

    def __init__(self, metrics: Metrics = None, on: Event = "evaluate") -> None:
        mistakes = Mistakes(type(self).__name__)
        self._set_up(metrics, on, mistakes)
        mistakes.raise_if_any()

    def _set_up(self, metrics: Any, on: Any, mistakes: Mistakes) -> None:
        self._metrics = check_metrics(metrics, mistakes)
        if on not in _ON:
            mistakes.add(
                f"on: expected {', '.join(map(repr, _ON[:-1]))} or {_ON[-1]!r}, got {on!r}. "
                "Leave it out to report each evaluation."
            )
        self._on: str = on
        self._fit: _Fit | None = None
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
        if self._fit is None:
            self._begin_late(session)
        fit = self._fit
        assert fit is not None
        where = type(self).__name__
        if sum(isinstance(each, TuneReportCallback) for each in fit.trainer.callback_handler.callbacks) > 1:
            raise ArgumentError(where, ["callbacks: expected one callback that reports to the tuning run, got several"])
        self._check(args, where)
        state.compute_steps(args, state.max_steps)  # those of this script, not of the checkpoint
        if fit.start is not None:
            trainer_state.forget_others_best(fit.trainer, state, fit.start, session.context.trial_id)
        if not fit.built:
            fit.built = hyperparameters(*trainer_state.parts(fit.trainer))
        self._note_history(fit)
        fit.over = fit.finished = False
        fit.seen.clear()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Note the values; the summary of the whole training is the end of it."""
        fit = self._fit
        if fit is None or not logs:
            return
        if "train_runtime" in logs:
            # Before `load_best_model_at_end`: a checkpoint holds the newest weights, to be gone on from.
            self._finish(fit)
            return
        fit.newest.update(logs)
        if "loss" in logs:
            fit.seen.add("log")

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note that there are metrics to report."""
        if self._fit is not None:
            self._fit.seen.add("evaluate")

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
            self._finish(self._fit)

    # ------------------------------------------------------------------------------ inside the Trainer

    def _install(self, trainer: Any) -> None:
        """Be told when `train` is called and when all that follows a step or an epoch is done.

        Callbacks hear of an evaluation before the Trainer has drawn its conclusions from it, and of `train` after it
        has decided where to begin; this one wraps methods of the Trainer object, and of no class.
        """
        if trainer in self._installed:
            return
        self._installed.add(trainer)
        if not hasattr(trainer, _AFTER):
            raise TuneError(
                f"This version of transformers has no Trainer.{_AFTER}, after which results are reported. "
                "Use one that tune-plugins supports: pip install 'tune-plugins[transformers]'"
            )
        _wrap(trainer, "train", partial(self._around_train, trainer))
        _wrap(trainer, _AFTER, self._around_conclusions)
        _wrap(trainer, "_load_optimizer_and_scheduler", self._around_loading)

    def _around_train(self, trainer: Any, train: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        session = tune_session.current()
        if session is None:
            return train(*args, **kwargs)
        self._fit = fit = _Fit(session, trainer)
        try:
            with self._going_on(fit) as directory:
                if directory is not None:
                    args, kwargs = args[1:], {**kwargs, "resume_from_checkpoint": str(directory)}
                return train(*args, **kwargs)
        finally:
            self._fit = None

    def _around_loading(self, load: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """The checkpoint's hyper-parameters come along with the states; the running script's are put back."""
        fit = self._fit
        if fit is None or fit.start is None:
            return load(*args, **kwargs)
        fit.built = hyperparameters(*trainer_state.parts(fit.trainer))
        result = load(*args, **kwargs)
        trainer_state.restore_hyperparameters(fit.trainer, fit.start, fit.built, live=False)
        return result

    def _around_conclusions(self, conclude: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        result = conclude(*args, **kwargs)
        fit = self._fit
        if fit is not None and self._on in fit.seen:
            fit.seen.clear()
            if self._send(fit, self._values(fit)) is tune_session.Verdict.STOP:
                fit.trainer.control.should_training_stop = True
        return result

    # ---------------------------------------------------------------------------------------- reporting

    def _values(self, fit: _Fit) -> dict[str, Any]:
        state = fit.trainer.state
        always = {"epoch": state.epoch, "global_step": state.global_step}
        available = {**fit.newest, **always}
        if self._metrics is not None:
            selected = select_metrics(
                self._metrics,
                available,
                where=type(self).__name__,
                if_none="Set eval_strategy='epoch' in the TrainingArguments.",
            )
            available = {name: available[source] for name, source in selected.items()} | always
        return plain(available, where=type(self).__name__)

    def _send(self, fit: _Fit, metrics: dict[str, Any]) -> tune_session.Verdict:
        return fit.session.report(metrics)

    def _finish(self, fit: _Fit) -> None:
        fit.over = True

    @contextmanager
    def _going_on(self, fit: _Fit) -> Iterator[Path | None]:
        yield None

    def _begin_late(self, session: tune_session.Session) -> None:
        """The callback was added to a Trainer that had been made before."""
        trainer = _running_trainer()
        self._install(trainer)
        self._fit = _Fit(session, trainer)

    def _check(self, args: Any, where: str) -> None:
        if args.world_size > 1:
            raise TuneError(
                f"{where}: this training has {args.world_size} processes, which the callback does not support. "
                "Train each trial in one process, or write the loop by hand with "
                "tune_plugins.integrations.torch.TrainState, which knows of ranks."
            )
        need = {"evaluate": ("eval_strategy", "epoch"), "log": ("logging_strategy", "epoch")}.get(self._on)
        if need is not None and getattr(args.__dict__.get(need[0]), "value", None) == "no":
            raise ArgumentError(
                where,
                [
                    f"on={self._on!r}: the TrainingArguments say {need[0]}='no', so that nothing would be reported. "
                    f"Set {need[0]}={need[1]!r} there, or on='epoch_end' here."
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

    Checkpoints belong to the first call of `train` in a trial; later ones are reported only. Nothing is written into
    the `output_dir` of the script.

    Args:
        metrics: what to report: None for all, a name, several names, or {name to report: source}.
        on: report after each ``"evaluate"``, each ``"epoch_end"``, or each training ``"log"``.
        frequency: save a checkpoint every so many reports; 0: only when the tuning run asks for one.
        checkpoint_at_end: save one when the training ends.

    Raises:
        ArgumentError: an argument is wrong; a metric does not exist; the checkpoint to go on from does not fit.
        TuneError: the callback was added to the Trainer after that was made, or there are several processes.
    """

    def __init__(
        self,
        metrics: Metrics = None,
        on: Event = "evaluate",
        frequency: int = 0,
        checkpoint_at_end: bool = True,
    ) -> None:
        mistakes = Mistakes(type(self).__name__)
        self._set_up(metrics, on, mistakes)
        if not isinstance(frequency, int) or isinstance(frequency, bool) or frequency < 0:
            mistakes.add(
                f"frequency: expected a number of reports, 0 or more, got {frequency!r}. "
                "Write 0 to save only when the tuning run asks for it."
            )
        self._frequency, self._at_end = frequency, checkpoint_at_end
        mistakes.raise_if_any()

    def apply_config(self, trainer: Any, changed: Mapping[str, Any]) -> Collection[str]:
        """Change hyper-parameters of the running training; override it for those that no optimizer has.

        Called on an exploit, after the other trial's state has been loaded; ``get_context().config`` is the old config.

        Args:
            trainer: the Trainer that is training.
            changed: new values by name; names of nested ones are joined by ``/``.

        Returns:
            The names that are applied, none by default. Those left are looked for in the optimizer.

        Raises:
            WarmRestartNeeded: the function is to be entered anew, with the reason given.
        """
        return ()

    def _send(self, fit: _Fit, metrics: dict[str, Any]) -> tune_session.Verdict:
        if fit.port is None:
            return fit.session.report(metrics)
        return fit.session.report(metrics, model=fit.port, save_every=self._frequency)

    def _finish(self, fit: _Fit) -> None:
        fit.over = True
        if fit.port is not None and not fit.finished:
            fit.finished = True
            fit.session.finish(fit.port, at_end=self._at_end)

    @contextmanager
    def _going_on(self, fit: _Fit) -> Iterator[Path | None]:
        if fit.session in _owned:
            yield None
            return
        _owned.add(fit.session)
        fit.port = _Port(fit, self)
        if fit.session.start_checkpoint is None:
            yield None
            return
        with fit.session.start_checkpoint.as_directory() as directory:
            fit.start = Path(directory)
            trainer_state.check_directory(fit.trainer, fit.start, type(self).__name__)
            yield fit.start

    def _begin_late(self, session: tune_session.Session) -> None:
        name = type(self).__name__
        raise TuneError(
            f"{name} was given to the Trainer after that was made, by add_callback() or outside the trial: it could "
            f"not go on from a checkpoint. Make the Trainer with it, in the trial: Trainer(..., callbacks=[{name}()])"
        )


@dataclass(frozen=True, slots=True)
class _Port:
    """The running `Trainer.train` as the engine reaches it; see `tune_plugins.session.model_port.ModelPort`."""

    fit: _Fit
    callback: TuneReportCheckpointCallback

    def save_state(self, directory: Path) -> None:
        trainer_state.save(self.fit.trainer, directory, self.fit.built, self.fit.session.context.trial_id)

    def load_state(self, directory: Path, iteration: int) -> None:
        fit = self.fit
        if fit.over:
            raise WarmRestartNeeded("the Trainer's loop has come to its end")
        state = fit.trainer.state
        if fit.trainer.control.should_training_stop and state.global_step < state.max_steps:
            raise WarmRestartNeeded("another callback has told the Trainer to stop")
        trainer_state.load_live(fit.trainer, directory, fit.built, fit.session.context.trial_id)
        self.callback._note_history(fit)

    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
        fit = self.fit
        applied = set(self.callback.apply_config(fit.trainer, changed))
        left = {name: value for name, value in changed.items() if name not in applied}
        optimizers, schedulers = trainer_state.parts(fit.trainer)
        found = apply_to_optimizers(optimizers, schedulers, left, before, fit.built)
        if (reason := trainer_state.why_not_rescaled(fit.trainer)) and any(map(_is_rate, found)):
            raise WarmRestartNeeded(reason)
        return applied | found | self._apply_to_arguments(left, before, found)

    def _apply_to_arguments(
        self, changed: Mapping[str, Any], before: Mapping[str, Any], found: Collection[str]
    ) -> set[str]:
        """TrainingArguments follow what the optimizer was given; the Trainer reads `max_grad_norm` in each step."""
        args, applied = self.fit.trainer.args, set()
        for name, value in changed.items():
            if (name in found or name == "max_grad_norm") and name in before and hasattr(args, name):
                now, old, value = map(trainer_state.plain_data, (getattr(args, name), before[name], value))
                if type(value) in (int, float) and type(old) in (int, float) and now == old:
                    setattr(args, name, value)
                    applied.add(name)
        return applied


def _is_rate(name: str) -> bool:
    return name.rpartition("/")[2] in ("lr", "learning_rate")


def _wrap(trainer: Any, name: str, around: Callable[..., Any]) -> None:
    """Let a method of this one object go through `around`, which gets the method and its arguments."""
    method = getattr(trainer, name)

    @wraps(method)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return around(method, *args, **kwargs)

    setattr(trainer, name, wrapper)


def _running_trainer() -> Any:
    """The Trainer whose event this is: among the callers."""
    for frame in callers():
        candidate = frame.f_locals.get("self")
        if isinstance(candidate, Trainer):
            return candidate
    raise TuneError("The events of a Trainer came from something else. Give the callback to a transformers.Trainer.")
