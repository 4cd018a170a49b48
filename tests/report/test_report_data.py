"""The section on the data: the numbers, and that a figure is the same each time."""

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest

from brmrs.columns import ITEM, SPLIT, TIMESTAMP, USER
from brmrs.report.data import core_curves, cores, degree_curve, degrees, over_time, timeline

STATISTICS: dict[str, Any] = {
    "k": 2,
    "before_k_core": {"users": 4, "items": 5, "interactions": 10},
    "cores": [
        {"k": 2, "users": 3, "items": 5, "interactions": 9},
        {"k": 3, "users": 0, "items": 0, "interactions": 0},
    ],
}


def ms(year: int, month: int = 1, day: int = 1) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp() * 1000)


def table(times: list[int | None]) -> pl.DataFrame:
    count = len(times)
    values = {
        USER: [row // 3 for row in range(count)],
        ITEM: [row % 3 for row in range(count)],
        TIMESTAMP: times,
        SPLIT: [row % 3 for row in range(count)],
    }
    return pl.DataFrame(values, schema_overrides={TIMESTAMP: pl.Int64})


def test_degrees_by_hand() -> None:
    curve = degree_curve("users", pl.Series([7, 7, 7, 1, 1, 1, 2, 9]))
    assert (curve.x, curve.y) == ([1, 3], [1.0, 0.5])


def test_cores_by_hand() -> None:
    users, items, interactions = core_curves(STATISTICS)
    assert users.x == [1, 2, 3]
    assert users.y == [1.0, 0.75, 0.0]
    assert items.y == [1.0, 1.0, 0.0]
    assert interactions.y == [1.0, 0.9, 0.0]


@pytest.mark.parametrize(
    ("last", "unit", "starts"),
    [
        (ms(2020, 1, 9), "day", [date(2020, 1, 1), date(2020, 1, 9)]),
        (ms(2020, 12, 31), "week", [date(2019, 12, 30), date(2020, 12, 28)]),
        (ms(2024, 5, 20), "month", [date(2020, 1, 1), date(2024, 5, 1)]),
        (ms(2035, 5, 20), "quarter", [date(2020, 1, 1), date(2035, 4, 1)]),
        (ms(2080, 5, 20), "year", [date(2020, 1, 1), date(2080, 1, 1)]),
    ],
)
def test_the_bins_fit_the_span(last: int, unit: str, starts: list[date]) -> None:
    found = over_time(table([ms(2020), last, last, None]))
    assert found is not None
    assert (found.unit, found.starts) == (unit, starts)
    assert found.counts == {"train": [1, 0], "validation": [0, 1], "test": [0, 1]}


def test_without_times_there_is_no_histogram() -> None:
    assert over_time(table([None] * 6)) is None


def test_the_same_data_give_the_same_bytes_without_script() -> None:
    data = table([ms(2020, 1 + row % 12) for row in range(30)])
    times = over_time(data)
    assert times is not None
    for one, other in (
        (degrees(data), degrees(data)),
        (cores(STATISTICS), cores(STATISTICS)),
        (timeline(times), timeline(times)),
    ):
        assert one == other
        assert one.svg.startswith("<svg")
        assert "<script" not in one.svg
        assert "<" not in one.spec


def test_a_figure_describes_what_it_shows() -> None:
    assert cores(STATISTICS).sentence.striptags() == (
        "The 2-core that is used keeps 90.0 % of the interactions, 75.0 % of the users and "
        "100.0 % of the items."
    )
    none = {**STATISTICS, "k": 0}
    assert cores(none).sentence.striptags().startswith("No k-core was taken")
    split = pl.DataFrame({USER: [0, 0, 0, 1, 2], ITEM: [0, 1, 2, 2, 2]})
    assert degrees(split).sentence.striptags() == (
        "Half of the users have at most 1 interactions and half of the items at most 1; the most "
        "active user has 3, the most popular item 3."
    )


def test_all_at_one_moment() -> None:
    found = over_time(table([ms(2020)] * 3))
    assert found is not None
    assert found.unit == "day"
    assert timeline(found).sentence.striptags() == (
        "From 2020-01-01 to 2020-01-01; most interactions, 3, are in the day of 2020-01-01."
    )
