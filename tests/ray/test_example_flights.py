"""The demo: its data leak nothing, and the whole script runs at a small size."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRIPT = EXAMPLES / "xgboost_flights.py"

KNOWN_LATER = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "tailnum"]


@pytest.fixture(scope="module")
def flights_data() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        import flights_data
    return flights_data


@pytest.fixture(scope="module")
def tables(flights_data):
    return flights_data.read_tables()


@pytest.fixture(scope="module")
def joined(flights_data, tables):
    return flights_data.join_weather(*tables)


@pytest.fixture(scope="module")
def parts(flights_data):
    return flights_data.load()


def test_every_flight_is_there_once_after_the_join(tables, joined):
    flights, _ = tables
    assert len(flights) == 336_776
    assert len(joined) == len(flights)
    pd.testing.assert_frame_equal(joined[flights.columns], flights)


def test_the_weather_is_that_of_the_origin_in_the_hour_of_departure(flights_data, tables, joined):
    _, weather = tables
    assert joined["temp"].notna().mean() > 0.99
    known = joined[joined["temp"].notna()]
    for _, flight in known.sample(20, random_state=1).iterrows():
        hour = weather[(weather["origin"] == flight["origin"]) & (weather["time_hour"] == flight["time_hour"])]
        assert len(hour) == 1
        measured = [*flights_data.WEATHER, *flights_data.RECENT_WEATHER]
        pd.testing.assert_series_equal(
            flight[measured].astype(float), hour.iloc[0][measured].astype(float), check_names=False
        )


def test_recent_weather_looks_back_over_its_hours_only(flights_data, tables):
    _, weather = tables
    jfk = weather[weather["origin"] == "JFK"].set_index("time_hour")
    now = pd.Timestamp("2013-06-07 20:00", tz="UTC")  # a wet day
    window = jfk.loc[now - pd.Timedelta("5h") : now]
    assert len(window) == 6
    assert window["precip"].sum() > 0
    assert jfk.loc[now, "precip_6h"] == pytest.approx(window["precip"].sum())
    assert jfk.loc[now, "visib_6h"] == window["visib"].min()
    assert jfk.loc[now, "wind_speed_6h"] == pytest.approx(window["wind_speed"].mean())


def test_later_weather_changes_nothing(flights_data, tables):
    _, weather = tables
    now = pd.Timestamp("2013-03-01", tz="UTC")
    measurements = weather[["origin", "time_hour", *flights_data.WEATHER]].copy()
    measurements.loc[measurements["time_hour"] > now, flights_data.WEATHER] = 1e6
    changed = flights_data.add_recent_weather(measurements)
    before = weather["time_hour"] <= now
    pd.testing.assert_frame_equal(changed[before], weather[before])
    assert not changed.equals(weather)


def test_features_use_nothing_known_only_after_departure(flights_data, joined):
    sample = joined.iloc[::50]
    features = flights_data.make_features(sample)
    assert not set(features.columns) & set(KNOWN_LATER)
    pd.testing.assert_frame_equal(features, flights_data.make_features(sample.drop(columns=KNOWN_LATER)))


def test_planned_traffic_counts_cancelled_flights_too(tables):
    flights, _ = tables
    hour = flights[(flights["origin"] == "LGA") & (flights["time_hour"] == pd.Timestamp("2013-02-08 20:00", tz="UTC"))]
    assert hour["arr_delay"].isna().any()  # the blizzard of that day
    assert (hour["departures_in_hour"] == len(hour)).all()


def test_flights_that_never_arrived_are_dropped_and_all_others_kept(tables, parts):
    flights, _ = tables
    assert flights["arr_delay"].isna().sum() == 9_430
    assert sum(len(part.late) for part in parts.values()) == 336_776 - 9_430
    assert sum(part.late.sum() for part in parts.values()) == (flights["arr_delay"] > 10).sum()


def test_no_day_is_in_two_parts_and_each_month_is_in_all(flights_data, parts):
    days = {name: set(part.day) for name, part in parts.items()}
    assert list(days) == list(flights_data.PARTS)
    assert len(set().union(*days.values())) == sum(map(len, days.values())) == 365
    assert {name: len(of_part) for name, of_part in days.items()} == {"train": 221, "validation": 72, "test": 72}
    for of_part in days.values():
        assert {day.month for day in of_part} == set(range(1, 13))


def test_parts_are_alike_and_well_formed(flights_data, parts):
    for part in parts.values():
        assert list(part.features.columns) == flights_data.FEATURES
        assert len(part.features) == len(part.late) == len(part.day)
        assert set(part.late.unique()) == {0.0, 1.0}
        assert 0.26 < part.late.mean() < 0.30
        assert (part.features["month"] == part.day.dt.month).all()
        assert part.features["duration"].between(0, 24 * 60 - 1).all()
    for name in flights_data.CATEGORIES:
        assert len({tuple(part.features[name].cat.categories) for part in parts.values()}) == 1


def test_fewer_rows_are_whole_days_of_the_same_split(flights_data, parts):
    few = flights_data.load(rows=20_000)
    assert 15_000 < sum(len(part.late) for part in few.values()) < 25_000
    for name, part in few.items():
        assert set(part.day) < set(parts[name].day)
        counts = part.day.value_counts()
        pd.testing.assert_series_equal(counts, parts[name].day.value_counts()[counts.index])
    assert all(part.day.nunique() == 1 for part in flights_data.load(rows=1).values())


def run_script(*options: str) -> subprocess.CompletedProcess[str]:
    # Wide, so that no line of the output is wrapped.
    env = {**os.environ, "COLUMNS": "200"}
    return subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, env=env, check=False)


def test_bad_options_are_refused():
    done = run_script("--num-samples", "0")
    assert done.returncode == 2
    assert "--num-samples: expected at least 1, got 0" in done.stderr


def test_the_whole_demo_at_small_size(tmp_path):
    done = run_script(
        *("--rows", "15000", "--num-samples", "4", "--max-rounds", "25"),
        *("--cpus", "2", "--seed", "3", "--storage-path", str(tmp_path)),
    )
    assert done.returncode == 0, done.stderr
    output = done.stdout

    number = r"(0\.\d{4})"
    losses = {}
    for name in ("base rate", r"XGBoost defaults, 100 rounds", r"tuned, best round \(\d+\)"):
        row = re.search(rf"^{name} +{number} +{number} +{number} +{number}$", output, re.MULTILINE)
        assert row, f"no row {name!r} in:\n{output}"
        losses[name.split(",")[0]] = [float(cell) for cell in row.groups()]
    assert losses["base rate"][1] == losses["base rate"][3] == 0.5
    assert losses["tuned"][0] < losses["base rate"][0]
    assert losses["tuned"][1] > 0.5

    for parameter in ("eta", "max_depth", "min_child_weight"):
        assert parameter in output, "the best configuration is not shown"
    rounds = {}
    for name in ("trained", "saved by ASHA", "saved by early stopping"):
        row = re.search(rf"^{name} +(\d+) +\d+% +[\d.]+ s$", output, re.MULTILINE)
        assert row, f"no row {name!r} in:\n{output}"
        rounds[name] = int(row[1])
    assert sum(rounds.values()) == 4 * 25
    assert 4 * 20 <= rounds["trained"] <= 4 * 25

    picture = re.search(r"^Learning curves of all trials: (.+\.png)$", output, re.MULTILINE)
    assert picture, output
    path = Path(picture[1])
    assert tmp_path in path.parents
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000
    assert "Traceback" not in done.stderr
