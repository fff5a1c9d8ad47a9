"""`Prepared` on a folder that `prepare_folder` wrote: training and evaluation read it memory-mapped."""

from __future__ import annotations

from ...model.tokenization_bert4rec import Bert4RecTokenizer
from ..arguments import DataArguments
from ..prepared import Prepared
from ..stored_histories import SplitHistories
from ..tables import to_dataset
from .prepared_folder import PreparedFolder, open_folder


def open_data(arguments: DataArguments) -> Prepared:
    """Open the folder that `arguments.ratings` names; ValueError if it is damaged or has other options."""
    assert arguments.ratings is not None
    folder = open_folder(arguments.ratings)
    used = {"last-n": {"targets"}, "temporal": {"quantile"}}.get(arguments.split, set())
    without_effect = {"targets", "quantile"} - used
    different = [
        f"{name} is {getattr(arguments, name)}, and the folder was prepared with {value}"
        for name, value in folder.options.items()
        if getattr(arguments, name) != value and name not in without_effect
    ]
    if different:
        raise ValueError(
            f"{folder.path}: {'; '.join(different)}. Use its options, or prepare the table again with these"
        )
    if arguments.items is not None:
        raise ValueError(f"{folder.path} has its own table of items: leave out items, or prepare the table with it")
    return mapped_data(folder, arguments)


def mapped_data(
    folder: PreparedFolder, arguments: DataArguments, tokenizer: Bert4RecTokenizer | None = None
) -> Prepared:
    """A folder as a data set, split by `arguments`; by default with the tokenizer of its items."""
    movies = to_dataset(folder.items.drop("count"))
    event_names = folder.manifest["event_names"]
    if tokenizer is None:
        tokenizer = Bert4RecTokenizer.from_movies(
            movies,
            dict(folder.items.select("movie_id", "count").iter_rows()),
            item_id_name=folder.manifest["item_id_name"],
            event_names=event_names,
            num_target_events=len(folder.options["target_events"] or []),
        )
    return Prepared(
        folder.manifest["name"], movies, SplitHistories(folder.histories, arguments), tokenizer, event_names
    )
