"""What the tests of the adapters share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _environment_is_put_back() -> Iterator[None]:
    """As a worker does it behind each trial."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
