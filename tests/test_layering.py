"""Rooms import only rooms above them in the table of `rooms.py`, and no two modules import each other."""

from __future__ import annotations

import sys

import pytest
import rooms

PACKAGE = {"tune_plugins": "tune_plugins", "tune_plugins.integrations": "integrations"}
BENCHMARKS = {"benchmarks": "benchmarks"}
PLACE = {room.name: number for number, room in enumerate(rooms.ROOMS)}


def test_the_table_itself_points_upwards() -> None:
    wrong = [(room.name, other) for room in rooms.ROOMS for other in room.rooms if PLACE[other] >= PLACE[room.name]]
    assert not wrong


def test_every_module_imports_what_its_room_may_and_no_room_may_more_than_it_does() -> None:
    found = rooms.modules(PACKAGE)
    assert len(found) > 80
    wrong: list[str] = []
    used: dict[str, set[str]] = {room.name: set() for room in rooms.ROOMS}
    for module, path in found.items():
        if module == rooms.FRONT_DOOR:
            continue
        room = rooms.room_of(module)
        if room is None:
            wrong.append(f"{module} is in no room")
            continue
        allowed = {*room.rooms, *room.libraries}
        for imported, line in rooms.imports(path, found):
            where = f"{module}, line {line}: {imported}"
            top = imported.partition(".")[0]
            if top in sys.stdlib_module_names:
                continue
            if imported == rooms.FRONT_DOOR:
                wrong.append(f"{where}: name the module, not the front door")
                continue
            target = rooms.room_of(imported) if top == rooms.FRONT_DOOR else None
            name = top if target is None else target.name
            if target is not room:
                used[room.name].add(name)
                if name not in allowed:
                    wrong.append(f"{where}: {room.name} may import {', '.join(sorted(allowed)) or 'nothing'}")
    for room in rooms.ROOMS:
        wrong += [
            f"{room.name} does not import {name}"
            for name in (*room.rooms, *room.libraries)
            if name not in used[room.name]
        ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folders", [PACKAGE, BENCHMARKS], ids=["package", "benchmarks"])
def test_no_cycle_of_imports(folders: dict[str, str]) -> None:
    found = rooms.modules(folders)
    graph = {m: {i for i, _ in rooms.imports(path, found) if i in found and i != m} for m, path in found.items()}
    assert not (cycle := rooms.cycle_in(graph)), " -> ".join(cycle)


def test_a_cycle_is_found() -> None:
    assert rooms.cycle_in({"a": ["b"], "b": ["c"], "c": ["b"]}) == ["b", "c", "b"]
    assert rooms.cycle_in({"a": ["b", "c"], "b": ["c"], "c": []}) == []


def test_only_a_dozen_files_lie_loose() -> None:
    """Names of users come from these; everything else is in a room that has a door."""
    assert len(list((rooms.REPOSITORY / "tune_plugins").glob("*.py"))) <= 12


def test_every_room_is_there() -> None:
    found = rooms.modules(PACKAGE)
    assert [room.name for room in rooms.ROOMS if f"tune_plugins.{room.name}" not in found] == []


def test_contributing_has_the_table() -> None:
    text = rooms.TABLE.read_text(encoding="utf-8")
    assert text == rooms.replaced(text), "python tests/rooms.py writes it"
