"""Lightning: report every epoch, save checkpoints, stop, go on and exploit inside the running fit, by one callback.

Works with the Trainers of `lightning` and of `pytorch_lightning`. Outside a tuning run the callbacks do nothing, so
that the same script trains alone.

>>> def train(config):
...     trainer = Trainer(max_epochs=20, callbacks=[TuneReportCheckpointCallback()])
...     trainer.fit(Digits(config["lr"]), DigitsData())
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from tune_plugins import session as tune_session
from tune_plugins._imports import require
from tune_plugins.errors import ArgumentError, MissingDependencyError, Mistakes
from tune_plugins.integrations._metrics import Metrics, check_metrics

__all__ = ["TuneReportCallback", "TuneReportCheckpointCallback"]

Hook = Literal["validation_end", "train_epoch_end", "train_end"]
HOOKS: tuple[Hook, ...] = get_args(Hook)
"""What `on` may name."""


def _callback_classes() -> list[type]:
    """`Callback` of each of the two packages that is installed; a Trainer looks for that of its own."""
    found, missing = [], None
    for package in ("lightning.pytorch", "pytorch_lightning"):
        try:
            module = require(package, extra="lightning", needed_by="tune_plugins.integrations.lightning")
            found.append(module.Callback)
        except MissingDependencyError as error:
            missing = missing or error
    if missing is not None and not found:
        raise missing
    return found


if TYPE_CHECKING:
    from lightning.pytorch import Callback
else:
    Callback = type("Callback", tuple(_callback_classes()), {"__module__": __name__})

from tune_plugins.integrations._lightning_fit import Fit  # noqa: E402  (needs torch)
from tune_plugins.integrations._lightning_ranks import raise_what_ended_the_ranks, refuse_started_scripts, reserve_port  # noqa: E402


class TuneReportCallback(Callback):
    """Reports epochs to the tuning run; saves no checkpoints.

    Reported are the metrics that the module logs (`trainer.callback_metrics`), ``epoch`` (index of the epoch, from 0)
    and ``step`` (number of optimizer steps). `training_iteration` is the number of epochs reported. The sanity check
    is ignored, and so are `trainer.validate`, `test` and `predict`.

    An epoch is reported when it is complete, behind `on_train_epoch_end` of the module and of all callbacks: by then
    everything is logged. It is reported once, however many of the chosen hooks it has come by. Several validations
    inside an epoch make one report, with the values of the last one; but where validation follows the steps and not
    the epochs (``check_val_every_n_epoch=None``) each one is reported, and `training_iteration` counts these.

    Where validation is rarer than an epoch, `on` may have to name ``"train_epoch_end"`` or ``"train_end"``: a training
    in which no epoch is reported is refused.

    Told to stop, the callback sets `trainer.should_stop` on all ranks, whatever `min_epochs` says.

    Args:
        metrics: what to report: None for all, a name, several names, or {name to report: source}.
        on: what makes an epoch one to be reported, one name or several: ``"validation_end"``, ``"train_epoch_end"``;
            with ``"train_end"`` the end of the training is reported if its last epoch was not.

    Raises:
        ArgumentError: an argument is wrong; or, in the training, a metric does not exist (it lists those that do),
            or there is no validation to report on.
    """

    def __init__(self, metrics: Metrics = None, on: Hook | Iterable[Hook] = "validation_end") -> None:
        super().__init__()
        mistakes = Mistakes(type(self).__name__)
        self._set_up(metrics, on, mistakes)
        mistakes.raise_if_any()

    def _set_up(self, metrics: Any, on: Any, mistakes: Mistakes) -> None:
        self._metrics = check_metrics(metrics, mistakes)
        self._on = _check_on(on, mistakes)
        self._filename: str | None = None
        self._fit: Fit | None = None
        self._log: Any = None
        if tune_session.current() is not None:
            reserve_port()

    @property
    def log(self) -> Any:
        """`LightningModule.log` of the module that is trained; Lightning sets it before the processes of a fit meet."""
        return self._log

    @log.setter
    def log(self, function: Any) -> None:
        self._log = function
        if tune_session.current() is not None:
            refuse_started_scripts(function.__self__.trainer, type(self).__name__)

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Begin a fit; in a trial that is to go on from a checkpoint, let Lightning restore that."""
        if stage != "fit":
            return
        self._over()
        session = tune_session.current()
        if session is None:
            return
        self._refuse_second_reporter(trainer)
        self._fit = Fit(session, trainer, self, self._metrics, self._on, self._filename)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Note the hyper-parameters that the script has built its optimizers with."""
        if self._fit is not None:
            self._fit.optimizers_built()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """The training begins."""
        if self._fit is not None:
            self._fit.begin()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Note that the epoch has been validated."""
        if self._fit is not None and not trainer.sanity_checking:
            self._fit.validated()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Leave the last report and the last checkpoint."""
        if self._fit is not None:
            self._fit.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """The fit is left; where child processes ended because the trial is unwound, by that and no ordinary error."""
        self._over()
        if isinstance(exception, Exception):
            raise_what_ended_the_ranks(trainer, exception)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """The fit is over."""
        if stage == "fit":
            self._over()

    def apply_config(self, trainer: Any, module: Any, changed: Mapping[str, Any]) -> set[str]:
        """Change hyper-parameters of the running training: part of an exploit, called on all ranks.

        Applied are learning rate, weight decay, momentum, betas and the like, in the optimizers, where these use what
        the config says; `module.hparams` follows. For any other name the training function is entered anew, and goes
        on from the checkpoint. Override it for what a running module can change as well, and return those names too;
        but none that is read only when the module is made::

            class Callback(TuneReportCheckpointCallback):
                def apply_config(self, trainer, module, changed):
                    applied = super().apply_config(trainer, module, changed)
                    if "dropout" in changed:
                        module.dropout.p = changed["dropout"]
                        applied.add("dropout")
                    return applied

        Args:
            trainer: of the running fit.
            module: the user's LightningModule, with the state of the donor.
            changed: new values by name; names of nested ones are joined by ``/``.

        Returns:
            The names that are applied.

        Raises:
            WarmRestartNeeded: the learning rate's schedule cannot be rescaled; says why.
        """
        return set() if self._fit is None else self._fit.apply_to_optimizers(module, changed)

    def _over(self) -> None:
        fit, self._fit = self._fit, None
        if fit is not None:
            fit.abandon()

    def _refuse_second_reporter(self, trainer: Any) -> None:
        if sum(isinstance(callback, TuneReportCallback) for callback in trainer.callbacks) > 1:
            raise ArgumentError(
                type(self).__name__,
                [
                    "callbacks: expected one callback that reports to the tuning run, got several, so that each "
                    "epoch would be reported more than once. Keep one of them."
                ],
            )


class TuneReportCheckpointCallback(TuneReportCallback):
    """Reports epochs and saves checkpoints; goes on from one, and exploits another trial, by itself.

    A trial that starts from a checkpoint continues it up to the `max_epochs` of the script, just as
    ``trainer.fit(model, ckpt_path=...)`` would: module, optimizers, learning rate schedulers, loops, state of the
    callbacks, precision and data module. The random generators go on as well, those of data loaders and samplers too,
    so that it is the training that was never interrupted, also with shuffling and dropout; the exceptions are those of
    Lightning (loaders that are made anew in a fit, their workers if these persist, callbacks that keep less than their
    state). Hyper-parameters of the running script hold, not those stored, and arguments of its callbacks do, too.
    A `ckpt_path` in the script is where a fresh trial begins; one that goes on does not load it again.

    Checkpoints are Lightning's own, restricted to plain data (``torch.load(weights_only=True)``), and saved
    when the tuning run needs one, and at the end. Each is that of a report: epochs or steps behind the last validation
    are in none, unless `on` names ``"train_end"``, too, by which the end is reported with the metrics last known. Where
    the end is foreseen (`max_epochs`, `max_steps`) the last report's state is saved. With several fits in a trial they
    belong to the first; later fits are reported with iterations that count on, and are repeated if the trial has to be
    resumed.

    An exploit takes place between two epochs inside the running fit: the donor's state is loaded into the module,
    optimizers, schedulers and callbacks that are there, the loops count on from the donor's epoch, and `apply_config`
    applies the mutated hyper-parameters. Where that is not possible, the training function is entered anew.

    Args:
        metrics: what to report: None for all, a name, several names, or {name to report: source}.
        filename: name of the file in the checkpoint.
        save_checkpoints: False: report only.
        on: what makes an epoch one to be reported, see `TuneReportCallback`.

    Raises:
        ArgumentError: an argument is wrong; a metric does not exist; the strategy has a checkpoint format of its
            own; the checkpoint to go on from lacks the file (it lists those there are).
    """

    def __init__(
        self,
        metrics: Metrics = None,
        filename: str = "checkpoint.ckpt",
        save_checkpoints: bool = True,
        on: Hook | Iterable[Hook] = "validation_end",
    ) -> None:
        Callback.__init__(self)
        mistakes = Mistakes(type(self).__name__)
        self._set_up(metrics, on, mistakes)
        if not isinstance(filename, str) or not filename or Path(filename).name != filename:
            mistakes.add(f"filename: expected a plain file name, got {filename!r}. Write e.g. 'checkpoint.ckpt'.")
        if not isinstance(save_checkpoints, bool):
            mistakes.add(f"save_checkpoints: expected True or False, got {save_checkpoints!r}.")
        mistakes.raise_if_any()
        self._filename = filename if save_checkpoints else None


def _check_on(on: Any, mistakes: Mistakes) -> tuple[str, ...]:
    names = [on] if isinstance(on, str) else list(on) if isinstance(on, Iterable) else [on]
    wrong = [name for name in names if name not in HOOKS]
    if wrong or not names:
        mistakes.add(
            f"on: expected one or several of {', '.join(map(repr, HOOKS))}, got {on!r}. "
            "Write on='validation_end', or on='train_epoch_end' for a training without validation."
        )
    return tuple(dict.fromkeys(name for name in names if name in HOOKS))
