"""Searchers that a script calls itself, outside of a run, in the words of Ray Tune.

There ``suggest`` has no index and ``on_trial_complete`` says ``error``; metric, mode and space are those that the
searcher was given. So each method of `Searcher` that Ray Tune has in another form is one with both, and what only a run
would have said is made up here, once for every searcher. `by_hand` marks these methods, and `forms` those of a class
that overrides them. No run calls those of `ByHand`: where `save` and `restore` touch a file, a script has asked for it.
"""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from typing import Any, TypeVar

from tune_plugins.arguments import Mistakes
from tune_plugins.core.ends import EndCause, Outcome
from tune_plugins.core.metrics import lookup, names_of, objective_mistakes
from tune_plugins.errors import ArgumentError
from tune_plugins.space import Space

__all__ = ["NEXT", "ByHand", "Hand", "by_hand", "forms"]

NEXT = -1
"""In place of the number of a trial: the one behind all that were suggested."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Hand:
    """What a searcher keeps of calls, so that it can be called without a run.

    Attributes:
        space: that was set by hand; None: none was.
        index: number of the next suggestion.
        configs: those that were suggested by hand, by the id of the trial.
        known: (config, value) of what it was told of by hand, which a run to come is to know of, too.
        heard: likewise, of trials of a run; who restores what `ByHand.save` has written knows of these, too.
        points: how many it was told of that were evaluated elsewhere.
        telling: it is being told of those just now.
    """

    space: Mapping[str, Any] | Space | None = None
    index: int = 0
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    known: dict[str, tuple[dict[str, Any], Any]] = field(default_factory=dict)
    heard: dict[str, tuple[dict[str, Any], Any]] = field(default_factory=dict)
    points: int = 0
    telling: bool = False

    def begin(self) -> None:
        """Count anew, for another task."""
        self.index, self.configs, self.heard = 0, {}, {}


class ByHand:
    """Methods of Ray Tune's searchers that no run of this package needs."""

    def set_search_properties(
        self: Any, metric: Any, mode: Any, config: Mapping[str, Any] | Space | None, **spec: Any
    ) -> bool:
        """Say what is to be searched for, where no run does; a run with a search space has its own.

        Args:
            metric: metric to optimise; None: the searcher's own.
            mode: "min" or "max"; None: the searcher's own.
            config: the search space, as in ``param_space``.
            spec: what Ray Tune says of the experiment; passed over.

        Returns:
            False if it has a space already; nothing is changed then.

        Raises:
            ArgumentError: metric or mode are wrong.
        """
        return bool(self._take_properties(metric, mode, config))

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Override it in a searcher that limits the number of trials itself, and return True."""
        return False

    def add_evaluated_trials(self: Any, trials_or_analysis: Any, metric: Any) -> None:
        """Learn from the trials of an earlier run: those that failed are told as failed, those cut short as such.

        Args:
            trials_or_analysis: an `ExperimentAnalysis`, a `ResultGrid`, a list of trials or results, or one of them.
            metric: name of the metric to take, of several a list.

        Raises:
            ArgumentError: it is none of these, no trial has the metric, or a config does not fit the space.
        """
        found = Mistakes(f"{self.label}.add_evaluated_trials", objective_mistakes(metric, None))
        given = getattr(trials_or_analysis, "trials", trials_or_analysis)
        trials = [given] if hasattr(given, "config") or not isinstance(given, Iterable) else list(given)
        for trial in trials:
            right = hasattr(trial, "config") and (hasattr(trial, "last_result") or hasattr(trial, "metrics"))
            expected = "an ExperimentAnalysis, a ResultGrid, a list of their trials, or one of these"
            found.check(right, "trials_or_analysis", expected, trial)
        found.raise_if_any()
        names, told = names_of(metric), 0
        for trial in trials:
            result = dict(getattr(trial, "last_result", None) or getattr(trial, "metrics", {}))
            values = [lookup(result, name) for name in names]
            if None not in values:
                told += 1
                cause, failed = getattr(trial, "cause", None), str(getattr(trial, "status", "")) == "ERROR"
                value = values[0] if len(values) == 1 else values
                short = cause is not None and not (EndCause(cause).full or cause == EndCause.STOPPER)
                self.add_evaluated_point(trial.config, value, error=failed, pruned=short)
        found.check(told > 0, "metric", "one that at least one of the trials has reported", metric)
        found.raise_if_any()

    def save(self: Any, checkpoint_path: str) -> None:
        """Write to a file what the searcher knows; `restore` reads it.

        Args:
            checkpoint_path: of the file, which is replaced.

        Raises:
            ArgumentError: something in it cannot be pickled, such as a lambda in the space.
            OSError: the file cannot be written.
        """
        hand = self._hand
        state = {**self.__dict__, "_calls": replace(hand, known={**hand.known, **hand.heard})}
        try:
            data = pickle.dumps((_FORMAT, type(self).__qualname__, state))
        except Exception as error:
            why = (
                f"checkpoint_path: the searcher cannot be written: {type(error).__name__}: {error}. Put functions of "
                "the space into a module, or begin the next run with its results: warm_start=tuner.get_results()."
            )
            raise ArgumentError(f"{self.label}.save", [why]) from error
        with open(checkpoint_path, "wb") as file:
            file.write(data)

    def restore(self: Any, checkpoint_path: str) -> None:
        """Take over what a searcher of the same class has saved: it goes on, or a run to come begins with its results.

        It is read by pickle, which may run code: read your own files only.

        Raises:
            ArgumentError: `save` has not written the file, or that of another class has.
            OSError: the file cannot be read.
        """
        with open(checkpoint_path, "rb") as file:
            data = file.read()
        try:
            mark, name, state = pickle.loads(data)
        except Exception:
            mark, name, state = None, "something else", {}
        right = (mark, name) == (_FORMAT, type(self).__qualname__)
        found = Mistakes(f"{self.label}.restore")
        expected = f"a file that {type(self).__qualname__}.save has written"
        found.check(right, "checkpoint_path", expected, str(checkpoint_path), f"It is of {name}.")
        found.raise_if_any()
        self.__dict__.update(state)

    # ---------------------------------------------------------------------------------------- within

    @property
    def _hand(self) -> Hand:
        """What is kept of calls; made when it is first asked for, since not every class calls ``__init__``."""
        kept: Hand = self.__dict__.setdefault("_calls", Hand())
        return kept

    def _take_properties(self: Any, metric: Any, mode: Any, config: Mapping[str, Any] | Space | None) -> bool:
        """See `set_search_properties`."""
        hand = self._hand
        if self.given_space is not None or hand.space is not None:
            return False
        own = metric or self._own[0], mode or self._own[1]
        Mistakes(f"{self.label}.set_search_properties", objective_mistakes(*own)).raise_if_any()
        self._own, hand.space = own, config or {}
        self.__dict__.pop("task", None)
        return True

    def _keep_known(self: Any, key: str, config: dict[str, Any], value: Any) -> None:
        """Note a result, for a run to come; of several metrics a list."""
        hand = self._hand
        (hand.known if self.task.by_hand or hand.telling else hand.heard)[key] = config, value

    def _tell_as_trial(self: Any, config: dict[str, Any], value: Any, outcome: Outcome, between: Iterable[Any]) -> None:
        """Tell of a point as of a trial that was run."""
        hand, names = self._hand, self.task.metrics
        trial_id = f"evaluated_{hand.points}"
        # Numbers below 0: it takes no place among the suggestions.
        self.on_suggested(trial_id, -hand.points, config)
        result: dict[str, Any] = {"training_iteration": 1}
        for iteration, each in enumerate([*between, value], start=1):
            numbers = each if len(names) > 1 and each is not None else [each]
            result = {**dict(zip(names, numbers, strict=False)), "training_iteration": iteration, "config": config}
            self.on_trial_result(trial_id, result)
        self.on_trial_complete(trial_id, result, outcome=outcome)


_FORMAT = "searcher of tune_plugins, 1"


def _suggest(searcher: Any, method: Callable[..., Any], trial_id: str, index: int = NEXT) -> Any:
    """`Searcher.suggest`; without an index, the next one is meant, and points of the user's come first."""
    hand = searcher._hand
    if index != NEXT:
        hand.index = max(hand.index, index + 1)
        return method(trial_id, index)
    searcher._begin_by_hand()
    answer = searcher._ask_of(trial_id, hand.index, method)
    if not isinstance(answer, dict):
        return answer if answer is searcher.FINISHED else None
    if not answer and not searcher.space.param_space:
        why = (
            "space: expected one, since there is no run that has it, got none. Give it to the searcher as space=..., "
            "or call set_search_properties(metric, mode, config) before."
        )
        raise ArgumentError(f"{searcher.label}.suggest", [why])
    hand.index += 1
    hand.configs[trial_id] = answer
    return answer


def _complete(
    searcher: Any,
    method: Callable[..., Any],
    trial_id: str,
    result: dict[str, Any] | None = None,
    outcome: Outcome | bool = Outcome.COMPLETED,
    *,
    error: bool = False,
) -> Any:
    """`Searcher.on_trial_complete`; what stands for the outcome may say whether the trial failed."""
    if isinstance(outcome, bool) or error:
        outcome = Outcome.FAILED if outcome is True or error else Outcome.COMPLETED
    config = searcher._hand.configs.pop(trial_id, None)
    if outcome is Outcome.COMPLETED and result and hasattr(searcher, "task"):
        values, config = searcher.values(result), result.get("config", config)
        if values is not None and config is not None:
            searcher._keep_known(trial_id, config, values if len(values) > 1 else values[0])
    return method(trial_id, result, outcome=outcome)


def _evaluated(
    searcher: Any,
    method: Callable[..., Any],
    config: Mapping[str, Any],
    value: Any,
    error: bool = False,
    pruned: bool = False,
    intermediate_values: Iterable[Any] | None = None,
) -> None:
    """`Searcher.add_evaluated_point`; where no run tells of what the user has given it."""
    if searcher._hand.telling:
        method(config, value)
        return
    searcher._begin_by_hand()
    hand, where = searcher._hand, f"{searcher.label}.add_evaluated_point"
    hand.telling = True
    try:
        Mistakes(where, [f"parameters: {why}" for why in searcher.point_mistakes(searcher.task, config)]).raise_if_any()
        whole = searcher.whole_point(config, f"{searcher.seed}:evaluated")
        hand.points += 1
        outcome = Outcome.FAILED if error else Outcome.STOPPED if pruned else Outcome.COMPLETED
        if outcome is Outcome.COMPLETED and not intermediate_values:
            searcher._keep_known(f"evaluated_{hand.points}", whole, value)
            method(whole, value)
        else:
            searcher._tell_as_trial(whole, value, outcome, intermediate_values or ())
    finally:
        hand.telling = False


_FORMS: Mapping[str, tuple[str, Callable[..., Any]]] = {
    "suggest": ("index", _suggest),
    "on_trial_complete": ("outcome", _complete),
    "add_evaluated_point": ("value", _evaluated),
}
"""{method of `Searcher`: (argument by which one in its form is known, what is called in its place)}."""


def by_hand(method: F) -> F:
    """Decorator: the method understands how scripts for Ray Tune call it, too."""
    form: Any = _FORMS[method.__name__][1]

    @wraps(method)
    def either(self: Any, *args: Any, **named: Any) -> Any:
        if "parameters" in named:  # so Ray Tune calls the config of `add_evaluated_point`
            named["config"] = named.pop("parameters")
        return form(self, partial(method, self), *args, **named)

    return either  # type: ignore[return-value]


def forms(kind: type) -> None:
    """Mark the methods by which a class overrides those of `Searcher`, as far as they have its form."""
    for name, (known_by, _) in _FORMS.items():
        method: Any = vars(kind).get(name)
        parameters = inspect.signature(method).parameters if inspect.isfunction(method) else {}
        if known_by in parameters and "pruned" not in parameters:  # which has Ray Tune's form already
            setattr(kind, name, by_hand(method))
