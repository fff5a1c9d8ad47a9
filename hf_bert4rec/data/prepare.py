"""Load, filter, split and encode a data set for training and evaluation."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetDict

from .arguments import DataArguments
from .folder.prepared_folder import is_prepared, open_folder, read_manifest
from .histories import build_histories, order_events
from .interactions import read_tables
from .items import item_id_name
from .leakage import check_leakage
from .movielens import find_release_folder, load_movielens
from .prepared import PreparedData, build_tokenizer
from .ragged import flat_column
from .releases import RELEASES
from .sequences import SEQUENCE_FILE, load_ml1m_sequences
from .splits import split_datasets
from .stored_histories import Histories, SplitHistories
from .tables import dataset_of, table_name

logger = logging.getLogger(__name__)


def load(arguments: DataArguments, interactions: Any = None, items: Any = None) -> DatasetDict:
    """Ratings and movies of the named release, of the sequence file, or of a custom table.

    `interactions` and `items` are tables in memory, instead of the files that `arguments` name.
    """
    if arguments.ratings is not None:
        interactions = arguments.ratings if interactions is None else interactions
        items = arguments.items if items is None else items
        return read_tables(interactions, arguments.requested_columns, arguments, items, arguments.item_columns)
    if arguments.dataset == SEQUENCE_FILE:
        return load_ml1m_sequences(find_release_folder("ml-1m", arguments.data_dir))
    return load_movielens(arguments.dataset, data_dir=arguments.data_dir)


def prepare(arguments: DataArguments, interactions: Any = None, items: Any = None) -> PreparedData:
    """`load`, then `prepare_tables`; or open the folder that `ratings` names, which must have the same options.

    Raises what `load`, `prepare_tables` and `open_data` raise.
    """
    if interactions is None and is_prepared(arguments.ratings):
        return open_data(arguments)
    return prepare_tables(load(arguments, interactions, items), arguments)


def prepare_tables(tables: DatasetDict, arguments: DataArguments) -> PreparedData:
    """Build histories, hold out users, split, check for leaks, and build the tokenizer.

    The catalogue is every item of the histories, also of held-out users, in the order of the movies table. Interaction
    counts, the measure of popularity, come from the training histories only.

    Raises ValueError if no user is left or a part of the split is empty, and LeakageError if the split leaks.
    """
    ratings = tables["ratings"]
    event_names = order_events(ratings.unique("event"), arguments) if "event" in ratings.column_names else []
    filters = arguments.min_interactions, arguments.min_rating, arguments.repeats
    histories = build_histories(ratings, *filters, with_ratings=True)
    column = getattr(tables, "item_column", "movie_id")  # a release has none of its own
    movies = _movies_of(histories, tables["movies"])
    counts = len(flat_column(histories, "item_ids")[0]), len(ratings), len(histories), len(movies)
    text = "the filters leave %s of %s interactions, %s users and %s items"
    logger.info(text, *(f"{count:,}" for count in counts))
    data = prepare_histories(histories, movies, arguments, event_names, item_id_name(column))
    check_leakage(split_datasets(histories, data.split.lengths), repeats=arguments.repeats == "all")
    return data


def prepare_histories(
    histories: Dataset,
    movies: Dataset,
    arguments: DataArguments,
    event_names: Sequence[str] = (),
    id_name: str = "movie_id",
) -> PreparedData:
    """Hold out users, split histories of `movies`, and build the tokenizer; `histories` may have ratings."""
    item_ids = movies.with_format("arrow")[:]["movie_id"].combine_chunks()
    split = SplitHistories(Histories.from_dataset(histories, item_ids, event_names), arguments)
    counts = split.label_counts(len(movies)).tolist()
    return PreparedData(
        name=table_name(arguments.ratings) if arguments.ratings else arguments.dataset,
        movies=movies,
        split=split,
        tokenizer=build_tokenizer(movies, counts, id_name, event_names, arguments),
        event_names=event_names,
        release=None if arguments.ratings else RELEASES.get(arguments.dataset.removesuffix(".txt")),
    )


def open_data(arguments: DataArguments) -> PreparedData:
    """Open the folder that `arguments.ratings` names; ValueError if it is damaged or has other options."""
    assert arguments.ratings is not None
    manifest = read_manifest(Path(arguments.ratings))
    splits = {"targets": "last-n", "quantile": "temporal"}  # the only ones on which these options have an effect
    effective = [name for name in manifest["options"] if splits.get(name, arguments.split) == arguments.split]
    check_options(arguments, manifest, effective)
    if arguments.items is not None:
        raise ValueError(
            f"{arguments.ratings} has its own table of items: leave out items, or prepare the table with it"
        )
    return open_folder(arguments.ratings, arguments)


def check_options(arguments: DataArguments, manifest: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise ValueError if a folder was prepared with other options, of those in `names`, or has unwanted columns."""
    different = [
        f"{name} is {getattr(arguments, name)}, and the folder was prepared with {manifest['options'][name]}"
        for name in names
        if getattr(arguments, name) != manifest["options"][name]
    ]
    for option, column in {"time_column": "timestamps", "rating_column": "ratings"}.items():
        if not getattr(arguments, option) and column in manifest["columns"]:
            different.append(f"{option} is {getattr(arguments, option)!r}, and the folder was prepared with {column}")
    if different:
        raise ValueError(
            f"{arguments.ratings}: {'; '.join(different)}. Use its options, or prepare the table again with these"
        )


def _movies_of(histories: Dataset, movies: Dataset) -> Dataset:
    """The movies that are in a history."""
    table = movies.with_format("arrow")[:]
    present = flat_column(histories, "item_ids")[0].unique().cast(table["movie_id"].type)
    return dataset_of(table.filter(pa.compute.is_in(table["movie_id"], present)), movies.features, movies.info)
