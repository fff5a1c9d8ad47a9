"""The options of a data set: a release or a table, and how it is split."""

from dataclasses import dataclass, field
from typing import Any

from .column_names import AUTO, NOUNS

REPEATS = ("first", "last", "all")
SPLITS = ("leave-one-out", "last-n", "temporal")


def option(text: str, default: Any = None, **metadata: Any) -> Any:
    """A dataclass field with its help text, and other `metadata`, for the command line."""
    return field(default=default, metadata={"help": text, **metadata})


@dataclass
class TableOptions:
    """How a table is read: how text files are written, and which part of a data set is loaded."""

    separator: str | None = option("character between fields; detected by default")
    encoding: str = option("of text files, such as cp1252", "utf-8")
    quote_char: str | None = option("character around fields, '' for none; by default \", none for tabs and spaces")
    escape_char: str | None = option("character before quote marks in fields, such as \\ in files that Spark writes")
    columns: list[str] | None = field(default=None, metadata={"help": "names of columns, of a file without a header"})
    dataset_config: str | None = option("configuration of a data set on the Hub")
    dataset_split: str | None = option("split of a data set on the Hub")


@dataclass
class InteractionArguments(TableOptions):
    """A table of interactions."""

    dataset: str = option("a MovieLens release, or ml-1m.txt for the sequence file of published results", "ml-100k")
    data_dir: str | None = option("folder of releases; HF_BERT4REC_DATA by default")
    ratings: str | None = option("a table to use instead: a file, a folder, a glob, or a data set on the Hub")
    user_column: str = option("column of users; auto finds one with a usual name", AUTO)
    item_column: str = option("column of items, also in a table of items; auto finds one with a usual name", AUTO)
    time_column: str = option("column of times, '' if the rows are in order; auto finds one with a usual name", AUTO)
    rating_column: str = option("column of ratings; '' to read none", "rating")
    event_column: str | None = option("column of event types, such as view and purchase; none by default")
    weight_column: str | None = option("column of weights of interactions in the loss; none by default")
    min_rating: float | None = option("interactions rated lower are left out of the histories")

    @property
    def requested_columns(self) -> dict[str, str | None]:
        """The table's columns to read, by our names; None or empty for none."""
        return {name: getattr(self, f"{noun}_column") for name, noun in NOUNS.items()}


@dataclass
class DataArguments(InteractionArguments):
    """The interactions to train on and evaluate with, and how they are split."""

    target_events: list[str] | None = field(
        default=None,
        metadata={"help": "event types to predict, that of requests by default first; others are only context"},
    )
    items: str | None = option("a table of the items in `ratings`: id, title, year, genres")
    title_column: str = option("the items' column of titles; '' if there is none", "title")
    year_column: str = option("the items' column of years", "year")
    genres_column: str = option("the items' column of genres", "genres")
    min_interactions: int = option("users and items with fewer interactions are dropped, repeatedly", 5)
    repeats: str = option(
        "a user's interactions with one item that count; with all, it is recommended again", "first", choices=REPEATS
    )
    split: str = option("rule of the split", "leave-one-out", choices=SPLITS)
    targets: int = option("held-out items per user, for --split last-n", 5)
    quantile: float = option("quantile of the timestamps at which --split temporal cuts", 0.9)
    liked_rating: float = option("interactions rated this or more are likes, where there are ratings", 4.0)
    held_out_users: float = option("share of users left out of training to be new users in the evaluation", 0.0)

    def __post_init__(self) -> None:
        for name in ("items", "event_column", "weight_column"):
            if getattr(self, name) and self.ratings is None:
                raise ValueError(f"{name} is {getattr(self, name)!r}, which needs a table: name the table with ratings")
        self.target_events = self.target_events and list(dict.fromkeys(self.target_events))
        if self.target_events and self.event_column is None:
            raise ValueError(f"target_events is {self.target_events}: name the column of these by event_column")
        if self.split not in SPLITS:
            raise ValueError(f"split is {self.split!r}; it must be one of {', '.join(SPLITS)}")
        if self.split == "last-n" and self.targets < 1:
            raise ValueError(f"targets is {self.targets}; split=last-n holds out 1 or more items per user")
        if self.repeats == "all" and self.split == "last-n":
            raise ValueError("repeats=all with split=last-n: a user's held-out items may repeat; use another split")
        if self.split == "last-n" and len(self.target_events or []) > 1:
            raise ValueError(
                f"target_events is {self.target_events} with split=last-n, which needs a single type: use another split"
            )

    @property
    def item_columns(self) -> dict[str, str | None]:
        """The item table's columns by our names. Those that have their usual name may be missing."""
        columns = {name: getattr(self, f"{name}_column") for name in ("title", "year", "genres")}
        return {name: column or None for name, column in columns.items() if column != name}
