"""One column of a stranger's table at a time: ids, ratings and times, checked and in the types we use."""

from __future__ import annotations

import polars as pl

_EXACT = 2**53  # from here on a float no longer tells two neighbouring whole numbers apart
_WHOLE = r"^(0|-?[1-9]\d{0,17})$"
# Tried in turn, per value; what names no zone is taken as UTC.
_ZONED = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z", "%Y-%m-%d %H:%M%#z")
_NAIVE = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")


def as_ids(values: pl.Series, column: str, place: str) -> pl.Series:
    """Ids as int64 where every one is a whole number as it would be printed, else as strings."""
    kind = values.dtype
    if kind.is_float():
        _refuse(values, values.is_null() | ~values.is_finite(), column, place, "an id is needed")
        _refuse(values, values != values.floor(), column, place, "an id is a whole number or a string")
        _refuse(values, values.abs() > _EXACT, column, place, "a float tells ids apart up to 2^53: use int64 or text")
        return values.cast(pl.Int64)
    if not (kind.is_integer() or kind in (pl.String, pl.Categorical) or isinstance(kind, pl.Enum)):
        raise ValueError(f"{place}: column {column!r} is of type {kind}; ids are whole numbers or strings")
    if kind.is_integer():
        _refuse(values, values.is_null(), column, place, "an id is needed")
        return _as_int64(values, column, place)
    text = values.cast(pl.String)
    _refuse(text, text.is_null() | (text.str.strip_chars() == ""), column, place, "an id is needed")
    return text.cast(pl.Int64) if text.str.contains(_WHOLE).all() else text


def as_ratings(values: pl.Series, column: str, place: str) -> pl.Series:
    """Ratings as float32, all finite."""
    found = values.cast(pl.Float32, strict=False)
    _refuse(values, found.is_null() | ~found.is_finite(), column, place, "a rating is a finite number")
    return found


def as_seconds(values: pl.Series, column: str, place: str) -> pl.Series:
    """Times as numbers: whole ones as int64, others as float64, dates as unix seconds."""
    kind = values.dtype
    if kind.is_integer():
        _refuse(values, values.is_null(), column, place, "a time is needed")
        return _as_int64(values, column, place)
    if kind.is_float():
        _refuse(values, values.is_null() | ~values.is_finite(), column, place, "a time is a finite number")
        return values.cast(pl.Float64)
    if kind.is_temporal() and kind != pl.Time and not isinstance(kind, pl.Duration):
        _refuse(values, values.is_null(), column, place, "a time is needed")
        return _unix(values)
    if kind != pl.String:
        raise ValueError(f"{place}: column {column!r} is of type {kind}; times are numbers, dates or ISO strings")
    return _from_text(values.str.strip_chars(), column, place)


def _as_int64(values: pl.Series, column: str, place: str) -> pl.Series:
    found = values.cast(pl.Int64, strict=False)
    _refuse(values, found.is_null(), column, place, "a whole number here has at most 63 bits")
    return found


def _from_text(text: pl.Series, column: str, place: str) -> pl.Series:
    if text.str.contains(r"^-?\d{1,18}$").all() and not text.has_nulls():
        return text.cast(pl.Int64)
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.is_not_null().any():
        wrong = numbers.is_null() | ~numbers.is_finite()
        _refuse(text, wrong, column, place, "a time is a finite number, as elsewhere in the column")
        return numbers
    moments = _moments(text)
    _refuse(text, moments.is_null(), column, place, "a time is a number or an ISO date")
    return _unix(moments)


def _moments(text: pl.Series) -> pl.Series:
    """ISO dates and times as UTC, null where none of the forms fits."""
    zoned = text.str.replace(r"[zZ]$", "+00:00")
    zones = [zoned.str.to_datetime(form, strict=False, time_unit="us", time_zone="UTC") for form in _ZONED]
    naive = [text.str.to_datetime(form, strict=False, time_unit="us") for form in _NAIVE]
    days = text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
    utc = [series.dt.replace_time_zone("UTC") for series in (*naive, days)]
    return pl.select(pl.coalesce(*zones, *utc)).to_series()


def _unix(moments: pl.Series) -> pl.Series:
    """Seconds since 1970: int64, or float64 where a moment has a fraction of a second."""
    micros = moments.cast(pl.Datetime("us", getattr(moments.dtype, "time_zone", None))).dt.epoch("us")
    if (micros % 1_000_000 == 0).all():
        return micros // 1_000_000
    return micros / 1_000_000


def _refuse(values: pl.Series, bad: pl.Series, column: str, place: str, wish: str) -> None:
    if not bad.any():
        return
    row = bad.arg_true()[0]
    raise ValueError(
        f"{place}, row {row} (counted from 0, without a header): column {column!r} is {values[row]!r}, but {wish}; "
        f"{bad.sum():,} of {len(bad):,} rows are like that"
    )
