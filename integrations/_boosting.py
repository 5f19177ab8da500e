"""What the adapters of XGBoost and LightGBM share: both train by one call, in rounds that callbacks watch."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from tune_plugins import session as tune_session
from tune_plugins.errors import ArgumentError, Mistakes, WarmRestartNeeded
from tune_plugins.integrations._metrics import check_metrics
from tune_plugins.space.nested import flatten

Postprocess = Callable[[dict[str, float]], Mapping[str, Any]]
"""Gets the metrics of a round and returns what to report."""


@dataclass(slots=True)
class SessionUse:
    """What the fits of one trial have made of its session so far."""

    session: tune_session.Session | None
    reported: bool = False
    """A fit has reported: later ones let the session count on."""
    owned: bool = False
    """A fit has taken the checkpoints: they belong to the first one that can have them."""
    data: weakref.WeakSet[Any] = field(default_factory=weakref.WeakSet)
    """Data sets of the fits, where the adapter notes them."""


_use = SessionUse(None)


def use_of(session: tune_session.Session) -> SessionUse:
    """The use that is made of this session; each entry into a training function has a session of its own."""
    global _use
    if _use.session is not session:
        _use = SessionUse(session)
    return _use


def check_report_arguments(metrics: Any, postprocess: Any, mistakes: Mistakes) -> dict[str, str] | None:
    """Look at the arguments that every callback has; returns `metrics` as {name to report: source}, None for all."""
    if postprocess is not None and not callable(postprocess):
        mistakes.add(
            f"results_postprocessing_fn: expected a function of the metrics dict, got {postprocess!r}. "
            "Leave it out to report the metrics as they are."
        )
    return check_metrics(metrics, mistakes)


def check_checkpoint_arguments(filename: Any, frequency: Any, formats: Collection[str], mistakes: Mistakes) -> None:
    """Look at the arguments that callbacks with checkpoints have; `formats` are the endings that a file may have."""
    if not isinstance(filename, str) or Path(filename).name != filename or Path(filename).suffix not in formats:
        endings = list(formats)
        mistakes.add(
            f"filename: expected a plain file name ending in {' or '.join(endings)}, got {filename!r}. "
            f"Write e.g. 'model{endings[0]}'."
        )
    if not isinstance(frequency, int) or isinstance(frequency, bool) or frequency < 0:
        mistakes.add(
            f"frequency: expected a number of rounds, 0 or more, got {frequency!r}. "
            "Write 0 to save only when the tuning run asks for it."
        )


def refuse_second_reporter(where: str, callbacks: Collection[Any], kind: type) -> None:
    """Raise ArgumentError if more than one callback of a fit reports."""
    if sum(isinstance(callback, kind) for callback in callbacks) > 1:
        raise ArgumentError(
            where,
            [
                "callbacks: expected one callback that reports to the tuning run, got several, so that each "
                "round would be reported more than once. Keep one of them."
            ],
        )


def model_file(directory: str | Path, filename: str, *, where: str) -> str:
    """Path of the model in the directory of a checkpoint.

    Raises:
        ArgumentError: there is no such file; names those there are.
    """
    path = os.path.join(directory, filename)
    if os.path.isfile(path):
        return path
    names = os.listdir(directory) if os.path.isdir(directory) else []
    there = sorted(name for name in names if not name.startswith("."))
    found = f"it has {', '.join(map(repr, there))}" if there else "it is empty or gone"
    raise ArgumentError(
        where,
        [
            f"filename: the checkpoint {str(directory)!r}, from which this trial is to go on, has no file "
            f"{filename!r}; {found}. Give the callback the name under which the model was saved."
        ],
    )


def callers() -> Iterator[FrameType]:
    """Frames of the functions that called the one that asks, the nearest first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


@dataclass(frozen=True, slots=True)
class Course:
    """The rounds of a training call, for deciding whether it can go on from another model.

    A boosting library fixes its range of rounds at the beginning: it can be left early, and never made longer.

    Attributes:
        end: rounds that the model is to have at the end.
        left: rounds that the loop can still do.
        over: the loop has been left already.
    """

    end: int
    left: int
    over: bool

    def check(self, rounds: int, function: str) -> None:
        """Raise WarmRestartNeeded if the call cannot take a model of so many rounds to the end."""
        if self.over:
            raise WarmRestartNeeded(f"{function} has done its last round")
        if rounds >= self.end:
            raise WarmRestartNeeded(f"the donor's model has all of the {self.end} rounds")
        if self.end - rounds > self.left:
            raise WarmRestartNeeded(
                f"the donor's model has {rounds} rounds and needs {self.end - rounds} more; {function} has {self.left} "
                "left, and its number of rounds cannot be changed while it runs"
            )


def live_parameters(
    changed: Mapping[str, Any],
    before: Mapping[str, Any],
    used: Mapping[str, Any],
    aliases: Mapping[str, Collection[str]],
) -> dict[str, tuple[str, Any]]:
    """Which changes of the config are surely changes of one parameter of the running training.

    That is where the config's name, or the last part of it, is a name of the parameter, and the training uses
    exactly the value that the old config has. A script that computes its parameter from the config is not
    recognised, and rightly so.

    Args:
        changed: new values by flat name.
        before: the config so far.
        used: the parameters that the training was given; None stands for one that was not.
        aliases: all names of a parameter, by each of them; only of parameters that may be changed.

    Returns:
        {flat name in the config: (name of the parameter as it was given, new value)}.

    >>> eta = {"eta", "learning_rate"}
    >>> live_parameters({"eta": 0.1}, {"eta": 0.3}, {"learning_rate": 0.3}, dict.fromkeys(eta, eta))
    {'eta': ('learning_rate', 0.1)}
    >>> live_parameters({"eta": 0.1}, {"eta": 0.3}, {"learning_rate": 0.03}, dict.fromkeys(eta, eta))
    {}
    """
    old = flatten(before)
    found: dict[str, tuple[str, Any]] = {}
    for name, value in changed.items():
        names = aliases.get(name.rpartition("/")[2], ())
        # Another key of the config may be the one that the script reads.
        rivals = [other for other in old if other != name and other.rpartition("/")[2] in names]
        given = [alias for alias in names if used.get(alias) is not None]
        if rivals or len(given) != 1 or name not in old:
            continue
        now, then = used[given[0]], old[name]
        if type(now) is type(then) and type(value) is type(then) and now == then:
            found[name] = (given[0], value)
    return found


def moved_by_script(name: str, given: Any, used: Any) -> WarmRestartNeeded:
    """The training no longer uses a parameter as it was given: the script sets it, by a course that it has begun."""
    return WarmRestartNeeded(
        f"the script itself has changed {name!r} from {given} to {used}, and may follow the old config"
    )
