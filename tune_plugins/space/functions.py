"""The functions that people write a search space with; names and meaning as in Ray Tune."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from tune_plugins.arguments import Mistakes, is_whole
from tune_plugins.space.distributions import Distribution
from tune_plugins.space.domains import Categorical, Domain, Float, Function, Integer, Normal

__all__ = [
    "choice",
    "distribution",
    "grid_search",
    "lograndint",
    "loguniform",
    "normal",
    "ordinal",
    "qlograndint",
    "qloguniform",
    "qrandint",
    "qrandn",
    "quniform",
    "randint",
    "randn",
    "sample_from",
    "uniform",
]


def uniform(lower: float, upper: float) -> Float:
    """A float between `lower` and `upper`, all equally likely.

    >>> uniform(0, 1)
    uniform(0.0, 1.0)
    """
    return _right(Float(lower, upper))


def quniform(lower: float, upper: float, q: float) -> Float:
    """A multiple of `q` from `lower` to `upper` (both included), all equally likely.

    >>> quniform(0.1, 0.5, 0.1).contains(0.3)
    True
    """
    return _right(Float(lower, upper, q=q))


def loguniform(lower: float, upper: float, base: float = 10) -> Float:
    """A float between `lower` > 0 and `upper` whose logarithm is uniform: 1e-4..1e-3 is as likely as 1e-3..1e-2.

    `base` is accepted as in Ray Tune; the distribution does not depend on it.
    """
    return _right(Float(lower, upper, log=True))


def qloguniform(lower: float, upper: float, q: float, base: float = 10) -> Float:
    """A multiple of `q` from `lower` > 0 to `upper` (both included), uniform in the logarithm before rounding."""
    return _right(Float(lower, upper, log=True, q=q))


def randint(lower: int, upper: int) -> Integer:
    """A whole number from `lower` to `upper` - 1, all equally likely: `upper` is **exclusive**.

    >>> randint(0, 3).contains(3)
    False
    """
    return _right(Integer(lower, _before(upper)))


def qrandint(lower: int, upper: int, q: int = 1) -> Integer:
    """A multiple of `q` from `lower` to `upper`, all equally likely: `upper` is **inclusive**.

    >>> qrandint(0, 10, 5).contains(10)
    True
    """
    return _right(Integer(lower, upper, q=q))


def lograndint(lower: int, upper: int, base: float = 10) -> Integer:
    """A whole number from `lower` > 0 to `upper` - 1, uniform in the logarithm: `upper` is **exclusive**.

    `base` is accepted as in Ray Tune; the distribution does not depend on it.
    """
    return _right(Integer(lower, _before(upper), log=True))


def qlograndint(lower: int, upper: int, q: int, base: float = 10) -> Integer:
    """A multiple of `q` from `lower` > 0 to `upper`, uniform in the logarithm: `upper` is **inclusive**."""
    return _right(Integer(lower, upper, log=True, q=q))


def randn(mean: float = 0.0, sd: float = 1.0) -> Normal:
    """A float from the normal distribution with mean `mean` and standard deviation `sd`."""
    return _right(Normal(mean, sd))


normal = randn


def qrandn(mean: float, sd: float, q: float) -> Normal:
    """A value of `randn(mean, sd)` rounded to a multiple of `q`."""
    return _right(Normal(mean, sd, q))


def choice(categories: Iterable[Any]) -> Categorical:
    """One of the options, all equally likely; options may be dicts or lists that hold domains themselves.

    >>> choice([{"kind": "sgd", "momentum": uniform(0, 1)}, {"kind": "adam"}]).contains({"kind": "adam"})
    True
    """
    return _right(Categorical(categories))  # type: ignore[arg-type]  # made a tuple by the class


def ordinal(categories: Iterable[Any]) -> Categorical:
    """One of the options, all equally likely, of which neighbours are alike: sizes, levels, ``[16, 32, 64, 128]``.

    >>> ordinal(["small", "medium", "large"]).to_unit("medium")
    0.5
    """
    return _right(Categorical(categories, ordered=True))  # type: ignore[arg-type]


def distribution(source: Any) -> Distribution:
    """Numbers of a distribution of `scipy.stats`, frozen or a newer one; or what a function of `random.Random` draws.

    >>> spread = distribution(lambda rng: rng.gauss(0, 1) if rng.random() < 0.9 else rng.gauss(5, 1))
    >>> spread.sample(3) == spread.sample(3)
    True
    """
    return _right(Distribution(source))


def sample_from(func: Callable[[Any], Any] | Callable[[], Any]) -> Function:
    """What `func` computes: from the config of the trial, or from nothing.

    The config given to it can be read as ``config["lr"]``, ``config.lr`` or ``spec.config.lr``; parameters are
    resolved in the order in which functions need them. The result may hold domains, which are then sampled.

    >>> space = {"layers": randint(1, 5), "units": sample_from(lambda config: 2 ** config["layers"])}
    """
    return _right(Function(func))


def grid_search(values: Iterable[Any]) -> dict[str, Any]:
    """Try each of the values; several grids are combined, each with every other.

    Returns:
        ``{"grid_search": [...]}``, which may be written as such, for example in a YAML file.
    """
    grid = _right(Categorical(values, grid=True))  # type: ignore[arg-type]
    return {"grid_search": list(grid.options)}


D = TypeVar("D", bound=Domain)


def _right(domain: D) -> D:
    """The domain, where nothing is wrong with it."""
    Mistakes(f"{domain!r}".partition("(")[0], domain.mistakes()).raise_if_any()
    return domain


def _before(upper: Any) -> Any:
    """The last value below an exclusive bound; what is no whole number stays, to be named as a mistake."""
    whole = Integer(0, upper).upper
    return whole - 1 if is_whole(whole) else upper
