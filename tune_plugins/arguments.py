"""Checks of arguments: one wording for all, and all mistakes of a call reported at once.

When a mistake is told:

- at construction, what can be known there: `TuneConfig(num_samples=0)`, `ASHAScheduler(max_t=-1)` and `uniform(2, 1)`
  raise by themselves, and `Tuner(...)` where its arguments do not fit together;
- by `Tuner.fit`, before anything starts, what needs the run: whether the resources fit the cluster, the storage can be
  written and the trainable can be sent to another process.

Each raises one `ArgumentError` with everything that is wrong.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from itertools import islice
from numbers import Integral, Real
from types import FunctionType
from typing import Any, TypeVar

from tune_plugins.errors import ArgumentError

__all__ = [
    "Mistakes",
    "did_you_mean",
    "explains",
    "is_async",
    "is_callable",
    "is_finite",
    "is_number",
    "is_slip",
    "is_whole",
    "made",
    "override_mistakes",
    "shown_call",
    "shown_signature",
    "shown_value",
]


_T = TypeVar("_T")


def is_number(value: object) -> bool:
    """A real number of Python or NumPy, NaN and infinities included; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """A number that is neither NaN nor infinite."""
    try:
        return is_number(value) and math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def is_whole(value: object) -> bool:
    """A whole number of Python or NumPy; True and False are none, nor is 3.0."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_callable(value: Any, arguments: int | None = None) -> bool:
    """Something that can be called, with so many arguments by position where that is said."""
    return callable(value) and (arguments is None or _takes(value, arguments))


def is_async(function: Any, *, may_yield: bool = False) -> bool:
    """A function that is ``async def``, or a generator: a call would do nothing, and nobody would wait for it.

    With `may_yield`, a generator is as good as a function that returns a list.
    """
    plain = getattr(function, "__func__", function)
    if type(plain) is not FunctionType:  # a mock says that it is everything
        return False
    waits = inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain)
    return waits or (inspect.isgeneratorfunction(plain) and not may_yield)


def did_you_mean(name: str, names: Iterable[str], nearness: float = 0.6) -> str:
    """A question that ends a message about an unknown name; empty if none of the names is near.

    >>> did_you_mean("eval-los", ["eval-loss", "train-loss"])
    " Did you mean 'eval-loss'?"
    """
    from difflib import get_close_matches  # only needed for a message

    near = get_close_matches(name, list(names), n=1, cutoff=nearness)
    return f" Did you mean {near[0]!r}?" if near else ""


def made(where: str, kind: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """An object of a class that was given by its name.

    Raises:
        ArgumentError: the class takes other arguments, or says what is wrong with these.
    """
    takes = inspect.signature(kind).parameters
    mistakes = Mistakes(where)
    if not any(each.kind is each.VAR_KEYWORD for each in takes.values()):
        for name in arguments.keys() - takes.keys():
            meant = did_you_mean(name, takes) or f" {kind.__name__} takes {', '.join(takes) or 'none'}."
            mistakes.add(f"{name}: there is no such argument.{meant}")
    mistakes.raise_if_any()
    try:
        return kind(**arguments)
    except ArgumentError:  # which is a TypeError
        raise
    except TypeError as error:
        raise ArgumentError(where, [f"{error}. Its documentation lists them."]) from error


def name_mistakes(argument: str, name: str, names: Collection[str], what: str) -> list[str]:
    """What is wrong with the name of something, such as "a scheduler", of which there are these; in words."""
    found = Mistakes(argument)
    meant = did_you_mean(str(name).lower(), names).strip()
    found.one_of(argument, name, tuple(names), remedy=f"{meant} Or give {what} object.".strip())
    return found.found


def explains(instead: Mapping[str, str]) -> Callable[[type[_T]], type[_T]]:
    """Decorator of a class: keywords that other systems know are told with what to write, beside its own mistakes.

    Args:
        instead: {keyword that the class does not take: what to write}. One given as None asks for nothing.
    """

    def decorate(kind: type[_T]) -> type[_T]:
        plain: Callable[..., None] = vars(kind)["__init__"]

        @wraps(plain)
        def init(self: _T, *args: Any, **given: Any) -> None:
            asked = {name: given.pop(name) for name in instead if name in given}
            mistakes = Mistakes(kind.__name__)
            for name, value in asked.items():
                if value is not None:
                    mistakes.add(f"{name}: expected nothing, got {shown_value(value)}. {instead[name]}")
            try:
                plain(self, *args, **given)
            except ArgumentError as error:
                mistakes.merge(error)
            mistakes.raise_if_any()

        setattr(kind, "__init__", init)  # noqa: B010 (a checker takes no assignment to a method)
        return kind

    return decorate


def is_slip(given: str, meant: str) -> bool:
    """Whether a name is most likely a slip of the pen for another one: other cases, signs between words, a letter.

    >>> is_slip("val-loss", "val_loss"), is_slip("acuracy", "accuracy"), is_slip("eval_lgloss", "eval_logloss")
    (True, True, True)
    >>> is_slip("val_loss", "loss"), is_slip("fold_5", "fold_1"), is_slip("mae", "mse"), is_slip("loss", "loss")
    (False, False, False, False)
    """
    if given == meant:
        return False
    one, other = (re.sub(r"[^a-z0-9]", "", name.lower()) for name in (given, meant))
    if one == other:
        return True
    if re.sub(r"[0-9]", "", one) == re.sub(r"[0-9]", "", other) or min(len(one), len(other)) < 4:
        return False
    from difflib import SequenceMatcher  # only needed for a message

    same = sum(block.size for block in SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks())
    return max(len(one), len(other)) - same <= 1


class Mistakes:
    """Collects argument mistakes so that all of them are reported at once.

    The checks note a mistake and return whether there was none. Each takes the name of the argument, what was given,
    and a `remedy`: a sentence that says what to do.

    Args:
        where: what was called, e.g. the name of the class.
        found: what is wrong already.

    >>> mistakes = Mistakes("TuneConfig")
    >>> mistakes.one_of("mode", "best", ("min", "max"), remedy="Use 'min' for a loss.")
    False
    >>> mistakes.whole("num_samples", 0, least=1)
    False
    >>> mistakes.raise_if_any()
    Traceback (most recent call last):
        ...
    tune_plugins.errors.ArgumentError: TuneConfig: 2 mistakes in the arguments
      1. mode: expected 'min' or 'max', got 'best'. Use 'min' for a loss.
      2. num_samples: expected a whole number of at least 1, got 0.
    """

    def __init__(self, where: str, found: Iterable[str] = ()) -> None:
        self.where = where
        self.found: list[str] = list(found)

    def add(self, mistake: str) -> None:
        """Note one mistake: what was expected, what was given, what to change."""
        self.found.append(mistake)

    def merge(self, error: ArgumentError) -> None:
        """Take over the mistakes of an error raised by a part."""
        self.found.extend(error.mistakes)

    def raise_if_any(self) -> None:
        """Raise one `ArgumentError` that lists everything noted so far."""
        if self.found:
            raise ArgumentError(self.where, self.found)

    # ------------------------------------------------------------------------------------- checks

    def check(self, right: bool, name: str, expected: str, given: object, remedy: str = "") -> bool:
        """Note a mistake in the common form, unless it is `right`."""
        if not right:
            self.add(f"{name}: expected {expected}, got {given!r}. {remedy}".rstrip())
        return right

    def whole(
        self, name: str, value: Any, *, least: int, none: bool = False, remedy: str = "", what: str = "a whole number"
    ) -> bool:
        """A whole number of at least `least`; with `none`, None as well."""
        right = (none and value is None) or (is_whole(value) and value >= least)
        return self.check(right, name, f"{'None or ' if none else ''}{what} of at least {least}", value, remedy)

    def number(
        self,
        name: str,
        value: Any,
        *,
        least: float | None = None,
        above: float | None = None,
        most: float | None = None,
        below: float | None = None,
        none: bool = False,
        remedy: str = "",
        what: str = "a number",
    ) -> bool:
        """A finite number within bounds; with `none`, None as well."""
        right = is_finite(value) and not (
            (least is not None and value < least)
            or (above is not None and value <= above)
            or (most is not None and value > most)
            or (below is not None and value >= below)
        )
        bounds = " and ".join(
            text
            for bound, text in (
                (least, f"of at least {least:g}" if least is not None else ""),
                (above, f"above {above:g}" if above is not None else ""),
                (most, f"at most {most:g}" if most is not None else ""),
                (below, f"below {below:g}" if below is not None else ""),
            )
            if bound is not None
        )
        expected = f"{'None or ' if none else ''}{what} {bounds}".rstrip()
        return self.check(right or (none and value is None), name, expected, value, remedy)

    def one_of(self, name: str, value: Any, options: Collection[Any], *, none: bool = False, remedy: str = "") -> bool:
        """One of a few values; with `none`, None as well."""
        right = (none and value is None) or any(
            isinstance(value, type(option)) and isinstance(value, bool) is isinstance(option, bool) and value == option
            for option in options
        )
        *most, last = [repr(option) for option in ([None, *options] if none else options)]
        return self.check(right, name, f"{', '.join(most)} or {last}" if most else last, value, remedy)

    def text(self, name: str, value: Any, expected: str, *, none: bool = False, remedy: str = "") -> bool:
        """Text that is not empty, such as the name of a metric; with `none`, None as well."""
        right = (none and value is None) or (isinstance(value, str) and bool(value))
        return self.check(right, name, expected, value, remedy)

    def metric(self, name: str, value: Any, *, none: bool = False, remedy: str = "") -> bool:
        """The name of a reported metric; with `none`, None as well."""
        return self.text(name, value, "the name of a reported metric", none=none, remedy=remedy)

    def mode(self, name: str, value: Any, *, none: bool = False) -> bool:
        """``"min"`` or ``"max"``; with `none`, None as well."""
        return self.one_of(name, value, ("min", "max"), none=none, remedy="Use 'min' for a loss, 'max' for a score.")

    def flag(self, name: str, value: Any, *, remedy: str = "") -> bool:
        """True or False."""
        return self.check(isinstance(value, bool), name, "True or False", value, remedy)

    def function(
        self, name: str, value: Any, what: str, *, arguments: int | None = None, none: bool = False, remedy: str = ""
    ) -> bool:
        """A function; `what` says of what, and what it returns; `arguments`: how many it will be called with."""
        right = (none and value is None) or (is_callable(value, arguments) and not is_async(value))
        if not right and callable(value):
            expected = f"a function {what}, called with {arguments} argument{'s' if arguments != 1 else ''}"
            called = getattr(value, "__name__", type(value).__name__)
            self.add(f"{name}: expected {expected}, got {called}{shown_signature(value)}. {remedy}".rstrip())
            return False
        return self.check(right, name, f"a function {what}", value, remedy)


def override_mistakes(where: str, given: object, contract: type, also: type | None = None) -> list[str]:
    """Methods by which an object overrides those of a contract and that the engine could not call, in words.

    What the contract's method has no default for is handed over by position, the rest by name.

    Args:
        where: what the user gave it as.
        given: an object; need not derive from the contract.
        contract: a class.
        also: another one; a method that fits this is right as well.
    """
    found = []
    for name, expected in vars(contract).items():
        method = getattr(given, name, None)
        if (name.startswith("_") and name != "__call__") or not inspect.isfunction(expected) or not callable(method):
            continue
        if getattr(method, "__func__", method) is expected:
            continue
        yields = str(expected.__annotations__.get("return", "")).startswith("Iterable")
        if is_async(method, may_yield=yields):
            found.append(f"{where}: expected def {name}, got {type(given).__name__}.{name}, which is async or yields.")
            continue
        if _fits(method, expected) or (name in vars(also or object) and _fits(method, vars(also or object)[name])):
            continue
        message = (
            f"{where}: expected def {name}{shown_signature(expected)}, got "
            f"def {name}{shown_signature(method, bound=True)} in {type(given).__name__}."
        )
        if set(inspect.signature(method).parameters) & {"controller", "tune_controller", "trial_runner", "runner"}:
            message += " Ray Tune hands over its controller; here a scheduler gets trials and results: leave it out."
        found.append(message)
    hooks = {name for name in vars(contract) if name.startswith("on_")}
    for name in dir(type(given)):
        if name.startswith("on_") and not hasattr(contract, name) and (meant := did_you_mean(name, hooks, 0.9)):
            found.append(f"{where}: {type(given).__name__}.{name} would never be called.{meant}")
    return found


def _fits(method: Callable[..., Any], expected: Callable[..., Any]) -> bool:
    parameters = list(inspect.signature(expected).parameters.values())[1:]
    by_name = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY or p.default is not p.empty]
    return _takes(method, len(parameters) - len(by_name), by_name)


def _takes(function: Callable[..., Any], positional: int, keywords: Collection[str] = ()) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True  # made in C, or a mock: nothing is known of it
    try:
        signature.bind(*range(positional), **dict.fromkeys(keywords))
    except TypeError:
        return False
    return True


def shown_signature(function: Callable[..., Any], *, bound: bool = False) -> str:
    """The parameters of a function as one writes them, without annotations; with `bound`, ``self`` is put in front."""
    signature = inspect.signature(function)
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    text = str(inspect.Signature(plain))
    return text.replace("(", "(self, " if plain else "(self", 1) if bound else text


def shown_call(given: object, **instead: Any) -> str:
    """An object as one writes it: its class with those arguments that are not as they are by default.

    Args:
        given: its attributes have the names of the arguments; of one that has none, nothing is told.
        instead: values of arguments that are kept under another name.

    >>> class Half:
    ...     def __init__(self, level, mode="min", least=1):
    ...         self.level, self.mode, self.least = level, mode, least
    >>> shown_call(Half(0.5, least=3))
    'Half(level=0.5, least=3)'
    """
    missing, shown = object(), []
    factories = {f.name: f.default_factory for f in fields(given)} if is_dataclass(given) else {}
    for parameter in list(inspect.signature(type(given).__init__).parameters.values())[1:]:
        name, default = parameter.name, parameter.default
        if (factory := factories.get(name, MISSING)) is not MISSING:
            default = factory()
        value = instead.get(name, getattr(given, name, missing))
        # None stands for nothing given, which may be kept as an empty list.
        if value is missing or _same(value, default) or (default is None and _same(value, ())):
            continue
        shown.append(f"{name}={shown_value(value)}")
    return f"{type(given).__name__}({', '.join(shown)})"


def _same(value: Any, other: Any) -> bool:
    """Whether two values are equal and of one type; what cannot say so, as an array, is not."""
    try:
        return value is other or (type(value) is type(other) and bool(value == other))
    except Exception:
        return False


def shown_value(value: Any) -> str:
    """A value on one line of bounded length, without addresses in memory and secrets.

    Of URLs that is what stands before an ``@``, of environment variables (``env_vars``) the values.
    """
    name = getattr(value, "__name__", None)
    if isinstance(value, Mapping):
        pairs = ((key, list(each) if key == "env_vars" else each) for key, each in islice(value.items(), _MOST_SHOWN))
        inner = ", ".join(f"{key!r}: {shown_value(each)}" for key, each in pairs)
        text = f"{{{inner}{', ...' if len(value) > _MOST_SHOWN else ''}}}"
    elif type(value) in (list, tuple):
        inner = ", ".join(shown_value(each) for each in value[:_MOST_SHOWN])
        text = f"[{inner}{', ...' if len(value) > _MOST_SHOWN else ''}]"
        text = text if isinstance(value, list) else f"({text[1:-1]}{',' if len(value) == 1 else ''})"
    elif callable(value) and isinstance(name, str):
        text = name
    elif type(value).__repr__ is _PLAIN_REPR:
        text = f"<{type(value).__name__}>"
    else:
        try:
            text = repr(value)
        except Exception:
            text = f"<{type(value).__name__}>"
    text = re.sub(r"(://)[^/@\s]*@", r"\1***@", " ".join(text.split()))
    limit = 200 if isinstance(value, str) else 1000
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


_MOST_SHOWN = 20
_PLAIN_REPR: Any = object.__repr__
