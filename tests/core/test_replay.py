"""Recorded runs give the same commands again, whether the searcher is asked or told what it suggested."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from core_driver import CheckedExperiment

from tune_plugins.core.events import Command, RecordTrial
from tune_plugins.search import Searcher

REPLAYS = Path(__file__).resolve().parent.parent / "replays"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("record", REPLAYS / "record.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


record = load()
every_run = pytest.mark.parametrize("name", sorted(record.RUNS))


def replay(name: str, experiment: CheckedExperiment) -> list[Command]:
    """Replay a recorded run; each answer must be the recorded one."""
    commands: list[Command] = []
    for number, (event, recorded) in enumerate(record.read(name), 1):
        answer = experiment.handle(event)
        assert [record.readable(c) for c in answer] == recorded, f"event {number}: {event}"
        commands += answer
    return commands


def test_every_file_belongs_to_a_run() -> None:
    assert {path.stem for path in REPLAYS.glob("*.jsonl")} == set(record.RUNS)


@every_run
def test_same_commands(name: str) -> None:
    experiment = record.RUNS[name][0]()
    replay(name, experiment)
    assert experiment.finished


@every_run
def test_recorded_suggestions_are_not_asked_for_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = replay(name, record.RUNS[name][0]())
    suggestions: dict[int, dict[str, Any]] = {}
    for command in first:
        if isinstance(command, RecordTrial):
            suggestions.setdefault(command.index, command.config)
    again = record.RUNS[name][0](suggestions)
    told: list[int] = []

    def asked(self: Searcher, trial_id: str, index: int) -> None:
        raise AssertionError(f"asked for suggestion {index}")

    def on_suggested(self: Searcher, trial_id: str, index: int, config: dict[str, Any]) -> None:
        assert config == suggestions[index]
        told.append(index)

    monkeypatch.setattr(type(again.searcher), "suggest", asked)
    monkeypatch.setattr(type(again.searcher), "on_suggested", on_suggested)
    assert replay(name, again) == first
    assert told == sorted(suggestions)


@every_run
def test_a_run_cut_in_two_goes_on_as_one(name: str) -> None:
    events = [event for event, _ in record.read(name)]
    whole = record.RUNS[name][0]().replay(events)
    for cut in (1, len(events) // 3, len(events) - 1):
        resumed = record.RUNS[name][0]()
        before = resumed.replay(events[:cut])
        assert before + resumed.replay(events[cut:]) == whole


@every_run
def test_driving_the_run_again_gives_the_recorded_events(name: str) -> None:
    assert record.RUNS[name][1]().events == [event for event, _ in record.read(name)]


def test_recorded_runs_hold_what_can_happen() -> None:
    events = {type(event).__name__ for name in record.RUNS for event, _ in record.read(name)}
    assert events >= {
        "SlotsChanged", "TrialStarted", "ResultsReported", "CheckpointSaved", "TrialPaused", "TrialFinished",
        "TrialErrored", "WorkerLost", "StopRequested",
    }  # fmt: skip
    lines = [line for name in record.RUNS for _, answer in record.read(name) for line in answer]
    kinds = {line.partition("(")[0] for line in lines}
    assert kinds >= {
        "StartTrial", "GrantLease", "StopTrial", "PauseTrial", "ExploitTrial", "DeleteCheckpoint", "Finish",
        "RecordTrial", "RecordStatus", "RecordDecision",
    }  # fmt: skip
    assert any("PauseTrial" in line and "evict=True" in line for line in lines)
