"""What is wrong with arguments, as a call tells it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tune_plugins.errors import ArgumentError


def mistakes_of(call: Callable[..., Any], *args: Any, **kwargs: Any) -> list[str]:
    """The mistakes that a call is refused with; one that is not refused fails the test."""
    with pytest.raises(ArgumentError) as caught:
        call(*args, **kwargs)
    return list(caught.value.mistakes)
