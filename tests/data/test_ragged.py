"""Ragged rows against plain lists."""

import numpy as np
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_bert4rec.data.ragged import Ragged, offsets_of, repeated_rows, run_lengths

LISTS = st.lists(st.lists(st.integers(-5, 5), max_size=4), max_size=6)


@settings(max_examples=50, deadline=None)
@given(LISTS)
def test_round_trip(rows: list[list[int]]) -> None:
    ragged = Ragged.from_lists(rows)
    assert len(ragged) == len(rows)
    assert [row.tolist() for row in ragged] == rows
    assert ragged.lengths.tolist() == [len(row) for row in rows]
    assert ragged.row_ids.tolist() == [number for number, row in enumerate(rows) for _ in row]


@settings(max_examples=50, deadline=None)
@given(LISTS, st.integers(0, 6), st.integers(0, 6))
def test_rows_are_a_view(rows: list[list[int]], start: int, stop: int) -> None:
    start, stop = sorted((min(start, len(rows)), min(stop, len(rows))))
    part = Ragged.from_lists(rows).rows(start, stop)
    assert [row.tolist() for row in part] == rows[start:stop]
    assert part.offsets[0] == 0


def test_from_column_of_a_complete_and_a_selected_dataset() -> None:
    dataset = Dataset.from_dict({"ids": [[1, 2], [], [3]], "names": [["a"], ["b", "c"], []]})
    assert [row.tolist() for row in Ragged.from_column(dataset, "ids")] == [[1, 2], [], [3]]
    assert [row.tolist() for row in Ragged.from_column(dataset, "names")] == [["a"], ["b", "c"], []]
    assert [row.tolist() for row in Ragged.from_column(dataset.select([2, 0]), "ids")] == [[3], [1, 2]]
    assert [row.tolist() for row in Ragged.from_column(dataset.select(range(1, 3)), "ids")] == [[], [3]]


def test_offsets_of_nothing() -> None:
    assert offsets_of([]).tolist() == [0]
    assert offsets_of(np.array([2, 0, 1])).tolist() == [0, 2, 2, 3]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20))
def test_repeated_rows_are_all_but_the_first(pairs: list[tuple[int, int]]) -> None:
    codes, others = np.array(pairs).T
    expected = [row for row, pair in enumerate(pairs) if pair in pairs[:row]]
    assert sorted(repeated_rows(codes, others).tolist()) == expected


def test_run_lengths() -> None:
    assert run_lengths(np.array([4, 4, 2, 4])).tolist() == [2, 1, 1]
    assert run_lengths(np.array([9])).tolist() == [1]
    assert run_lengths(np.array([], dtype=np.int64)).tolist() == []
