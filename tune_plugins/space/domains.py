"""Domains: what values a hyper-parameter may take, and how one is drawn.

Five classes with `log` and `q` attributes instead of one class for each function: `Float`, `Integer`, `Normal`,
`Categorical`, `Function`. Construction never raises: `mistakes` says what is wrong, so that a search space can
report all of its mistakes at once.

All but functions can be walked along the unit interval, by the inverse of the cumulative distribution (Devroye, 1986,
Non-Uniform Random Variate Generation, II.2): a number from 0 to 1 is a value, and a value stands at a number.
"""

from __future__ import annotations

import inspect
import math
import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from numbers import Integral
from statistics import NormalDist
from typing import Any, ClassVar

from tune_plugins.arguments import is_finite, is_number, is_whole
from tune_plugins.space.encoding import DOMAIN_TYPES, decode, encode


class Domain(ABC):
    """The values that one hyper-parameter may take.

    The numeric classes are immutable and compare by value; a domain with `mistakes` must not be sampled.
    """

    kind: ClassVar[str]

    @property
    def has_quantiles(self) -> bool:
        """`from_unit` and `to_unit` can be asked: it is no function."""
        return True

    def sample(self, rng: Any = None, size: int | None = None) -> Any:
        """A legal value, or a list of `size` of them.

        Args:
            rng: a `random.Random`, a generator of NumPy, or a seed; None: Python's own `random`, which ``random.seed``
                governs.
            size: how many; None: one value, not in a list.

        >>> Float(0, 1).sample(7) == Float(0, 1).sample(random.Random(7))
        True
        """
        generator = _generator(rng)
        if not callable(getattr(generator, "random", None)) or not (size is None or (is_whole(size) and size >= 0)):
            raise TypeError(
                f"{self!r}.sample: expected a generator of random or NumPy, or a seed, and a size of 0 or more, got "
                f"{rng!r} and {size!r}. Write e.g. sample(random.Random(7), size=3)."
            )
        if size is None:
            return self._drawn(generator)
        return [self._drawn(generator) for _ in range(size)]

    def _drawn(self, rng: random.Random) -> Any:
        return self.from_unit(rng.random())

    @abstractmethod
    def from_unit(self, u: float) -> Any:
        """The value at quantile `u`, from 0 to 1: the inverse of the cumulative distribution.

        Raises:
            ValueError: the domain has none.
        """

    @abstractmethod
    def to_unit(self, value: Any) -> float:
        """Where a legal value stands between 0 and 1; of a value that has a cell, as whole numbers have, its middle.

        Raises:
            ValueError: there is no such place, or `value` is not legal.
        """

    @abstractmethod
    def contains(self, value: Any) -> bool:
        """Whether `value` is legal; bounds are inclusive."""

    @abstractmethod
    def clip(self, value: Any) -> Any:
        """The legal value nearest to `value`, in the domain's own type.

        Raises:
            ValueError: there is no nearest one (not a number, NaN, a category that does not exist).
        """

    @abstractmethod
    def mistakes(self) -> list[str]:
        """What is wrong with the domain: what was given, what was expected, what to do. Empty if nothing."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The domain in terms of JSON, see `from_json`."""

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Domain:
        """The domain that `to_json` wrote.

        Raises:
            ValueError: `data` is not a domain of a kind known here.
        """
        domain = decode(dict(data))
        if not isinstance(domain, Domain):
            raise ValueError(f"expected a domain as Domain.to_json writes it, got {data!r}")
        return domain


def _generator(rng: Any) -> Any:
    if rng is None:
        return random
    if is_whole(rng):
        return random.Random(int(rng))
    if type(rng).__module__.partition(".")[0] == "numpy":
        draw = getattr(rng, "integers", None) or rng.randint  # of a Generator, of a RandomState
        return random.Random(int(draw(2**31 - 1)) << 31 | int(draw(2**31 - 1)))
    return rng


# --------------------------------------------------------------------------------------- numbers


def _as_float(value: Any) -> Any:
    """A float where `value` is a number, else `value` itself, for `mistakes` to name."""
    try:
        return float(value) if is_number(value) else value
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _as_int(value: Any) -> Any:
    """An int where `value` is a whole number (also ``1e3``), else `value` itself, for `mistakes` to name."""
    if is_number(value) and (isinstance(value, Integral) or (math.isfinite(value) and value == math.floor(value))):
        return int(value)
    return value


def as_number(value: Any, domain: Domain) -> Any:
    """`value`, if it is a number; ValueError says that none of the domain is nearest to it."""
    if not is_number(value) or math.isnan(value):
        raise ValueError(f"expected a number, got {value!r}: no value of {domain!r} is nearest to it")
    return value


def _decimal(value: float) -> Fraction:
    """The number that a float is written as, exactly: 1/10 for 0.1, so that products carry no binary dust."""
    return Fraction(repr(value))


def _index_at(first: int, last: int, log: bool, shift: float) -> Callable[[float], int]:
    """Whole numbers from `first` to `last` by quantile.

    With `log` the logarithm is uniform and k stands for the interval [k - shift, k + 1 - shift): shift 0 rounds
    down (integers, as Ray Tune does), shift 0.5 rounds to the nearest.
    """
    if not log:
        count = last - first + 1
        return lambda u: min(first + int(u * count), last)
    low, width = math.log(first - shift), math.log(last + 1 - shift) - math.log(first - shift)
    return lambda u: min(max(math.floor(math.exp(low + u * width) + shift), first), last)


def _place_of(index: int, first: int, last: int, log: bool, shift: float) -> float:
    """The middle of the cell that a whole number has in `_index_at`."""
    if not log:
        return (index - first + 0.5) / (last - first + 1)
    low, high = math.log(first - shift), math.log(last + 1 - shift)
    return ((math.log(index - shift) + math.log(index + 1 - shift)) / 2 - low) / (high - low)


@lru_cache(maxsize=4096)
def _multiples(lower: float, upper: float, q: float) -> tuple[int, int, int, int]:
    """The step as a fraction, and the first and last multiple of it inside the bounds."""
    step = _decimal(q)
    first, last = math.ceil(_decimal(lower) / step), math.floor(_decimal(upper) / step)
    return step.numerator, step.denominator, first, last


def legal(domain: Domain, value: Any) -> Any:
    """`value`, if it is one of the domain; else ValueError."""
    if not domain.contains(value):
        raise ValueError(f"{value!r} is outside of {domain!r}")
    return value


def _bound_mistakes(domain: Float | Integer, expected: str, legal: Callable[[Any], bool]) -> list[str]:
    """Mistakes of the bounds and of `log`, in the words of the function that the user called."""
    lower, upper = domain.lower, domain.upper
    odd = [f"{n}={v!r}" for n, v in (("lower", lower), ("upper", domain.upper_as_given)) if not legal(v)]
    if odd:
        return [f"{domain!r}: expected {expected} as bounds, got {' and '.join(odd)}. Give both bounds."]
    found = []
    if lower > upper or (lower == upper and isinstance(domain, Float)):
        found.append(
            f"{domain!r}: expected lower < upper, got {lower!r} and {domain.upper_as_given!r}. "
            "Give two different bounds, the smaller one first."
        )
    if domain.log and lower <= 0:
        found.append(
            f"{domain!r}: a logarithmic range needs lower > 0, got {lower!r}. Give a small positive number "
            "(the value itself, not its logarithm)."
        )
    return found


@dataclass(frozen=True, slots=True, repr=False)
class Float(Domain):
    """Real numbers from `lower` to `upper`.

    Args:
        lower, upper: bounds, both legal.
        log: uniform in the logarithm.
        q: only multiples of q inside the bounds, all equally likely without `log`.
    """

    lower: float
    upper: float
    log: bool = False
    q: float | None = None
    kind: ClassVar[str] = "float"

    def __post_init__(self) -> None:
        for name in ("lower", "upper", "q"):
            object.__setattr__(self, name, _as_float(getattr(self, name)))

    def __repr__(self) -> str:
        name = ("q" if self.q is not None else "") + ("loguniform" if self.log else "uniform")
        return f"{name}({self.lower!r}, {self.upper!r}{'' if self.q is None else f', {self.q!r}'})"

    @property
    def upper_as_given(self) -> Any:
        """`upper` as the user wrote it."""
        return self.upper

    def from_unit(self, u: float) -> float:
        """See `Domain.from_unit`."""
        return self.quantiles()(u)

    def quantiles(self) -> Callable[[float], float]:
        """`from_unit` as a function, for many values."""
        lower, upper = self.lower, self.upper
        if self.q is not None:
            numerator, denominator, first, last = _multiples(lower, upper, self.q)
            index = _index_at(first, last, self.log, 0.5)
            return lambda u: numerator * index(u) / denominator  # rounded once, from whole numbers
        if self.log:
            low, width = math.log(lower), math.log(upper) - math.log(lower)
            return lambda u: min(max(math.exp(low + u * width), lower), upper)
        return lambda u: min(max(lower * (1 - u) + upper * u, lower), upper)  # upper - lower might overflow

    def to_unit(self, value: Any) -> float:
        """See `Domain.to_unit`."""
        value = self.clip(legal(self, value))
        if self.q is not None:
            numerator, denominator, first, last = _multiples(self.lower, self.upper, self.q)
            return _place_of(round(value * denominator / numerator), first, last, self.log, 0.5)
        if self.log:
            low, high = math.log(self.lower), math.log(self.upper)
            return (math.log(value) - low) / (high - low)
        return float(value / (self.upper - self.lower) - self.lower / (self.upper - self.lower))

    def contains(self, value: Any) -> bool:
        """Whether `value` is a number inside the bounds and, with q, a multiple of it (but for rounding errors)."""
        if not is_number(value) or not self.lower <= value <= self.upper:
            return False
        return self.q is None or abs(self.clip(value) - value) <= 1e-9 * max(self.q, abs(value))

    def clip(self, value: Any) -> float:
        """The legal float nearest to the number `value`."""
        inside = min(max(float(as_number(value, self)), self.lower), self.upper)
        if self.q is None:
            return inside
        numerator, denominator, first, last = _multiples(self.lower, self.upper, self.q)
        index = min(max(round(_decimal(inside) * denominator / numerator), first), last)
        return numerator * index / denominator

    def mistakes(self) -> list[str]:
        """See `Domain.mistakes`."""
        found = _bound_mistakes(self, "finite numbers", is_finite)
        return found + _step_mistakes(self, self.q, None if found else self.upper - self.lower)

    def to_json(self) -> dict[str, Any]:
        """See `Domain.to_json`."""
        return {"$domain": self.kind, **{n: encode(getattr(self, n)) for n in ("lower", "upper", "log", "q")}}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Float:
        """See `Domain.from_json`."""
        return Float(decode(data["lower"]), decode(data["upper"]), data["log"], decode(data["q"]))


@dataclass(frozen=True, slots=True, repr=False)
class Integer(Domain):
    """Whole numbers from `lower` to `upper`, both included.

    Args:
        lower, upper: bounds, both legal.
        log: uniform in the logarithm.
        q: only multiples of q inside the bounds.
    """

    lower: int
    upper: int
    log: bool = False
    q: int = 1
    kind: ClassVar[str] = "integer"

    def __post_init__(self) -> None:
        for name in ("lower", "upper", "q"):
            object.__setattr__(self, name, _as_int(getattr(self, name)))

    def __repr__(self) -> str:
        name = ("" if self.q == 1 else "q") + ("lograndint" if self.log else "randint")
        return f"{name}({self.lower!r}, {self.upper_as_given!r}{'' if self.q == 1 else f', {self.q!r}'})"

    @property
    def upper_as_given(self) -> Any:
        """`upper` as the user wrote it: exclusive in `randint` and `lograndint`."""
        return self.upper + 1 if self.q == 1 and isinstance(self.upper, int) else self.upper

    def from_unit(self, u: float) -> int:
        """See `Domain.from_unit`."""
        return self.quantiles()(u)

    def quantiles(self) -> Callable[[float], int]:
        """`from_unit` as a function, for many values."""
        q, first, last = self._multiples()
        index = _index_at(first, last, self.log, 0.0)
        return index if q == 1 else lambda u: q * index(u)

    def to_unit(self, value: Any) -> float:
        """See `Domain.to_unit`."""
        q, first, last = self._multiples()
        return _place_of(int(legal(self, value)) // q, first, last, self.log, 0.0)

    def _multiples(self) -> tuple[int, int, int]:
        """The step, and the first and last multiple of it inside the bounds."""
        return self.q, -(-self.lower // self.q), self.upper // self.q

    def contains(self, value: Any) -> bool:
        """Whether `value` is a whole number (not a float) inside the bounds and a multiple of q."""
        return is_whole(value) and self.lower <= value <= self.upper and value % self.q == 0

    def clip(self, value: Any) -> int:
        """The legal int nearest to the number `value`."""
        number = as_number(value, self)
        inside = min(max(int(number) if isinstance(number, Integral) else float(number), self.lower), self.upper)
        index = round(Fraction(inside) / self.q)
        return self.q * min(max(index, -(-self.lower // self.q)), self.upper // self.q)

    def mistakes(self) -> list[str]:
        """See `Domain.mistakes`."""
        found = _bound_mistakes(self, "whole numbers", is_whole)
        if not is_whole(self.q):
            return [*found, f"{self!r}: expected a whole number as q, got {self.q!r}. Use quniform for fractions."]
        return found + _step_mistakes(self, self.q, None if found or self.q == 1 else self.upper - self.lower)

    def to_json(self) -> dict[str, Any]:
        """See `Domain.to_json`."""
        return {"$domain": self.kind, **{n: encode(getattr(self, n)) for n in ("lower", "upper", "log", "q")}}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Integer:
        """See `Domain.from_json`."""
        return Integer(decode(data["lower"]), decode(data["upper"]), data["log"], decode(data["q"]))


@dataclass(frozen=True, slots=True, repr=False)
class Normal(Domain):
    """Real numbers, normally distributed and unbounded.

    Args:
        mean: of the distribution.
        sd: standard deviation, positive.
        q: only multiples of q.
    """

    mean: float = 0.0
    sd: float = 1.0
    q: float | None = None
    kind: ClassVar[str] = "normal"

    def __post_init__(self) -> None:
        for name in ("mean", "sd", "q"):
            object.__setattr__(self, name, _as_float(getattr(self, name)))

    def __repr__(self) -> str:
        return f"{'' if self.q is None else 'q'}randn({self.mean!r}, {self.sd!r}" + (
            ")" if self.q is None else f", {self.q!r})"
        )

    def from_unit(self, u: float) -> float:
        """See `Domain.from_unit`; 0 and 1, where there is no value, are the outermost that floats tell from them."""
        return self.quantiles()(u)

    def quantiles(self) -> Callable[[float], float]:
        """`from_unit` as a function, for many values."""
        inverse, clip = NormalDist(self.mean, self.sd).inv_cdf, self.clip
        return lambda u: clip(inverse(min(max(u, LEAST), 1 - LEAST)))

    def to_unit(self, value: Any) -> float:
        """See `Domain.to_unit`."""
        cdf, value = NormalDist(self.mean, self.sd).cdf, float(legal(self, value))
        return cdf(value) if self.q is None else (cdf(value - self.q / 2) + cdf(value + self.q / 2)) / 2

    def contains(self, value: Any) -> bool:
        """Whether `value` is a finite number and, with q, a multiple of it (but for rounding errors)."""
        if not is_finite(value):
            return False
        return self.q is None or abs(self.clip(value) - value) <= 1e-9 * max(self.q, abs(value))

    def clip(self, value: Any) -> float:
        """The legal float nearest to the finite number `value`."""
        number = float(as_number(value, self))
        if math.isinf(number):
            raise ValueError(f"expected a finite number, got {value!r}: {self!r} has no bounds")
        if self.q is None:
            return number
        step = _decimal(self.q)
        return float(step * round(_decimal(number) / step))

    def mistakes(self) -> list[str]:
        """See `Domain.mistakes`."""
        found = []
        if not is_finite(self.mean):
            found.append(f"{self!r}: expected a finite number as mean, got {self.mean!r}.")
        if not is_finite(self.sd) or self.sd <= 0:
            found.append(f"{self!r}: expected a positive number as sd, got {self.sd!r}.")
        return found + _step_mistakes(self, self.q, None)

    def to_json(self) -> dict[str, Any]:
        """See `Domain.to_json`."""
        return {"$domain": self.kind, **{n: encode(getattr(self, n)) for n in ("mean", "sd", "q")}}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Normal:
        """See `Domain.from_json`."""
        return Normal(decode(data["mean"]), decode(data["sd"]), decode(data["q"]))


LEAST = 2.0**-40
"""The quantile next to 0 that is looked at, where there may be no value at 0 itself; doubles are too coarse beyond."""


def _step_mistakes(domain: Domain, q: Any, width: float | None) -> list[str]:
    if q is None:
        return []
    if not is_finite(q) or q <= 0:
        return [f"{domain!r}: expected a positive number as q, got {q!r}. Give the distance between two values."]
    if width is not None and q > width:
        return [f"{domain!r}: expected q within the range of {width!r}, got {q!r}. Make q smaller or the range wider."]
    return []


# ------------------------------------------------------------------------------------ categories


def same(value: Any, other: Any) -> bool:
    """Equality that tells True from 1 and never raises; lists equal tuples, as in JSON; arrays count as wholes."""
    if value is other:
        return True
    if isinstance(value, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(value) == len(other) and all(same(a, b) for a, b in zip(value, other, strict=True))
    if isinstance(value, bool) is not isinstance(other, bool):
        return False
    try:
        equal = value == other
        if hasattr(equal, "all") and getattr(value, "shape", None) == getattr(other, "shape", None):
            equal = equal.all()
        return bool(equal)
    except Exception:  # comparisons of frames have no single truth
        return False


def matches(option: Any, value: Any) -> bool:
    """Whether `value` is `option`, where domains inside the option stand for any of their values."""
    if isinstance(option, Domain):
        return option.contains(value)
    if isinstance(option, dict):
        return (
            isinstance(value, Mapping)
            and option.keys() == value.keys()
            and all(matches(item, value[key]) for key, item in option.items())
        )
    if isinstance(option, (list, tuple)):
        return isinstance(value, (list, tuple)) and len(option) == len(value) and all(map(matches, option, value))
    return same(option, value)


def holds_domain(value: Any) -> bool:
    """Whether there is a domain in a value, at any depth."""
    if isinstance(value, Mapping):
        return any(map(holds_domain, value.values()))
    return any(map(holds_domain, value)) if isinstance(value, (list, tuple)) else isinstance(value, Domain)


def draw(option: Any, rng: random.Random) -> Any:
    """A copy of `option` with a value drawn for each domain inside."""
    if isinstance(option, Domain):
        return option.sample(rng)
    if isinstance(option, dict):
        return {key: draw(item, rng) for key, item in option.items()}
    if isinstance(option, (list, tuple)):
        return rebuild(option, [draw(item, rng) for item in option])
    return option


def rebuild(like: list[Any] | tuple[Any, ...], items: list[Any]) -> Any:
    """`items` as a list, a tuple or a named tuple, as `like` is one."""
    if isinstance(like, list):
        return items
    return type(like)(*items) if hasattr(like, "_fields") else tuple(items)


@dataclass(frozen=True, slots=True, repr=False)
class Categorical(Domain):
    """One out of a list of options, which may hold domains themselves.

    Args:
        options: the options, in order.
        grid: every option is tried in turn (`grid_search`) instead of drawn (`choice`).
        ordered: neighbours in the list are alike (`ordinal`): for searchers that make use of it.
    """

    options: tuple[Any, ...]
    grid: bool = False
    ordered: bool = False
    kind: ClassVar[str] = "choice"

    def __post_init__(self) -> None:
        given: Any = self.options
        if isinstance(given, Iterable) and not isinstance(given, (str, bytes, Mapping, set, frozenset)):
            object.__setattr__(self, "options", tuple(given))  # others are left for `mistakes` to name

    def __repr__(self) -> str:
        options: Any = list(self.options) if isinstance(self.options, tuple) else self.options
        return f"{'grid_search' if self.grid else 'ordinal' if self.ordered else 'choice'}({options!r})"

    def __len__(self) -> int:
        return len(self.options)

    def _drawn(self, rng: random.Random) -> Any:
        return draw(self.options[self.index_at(rng.random())], rng)

    def index_at(self, u: float) -> int:
        """Number of the option at quantile `u`."""
        return min(int(u * len(self.options)), len(self.options) - 1)

    def from_unit(self, u: float) -> Any:
        """See `Domain.from_unit`; domains inside the option follow from `u` as well."""
        return draw(self.options[self.index_at(u)], random.Random(u))

    def to_unit(self, value: Any) -> float:
        """See `Domain.to_unit`."""
        for number, option in enumerate(self.options):
            if matches(option, value):
                return (number + 0.5) / len(self.options)
        raise ValueError(f"{value!r} is none of the options of {self!r}")

    def contains(self, value: Any) -> bool:
        """Whether `value` is one of the options."""
        return any(matches(option, value) for option in self.options)

    def clip(self, value: Any) -> Any:
        """`value` if it is one of the options, or the option nearest to it where all are numbers."""
        for option in self.options:
            if same(option, value):
                return option
        if self.contains(value):
            return value
        if all(is_number(option) for option in self.options):
            number = as_number(value, self)
            return min(self.options, key=lambda option: abs(option - number))
        raise ValueError(f"{value!r} is none of the options of {self!r}, and there is no nearest one")

    def mistakes(self) -> list[str]:
        """See `Domain.mistakes`; those of domains inside the options are not included."""
        given: Any = self.options  # may be anything before it is checked
        if isinstance(given, (set, frozenset)):
            return [f"{self!r}: a set has no fixed order, so a seed could not be kept to. Use sorted(...)."]
        if not isinstance(given, tuple):
            return [f"{self!r}: expected a list of options, got {type(given).__name__}. Write [...]."]
        if not given:
            return [f"{self!r}: expected at least one option, got an empty list."]
        return []

    def to_json(self) -> dict[str, Any]:
        """See `Domain.to_json`."""
        options: Any = list(self.options) if isinstance(self.options, tuple) else self.options
        more = {"ordered": True} if self.ordered else {}
        return {"$domain": self.kind, "options": encode(options), "grid": self.grid, **more}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Categorical:
        """See `Domain.from_json`."""
        return Categorical(decode(data["options"]), data["grid"], data.get("ordered", False))


# ------------------------------------------------------------------------------------- functions


@contextmanager
def _seeded_globals(rng: random.Random) -> Iterator[None]:
    """The module-level generators of `random` and of NumPy (if loaded) follow `rng`, and are put back after."""
    state = random.getstate()
    numpy_random = getattr(sys.modules.get("numpy"), "random", None)
    numpy_state = numpy_random.get_state() if numpy_random is not None else None
    random.seed(rng.getrandbits(64))
    if numpy_random is not None:
        numpy_random.seed(rng.getrandbits(32))
    try:
        yield
    finally:
        random.setstate(state)
        if numpy_random is not None:
            numpy_random.set_state(numpy_state)


@dataclass(frozen=True, slots=True, repr=False)
class Function(Domain):
    """Values that a function computes, from the rest of the config or from nothing.

    Args:
        func: takes the config, or nothing. None: read back from JSON, where only its name is known.
        text: name of the function, for people.
    """

    func: Callable[..., Any] | None
    text: str = ""
    kind: ClassVar[str] = "function"

    def __post_init__(self) -> None:
        if not self.text:
            object.__setattr__(self, "text", getattr(self.func, "__qualname__", None) or repr(self.func))

    def __repr__(self) -> str:
        return f"sample_from({self.text})"

    @property
    def has_quantiles(self) -> bool:
        """False."""
        return False

    def _takes_config(self) -> bool:
        assert self.func is not None
        try:
            signature = inspect.signature(self.func)
        except ValueError:  # some functions written in C tell nothing; those of random and NumPy take nothing
            return False
        try:
            signature.bind({})
        except TypeError:
            signature.bind()
            return False
        return True

    def call(self, config: Any, rng: random.Random) -> Any:
        """The function's value for `config`.

        The module-level generators of `random` and `numpy.random` are seeded from `rng` during the call, so that
        functions using them are reproducible.

        Raises:
            ValueError: the function is not known, because the domain was read back from JSON.
        """
        if self.func is None:
            raise ValueError(f"{self!r} was read from a record, which holds the name only. Give the space again.")
        with _seeded_globals(rng):
            return self.func(config) if self._takes_config() else self.func()

    def _drawn(self, rng: random.Random) -> Any:
        return self.call({}, random.Random(rng.getrandbits(64)))

    def from_unit(self, u: float) -> Any:
        """There is none: what a function returns is not known."""
        raise ValueError(f"{self!r} has no quantiles: what a function returns is not known")

    def to_unit(self, value: Any) -> float:
        """See `from_unit`."""
        raise ValueError(f"{self!r} has no quantiles: what a function returns is not known")

    def contains(self, value: Any) -> bool:
        """True: what a function may return is not known."""
        return True

    def clip(self, value: Any) -> Any:
        """`value` itself: what a function may return is not known."""
        return value

    def mistakes(self) -> list[str]:
        """See `Domain.mistakes`."""
        given: Any = self.func
        if given is None:
            return []
        if not callable(given):
            return [f"{self!r}: expected a function, got {self.func!r}. Write sample_from(lambda config: ...)."]
        try:
            self._takes_config()
        except TypeError:
            return [f"{self!r}: expected a function of the config or of nothing, got one that needs more arguments."]
        return []

    def to_json(self) -> dict[str, Any]:
        """A marker with the function's name: the function itself is not JSON."""
        return {"$domain": self.kind, "repr": repr(self), "name": self.text}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Function:
        """A domain of the same name that cannot be sampled."""
        return Function(None, data["name"])


DOMAIN_TYPES.update({cls.kind: cls for cls in (Float, Integer, Normal, Categorical, Function)})
