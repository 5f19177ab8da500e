"""The contract of search algorithms: what configuration to try next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from random import Random
from typing import Any, ClassVar, Protocol

from tune_plugins.arguments import Mistakes, is_number, is_whole, shown_call
from tune_plugins.core.by_hand import NEXT, ByHand, by_hand, forms
from tune_plugins.core.ends import Outcome
from tune_plugins.core.evaluated import as_number, evaluated
from tune_plugins.core.metrics import Mode, lookup, modes_of, names_of, objective_mistakes
from tune_plugins.errors import ArgumentError
from tune_plugins.space import Space
from tune_plugins.space.domains import holds_domain

__all__ = ["NEXT", "DrawsBytes", "Fidelity", "Outcome", "SearchAlgorithm", "SearchTask", "Searcher", "Signal"]


class Signal(Enum):
    """What a searcher says when it has no configuration to suggest."""

    NOT_READY = "not ready"  # not now: ask again when a trial has reported or ended
    COMPLETE = "complete"  # never again


@dataclass(frozen=True)
class Fidelity:
    """How far trials are trained, where a scheduler ends most of them early.

    Attributes:
        time_attr: what is counted, e.g. ``training_iteration``.
        max_t: of a whole training; None: not known.
        levels: values at which trials are compared (rungs), ascending.
    """

    time_attr: str
    max_t: float | None = None
    levels: tuple[float, ...] = ()


@dataclass(frozen=True)
class SearchTask:
    """What a searcher is to do.

    Attributes:
        space: the search space.
        metric: name of the metric to optimise; of several, a tuple; None: nothing is optimised.
        mode: "min" or "max", of several metrics a tuple, None without a metric.
        seed: of the run.
        num_samples: number of configurations that the user asked for; None: as many as there is time for.
        slots: number of trials that run at a time.
        fidelity: of the scheduler, None where it ends no trial early.
        by_hand: there is no run: a script calls the searcher itself.
    """

    space: Space
    metric: str | tuple[str, ...] | None = None
    mode: Mode | tuple[Mode, ...] | None = None
    seed: int = 0
    num_samples: int | None = 1
    slots: int = 1
    fidelity: Fidelity | None = None
    by_hand: bool = False

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of all metrics."""
        return names_of(self.metric)

    @property
    def modes(self) -> tuple[Mode, ...]:
        """For each of the metrics "min" or "max"."""
        return modes_of(self.mode, len(self.metrics))


class DrawsBytes(Protocol):
    """A generator of random numbers of NumPy's, old or new."""

    def bytes(self, length: int, /) -> bytes:
        """So many."""


class Searcher(ByHand, ABC):
    """Suggests configurations and hears how they did. One of your own needs `suggest` only.

    A run calls `prepare` once, then `ask` with the numbers 0, 1, 2, ... until there are `total_trials` or the answer is
    `Signal.COMPLETE`; after `Signal.NOT_READY` it asks with the same number again. These two deal with what all
    searchers have in common, the points that the user knows, and call `setup` and `suggest`.

    A searcher must be a function of what it was told, so that an experiment can be replayed and resumed: draw random
    numbers from `rng` with the index, not from a generator that lives on. After a resume, `on_suggested` stands in
    for each earlier `suggest`, and results are told again in the old order.

    No two methods are ever called at the same time. On Ray all but `prepare` are called from a thread of their own
    while trials run, unless it is `instant`.

    A script may call it without a run, as scripts for Ray Tune do: ``suggest(trial_id)``, which returns None for not
    now, `on_trial_result`, ``on_trial_complete(trial_id, result=None, error=False)``, and ``add_evaluated_point`` with
    ``error``, ``pruned`` and ``intermediate_values`` beside the value. See `tune_plugins.core.by_hand`.

    Args:
        metric: metric to optimise; None: the one of `TuneConfig`.
        mode: "min" or "max"; None: the one of `TuneConfig`.
        points_to_evaluate: configs to try first, nested or flat (``{"model/lr": 0.1}``); what one leaves out is drawn.
        evaluated_rewards: what the metric is for these points, as far as it is known (None: it is not); those are told
            to the searcher instead of being tried.
        warm_start: results of an earlier run to learn from: a `ResultGrid`, a data frame as of
            `ResultGrid.get_dataframe`, or (config, value of the metric) pairs. Those that do not fit the space, or have
            no value, are passed over.
        random_state: seed of this searcher, or a generator of NumPy's that draws it; None: the one of the run.

    Attributes:
        reads_results: whether `on_trial_result` is to be called; False where it is not overridden, to save the work.
        learns: whether suggestions depend on how trials ended; else some may be asked for before a slot is free.
        instant: whether `suggest` takes next to no time; False: it is called in a thread.
        timeout_s: a run ends with an error where it has waited so many seconds for `suggest` and nothing else goes on.
        task: what it works on, from `setup` on; `space`, `metric`, `mode`, `num_samples` are those of the task.
        given_space: the space, where it was given to the searcher and not to the run.
        seed: of this searcher.
        points_to_try: the configs that the user wants to be tried first, whole, from `prepare` on.

    Raises:
        ArgumentError: lists all mistakes; those that concern the space are raised by `prepare`.

    >>> class Halving(Searcher):
    ...     def suggest(self, trial_id, index):
    ...         return {**self.space.sample(index, self.seed), "lr": 0.5**index}
    """

    FINISHED: ClassVar[Signal] = Signal.COMPLETE
    """What Ray Tune calls `Signal.COMPLETE`."""

    reads_results: bool = False
    learns: bool = False
    instant: bool = False
    timeout_s: float = 600.0
    points_to_evaluate: Sequence[Mapping[str, Any]] = ()
    evaluated_rewards: Sequence[Any] = ()
    warm_start: Any = None
    random_state: int | None = None
    given_space: Any = None
    task: SearchTask
    seed: int = 0
    _own: tuple[str | Sequence[str] | None, Mode | Sequence[Mode] | None] = (None, None)
    points_to_try: Sequence[dict[str, Any]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        forms(cls)
        # Whoever looks at results wants to be told, also where what it derives from does not.
        own = vars(cls)
        for flag, methods in (
            ("reads_results", {"on_trial_result"}),
            ("learns", {"on_trial_result", "on_trial_complete"}),
        ):
            if flag not in own and methods & set(own):
                setattr(cls, flag, True)
        # What a derived one computes may take time.
        if "suggest" in vars(cls) and "instant" not in vars(cls):
            cls.instant = False

    def __init__(
        self,
        metric: str | Sequence[str] | None = None,
        mode: Mode | Sequence[Mode] | None = None,
        *,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        evaluated_rewards: Sequence[Any] | None = None,
        warm_start: Any = None,
        random_state: int | DrawsBytes | None = None,
    ) -> None:
        self._own = metric, mode
        self.points_to_evaluate = () if points_to_evaluate is None else points_to_evaluate
        self.evaluated_rewards = () if evaluated_rewards is None else evaluated_rewards
        if hasattr(self.evaluated_rewards, "tolist"):  # a column of a frame, or an array
            self.evaluated_rewards = self.evaluated_rewards.tolist()
        if callable(draw := getattr(random_state, "bytes", None)):
            random_state = int.from_bytes(draw(4), "big")
        self.warm_start, self.random_state = warm_start, random_state  # type: ignore[assignment]
        Mistakes(type(self).__name__, self.mistakes()).raise_if_any()

    def __repr__(self) -> str:
        """The arguments that were given, as far as they differ from the defaults."""
        return shown_call(self, metric=self._own[0], mode=self._own[1])

    def mistakes(self) -> list[str]:
        """Everything that is wrong with the arguments by themselves, in words; asked again before a run."""
        found = Mistakes(type(self).__name__)
        points, rewards = self.points_to_evaluate, self.evaluated_rewards
        if isinstance(points, (str, Mapping)) or not isinstance(points, Sequence):
            found.add(f"points_to_evaluate: expected a list of dicts, got {points!r}. Write [{{...}}].")
        else:
            for number, point in enumerate(points):
                found.check(isinstance(point, Mapping), f"points_to_evaluate[{number}]", "a dict", point)
            if isinstance(rewards, (str, Mapping)) or not isinstance(rewards, Sequence):
                found.add(f"evaluated_rewards: expected a list of numbers, got {rewards!r}.")
            elif len(rewards) not in (0, len(points)):
                found.add(
                    f"evaluated_rewards: expected one for each of the {len(points)} points_to_evaluate, got "
                    f"{len(rewards)}. Give None for those to be tried."
                )
        found.found += objective_mistakes(*self._own)
        seed = self.random_state is None or is_whole(self.random_state)
        found.check(seed, "random_state", "None or a whole number", self.random_state, "Give a seed.")
        return found.found

    # ------------------------------------------------------------------------------ called by a run

    def prepare(self, task: SearchTask) -> None:
        """Take the task of a run and what the user knows already; called before anything else, once for each run.

        Raises:
            ArgumentError: the searcher cannot work on this task; lists all reasons.
        """
        found = Mistakes(type(self).__name__, [*self.mistakes(), *self.space_mistakes(task.space)])
        if not found.found:
            task = replace(task, space=self.space_of(task.space))
            found.found += task.space.mistakes()
        if not found.found:
            for number, point in enumerate(self.points_to_evaluate):
                found.found += [f"points_to_evaluate[{number}]: {why}" for why in self.point_mistakes(task, point)]
        found.raise_if_any()
        self.points_to_try = ()
        self.setup(task)
        known, to_try = [], []
        rewards = self.evaluated_rewards or [None] * len(self.points_to_evaluate)
        for number, (point, reward) in enumerate(zip(self.points_to_evaluate, rewards, strict=True)):
            if reward is not None and (wrong := self._reward_mistake(reward)):
                found.add(f"evaluated_rewards[{number}]: {wrong}")
            try:
                config = self.whole_point(point, f"{self.seed}:point{number}")
            except ArgumentError as error:
                found.found += [f"points_to_evaluate[{number}]: {why}" for why in error.mistakes]
                continue
            if reward is None:
                to_try.append(config)
            else:
                known.append((config, reward))
        found.raise_if_any()
        known += evaluated(self.warm_start, self.space, self.task.metrics)
        hand = self._hand
        known += [(config, value) for config, value in hand.known.values() if not self.point_mistakes(task, config)]
        hand.telling = True
        try:
            for config, value in known:
                self.add_evaluated_point(config, value)
        finally:
            hand.telling = False
        self.points_to_try = to_try

    def _begin_by_hand(self) -> None:
        """Take a task without a run, unless there is one already."""
        if not hasattr(self, "task"):
            seed = Random().getrandbits(31)
            try:
                self.prepare(SearchTask(Space(), seed=seed, num_samples=None, by_hand=True))
            except BaseException:
                self.__dict__.pop("task", None)
                raise

    def _reward_mistake(self, reward: Any) -> str:
        """What is wrong with the value of a point; empty: nothing. Any number will do, also one that is not finite."""
        count = max(1, len(self.task.metrics))
        values = list(reward) if isinstance(reward, Iterable) and not isinstance(reward, str) else [reward]
        if len(values) == count and all(is_number(value) for value in values):
            return ""
        return f"expected {'a number' if count == 1 else f'{count} numbers'}, got {reward!r}."

    def ask(self, trial_id: str, index: int) -> dict[str, Any] | Signal | None:
        """The config of trial number `index`: one of the user's points, or what `suggest` says.

        None means NOT_READY where trials are running, else COMPLETE.

        Raises:
            TypeError: `suggest` returned neither a dict of values nor a signal.
        """
        return self._ask_of(trial_id, index, self.suggest)

    def _ask_of(self, trial_id: str, index: int, suggest: Callable[[str, int], Any]) -> dict[str, Any] | Signal | None:
        """See `ask`; `suggest` is called by hand where a class derived from this one has another method of the name."""
        if index < len(self.points_to_try):
            config = self.points_to_try[index]
            self.on_suggested(trial_id, index, config)
            return config
        suggested = suggest(trial_id, index)
        if not isinstance(suggested, (dict, Signal, type(None))):
            raise TypeError(
                f"{self.label}.suggest() returned {suggested!r} for trial {index}: expected a dict of "
                "hyper-parameters, Signal.NOT_READY or Signal.COMPLETE."
            )
        if isinstance(suggested, dict) and not self.instant and holds_domain(suggested):
            raise TypeError(
                f"{self.label}.suggest() returned {suggested!r} for trial {index}: expected values, not domains. "
                "Draw them: Space(...).sample(index, seed)."
            )
        return suggested

    def space_mistakes(self, around: Space) -> list[str]:
        """What is wrong with the space of a run, in words: beside one's own it has constants only."""
        names = [*around.parameters, *(f"constraint {each.name}" for each in around.constraints)]
        if self.given_space is None or not names:
            return around.mistakes()
        return [
            f"param_space: expected constants only, since {self.label}(space=...) has the parameters, got "
            f"{', '.join(names)}. Write all of it as param_space."
        ]

    def space_of(self, around: Space) -> Space:
        """Where to search: in the space of a run, or in one's own, with the constants of the run."""
        own = self.given_space
        if own is None and not around.parameters:
            own = self._hand.space
        if own is None:
            return around
        own = own if isinstance(own, Space) else Space(own)
        return Space({**around.param_space, **own.param_space}, own.constraints)

    def point_mistakes(self, task: SearchTask, point: Mapping[str, Any]) -> list[str]:
        """What is wrong with one of `points_to_evaluate`, in words."""
        return task.space.check_point(point)

    def whole_point(self, point: Mapping[str, Any], seed: str) -> dict[str, Any]:
        """The config of one of `points_to_evaluate`; what that leaves out is drawn from `seed`.

        Raises:
            ArgumentError: no config that the constraints of the space allow has these values.
        """
        return self.space.variant(seed, 0, point)

    @property
    def own_objectives(self) -> tuple[tuple[str, ...], tuple[Mode, ...]]:
        """Metrics and modes that were given to it, for a run that has none of its own."""
        metric, mode = self._own
        return names_of(metric), modes_of(mode, len(names_of(metric)))

    @property
    def label(self) -> str:
        """What people know it by: the name of its class."""
        return type(self).__name__

    @property
    def total_trials(self) -> int | None:
        """Number of trials altogether, as far as it is known beforehand: all of the user's points are tried."""
        return None if self.num_samples is None else max(self.num_samples, len(self.points_to_try))

    # ------------------------------------------------------------------------------ to be overridden

    def setup(self, task: SearchTask) -> None:
        """Take the task of a run, and forget an earlier one.

        Raises:
            ArgumentError: the searcher cannot work on this task; lists all reasons.
        """
        metrics, modes = self.own_objectives
        if metrics:
            several = len(metrics) > 1
            task = replace(
                task,
                metric=metrics if several else metrics[0],
                mode=task.mode if not modes else modes if several else modes[0],
            )
        self.task = task
        self._hand.begin()
        self.seed = task.seed if self.random_state is None else int(self.random_state)

    @abstractmethod
    @by_hand
    def suggest(self, trial_id: str, index: int) -> dict[str, Any] | Signal | None:
        """The configuration of trial number `index`, as the trainable gets it, or a signal.

        None means NOT_READY where trials are running, else COMPLETE.

        Args:
            trial_id: under which results of this configuration will be told.
            index: number of the trial, from 0. A script that calls the searcher without a run leaves it out.
        """

    def on_suggested(self, trial_id: str, index: int, config: dict[str, Any]) -> None:
        """Trial `trial_id` is run with this config, which is not of `suggest`: take it as if it were.

        It is a point of the user's, or you suggested it in an earlier life of the experiment. Do not change `config`.
        """

    @by_hand
    def add_evaluated_point(self, config: dict[str, Any], value: Any) -> None:
        """What the metric is for a config that is not tried in this run; of several metrics, a sequence of numbers."""

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A result of a trial; told in order, when the trial stands at a milestone or has ended.

        ``result["config"]`` is the config that it was earned with: population based training gives a trial others than
        were suggested. Do not change it.
        """

    @by_hand
    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None, outcome: Outcome = Outcome.COMPLETED
    ) -> None:
        """A trial ended. Called once for each.

        Args:
            trial_id: of a trial that was asked for.
            result: its last one, with the config that it was earned with; None if there was none.
            outcome: how it ended; where it is not COMPLETED, the metric is that of a training cut short.
        """

    # --------------------------------------------------------------------------------------- helpers

    @property
    def space(self) -> Space:
        """The search space."""
        return self.task.space

    @property
    def metric(self) -> str | tuple[str, ...] | None:
        """Name of the metric to optimise, a tuple of several, None where nothing is; before a run the one given."""
        names = self.task.metrics if hasattr(self, "task") else self.own_objectives[0]
        return names if len(names) > 1 else names[0] if names else None

    @property
    def mode(self) -> Mode | tuple[Mode, ...] | None:
        """Of the metric "min" or "max", of several a tuple, None without a metric; before a run the one given."""
        if hasattr(self, "task"):
            return self.task.mode
        modes = self.own_objectives[1]
        return modes if len(modes) > 1 else modes[0] if modes else None

    @property
    def num_samples(self) -> int | None:
        """As in `TuneConfig`; None where that says -1."""
        return self.task.num_samples

    def rng(self, index: int) -> Random:
        """A fresh generator for suggestion number `index`."""
        return Random(f"{self.seed}:suggest:{index}")

    def values(self, result: Mapping[str, Any] | None) -> list[float] | None:
        """The metrics of a result, as numbers; None where one is missing or not finite."""
        found = [as_number(lookup(dict(result), name)) for name in self.task.metrics] if result else []
        return [value for value in found if value is not None] if found and None not in found else None

    def loss(self, result: Mapping[str, Any] | None) -> float | None:
        """The metric of a result, of which less is better; of several the first; None where there is no number."""
        values = self.values(result)
        return None if values is None else self.losses(values)[0]

    def losses(self, value: Any) -> list[float]:
        """The value of the metric (of several: a sequence) as numbers of which less is better."""
        values = list(value) if as_number(value) is None else [value]
        return [-float(v) if mode == "max" else float(v) for v, mode in zip(values, self.task.modes, strict=True)]


SearchAlgorithm = Searcher
"""What Ray Tune calls a searcher that says itself how many trials there are."""
