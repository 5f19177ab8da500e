"""State of a Keras training as files: Keras' own weights file, and what that lacks as JSON.

Keras keeps the weights and the variables of the optimizers in ``*.weights.h5``. The number of epochs, the states of
dropout and other seed generators, and the random generators that shuffle the data are in no file of Keras:
they are in ``training_state.json`` beside it, so that a continuation trains what an uninterrupted training does.
"""

from __future__ import annotations

import json
import os
import random
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tune_plugins.errors import TuneError
from tune_plugins.integrations import _keras_optimizer as hyper

STATE_FILE = "training_state.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class SavedState:
    """What stands in `STATE_FILE`.

    Attributes:
        epoch: epochs that are complete.
        batch: batches of the next epoch that are trained as well; 0 at the end of an epoch.
        base_learning_rates: as the script built its optimizers, one each; None where a schedule computes it.
        learning_rates: in use when the state was saved.
        seed_generators: state of each seed generator in the model.
        generators: states of the process's random generators, by library.
        optimizer_variables: how many variables each optimizer has.
        learning_rate_assigned: the script, or a callback of its own, has set the learning rate in this training.
    """

    epoch: int
    batch: int
    base_learning_rates: list[float | None]
    learning_rates: list[float | None]
    seed_generators: list[list[int]]
    generators: dict[str, Any]
    optimizer_variables: list[int] = field(default_factory=list)
    learning_rate_assigned: bool = False

    @classmethod
    def read(cls, directory: str | os.PathLike[str]) -> SavedState | None:
        """Read it; None where the checkpoint holds weights alone.

        Raises:
            TuneError: it was written by a later version of this package.
        """
        try:
            content = json.loads(Path(directory, STATE_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if (version := content.pop("format", None)) != FORMAT_VERSION:
            raise TuneError(
                f"{Path(directory, STATE_FILE)} has the format {version!r}, this version of tune-plugins reads "
                f"{FORMAT_VERSION}. Update tune-plugins, or delete the file to load the weights alone."
            )
        return cls(**content)


def save(
    model: Any,
    directory: Path,
    filename: str,
    *,
    epoch: int,
    batch: int,
    base_learning_rates: list[float | None],
    learning_rate_assigned: bool,
    loader: Any,
) -> None:
    """Write weights and state into `directory`; see `SavedState`.

    Args:
        model: built.
        directory: exists.
        filename: of the weights.
        epoch: epochs that are complete.
        batch: batches of the next epoch that are trained as well.
        base_learning_rates: as the script built its optimizers.
        learning_rate_assigned: the script sets the learning rate in the course of training.
        loader: the DataLoader of torch that the data come from, or None.
    """
    save_weights(model, os.path.join(directory, filename))
    content = {
        "format": FORMAT_VERSION,
        "epoch": epoch,
        "batch": batch,
        "base_learning_rates": base_learning_rates,
        "learning_rates": hyper.learning_rates(model),
        "optimizer_variables": hyper.numbers_of_variables(model),
        "seed_generators": [keras.ops.convert_to_numpy(v).tolist() for v in _seed_variables(model)],
        "generators": {**_generators(), "loader": [_state_of(each) for each in generators_of(loader)]},
        "learning_rate_assigned": learning_rate_assigned,
    }
    Path(directory, STATE_FILE).write_text(json.dumps(content), encoding="utf-8")


def save_weights(model: Any, path: str) -> None:
    """Write a weights file."""
    _remember_attributes_to_skip()
    model.save_weights(path)


def unbuilt(model: Any) -> list[str]:
    """Names of the layers that have yet to make their weights; Keras would leave them out when it loads a file.

    A model may call itself built nevertheless: `build` of a class derived from `Model` builds none of its layers.
    """
    import keras

    layers = [layer for layer in model._flatten_layers() if not layer.built]
    nothing_to_build = keras.layers.Layer.build
    return [layer.name for layer in layers if layer is model or type(layer).build is not nothing_to_build]


def load_weights(model: Any, path: str) -> None:
    """Load a weights file; the optimizers' variables too, if they are in it and fit.

    An optimizer that its script builds later, e.g. with the first step of a `train_step`, gets them then.

    Args:
        model: built.
        path: file that ends in ``.weights.h5``.
    """
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and not optimizer.built:
        optimizer.build(model.trainable_variables)
    unbuilt = [_Unbuilt(each) for each in hyper.with_wrappers(model) if not each.built]
    _remember_attributes_to_skip()
    try:
        model.load_weights(path)
    finally:
        for each in unbuilt:
            each.end_of_loading()


def _remember_attributes_to_skip() -> None:
    """Save a quarter of the time of saving and loading, in which Keras makes layers, metrics and optimizers in vain.

    For each object of a model it asks a new one of the same kind for the attributes that have nothing to save: it looks
    them up under one name and remembers them under another.
    """
    from keras.src.backend.common import global_state
    from keras.src.saving import saving_lib

    for kind in ("Functional", "Layer", "Loss", "Metric", "Operation", "Optimizer", "Sequential"):
        name = f"saving_attr_skiplist_{kind}"
        if hasattr(saving_lib, "get_attr_skipset") and global_state.get_global_attribute(name) is None:
            with suppress(ValueError):  # earlier versions know fewer kinds
                global_state.set_global_attribute(name, saving_lib.get_attr_skipset(kind))


class _Unbuilt:
    """Variables of an optimizer that is not built; Keras would skip them.

    They are kept until the optimizer is built, and saved as they are if a checkpoint is written before that.
    """

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.kept: dict[str, Any] = {}
        optimizer.load_own_variables = self.load_own_variables  # Keras calls it with the place in its file

    def load_own_variables(self, store: Any) -> None:
        del self.optimizer.load_own_variables
        if len(store.keys()) == len(self.optimizer.variables):
            self.optimizer.load_own_variables(store)
        else:
            self.kept = {key: np.array(store[key]) for key in store.keys()}  # noqa: SIM118 - of Keras, no mapping

    def end_of_loading(self) -> None:
        vars(self.optimizer).pop("load_own_variables", None)
        if self.kept:
            self.optimizer.build, self.optimizer.save_own_variables = self.build, self.save_own_variables

    def save_own_variables(self, store: Any) -> None:
        for key, value in self.kept.items():
            store[key] = value

    def build(self, *args: Any, **options: Any) -> Any:
        optimizer = self.optimizer
        del optimizer.build, optimizer.save_own_variables
        built = optimizer.build(*args, **options)
        in_use = hyper.learning_rate(optimizer)
        with _outside_of_graphs(), hyper.ours():
            optimizer.load_own_variables(self.kept)
            if in_use is not None:
                optimizer.learning_rate = in_use  # that of the running script, not of the one that saved
        return built


def _outside_of_graphs() -> AbstractContextManager[Any]:
    """Where an assignment happens now, and not with each step of a function that TensorFlow is tracing."""
    if keras.backend.backend() == "tensorflow":
        scope: AbstractContextManager[Any] = sys.modules["tensorflow"].init_scope()
        return scope
    return nullcontext()


def load_randomness(model: Any, state: SavedState, loader: Any) -> None:
    """Put the seed generators of the model, the process's random generators and those of the data where they were.

    Args:
        model: built.
        state: to take them from.
        loader: the DataLoader of torch that the data come from, or None.

    Raises:
        TuneError: the model has more or fewer seed generators.
    """
    variables = _seed_variables(model)
    if len(variables) != len(state.seed_generators):
        raise TuneError(
            f"The checkpoint was saved by a model with {len(state.seed_generators)} seed generators (dropout and the "
            f"like), this one has {len(variables)}. Build the same model as the trial that saved it."
        )
    for variable, value in zip(variables, state.seed_generators, strict=True):
        variable.assign(np.asarray(value, dtype=keras.backend.standardize_dtype(variable.dtype)))
    _set_generators(state.generators)
    generators, states = generators_of(loader), state.generators.get("loader", [])
    if len(generators) == len(states):
        for generator, content in zip(generators, states, strict=True):
            generator.set_state(_bytes(content))


def generators_of(loader: Any) -> list[Any]:
    """Random generators that a DataLoader of torch was given, or one of its samplers."""
    batches = getattr(loader, "batch_sampler", None)
    holders = (loader, getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None))
    found = (getattr(holder, "generator", None) for holder in holders)
    return list({id(generator): generator for generator in found if hasattr(generator, "get_state")}.values())


def _seed_variables(model: Any) -> list[Any]:
    return [v for v in model.variables if v.path.rpartition("/")[2] == "seed_generator_state"]


def _generators() -> dict[str, Any]:
    """NumPy shuffles arrays for JAX, torch for torch, Python's `random` a PyDataset."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    states: dict[str, Any] = {
        "python": [version, list(words), gauss],
        "numpy": [kind, np.asarray(keys).tolist(), int(position), int(has_gauss), float(cached)],
    }
    if "torch" in sys.modules:
        states["torch"] = bytes(sys.modules["torch"].get_rng_state().numpy()).hex()
    if (generator := _global_seed_generator()) is not None:
        states["keras"] = keras.ops.convert_to_numpy(generator.state).tolist()
    return states


def _set_generators(states: dict[str, Any]) -> None:
    if "keras" in states:
        generator = _global_seed_generator(make=True)
        generator.state.assign(
            np.asarray(states["keras"], dtype=keras.backend.standardize_dtype(generator.state.dtype))
        )
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((kind, np.asarray(keys, dtype=np.uint32), position, has_gauss, cached))
    if "torch" in states and "torch" in sys.modules:
        sys.modules["torch"].set_rng_state(_bytes(states["torch"]))


def _state_of(generator: Any) -> str:
    return bytes(generator.get_state().numpy()).hex()


def _bytes(state: str) -> Any:
    torch = sys.modules["torch"]
    return torch.frombuffer(bytearray.fromhex(state), dtype=torch.uint8)


def _global_seed_generator(*, make: bool = False) -> Any:
    """What random operations without a seed draw from; Keras makes it on first use and has no public name for it."""
    from keras.src.backend.common import global_state
    from keras.src.random import seed_generator

    if make:
        return seed_generator.global_seed_generator()
    # Earlier versions, such as 3.8, have no constant for this name.
    name = getattr(seed_generator, "GLOBAL_SEED_GENERATOR", "global_seed_generator")
    return global_state.get_global_attribute(name)
