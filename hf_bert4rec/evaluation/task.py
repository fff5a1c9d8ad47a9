"""What is asked of the model and of every baseline alike: the same histories, targets, genres and negatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from datasets import concatenate_datasets

from ..data.encoding import encode_histories
from ..data.prepare import Prepared
from ..data.ragged import IntArray, Ragged, offsets_of, require_times
from ..data.splits import target_times
from ..data.transitions import item_counts
from .list_metrics import BoolArray
from .sampled import PAPER_NEGATIVES, sample_negatives

WITH_TIMES, WITHOUT_TIMES = "told when it is asked", "told no times"


@dataclass(frozen=True)
class EvaluationTask:
    """What is asked: rank `targets`, shown `histories`, whose items may not be recommended. All are input ids.

    `known` holds all interactions that precede the targets, one row a user (of whom more may be there than are
    asked about): baselines are fitted on them and popularity is counted in them. `genres` is a boolean table
    (vocab_size, n_genres) where genres are known; `negatives` are sampled candidates, (users, n) for each name.
    """

    histories: Ragged
    targets: Ragged
    known: Ragged
    vocab_size: int
    special_ids: Sequence[int]
    genres: BoolArray | None = None
    negatives: Mapping[str, IntArray] = field(default_factory=dict)

    @cached_property
    def counts(self) -> IntArray:
        """Known interactions of every input id, (vocab_size,)."""
        return item_counts(self.known, self.vocab_size)

    @property
    def catalogue_size(self) -> int:
        """Items that can be recommended."""
        return self.vocab_size - len(set(self.special_ids))


def build_task(data: Prepared, part: str, seed: int = 0, timed: bool = False) -> EvaluationTask:
    """The task that the "validation" or "test" part of a data set's split sets; `timed`, it says when things were.

    `data.tokenizer` is the model's own; `seed` decides the sampled negatives.
    """
    questions, tokenizer = data.next_item_dataset(part, timed), data.tokenizer
    known = known_interactions(data, part)
    special = list(tokenizer.all_special_ids)
    counts = item_counts(known, len(tokenizer))
    return EvaluationTask(
        histories=questions.histories,
        targets=questions.targets,
        known=known,
        vocab_size=len(tokenizer),
        special_ids=special,
        genres=genre_table(tokenizer.items.get("genres", []), len(tokenizer)),
        negatives=sampled_candidates(counts, questions.histories, questions.targets, special, seed),
    )


def time_ablations(task: EvaluationTask, data: Prepared, part: str) -> dict[str, EvaluationTask]:
    """Of a task with times the same with the time of the question too, and the same without any."""
    histories = require_times(task.histories)
    query_times = target_times(data.splits[part])
    plain = Ragged(histories.values, histories.offsets)
    told = {} if query_times is None else {WITH_TIMES: replace(task, histories=histories.with_query_times(query_times))}
    return {**told, WITHOUT_TIMES: replace(task, histories=plain)}


def known_interactions(data: Prepared, part: str) -> Ragged:
    """All interactions that precede the targets of `part`, input ids, one row a user.

    With a cut in time it is everything before the cut; otherwise what the users of `part` are shown, and the
    training rows of all others.
    """
    rows, train = data.splits[part], data.splits["train"]
    if "cut" in rows.column_names:
        histories = encode_histories(data.histories, data.tokenizer)
        early = Ragged.from_column(data.histories, "timestamps").values < rows[0]["cut"]
        lengths = np.bincount(histories.row_ids[early], minlength=len(histories))
        return Ragged(histories.values[early], offsets_of(lengths[lengths > 0]))
    asked = np.isin(np.asarray(train["user_id"]), np.asarray(rows["user_id"]))
    others = train.select(np.flatnonzero(~asked)).select_columns(["item_ids"])
    return encode_histories(concatenate_datasets([rows.select_columns(["item_ids"]), others]), data.tokenizer)


def sampled_candidates(
    counts: IntArray, histories: Ragged, targets: Ragged, special_ids: Sequence[int], seed: int
) -> dict[str, IntArray]:
    """The paper's 100 negatives a user drawn by popularity, and 100 drawn uniformly; fewer if items are few."""
    n_items = len(counts) - len(set(special_ids))
    popular = min(PAPER_NEGATIVES, int((np.delete(counts, list(special_ids)) > 0).sum()))
    uniform = min(PAPER_NEGATIVES, n_items)
    return {
        f"popularity_{popular}": sample_negatives(counts, histories, targets, special_ids, popular, seed),
        f"uniform_{uniform}": sample_negatives(np.ones(len(counts)), histories, targets, special_ids, uniform, seed),
    }


def genre_table(genres: Sequence[Sequence[str] | None], vocab_size: int) -> BoolArray | None:
    """Which input id has which genre, (vocab_size, n_genres); None if no item has any.

    `genres` are those of the items in the vocabulary's order, of which items take the last places.

    >>> genre_table([["Drama"], None, ["Comedy", "Drama"]], vocab_size=4).astype(int)
    array([[0, 0],
           [0, 1],
           [0, 0],
           [1, 1]])
    """
    names = sorted({name for entry in genres for name in entry or ()})
    if not names:
        return None
    table = np.zeros((vocab_size, len(names)), dtype=bool)
    for item, entry in enumerate(genres, start=vocab_size - len(genres)):
        table[item, [names.index(name) for name in entry or ()]] = True
    return table
