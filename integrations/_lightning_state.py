"""The state of a Lightning training: taken as plain data, given back at the start of a fit or inside a running one."""

from __future__ import annotations

import random
import sys
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from tune_plugins.errors import TuneError, WarmRestartNeeded
from tune_plugins.integrations._torch_optimizers import Built, restore_built

OURS = "tune_plugins"
"""Key in the checkpoint, beside those of Lightning: what the script has built, and the random state of each rank."""

# Resuming with one of these needs its `on_fit_start` or `setup`, which a running fit does not enter again.
_SET_UP_ON_START = frozenset(["StochasticWeightAveraging", "WeightAveraging", "BaseFinetuning", "ModelPruning"])

_HYPERPARAMETERS = ("hyper_parameters", "datamodule_hyper_parameters")
_DATA: tuple[type, ...] = (
    *(type(None), bool, int, float, complex, str, bytes, bytearray),
    *(torch.Tensor, torch.nn.Parameter, torch.Size, torch.dtype, torch.device),
)
_GROUPS: tuple[type, ...] = (list, tuple, set)
_MAPPINGS: tuple[type, ...] = (dict, OrderedDict, Counter)


def take(trainer: Any, built: Built, gather: Callable[[Any], list[Any]]) -> dict[str, Any]:
    """Everything from which the training can go on, as plain data; to be called on all ranks.

    This is what `trainer.save_checkpoint` writes, and `OURS`. Hyper-parameters that are no plain data are left out:
    they are there for `load_from_checkpoint`, which is then to be given them.

    Raises:
        TuneError: a module, callback or data module keeps something else than data in its state; names it.
    """
    checkpoint: dict[str, Any] = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
    for key in [key for key in checkpoint if key.endswith("hparams_type")]:
        del checkpoint[key]  # a class
    for key in _HYPERPARAMETERS:
        if key in checkpoint:
            values = {str(name): _as_data(value, [], "") for name, value in dict(checkpoint[key]).items()}
            checkpoint[key] = {name: value for name, value in values.items() if value is not _NO_DATA}
    checkpoint[OURS] = {"built": built, "random": gather(random_state())}
    wrong: list[str] = []
    data: dict[str, Any] = _as_data(checkpoint, wrong, "checkpoint")
    if wrong:
        raise TuneError(
            "Checkpoints hold plain data only, so that loading one executes nothing, and this training keeps other "
            f"objects in its state: {'; '.join(wrong)}. Let state_dict() or on_save_checkpoint() return numbers, text, "
            "tensors, lists and dicts, or allow the class by torch.serialization.add_safe_globals."
        )
    return data


def read(path: Path) -> dict[str, Any]:
    """Load a checkpoint file; nothing in it is executed."""
    loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return loaded


def resume(trainer: Any, checkpoint: dict[str, Any]) -> None:
    """Let the fit that is being set up restore `checkpoint`, as it does with `ckpt_path`.

    Lightning itself restores module, data module, callbacks, precision, loops, optimizers and schedulers, each when
    its turn comes. Whatever the script has passed as `ckpt_path` is where the trial began, and is not loaded again.
    """
    connector = trainer._checkpoint_connector

    def start(*args: Any, **kwargs: Any) -> None:
        del connector.resume_start
        connector._ckpt_path = None
        connector._loaded_checkpoint = checkpoint

    connector.resume_start = start


def follow_resume(trainer: Any, checkpoint: dict[str, Any], then: Callable[[], None]) -> None:
    """In `on_fit_start`, before optimizers are restored: call `then` when all is."""
    connector = trainer._checkpoint_connector
    connector._loaded_checkpoint = checkpoint  # a search for the learning rate, which comes first, restores another one
    resume_end = connector.resume_end

    def end() -> None:
        del connector.resume_end
        resume_end()
        then()

    connector.resume_end = end


def forget_resume(trainer: Any) -> None:
    """Undo `resume` where the fit did not come that far."""
    for name in ("resume_start", "resume_end"):
        vars(trainer._checkpoint_connector).pop(name, None)


def put_back(trainer: Any, checkpoint: Mapping[str, Any], built: Built, rank: int, *, live: bool) -> None:
    """After the states are restored: the script's own hyper-parameters, and the random state of this rank."""
    ours = checkpoint.get(OURS, {})
    restore_built(trainer.optimizers, schedulers(trainer), ours.get("built", []), built, live=live)
    if not live and is_complete(checkpoint):
        for _, loop in _loops(trainer.fit_loop, ""):
            loop._restarting = False  # with max_steps, Lightning would go through the complete epoch once more
    states = ours.get("random", [])
    if len(states) == trainer.world_size:
        set_random_state(states[rank])


def load_in_place(trainer: Any, checkpoint: dict[str, Any]) -> None:
    """Make the running fit, which has just completed an epoch, go on from `checkpoint`, saved after a complete one.

    Raises:
        WarmRestartNeeded: that cannot be done here; says why.
    """
    _refuse_in_place(trainer, checkpoint)
    connector = trainer._checkpoint_connector
    connector._loaded_checkpoint = checkpoint
    try:
        connector.restore_datamodule()
        connector.restore_model()
        connector.restore_callbacks()
        connector.restore_precision_plugin_state()
        connector.restore_optimizers_and_schedulers()
    except (RuntimeError, ValueError, KeyError) as error:
        raise WarmRestartNeeded(f"the donor's state does not fit: {str(error).splitlines()[0]}") from error
    finally:
        connector._loaded_checkpoint = {}
    _load_counters(trainer, checkpoint["loops"]["fit_loop"])
    trainer.lightning_module.zero_grad()
    trainer._logger_connector.reset_metrics()  # those of the training that is given up


def is_complete(checkpoint: Mapping[str, Any]) -> bool:
    """Whether it was saved between two epochs."""
    progress = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
    return len({progress[name] for name in ("ready", "started", "processed", "completed")}) == 1


def schedulers(trainer: Any) -> list[Any]:
    """All learning rate schedulers of the training."""
    return [config.scheduler for config in trainer.lr_scheduler_configs]


def random_state() -> dict[str, Any]:
    """The random generators of this process, as plain data."""
    version, words, gauss = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": {"version": version, "words": torch.tensor(words), "gauss": gauss},
    }
    if (numpy := sys.modules.get("numpy")) is not None:
        name, keys, position, has_gauss, cached = numpy.random.get_state()
        words = torch.from_numpy(keys.astype("int64"))
        state["numpy"] = {"name": name, "words": words, "rest": [int(position), int(has_gauss), float(cached)]}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Put the random generators of this process to a state that `random_state` returned."""
    torch.set_rng_state(state["torch"])
    python = state["python"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    numpy = sys.modules.get("numpy")
    if numpy is not None and "numpy" in state:
        given = state["numpy"]
        numpy.random.set_state((given["name"], given["words"].numpy().astype("uint32"), *given["rest"]))
    if "cuda" in state and torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def _refuse_in_place(trainer: Any, checkpoint: Mapping[str, Any]) -> None:
    if not is_complete(checkpoint):
        raise WarmRestartNeeded("the donor's state was saved inside an epoch")
    if checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader"):
        raise WarmRestartNeeded("the data loader keeps a position of its own, which is restored at the start of a fit")
    for callback in trainer.callbacks:
        if found := _SET_UP_ON_START.intersection(base.__name__ for base in type(callback).__mro__):
            raise WarmRestartNeeded(f"{sorted(found)[0]} restores its state at the start of a fit only")
    mine, theirs = trainer.strategy.lightning_module_state_dict(), checkpoint["state_dict"]
    if other := sorted(mine.keys() ^ theirs.keys()):
        raise WarmRestartNeeded(f"the donor's module has other parameters or buffers: {other[0]!r} is not in both")
    for name, value in mine.items():
        if isinstance(value, torch.Tensor) and value.shape != theirs[name].shape:
            raise WarmRestartNeeded(
                f"the donor's module has another shape: {name!r} is {tuple(theirs[name].shape)} there "
                f"and {tuple(value.shape)} here"
            )
    if len(trainer.optimizers) != len(checkpoint["optimizer_states"]):
        raise WarmRestartNeeded("the donor's training has another number of optimizers")
    if len(trainer.lr_scheduler_configs) != len(checkpoint["lr_schedulers"]):
        raise WarmRestartNeeded("the donor's training has another number of learning rate schedulers")


def _load_counters(trainer: Any, state: Mapping[str, Any]) -> None:
    loop = trainer.fit_loop
    before = trainer.current_epoch
    # Not `load_state_dict`, which also marks the loops as being restarted.
    for prefix, part in _loops(loop, ""):
        part._load_from_state_dict(state, prefix)
    if trainer.current_epoch != before:
        for reloading, name in ((loop, "_last_train_dl_reload_epoch"), (_val(loop), "_last_val_dl_reload_epoch")):
            if hasattr(reloading, name):
                setattr(reloading, name, float("-inf"))  # with reload_dataloaders_every_n_epochs: as a new fit does


def _val(loop: Any) -> Any:
    return loop.epoch_loop.val_loop


def _loops(loop: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    yield prefix, loop
    for name, value in vars(loop).items():
        if hasattr(value, "_load_from_state_dict") and hasattr(value, "restarting"):
            yield from _loops(value, f"{prefix}{name}.")


_NO_DATA: Any = object()


def _as_data(value: Any, wrong: list[str], where: str) -> Any:
    """A copy of containers in which all is data; notes in `wrong` what is not, and returns `_NO_DATA` for it."""
    kind = type(value)
    if kind in _DATA:
        return value
    if kind in _MAPPINGS or kind is defaultdict:
        items = {
            _as_data(key, wrong, f"{where}, a key"): _as_data(item, wrong, f"{where}[{key!r}]")
            for key, item in value.items()
        }
        if any(item is _NO_DATA for pair in items.items() for item in pair):
            return _NO_DATA
        if kind in (dict, defaultdict):
            return items
        copy = kind(items)
        vars(copy).update(vars(value))  # state_dict() keeps the versions of its modules there
        return copy
    if kind in _GROUPS:
        parts = [_as_data(item, wrong, f"{where}[{index}]") for index, item in enumerate(value)]
        return _NO_DATA if any(part is _NO_DATA for part in parts) else kind(parts)
    if isinstance(value, torch.Tensor) and kind.__module__.startswith("torch."):
        return value.detach()
    if isinstance(value, Path):
        return str(value)
    if kind.__module__ == "numpy" and getattr(value, "shape", None) == () and hasattr(value, "item"):
        return value.item()
    if kind in torch.serialization.get_safe_globals():
        return value
    if isinstance(value, Mapping):  # Lightning's own mappings of hyper-parameters, with attributes
        return _as_data(dict(value), wrong, where)
    wrong.append(f"{where} is a {kind.__module__}.{kind.__qualname__}")
    return _NO_DATA
