"""A search space as a tree: parsed once, then built into one config after another.

Each node knows how many points its grids have, whether a given (partial) value fits, and how to build a value.
A *pin* is the part of a point to evaluate that belongs to a node; `FREE` where the point says nothing.
"""

from __future__ import annotations

import ast
import builtins
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

from tune_plugins.arguments import did_you_mean, is_whole
from tune_plugins.errors import ArgumentError
from tune_plugins.space.domains import Categorical, Domain, Function, rebuild, same
from tune_plugins.space.jsonable import storable
from tune_plugins.space.lazy import Pending, Record, Root, plain
from tune_plugins.space.lazy import Row as Lazy
from tune_plugins.space.streams import hashed, started, unit, units


class _Free:
    def __repr__(self) -> str:
        return "FREE"


FREE: Final = _Free()
"""No value was given: it is drawn."""


class Draw:
    """What is random about one config.

    Each parameter has a stream of numbers of its own (`tune_plugins.space.streams`), which starts from the text and the
    parameter's name, so that a value does not depend on what else is in the space or on the order of drawing.

    Args:
        text: all random values follow from it,
        number: and from this: the place in the stream.
    """

    def __init__(self, text: str, number: int = 0) -> None:
        self.text, self.number = text, number
        self.seed = hashed(text)
        self.running: list[str] = []
        self.root: Record = Root()

    def unit(self, key: int) -> float:
        """The number from 0 to 1 of one parameter."""
        return unit(started(self.seed, key), self.number)

    def rng(self, name: str) -> random.Random:
        """A generator of its own for one parameter."""
        return random.Random(storable(f"{self.text}:{self.number}|{name}"))


Row = tuple[Any, ...]


class Columns:
    """The random values of many configs, parameter by parameter; see `Node.compiled`."""

    def __init__(self) -> None:
        self.drawn: list[tuple[int, Callable[[float], Any]]] = []

    def add(self, key: int, quantiles: Callable[[float], Any]) -> Callable[[Row], Any]:
        """Another parameter: what takes its value out of a row."""
        self.drawn.append((key, quantiles))
        return itemgetter(len(self.drawn) - 1)

    def rows(self, seed: int, first: int, count: int) -> list[Row]:
        """The values of `count` configs, from number `first` on."""
        found = [list(map(quantiles, units(started(seed, key), first, count))) for key, quantiles in self.drawn]
        return list(zip(*found, strict=True)) if found else [()] * count


@dataclass(frozen=True, slots=True)
class Parameter:
    """Something that varies in a search space.

    Attributes:
        name: path of it, as in the flattened config; inside of an option with the number of that:
            ``model[0]/momentum``. No two parameters have the same one.
        domain: what it may be. Of a choice or a grid the flat value is the number of the option.
        conditions: (name of a choice, number of its option), from the outermost: it is there only where each of these
            choices has taken that option.
    """

    name: str
    domain: Domain
    conditions: tuple[tuple[str, int], ...] = ()

    def at(self, u: float) -> Any:
        """The flat value at quantile `u`, from 0 to 1.

        >>> from tune_plugins.space import choice, uniform
        >>> Parameter("x", uniform(2, 4)).at(0.5), Parameter("kind", choice(["a", "b"])).at(0.5)
        (3.0, 1)
        """
        return self.domain.index_at(u) if isinstance(self.domain, Categorical) else self.domain.from_unit(u)

    def place(self, value: Any) -> float:
        """The quantile of a flat value; of one that has a cell, the middle of that."""
        domain = self.domain
        return (value + 0.5) / len(domain) if isinstance(domain, Categorical) else domain.to_unit(value)


Conditions = tuple[tuple[str, int], ...]


class Node(ABC):
    """A part of a search space.

    Attributes:
        name: path of the part: keys joined by ``/``, the number of a list item likewise, that of an option in [].
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.key = hashed(name)

    def mistakes(self) -> Iterator[str]:
        """What is wrong with the part, each with its name."""
        return iter(())

    def remarks(self) -> Iterator[str]:
        """What is right, and maybe not what was meant."""
        return iter(())

    def domains(self) -> Iterator[tuple[str, Domain]]:
        """Name and domain of everything that varies, but for what is inside of options."""
        return iter(())

    def grids(self) -> Iterator[Grid]:
        """All grids, also those inside of options."""
        return iter(())

    def leaves(self, name: str) -> Iterator[tuple[str, bool]]:
        """Names in the flattened config, and whether their values vary."""
        yield name, False

    def size(self, pin: Any) -> int:
        """Number of grid points."""
        return 1

    @abstractmethod
    def misfits(self, pin: Any, *, loose: bool = False) -> list[str]:
        """Why `pin` cannot be a value of this part; empty if it can. With `loose`, grids and constants take any."""

    @abstractmethod
    def build(self, draw: Draw, point: int, pin: Any) -> Any:
        """The value at a grid point: plain, a `Record`, a `Lazy` row or `Pending`."""

    def walk(self, conditions: Conditions) -> Iterator[Parameter]:
        """All parameters, those inside of options, too."""
        return iter(())

    def read(self, value: Any) -> Iterator[tuple[str, Any]]:
        """Name and flat value of each parameter that is there in a value of this part."""
        return iter(())

    def made(self, values: Mapping[str, Any], draw: Draw) -> Any:
        """The value with flat values given, and the others drawn; as of `build`."""
        return self.build(draw, 0, FREE)

    def compiled(self, columns: Columns) -> Callable[[Row], Any]:
        """What makes the plain value out of a row of `columns`, to which the part adds its own.

        Raises:
            NotImplementedError: it is no function of such numbers alone: it has grids, or functions of the user's.
        """
        raise NotImplementedError


class Constant(Node):
    """A value that does not vary."""

    def __init__(self, name: str, value: Any) -> None:
        super().__init__(name)
        self.value = value

    def mistakes(self) -> Iterator[str]:
        """A domain of another library, which would silently stay a constant."""
        module = f"{type(self.value).__module__}."
        for package, (whose, remedy) in _OTHERS.items():
            if module.startswith(package):
                yield f"{self.name}: expected a domain of tune_plugins, got {whose}. {remedy}"
                return

    def remarks(self) -> Iterator[str]:
        """A range or an array of a few numbers may have been meant as options."""
        value = self.value
        few = isinstance(value, range) or (
            getattr(value, "ndim", 0) == 1 and getattr(value.dtype, "kind", "") in tuple("iuf")
        )
        if few and 1 < len(value) <= _MOST_MEANT_AS_OPTIONS:
            yield (
                f"{self.name}: {value!r} is a constant, the same in all trials. To draw one of its values: "
                "tune.choice([...]); to try each: tune.grid_search([...])."
            )

    def misfits(self, pin: Any, *, loose: bool = False) -> list[str]:
        """Any other value."""
        right = loose or same(self.value, pin)
        return [] if right else [f"{self.name}: param_space fixes it at {self.value!r}, got {pin!r}."]

    def build(self, draw: Draw, point: int, pin: Any) -> Any:
        """The value itself, or the other one that a point has; a set is copied."""
        value = self.value if pin is FREE or same(self.value, pin) else pin
        return value.copy() if isinstance(value, (set, bytearray)) else value

    def compiled(self, columns: Columns) -> Callable[[Row], Any]:
        """See `Node.compiled`."""
        value = self.value
        return (lambda row: value.copy()) if isinstance(value, (set, bytearray)) else lambda row: value


class Legacy(Constant):
    """``{"eval": "2 + 2"}``, in which early versions of Ray Tune had Python computed."""

    def mistakes(self) -> Iterator[str]:
        """That it would stay a dict of text."""
        text = self.value["eval"]
        yield (
            f"{self.name}: expected a value or a domain, got {self.value!r}, which is computed no more. "
            f"Write tune.sample_from(lambda spec: {text})."
        )


def _is_legacy(value: Mapping[Any, Any]) -> bool:
    """Whether it is what Ray Tune computed: an expression of nothing but ``spec``, ``random`` and ``np``."""
    text = value.get("eval")
    if len(value) != 1 or not isinstance(text, str):
        return False
    try:
        tree = ast.parse(text, mode="eval")
    except (ValueError, SyntaxError):
        return False
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    known = {"spec", "random", "np", *dir(builtins), *(each.id for each in names if isinstance(each.ctx, ast.Store))}
    return not isinstance(tree.body, (ast.Name, ast.Constant)) and all(each.id in known for each in names)


_MOST_MEANT_AS_OPTIONS = 20

_OTHERS = {
    "ray.tune.search.sample.": ("one of ray.tune", "Use the function of the same name from tune_plugins."),
    "scipy.stats.": (
        "a distribution of scipy",
        "Write tune.distribution(...) around a frozen one, such as scipy.stats.beta(2, 5).",
    ),
    "optuna.distributions.": ("one of Optuna", "Use uniform, loguniform, randint, choice, ... of tune_plugins."),
    "hyperopt.pyll.": ("one of HyperOpt", "Use uniform, loguniform, randint, choice, ... of tune_plugins."),
    "skopt.space.": ("one of scikit-optimize", "Use uniform, loguniform, randint, choice, ... of tune_plugins."),
    "ConfigSpace.": ("one of ConfigSpace", "Use uniform, loguniform, randint, choice, ... of tune_plugins."),
}
"""Domains of other libraries, which would silently stay constants."""


class Leaf(Node):
    """A numeric domain."""

    def __init__(self, name: str, domain: Domain) -> None:
        super().__init__(name)
        self.domain = domain

    def mistakes(self) -> Iterator[str]:
        """Those of the domain."""
        return (f"{self.name}: {mistake}" for mistake in self.domain.mistakes())

    def domains(self) -> Iterator[tuple[str, Domain]]:
        """The domain."""
        yield self.name, self.domain

    def leaves(self, name: str) -> Iterator[tuple[str, bool]]:
        """One, which varies."""
        yield name, True

    def misfits(self, pin: Any, *, loose: bool = False) -> list[str]:
        """A value outside of the domain."""
        return [] if self.domain.contains(pin) else [f"{self.name}: {pin!r} is outside of {self.domain!r}."]

    def build(self, draw: Draw, point: int, pin: Any) -> Any:
        """The pinned value in the domain's type, or a drawn one."""
        if pin is not FREE:
            return self.domain.clip(pin)
        if not self.domain.has_quantiles:
            return self.domain.sample(draw.rng(self.name))
        return self.domain.from_unit(draw.unit(self.key))

    def walk(self, conditions: Conditions) -> Iterator[Parameter]:
        """Itself."""
        yield Parameter(self.name, self.domain, conditions)

    def read(self, value: Any) -> Iterator[tuple[str, Any]]:
        """The value."""
        yield self.name, value

    def made(self, values: Mapping[str, Any], draw: Draw) -> Any:
        """The legal value that is nearest to the one given."""
        try:
            return self.build(draw, 0, values.get(self.name, FREE))
        except ValueError as error:
            raise ArgumentError(_SPACE, [f"{self.name}: {error}."]) from error

    def compiled(self, columns: Columns) -> Callable[[Row], Any]:
        """See `Node.compiled`."""
        if not self.domain.has_quantiles:
            raise NotImplementedError
        quantiles = getattr(self.domain, "quantiles", None)
        return columns.add(self.key, self.domain.from_unit if quantiles is None else quantiles())


_SPACE = "param_space"


class Call(Leaf):
    """A value that a function computes from other values."""

    domain: Function

    def build(self, draw: Draw, point: int, pin: Any) -> Any:
        """The pinned value, or one to be computed once the rest of the config is there."""
        return Pending(self.name, lambda: self._compute(draw), draw.running) if pin is FREE else pin

    def _compute(self, draw: Draw) -> Any:
        try:
            value = plain(self.domain.call(draw.root, draw.rng(self.name)))
        except ArgumentError as error:
            if error.where == _SPACE:  # of another value, which this one is computed from
                raise
            raise ArgumentError(_SPACE, [f"{self.name}(): {mistake}" for mistake in error.mistakes]) from error
        except Exception as error:
            raise ArgumentError(
                _SPACE,
                [
                    f"{self.name}: {self.domain!r} raised {type(error).__name__}: {error}. "
                    f"It was given a config with {', '.join(map(str, draw.root)) or 'nothing'}."
                ],
            ) from error
        node = parse(value, f"{self.name}()")  # the result may hold domains; their draws are not those of the function
        mistakes = list(node.mistakes())
        if next(node.grids(), None) is not None:
            mistakes.append(
                f"{self.name}: {self.domain!r} returned a grid_search, and the number of trials must be known before. "
                "Return a choice, or put the grid_search into param_space."
            )
        if mistakes:
            raise ArgumentError(_SPACE, mistakes)
        return node.build(draw, 0, FREE)


class Table(Node):
    """A dict."""

    def __init__(self, name: str, children: dict[Any, Node]) -> None:
        super().__init__(name)
        self.children = children
        # Grids count in the order of sorted names, the first one fastest, as in Ray Tune.
        self.grid_order = sorted(children, key=lambda key: (isinstance(key, str), str(key)))

    def mistakes(self) -> Iterator[str]:
        """Those of the items."""
        return (mistake for child in self.children.values() for mistake in child.mistakes())

    def remarks(self) -> Iterator[str]:
        """Those of the items."""
        return (remark for child in self.children.values() for remark in child.remarks())

    def domains(self) -> Iterator[tuple[str, Domain]]:
        """Those of the items."""
        return (pair for child in self.children.values() for pair in child.domains())

    def grids(self) -> Iterator[Grid]:
        """Those of the items."""
        return (grid for child in self.children.values() for grid in child.grids())

    def leaves(self, name: str) -> Iterator[tuple[str, bool]]:
        """Those of the items; an empty dict is one itself."""
        if not self.children and name:
            yield name, False
        for key, child in self.children.items():
            yield from child.leaves(join(name, key))

    def _spread(self, pin: Any) -> tuple[dict[Any, Any], list[Any]]:
        """The pins of the items, and the keys that no item has. Keys may be paths (``model/lr``)."""
        pins: dict[Any, Any] = {}
        unknown = []
        for key, value in pin.items() if pin is not FREE else ():
            head, slash, tail = key.partition("/") if isinstance(key, str) else (key, "", "")
            if key in self.children:
                both = isinstance(value, Mapping) and isinstance(pins.get(key), Mapping)
                pins[key] = {**pins[key], **value} if both else value
            elif slash and head in self.children and isinstance(pins.get(head, {}), Mapping):
                pins[head] = {**pins.get(head, {}), tail: value}
            else:
                unknown.append(key)
        return pins, unknown

    def size(self, pin: Any) -> int:
        """Product of those of the items."""
        pins, _ = self._spread(pin)
        product = 1
        for key, child in self.children.items():
            product *= child.size(pins.get(key, FREE))
        return product

    def misfits(self, pin: Any, *, loose: bool = False) -> list[str]:
        """Those of the items, unknown keys, and anything but a dict."""
        if not isinstance(pin, Mapping):
            return [f"{self.name or 'the point'}: expected a dict, got {pin!r}."]
        pins, unknown = self._spread(pin)
        found = [why for key, value in pins.items() for why in self.children[key].misfits(value, loose=loose)]
        names = dict.fromkeys(name for name, _ in self.leaves(self.name))
        for key in unknown:
            name = join(self.name, key)
            found.append(f"{name}: no such parameter.{did_you_mean(name, names)} Known: {', '.join(names)}.")
        return found

    def build(self, draw: Draw, point: int, pin: Any) -> Record:
        """A `Record`."""
        return self.fill(Record(), draw, point, pin)

    def fill(self, record: Record, draw: Draw, point: int, pin: Any) -> Record:
        """Build the items into `record`."""
        pins, _ = self._spread(pin)
        points = {}
        for key in self.grid_order:
            point, points[key] = divmod(point, self.children[key].size(pins.get(key, FREE)))
        for key, child in self.children.items():
            record[key] = child.build(draw, points[key], pins.get(key, FREE))
        return record

    def compiled(self, columns: Columns) -> Callable[[Row], Any]:
        """See `Node.compiled`."""
        items = [(key, child.compiled(columns)) for key, child in self.children.items()]
        return lambda row: {key: value(row) for key, value in items}

    def walk(self, conditions: Conditions) -> Iterator[Parameter]:
        """Those of the items."""
        return (parameter for child in self.children.values() for parameter in child.walk(conditions))

    def read(self, value: Any) -> Iterator[tuple[str, Any]]:
        """Those of the items."""
        for key, child in self.children.items():
            try:
                item = value[key]
            except (KeyError, IndexError, TypeError):
                raise ArgumentError(_SPACE, [f"{join(self.name, key)}: missing in {value!r}."]) from None
            yield from child.read(item)

    def made(self, values: Mapping[str, Any], draw: Draw) -> Any:
        """A `Record`."""
        return self.complete(Record(), values, draw)

    def complete(self, record: Record, values: Mapping[str, Any], draw: Draw) -> Record:
        """Make the items, into `record`."""
        for key, child in self.children.items():
            record[key] = child.made(values, draw)
        return record


class Series(Table):
    """A list or tuple: a `Table` of numbered items that shows up as one value in the flattened config."""

    def __init__(self, name: str, children: list[Node], like: list[Any] | tuple[Any, ...]) -> None:
        super().__init__(name, dict(enumerate(children)))
        self.grid_order = list(self.children)
        self.like = like

    def remarks(self) -> Iterator[str]:
        """A list of different numbers or words may have been meant as options; a tuple says that it was not."""
        items = [child.value for child in self.children.values() if isinstance(child, Constant)]
        flat = len(items) == len(self.children) and all(isinstance(item, (int, float, str)) for item in items)
        if isinstance(self.like, list) and flat and len(set(items)) == len(items) > 1:
            yield (
                f"{self.name}: the list {self.like!r} is a constant, the same in all trials. To draw one of its "
                "values: tune.choice([...]); to try each: tune.grid_search([...]). If it is meant as it is, write a "
                "tuple to be spared this remark."
            )
        yield from super().remarks()

    def leaves(self, name: str) -> Iterator[tuple[str, bool]]:
        """One, which varies if any item does."""
        yield name, any(varies for _, child in self.children.items() for _, varies in child.leaves(name))

    def _spread(self, pin: Any) -> tuple[dict[Any, Any], list[Any]]:
        if isinstance(pin, (list, tuple)):
            return dict(enumerate(pin)), []
        if isinstance(pin, Mapping):  # from a path such as layers/0
            pin = {f"{key}": value for key, value in pin.items()}
            named = Table(self.name, {f"{index}": child for index, child in self.children.items()})
            pins, unknown = named._spread(pin)
            return {int(key): value for key, value in pins.items()}, unknown
        return {}, []

    def misfits(self, pin: Any, *, loose: bool = False) -> list[str]:
        """Those of the items, and anything but a list of the same length."""
        if isinstance(pin, Mapping) or (isinstance(pin, (list, tuple)) and len(pin) == len(self.children)):
            pins, unknown = self._spread(pin)
            if not unknown:
                return [why for key, value in pins.items() for why in self.children[key].misfits(value, loose=loose)]
        return [f"{self.name}: expected a list of {len(self.children)} values, got {pin!r}."]

    def build(self, draw: Draw, point: int, pin: Any) -> Any:
        """A `Lazy` row."""
        record = self.fill(Record(), draw, point, pin)
        return Lazy(list(dict.values(record)), self.like)

    def compiled(self, columns: Columns) -> Callable[[Row], Any]:
        """See `Node.compiled`."""
        items, like = [child.compiled(columns) for child in self.children.values()], self.like
        return lambda row: rebuild(like, [value(row) for value in items])

    def made(self, values: Mapping[str, Any], draw: Draw) -> Any:
        """A `Lazy` row."""
        return Lazy(list(dict.values(self.complete(Record(), values, draw))), self.like)


class Choice(Node):
    """One of several options, drawn."""

    def __init__(self, name: str, domain: Categorical) -> None:
        super().__init__(name)
        self.domain = domain
        options = domain.options if isinstance(domain.options, tuple) else ()
        self.options = [parse(option, f"{name}[{number}]") for number, option in enumerate(options)]

    def mistakes(self) -> Iterator[str]:
        """Those of the domain and of the options; a grid in an option."""
        yield from (f"{self.name}: {mistake}" for mistake in self.domain.mistakes())
        for option in self.options:
            yield from option.mistakes()
            for grid in option.grids():
                yield (
                    f"{grid.name}: a grid_search inside of a choice makes the number of trials a matter of chance. "
                    "Make the outer one a grid_search too, or the inner one a choice."
                )

    def domains(self) -> Iterator[tuple[str, Domain]]:
        """The domain, without those inside of options."""
        yield self.name, self.domain

    def leaves(self, name: str) -> Iterator[tuple[str, bool]]:
        """Those of dicts among the options, and one for the other options."""
        for option in self.options:
            for leaf, _ in option.leaves(name):
                yield leaf, True

    def _fitting(self, pin: Any) -> list[Node]:
        if pin is FREE:
            return self.options
        fitting = [option for option in self.options if not option.misfits(pin)]
        return fitting if isinstance(pin, Mapping) else fitting[:1]  # a dict may leave open which option it belongs to

    def misfits(self, pin: Any, *, loose: bool = False) -> list[str]:
        """A value that fits none of the options."""
        return [] if self._fitting(pin) else [f"{self.name}: {pin!r} is none of the options of {self.domain!r}."]

    def build(self, draw: Draw, point: int, pin: Any) -> Any:
        """One option, built."""
        fitting = self._fitting(pin)
        return fitting[min(int(draw.unit(self.key) * len(fitting)), len(fitting) - 1)].build(draw, 0, pin)

    def compiled(self, columns: Columns) -> Callable[[Row], Any]:
        """See `Node.compiled`."""
        options = [option.compiled(columns) for option in self.options]
        index = columns.add(self.key, self.domain.index_at)
        return lambda row: options[index(row)](row)

    def walk(self, conditions: Conditions) -> Iterator[Parameter]:
        """Itself, and those of the options, each under its condition."""
        yield Parameter(self.name, self.domain, conditions)
        for number, option in enumerate(self.options):
            yield from option.walk((*conditions, (self.name, number)))

    def read(self, value: Any) -> Iterator[tuple[str, Any]]:
        """Number of the option that `value` is, and what is in that."""
        for number, option in enumerate(self.options):
            if option.misfits(value):
                continue
            with suppress(ArgumentError):  # a dict with keys of this option, but not all of them
                inside = list(option.read(value))
                yield self.name, number
                yield from inside
                return
        raise ArgumentError(_SPACE, [f"{self.name}: {value!r} is none of the options of {self.domain!r}."])

    def made(self, values: Mapping[str, Any], draw: Draw) -> Any:
        """The option of the number given, with what is in it."""
        number = values.get(self.name, FREE)
        if number is FREE:
            number = self.domain.index_at(draw.unit(self.key))
        if not is_whole(number) or not 0 <= number < len(self.options):
            raise ArgumentError(
                _SPACE,
                [f"{self.name}: expected the number of an option, 0 to {len(self.options) - 1}, got {number!r}."],
            )
        return self.options[int(number)].made(values, draw)


class Grid(Choice):
    """One of several options, each in turn."""

    def mistakes(self) -> Iterator[str]:
        """Those of the domain and of the options, which may hold grids."""
        yield from (f"{self.name}: {mistake}" for mistake in self.domain.mistakes())
        for option in self.options:
            yield from option.mistakes()

    def grids(self) -> Iterator[Grid]:
        """This one."""
        yield self

    def misfits(self, pin: Any, *, loose: bool = False) -> list[str]:
        """A value that fits none of the options."""
        return [] if loose else super().misfits(pin)

    def _tried(self, pin: Any) -> list[Node]:
        """The options that fit; a value that is none of them is the only one itself."""
        return self._fitting(pin) or [Constant(self.name, pin)]

    def compiled(self, columns: Columns) -> Callable[[Row], Any]:
        """Not possible."""
        raise NotImplementedError

    def size(self, pin: Any) -> int:
        """Sum of those of the options."""
        return sum(option.size(pin) for option in self._tried(pin))

    def build(self, draw: Draw, point: int, pin: Any) -> Any:
        """The option that the grid point falls into, built."""
        for option in self._tried(pin):
            size = option.size(pin)
            if point < size:
                return option.build(draw, point, pin)
            point -= size
        raise IndexError(f"{self.name}: grid point {point} past the end")


def join(name: str, key: Any) -> str:
    """Path of an item."""
    return f"{name}/{key}" if name else str(key)


def parse(value: Any, name: str = "") -> Node:
    """The tree of a search space or of a part of one. Never raises: see `Node.mistakes`."""
    if isinstance(value, Function):
        return Call(name, value)
    if isinstance(value, Categorical):
        return Grid(name, value) if value.grid else Choice(name, value)
    if isinstance(value, Domain):
        return Leaf(name, value)
    if isinstance(value, dict):
        if len(value) == 1 and "grid_search" in value:
            return Grid(name, Categorical(value["grid_search"], grid=True))
        if _is_legacy(value):
            return Legacy(name, value)
        return Table(name, {key: parse(item, join(name, key)) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return Series(name, [parse(item, join(name, number)) for number, item in enumerate(value)], value)
    return Constant(name, value)
