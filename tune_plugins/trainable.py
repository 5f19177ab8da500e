"""`Trainable`: a training as a class, one `step` at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tune_plugins.session import TrialResources, get_context


class Trainable:
    """A training as a class: derive from it, define `setup` and `step`, and give the class itself to `Tuner`.

    One call of `step` is one `training_iteration`. With `save_checkpoint` and `load_checkpoint` a trial can be paused,
    resumed and exploited; with `reset_config`, too, an exploit goes on with the same object. The order of calls::

        setup(config) [load_checkpoint(state) reset_config(config)] step() step() ... cleanup()

    where the part in brackets comes at the start of a trial that goes on from a checkpoint, and again between two steps
    when the trial adopts the state of another one. Methods are called in the main thread of the trial's process.

    An object can be made by hand as well, e.g. in a test: ``MyTrainable({"lr": 0.1}).step()``.

    Args:
        config: the hyper-parameters.
        **parameters: what `with_parameters` gave; handed to `setup` as keywords.

    Attributes:
        config: the hyper-parameters in use; after an exploit the mutated ones.

    >>> class Quadratic(Trainable):
    ...     def setup(self, config):
    ...         self.x = 10.0
    ...
    ...     def step(self):
    ...         self.x -= self.config["lr"] * 2 * self.x
    ...         return {"loss": self.x**2, "done": self.x**2 < 1e-6}
    >>> Quadratic({"lr": 0.25}).step()
    {'loss': 25.0, 'done': False}
    """

    config: dict[str, Any]
    _iteration = 0

    def __init__(self, config: Mapping[str, Any] | None = None, **parameters: Any) -> None:
        from tune_plugins.space.nested import copy_of

        self.config = copy_of(config or {})
        self._context = get_context()
        self.setup(copy_of(self.config), **parameters)

    # ------------------------------------------------------------------------ to be overridden
    # Arguments are given by position, so that they may have any name; and `*args: Any, **parameters: Any` together mean
    # to type checkers that an override may take what it likes besides.

    def setup(self, config: dict[str, Any], /, *args: Any, **parameters: Any) -> None:
        """Make what the training needs: model, optimizer, data.

        Args:
            config: the hyper-parameters, a copy of `self.config`.
            *args: nothing is given by position besides.
            **parameters: the objects given to `with_parameters`; name them in the signature.
        """

    def step(self) -> dict[str, Any]:
        """Train for one iteration.

        Returns:
            The metrics to report. Two names have a meaning: ``done=True`` ends the trial after this report, and
            ``should_checkpoint=True`` saves the state with it.
        """
        raise NotImplementedError(f"{type(self).__name__} must define step(self) and return a dict of metrics.")

    def save_checkpoint(self, checkpoint_dir: str, /) -> dict[str, Any] | str | None:
        """Write the state of the training; called only when somebody needs it.

        Args:
            checkpoint_dir: an empty folder. Files whose names begin with a dot are not for you.

        Returns:
            None, or the folder, if all is in there; or a dict of plain data (None, bool, int, float, str, and lists and
            dicts of these), which is stored as JSON beside the files and handed to `load_checkpoint` in place of the
            folder.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define save_checkpoint(self, checkpoint_dir).")

    def load_checkpoint(self, checkpoint: Any, /) -> None:
        """Take over a state that `save_checkpoint` has written, of this trial or of another one.

        Args:
            checkpoint: path of the folder, to be read only; or the dict that `save_checkpoint` returned.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define load_checkpoint(self, checkpoint).")

    def reset_config(self, new_config: dict[str, Any], /) -> bool:
        """Bring other hyper-parameters into the running training, and leave its state as it is.

        Called after every `load_checkpoint`, so that hyper-parameters which a state brings along (the learning rate in
        an optimizer's, say) give way to those of the config. `self.config` is `new_config` already.

        Args:
            new_config: all hyper-parameters, also those that stay.

        Returns:
            True if the training now runs with `new_config` entirely. After False, as this method returns unless it is
            overridden, a new object is set up with the new config, in the same process.
        """
        return False

    def cleanup(self) -> None:
        """Release what `setup` has opened; called once for each object that was set up, however its time ends."""

    # ------------------------------------------------------------------------------ to be read

    @property
    def iteration(self) -> int:
        """Number of steps that the state has behind it: after an exploit those of the state that was adopted."""
        return self._iteration

    @property
    def training_iteration(self) -> int:
        """The same as `iteration`."""
        return self._iteration

    @property
    def trial_id(self) -> str:
        """Id of the trial; empty outside one."""
        return self._context.get_trial_id()

    @property
    def trial_name(self) -> str:
        """Name of the trial, for people; empty outside one."""
        return self._context.get_trial_name()

    @property
    def trial_dir(self) -> str:
        """The trial's own folder, made on the first use; empty outside a trial."""
        return self._context.get_trial_dir() if self._context.trial_dir else ""

    @property
    def logdir(self) -> str:
        """The same as `trial_dir`."""
        return self.trial_dir

    @property
    def trial_resources(self) -> TrialResources:
        """What the trial may use, e.g. ``{"CPU": 1}``; empty outside one."""
        return self._context.get_trial_resources()
