"""What the functions share that open a run of a tracker inside a trial."""

from __future__ import annotations

import os
import sys


class Nothing:
    """Takes the place of a tracker where nothing is to be logged: whatever is asked of it, nothing happens."""

    def __getattr__(self, name: str) -> Nothing:
        if name.startswith("__"):
            raise AttributeError(name)  # copy and pickle ask for these
        return self

    def __call__(self, *arguments: object, **options: object) -> Nothing:
        """Nothing."""
        return self

    def __enter__(self) -> Nothing:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing."""


def is_first_rank() -> bool:
    """Whether this is the first process of a distributed training, or none."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return bool(distributed.get_rank() == 0)
    return os.environ.get("RANK", "0") == "0"
