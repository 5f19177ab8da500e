"""The port by which the engine reaches a running training: take its state, give it another, change its settings.

An adapter that holds the live model offers it with every report. On an exploit the engine then loads the donor's
state and applies the mutated hyper-parameters inside the framework's own training call; nothing is entered anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

from tune_plugins.errors import TuneError, WarmRestartNeeded
from tune_plugins.space.nested import flatten

__all__ = ["ModelPort", "config_changes", "exploit_in_place"]


class ModelPort(Protocol):
    """A running training as the engine sees it. All methods are called in the thread of `Session.report`."""

    def save_state(self, directory: Path) -> None:
        """Write everything from which the training can go on into `directory`, which exists and is empty.

        In data formats only: a checkpoint must be safe to load.
        """
        ...

    def load_state(self, directory: Path, iteration: int) -> None:
        """Make the running training go on from a state that `save_state` has written.

        Args:
            directory: holds the files.
            iteration: `training_iteration` of that state; the next report is that of the one after it.

        Raises:
            WarmRestartNeeded: this framework cannot, here and now; says why. The training function is then entered
                anew in the same process and goes on from the checkpoint, so that nothing needs to be undone.
        """
        ...

    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
        """Change hyper-parameters of the running training, after `load_state`.

        A name may be applied only where the result is what a training with the new config would be: an adapter
        compares what the training uses now with the old config.

        Args:
            changed: new values by name; names of nested ones are joined by ``/``.
            before: the whole config up to now, by names of the same kind. A new name is not in it.

        Returns:
            The names that are applied. If one is missing, the function is entered anew, as after `load_state`.

        Raises:
            WarmRestartNeeded: as above, with a reason of its own.
        """
        ...


def config_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What differs between two configs: new or other values by flat name, and the names that are gone.

    >>> config_changes({"lr": 0.1, "net": {"width": 8, "depth": 2}}, {"lr": 0.2, "net": {"width": 8}})
    ({'lr': 0.2}, ['net/depth'])
    """
    from tune_plugins.space.domains import matches

    old, new = flatten(before), flatten(after)
    changed = {
        name: value
        for name, value in new.items()
        if name not in old or not (old[name] is value or (type(old[name]) is type(value) and matches(old[name], value)))
    }
    return changed, [name for name in old if name not in new]


def names_applied(returned: Any, changed: Mapping[str, Any], where: str = "") -> set[str]:
    """What `apply_config` has returned, as a set.

    Raises:
        TuneError: it is no collection of names, or one of them has not changed.
    """
    if isinstance(returned, Collection) and not isinstance(returned, str) and set(returned) <= changed.keys():
        return set(returned)
    raise TuneError(
        f"{where}apply_config: expected the names that it has applied, some of {_names(changed)}, got {returned!r}. "
        "Return e.g. {'dropout'}, or set() if there are none."
    )


def exploit_in_place(
    model: ModelPort | None,
    directory: Path,
    iteration: int,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    own: Mapping[str, Any],
) -> str:
    """Carry out an exploit inside the running training.

    Args:
        model: the port; None for a training that offers none.
        directory: the donor's checkpoint.
        iteration: `training_iteration` of it.
        before: config of the running training.
        after: the mutated one.
        own: the object that the training function was given as its config. Where the function has written into it,
            what it would make of the new one is not known.

    Returns:
        What was done, in words.

    Raises:
        WarmRestartNeeded: it cannot be done in place; says why.
    """
    if model is None:
        raise WarmRestartNeeded("report() was called without a model that the engine could reach")
    written, taken = config_changes(before, own)
    if written or taken:
        raise WarmRestartNeeded(f"the training function has changed {_names([*written, *taken])} in its own config")
    changed, gone = config_changes(before, after)
    if gone:
        raise WarmRestartNeeded(f"{_names(gone)} no longer exists in the new config")
    model.load_state(directory, iteration)
    applied = names_applied(model.apply_config(changed, flatten(before)), changed) if changed else set()
    if left := [name for name in changed if name not in applied]:
        raise WarmRestartNeeded(f"{_names(left)} cannot be changed in a running training")
    return f"state of iteration {iteration} loaded" + (f", {_names(changed)} applied" if changed else "")


def _names(names: Collection[str]) -> str:
    return ", ".join(repr(name) for name in names)
