"""Data of the benchmarks: MovieLens 1M if it is available, or synthetic histories of the same shape."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.movielens import find_release_folder
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.data.sequences import SEQUENCE_FILE

# The shape of MovieLens 1M: history lengths are log-normal with this median and sigma, clipped to these bounds.
USERS, ITEMS, MEDIAN_LENGTH, LENGTH_SIGMA, MIN_LENGTH, MAX_LENGTH = 6040, 3416, 96, 1.0, 18, 2000
ZIPF_OFFSET = 10  # item weights are 1 / (rank + offset): flatter than Zipf's law at the top
MIN_ITEM_COUNT = 5


def synthetic_lengths(
    generator: np.random.Generator, users: int, median: float = MEDIAN_LENGTH
) -> npt.NDArray[np.int64]:
    """History lengths distributed as in MovieLens 1M, (users,)."""
    lengths = np.exp(generator.normal(np.log(median), LENGTH_SIGMA, users))
    return lengths.clip(MIN_LENGTH, MAX_LENGTH * median / MEDIAN_LENGTH).astype(np.int64)


def synthetic_interactions(users: int = USERS, items: int = ITEMS, median: float = MEDIAN_LENGTH) -> pl.DataFrame:
    """Interactions `user_id, movie_id, timestamp`: no item twice per user, every item at least five times."""
    generator = np.random.default_rng(0)
    lengths = np.minimum(synthetic_lengths(generator, users, median), items // 2)
    weights = -np.log(np.arange(ZIPF_OFFSET, items + ZIPF_OFFSET))
    # Gumbel top-k: sampling without replacement by weight.
    histories = [np.argpartition(-(weights + generator.gumbel(size=items)), size)[:size] for size in lengths]
    for index, rare_items in enumerate(np.array_split(np.tile(np.arange(items), MIN_ITEM_COUNT), users)):
        histories[index] = np.unique(np.concatenate([histories[index], rare_items]))
    for history in histories:
        generator.shuffle(history)
    user = np.repeat(np.arange(users), [len(history) for history in histories])
    return pl.DataFrame({"user_id": user, "movie_id": np.concatenate(histories), "timestamp": np.arange(len(user))})


def movielens_1m(folder: Path) -> dict[str, Any]:
    """`data_settings` of MovieLens 1M's sequence file, or of synthetic data if the file is not available."""
    try:
        available = (find_release_folder("ml-1m") / SEQUENCE_FILE).is_file()
    except FileNotFoundError:
        available = False
    return data_settings(folder, DataArguments(dataset=SEQUENCE_FILE)) if available else synthetic_data(folder)


def synthetic_data(folder: Path, **shape: Any) -> dict[str, Any]:
    """`data_settings` of synthetic histories; `shape` goes to `synthetic_interactions`."""
    table = folder / f"{'-'.join(['synthetic', *map(str, shape.values())])}.parquet"
    synthetic_interactions(**shape).write_parquet(table)
    return data_settings(folder, DataArguments(ratings=str(table)))


def data_settings(folder: Path, arguments: DataArguments) -> dict[str, Any]:
    """What every library needs to train on the same histories.

    Returns:
        `data`, the path of an npz file with the training histories as input ids (`values`, `offsets`) and the
        validation item of every user (`targets`); `name`; `arguments` for `DataArguments`; `first_item` and
        `vocab_size`.
    """
    prepared = prepare(arguments)
    dataset, tokenizer = prepared.next_item_dataset("validation"), prepared.tokenizer
    path = folder / f"{prepared.name}.npz"
    histories = dataset.histories.rows(0, len(dataset))
    np.savez(path, values=histories.values, offsets=histories.offsets, targets=dataset.targets.values)
    return {
        "data": str(path),
        "name": "synthetic" if arguments.ratings else prepared.name,
        "arguments": {"ratings": arguments.ratings} if arguments.ratings else {"dataset": arguments.dataset},
        "first_item": tokenizer.first_item_id,
        "vocab_size": len(tokenizer),
    }
