"""Which model a checkpoint holds, and how it is loaded: what an adapter notes of that beside its files.

A training often has its best state before its last one. An adapter keeps it at hand and leaves it in each checkpoint,
beside the state to go on from: as a folder with the weights, or, where a model is a sum of rounds, as the number of
rounds that make it up.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from tune_plugins.errors import TuneError

CARD = ".model.json"
"""In a checkpoint: its `ModelCard`."""
BEST = "best"
"""In a checkpoint: the folder of the best model, where that is a copy."""

_FORMAT = 1
_ADAPTERS = "tune_plugins.integrations"

Build = Callable[..., Any]
"""Builds the model whose weights are to be loaded: a class, or a function, or the model itself."""


class ModelReader(Protocol):
    """The half of an adapter that reads what the other one has written; see `tune_plugins.integrations.Adapter`."""

    @classmethod
    def read_model(cls, directory: Path, filename: str, build: Any, config: Mapping[str, Any]) -> Any:
        """The model in a directory."""
        ...

    @classmethod
    def cut_model(cls, directory: Path, filename: str, rounds: int, target: Path) -> None:
        """Write into `target` the model of a directory with its first rounds only."""
        ...


@dataclass(frozen=True, slots=True)
class BestModel:
    """The best state that a training had up to a checkpoint of it.

    Attributes:
        metric, mode: what "best" goes by: a metric, and "min" or "max".
        value: of the metric in that state.
        trial_id: of the trial that trained.
        rounds: the model of the checkpoint is it, cut to so many rounds.
        folder: holds it, inside the checkpoint; with neither, the checkpoint itself is it.
    """

    metric: str
    mode: str
    value: float
    trial_id: str = ""
    rounds: int | None = None
    folder: str | None = None


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What stands in `CARD`.

    Attributes:
        adapter: whose files these are: module and class below `tune_plugins.integrations`, else the class's full name.
        filename: of the model, where that has one file.
        best: None: not known, or lost.
    """

    adapter: str
    filename: str = ""
    best: BestModel | None = None

    @classmethod
    def read(cls, directory: str | os.PathLike[str]) -> ModelCard | None:
        """Read it; None where there is none.

        Raises:
            TuneError: it cannot be read, or was written by a later version of this package.
        """
        path = Path(directory, CARD)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version = content.pop("format")
            if version == _FORMAT:
                best = content.pop("best")
                return cls(**content, best=None if best is None else BestModel(**best))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise TuneError(f"{path} cannot be read ({type(error).__name__}: {error}).") from error
        raise TuneError(
            f"{path} has the format {version!r}, this version of tune-plugins reads {_FORMAT}. Update tune-plugins."
        )

    def write(self, directory: Path) -> None:
        """Write it into a directory."""
        content = json.dumps({"format": _FORMAT, **asdict(self)})
        Path(directory, CARD).write_text(content, encoding="utf-8")

    def reader(self, directory: str | os.PathLike[str]) -> ModelReader:
        """The class that reads the files.

        Raises:
            TuneError: it is none of this package, or its framework is not installed.
        """
        module, _, name = self.adapter.partition(".")
        if re.fullmatch(r"[a-z]\w*", module) and name.isidentifier():
            try:
                return cast(ModelReader, getattr(import_module(f"{_ADAPTERS}.{module}"), name))
            except AttributeError:
                pass
            except ModuleNotFoundError as error:
                if error.name != f"{_ADAPTERS}.{module}":
                    raise
        raise TuneError(
            f"The checkpoint {os.fspath(directory)} was saved by {self.adapter}, which is no adapter of tune-plugins. "
            f"Call get_model(checkpoint) of that class."
        )


def load_model(directory: str | os.PathLike[str], build: Build | None, config: Mapping[str, Any]) -> Any:
    """The model in a checkpoint; see `Checkpoint.load_model`."""
    card = ModelCard.read(directory)
    if card is None:
        there = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
        files = ", ".join(name for name in there if not name.startswith(".")) or "no files"
        raise TuneError(
            f"The checkpoint {os.fspath(directory)} was not saved by an adapter of tune-plugins, so how its model is "
            f"loaded is not known here. It has {files}: load them as they were saved."
        )
    return card.reader(directory).read_model(Path(directory), card.filename, build, config)


def cut(directory: str | os.PathLike[str], rounds: int, target: Path) -> None:
    """Write into `target` the model of a checkpoint, cut to its first rounds."""
    card = ModelCard.read(directory)
    assert card is not None
    card.reader(directory).cut_model(Path(directory), card.filename, rounds, target)
    ModelCard(card.adapter, card.filename).write(target)


__all__ = ["BEST", "CARD", "BestModel", "Build", "ModelCard", "cut", "load_model"]
