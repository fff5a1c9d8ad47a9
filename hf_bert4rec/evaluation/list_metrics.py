"""Properties of recommendation lists beyond hits: genres, coverage, concentration, novelty, diversity.

Lists are arrays (users, k) of input ids, best first, `IGNORED` where fewer than k items were left. Genres are a boolean
table (vocab_size, n_genres), counts the users of every input id in training (vocab_size,). Functions return one value
per user, (users,) float64, NaN where undefined; coverage and Gini are one number for all lists.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..data.collators import IGNORED
from ..data.ragged import BoolArray, FloatArray, IntArray, Ragged, Rows
from .metrics import discounts


class GenreRelevance(NamedTuple):
    """Relevance to every user by set of genres.

    `genre_sets` (vocab_size,): the index of every input id's set; `by_set` (users, n_sets): relevance in [0, 1].
    """

    genre_sets: IntArray
    by_set: FloatArray

    def of(self, lists: IntArray) -> FloatArray:
        """Relevance of every listed movie, (users, k), 0 where the list is padded."""
        relevance = np.take_along_axis(self.by_set, self.genre_sets[np.maximum(lists, 0)], axis=1)
        return np.where(lists == IGNORED, 0.0, relevance)


def genre_relevance(targets: Ragged, genres: BoolArray) -> GenreRelevance:
    """Relevance by shared genres: a movie's mean Jaccard similarity with the user's held-out movies.

    rel(u, i) = (1/|T_u|) Σ_{t in T_u} |G_i ∩ G_t| / |G_i ∪ G_t|, where G are sets of genres; 0 without genres.
    """
    distinct, genre_sets = np.unique(genres, axis=0, return_inverse=True)
    genre_sets = genre_sets.reshape(-1)
    share = np.zeros((len(targets), len(distinct)))  # share of each set among a user's targets
    weights = np.repeat(1 / np.maximum(targets.lengths, 1), targets.lengths)
    np.add.at(share, (targets.row_ids, genre_sets[targets.values]), weights)
    return GenreRelevance(genre_sets, share @ jaccard(distinct))


def genre_precision(lists: IntArray, relevance: GenreRelevance) -> FloatArray:
    """The share of the k listed movies with a genre of any of the user's held-out movies: |{i: rel(u, i) > 0}| / k.

    NaN if the held-out movies have no genres. Random movies often share one, so compare with random and popularity.

    >>> drama, comedy, both = [True, False], [False, True], [True, True]
    >>> relevance = genre_relevance(Ragged.from_lists([[0]]), np.array([drama, comedy, both]))
    >>> genre_precision(np.array([[1, 2]]), relevance)
    array([0.5])
    """
    shared = (relevance.of(lists) > 0).mean(1)
    return np.where(relevance.by_set.max(1) > 0, shared, np.nan)


def genre_ndcg(lists: IntArray, relevance: GenreRelevance, seen: Ragged) -> FloatArray:
    """NDCG with the graded relevance of `genre_relevance` (Järvelin & Kekäläinen, 2002).

    Σ_{i=1..k} rel(u, item i) / log2(1 + i), divided by its value for the k most relevant movies that are not in `seen`.
    NaN if the held-out movies have no genres, or no relevant movie is left.

    >>> drama, comedy, both = [True, False], [False, True], [True, True]
    >>> relevance = genre_relevance(Ragged.from_lists([[0], [0]]), np.array([drama, comedy, both]))
    >>> genre_ndcg(np.array([[0, 2], [1, 2]]), relevance, seen=Ragged.from_lists([[], []])).round(2)
    array([1.  , 0.24])
    """
    k = lists.shape[1]
    gained = relevance.of(lists) @ discounts(k)
    available = np.tile(np.bincount(relevance.genre_sets, minlength=relevance.by_set.shape[1]), (len(lists), 1))
    n_ids = len(relevance.genre_sets)
    users, items = np.divmod(np.unique(seen.row_ids * n_ids + seen.values), n_ids)  # an item seen twice counts once
    np.subtract.at(available, (users, relevance.genre_sets[items]), 1)
    order = np.argsort(-relevance.by_set, axis=1, kind="stable")
    filled = np.minimum(np.take_along_axis(available, order, 1).cumsum(1), k)  # list positions up to each set
    weight_until = np.concatenate([[0.0], discounts(k).cumsum()])
    weights = np.diff(weight_until[filled], axis=1, prepend=0)
    best = (np.take_along_axis(relevance.by_set, order, 1) * weights).sum(1)
    return np.divide(gained, best, out=np.full(len(lists), np.nan), where=best > 0)


def coverage(lists: IntArray, n_items: int) -> float:
    """The share of the catalogue's items that occur in any list (Herlocker et al., 2004).

    >>> coverage(np.array([[3, 4], [4, IGNORED]]), n_items=8)
    0.25
    """
    return len(np.unique(lists[lists != IGNORED])) / n_items


def gini(lists: IntArray, n_items: int) -> float:
    """Inequality of recommendations over the catalogue: 0 if uniform, towards 1 if all are one item (Gini, 1912).

    Σ_i (2i - n - 1) x_i / (n Σ_i x_i), where x are the counts of all n items in ascending order. NaN for empty lists.

    >>> gini(np.array([[3, 4], [5, 6]]), n_items=4), gini(np.array([[3], [3]]), n_items=4)
    (0.0, 0.75)
    """
    counts = np.unique(lists[lists != IGNORED], return_counts=True)[1]
    if not len(counts):
        return float("nan")
    totals = np.concatenate([np.zeros(n_items - len(counts)), np.sort(counts)])
    weights = 2 * np.arange(1, n_items + 1) - n_items - 1
    return float(weights @ totals / (n_items * totals.sum()))


def novelty(lists: IntArray, counts: IntArray, n_users: int) -> FloatArray:
    """Mean self-information of the listed items in bits, -log2(count_i / n_users) (Zhou et al., 2010).

    Items without users in training count as if they had one.

    >>> novelty(np.array([[0, 1]]), counts=np.array([8, 2]), n_users=8)
    array([1.])
    """
    listed = lists != IGNORED
    information = -np.log2(np.maximum(counts, 1) / n_users)
    total = np.where(listed, information[np.maximum(lists, 0)], 0.0).sum(1)
    return np.divide(total, listed.sum(1), out=np.full(len(lists), np.nan), where=listed.any(1))


def intra_list_diversity(lists: IntArray, genres: BoolArray) -> FloatArray:
    """Mean genre distance, 1 - Jaccard, over all pairs of listed movies (Smyth & McClave, 2001).

    NaN for lists of fewer than two movies.

    >>> intra_list_diversity(np.array([[0, 1], [0, 0]]), np.array([[True, False], [False, True]]))
    array([1., 0.])
    """
    distinct, genre_sets = np.unique(genres, axis=0, return_inverse=True)
    similarity = jaccard(distinct)
    listed, set_of = lists != IGNORED, genre_sets.reshape(-1)[np.maximum(lists, 0)]
    total, pairs = np.zeros(len(lists)), np.zeros(len(lists))
    for first in range(lists.shape[1]):
        for second in range(first):
            both = listed[:, first] & listed[:, second]
            total += np.where(both, 1 - similarity[set_of[:, first], set_of[:, second]], 0.0)
            pairs += both
    return np.divide(total, pairs, out=np.full(len(lists), np.nan), where=pairs > 0)


def genre_metrics_per_user(
    lists: IntArray, targets: Ragged, seen: Rows, genres: BoolArray, ks: Sequence[int], chunk: int = 8192
) -> dict[str, FloatArray]:
    """genre_precision@k, genre_ndcg@k and intra_list_diversity@k, (users,) each, for `chunk` users at a time."""
    values: dict[str, list[FloatArray]] = defaultdict(list)
    for start in range(0, len(lists), chunk):
        stop = min(start + chunk, len(lists))
        relevance = genre_relevance(targets.rows(start, stop), genres)
        for k in ks:
            first = lists[start:stop, :k]
            values[f"genre_precision@{k}"].append(genre_precision(first, relevance))
            values[f"genre_ndcg@{k}"].append(genre_ndcg(first, relevance, seen.rows(start, stop)))
            values[f"intra_list_diversity@{k}"].append(intra_list_diversity(first, genres))
    return {name: np.concatenate(parts) for name, parts in values.items()}


def jaccard(sets: BoolArray) -> FloatArray:
    """|A ∩ B| / |A ∪ B| for all pairs of rows, (rows, rows); 0 where both are empty.

    >>> jaccard(np.array([[True, False], [True, True], [False, False]]))
    array([[1. , 0.5, 0. ],
           [0.5, 1. , 0. ],
           [0. , 0. , 0. ]])
    """
    members = sets.astype(np.float64)
    common = members @ members.T
    either = np.add.outer(members.sum(1), members.sum(1)) - common
    return np.divide(common, either, out=np.zeros_like(common), where=either > 0)
