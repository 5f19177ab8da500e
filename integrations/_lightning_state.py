"""The state of a Lightning training: taken as plain data, given back at the start of a fit or inside a running one."""

from __future__ import annotations

import copy
import functools
import inspect
import random
import sys
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tune_plugins.errors import TuneError, WarmRestartNeeded
from tune_plugins.integrations._adapter import arguments_of, built_model
from tune_plugins.integrations._torch_optimizers import Built, restore_built

OURS = "tune_plugins"
"""Key in the checkpoint, beside those of Lightning: whose it is, what the script has built, and the random states."""

# Resuming with one of these needs its `on_fit_start` or `setup`, which a running fit does not enter again.
_SET_UP_ON_START = frozenset(["StochasticWeightAveraging", "WeightAveraging", "BaseFinetuning", "ModelPruning"])

# Keys of an array of NumPy in a checkpoint, which stands there as a tensor and the name of its type.
_ARRAY, _ARRAY_TYPE = "tune_plugins/numpy", "dtype"

_HYPERPARAMETERS = ("hyper_parameters", "datamodule_hyper_parameters")
_DATA: tuple[type, ...] = (
    *(type(None), bool, int, float, complex, str, bytes, bytearray),
    *(torch.Tensor, torch.nn.Parameter, torch.Size, torch.dtype, torch.device),
)
_SETTING = frozenset((type(None), bool, int, float, str))
_GROUPS: tuple[type, ...] = (list, tuple, set)
_MAPPINGS: tuple[type, ...] = (dict, OrderedDict, Counter)


Settings = dict[str, dict[str, Any]]
"""{`state_key` of a callback: {argument: value}} of what the script has given it."""


def take(
    trainer: Any, built: Built, settings: Settings, trial: str, gather: Callable[[Any], list[Any]]
) -> dict[str, Any]:
    """Everything from which the training can go on, as plain data; to be called on all ranks.

    This is what `trainer.save_checkpoint` writes, and `OURS`; an array of NumPy becomes a tensor that `read` knows.
    Hyper-parameters that are no plain data are left out: they are there for `load_from_checkpoint`, which is then to
    be given them.

    Raises:
        TuneError: a module, callback or data module keeps something else than data in its state; names it.
    """
    checkpoint: dict[str, Any] = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
    _keep_data(checkpoint)
    random_states = gather({**random_state(), "loaders": _loader_states(trainer)})
    kept = {
        key: {name: value for name, value in settings[key].items() if name in stored}
        for key, stored in checkpoint.get("callbacks", {}).items()
        if key in settings and isinstance(stored, Mapping)
    }
    checkpoint[OURS] = {"trial": trial, "built": built, "callbacks": kept, "random": random_states}
    if _unfreezes(trainer):
        checkpoint[OURS]["unfrozen"] = [name for name, one in _freezable(trainer) if one.requires_grad]
    return _checked(checkpoint)


def _checked(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint as plain data.

    Raises:
        TuneError: there is something else in it; names it.
    """
    wrong: list[str] = []
    data: dict[str, Any] = _as_data(checkpoint, wrong, "checkpoint")
    if wrong:
        raise TuneError(
            "Checkpoints hold plain data only, so that loading one executes nothing, and this training keeps other "
            f"objects in its state: {'; '.join(wrong)}. Let state_dict() or on_save_checkpoint() return numbers, text, "
            "tensors, lists and dicts, or allow the class by torch.serialization.add_safe_globals."
        )
    return data


def weights(trainer: Any) -> dict[str, Any]:
    """A copy of what there is now, as a checkpoint of Lightning with weights only, for `load_from_checkpoint`."""
    checkpoint: dict[str, Any] = trainer._checkpoint_connector.dump_checkpoint(weights_only=True)
    for callback in trainer.callbacks:
        if "WeightAveraging" in {base.__name__ for base in type(callback).__mro__}:
            # Validated are the averaged weights, which it puts into the place of the others.
            callback.on_save_checkpoint(trainer, trainer.lightning_module, checkpoint)
            for name in ("current_model_state", "averaging_state"):
                checkpoint.pop(name, None)
    _keep_data(checkpoint)
    copied: dict[str, Any] = _copied(checkpoint)
    return copied


def _copied(value: Any) -> Any:
    if _is_tensor(value):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {name: _copied(item) for name, item in value.items()}
    return [_copied(item) for item in value] if type(value) is list else copy.copy(value)


def write_weights(copied: dict[str, Any], path: Path) -> None:
    """Write what `weights` has copied."""
    torch.save(_checked(copied), path)


def load_module(path: Path, build: Any, config: Mapping[str, Any]) -> Any:
    """The module in a checkpoint, in evaluation mode.

    Args:
        path: of the file.
        build: class of the module, a function that makes it, or the module itself.
        config: hyper-parameters of the trial.
    """
    checkpoint = read(path)
    stored = checkpoint.get("hyper_parameters") or {}
    if stored and inspect.isclass(build) and hasattr(build, "load_from_checkpoint"):
        given = {*stored, checkpoint.get("hparams_name")}
        if all(p.name in given or p.default is not inspect.Parameter.empty for p in arguments_of(build)):
            return build.load_from_checkpoint(path, map_location="cpu").eval()
    module = build if isinstance(build, torch.nn.Module) else built_model(build, {**config, **stored}, "Lightning")
    if hasattr(module, "load_from_checkpoint"):  # what that does with a module; not with one that is part of it
        module.configure_model()
        module.on_load_checkpoint(checkpoint)
    module.load_state_dict(checkpoint["state_dict"], strict=getattr(module, "strict_loading", True))
    return module.eval()


def read(path: Path) -> dict[str, Any]:
    """Load a checkpoint file; nothing in it is executed."""
    loaded: dict[str, Any] = _with_arrays(torch.load(path, map_location="cpu", weights_only=True))
    return loaded


def _keep_data(checkpoint: dict[str, Any]) -> None:
    """Leave hyper-parameters out that are no plain data."""
    for key in [key for key in checkpoint if key.endswith("hparams_type")]:
        del checkpoint[key]  # a class
    for key in _HYPERPARAMETERS:
        if key in checkpoint:
            values = {str(name): _as_data(value, [], "", arrays=False) for name, value in dict(checkpoint[key]).items()}
            checkpoint[key] = {name: value for name, value in values.items() if value is not _NO_DATA}


def settings_of(callbacks: Iterable[Any]) -> Settings:
    """What the script has given its callbacks, e.g. `patience`: to be called before any state is loaded."""
    found: Settings = {}
    for callback in callbacks:
        own = vars(callback)
        names = {name for base in type(callback).__mro__ for name in _parameters(base)}
        if kept := {name: own[name] for name in sorted(names & own.keys()) if type(own[name]) in _SETTING}:
            found[callback.state_key] = kept
    return found


def resume(trainer: Any, checkpoint: dict[str, Any], trial: str) -> None:
    """Let the fit that is being set up restore `checkpoint`, as it does with `ckpt_path`.

    Lightning itself restores module, data module, callbacks, precision, loops, optimizers and schedulers, each when
    its turn comes. Whatever the script has passed as `ckpt_path` is where the trial began, and is not loaded again.
    """
    connector = trainer._checkpoint_connector

    def start(*args: Any, **kwargs: Any) -> None:
        del connector.resume_start
        connector._ckpt_path = None
        connector._loaded_checkpoint = checkpoint
        _forget_files(trainer, checkpoint, trial)  # now, when each ModelCheckpoint knows its directory

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
    for name in ("_load_combined_loader_states", "on_run_start"):
        vars(trainer.fit_loop).pop(name, None)
    vars(_val(trainer.fit_loop)).pop("setup_data", None)


def _unfreezes(trainer: Any) -> bool:
    """A callback unfreezes layers on the way, which freezes all of them at the start of a fit, also of a resumed one.

    Lightning restores the groups of the optimizer then, and leaves their parameters frozen.
    """
    return any(base.__name__ == "BaseFinetuning" for callback in trainer.callbacks for base in type(callback).__mro__)


def _freezable(trainer: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
    yield from trainer.lightning_module.named_parameters()


def _unfreeze(trainer: Any, names: set[str]) -> None:
    parameters = [parameter for name, parameter in _freezable(trainer) if name in names and not parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad = True
    for module in trainer.lightning_module.modules():  # as BaseFinetuning.make_trainable does
        own = list(module.parameters(recurse=False))
        if hasattr(module, "track_running_stats") and any(one is other for one in own for other in parameters):
            module.track_running_stats = True


def put_back(
    trainer: Any, checkpoint: Mapping[str, Any], built: Built, settings: Settings, rank: int, *, live: bool
) -> None:
    """After the states are restored: the script's own hyper-parameters, and the random state of this rank."""
    ours = checkpoint.get(OURS, {})
    restore_built(trainer.optimizers, schedulers(trainer), ours.get("built", []), built, live=live)
    _put_settings_back(trainer.callbacks, ours.get("callbacks", {}), settings)
    if not live and _unfreezes(trainer):
        _unfreeze(trainer, set(ours.get("unfrozen", ())))
    if not live and is_complete(checkpoint):
        for _, loop in _loops(trainer.fit_loop, ""):
            loop._restarting = False  # with max_steps, Lightning would go through the complete epoch once more
    states = ours.get("random", [])
    if len(states) == trainer.world_size:
        set_random_state(states[rank])
        loaders = states[rank].get("loaders", {})
        if live:
            for stage, loop in _loader_loops(trainer):
                _set_generators(loop, loaders.get(stage, []))
        else:
            _set_generators_when_made(trainer, loaders)
    if not live and any(
        value.dtype == torch.float64 for value in checkpoint["state_dict"].values() if _is_tensor(value)
    ):
        # Lightning loads a module while it is in single precision, and makes it a double one (64-true) behind that.
        trainer.strategy.load_model_state_dict(checkpoint, strict=trainer.lightning_module.strict_loading)


def load_in_place(trainer: Any, checkpoint: dict[str, Any], trial: str) -> None:
    """Make the running fit, which has just completed an epoch, go on from `checkpoint`, saved after a complete one.

    Raises:
        WarmRestartNeeded: that cannot be done here; says why.
    """
    _refuse_in_place(trainer, checkpoint)
    _forget_files(trainer, checkpoint, trial)
    connector = trainer._checkpoint_connector
    connector._loaded_checkpoint = checkpoint
    try:
        connector.restore_datamodule()
        connector.restore_model()
        connector.restore_callbacks()
        connector.restore_precision_plugin_state()
        connector.restore_optimizers_and_schedulers()
    except Exception as error:  # of whatever kind: code of the script loads states of its own
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise WarmRestartNeeded(f"the donor's state does not fit: {reason}") from error
    finally:
        connector._loaded_checkpoint = {}
    _load_counters(trainer, checkpoint["loops"]["fit_loop"])
    trainer.lightning_module.zero_grad()
    trainer._logger_connector.reset_metrics()  # those of the training that is given up
    trainer.should_stop = False  # as at the start of a fit
    for callback in _model_checkpoints(trainer):
        callback._last_global_step_saved = 0  # the count of steps may come by the same number again
        callback.current_score, callback._last_checkpoint_saved = None, ""  # with save_last: nothing saved as yet
    for callback in trainer.callbacks:
        if "Timer" in {
            base.__name__ for base in type(callback).__mro__
        }:  # counts from the donor's time on, and ends the training if that is used up
            callback.on_train_start(trainer, trainer.lightning_module)
            # Lightning asks rank 0; what was loaded is the same on all of them.
            trainer.should_stop |= callback._duration is not None and callback._offset >= callback._duration


def save_if_none(trainer: Any) -> None:
    """At the end of a fit that went on from another trial's state: every `ModelCheckpoint` has a best file.

    It has none if nothing was saved since, e.g. as no epoch was left: the state at the end is the best one known.
    """
    for callback in _model_checkpoints(trainer):
        if not callback.best_model_path and callback.save_top_k != 0:
            callback._save_none_monitor_checkpoint(trainer, callback._monitor_candidates(trainer))


def saved_by_another(checkpoint: Mapping[str, Any], trial: str) -> bool:
    """Whether the state is surely that of another trial; ids are empty outside of a tuning run."""
    saved_by = checkpoint.get(OURS, {}).get("trial", "")
    return bool(saved_by and trial and saved_by != trial)


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
    if trainer.reload_dataloaders_every_n_epochs:
        raise WarmRestartNeeded("reload_dataloaders_every_n_epochs counts from the start of a fit")
    for _, loop in _loader_loops(trainer):
        for loader in _loaders(loop):
            if getattr(loader, "persistent_workers", False):
                raise WarmRestartNeeded(
                    "the workers of a data loader with persistent_workers=True have a random state of their own"
                )
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


def _model_checkpoints(trainer: Any) -> list[Any]:
    # By name: of `lightning` or of `pytorch_lightning`.
    return [c for c in trainer.callbacks if "ModelCheckpoint" in {base.__name__ for base in type(c).__mro__}]


def _forget_files(trainer: Any, checkpoint: dict[str, Any], trial: str) -> None:
    """In a state of another trial, let the memory of each `ModelCheckpoint` be that of a new one.

    The files that it names are the other trial's, which may delete them at any time. A trial that resumes its own
    state keeps what Lightning keeps. Where it is not known whose state it is, another directory means another trial.
    """
    known = bool(trial and checkpoint.get(OURS, {}).get("trial"))
    states = checkpoint.get("callbacks", {})
    for callback in _model_checkpoints(trainer):
        stored = states.get(callback.state_key)
        if not isinstance(stored, Mapping):
            continue
        elsewhere = stored.get("dirpath", callback.dirpath) != callback.dirpath
        if saved_by_another(checkpoint, trial) if known else elsewhere:
            states[callback.state_key] = {
                **stored,
                "dirpath": callback.dirpath,  # else Lightning warns, and takes over part of it
                "best_model_score": None,
                "best_model_path": "",
                "best_k_models": {},
                "kth_best_model_path": "",
                "kth_value": torch.tensor(torch.inf if callback.mode == "min" else -torch.inf),
                "last_model_path": "",
            }


def _load_counters(trainer: Any, state: Mapping[str, Any]) -> None:
    # Not `load_state_dict`, which also marks the loops as being restarted.
    for prefix, part in _loops(trainer.fit_loop, ""):
        part._load_from_state_dict(state, prefix)


def _val(loop: Any) -> Any:
    return loop.epoch_loop.val_loop


def _loops(loop: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    yield prefix, loop
    for name, value in vars(loop).items():
        if hasattr(value, "_load_from_state_dict") and hasattr(value, "restarting"):
            yield from _loops(value, f"{prefix}{name}.")


def _parameters(kind: type) -> Iterable[str]:
    try:
        return inspect.signature(kind.__init__).parameters if "__init__" in vars(kind) else ()  # type: ignore[misc]
    except ValueError:  # of a class that is not written in Python
        return ()


def _put_settings_back(callbacks: Iterable[Any], stored: Settings, own: Settings) -> None:
    """Where the run that saved the state had given a callback other arguments, those of the script hold."""
    for callback in callbacks:
        theirs = stored.get(callback.state_key, {})
        for name, value in own.get(callback.state_key, {}).items():
            if name in theirs and theirs[name] != value:
                setattr(callback, name, value)


# Data loaders and samplers with a generator of their own (`DataLoader(generator=...)`) go on where it was.


def _loader_loops(trainer: Any) -> tuple[tuple[str, Any], ...]:
    return ("train", trainer.fit_loop), ("val", _val(trainer.fit_loop))


def _loaders(loop: Any) -> list[Any]:
    return [] if loop._combined_loader is None else list(loop._combined_loader.flattened)


def _generators(loader: Any) -> list[torch.Generator]:
    """Of a loader, its samplers, and the samplers inside these; each once."""
    owners = [loader, *(getattr(loader, name, None) for name in ("sampler", "batch_sampler"))]
    for owner in owners:
        inner = getattr(owner, "sampler", None)
        if inner is not None and not any(inner is known for known in owners):
            owners.append(inner)
    found = {id(value): value for owner in owners for value in getattr(owner, "__dict__", {}).values()}
    return [value for value in found.values() if isinstance(value, torch.Generator)]


def _loader_states(trainer: Any) -> dict[str, list[list[Any]]]:
    if trainer.reload_dataloaders_every_n_epochs:
        return {}  # they are made anew, with all that is in them
    return {
        stage: [[generator.get_state() for generator in _generators(loader)] for loader in _loaders(loop)]
        for stage, loop in _loader_loops(trainer)
    }


def _set_generators(loop: Any, states: Sequence[Sequence[Any]]) -> None:
    for loader, given in zip(_loaders(loop), states, strict=False):
        for generator, state in zip(_generators(loader), given, strict=False):
            generator.set_state(state)


def _set_generators_when_made(trainer: Any, states: Mapping[str, list[list[Any]]]) -> None:
    """The loaders come after all states are restored; the first iterator of a training draws as soon as it is there."""
    fit, val = trainer.fit_loop, _val(trainer.fit_loop)
    for_val = functools.partial(_set_generators, val, states.get("val", []))

    def behind_the_sanity_check() -> None:
        if val._combined_loader is None:
            _once_after(val, "setup_data", for_val)
        else:
            for_val()

    _once_after(fit, "_load_combined_loader_states", lambda: _set_generators(fit, states.get("train", [])))
    _once_after(fit, "on_run_start", behind_the_sanity_check)


def _once_after(loop: Any, method: str, call: Callable[[], None]) -> None:
    original = getattr(loop, method)

    def both() -> None:
        vars(loop).pop(method, None)
        original()
        call()

    setattr(loop, method, both)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _with_arrays(value: Any) -> Any:
    """The tensors that stand for arrays of NumPy as such again; containers are changed where they are."""
    if isinstance(value, dict):
        if value.keys() == {_ARRAY, _ARRAY_TYPE}:
            array = value[_ARRAY].numpy()
            return array.view(value[_ARRAY_TYPE]).reshape(array.shape[:-1])
        for key, item in value.items():
            value[key] = _with_arrays(item)
    elif isinstance(value, list):
        value[:] = map(_with_arrays, value)
    elif type(value) is tuple:
        return tuple(map(_with_arrays, value))
    return value


def _as_tensor(array: Any) -> dict[str, Any] | None:
    """An array of numbers as a tensor of its bits, which keeps every type; None for any other array."""
    if array.dtype.kind not in "biufc" or array.dtype.hasobject:
        return None
    bits = array.copy().reshape(*array.shape, 1).view("uint8")
    return {_ARRAY: torch.from_numpy(bits), _ARRAY_TYPE: array.dtype.str}


_NO_DATA: Any = object()


def _as_data(value: Any, wrong: list[str], where: str, *, arrays: bool = True) -> Any:
    """A copy of containers in which all is data; notes in `wrong` what is not, and returns `_NO_DATA` for it."""
    kind = type(value)
    if kind in _DATA:
        return value
    if kind in _MAPPINGS or kind is defaultdict:
        items = {
            _as_data(key, wrong, f"{where}, a key"): _as_data(item, wrong, f"{where}[{key!r}]", arrays=arrays)
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
        parts = [_as_data(item, wrong, f"{where}[{index}]", arrays=arrays) for index, item in enumerate(value)]
        return _NO_DATA if any(part is _NO_DATA for part in parts) else kind(parts)
    if isinstance(value, torch.Tensor) and kind.__module__.startswith("torch."):
        return value.detach()
    if isinstance(value, Path):
        return str(value)
    if kind.__module__ == "numpy":
        if kind.__name__ == "ndarray":
            if arrays and (tagged := _as_tensor(value)) is not None:
                return tagged
        elif getattr(value, "shape", None) == () and type(value.item()) in _DATA:
            return value.item()
    if kind in torch.serialization.get_safe_globals():
        return value
    if isinstance(value, Mapping):  # Lightning's own mappings of hyper-parameters, with attributes
        return _as_data(dict(value), wrong, where, arrays=arrays)
    wrong.append(f"{where} is a {kind.__module__}.{kind.__qualname__}")
    return _NO_DATA
