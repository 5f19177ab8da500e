"""Arguments in memory that processes share."""

from __future__ import annotations

import gc
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tune_plugins.worker.cargo import Cargo, Unloaded, packed


def test_arrays_are_views_and_the_rest_is_equal() -> None:
    given = {
        "array": np.arange(1000.0).reshape(10, 100),
        "frame": pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
        "empty": np.zeros(0),
        "plain": {"a": [1, "two", None]},
        "order": np.asfortranarray(np.ones((3, 4))),
    }
    cargo = Cargo(b"the function", {name: packed(value, pickle.dumps) for name, value in given.items()}, ("a", 1))
    unloaded = Unloaded(cargo.path)
    found = unloaded.parameters()
    assert (unloaded.trainable, unloaded.setting) == (b"the function", ("a", 1))
    assert list(found) == list(given) and found["plain"] == given["plain"]
    for name in ("array", "empty", "order"):
        np.testing.assert_array_equal(found[name], given[name])
        assert not found[name].flags.writeable and not found[name].flags.owndata
    pd.testing.assert_frame_equal(found["frame"], given["frame"])
    with pytest.raises(ValueError, match="read-only"):
        found["array"][0] = 1


def test_what_is_mapped_stays_when_the_cargo_is_closed() -> None:
    cargo = Cargo(b"", {"x": packed(np.arange(5), pickle.dumps)})
    found = Unloaded(cargo.path).parameters()
    path = cargo.path
    cargo.close()
    assert found["x"].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(OSError, match=r".+"):
        Unloaded(path)


def test_memory_is_free_afterwards() -> None:
    count = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        cargo = Cargo(b"", {"x": packed(np.zeros(100_000), pickle.dumps)})
        found = Unloaded(cargo.path).parameters()
        cargo.close()
        del found
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= count + 1
    assert Path("/proc/self/maps").read_text().count("tune-cargo") <= 1
