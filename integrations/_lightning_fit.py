"""One call of `trainer.fit` inside a trial: when it reports, what it saves, how it stops or takes over a state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from tune_plugins import session as tune_session
from tune_plugins.errors import ArgumentError, TuneError, WarmRestartNeeded
from tune_plugins.integrations import _adapter
from tune_plugins.integrations import _lightning_state as state
from tune_plugins.integrations._lightning_ranks import Ranks
from tune_plugins.integrations._torch_optimizers import Built, apply, hyperparameters
from tune_plugins.session.values import plain

ALWAYS = ("epoch", "step")
"""Reported beside the metrics asked for: index of the epoch and number of optimizer steps, as Lightning counts them."""


class Fit(_adapter.Fit):
    """See the module; one object for each rank.

    An epoch is reported when all of it is done: behind `on_train_epoch_end` of module and callbacks and the last
    learning rate scheduler. What is saved there is complete: a training that goes on from it neither repeats nor
    skips anything. A checkpoint is always that of a report: where the training goes on behind the last one, up to
    epochs or steps that are not validated, the state is saved at that report and not at the end.

    Args:
        session: of the trial.
        counts: nothing was reported before in this entry into the training function.
        port: how the engine reaches the training; None: this fit saves nothing.
        trainer: whose `fit` is being set up.
        callback: the adapter.
    """

    def __init__(self, session: tune_session.Session, counts: bool, port: Any, *, trainer: Any, callback: Any) -> None:
        super().__init__(session, counts, port)
        self.trainer, self.callback, self.on = trainer, callback, callback._on
        self.ranks = Ranks(
            trainer.global_rank,
            trainer.world_size,
            {"save_state": self._save, "load_state": self._load, "apply_config": callback.apply_config},
        )
        self.built: Built = []
        self.settings = state.settings_of(trainer.callbacks)
        self._due = self._validated = self._ended = False
        self._inside_epoch = self._reported_last = False
        self._least: tuple[Any, Any] | None = None
        self._steps_reported = 0
        self._steps_validated: int | None = None
        self._rates: list[tuple[dict[str, Any], float, float]] = []  # (group, old, new) of the last exploit
        self._to_resume: dict[str, Any] | None = None
        self._adopted = False  # the state that the training now has was another trial's
        if callback.saves:
            _refuse_own_format(trainer, callback)
            if self.start is not None:
                with self.start.as_directory() as directory:
                    self._to_resume = state.read(Path(callback.checkpoint_file(directory)))
                state.resume(trainer, self._to_resume, session.context.trial_id)

    @property
    def model(self) -> Any:
        """The user's LightningModule."""
        return self.trainer.lightning_module

    # ------------------------------------------------------------------------------ hooks of the fit

    def optimizers_built(self) -> None:
        """`on_fit_start`: before states are restored and before the first step."""
        self.built = hyperparameters(self.trainer.optimizers, state.schedulers(self.trainer))
        if (checkpoint := self._to_resume) is not None:
            self._to_resume = None

            def resumed() -> None:
                self._claim()
                self._put_back(checkpoint, live=False)

            state.follow_resume(self.trainer, checkpoint, resumed)

    def begin(self) -> None:
        """`on_train_start`."""
        trainer = self.trainer
        if set(self.on) == {"validation_end"} and not trainer.enable_validation:
            raise ArgumentError(
                type(self.callback).__name__,
                [
                    "on: 'validation_end' never comes in this training, which has no validation (no validation data "
                    "or no validation_step, or limit_val_batches=0). Write on='train_epoch_end'."
                ],
            )
        self._refuse_without_reports()
        self._steps_reported = trainer.global_step
        self._claim()
        _after(trainer.fit_loop, "on_advance_end", self._epoch_done)
        # Where validation follows the steps and not the epochs, or these themselves are reported.
        if trainer.check_val_every_n_epoch is None or "train_batch_end" in self.on:
            _after(trainer.fit_loop.epoch_loop, "on_advance_end", self._batch_done)

    def validated(self) -> None:
        """`on_validation_end`, not of the sanity check."""
        self._validated = True
        self._due |= "validation_end" in self.on
        self._steps_validated = self.trainer.global_step
        if self.best is not None and self._early():
            available, wanted = plain(self.trainer.callback_metrics), self.callback._metrics
            renamed = available if wanted is None else {n: available[s] for n, s in wanted.items() if s in available}
            self.callback.consider(renamed)

    def end(self) -> None:
        """`on_train_end`."""
        self._ended = True
        self._unhook()
        if "train_end" in self.on and not self._reported_last:
            self._report()
        if self.trainer.global_step != self._steps_reported and self._is_fresh():
            self._refuse("no validation came before the training ended, so that nothing was reported")
        self._finish()
        # The others may still have to read what rank 0 has said, at a store that ends with its process.
        self.ranks.gather(None)

    def _claim(self) -> None:
        # Not before the training is sure to begin: a search for the learning rate is a fit that is left before.
        if self.port is not None and self.ranks.rank == 0:  # on behalf of all of them
            self.session.claim_checkpoints()

    def _finish(self) -> None:
        if self.saver is not None:
            self.ranks.conduct(self.callback.finish_fit)

    def abandon(self) -> None:
        """The fit is over, whatever happened; may be called again."""
        self._unhook()
        if self._adopted and self.trainer.state.status == "running":  # and not left by an exception
            self._adopted = False
            state.save_if_none(self.trainer)
        state.forget_resume(self.trainer)

    def _unhook(self) -> None:
        for loop in (self.trainer.fit_loop, self.trainer.fit_loop.epoch_loop):
            vars(loop).pop("on_advance_end", None)
        if self._least is not None:
            self.trainer.fit_loop.min_epochs, self.trainer.fit_loop.epoch_loop.min_steps = self._least
            self._least = None

    # ------------------------------------------------------------------------------------- reporting

    def _batch_done(self) -> None:
        due = self._due or "train_batch_end" in self.on
        if due and not self.trainer.fit_loop.epoch_loop._num_ready_batches_reached():
            self._inside_epoch = True
            self._report()
            self._inside_epoch = False

    def _epoch_done(self) -> None:
        self._reported_last = self._due or not {"train_epoch_end", "train_batch_end"}.isdisjoint(self.on)
        if self._reported_last:
            self._report()

    def _report(self) -> None:
        self._due = False
        self._refuse_rates_put_back()
        measured = self._steps_validated in (None, self.trainer.global_step)
        stopped = self.ranks.conduct(lambda: self.callback.send(self._values(), last=self._over(), measured=measured))
        self.counts = False
        self._steps_reported = self.trainer.global_step
        if stopped:
            self._stop()
        elif self._is_last():
            self._finish()

    def _early(self) -> bool:
        """Whether a validation inside the epoch, whose metrics are reported with the whole of it, is not its end."""
        trainer = self.trainer
        every = trainer.val_check_batch
        if trainer.check_val_every_n_epoch is None or every is None or every == float("inf"):
            return False
        return not trainer.fit_loop.epoch_loop._num_ready_batches_reached()

    def _over(self) -> bool:
        """Whether nothing is left to train behind this report, as planned."""
        trainer = self.trainer
        loop = trainer.fit_loop
        if self._ended or (trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps):
            return True
        if self._inside_epoch:
            return False
        return bool(loop.max_epochs not in (None, -1) and loop.epoch_progress.current.processed >= loop.max_epochs)

    def _stop(self) -> None:
        loop = self.trainer.fit_loop
        self.trainer.should_stop = True
        if not self._ended and self._least is None:
            # The verdict stands above `min_epochs`; the user's values come back at the end of the fit.
            self._least = loop.min_epochs, loop.epoch_loop.min_steps
            loop.min_epochs, loop.epoch_loop.min_steps = 0, None

    def _is_last(self) -> bool:
        """Whether the training, as planned, goes on but comes to its end without another report."""
        if set(self.on) != {"validation_end"} or self._ended:
            return False
        trainer = self.trainer
        epoch, every, epochs = trainer.current_epoch, trainer.check_val_every_n_epoch, trainer.fit_loop.max_epochs
        batches, per_epoch = trainer.fit_loop.epoch_loop.batch_progress.total.ready, trainer.num_training_batches
        if per_epoch == float("inf"):  # unknown: as many as up to now
            per_epoch = batches / max(epoch, 1)
        left = float("inf") if epochs in (None, -1) else epochs * per_epoch - batches
        if every is not None:
            ahead = (every - epoch % every) * per_epoch
            left = float("inf") if epochs in (None, -1) else (epochs - epoch) * per_epoch
        elif trainer.val_check_batch is not None:
            ahead = trainer.val_check_batch - batches % trainer.val_check_batch
        else:
            return False  # validated by the clock
        steps = trainer.max_steps - trainer.global_step if trainer.max_steps != -1 else float("inf")
        return 0 < left < ahead or (steps > 0 and steps * batches < ahead * trainer.global_step)

    def _is_fresh(self) -> bool:
        """Nothing was reported in this trial, and it began in this very call of the training function."""
        return self.counts and self.session.start_checkpoint is None

    def _refuse_without_reports(self) -> None:
        trainer = self.trainer
        epoch, every, epochs = trainer.current_epoch, trainer.check_val_every_n_epoch, trainer.fit_loop.max_epochs
        if set(self.on) != {"validation_end"} or every is None or epochs in (None, -1) or not self._is_fresh():
            return
        if epochs // every <= epoch // every:
            self._refuse(f"with check_val_every_n_epoch={every} no validation comes up to max_epochs={epochs}")

    def _refuse(self, reason: str) -> None:
        raise ArgumentError(
            type(self.callback).__name__,
            [f"on: {reason}. Write on='train_epoch_end', add 'train_end', or let the Trainer validate more often."],
        )

    def _refuse_rates_put_back(self) -> None:
        rates, self._rates = self._rates, []
        for group, old, new in rates:
            if float(group["lr"]) == old:
                raise TuneError(
                    f"An exploit has changed the learning rate from {old:g} to {new:g} in the running training, and "
                    f"code of the script has put {old:g} back since: it assigns a rate of which it keeps a copy. Use a "
                    "learning rate scheduler, or override `apply_config` of the callback: let it change the copy, or "
                    "not return the name, so that the training function is entered anew."
                )

    def _values(self) -> dict[str, Any]:
        trainer = self.trainer
        available = plain(trainer.callback_metrics)
        values = available
        if (wanted := self.callback._metrics) is not None:
            if trainer.enable_validation and not self._validated:  # an epoch before the first validation
                wanted = {name: source for name, source in wanted.items() if source in available}
            else:
                self.callback.select(available, "Log them in the module: self.log('val_loss', loss).")
            values = {name: available[source] for name, source in wanted.items()}
        values.setdefault("epoch", trainer.current_epoch if self._inside_epoch else trainer.current_epoch - 1)
        values.setdefault("step", trainer.global_step)
        return values

    # ----------------------------------------------------------- state; each of these on all ranks

    def _save(self, directory: Path) -> None:
        import torch

        checkpoint = state.take(
            self.trainer, self.built, self.settings, self.session.context.trial_id, self.ranks.gather
        )
        if self.ranks.rank == 0:
            torch.save(checkpoint, directory / self.callback.filename)

    def _load(self, directory: Path, iteration: int) -> None:
        if self._ended:
            raise WarmRestartNeeded("the training is at its end")
        if self._inside_epoch:
            raise WarmRestartNeeded("the training is inside an epoch, where its data cannot be set to a position")
        checkpoint = state.read(Path(self.callback.checkpoint_file(directory)))
        state.load_in_place(self.trainer, checkpoint, self.session.context.trial_id)
        self._put_back(checkpoint, live=True)
        self._validated = False

    def _put_back(self, checkpoint: dict[str, Any], *, live: bool) -> None:
        self._adopted |= live or state.saved_by_another(checkpoint, self.session.context.trial_id)
        state.put_back(self.trainer, checkpoint, self.built, self.settings, self.ranks.rank, live=live)

    def apply_to_optimizers(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> set[str]:
        """What `apply_config` of the adapter does if it is not overridden."""
        optimizers, schedulers = self.trainer.optimizers, state.schedulers(self.trainer)
        scheduled = [scheduler.optimizer for scheduler in schedulers if hasattr(scheduler, "optimizer")]
        free = [o for o in optimizers if not any(o is other for other in scheduled)]
        rates = [(group, float(group.get("lr", 0.0))) for optimizer in free for group in optimizer.param_groups]
        applied = apply(optimizers, schedulers, changed, before, self.built)
        self._rates = [(group, old, float(group["lr"])) for group, old in rates if float(group.get("lr", 0.0)) != old]
        hparams = getattr(self.model, "hparams", None)
        if isinstance(hparams, MutableMapping):
            for name in applied:
                _follow(hparams, name, before[name], changed[name])
        return applied


def _after(loop: Any, hook: str, call: Callable[[], None]) -> None:
    """Let `call` follow on a method of this one loop object; undone by deleting the attribute."""
    method = getattr(loop, hook)

    def both(*args: Any, **kwargs: Any) -> None:
        method(*args, **kwargs)
        call()

    setattr(loop, hook, both)


def _follow(hparams: MutableMapping[str, Any], name: str, old: Any, new: Any) -> None:
    """Let the module's record of its hyper-parameters follow, where it has the old value under that name."""
    *path, last = name.split("/")
    inner: Any = hparams
    for part in path:
        inner = inner.get(part) if isinstance(inner, MutableMapping) else None
    for where in (inner, hparams):
        if isinstance(where, MutableMapping) and last in where and where[last] == old:
            where[last] = new
            return


def _refuse_own_format(trainer: Any, callback: Any) -> None:
    strategy: Any = type(trainer.strategy)
    base = next((b for b in strategy.__mro__ if b.__name__ == "Strategy" and "save_checkpoint" in vars(b)), None)
    if base is None or strategy.save_checkpoint is base.save_checkpoint:
        return
    raise ArgumentError(
        type(callback).__name__,
        [
            f"the strategy {strategy.__name__} saves checkpoints in a format of its own, which cannot be exchanged "
            "between trials. Use a single device, strategy='ddp_spawn' or 'ddp_fork', or TuneReportCallback."
        ],
    )
