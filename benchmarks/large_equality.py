"""A prepared folder compared with the same table in memory, bit for bit: 25 million rows by default.

    python -m benchmarks.large_equality

The table is that of `large_data`. Compared are items and counts, histories, target hashes, and the input ids and times
of the training rows, of the validation and test histories with their targets, and of what is known before the targets.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.large_data import REFERENCE, write_table
from benchmarks.measure import benchmark_parser, cpu_load, row, write_result
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.folder.prepare_folder import prepare_folder
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.data.prepared import Prepared
from hf_bert4rec.data.ragged import Ragged, Rows
from hf_bert4rec.data.splits import HELD_OUT


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_parser(__doc__, repeats=1)
    parser.add_argument("--rows", type=int, default=REFERENCE, help="rows of the table")
    arguments = parser.parse_args(argv)
    load = cpu_load()
    with tempfile.TemporaryDirectory() as name:
        table, folder = Path(name) / "log.parquet", Path(name) / "prepared"
        write_table(arguments.rows, table)
        manifest = prepare_folder(DataArguments(ratings=str(table)), folder)
        ours, theirs = (prepare(DataArguments(ratings=str(path))) for path in (folder, table))
        checks = comparisons(ours, theirs)
        if different := [name for name, are_equal in checks.items() if not are_equal()]:
            raise ValueError(f"the folder differs from the table in memory: {', '.join(different)}")
    counts = ("users", "items", "interactions")
    rows = [row(f"{arguments.rows:,} rows, equal {count}", "", [manifest[count]]) for count in counts]
    write_result(arguments, "large_equality", rows, load, compared=list(checks))


def comparisons(ours: Prepared, theirs: Prepared) -> dict[str, Callable[[], bool]]:
    """Comparisons of the data of a folder and of a table in memory, by name."""
    checks: dict[str, Callable[[], bool]] = {
        "items and counts": lambda: ours.tokenizer.items == theirs.tokenizer.items,
        "histories": lambda: ours.histories.with_format("arrow")[:] == theirs.histories.with_format("arrow")[:],
        "training rows": lambda: equal_rows(ours.timed_train, theirs.timed_train),
    }
    for part in HELD_OUT:
        checks[f"{part} targets and histories"] = partial(equal_questions, ours, theirs, part)
        checks[f"interactions known before {part}"] = partial(equal_known, ours, theirs, part)
    return checks


def equal_questions(ours: Prepared, theirs: Prepared, part: str) -> bool:
    """Whether hash, histories and targets of a part are equal."""
    rows, expected = ours.next_item_dataset(part, timed=True), theirs.next_item_dataset(part, timed=True)
    if ours.target_hash(part) != theirs.target_hash(part):
        return False
    return equal_rows(rows.histories, expected.histories) and equal_rows(rows.targets, expected.targets)


def equal_known(ours: Prepared, theirs: Prepared, part: str) -> bool:
    """Whether what precedes the targets of a part is equal."""
    return equal_rows(ours.known_interactions(part, timed=True), theirs.known_interactions(part, timed=True))


def equal_rows(ours: Rows, theirs: Ragged) -> bool:
    """Whether rows have the same values and columns."""
    first = 0
    for block in ours.blocks():
        expected = theirs.rows(first, first + len(block))
        first += len(block)
        arrays = [(block.values, expected.values), (block.offsets, expected.offsets)]
        if block.columns.keys() != expected.columns.keys():
            return False
        arrays += [(block.columns[name], expected.columns[name]) for name in expected.columns]
        if not all(np.array_equal(one, other) for one, other in arrays):
            return False
    return first == len(theirs)


if __name__ == "__main__":
    main()
