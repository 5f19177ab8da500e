"""Evolution: configs that did well are crossed and changed a little, one new one for each trial that is free.

A steady-state genetic algorithm (Whitley, 1989, The GENITOR algorithm and selection pressure): whoever is among the
best may be a parent, and a child counts from the moment its trial ends, so that no trial waits for a generation to be
complete. Parents are chosen by tournament (Goldberg and Deb, 1991, A comparative analysis of selection schemes used in
genetic algorithms) and crossed uniformly (Syswerda, 1989, Uniform crossover in genetic algorithms). Steps are taken
along the quantiles of a domain. Their length is the spread of the population, which is wide at first and gathers by
itself, as in differential evolution (Storn and Price, 1997, Differential evolution, section 2).
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple, TypeGuard

from tune_plugins.arguments import Mistakes
from tune_plugins.core.evaluated import as_number
from tune_plugins.core.metrics import Mode
from tune_plugins.core.searcher import NEXT, Outcome, Searcher, SearchTask, Signal
from tune_plugins.errors import ArgumentError
from tune_plugins.search.ranking import Standing, goal_mistakes, ranked, reached
from tune_plugins.space import Categorical, Domain, Function, Parameter

Values = dict[str, Any]
"""Flat values, as of `Space.values_of`."""

_TRIES = 40  # children that are made before configs are drawn, and configs drawn, until one is legal and new
_SHORTEST_STEP = 0.01  # standard deviation in quantiles, where the population has gathered in one place
_RAREST_CHANGE = 0.1  # probability of another option, where the population has settled on one


class _Individual(NamedTuple):
    values: Values
    standing: Standing


class EvolutionarySearch(Searcher):
    """Evolves a population of configs; any kind of space, one metric or several, nothing to install.

    The first `population` configs are spread evenly. Each further one is the child of two that are chosen from the best
    `population` so far: it has each parameter from one of the two, and some are changed. Numbers and ordinals move by a
    step, of other options another one is drawn. What belongs to an option comes along with it; to an option that no
    parent has, it is drawn. `sample_from` functions are called again. No config is tried twice, as long as the space
    has others, and none that breaks a constraint.

    A trial that the scheduler stopped early ranks behind those that came further, however good its value; one that
    failed or reported no finite number is never a parent, and one that was interrupted does not count. Of several
    metrics, the non-dominated and least crowded configs are the best.

    After a resume it goes on exactly as if it had not been interrupted.

    Args:
        metric: metric to optimise, or a list of several; None: the one of `TuneConfig`.
        mode: "min" or "max", of several metrics a list; None: the one of `TuneConfig`.
        population: number of configs that may be parents. More take longer and find more.
        tournament: so many are drawn from them, and the best of these is a parent: 1 is by chance, more is greedy.
        crossover: probability that a child has two parents, not one.
        mutation: probability that a parameter is changed; one is on average, at least. Options are changed less often
            once the population agrees on one.
        points_to_evaluate, evaluated_rewards, warm_start, random_state: as for every `Searcher`.

    Raises:
        ArgumentError: lists all mistakes; those of the space and the metric are raised by `prepare`.

    >>> from tune_plugins.space import Space, uniform
    >>> searcher = EvolutionarySearch(population=10)
    >>> searcher.prepare(SearchTask(Space({"x": uniform(-10, 10)}), metric="loss", mode="min", num_samples=50))
    >>> for index in range(50):
    ...     config = searcher.ask(f"{index}", index)
    ...     searcher.on_trial_complete(f"{index}", {"loss": (config["x"] - 3) ** 2})
    >>> abs(config["x"] - 3) < 0.5
    True
    """

    def __init__(
        self,
        metric: str | Sequence[str] | None = None,
        mode: Mode | Sequence[Mode] | None = None,
        *,
        population: int = 12,
        tournament: int = 4,
        crossover: float = 0.9,
        mutation: float = 0.4,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        evaluated_rewards: Sequence[Any] | None = None,
        warm_start: Any = None,
        random_state: int | None = None,
    ) -> None:
        self.population, self.tournament, self.crossover, self.mutation = population, tournament, crossover, mutation
        self._parameters: list[Parameter] = []
        self._best: list[_Individual] = []  # at most `population`, the best one first
        self._evaluated = 0  # points that were known beforehand
        self._values: dict[str, Values] = {}  # of the trials that have not ended
        self._tried: set[str] = set()
        super().__init__(
            metric,
            mode,
            points_to_evaluate=points_to_evaluate,
            evaluated_rewards=evaluated_rewards,
            warm_start=warm_start,
            random_state=random_state,
        )

    def mistakes(self) -> list[str]:
        """See `Searcher.mistakes`."""
        found = Mistakes("EvolutionarySearch", super().mistakes())
        found.whole("population", self.population, least=2)
        found.whole("tournament", self.tournament, least=1)
        found.number("crossover", self.crossover, least=0, most=1, what="a probability")
        found.number("mutation", self.mutation, least=0, most=1, what="a probability")
        return found.found

    def setup(self, task: SearchTask) -> None:
        """See `Searcher.setup`.

        Raises:
            ArgumentError: there is no metric to optimise.
        """
        super().setup(task)
        Mistakes("EvolutionarySearch", goal_mistakes(self.task)).raise_if_any()
        # A function's value is not inherited: it belongs to the values that it was computed from.
        self._parameters = [each for each in task.space.walk() if not isinstance(each.domain, Function)]
        self._best, self._evaluated, self._values, self._tried = [], 0, {}, set()

    # ---------------------------------------------------------------------------------- what it hears

    def on_suggested(self, trial_id: str, index: int, config: dict[str, Any]) -> None:
        """See `Searcher.on_suggested`."""
        values = self._read(config)
        if values is not None:
            self._values[trial_id] = values
            self._tried.add(_key(values))

    def add_evaluated_point(self, config: dict[str, Any], value: Any) -> None:
        """See `Searcher.add_evaluated_point`."""
        values = self._read(config)
        numbers = [as_number(each) for each in (value if isinstance(value, Sequence) else [value])]
        if values is not None and None not in numbers:
            self._evaluated += 1
            self._tried.add(_key(values))
            self._add(_Individual(values, (float("inf"), tuple(self.losses(numbers)))))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None, outcome: Outcome = Outcome.COMPLETED
    ) -> None:
        """See `Searcher.on_trial_complete`."""
        values = self._values.pop(trial_id, None)
        if outcome is Outcome.DROPPED and values is not None:
            self._tried.discard(_key(values))
        numbers = self.values(result)
        if result is None or numbers is None or outcome not in (Outcome.COMPLETED, Outcome.STOPPED):
            return
        if "config" in result:
            values = self._read(result["config"])
        if values is not None:
            reach = reached(result, outcome, self.task.fidelity)
            self._add(_Individual(values, (reach, tuple(self.losses(numbers)))))

    def _read(self, config: Mapping[str, Any]) -> Values | None:
        """The values of a config; None where it does not fit the space, as a scheduler's may not."""
        try:
            return self.space.values_of(config)
        except ArgumentError:
            return None

    def _add(self, individual: _Individual) -> None:
        everybody = [*self._best, individual]
        order = ranked([each.standing for each in everybody])
        self._best = [everybody[number] for number in order[: self.population]]

    # ------------------------------------------------------------------------------- what it suggests

    def suggest(self, trial_id: str, index: int = NEXT) -> dict[str, Any] | Signal | None:
        """See `Searcher.suggest`."""
        legal = (config for config in self._candidates(index) if not self.space.broken(config))
        config = tried = None
        for each in legal:
            if self._is_new(each):
                config = each
                break
            tried = each
        if config is None:
            config = self._drawn(index, tried)
        self.on_suggested(trial_id, index, config)
        return config

    def _drawn(self, index: int, tried: dict[str, Any] | None) -> dict[str, Any]:
        """A legal config that may have been tried: `tried` is one, where it takes too long to find another."""
        try:
            return self.space.sample(self.rng(index).getrandbits(31), f"{self.seed}:{index}")
        except ArgumentError:
            if tried is None:
                raise
            return tried

    def _is_new(self, config: dict[str, Any]) -> bool:
        values = self._read(config)
        return values is None or _key(values) not in self._tried

    def _candidates(self, index: int) -> Iterator[dict[str, Any]]:
        rng = self.rng(index)
        if index + self._evaluated < self.population:
            yield self.space.config_of(self._evenly(index, rng), f"{self.seed}:{index}")
        elif len(self._best) >= max(2, self.population // 2):
            spread = {parameter.name: self._spread(parameter) for parameter in self._parameters}
            for number in range(_TRIES):
                # Longer and longer steps, should all that is near have been tried.
                longer = 2 ** (10 * number / _TRIES)
                child = self._child(rng, {name: longer * width for name, width in spread.items()})
                yield self.space.config_of(child, f"{self.seed}:{index}:{number}")
        for number in range(_TRIES):
            yield self.space.config_of({}, f"{self.seed}:{index}:drawn{number}")

    def _evenly(self, index: int, rng: Random) -> Values:
        """A row of a Latin hypercube: of each parameter another one of `population` equal parts."""
        values = {}
        for parameter in self._parameters:
            if parameter.domain.has_quantiles:
                parts = list(range(self.population))
                Random(f"{self.seed}:parts:{parameter.name}").shuffle(parts)
                values[parameter.name] = parameter.at((parts[index] + rng.random()) / self.population)
        return values

    def _spread(self, parameter: Parameter) -> float:
        """How far the population is apart: standard deviation in quantiles; of options, the share of the rarer ones."""
        found = [each.values[parameter.name] for each in self._best if parameter.name in each.values]
        if len(found) < 2 or not parameter.domain.has_quantiles:
            return 1.0
        if _is_unordered(parameter.domain):
            return max(1 - Counter(found).most_common(1)[0][1] / len(found), _RAREST_CHANGE)
        return max(statistics.pstdev(parameter.place(value) for value in found), _SHORTEST_STEP)

    def _parent(self, rng: Random) -> Values:
        return self._best[min(rng.randrange(len(self._best)) for _ in range(self.tournament))].values

    def _child(self, rng: Random, steps: Mapping[str, float]) -> Values:
        """Values of a child; those that it leaves out are to be drawn."""
        parents = [self._parent(rng)]
        if rng.random() < self.crossover:
            parents.append(self._parent(rng))
        mutation = max(self.mutation, 1 / max(1, len(parents[0])))
        values: Values = {}
        for parameter in self._parameters:
            if any(values.get(choice) != option for choice, option in parameter.conditions):
                continue
            inherited = [parent[parameter.name] for parent in parents if parameter.name in parent]
            if not inherited:
                if parameter.domain.has_quantiles:
                    values[parameter.name] = parameter.at(rng.random())
                continue
            value, step = rng.choice(inherited), steps[parameter.name]
            if rng.random() >= (min(mutation, step) if _is_unordered(parameter.domain) else mutation):
                values[parameter.name] = value
            elif parameter.domain.has_quantiles:
                values[parameter.name] = _mutated(parameter, value, rng, step)
        return values


def _key(values: Values) -> str:
    return repr(sorted(values.items()))


def _is_unordered(domain: Domain) -> TypeGuard[Categorical]:
    return isinstance(domain, Categorical) and not domain.ordered


def _mutated(parameter: Parameter, value: Any, rng: Random, step: float) -> Any:
    """Another value: of an unordered choice any, else one that is about a step away."""
    domain = parameter.domain
    if _is_unordered(domain):
        return rng.choice([number for number in range(len(domain)) if number != value] or [value])
    place, changed = parameter.place(value), value
    for _ in range(_TRIES):
        changed = parameter.at(_reflected(place + rng.gauss(0, step)))
        if changed != value:
            break
        step *= 1.5  # a cell may be wider than the step
    return changed


def _reflected(place: float) -> float:
    """A place outside of 0 to 1 comes in again, as light from a mirror."""
    place = abs(place) % 2
    return 2 - place if place > 1 else place
