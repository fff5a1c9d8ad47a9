"""Times of a table that is read in portions: they become seconds by the rules of `as_seconds` for the complete column.

The unit of numbers, for example, follows from the largest of the column. So times are stored as the numbers that they
are, and become seconds when all portions have been seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ..times import MICROS, check_unit, divided, is_divisible, micros_of, parse_times, read_compact_dates

Numbers = npt.NDArray[Any]  # int64 or float64


@dataclass
class TimeReader:
    """Collects what decides the conversion of a column.

    Raises:
        ValueError: see `as_seconds`.
    """

    column: str
    source: str
    low: Any = None
    high: Any = None
    are_dates: bool | None = None
    are_integers: bool = True

    def read(self, values: pl.Series, source: str) -> Numbers:
        """The times of a portion as numbers in their own unit, or as microseconds of datetimes."""
        times = parse_times(values, source)
        are_dates = isinstance(times.dtype, pl.Datetime)
        if self.are_dates not in (None, are_dates):
            raise ValueError(
                f"{source}: column {self.column!r} has {'dates' if are_dates else 'numbers'}, and earlier rows have "
                f"{'numbers' if are_dates else 'dates'}: use one form of time"
            )
        self.are_dates = are_dates
        numbers = micros_of(times) if are_dates else times
        self.are_integers &= numbers.dtype == pl.Int64
        low, high = numbers.min(), numbers.max()
        self.low = low if self.low is None else min(low, self.low)
        self.high = high if self.high is None else max(high, self.high)
        return numbers.to_numpy()

    def conversion(self, portions: Callable[[], Iterator[Numbers]]) -> Callable[[Numbers], Numbers]:
        """The function that converts a portion to seconds; `portions` gives all of them, at every call."""
        if self.are_dates:
            return _division(lambda numbers: numbers, MICROS, portions)
        if self.are_integers and all(self._dates(numbers) is not None for numbers in portions()):
            return _division(self._micros, MICROS, portions)
        units, first = 1, 0
        for numbers in portions():
            source = f"{self.source}, from row {first:,} on" if first else self.source
            units = check_unit(pl.Series(self.column, numbers), self.low, self.high, source)
            first += len(numbers)
        if units == 1:
            return lambda numbers: numbers if self.are_integers else numbers.astype(np.float64)
        return _division(lambda numbers: numbers, units, portions)

    def _dates(self, numbers: Numbers) -> pl.Series | None:
        return read_compact_dates(pl.Series(numbers), self.low, self.high)

    def _micros(self, numbers: Numbers) -> Numbers:
        dates = self._dates(numbers)
        assert dates is not None
        return micros_of(dates).to_numpy()


def _division(
    read: Callable[[Numbers], Numbers], factor: int, portions: Callable[[], Iterator[Numbers]]
) -> Callable[[Numbers], Numbers]:
    exact = all(is_divisible(pl.Series(read(numbers)), factor) for numbers in portions())
    return lambda numbers: divided(pl.Series(read(numbers)), factor, exact).to_numpy()
