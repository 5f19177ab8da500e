"""Training functions and classes, with their resources and their large arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Concatenate, TypeAlias

from tune_plugins.arguments import Mistakes, did_you_mean
from tune_plugins.driver.resources import Resources, resource_mistakes
from tune_plugins.errors import ArgumentError
from tune_plugins.record.checkpoint import Checkpoint
from tune_plugins.session.active import GoingOnFrom, WithCheckpointDir
from tune_plugins.trainable import Trainable

__all__ = [
    "AnyTrainable",
    "TrialFunction",
    "as_trial_function",
    "register_trainable",
    "with_parameters",
    "with_resources",
]


@dataclass(frozen=True)
class TrialFunction:
    """A training function or class with what `with_resources` and `with_parameters` said of it.

    Attributes:
        function: called with the config (and `parameters` as keywords); or a class derived from `Trainable`.
        resources: of one trial; None: one CPU.
        parameters: large arguments; they travel to each worker process once.
        restore: a state that trials go on from, saved before the run.
        reuses_objects: an object of a class serves one trial after the other, as far as `reset_config` can do that.
    """

    function: Callable[..., Any]
    resources: Resources = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    restore: Checkpoint | None = None
    reuses_objects: bool = False

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """Name of the function or class, for people and folders."""
        function = self.function
        while isinstance(function, partial):
            function = function.func
        name = getattr(function, "__name__", type(function).__name__)
        return "".join(c if c.isalnum() or c in "._-" else "_" for c in name).strip("_") or "trial"

    @property
    def entry(self) -> Callable[..., Any]:
        """What is called with the config: the function itself, or the loop that steps the class."""
        entry = given = self.function
        if isinstance(given, type) and issubclass(given, Trainable):
            from tune_plugins.worker.class_trial import run_class, run_class_again

            entry = partial(run_class_again if self.reuses_objects else run_class, given)
        elif self._takes_checkpoint_dir:
            entry = WithCheckpointDir(given)
        return entry if self.restore is None else GoingOnFrom(self.restore, entry)

    @property
    def _takes_checkpoint_dir(self) -> bool:
        """It is ``train(config, checkpoint_dir=None)``, an older form of `tune_plugins.get_checkpoint`."""
        try:
            there = "checkpoint_dir" in inspect.signature(self.function).parameters
        except (TypeError, ValueError):
            return False
        return there and "checkpoint_dir" not in self.parameters

    def __call__(self, config: dict[str, Any]) -> Any:
        """Run it here and now."""
        return self.entry(config, **self.parameters)

    def mistakes(self) -> list[str]:
        """Everything that is wrong with it, in words."""
        found = []
        if isinstance(self.function, Trainable):
            found.append(
                f"trainable: expected the class {self.name} itself, got an object of it. Write "
                f"Tuner({self.name}, ...): each trial makes an object of its own."
            )
        elif not callable(self.function):
            found.append(
                f"trainable: expected a function train(config), got {self.function!r}. "
                "Pass the function itself, without calling it; or a class derived from tune_plugins.Trainable."
            )
        elif inspect.isclass(self.function):
            found += self._mistakes_of_class(self.function)
        elif (wrong := self._cannot_be_called(self.function, {})) is not None:
            extra = f" with {', '.join(self.parameters)} as keywords" if self.parameters else ""
            found.append(
                f"trainable: expected a function that can be called with one config{extra}, got {self.name}{wrong}. "
                "Use tune.with_parameters for more."
            )
        return found if callable(self.resources) else found + resource_mistakes(self.resources)

    def _mistakes_of_class(self, given: type) -> list[str]:
        name = given.__name__
        if not issubclass(given, Trainable):
            return [
                "trainable: expected a function train(config), or a class derived from tune_plugins.Trainable, got the "
                f"class {name}, which is not. Write class {name}(tune.Trainable), with setup(config) and step()."
            ]
        found = []
        if given.step is Trainable.step:
            found.append(
                f"trainable: expected a class that defines step(self), got {name}, which does not. "
                "Let step train for one iteration and return a dict of metrics."
            )
        if (given.save_checkpoint is Trainable.save_checkpoint) != (given.load_checkpoint is Trainable.load_checkpoint):
            there, missing = "save_checkpoint(self, checkpoint_dir)", "load_checkpoint(self, checkpoint)"
            if given.save_checkpoint is Trainable.save_checkpoint:
                there, missing = missing, there
            found.append(f"trainable: {name} defines {there} and not {missing}. Define both or neither.")
        if (wrong := self._cannot_be_called(given.setup, None, {})) is not None:
            extra = f" and {', '.join(self.parameters)} as keywords" if self.parameters else ""
            found.append(
                f"trainable: expected a method setup that takes the config{extra}, got {name}.setup{wrong}. "
                "Use tune.with_parameters for more."
            )
        return found

    def _cannot_be_called(self, function: Callable[..., Any], *arguments: Any) -> str | None:
        """Signature and reason if `function` does not take the arguments and the parameters; None if it does."""
        try:
            signature = inspect.signature(function)
        except ValueError:
            return None  # some built-ins have none
        try:
            own = {"checkpoint_dir": None} if function is self.function and self._takes_checkpoint_dir else {}
            signature.bind(*arguments, **own, **dict.fromkeys(self.parameters))
        except TypeError as error:
            return f"{signature} ({error})"
        return None


AnyTrainable: TypeAlias = Callable[[Any], Any] | Callable[Concatenate[Any, ...], Any]
"""What can be tuned: a function whose first argument is the config, a class, or either with what was said of it."""


_registered: dict[str, AnyTrainable] = {}


def register_trainable(name: str, trainable: AnyTrainable) -> None:
    """Give a training function or class a name, by which `tune_plugins.run` and `Tuner` take it in this process.

    Args:
        name: any text; a trainable that had it before is forgotten.
        trainable: a function ``train(config)``, or a class derived from `Trainable`.

    Raises:
        ArgumentError: lists everything that is wrong.
    """
    mistakes = Mistakes("register_trainable")
    mistakes.text("name", name, "a name")
    mistakes.found += as_trial_function(trainable).mistakes()
    mistakes.raise_if_any()
    _registered[name] = trainable


def as_trial_function(trainable: AnyTrainable | str) -> TrialFunction:
    """Whatever the user gave, as a `TrialFunction`.

    Raises:
        ArgumentError: it is a name under which nothing was registered.
    """
    if isinstance(trainable, str):
        if trainable not in _registered:
            there = ", ".join(map(repr, _registered)) or "none"
            mistake = (
                f"trainable: expected a function, a class or a registered name (there are: {there}), got {trainable!r}."
                f"{did_you_mean(trainable, _registered)} Call tune.register_trainable({trainable!r}, train) before."
            )
            raise ArgumentError("trainable", [mistake])
        trainable = _registered[trainable]
    if isinstance(trainable, TrialFunction):
        return trainable
    if isinstance(trainable, type) and issubclass(trainable, Trainable):
        asks = any("default_resource_request" in vars(each) for each in trainable.__mro__ if each is not Trainable)
        return TrialFunction(trainable, trainable.default_resource_request if asks else None)
    return TrialFunction(trainable)


def _look_at_trainable(trainable: Any, mistakes: Mistakes) -> None:
    right = callable(trainable) or isinstance(trainable, TrialFunction)
    mistakes.check(right, "trainable", "a training function, or a class derived from Trainable", trainable)
    mistakes.raise_if_any()


def with_resources(trainable: AnyTrainable, resources: Resources) -> TrialFunction:
    """Say what one trial takes.

    Args:
        trainable: a training function or a class derived from `Trainable`.
        resources: e.g. ``{"cpu": 2, "gpu": 0.5}`` or any custom resource, also in ``"custom_resources"``; a
            `PlacementGroupFactory`; or a function of the config that returns one of these.

    Raises:
        ArgumentError: `resources` are none.

    >>> with_resources(print, {"cpu": 2}).resources
    {'cpu': 2}
    """
    mistakes = Mistakes("with_resources")
    if callable(resources):
        mistakes.function("resources", resources, "of the config that returns what a trial takes", arguments=1)
    else:
        mistakes.found += resource_mistakes(resources)
    _look_at_trainable(trainable, mistakes)
    return replace(as_trial_function(trainable), resources=resources)


def with_parameters(trainable: AnyTrainable, **parameters: Any) -> TrialFunction:
    """Give large objects (data sets) to all trials as keyword arguments; each worker process loads them once.

    Args:
        trainable: a function ``train(config, data=...)``, or a class derived from `Trainable` whose ``setup(config,
            data=...)`` takes them.
        **parameters: the objects; arrays are not copied, workers share them in memory. What ``ray.put`` returned stands
            for the object that was put.

    Raises:
        ArgumentError: `trainable` cannot be called.
    """
    _look_at_trainable(trainable, Mistakes("with_parameters"))
    known = as_trial_function(trainable)
    return replace(known, parameters={**known.parameters, **parameters})
