"""Every scheduler of the project through the suite that is shipped to users."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from tune_plugins import schedulers
from tune_plugins.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    PercentileStopping,
    TrialScheduler,
)
from tune_plugins.testing.schedulers import SchedulerConformance, conformance_table


class TestFIFO(SchedulerConformance):
    scheduler = FIFOScheduler

    @pytest.fixture
    def make(self) -> Any:
        return lambda mode: FIFOScheduler()

    def is_milestone(self, iteration: int) -> bool:
        return False


class TestASHA(SchedulerConformance):
    scheduler = ASHAScheduler
    stops, max_t = True, 27

    @pytest.fixture
    def make(self) -> Any:
        return lambda mode: ASHAScheduler(max_t=27, reduction_factor=3, brackets=2)

    def is_milestone(self, iteration: int) -> bool:
        return iteration in (1, 3, 9)


class TestMedianStopping(SchedulerConformance):
    scheduler = MedianStoppingRule
    stops = True

    @pytest.fixture
    def make(self) -> Any:
        return lambda mode: MedianStoppingRule("training_iteration", grace_period=4)

    def is_milestone(self, iteration: int) -> bool:
        return iteration >= 4


class TestMedianPausing(SchedulerConformance):
    scheduler = MedianStoppingRule
    label = "MedianStoppingRule(hard_stop=False)"
    pauses = True

    @pytest.fixture
    def make(self) -> Any:
        return lambda mode: MedianStoppingRule("time_total_s", grace_period=4.0, min_time_slice=3.0, hard_stop=False)


class TestPercentile(SchedulerConformance):
    scheduler = PercentileStopping
    stops = True

    @pytest.fixture
    def make(self) -> Any:
        return lambda mode: PercentileStopping(25, patience=2, n_warmup_steps=3)

    def is_milestone(self, iteration: int) -> bool:
        return iteration >= 4


SUITES = [value for value in dict(globals()).values() if inspect.isclass(value) and hasattr(value, "scheduler")]


def test_no_scheduler_escapes() -> None:
    exported = {value for value in vars(schedulers).values() if inspect.isclass(value)}
    missing = {s for s in exported if issubclass(s, TrialScheduler)} - {TrialScheduler} - {s.scheduler for s in SUITES}
    assert not missing, f"add a suite to this file for: {sorted(s.__name__ for s in missing)}"


def test_table_names_every_case_and_scheduler(capsys: pytest.CaptureFixture[str]) -> None:
    table = conformance_table(SUITES)
    lines = table.splitlines()
    cases = [name for name in dir(SchedulerConformance) if name.startswith("test_")]
    assert len(lines) == 2 + 5 + len(cases)
    assert all(line.count("|") == len(SUITES) + 2 for line in lines)
    with capsys.disabled():
        print(f"\n{table}")
