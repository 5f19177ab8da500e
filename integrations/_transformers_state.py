"""State of a running `transformers.Trainer`: written in its own format, and put into one that is training.

The directory is what the Trainer itself writes (weights, ``optimizer.pt``, ``scheduler.pt``, ``rng_state.pth``,
``trainer_state.json``), so that plain ``trainer.train(resume_from_checkpoint=directory)`` goes on from it. It lacks
``training_args.bin``, which is a pickle of code, and has one more file, of plain data (`OWN_FILE`).
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_model as load_safetensors
from torch.optim import lr_scheduler
from transformers import EarlyStoppingCallback
from transformers.trainer_callback import ExportableState, TrainerState
from transformers.utils import ADAPTER_CONFIG_NAME, CONFIG_NAME, SAFE_WEIGHTS_NAME
from transformers.utils import logging as transformers_logging

from tune_plugins.errors import ArgumentError, WarmRestartNeeded
from tune_plugins.integrations._adapter import built_model, existing_file
from tune_plugins.integrations._torch_optimizers import Built, hyperparameters, restore_built

OWN_FILE = "tune_plugins.pt"
"""What the Trainer's own checkpoint lacks: with which hyper-parameters the optimizer was built, and whose it is."""

STATE_FILE = "trainer_state.json"
_CODE = "training_args.bin"
_RANDOM = "rng_state.pth"
_OPTIMIZER, _SCHEDULER = "optimizer.pt", "scheduler.pt"

# Of a TrainerState: what the running training has of its own, whatever it goes on from.
_OWN_FIELDS = frozenset(
    (
        *("max_steps", "num_train_epochs", "logging_steps", "eval_steps", "save_steps", "train_batch_size"),
        *("is_local_process_zero", "is_world_process_zero", "is_hyper_param_search", "trial_name", "trial_params"),
    )
)


def parts(trainer: Any) -> tuple[list[Any], list[Any]]:
    """Optimizer and scheduler, each in a list, such that the scheduler's optimizer is the one in the list."""
    wrapper, scheduler = trainer.optimizer, trainer.lr_scheduler
    inner = getattr(wrapper, "optimizer", wrapper)  # of accelerate's AcceleratedOptimizer
    driven = getattr(scheduler, "optimizer", None)
    return [inner if driven is inner else wrapper], [] if scheduler is None else [scheduler]


def save(trainer: Any, directory: Path, built: Built, trial: str) -> None:
    """Write everything from which the training goes on.

    Args:
        trainer: in `train`, after everything that an evaluation or an epoch brings about.
        directory: exists, and is empty.
        built: hyper-parameters with which optimizer and scheduler were built.
        trial: id of the trial.
    """
    target = str(directory)
    trainer.store_flos()
    with _no_progress_bars():
        trainer.save_model(target, _internal_call=True)
    Path(directory, _CODE).unlink(missing_ok=True)
    trainer._save_optimizer_and_scheduler(target)
    for name, thing in ((_OPTIMIZER, trainer.optimizer), (_SCHEDULER, trainer.lr_scheduler)):
        _without_numpy(thing, directory / name)
    trainer._save_scaler(target)
    trainer._save_rng_state(target)
    _as_plain_data(directory / _RANDOM)
    stateful = [c for c in [*trainer.callback_handler.callbacks, trainer.control] if isinstance(c, ExportableState)]
    state = dataclasses.replace(trainer.state, stateful_callbacks=stateful)
    for field in dataclasses.fields(state):
        setattr(state, field.name, plain_data(getattr(state, field.name)))
    state.save_to_json(os.path.join(target, STATE_FILE))
    own = {"built": built, **_batches(trainer), **_lineage(trainer, trial)}
    torch.save(plain_data(own), directory / OWN_FILE)


def weights(model: Any) -> dict[str, torch.Tensor]:
    """A copy of the model's weights; of one with adapters (PEFT) those that are trained."""
    state = model.state_dict()
    if hasattr(model, "peft_config"):
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        state = {name: value for name, value in state.items() if name in trained}
    copies: dict[Any, torch.Tensor] = {}
    found = {}
    for name, value in state.items():
        key = (value.data_ptr(), value.shape, value.stride())  # tied weights stay one
        if key not in copies:
            copies[key] = value.detach().to("cpu", copy=True)
        found[name] = copies[key]
    return found


def save_weights(trainer: Any, state: dict[str, torch.Tensor], directory: Path) -> None:
    """Write weights that `weights` has copied, as the Trainer writes a model."""
    with _no_progress_bars():
        trainer._save(str(directory), state_dict=dict(state))  # which it takes apart
    (directory / _CODE).unlink(missing_ok=True)


def load_model(directory: Path, build: Any, config: Mapping[str, Any]) -> Any:
    """The model in a directory.

    Args:
        directory: written by `save` or `save_weights`.
        build: None, for a model that says of which class of transformers it is; a class with `from_pretrained`; a
            function that makes the model; or the model itself. Of a model with adapters (PEFT), these alone are loaded.
        config: hyper-parameters of the trial.
    """
    if build is None and (directory / CONFIG_NAME).is_file():
        names = json.loads((directory / CONFIG_NAME).read_text(encoding="utf-8")).get("architectures") or []
        build = next((kind for name in names if (kind := getattr(transformers, name, None)) is not None), None)
    if inspect.isclass(build) and (from_pretrained := getattr(build, "from_pretrained", None)) is not None:
        with _no_progress_bars():
            return from_pretrained(directory)
    model = build if isinstance(build, torch.nn.Module) else built_model(build, config, "the Trainer")
    if not (directory / ADAPTER_CONFIG_NAME).is_file():
        load_safetensors(model, directory / SAFE_WEIGHTS_NAME)
    elif isinstance(adapter := getattr(model, "active_adapter", None), str):
        model.load_adapter(str(directory), adapter)
    else:
        raise ArgumentError(
            "load_model",
            [
                "build: expected what makes a model with adapters (PEFT), since the checkpoint has these alone, got a "
                f"{type(model).__name__}. Write load_model(build_model), with get_peft_model(...) in it as in the "
                "training, or load_model(AutoPeftModelForSequenceClassification)."
            ],
        )
    return model.eval()  # as `from_pretrained` does


def check_directory(directory: Path, where: str) -> None:
    """Look at the checkpoint that a trial is to go on from, before the Trainer does.

    Raises:
        ArgumentError: it is not one of the Trainer.
    """
    remedy = "Expected a checkpoint that this callback or the Trainer has saved."
    existing_file(directory, STATE_FILE, where=where, argument="checkpoint", remedy=remedy)


def has_other_batches(trainer: Any, directory: Path) -> bool:
    """Whether the checkpoint in a directory was saved with batches of another size than this training has."""
    stored = _own(directory)
    return any(name in stored and stored[name] != value for name, value in _batches(trainer).items())


def recount(trainer: Any, in_epoch: int) -> tuple[int, int]:
    """Put the count of steps where the checkpoint was by its epoch: it has counted batches of another size.

    Args:
        trainer: with the `state` of the checkpoint.
        in_epoch: number of steps in an epoch of this training.

    Returns:
        Complete epochs, and batches of the next one that are to be passed over, as the Trainer counts them.
    """
    state = trainer.state
    state.global_step = round(state.epoch * in_epoch)
    epochs, steps = divmod(state.global_step, in_epoch)
    return epochs, 0 if trainer.args.ignore_data_skip else steps * trainer.args.gradient_accumulation_steps


def follow_recount(trainer: Any) -> None:
    """Put the schedule there as well, once it is loaded."""
    optimizers, schedulers = parts(trainer)
    for scheduler in schedulers:
        if type(scheduler) is lr_scheduler.LambdaLR:
            scheduler.last_epoch, scheduler._step_count = trainer.state.global_step, trainer.state.global_step + 1
            _follow(scheduler, optimizers[0])


def _follow(scheduler: lr_scheduler.LambdaLR, optimizer: Any) -> None:
    """Set the rates to what the schedule says of its position."""
    groups = optimizer.param_groups
    for group, base, rate in zip(groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True):
        group["lr"] = base * rate(scheduler.last_epoch)
    scheduler._last_lr = [group["lr"] for group in groups]


def load_live(trainer: Any, directory: Path, built: Built, trial: str) -> None:
    """Put a saved state into a training that has just completed the same epoch.

    Args:
        trainer: in `train`.
        directory: written by `save`.
        built: hyper-parameters with which this training's optimizer and scheduler were built.
        trial: id of this trial.

    Raises:
        WarmRestartNeeded: that is not possible; says why. The training is then to be left: its state may be that of
            two trials.
    """
    state = TrainerState.load_from_json(str(directory / STATE_FILE))
    _check_position(trainer.state, state)
    early_stopping = _stateful(trainer)
    _check_weights(trainer.model, directory / SAFE_WEIGHTS_NAME)
    forget_others_best(trainer, state, directory, trial)
    source = str(directory)
    try:
        trainer._load_from_checkpoint(source)
        type(trainer)._load_optimizer_and_scheduler(trainer, source)
        trainer._load_scaler(source)
    except (RuntimeError, ValueError, KeyError) as error:
        reason = f"{error}".partition("\n")[0]
        raise WarmRestartNeeded(f"the donor's state does not fit into this training: {reason}") from error
    for field in dataclasses.fields(state):
        if field.name not in _OWN_FIELDS:
            setattr(trainer.state, field.name, getattr(state, field.name))
    if trainer.args.restore_callback_states_from_checkpoint:
        trainer._load_callback_state()
    else:
        for callback in early_stopping:
            callback.early_stopping_patience_counter = 0  # as in a continuation
    # Sums over what has been trained since the last log, and since the beginning of this call.
    trainer._total_loss_scalar = 0.0
    trainer._globalstep_last_logged = trainer._initial_global_step = trainer.state.global_step
    trainer._initial_num_input_tokens_seen = trainer.state.num_input_tokens_seen
    trainer.current_flos = 0
    if isinstance(loss := getattr(trainer, "_tr_loss", None), torch.Tensor):
        loss.zero_()
    restore_hyperparameters(trainer, directory, built, live=True)
    trainer._load_rng_state(source)


def restore_hyperparameters(trainer: Any, directory: Path, built: Built, *, live: bool) -> None:
    """Put the running script's hyper-parameters back, after the states of optimizer and scheduler have been loaded.

    Raises:
        WarmRestartNeeded: see `_torch_optimizers.restore_built`.
    """
    optimizers, schedulers = parts(trainer)
    stored = _own(directory).get("built") or hyperparameters(optimizers, schedulers)
    if (reason := why_not_rescaled(trainer)) and _bases(stored) != _bases(built):
        if live:
            raise WarmRestartNeeded(reason)
        restore_built(optimizers, schedulers, stored, built, live=False)
        for scheduler in schedulers:
            if type(scheduler) is lr_scheduler.LambdaLR:
                _follow(scheduler, optimizers[0])
        return
    restore_built(optimizers, schedulers, stored, built, live=live)


def forget_others_best(trainer: Any, state: TrainerState, directory: Path, trial: str) -> None:
    """Begin the search for the best model anew where the one found so far is not among this training's checkpoints.

    The Trainer looks for it in its own ``output_dir``, by the number of its step: for the best step of another trial,
    it would find there a model that this trial has given up.

    Args:
        trainer: any.
        state: as saved in the directory; changed in place.
        directory: of the checkpoint.
        trial: id of this trial.
    """
    if state.best_global_step is None and state.best_model_checkpoint is None:
        return  # the Trainer keeps no models; the best metric is that of the training which goes on
    stored, own = _own(directory), _lineage(trainer, trial)
    # From the file: of a state that it goes on from, the Trainer forgets the path alone if nothing is there.
    best = TrainerState.load_from_json(str(directory / STATE_FILE)).best_model_checkpoint
    if "trial" in stored:
        ours = all(stored[name] == value for name, value in own.items())
    else:  # the Trainer's own checkpoint
        ours = best is not None and os.path.dirname(os.path.abspath(best)) == own["output_dir"]
    if not ours or (best is not None and not os.path.isdir(best)):
        state.best_metric = state.best_global_step = state.best_model_checkpoint = None


def why_not_rescaled(trainer: Any) -> str:
    """Why rates of the Trainer's schedule are not proportional to its base, where the schedule does not show it."""
    if "min_lr" in (getattr(trainer.args, "lr_scheduler_kwargs", None) or {}):
        return "the learning rate cannot be changed in a running training: its schedule goes down to a fixed min_lr"
    return ""


def _check_position(now: TrainerState, then: TrainerState) -> None:
    """The Trainer's loops over epochs and over batches go on as they are."""
    if then.global_step != now.global_step or then.epoch != now.epoch:
        raise WarmRestartNeeded(
            f"the Trainer's loop is at step {now.global_step} of epoch {now.epoch:g} and cannot be set to "
            f"step {then.global_step} of epoch {then.epoch:g}"
        )
    if now.epoch != int(now.epoch):
        raise WarmRestartNeeded(
            f"the Trainer is in the middle of an epoch ({now.epoch:g}), where the batches it has drawn ahead "
            "and the random state cannot be made those of a continuation"
        )


def _check_weights(model: Any, file: Path) -> None:
    """Whether all weights fit is known before any is loaded; the Trainer loads those that do and goes on."""
    if not file.is_file():
        return  # in several files, or only those of adapters
    own = model.state_dict()
    with safe_open(file, framework="pt") as weights:
        names = set(weights.keys())
        for name in sorted(names):
            theirs, mine = tuple(weights.get_slice(name).get_shape()), getattr(own.get(name), "shape", None)
            if mine is None or tuple(mine) != theirs:
                found = "it is missing" if mine is None else f"{tuple(mine)}"
                raise WarmRestartNeeded(
                    f"the donor's weights do not fit into this model: {name} is {theirs}, here {found}"
                )
    shared = {own[name].data_ptr() for name in names}
    unsaved = set(getattr(model, "_keys_to_ignore_on_save", None) or ())
    for name, weight in own.items():
        if name in names or name in unsaved or not isinstance(weight, torch.Tensor):
            continue
        if weight.data_ptr() not in shared:
            raise WarmRestartNeeded(f"the donor's weights do not fit into this model: they lack {name}")


def _stateful(trainer: Any) -> list[EarlyStoppingCallback]:
    """Callbacks with a state that a continuation begins anew."""
    if trainer.args.restore_callback_states_from_checkpoint:
        return []
    found = [c for c in trainer.callback_handler.callbacks if isinstance(c, ExportableState)]
    for callback in found:
        if type(callback) is not EarlyStoppingCallback:
            raise WarmRestartNeeded(f"{type(callback).__name__} has a state, which a continuation would begin anew")
    return found


def _own(directory: Path) -> dict[str, Any]:
    path = directory / OWN_FILE
    if not path.is_file():
        return {}  # the Trainer's own checkpoint
    stored: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return stored


def _batches(trainer: Any) -> dict[str, int]:
    names = ("per_device_train_batch_size", "gradient_accumulation_steps")
    return {name: int(getattr(trainer.args, name)) for name in names}


def _lineage(trainer: Any, trial: str) -> dict[str, str]:
    """Whose checkpoint it is."""
    return {"trial": trial, "output_dir": os.path.abspath(trainer.args.output_dir)}


def plain_data(value: Any) -> Any:
    """The value with numbers of NumPy, also those in lists and dicts, as Python's: safe to load."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if type(value) in (dict, OrderedDict, Counter):
        return type(value)({plain_data(key): plain_data(item) for key, item in value.items()})
    if type(value) in (list, tuple):
        return type(value)(map(plain_data, value))
    return value


def _has_numpy(value: Any) -> bool:
    if isinstance(value, (np.generic, np.ndarray)):
        return True
    if isinstance(value, Mapping):
        return any(_has_numpy(key) or _has_numpy(item) for key, item in value.items())
    return isinstance(value, (list, tuple)) and any(map(_has_numpy, value))


def _without_numpy(thing: Any, path: Path) -> None:
    """Write a state anew that holds values of a config as NumPy has drawn them: nobody could load it."""
    if path.is_file() and _has_numpy(state := thing.state_dict()):
        torch.save(plain_data(state), path)


def _bases(built: Built) -> list[list[Any]]:
    return [[group.get("initial_lr", group.get("lr")) for group in one["groups"]] for one in built]


def _as_plain_data(path: Path) -> None:
    """NumPy's state as a list of numbers: the file then holds nothing that a restricted loader must be told of."""
    core = np._core if hasattr(np, "_core") else np.core
    allowed = [core.multiarray._reconstruct, np.ndarray, np.dtype, type(np.dtype(np.uint32))]
    with torch.serialization.safe_globals(allowed):
        states: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    name, keys, *rest = states["numpy"]
    torch.save({**states, "numpy": (name, np.asarray(keys).tolist(), *rest)}, path)


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
