"""A prepared folder compared with the same table in memory, bit for bit: 25 million rows by default.

    python -m benchmarks.large_equality

The table is that of `large_data`. Compared are items and counts, histories, target hashes, and the input ids and times
of the training rows, of the validation and test histories with their targets, and of what is known before the targets.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.large_data import REFERENCE, write_table
from benchmarks.measure import benchmark_parser, cpu_load, row, write_result
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.folder.prepare_folder import prepare_folder
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.data.prepared import Prepared
from hf_bert4rec.data.ragged import Ragged
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
        checks = {
            name: all(map(equal, values, expected))
            for (name, values), (_, expected) in zip(contents(ours), contents(theirs), strict=True)
        }
        if different := [name for name, same in checks.items() if not same]:
            raise ValueError(f"the folder differs from the table in memory: {', '.join(different)}")
    counts = ("users", "items", "interactions")
    rows = [row(f"{arguments.rows:,} rows, equal {count}", "", [manifest[count]]) for count in counts]
    write_result(arguments, "large_equality", rows, load, compared=list(checks))


def contents(data: Prepared) -> Iterator[tuple[str, list[Any]]]:
    """What is compared, by name."""
    yield "items and counts", [data.tokenizer.items]
    yield "histories", [data.histories.with_format("arrow")[:]]
    yield "training rows", [data.timed_train]
    for part in HELD_OUT:
        rows = data.next_item_dataset(part, timed=True)
        yield f"{part} targets and histories", [data.target_hash(part), rows.histories, rows.targets]
        yield f"interactions known before {part}", [data.known_interactions(part, timed=True)]


def equal(ours: Any, theirs: Any) -> bool:
    """Whether two values are equal; rows, if they have the same values and columns."""
    if not isinstance(theirs, Ragged):
        return ours == theirs
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
