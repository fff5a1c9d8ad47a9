"""The model of taste, fitted to the training data; `Bert4RecTaste` describes its use.

With x the vector of a user's likes, C its covariance over users, v the diagonal of C and k = `INPUT_SHARE`, the
regression of all items on a random share k of a user's likes has weights (k C + diag(v + ridge))⁻¹ C (a linear
denoising autoencoder: Steck, "Autoencoders that don't overfit towards the identity", NeurIPS 2020). With C ≈ F F' of
reduced rank they are diag(v + ridge)⁻¹ F R F' with R = (1 + k F' diag(v + ridge)⁻¹ F)⁻¹; R is folded into the factors.
`regression`, between the factors, gives the weights of k = 1, for complete histories. The constants of scores were
chosen on ml-100k, ml-latest-small and ml-1m.txt, without the test users, those of neighbours on their related movies.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import linalg, sparse
from scipy.sparse.linalg import LinearOperator, eigsh

from ..model.cold_start_bert4rec import ContentSimilarity
from ..model.extensions_bert4rec import Bert4RecTaste
from .ragged import BoolArray, FloatArray, IntArray, Ragged, Rows, offsets_of, sample_rows

MAX_INTERACTIONS = 1 << 25  # more than any MovieLens release; the matrix of more would take gigabytes
DISLIKE_WEIGHT = 0.3  # of an interaction rated below a like, which still shows interest
USER_POWER = 0.5  # a user of n interactions weighs n^-USER_POWER: few of them make most interactions
RIDGE = 10.0  # users; shrinks the weights of items with few likes
INPUT_SHARE = 0.01
# `taste_popularity_penalty` of new models. It costs 0.4 % of NDCG@10 in the mean of the data sets, for
# fewer answers among the most popular items.
POPULARITY_PENALTY = 0.2
NEIGHBOURS = 10
CORRELATION_RIDGE = 2.0  # users; smaller than `RIDGE`, as a series may have few likes
PRIOR_USERS = 200.0  # correlations over as many users count as much as the cosines of factors, which vary less
PARTIAL_RIDGE, PARTIAL_WEIGHT = 250.0, 0.5  # the ridge in users
CONTENT_WEIGHT = 0.1  # of the similarity of genres, years and titles, which counts where likes are few
SERIES = {"title_weight": 2.0, "decay_years": 12.0}  # of that similarity: the movies of a series are years apart
MAX_NEIGHBOUR_ITEMS = 15_000  # larger catalogues have no neighbours: a matrix of all pairs of items is inverted
BLOCK = 1024  # items compared with all others at once
DENSE_FACTOR = 4  # catalogues of up to this many times the rank are factorised completely

Matrices = Callable[[], Iterable[sparse.csr_array]]


def fit_taste(taste: Bert4RecTaste, train: Rows, liked: BoolArray, items: Mapping[str, list[Any]]) -> None:
    """Fill a model of taste from training histories of input ids.

    Of more than `MAX_INTERACTIONS`, as many are used, of users chosen at random.

    Args:
        liked: (total,), true for likes.
        items: the tokenizer's columns, whose genres, years and titles count for neighbours; may be empty.
    """
    chosen = sample_rows(train.lengths, MAX_INTERACTIONS, seed=0)
    liked = Ragged(liked, offsets_of(train.lengths)).take(chosen).values
    train = train.take(chosen)
    vocab_size, rank = taste.factors.shape
    matrix, users = _weighted_likes(train, liked, vocab_size)
    total = users.sum()
    shares = np.asarray(users @ matrix) / total
    variances = np.asarray(users @ matrix.power(2)) / total - shares**2
    factors = _covariance_factors(matrix, users / total, shares, min(rank, vocab_size - 1))
    precisions = 1 / (variances + RIDGE / total)
    inner = np.eye(factors.shape[1]) + INPUT_SHARE * factors.T @ (factors * precisions[:, None])
    values, vectors = np.linalg.eigh(inner)
    factors = factors @ (vectors / np.sqrt(values)) @ vectors.T  # times the square root of R
    if taste.regression is not None:
        of_all = 1 + (values - 1) / INPUT_SHARE  # eigenvalues of R⁻¹ if all likes are known
        taste.regression.zero_()
        taste.regression[: len(values), : len(values)] = torch.from_numpy((vectors * (values / of_all)) @ vectors.T)
    taste.factors.zero_()
    taste.factors[:, : factors.shape[1]] = torch.from_numpy(factors).float()
    taste.precisions.copy_(torch.from_numpy(precisions))
    taste.shares.copy_(torch.from_numpy(shares))
    if taste.log_popularity is not None:
        counts = np.bincount(matrix.indices, minlength=vocab_size) + 1
        taste.log_popularity.copy_(torch.from_numpy(np.log(counts / counts.sum())))
    if taste.neighbours is not None:
        neighbours, similarities = _neighbours(
            matrix, users / total, shares, variances, factors, items, taste.neighbours.shape[1]
        )
        taste.neighbours.copy_(torch.from_numpy(neighbours))
        taste.correlations.copy_(torch.from_numpy(similarities))


def neighbours_for(vocab_size: int, taste_size: int) -> int:
    """Neighbours per item that a model of taste gets, `taste_neighbours` of its configuration."""
    return min(NEIGHBOURS, vocab_size) if taste_size and vocab_size <= MAX_NEIGHBOUR_ITEMS else 0


def _weighted_likes(train: Ragged, liked: BoolArray, vocab_size: int) -> tuple[sparse.csr_array, FloatArray]:
    """1 for every like and `DISLIKE_WEIGHT` for other interactions, (users, vocab_size); and weights of users (users,).

    Weights of users have a mean of 1, so that `RIDGE` is a number of users.
    """
    values = np.where(liked, 1.0, DISLIKE_WEIGHT)
    matrix = sparse.csr_array((values, train.values, train.offsets), shape=(len(train), vocab_size), copy=True)
    matrix.sum_duplicates()
    matrix.data = np.minimum(matrix.data, 1.0)
    weights = np.maximum(np.asarray(matrix.sum(1)).ravel(), 1.0) ** -USER_POWER
    return matrix, weights / weights.mean()


def _covariance_factors(matrix: sparse.csr_array, users: FloatArray, means: FloatArray, rank: int) -> FloatArray:
    """F (vocab_size, rank) with F F' nearest to the covariance of users weighted by `users`, which add up to 1."""
    size = matrix.shape[1]
    if size <= DENSE_FACTOR * rank:
        covariance = (matrix.T @ (sparse.diags_array(users) @ matrix)).toarray() - np.outer(means, means)
        values, vectors = np.linalg.eigh(covariance)
        values, vectors = values[-rank:], vectors[:, -rank:]
    else:
        transposed = sparse.csr_array(matrix.T)

        def product(vector: FloatArray) -> FloatArray:
            return transposed @ (users * (matrix @ vector)) - means * (means @ vector)

        start = np.random.default_rng(0).standard_normal(size)
        values, vectors = eigsh(LinearOperator((size, size), matvec=product, dtype=np.float64), k=rank, v0=start)
    return vectors * np.sqrt(np.maximum(values, 0.0))


def _neighbours(
    matrix: sparse.csr_array,
    users: FloatArray,
    means: FloatArray,
    variances: FloatArray,
    factors: FloatArray,
    items: Mapping[str, list[Any]],
    number: int,
) -> tuple[IntArray, FloatArray]:
    """The items closest to each, closest first, and their similarities, (vocab_size, number) both.

    A similarity is the mean of a correlation and, with `PARTIAL_WEIGHT`, a partial correlation scaled so that an item's
    largest ones are equal. Correlations are over users weighted by `users`, which add up to 1, shrunk by
    `CORRELATION_RIDGE` and averaged with the cosines of `factors`. `CONTENT_WEIGHT` times the similarity of genres,
    years and titles in the columns `items` is added, and the sum divided by its largest value. Where fewer than
    `number` are positive, items and similarities are 0.
    """
    size, known = matrix.shape[1], max(map(len, items.values()), default=0)
    content, first = ContentSimilarity(items, known, **SERIES), size - known
    scales = 1 / np.sqrt(variances + CORRELATION_RIDGE / len(users))
    vectors = factors / np.maximum(np.linalg.norm(factors, axis=1, keepdims=True), 1e-12)
    prior = PRIOR_USERS / len(users)
    weighted = sparse.csr_array(sparse.diags_array(users) @ matrix)
    columns = sparse.csc_array(matrix)
    partial = _partial_correlations(matrix)
    closest, similarities = np.zeros((size, number), dtype=np.int64), np.zeros((size, number))
    for start in range(0, size, BLOCK):
        rows = np.arange(start, min(start + BLOCK, size))
        block = (columns[:, rows].T @ weighted).toarray() - np.outer(means[rows], means)
        block *= np.outer(scales[rows], scales)
        block = (block + prior * vectors[rows] @ vectors.T) / (1 + prior)
        block[rows - start, rows] = 0
        ratio = block.max(1) / np.maximum(partial[rows].max(1), 1e-12)
        block = (block + PARTIAL_WEIGHT * ratio[:, None] * np.maximum(partial[rows], 0)) / (1 + PARTIAL_WEIGHT)
        for row in range(max(rows[0], first), rows[-1] + 1):
            block[row - start, first:] += CONTENT_WEIGHT * content.similarities_to(row - first).numpy()
        block /= 1 + CONTENT_WEIGHT * (1 + content.title_weight)  # to be at most 1
        block[rows - start, rows] = 0
        order = np.argsort(-block, axis=1, kind="stable")[:, :number]
        values = np.take_along_axis(block, order, 1)
        closest[rows], similarities[rows] = np.where(values > 0, order, 0), np.maximum(values, 0)
    return closest, similarities


def _partial_correlations(matrix: sparse.csr_array) -> npt.NDArray[np.float32]:
    """Correlations of items given all other items, (vocab_size, vocab_size), with a diagonal of 0.

    They are -P_ab / √(P_aa · P_bb) with P = (X'X + `PARTIAL_RIDGE`)⁻¹, X being the user-item matrix of zeros and ones:
    the weights of EASE (Steck, WWW 2019, arXiv:1905.03375), made symmetric.
    """
    ones = sparse.csr_array((np.ones(len(matrix.data), np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)
    inverse = inverse_gram(lambda: [ones], matrix.shape[1], PARTIAL_RIDGE)
    scales = 1 / np.sqrt(inverse.diagonal())
    inverse *= -scales
    inverse *= scales[:, None]
    np.fill_diagonal(inverse, 0)
    return inverse


def inverse_gram(matrices: Matrices, size: int, ridge: float) -> npt.NDArray[np.float32]:
    """(X'X + `ridge`)⁻¹, (items, items), X (users, items) being 1 where a user has an item; see `common_users`."""
    gram = np.empty((size, size), dtype=np.float32)
    for start in range(0, size, BLOCK):
        gram[start : start + BLOCK] = common_users(matrices(), start, start + BLOCK)
    gram[np.diag_indices(size)] += ridge
    # In place; the transposed matrix is in LAPACK's order of memory.
    factor = linalg.cholesky(gram.T, lower=True, overwrite_a=True, check_finite=False)
    inverse, _ = linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
    inverse += np.tril(inverse, -1).T  # above the diagonal it is 0
    return inverse


def common_users(matrices: Iterable[sparse.csr_array], start: int, stop: int) -> npt.NDArray[np.float32]:
    """The number of users of each item from `start` to `stop` (exclusive) and each item, (items, vocab_size).

    `matrices` (users, vocab_size) of some of the users each are float32, 1 where a user has an item. Counts are exact
    up to 2^24, and so the same for any chunks of users.
    """
    parts = ((matrix[:, start:stop].T @ matrix).toarray() for matrix in matrices)
    total = next(parts)
    for part in parts:
        total += part
    return total
