"""Times of tables: numbers since 1970, YYYYMMDD, ISO, or a form that is configured."""

import polars as pl

from brmrs.ingest.interactions import END_OF_TIME

LAST_SECOND = END_OF_TIME // 1000
# Smallest number of a unit, and how many of it are a millisecond. A number below the first counts
# seconds. Milliseconds before 1973 would be taken for seconds, so they are refused as out of range.
UNITS = ((10**11, 1), (10**14, 1_000), (10**17, 1_000_000))
DAY = r"^(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])$"
NUMBER = r"^-?\d{1,19}(?:\.\d+)?$"
ISO = (
    r"^(?<day>\d{4}-\d{1,2}-\d{1,2})"
    r"(?:[T ]+(?<clock>\d{1,2}:\d{2})(?::(?<seconds>\d{2}(?:\.\d+)?))?)?"
    r"\s*(?:Z|UTC|(?<sign>[+-])(?<hours>\d{2}):?(?<minutes>\d{2})?)?$"
)


def milliseconds(text: pl.Series, form: str = "") -> pl.Series:
    """Milliseconds since 1970-01-01 UTC; null where the text is absent or no time of 1970 to 2100.

    Args:
        text: texts, or null.
        form: of `strptime`; "": a number, YYYYMMDD or ISO. A time without a zone is in UTC.
    """
    if form:
        found = text.str.to_datetime(form, strict=False, time_unit="ms")
        if found.dtype.time_zone is not None:  # type: ignore[attr-defined]
            found = found.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return _in_range(found.dt.epoch("ms"))
    is_day = text.str.contains(DAY)
    is_number = text.str.contains(NUMBER) & ~is_day
    numbers = _of_numbers(text.set(~is_number.fill_null(value=False), None))
    days = text.set(~is_day.fill_null(value=False), None).str.to_datetime(
        "%Y%m%d", strict=False, time_unit="ms"
    )
    return _in_range(numbers.fill_null(days.dt.epoch("ms")).fill_null(_of_iso(text)))


def _of_numbers(text: pl.Series) -> pl.Series:
    whole = text.cast(pl.Int64, strict=False)
    frame = pl.DataFrame({"whole": whole, "real": text.cast(pl.Float64, strict=False)})
    seconds = (pl.col("real") * 1000).round().cast(pl.Int64, strict=False)
    scaled: pl.Expr = pl.when(pl.col("real") < LAST_SECOND).then(seconds)
    for least, factor in UNITS:
        is_of_unit = pl.col("real").is_between(least, 1000 * least, closed="left")
        scaled = pl.coalesce(scaled, pl.when(is_of_unit).then(_whole_or_real() // factor))
    return frame.select(scaled.alias("ms"))["ms"]


def _whole_or_real() -> pl.Expr:
    return pl.coalesce(pl.col("whole"), pl.col("real").cast(pl.Int64, strict=False))


def _of_iso(text: pl.Series) -> pl.Series:
    found = text.str.replace_all("/", "-").str.extract_groups(ISO).struct.unnest()
    clock = pl.col("clock").fill_null("0:00")
    moment = pl.concat_str(pl.col("day"), pl.lit(" "), clock).str.to_datetime(
        "%Y-%m-%d %H:%M", strict=False, time_unit="ms"
    )
    seconds = pl.col("seconds").cast(pl.Float64, strict=False).fill_null(0.0)
    zone = pl.col("hours").cast(pl.Int64).fill_null(0) * 60 + pl.col("minutes").cast(
        pl.Int64
    ).fill_null(0)
    sign = pl.when(pl.col("sign") == "-").then(-1).otherwise(1)
    after = (seconds * 1000).round().cast(pl.Int64) - sign * zone * 60_000
    return found.select((moment.dt.epoch("ms") + after).alias("ms"))["ms"]


def _in_range(times: pl.Series) -> pl.Series:
    good = (times >= 0) & (times < END_OF_TIME)
    return times.set(~good.fill_null(value=False), None)
