"""The histories, targets, genres and negatives on which the model and every baseline are evaluated."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from ..data.collators import IGNORED
from ..data.prepared import PreparedData
from ..data.ragged import BoolArray, IntArray, Ragged, Rows, labels_of, require_times, seen_items
from ..data.transitions import item_counts, label_counts
from .baselines import user_counts
from .config import EvaluationConfig

logger = logging.getLogger(__name__)

PAPER_NEGATIVES = 100
WITH_TIMES, WITHOUT_TIMES = "with the time of the query", "without any times"


@dataclass(frozen=True)
class EvaluationTask:
    """Rank `targets` given `histories`; one row per user, all input ids.

    `known` holds all interactions that precede the targets, one row per user, also of users without targets: baselines
    are fitted on them. `counts` are the known interactions of every input id, (vocab_size,); with event types, only
    those of target events. `genres` is a boolean table (vocab_size, n_genres), None where genres are unknown.
    `negatives` are named sets of sampled candidates, (users, n) each. `unseen_targets` counts the targets whose item
    occurs in no training history. With `exclude_seen`, items of the history are not candidates.
    """

    histories: Rows
    targets: Ragged
    known: Rows
    counts: IntArray
    vocab_size: int
    special_ids: Sequence[int]
    genres: BoolArray | None = None
    negatives: Mapping[str, npt.NDArray[np.int32]] = field(default_factory=dict)
    unseen_targets: int = 0
    exclude_seen: bool = True

    @property
    def seen(self) -> Rows:
        """Input ids that may not be recommended, one row per user."""
        return seen_items(self.histories, self.exclude_seen)

    @cached_property
    def user_counts(self) -> IntArray:
        """Users with each item among the interactions of `counts`, (vocab_size,)."""
        return user_counts(self.known.map(labels_of), self.vocab_size)

    @property
    def catalogue_size(self) -> int:
        """Items that can be recommended."""
        return self.vocab_size - len(set(self.special_ids))


def build_task(data: PreparedData, config: EvaluationConfig, timed: bool = False) -> EvaluationTask:
    """The task for one part of a data set's split, encoded with the model's own tokenizer; with times if `timed`."""
    rows, tokenizer = data.next_item_dataset(config.part, timed), data.tokenizer
    known = data.known_interactions(config.part)
    task = EvaluationTask(
        histories=rows.histories,
        targets=rows.targets,
        known=known,
        counts=label_counts(known, len(tokenizer)),
        vocab_size=len(tokenizer),
        special_ids=list(tokenizer.all_special_ids),
        genres=genre_table(tokenizer.items.get("genres", []), len(tokenizer)),
        unseen_targets=int((item_counts(data.train, len(tokenizer))[rows.targets.values] == 0).sum()),
        exclude_seen=data.exclude_seen,
    )
    return replace(task, negatives=sampled_candidates(task, config.seed))


def time_ablations(task: EvaluationTask, data: PreparedData, config: EvaluationConfig) -> dict[str, EvaluationTask]:
    """A task with times, once with the time of each query added and once without any times."""
    require_times(task.histories.rows(0, 1))
    with_times = task.histories.with_queries(timestamps=data.target_times(config.part))
    without_times = task.histories.without("timestamps")
    return {WITH_TIMES: replace(task, histories=with_times), WITHOUT_TIMES: replace(task, histories=without_times)}


def sampled_candidates(task: EvaluationTask, seed: int) -> dict[str, npt.NDArray[np.int32]]:
    """100 negatives per user drawn by popularity, as in the paper, and 100 drawn uniformly; fewer if items are few."""
    num_popular = min(PAPER_NEGATIVES, int((np.delete(task.counts, list(task.special_ids)) > 0).sum()))
    num_uniform = min(PAPER_NEGATIVES, task.catalogue_size)
    draw = partial(sample_negatives, seen=task.seen, targets=task.targets, special_ids=task.special_ids, seed=seed)
    candidates = {
        f"popularity_{num_popular}": draw(task.counts, n=num_popular),
        f"uniform_{num_uniform}": draw(np.ones(task.vocab_size), n=num_uniform),
    }
    for name, items in candidates.items():
        if short := int((items == IGNORED).any(axis=1).sum()):
            logger.warning("%s: %d users have fewer unseen items: their targets are ranked among those", name, short)
    return candidates


def sample_negatives(
    weights: npt.NDArray[np.floating] | IntArray,
    seen: Rows,
    targets: Ragged,
    special_ids: Sequence[int],
    n: int = PAPER_NEGATIVES,
    seed: int = 0,
    batch_size: int = 256,
) -> npt.NDArray[np.int32]:
    """Draw `n` unseen items per user without replacement, each next one with probability ∝ its weight.

    The BERT4Rec paper (section 4.2) ranks each held-out item among 100 items drawn by popularity. Figures from sampled
    candidates are far higher than those over the catalogue and can order models differently (Krichene & Rendle, KDD
    2020), so they are labelled as sampled and never the headline.

    Drawn as the largest of log(weight) + Gumbel noise, which is the same distribution (Efraimidis & Spirakis, 2006).
    The draw depends on `seed`, not on `batch_size`; memory is O(batch × vocab_size).

    Args:
        weights: (vocab_size,), such as training counts; an item of weight 0 is never drawn.
        seen: input ids per user that may not be drawn.
        targets: held-out input ids per user, which may not be drawn either.

    Returns:
        (users, n) input ids, int32, `IGNORED` where fewer than `n` items are left.

    Raises:
        ValueError: `n` is not between 1 and the number of items with a weight, or a weight is negative or not finite.
    """
    weights = np.asarray(weights, dtype=np.float64).copy()
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError("weights of sampled negatives must be finite and 0 or more")
    weights[list(special_ids)] = 0
    if not 1 <= n <= (drawable := int((weights > 0).sum())):
        raise ValueError(f"{n} negatives per user from {drawable} items that can be drawn: give 1 to {drawable}")
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights)
    generator = np.random.default_rng(seed)
    negatives = np.empty((len(targets), n), dtype=np.int32)
    for start in range(0, len(targets), batch_size):
        stop = min(start + batch_size, len(targets))
        keys = log_weights - np.log(generator.standard_exponential((stop - start, len(log_weights))))
        for excluded in (seen.rows(start, stop), targets.rows(start, stop)):
            keys[excluded.row_ids, excluded.values] = -np.inf
        drawn = np.argpartition(-keys, n - 1, axis=1)[:, :n]
        drawn.sort(axis=1)
        negatives[start:stop] = np.where(np.take_along_axis(keys, drawn, 1) == -np.inf, IGNORED, drawn)
    return negatives


def genre_table(genres: Sequence[Sequence[str] | None], vocab_size: int) -> BoolArray | None:
    """Table of the genres of every input id, (vocab_size, n_genres); None if no item has any.

    `genres` are in the order of the items, which come last in the vocabulary.

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
