"""The table of Ray Tune's names: as things are now, with a reason for each difference and a script for each name."""

from __future__ import annotations

from typing import Any

import pytest
from scripts import Uses, programs

import tune_plugins as tune
from benchmarks.ray_names import notes
from benchmarks.ray_names.compare import Row, Verdict, _lacking, collected, find, ours, rows
from benchmarks.ray_names.page import PAGE, page


@pytest.fixture(scope="module")
def table() -> list[Row]:
    return rows()


@pytest.mark.slow
def test_the_page_tells_how_things_are_now(table: list[Row]) -> None:
    assert PAGE.read_text(encoding="utf-8") == page(table), "python -m benchmarks.ray_names --page writes it"
    assert len(table) > 170 and {row.verdict for row in table} == set(Verdict)


@pytest.mark.slow
def test_each_difference_says_what_to_write(table: list[Row]) -> None:
    # "Did you mean" is a guess of the package, of a name that looks like one of its own.
    unsaid = [row for row in table if not row.text or row.text.startswith("Did you mean")]
    assert [row.name for row in unsaid if row.verdict is not Verdict.SAME] == []
    unseen = {row.name for row in table if row.verdict is Verdict.DIFFERENT and not row.missing}
    assert unseen == set(notes.UNSEEN)


@pytest.mark.slow
def test_no_note_is_out_of_date(table: list[Row]) -> None:
    now = {verdict: {row.name for row in table if row.verdict is verdict} for verdict in Verdict}
    assert set(notes.DIFFERENT) - now[Verdict.DIFFERENT] == set(), "these are the same: take the notes away"
    assert set(notes.REFUSED) - now[Verdict.DIFFERENT] == set()
    theirs = [(each["name"], each) for each in collected()["names"]]
    for name, inner in notes.INNER.items():
        assert set(inner) <= {each for known, entry in theirs if known == name for each in entry["attributes"]}, name
    for (name, argument), here in notes.RENAMED.items():
        given = [each.rstrip("=") for each in dict(theirs)[name]["takes"]]
        assert argument in given[:1] and here != argument


def train(config: dict[str, Any]) -> dict[str, float]:
    return {"loss": config["x"]}


@pytest.mark.parametrize("argument", notes.REFUSED["run"])
def test_what_run_is_said_to_refuse_it_refuses(argument: str) -> None:
    with pytest.raises(tune.ArgumentError, match=f"{argument}: expected nothing"):
        tune.run(train, config={"x": 1}, runtime="inline", verbose=0, **{argument: "something"})


def test_what_else_is_said_to_be_refused_is() -> None:
    for argument in notes.REFUSED["run_experiments"]:
        with pytest.raises(tune.ArgumentError, match=f"{argument}: "):
            tune.run_experiments({"name": {"run": train}}, runtime="inline", verbose=0, **{argument: "something"})
    for argument in notes.REFUSED["Experiment"]:
        with pytest.raises(tune.ArgumentError, match=f"{argument}: "):
            tune.run(tune.Experiment("name", train, **{argument: "something"}), runtime="inline", verbose=0)


def test_a_missing_argument_is_found() -> None:
    def mine(name: str, mode: str = "min") -> None: ...
    def takes_all(name: str, **others: Any) -> None: ...

    assert list(_lacking("f", ["name", "mode=", "*", "seed=", "*args", "**kwargs"], mine)) == ["seed"]
    assert list(_lacking("f", ["name", "seed="], takes_all)) == []
    assert list(_lacking("run", ["config=", "resume="], takes_all)) == ["resume"]
    assert list(_lacking("create_scheduler", ["scheduler"], mine)) == []


@pytest.mark.slow
def test_each_name_that_is_the_same_is_used_by_a_script_that_runs(table: list[Row]) -> None:
    found = [Uses(source) for _, source in programs()]
    names = {name for each in found for name in each.names}
    attributes = {name for each in found for name in each.attributes}
    same = [row for row in table if row.verdict is Verdict.SAME]
    assert len(same) > 75
    assert sorted({row.name for row in same} - names) == []
    assert sorted({f"{row.name}.{each}" for row in same for each in row.checked if each not in attributes}) == []


def test_an_import_alone_is_no_use() -> None:
    uses = Uses(
        "import tune_plugins as tune\nfrom tune_plugins.stoppers import NoopStopper, Stopper as Base\n"
        "class Mine(Base):\n    def stop_all(self): return tune.run(x=1).trials\n"
    )
    assert uses.names == {"Stopper", "run"} and {"stop_all", "x", "trials"} <= uses.attributes
    assert "NoopStopper" not in uses.names


def test_names_are_looked_for_under_rays_modules() -> None:
    assert find("ray.tune.stopper.timeout", "TimeoutStopper") is tune.stoppers.TimeoutStopper
    assert find("ray.tune.nothing", "TimeoutStopper") is None and ours("ray.tune") == "tune_plugins"
