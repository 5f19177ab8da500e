"""One trial of `hyperparameter_search`: trained by a Trainer of its own, a copy of the script's.

The copy is made in each trial, by `copy.deepcopy`, so that trials share nothing which training changes; data sets, the
tokenizer and what makes the model are the same objects in all trials of a process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from transformers import Trainer
from transformers.integrations import TensorBoardCallback
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK
from transformers.trainer_callback import ProgressCallback
from transformers.trainer_utils import HPSearchBackend, TrainerMemoryTracker

from tune_plugins import session as tune_session
from tune_plugins.errors import ArgumentError
from tune_plugins.integrations._adapter import Adapter
from tune_plugins.integrations.transformers import TuneReportCheckpointCallback, wrap_method
from tune_plugins.session.values import plain

SEARCH = "hyperparameter_search"
"""As it is called in messages."""

# A writer to TensorBoard and a bar cannot be copied, and would be one for all trials; an adapter of the script's own
# would report a second time.
_LEFT_OUT = (TensorBoardCallback, ProgressCallback, DEFAULT_PROGRESS_CALLBACK, Adapter)


def objective(config: Mapping[str, Any], trainer: Trainer, objectives: Sequence[str]) -> None:
    """The training function of a search: trains with the hyper-parameters, and reports after each evaluation.

    Args:
        config: {name of a field of the TrainingArguments, or of what `model_init` knows: value}.
        trainer: of the script, stripped by `bare`; stays as it is.
        objectives: names under which the values of `compute_objective` are reported.
    """
    trainer = _copied(trainer)
    args = trainer.args
    # `_hp_search_setup` writes the values into the arguments, each with the type of the field. Behind it, the Trainer
    # must not think of Ray Tune, which it would import.
    trainer.hp_search_backend = HPSearchBackend.RAY
    trainer._hp_search_setup({name: value for name, value in config.items() if hasattr(args, name)})
    trainer.hp_search_backend = None
    run = trainer.hp_name(dict(config)) if trainer.hp_name else f"run-{tune_session.get_context().trial_id}"
    args.output_dir = os.path.join(args.output_dir, str(run))  # as the Trainer names it for Ray Tune
    trainer.add_callback(_Objectives(trainer, objectives))
    trainer.train(trial=dict(config))


def _copied(trainer: Trainer) -> Trainer:
    shared = (trainer.train_dataset, trainer.eval_dataset, trainer.processing_class, trainer.data_collator)
    copied = deepcopy(trainer, {id(each): each for each in (*shared, trainer.model_init) if each is not None})
    # The device and the number of GPUs are those of this process, and not of the script's.
    vars(copied.args).pop("_setup_devices", None)
    _ = copied.args.device
    return copied


@contextmanager
def bare(trainer: Trainer) -> Iterator[None]:
    """Strip the script's Trainer of its model and of all that cannot be sent to another process, for a while."""
    handler = trainer.callback_handler
    none = ("model", "optimizer", "lr_scheduler")
    changes: list[tuple[Any, dict[str, Any]]] = [
        (trainer, dict.fromkeys((*none, "model_wrapped", "accelerator", "gather_function", "hp_space"))),
        (trainer, {"hp_search_backend": None, "_memory_tracker": TrainerMemoryTracker(skip_memory_metrics=True)}),
        (handler, dict.fromkeys((*none, "train_dataloader", "eval_dataloader"))),
        (handler, {"callbacks": [each for each in handler.callbacks if not isinstance(each, _LEFT_OUT)]}),
    ]
    before = [(owner, {name: getattr(owner, name) for name in values}) for owner, values in changes]
    _set(changes)
    try:
        yield
    finally:
        _set(before)


def _set(values: list[tuple[Any, dict[str, Any]]]) -> None:
    for owner, attributes in values:
        for name, value in attributes.items():
            setattr(owner, name, value)


class _Objectives(TuneReportCheckpointCallback):
    """Reports what is sought beside what the Trainer logs, after each evaluation that the Trainer itself makes."""

    def __init__(self, trainer: Trainer, objectives: Sequence[str]) -> None:
        super().__init__()
        self._compute, self._names = trainer.compute_objective, objectives
        self._objectives: dict[str, Any] = {}
        self._install(trainer)
        wrap_method(trainer, "_report_to_hp_search", self._measured)

    def _measured(self, report: Any, trial: Any, step: int, metrics: Mapping[str, float]) -> None:
        """In place of a report to Ray Tune: the Trainer hands over what it has just measured."""
        found = self._compute(dict(metrics))
        values = list(found) if isinstance(found, Sequence) and not isinstance(found, str) else [found]
        if len(values) != len(self._names):
            expected = "one number" if len(self._names) == 1 else f"{len(self._names)} numbers, one a direction"
            raise ArgumentError(
                SEARCH, [f"compute_objective: expected a function that returns {expected}, it has returned {found!r}."]
            )
        self._objectives = dict(zip(self._names, map(plain, values), strict=True))
        self._fit.seen.add("evaluate")

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Evaluations that other callbacks make are not reported."""

    def _around_conclusions(self, conclude: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Evaluate at the end of a training that has not been evaluated before: each trial has a result."""
        fit = self._fit
        if fit is not None and not self._objectives and "epoch_end" in fit.seen:
            control = fit.trainer.control
            control.should_evaluate |= control.should_training_stop
        return super()._around_conclusions(conclude, *args, **kwargs)

    def _check_events(self, args: Any, where: str) -> None:
        pass  # see `_around_conclusions`

    def _values(self, fit: Any) -> dict[str, Any]:
        return super()._values(fit) | self._objectives
