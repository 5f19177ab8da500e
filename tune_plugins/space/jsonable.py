"""Values of users as compact JSON and as text: exact where JSON can, a description elsewhere, never a pickle."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

_REPR_LIMIT = 10_000  # characters
DEPTH_LIMIT = 50  # of nested values


def describe(value: object) -> Any:
    """Stand-in for a value that JSON does not know.

    NumPy and tensor scalars become numbers; anything else ``{"__repr__": "..."}``.
    """
    with suppress(Exception):  # a user's broken attribute, or a tensor that cannot be read, must not lose the record
        item = getattr(value, "item", None)
        if callable(item) and getattr(value, "shape", None) == ():
            plain = item()
            if isinstance(plain, (bool, int, float, str)) or plain is None:
                return plain
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"
    return {"__repr__": text[:_REPR_LIMIT]}


def to_plain(value: Any, depth: int = 0) -> Any:
    """`value` with every key made text and everything that JSON does not know described."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if depth < DEPTH_LIMIT:
        if isinstance(value, Mapping):
            return {k if isinstance(k, str) else str(k): to_plain(v, depth + 1) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [to_plain(v, depth + 1) for v in value]
    return describe(value)


def storable(text: str) -> str:
    """`text` with what UTF-8 cannot hold (lone surrogates, as in the name of a broken file) written as an escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _make_encode() -> Callable[[Any], str]:
    encoder = json.JSONEncoder(separators=(",", ":"), check_circular=False, default=describe)
    c_make_encoder = getattr(json.encoder, "c_make_encoder", None)
    if c_make_encoder is None:
        return encoder.encode
    # JSONEncoder.encode builds this object anew at each call, which costs a third of the time of a small dict.
    text = json.encoder.encode_basestring_ascii
    chunks = c_make_encoder(None, describe, text, None, ":", ",", False, False, True)
    join = "".join
    return lambda value: join(chunks(value, 0))


_encode = _make_encode()


def dumps(value: Any) -> str:
    """Compact JSON of `value`; floats round-trip to the last bit, NaN and infinities as Python writes them."""
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError):  # keys that are no text, cycles, very deep nesting
        return _encode(to_plain(value))


loads: Callable[[str], Any] = json.loads
