"""Lightning: report every epoch, save checkpoints, stop, go on and exploit inside the running fit, by one callback.

Works with the Trainers of `lightning` and of `pytorch_lightning`. Outside a tuning run the callbacks do nothing, so
that the same script trains alone.

>>> def train(config):
...     trainer = Trainer(max_epochs=20, callbacks=[TuneReportCheckpointCallback()])
...     trainer.fit(Digits(config["lr"]), DigitsData())

What it touches of Lightning: the documented hooks of callbacks, `callback_metrics`, `should_stop` and the format of
checkpoints. Lightning restores one by its own connector, which has no public door inside a running fit, and has no
hook behind the end of an epoch: for these the connector and the loops of the one Trainer are used, and wrapped while it
fits. All that is not documented, also in `_lightning_fit`, `_lightning_state` and `_lightning_ranks`, is in
`INTERNALS`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from tune_plugins import session as tune_session
from tune_plugins._imports import require
from tune_plugins.arguments import Mistakes
from tune_plugins.errors import MissingDependencyError
from tune_plugins.integrations._adapter import Adapter, Copy, Internals, names_of_ray
from tune_plugins.integrations._files import move_into_trial
from tune_plugins.integrations._metrics import Metrics, check_events, joined

__all__ = ["TuneReportCallback", "TuneReportCheckpointCallback"]

Own = Literal["validation_end", "train_epoch_end", "train_batch_end", "train_end"]
Hook = Own | Literal["validation_epoch_end", "fit_end"]
"""What `on` may name."""
HOOKS: tuple[Own, ...] = get_args(Own)
_SAME: dict[str, Own] = {
    "validation_epoch_end": "validation_end",
    "epoch_end": "train_epoch_end",
    "batch_end": "train_batch_end",
    "fit_end": "train_end",
}
"""{other hook of Lightning, some of older versions: the one that comes at the same time}."""


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

INTERNALS = Internals(
    seen=("2.4.0", "2.6.6"),
    names=(
        "torch.distributed.distributed_c10d: _get_default_store",
        *(
            f"{base.__module__.rpartition('.callbacks')[0]}.{name}"
            for base in Callback.__bases__
            for name in (
                "Trainer: fit_loop, _checkpoint_connector, _logger_connector, _teardown",
                "trainer.connectors.callback_connector._CallbackConnector: _default_root_dir",
                "loggers.CSVLogger: _root_dir, _save_dir, _experiment",
                "loggers.TensorBoardLogger: _root_dir, _experiment",
                "trainer.connectors.checkpoint_connector._CheckpointConnector: resume_start, resume_end, _ckpt_path",
                "trainer.connectors.checkpoint_connector._CheckpointConnector: dump_checkpoint, _loaded_checkpoint",
                "trainer.connectors.checkpoint_connector._CheckpointConnector: restore_datamodule, restore_model",
                "trainer.connectors.checkpoint_connector._CheckpointConnector: restore_precision_plugin_state",
                "trainer.connectors.checkpoint_connector._CheckpointConnector: restore_callbacks",
                "trainer.connectors.checkpoint_connector._CheckpointConnector: restore_optimizers_and_schedulers",
                "trainer.connectors.logger_connector.logger_connector._LoggerConnector: reset_metrics",
                "loops.loop._Loop: _restarting, _load_from_state_dict, restarting",
                "loops.fit_loop._FitLoop: on_advance_end, on_run_start, epoch_loop, min_epochs, max_epochs",
                "loops.fit_loop._FitLoop: _combined_loader, _load_combined_loader_states",
                "loops.training_epoch_loop._TrainingEpochLoop: on_advance_end, _num_ready_batches_reached",
                "loops.training_epoch_loop._TrainingEpochLoop: batch_progress, val_loop, min_steps",
                "loops.evaluation_loop._EvaluationLoop: setup_data, _combined_loader",
                "callbacks.ModelCheckpoint: current_score, _last_global_step_saved, _last_checkpoint_saved",
                "callbacks.ModelCheckpoint: _save_none_monitor_checkpoint, _monitor_candidates",
                "callbacks.Timer: _duration, _offset",
                "strategies.launchers.subprocess_script._SubprocessScriptLauncher: procs",
            )
        ),
    ),
)

from tune_plugins.integrations import _lightning_state as state  # noqa: E402
from tune_plugins.integrations._lightning_fit import Fit  # noqa: E402  (needs torch)
from tune_plugins.integrations._lightning_ranks import raise_what_ended_the_ranks, refuse_started_scripts, reserve_port  # noqa: E402


class TuneReportCallback(Callback, Adapter):
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
            with ``"train_end"`` the end of the training is reported if its last epoch was not; with
            ``"train_batch_end"`` every training step is, and `training_iteration` counts these.

    Raises:
        ArgumentError: an argument is wrong; or, in the training, a metric does not exist (it lists those that do),
            or there is no validation to report on.
    """

    def __init__(self, metrics: Metrics = None, on: Hook | Iterable[Hook] = "validation_end") -> None:
        super().__init__()
        self._set_up(on, metrics=metrics)

    def _set_up(self, on: Any, *, mistakes: Collection[str] = (), **common: Any) -> None:
        remedy = "Write on='validation_end', or on='train_epoch_end' for a training without validation."
        found = Mistakes("", mistakes)
        self._own_on = self._on = check_events(on, HOOKS, found, also=_SAME, remedy=remedy)
        self.set_up(mistakes=found.found, **common)
        self._log: Any = None
        if tune_session.current() is not None:
            reserve_port()

    def join(self, others: Sequence[Adapter]) -> None:
        """Report what, and when, any of them was asked to."""
        super().join(others)
        self._on = joined(self._own_on, *(other._own_on for other in others if isinstance(other, TuneReportCallback)))

    @property
    def log(self) -> Any:
        """`LightningModule.log` of the module that is trained; Lightning sets it before the processes of a fit meet."""
        return self._log

    @log.setter
    def log(self, function: Any) -> None:
        self._log = function
        if (session := tune_session.current()) is not None:
            trainer = function.__self__.trainer
            refuse_started_scripts(trainer, type(self).__name__)
            _move_files(trainer, session)

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Begin a fit; in a trial that is to go on from a checkpoint, let Lightning restore that."""
        if stage != "fit":
            return
        self._over()
        self.begin_fit(partial(Fit, trainer=trainer, callback=self), trainer.callbacks, claim=False)

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

    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
        """Change learning rate, weight decay, momentum, betas and the like in the optimizers; `module.hparams` follows.

        They are changed where the optimizers use what the config says. Called on all ranks. For overriding it see
        `tune_plugins.integrations.Adapter.apply_config`; there are `self.trainer` and `self.model`, the LightningModule
        with the state of the donor. Do not return names that are read only when the module is made.

        Raises:
            WarmRestartNeeded: the learning rate's schedule cannot be rescaled; says why.
        """
        fit: Fit = self._fit
        return fit.apply_to_optimizers(changed, before)

    def position(self) -> Any:
        """Number of steps: the training may go on behind a report, and come to its end before another one."""
        return self.trainer.global_step

    def copy_model(self) -> Copy | None:
        """The state of the module; it is written as a checkpoint of Lightning with weights only."""
        copied, name = state.weights(self.trainer), self.filename
        return lambda directory: state.write_weights(copied, directory / name)

    @classmethod
    def read_model(cls, directory: Path, filename: str, build: Any, config: Mapping[str, Any]) -> Any:
        """The module: made by its class from the hyper-parameters saved, if it saves them, else by `build`."""
        return state.load_module(directory / filename, build, config)

    def _together(self, method: str, *arguments: Any) -> Any:
        return self._fit.ranks.together(method, *arguments)

    def _over(self) -> None:
        fit, self._fit = self._fit, None
        if fit is not None:
            fit.abandon()


class TuneReportCheckpointCallback(TuneReportCallback):
    """Reports epochs and saves checkpoints; goes on from one, and exploits another trial, by itself.

    A trial that starts from a checkpoint continues it up to the `max_epochs` of the script, just as
    ``trainer.fit(model, ckpt_path=...)`` would: module, optimizers, learning rate schedulers, loops, state of the
    callbacks, precision and data module. The random generators go on as well, those of data loaders and samplers too,
    so that it is the training that was never interrupted, also with shuffling and dropout; the exceptions are those of
    Lightning (loaders that are made anew in a fit, their workers if these persist, callbacks that keep less than their
    state). Hyper-parameters of the running script hold, not those stored, and arguments of its callbacks do, too.
    A `ckpt_path` in the script is where a fresh trial begins; one that goes on does not load it again.

    Checkpoints are Lightning's own, restricted to plain data (``torch.load(weights_only=True)``), and saved when the
    tuning run needs one, and at the end. Each is that of a report: epochs or steps behind the last validation are in
    none, unless `on` names ``"train_end"``, too, by which the end is reported with the metrics last known. Where the
    end is foreseen (`max_epochs`, `max_steps`) the last report's state is saved. The best state of the module so far by
    the metric of the run is kept in memory, and is written with the next of them (`Result.get_best_checkpoint`). With
    several fits in a trial, only the first one goes on from a checkpoint; later ones are reported with iterations that
    count on, and are repeated if the trial has to be resumed. Their models are saved at their ends, for what is in
    them: the last checkpoint is that of the last fit.

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
        mistakes: list[str] = [] if isinstance(save_checkpoints, bool) else [_EITHER.format(save_checkpoints)]
        self.saves = save_checkpoints
        self._set_up(on, mistakes=mistakes, metrics=metrics, filename=filename)


def _move_files(trainer: Any, session: tune_session.Session) -> None:
    """Have logs and checkpoints go to the folder of the trial, before loggers open their files."""
    move_into_trial(session, "Lightning", trainer, "_default_root_dir")
    for logger in trainer.loggers:
        writes_files = {"CSVLogger", "TensorBoardLogger"} & {kind.__name__ for kind in type(logger).__mro__}
        if writes_files and move_into_trial(session, "Lightning", logger, "_root_dir", "_save_dir"):
            logger._experiment = None  # of another trial, where the script makes one logger for all


_EITHER = "save_checkpoints: expected True or False, got {!r}."


if not TYPE_CHECKING:
    __getattr__ = names_of_ray(__name__)
