"""What the adapters of XGBoost, LightGBM and CatBoost share: all train by one call, in rounds that callbacks watch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune_plugins.arguments import Mistakes
from tune_plugins.errors import ArgumentError, WarmRestartNeeded
from tune_plugins.integrations._adapter import Adapter
from tune_plugins.integrations._metrics import Metrics, returned_metrics

Postprocess = Callable[[dict[str, float]], Mapping[str, Any]]
"""Gets the metrics of a round and returns what to report."""


class BoostingAdapter(Adapter):
    """Base of the callbacks of boosting libraries."""

    def _set_up(self, metrics: Metrics, postprocess: Postprocess | None, **checkpoints: Any) -> None:
        """Look at the arguments, those of `Adapter.set_up` among them."""
        mistakes = Mistakes(type(self).__name__)
        remedy = "Leave it out to report the metrics as they are."
        name, what = "results_postprocessing_fn", "of the metrics dict"
        mistakes.function(name, postprocess, what, arguments=1, none=True, remedy=remedy)
        self._own_postprocess = self._postprocess = postprocess
        self.set_up(metrics=metrics, mistakes=mistakes.found, **checkpoints)

    def join(self, others: Sequence[Adapter]) -> None:
        """Report what all of them were asked to, made by the function of whichever has one."""
        super().join(others)
        functions = [getattr(adapter, "_own_postprocess", None) for adapter in (self, *others)]
        self._postprocess = next((function for function in functions if function is not None), None)

    def _processed(self, values: dict[str, float]) -> dict[str, Any]:
        """What the user's function makes of the metrics of a round, as plain numbers."""
        if self._postprocess is None:
            return values
        return returned_metrics(self._postprocess(values), where="results_postprocessing_fn")


def load_into(build: Any, path: Path) -> Any:
    """An estimator with the model of a file: its class, a function that makes one, or one that is there is given.

    Raises:
        ArgumentError: it does not load models by itself.
    """
    estimator = build() if callable(build) else build
    if not callable(getattr(estimator, "load_model", None)):
        raise ArgumentError(
            "load_model",
            [
                f"build: expected the class of an estimator that has load_model(path), got {build!r}. Leave it out: "
                "the whole model is in the checkpoint."
            ],
        )
    estimator.load_model(str(path))
    return estimator


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
        before: the config so far, by flat name.
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
    found: dict[str, tuple[str, Any]] = {}
    for name, value in changed.items():
        names = aliases.get(name.rpartition("/")[2], ())
        # Another key of the config may be the one that the script reads.
        rivals = [other for other in before if other != name and other.rpartition("/")[2] in names]
        given = [alias for alias in names if used.get(alias) is not None]
        if rivals or len(given) != 1 or name not in before:
            continue
        now, then = used[given[0]], before[name]
        if type(now) is type(then) and type(value) is type(then) and now == then:
            found[name] = (given[0], value)
    return found


def moved_by_script(name: str, given: Any, used: Any) -> WarmRestartNeeded:
    """The training no longer uses a parameter as it was given: the script sets it, by a course that it has begun."""
    return WarmRestartNeeded(
        f"the script itself has changed {name!r} from {given} to {used}, and may follow the old config"
    )
