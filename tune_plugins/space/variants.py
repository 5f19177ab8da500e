"""`Space`: everything a user put into ``param_space``, as configs to try one after another."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tune_plugins.arguments import did_you_mean
from tune_plugins.errors import ArgumentError
from tune_plugins.space.constraints import Constraint, constraint
from tune_plugins.space.domains import Categorical, Domain, rebuild
from tune_plugins.space.encoding import decode, encode
from tune_plugins.space.lazy import Root, plain
from tune_plugins.space.nested import copy_of
from tune_plugins.space.nodes import FREE, Columns, Draw, Parameter, Table, parse
from tune_plugins.space.streams import hashed


class Space:
    """A search space: nested dicts and lists of constants, domains and grids; may be given as `param_space`.

    The space is read once; later changes to `param_space` have no effect. Construction never raises: see `mistakes`.

    Args:
        param_space: names to constants or domains, nested as you like. None: there are no parameters.
        constraints: what must hold for every config, each made by `constraint` or a function of the config. What is
            drawn is drawn again until it does; points of a grid for which it does not are left out.

    >>> from tune_plugins.space import grid_search, uniform
    >>> space = Space({"lr": uniform(0, 1), "model": {"depth": grid_search([2, 4])}})
    >>> space.grid_size, space.parameters
    (2, ['lr', 'model/depth'])
    >>> [space.sample(index, seed=1)["model"]["depth"] for index in range(4)]
    [2, 4, 2, 4]
    """

    def __init__(
        self,
        param_space: Mapping[str, Any] | None = None,
        constraints: Iterable[Constraint | Callable[[dict[str, Any]], object]] = (),
    ) -> None:
        self._constraint_mistakes: list[str] = []
        self.constraints = tuple(self._constraints(constraints))
        self._given = _copied(dict(param_space)) if isinstance(param_space, Mapping) else param_space
        items = self._given if isinstance(self._given, dict) else {}
        self._tree = Table("", {key: parse(value, str(key)) for key, value in items.items()})
        self._mistakes: list[str] | None = None
        self._made: _Made | None = None
        self._legal_points: list[int] | None = None

    def __repr__(self) -> str:
        return f"Space({self._given!r})"

    def _constraints(self, given: Any) -> Iterator[Constraint]:
        if isinstance(given, Constraint) or not isinstance(given, Iterable):
            given = [given]
        for each in given:
            try:
                yield each if isinstance(each, Constraint) else constraint(each)
            except ArgumentError as error:
                self._constraint_mistakes += [f"constraints: {mistake}" for mistake in error.mistakes]

    def mistakes(self) -> list[str]:
        """Everything that is wrong with the space, each with the name of the parameter and a remedy.

        Once the domains are right, one config is resolved as a trial, so that a `sample_from` function that fails,
        or several that need one another in a circle, are found before the first trial.
        """
        if self._mistakes is None:
            self._mistakes = self._find_mistakes()
        return list(self._mistakes)

    def remarks(self) -> list[str]:
        """What is right, and maybe not what was meant: a list of numbers, which stays a constant."""
        return list(self._tree.remarks())

    def _find_mistakes(self) -> list[str]:
        if self._constraint_mistakes:
            return self._constraint_mistakes
        if self._given is None:
            return []
        if not isinstance(self._given, Mapping):
            return [f"param_space: expected a dict of names to values and domains, got {self._given!r}."]
        if list(self._given) == ["grid_search"]:
            return [
                "param_space: expected a dict of names to values, got a grid_search as the whole space. "
                "Give it a name: {'model': grid_search([...])}."
            ]
        found = list(dict.fromkeys(self._tree.mistakes()))
        names = [name for name, _ in self._tree.domains()]
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            found.append(f"{name}: two parameters have this name. Rename one of them.")
        if not found:
            try:
                if self.grid_size == 0:
                    found.append(
                        f"param_space: no point of the grid is legal by the constraints {self._shown_constraints()}. "
                        "Widen the grid, or check the constraints."
                    )
                else:
                    self.sample(0, "check")
            except ArgumentError as error:
                found.extend(error.mistakes)
        return found

    @property
    def param_space(self) -> dict[str, Any]:
        """A copy of what was given."""
        return _copied(self._given) if isinstance(self._given, dict) else {}

    @property
    def grid_size(self) -> int:
        """Number of grid points: 1 without a grid, the product of the lengths of several.

        Where nothing but the grid varies, those against a constraint are not counted.
        """
        return self._tree.size(FREE) if self._points is None else len(self._points)

    @property
    def _points(self) -> list[int] | None:
        """Legal points of the grid, where a config is nothing but such a point; None: all of them may be legal."""
        if self._legal_points is None and self.constraints:
            size = self._tree.size(FREE)
            if size == 1 or any(not (isinstance(d, Categorical) and d.grid) for d in _all_domains(self._tree)):
                return None
            self._legal_points = [p for p in range(size) if not self.broken(self._filled(Draw("grid"), p, FREE))]
        return self._legal_points

    def broken(self, config: dict[str, Any]) -> list[Constraint]:
        """The constraints that do not hold for a config."""
        return [each for each in self.constraints if not each.holds(copy_of(config))]

    @property
    def parameters(self) -> list[str]:
        """Names of all that varies, in order, as `flatten` gives them for a config; with those inside of options."""
        varies: dict[str, bool] = {}
        for name, here in self._tree.leaves(""):
            varies[name] = varies.get(name, False) or here
        return [name for name, here in varies.items() if here]

    @property
    def domains(self) -> dict[str, Domain]:
        """Flat mapping of names to domains; a grid is a `Categorical`, list items have numbers (``layers/0``).

        Domains inside the options of a `choice` belong to that choice and are not listed on their own.
        """
        return dict(self._tree.domains())

    def sample(self, index: int, seed: int | str, *, constant_grid_search: bool = False) -> dict[str, Any]:
        """The config of variant number `index`, a function of index and seed alone.

        Variants go through the whole grid, then through it again: grid point ``index % grid_size`` of repetition
        ``index // grid_size``. The parameter of the first name in alphabetical order changes fastest, as in Ray Tune.

        Args:
            index: number of the variant, from 0.
            seed: of the run.
            constant_grid_search: draw random values once for each repetition instead of for each variant.

        Returns:
            A nested dict of its own: none of its dicts and lists is part of ``param_space`` or of another variant.

        Raises:
            ArgumentError: a `sample_from` function raised, or several need one another in a circle.
        """
        if self._made is None:
            self._made = _Made(self._tree, self.grid_size)
        if self._made.possible:
            made = self._made
            return self._legal(lambda again: made.config(index, f"{seed}{again}"))
        repetition, point = divmod(index, self._made.grid_size)
        if self._points is not None:
            point = self._points[point]
        if constant_grid_search:
            return self.variant(f"{seed}:r{repetition}", point)
        return self._legal(lambda again: self._filled(Draw(f"{seed}{again}", index), point, FREE))

    def _legal(self, draw: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
        """What `draw` makes, with other texts to draw from until all constraints hold."""
        config = draw("")
        if not self.constraints:
            return config
        counts: Counter[str] = Counter()
        for attempt in range(1, _MOST_DRAWS + 1):
            broken = self.broken(config)
            if not broken:
                return config
            counts.update(each.name for each in broken)
            config = draw(f":again{attempt}")
        told = ", ".join(f"{name} in {count / _MOST_DRAWS:.0%}" for name, count in counts.most_common())
        raise ArgumentError(
            "param_space",
            [
                f"constraints: {_MOST_DRAWS:,} configs in a row were drawn in vain; broken were: {told}. The last one "
                f"was {config!r}. Narrow the domains to where the constraints hold, or compute one value from the "
                "others by sample_from."
            ],
        )

    def _shown_constraints(self) -> str:
        return ", ".join(each.name for each in self.constraints)

    def variant(self, draw: str, grid_point: int = 0, fixed: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The config at a grid point, with some values given.

        Args:
            draw: text that all random values are drawn from: the same text, the same values.
            grid_point: from 0 to ``size_with(fixed)`` - 1.
            fixed: values that are not drawn, nested or flat; to be checked by `check_point` first.

        Raises:
            ArgumentError: as of `sample`; also where the values given leave nothing that the constraints allow.
        """
        pin = FREE if fixed is None else fixed
        return self._legal(lambda again: self._filled(Draw(f"{draw}{again}"), grid_point, pin))

    def _filled(self, draw: Draw, grid_point: int, fixed: Any) -> dict[str, Any]:
        root = draw.root = Root()
        self._tree.fill(root, draw, grid_point, fixed)
        config: dict[str, Any] = plain(root)
        return config

    def size_with(self, fixed: Mapping[str, Any]) -> int:
        """Number of grid points that are left once the values `fixed` are given."""
        return self._tree.size(fixed)

    def check_point(self, point: Any, *, loose: bool = False) -> list[str]:
        """What is wrong with a (partial) config: unknown names, values outside of their domains.

        Args:
            point: nested or flat.
            loose: other values than those of a grid, and than a constant, are right.
        """
        return self._tree.misfits(point, loose=loose)

    def walk(self) -> list[Parameter]:
        """Everything that varies, in order, also inside of options: the space as a list of named dimensions.

        >>> from tune_plugins.space import choice, loguniform, uniform
        >>> space = Space({"lr": loguniform(1e-4, 1), "opt": choice([{"kind": "sgd", "m": uniform(0, 1)}, "adam"])})
        >>> [(parameter.name, parameter.conditions) for parameter in space.walk()]
        [('lr', ()), ('opt', ()), ('opt[0]/m', (('opt', 0),))]
        """
        return list(self._tree.walk(()))

    def values_of(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The flat values of a whole config by the names of `walk`: of those parameters that are there in it.

        Args:
            config: nested, as a trial gets it.

        Raises:
            ArgumentError: it does not fit the space.

        >>> from tune_plugins.space import choice, uniform
        >>> space = Space({"opt": choice([{"kind": "sgd", "m": uniform(0, 1)}, "adam"])})
        >>> space.values_of({"opt": {"kind": "sgd", "m": 0.9}}), space.values_of({"opt": "adam"})
        ({'opt': 0, 'opt[0]/m': 0.9}, {'opt': 1})
        """
        if mistakes := self.check_point(config):
            raise ArgumentError("Space.values_of", mistakes)
        return dict(self._tree.read(config))

    def config_of(self, values: Mapping[str, Any], seed: int | str = 0) -> dict[str, Any]:
        """The config of flat values: the inverse of `values_of`.

        Args:
            values: by the names of `walk`. Of a number the nearest legal one is taken. A parameter that is left out is
                drawn; one whose conditions do not hold is passed over, so that a vector of all of them will do.
            seed: for what is drawn, and for the functions of `sample_from`, which are called.

        Raises:
            ArgumentError: a name or a value does not fit the space.
        """
        names = [parameter.name for parameter in self._tree.walk(())]
        unknown = [name for name in values if name not in names]
        if unknown:
            told = [
                f"{name}: no such parameter.{did_you_mean(name, names)} Known: {', '.join(names)}." for name in unknown
            ]
            raise ArgumentError("Space.config_of", told)
        draw = Draw(f"{seed}:of")
        root = draw.root = Root()
        self._tree.complete(root, values, draw)
        config: dict[str, Any] = plain(root)
        return config

    def to_json(self) -> Any:
        """The space in terms of JSON: functions and other objects by their repr, constraints by their names."""
        given = encode(self._given)
        return {_SPACE: given, "constraints": [each.name for each in self.constraints]} if self.constraints else given

    @classmethod
    def from_json(cls, data: Any) -> Space:
        """The space that `to_json` wrote (text is read as JSON first).

        Functions are known by name only, so it cannot draw where there are any, nor constraints: an error says so.
        """
        read = json.loads(data) if isinstance(data, str) else data
        if isinstance(read, dict) and _SPACE in read:
            return cls(decode(read[_SPACE]), [Constraint(_not_there, name) for name in read["constraints"]])
        return cls(decode(read))

    def __getstate__(self) -> dict[str, Any]:
        """Without configs that are made ahead, by functions that cannot be sent."""
        return {**self.__dict__, "_made": None}


_SPACE = "$space"


def _not_there(config: dict[str, Any]) -> bool:
    raise ValueError("it was read from a record, which holds the name only; give the space again")


class _Made:
    """Configs of a space without grids and functions, made many at a time.

    Args:
        tree: of the space.
        grid_size: of the space.

    Attributes:
        possible: the space is such a one.
    """

    def __init__(self, tree: Table, grid_size: int) -> None:
        self.grid_size = grid_size
        self._columns = Columns()
        self.possible = grid_size == 1
        try:
            self._build = tree.compiled(self._columns)
        except NotImplementedError:
            self.possible = False
        self._seed, self._first, self._rows = "", 0, list[tuple[Any, ...]]()

    def config(self, index: int, seed: str) -> dict[str, Any]:
        """Number `index` under a seed."""
        place = index - self._first
        if seed != self._seed or not 0 <= place < len(self._rows):
            # A few at first: a run may be small. Then more, for one that goes on.
            goes_on = seed == self._seed and place == len(self._rows)
            count = min(4 * len(self._rows), _MOST_AT_ONCE) if goes_on and self._rows else _FEWEST_AT_ONCE
            self._seed, self._first, place = seed, index, 0
            self._rows = self._columns.rows(hashed(seed), index, count)
        config: dict[str, Any] = self._build(self._rows[place])
        return config


_FEWEST_AT_ONCE, _MOST_AT_ONCE = 4, 1024
_MOST_DRAWS = 1000


def _all_domains(tree: Table) -> Iterator[Domain]:
    return (parameter.domain for parameter in tree.walk(()))


def _copied(value: Any) -> Any:
    """A copy of nested dicts and lists; everything else is taken as it is."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return rebuild(value, [_copied(item) for item in value])
    return value
