"""Load, filter, split and encode a data set for training and evaluation."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetDict

from ..model.tokenization_bert4rec import ANSWER_KEYS, Bert4RecTokenizer
from .arguments import DataArguments, TextOptions
from .folder.mapped_data import open_data
from .folder.prepared_folder import is_prepared
from .histories import build_histories
from .interactions import load_ml1m_sequences, read_interactions
from .movielens import find_release_folder, load_movielens
from .prepared import Prepared
from .ragged import flat_column
from .splits import check_leakage, split_histories
from .tables import dataset_of, to_frame
from .user_split import hold_out_users

SEQUENCES = "ml-1m.txt"


def load(arguments: DataArguments, interactions: Any = None, items: Any = None) -> DatasetDict:
    """Ratings and movies of the named release, of the sequence file, or of the user's own table.

    `interactions` and `items` are tables in memory, instead of the files that `arguments` name.
    """
    if interactions is None and arguments.ratings is not None and is_prepared(arguments.ratings):
        raise ValueError(f"{arguments.ratings} has prepared histories, and a table of interactions is needed here")
    if arguments.ratings is not None:
        return read_interactions(
            arguments.ratings if interactions is None else interactions,
            user_column=arguments.user_column,
            item_column=arguments.item_column,
            time_column=arguments.time_column or None,
            rating_column=arguments.rating_column or None,
            items=arguments.items if items is None else items,
            item_columns=item_columns(arguments),
            dataset_config=arguments.dataset_config,
            dataset_split=arguments.dataset_split,
            event_column=arguments.event_column or None,
            weight_column=arguments.weight_column or None,
            **{option.name: getattr(arguments, option.name) for option in fields(TextOptions)},
        )
    if arguments.dataset == SEQUENCES:
        return load_ml1m_sequences(find_release_folder("ml-1m", arguments.data_dir))
    return load_movielens(arguments.dataset, data_dir=arguments.data_dir)


def item_columns(arguments: DataArguments) -> dict[str, str | None]:
    """The `item_columns` of `read_interactions`. Columns that have their usual name may be missing."""
    columns = {name: getattr(arguments, f"{name}_column") for name in ("title", "year", "genres")}
    return {name: column or None for name, column in columns.items() if column != name}


def prepare(arguments: DataArguments, interactions: Any = None, items: Any = None) -> Prepared:
    """`load`, then `prepare_tables`; or open a folder.

    `ratings` may be a folder that `prepare_folder` wrote with the same options; it is memory-mapped.

    Raises:
        ValueError, LeakageError: as `load`, `prepare_tables` and `open_data`.
    """
    if interactions is None and arguments.ratings is not None and is_prepared(arguments.ratings):
        return open_data(arguments)
    return prepare_tables(load(arguments, interactions, items), arguments)


def prepare_tables(tables: DatasetDict, arguments: DataArguments) -> Prepared:
    """Build histories, hold out users, split, check for leaks, and build the tokenizer.

    The catalogue is every item of the histories, also of held-out users, in the order of the movies table. Interaction
    counts, the measure of popularity, come from the training histories only.

    Raises:
        ValueError: A table that cannot be read, no user left, or a split with an empty part.
        LeakageError: The split leaks.
    """
    event_names = order_events(tables["ratings"], arguments)
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
    labels = flat_column(splits["train"], "item_ids")[0]
    if event_names:
        targets = pa.array(arguments.target_events)
        labels = labels.filter(pa.compute.is_in(flat_column(splits["train"], "events")[0], value_set=targets))
    ids, counts = labels.value_counts().flatten()
    column = getattr(tables, "item_column", "movie_id")  # a release has none of its own
    tokenizer = Bert4RecTokenizer.from_movies(
        movies,
        dict(zip(ids.to_pylist(), counts.to_pylist(), strict=True)),
        item_id_name="item_id" if column in ANSWER_KEYS else column,
        event_names=event_names,
        num_target_events=len(arguments.target_events or []) if event_names else 0,
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


def order_events(ratings: Dataset, arguments: DataArguments) -> list[str]:
    """The kinds of events of a table, those of `target_events` first; empty if there are none.

    Raises:
        ValueError: `target_events` is missing, or has kinds that do not occur.
    """
    if "event" not in ratings.column_names:
        return []
    kinds = sorted(to_frame(ratings, ["event"])["event"].unique())
    targets = arguments.target_events or []
    unknown = [name for name in targets if name not in kinds]
    if unknown or not targets:
        raise ValueError(
            f"target_events is {arguments.target_events}, but the kinds of events in {arguments.event_column!r} are "
            f"{', '.join(map(repr, kinds))}: name those to recommend by target_events=[...] (--target_events)"
        )
    return [*targets, *(name for name in kinds if name not in targets)]


def table_name(table: str) -> str:
    """The name of a file or folder without its ending, or that of the last folder above a glob."""
    return next(Path(part).stem for part in reversed(Path(table).resolve().parts) if not set(part) & set("*?["))
