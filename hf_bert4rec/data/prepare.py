"""Load, filter, split and encode a data set for training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset, DatasetDict

from ..model.tokenization_bert4rec import ANSWER_KEYS, Bert4RecTokenizer
from .arguments import DataArguments, TextOptions
from .encoding import NextItemDataset, add_times, encode_histories, encode_targets
from .histories import build_histories
from .interactions import load_ml1m_sequences, read_interactions
from .likes import liked_mask
from .movielens import find_release_folder, load_movielens
from .ragged import Ragged, flat_column
from .splits import check_leakage, global_temporal_split, last_n, leave_one_out
from .tables import dataset_of
from .user_split import hold_out_users

SEQUENCES = "ml-1m.txt"


@dataclass(frozen=True)
class Prepared:
    """A prepared data set: the catalogue's movies, ratings, histories, their split, and the tokenizer.

    `new_users` are histories of users of whom nothing is in `histories` and `splits`: `DatasetDict{validation, test}`,
    None unless `held_out_users` is set.
    """

    name: str
    movies: Dataset
    ratings: Dataset
    histories: Dataset
    splits: DatasetDict
    tokenizer: Bert4RecTokenizer
    custom: bool = False  # a table of the user's own, not a MovieLens release
    exclude_seen: bool = True  # whether items of a history are never recommended
    new_users: DatasetDict | None = None
    liked_rating: float = 4.0

    @property
    def rated(self) -> bool:
        """Whether there are ratings that separate likes from other interactions."""
        return "rating" in self.ratings.column_names

    @cached_property
    def train_liked(self) -> npt.NDArray[np.bool_]:
        """Whether each interaction of `train` is a like, (total,)."""
        return liked_mask(self.splits["train"], self.ratings, self.liked_rating)

    def likes(self, histories: Dataset) -> Ragged:
        """The likes of every history as input ids, all interactions where there are no ratings; a row may be empty."""
        return encode_histories(histories, self.tokenizer).where(liked_mask(histories, self.ratings, self.liked_rating))

    @cached_property
    def train(self) -> Ragged:
        """Training histories as input ids, one row per user."""
        return encode_histories(self.splits["train"], self.tokenizer)

    @cached_property
    def timed_train(self) -> Ragged:
        """`train` with times, if there are any."""
        return add_times(self.train, self.splits["train"])

    def next_item_dataset(self, split: str, timed: bool = False) -> NextItemDataset:
        """The histories and targets of the validation or test split, with times if `timed`."""
        rows = self.splits[split]
        return NextItemDataset(encode_histories(rows, self.tokenizer, timed), encode_targets(rows, self.tokenizer))


def load(arguments: DataArguments, interactions: Any = None, items: Any = None) -> DatasetDict:
    """Ratings and movies of the named release, of the sequence file, or of the user's own table.

    `interactions` and `items` are tables in memory, instead of the files that `arguments` name.
    """
    if arguments.ratings is not None:
        # Item columns that have their usual name may be missing.
        columns = {name: getattr(arguments, f"{name}_column") for name in ("title", "year", "genres")}
        mapping = {name: column or None for name, column in columns.items() if column != name}
        return read_interactions(
            arguments.ratings if interactions is None else interactions,
            user_column=arguments.user_column,
            item_column=arguments.item_column,
            time_column=arguments.time_column or None,
            rating_column=arguments.rating_column or None,
            items=arguments.items if items is None else items,
            item_columns=mapping,
            dataset_config=arguments.dataset_config,
            dataset_split=arguments.dataset_split,
            **{option.name: getattr(arguments, option.name) for option in fields(TextOptions)},
        )
    if arguments.dataset == SEQUENCES:
        return load_ml1m_sequences(find_release_folder("ml-1m", arguments.data_dir))
    return load_movielens(arguments.dataset, data_dir=arguments.data_dir)


def prepare(arguments: DataArguments, interactions: Any = None, items: Any = None) -> Prepared:
    """Load, build histories, hold out users, split, check for leaks, and build the tokenizer.

    The catalogue is every item of the histories, also of held-out users, in the order of the movies table. Interaction
    counts, the measure of popularity, come from the training histories only. `interactions` and `items` are as for
    `load`.

    Raises:
        ValueError: A table that cannot be read, no user left, or a split with an empty part.
        LeakageError: The split leaks.
    """
    tables = load(arguments, interactions, items)
    histories = build_histories(
        tables["ratings"],
        min_interactions=arguments.min_interactions,
        min_rating=arguments.min_rating,
        repeats=arguments.repeats,
    )
    table = tables["movies"].with_format("arrow")[:]
    present = flat_column(histories, "item_ids")[0].unique().cast(table["movie_id"].type)
    catalogue = table.filter(pa.compute.is_in(table["movie_id"], value_set=present))
    movies = dataset_of(catalogue, tables["movies"].features, tables["movies"].info)
    histories, new_users = hold_out_users(histories, arguments.held_out_users)
    splits = split_histories(histories, arguments)
    check_leakage(splits, repeats=arguments.repeats == "all")
    ids, counts = flat_column(splits["train"], "item_ids")[0].value_counts().flatten()
    column = getattr(tables, "item_column", "movie_id")  # a release has none of its own
    tokenizer = Bert4RecTokenizer.from_movies(
        movies,
        dict(zip(ids.to_pylist(), counts.to_pylist(), strict=True)),
        item_id_name="item_id" if column in ANSWER_KEYS else column,
    )
    name = table_name(arguments.ratings) if arguments.ratings else arguments.dataset
    return Prepared(
        name,
        movies,
        tables["ratings"],
        histories,
        splits,
        tokenizer,
        custom=bool(arguments.ratings),
        exclude_seen=arguments.repeats != "all",
        new_users=new_users,
        liked_rating=arguments.liked_rating,
    )


def table_name(table: str) -> str:
    """The name of a file or folder without its ending, or that of the last folder above a glob."""
    return next(Path(part).stem for part in reversed(Path(table).resolve().parts) if not set(part) & set("*?["))


def split_histories(histories: Dataset, arguments: DataArguments) -> DatasetDict:
    """Training, validation and test by the rule of `arguments.split`."""
    if arguments.split == "last-n":
        return last_n(histories, arguments.targets)
    if arguments.split == "temporal":
        return global_temporal_split(histories, arguments.quantile)
    return leave_one_out(histories)
