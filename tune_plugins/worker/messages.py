"""What a runtime tells the process that runs a trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tune_plugins.core.leases import StopRule
from tune_plugins.core.metrics import Mode
from tune_plugins.core.trial import CheckpointRecord, Lease


@dataclass(frozen=True)
class CheckpointPolicy:
    """When checkpoints are needed apart from leases; see `CheckpointConfig`."""

    frequency: int = 0
    at_end: bool | None = None
    score_attribute: str | None = None
    score_order: Mode = "max"


@dataclass(frozen=True)
class Job:
    """One attempt at one trial.

    Attributes:
        name, dirname: of the trial, for people and for its folder inside `experiment_dir`.
        checkpoint: state to go on from, whose `training_iteration` is `iteration`.
        resources: what the trial may use, e.g. ``{"CPU": 1}``.
        metric, mode: those of the run, None where nothing is optimised.
        in_own_folder: the working directory is the folder of the trial.
    """

    trial_id: str
    name: str
    dirname: str
    config: dict[str, Any]
    lease: Lease
    experiment_name: str
    experiment_dir: str
    checkpoint: CheckpointRecord | None = None
    iteration: int = 0
    attempt: int = 0
    seed: int = 0
    stop: tuple[StopRule, ...] = ()
    policy: CheckpointPolicy = CheckpointPolicy()
    resources: Mapping[str, float] = field(default_factory=dict)
    log_files: tuple[str, str] | None = None
    metric: str | None = None
    mode: Mode | None = None
    in_own_folder: bool = False


@dataclass(frozen=True)
class PackedJob:
    """A `Job` on its way: unpacked apart from the frame, because a config may hold what cannot be unpacked there."""

    trial_id: str
    data: bytes


@dataclass(frozen=True)
class Output:
    """Lines that a trial printed."""

    trial_id: str
    lines: list[str]


@dataclass(frozen=True)
class Remark:
    """From a worker: something that the user should know about the run, and need be told once only."""

    text: str


@dataclass(frozen=True)
class Imported:
    """From a worker: trials have imported these modules, in order."""

    modules: tuple[str, ...]


@dataclass(frozen=True)
class WantsRay:
    """From a forked worker: its trial uses Ray; where is it?"""


@dataclass(frozen=True)
class RayIsAt:
    """To a forked worker: environment variables with which Ray is joined, or why that cannot be."""

    environ: Mapping[str, str]
    trouble: str = ""


@dataclass(frozen=True)
class Recall:
    """To a worker: hand back the jobs that wait in line behind the running one."""


@dataclass(frozen=True)
class Recalled:
    """From a worker: these trials were not begun and go elsewhere."""

    trial_ids: tuple[str, ...]
