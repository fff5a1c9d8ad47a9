"""Columns of an input table: ids, ratings, weights and event types, checked and converted to one type each.

The functions name the column, the row and the value in their errors; `source` is the name of the table in them.
"""

import logging

import polars as pl

logger = logging.getLogger(__name__)

# What str.strip() removes; Polars' own default leaves four of these characters.
WHITESPACE = "".join(filter(str.isspace, map(chr, range(0x3001))))
MISSING_WORDS = ("nan", "NaN", "None", "null", "NULL", "NA", "N/A", "#N/A", "<NA>", "NaT", r"\N")
# Excel writes long numbers as 9.78316E+12, different ones alike, and R writes 100000 as 1e+05.
ROUNDED = r"^-?\d([.,]\d{1,5})?[eE]\+\d\d$"
EXPORT_AGAIN = "digits may be missing: format the column as text, or as integers, and export it again"
INTEGER = r"^(0|-?[1-9][0-9]{0,17})(\.0)?$"  # pandas writes integers as 7.0 if one is missing in the column


def as_ids(values: pl.Series, source: str) -> pl.Series:
    """Return ids as int64 if all are integers, else as text without surrounding whitespace.

    Integers in text are written plainly, not as "007", and have at most 18 digits.

    ValueError for a missing, fractional or inexact id, an id with a line break, or a column of another type.
    """
    values = with_floats(values)
    dtype = values.dtype
    if dtype.is_float():
        refuse_rows(values, values.is_null() | ~values.is_finite(), source, "an id is needed")
        refuse_rows(values, values != values.floor(), source, "an id is an integer or text")
        refuse_inexact(values, source)
        return values.cast(pl.Int64)
    if dtype.is_integer() or dtype.is_decimal():
        return as_int64(values, source, "an id is needed")
    if not is_text(dtype):
        hint = ": give one row per interaction" if isinstance(dtype, pl.List | pl.Array) else ""
        raise ValueError(f"{source}: column {values.name!r} is of type {dtype}; ids are integers or text{hint}")
    return _text_ids(values.cast(pl.String), source)


def is_text(dtype: pl.DataType) -> bool:
    return dtype in (pl.String, pl.Categorical) or isinstance(dtype, pl.Enum)


def with_floats(values: pl.Series) -> pl.Series:
    """Decimals as floats; those without a fraction stay, since they may be larger than exact floats."""
    return values.cast(pl.Float64) if isinstance(values.dtype, pl.Decimal) and values.dtype.scale else values


def _text_ids(values: pl.Series, source: str) -> pl.Series:
    distinct = values.unique()  # each id is checked once: a large table repeats them
    clean = distinct.str.strip_chars(WHITESPACE)
    text = values.str.strip_chars(WHITESPACE) if (clean != distinct).any() else values
    if clean.has_nulls() or (clean == "").any():
        refuse_rows(values, text.is_null() | (text == ""), source, "an id is needed")
    if clean.str.contains(r"[\r\n]").any():
        expected = "an id has no line break: check the file's quote marks (quote_char, escape_char)"
        refuse_rows(values, text.str.contains(r"[\r\n]"), source, expected)
    if clean.str.contains(ROUNDED).any():
        refuse_rows(values, text.str.contains(ROUNDED), source, EXPORT_AGAIN)
    integer, missing = clean.str.contains(INTEGER), clean.is_in(MISSING_WORDS)
    if missing.any():
        if integer.any() and (integer | missing).all():
            refuse_rows(values, text.is_in(MISSING_WORDS), source, "an id is needed")
        word = clean.filter(missing)[0]
        logger.warning("%s: column %r has the id %r: is it a missing value?", source, values.name, word)
    return text.str.strip_suffix(".0").cast(pl.Int64) if integer.all() else text


def as_ratings(values: pl.Series, source: str) -> pl.Series:
    """Return ratings as float32; ValueError if one is missing, not a number or not finite."""
    ratings = _as_float32(values)
    expected = "a rating is a finite number; read the table without ratings by rating_column=None (--rating_column '')"
    refuse_rows(values, ratings.is_null() | ~ratings.is_finite(), source, expected)
    return ratings


def as_weights(values: pl.Series, source: str) -> pl.Series:
    """Return weights as float32; ValueError if one is missing, negative or not finite, or if all are 0."""
    weights = as_weights_of_chunk(values, source)
    if (zero := weights == 0).all():
        refuse_rows(values, zero, source, "some weight must be above 0")
    return weights


def as_weights_of_chunk(values: pl.Series, source: str) -> pl.Series:
    """`as_weights` of some rows of a table, all of which may be 0."""
    weights = _as_float32(values)
    wrong = weights.is_null() | ~weights.is_finite() | (weights < 0)
    refuse_rows(values, wrong, source, "a weight is a finite number of 0 or more")
    return weights


def _as_float32(values: pl.Series) -> pl.Series:
    plain = values.cast(pl.String).str.strip_chars() if is_text(values.dtype) else values
    return plain.cast(pl.Float32, strict=False)


def as_events(values: pl.Series, source: str) -> pl.Series:
    """Return event types as text without surrounding whitespace; ValueError if one is missing or a list."""
    if values.dtype.is_nested():
        raise ValueError(f"{source}: column {values.name!r} is of type {values.dtype}; an event type is a name")
    names = values.cast(pl.String).str.strip_chars(WHITESPACE)
    refuse_rows(values, names.is_null() | (names == ""), source, "an event type is needed")
    return names


def as_int64(values: pl.Series, source: str, expected: str) -> pl.Series:
    refuse_rows(values, values.is_null(), source, expected)
    integers = values.cast(pl.Int64, strict=False)
    refuse_rows(values, integers.is_null(), source, "an integer here has at most 63 bits")
    return integers


def refuse_inexact(values: pl.Series, source: str) -> None:
    """Raise ValueError for floats so large that neighbouring integers have the same float."""
    bits = {"Float64": 53, "Float32": 24}.get(str(values.dtype), 11)
    expected = f"{values.dtype} is exact up to 2^{bits} only: use int64"
    refuse_rows(values, values.abs().cast(pl.Float64) > 2**bits, source, expected)


def refuse_rows(values: pl.Series, bad: pl.Series, source: str, expected: str) -> None:
    """Raise ValueError that names the first row in which `bad` is true, its value, and what is expected."""
    if not bad.any():
        return
    row = bad.arg_true()[0]
    raise ValueError(
        f"{source}, row {row} (counted from 0, without a header): column {values.name!r} is {values[row]!r}, but "
        f"{expected}; {bad.sum():,} of {len(bad):,} rows are like that"
    )
