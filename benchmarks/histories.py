"""What the benchmarks train and rank on: MovieLens 1M where it is at hand, or histories made up in its shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hf_bert4rec.data.movielens import find_release_folder
from hf_bert4rec.data.prepare import SEQUENCES, DataArguments, prepare

USERS, ITEMS, MEDIAN, SPREAD, SHORTEST, LONGEST = 6040, 3416, 96, 1.0, 18, 2000  # of MovieLens 1M's histories
FLAT = 10  # places by which the most popular items are less popular than Zipf's law has them


def made_up_lengths(generator: np.random.Generator, users: int, median: float = MEDIAN) -> npt.NDArray[np.int64]:
    """Interactions of every user, as uneven as MovieLens 1M's, (users,)."""
    lengths = np.exp(generator.normal(np.log(median), SPREAD, users))
    return lengths.clip(SHORTEST, LONGEST * median / MEDIAN).astype(np.int64)


def made_up(users: int = USERS, items: int = ITEMS, median: float = MEDIAN) -> pl.DataFrame:
    """Interactions `user_id, movie_id, timestamp`; no movie twice for a user, every movie at least five times."""
    generator = np.random.default_rng(0)
    lengths = np.minimum(made_up_lengths(generator, users, median), items // 2)
    weights = -np.log(np.arange(FLAT, items + FLAT))  # Gumbel's trick draws without putting back
    histories = [np.argpartition(-(weights + generator.gumbel(size=items)), size)[:size] for size in lengths]
    for number, rare in enumerate(np.array_split(np.tile(np.arange(items), 5), users)):
        histories[number] = np.unique(np.concatenate([histories[number], rare]))
    for history in histories:
        generator.shuffle(history)
    user = np.repeat(np.arange(users), [len(history) for history in histories])
    return pl.DataFrame({"user_id": user, "movie_id": np.concatenate(histories), "timestamp": np.arange(len(user))})


def movielens_1m(folder: Path) -> dict[str, Any]:
    """`data_settings` of the sequence file of MovieLens 1M, or of its shape where the file is not at hand."""
    try:
        there = (find_release_folder("ml-1m") / SEQUENCES).is_file()
    except FileNotFoundError:
        there = False
    return data_settings(folder, DataArguments(dataset=SEQUENCES)) if there else of_shape(folder)


def of_shape(folder: Path, **shape: Any) -> dict[str, Any]:
    """`data_settings` of histories that are made up."""
    table = folder / "-".join(["made-up", *map(str, shape.values())])
    table = table.with_suffix(".parquet")
    made_up(**shape).write_parquet(table)
    return data_settings(folder, DataArguments(ratings=str(table)))


def data_settings(folder: Path, arguments: DataArguments) -> dict[str, Any]:
    """What every contender needs to know to train on the same histories, written where `data` says.

    The file has training histories as input ids (`values`, `offsets`) and the item held out for validation, a user
    each (`targets`).
    """
    prepared = prepare(arguments)
    questions, tokenizer = prepared.next_item_dataset("validation"), prepared.tokenizer
    path = folder / f"{prepared.name}.npz"
    train = questions.histories
    np.savez(path, values=train.values, offsets=train.offsets, targets=questions.targets.values)
    return {
        "data": str(path),
        "name": "made up in its shape" if arguments.ratings else prepared.name,
        "arguments": {"ratings": arguments.ratings} if arguments.ratings else {"dataset": arguments.dataset},
        "first_item": tokenizer.first_item_id,
        "vocab_size": len(tokenizer),
    }
