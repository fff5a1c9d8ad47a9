"""Ranks over the full catalogue against a naive double loop; leaks, NaN and ties."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_bert4rec.data.collators import IGNORED
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.evaluation.ranking import Ranking, candidate_ranks, rank_targets, ranks_from_scores, to_padded

SPECIAL = [0, 1, 2]


def naive_rank(scores: list[float], target: int, seen: list[int]) -> int:
    """The definition, item by item."""
    rank = 1
    for item, score in enumerate(scores):
        if item not in SPECIAL and item not in seen and item != target and score >= scores[target]:
            rank += 1
    return rank


def table_scorer(table: torch.Tensor):
    """Scores of the user whose number is the first entry of the history."""
    return lambda histories: table[torch.from_numpy(histories.values[histories.offsets[:-1]])]


def random_world(seed: int, n_users: int, vocab_size: int, n_targets: int, levels: int):
    """Tied scores, disjoint seen items and targets of different numbers a user."""
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.integers(0, levels, (n_users, vocab_size)).astype(np.float32))
    seen, targets = [], []
    for _ in range(n_users):
        items = rng.permutation(np.arange(len(SPECIAL), vocab_size))
        n = int(rng.integers(1, n_targets + 1))
        targets.append(items[:n].tolist())
        seen.append(items[n : n + int(rng.integers(0, vocab_size - n - len(SPECIAL) + 1))].tolist())
    return scores, Ragged.from_lists(seen), Ragged.from_lists(targets)


@given(st.integers(0, 10_000), st.integers(1, 9), st.sampled_from([1, 3, 20]), st.sampled_from([1, 3, 1000]))
@settings(max_examples=40, deadline=None)
def test_ranks_equal_a_naive_double_loop(seed: int, n_users: int, n_targets: int, levels: int) -> None:
    scores, seen, targets = random_world(seed, n_users, 30, n_targets, levels)
    ranks = ranks_from_scores(scores, to_padded(targets), to_padded(seen), SPECIAL)
    for user in range(n_users):
        expected = [naive_rank(scores[user].tolist(), t, seen[user].tolist()) for t in targets[user].tolist()]
        assert ranks[user, : len(expected)].tolist() == expected
        assert (ranks[user, len(expected) :] == 0).all()


def test_sorting_and_counting_agree() -> None:
    scores, _, targets = random_world(1, 5, 60, 20, 4)
    padded = to_padded(targets)  # wide enough for the sort
    one_by_one = torch.cat([candidate_ranks(scores, padded[:, [i]]) for i in range(padded.shape[1])], dim=1)
    assert torch.equal(candidate_ranks(scores, padded), one_by_one)


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_batches_of_any_size_agree(batch_size: int) -> None:
    scores, seen, targets = random_world(2, 13, 40, 3, 7)
    histories = Ragged.from_lists([[user] for user in range(13)])
    negatives = {"few": np.tile(np.array([5, 6, IGNORED]), (13, 1))}
    shared = {"seen": seen, "vocab_size": 40, "special_ids": SPECIAL, "negatives": negatives, "top_k": 5}
    ranking = rank_targets(table_scorer(scores), histories, targets, batch_size=batch_size, **shared)
    expected = ranks_from_scores(scores, to_padded(targets), to_padded(seen), SPECIAL)
    assert ranking.ranks.values.tolist() == expected[expected > 0].tolist()
    assert ranking.ranks.offsets.tolist() == targets.offsets.tolist()
    one_batch = rank_targets(table_scorer(scores), histories, targets, batch_size=13, **shared)
    assert (ranking.top_items == one_batch.top_items).all()
    assert (ranking.sampled["few"].values == one_batch.sampled["few"].values).all()


def rank(scores: torch.Tensor, histories: list, targets: list, seen: list | None = None, **options) -> Ranking:
    """Ranks by a table of scores, whose rows are the first entries of the histories if it has several."""
    scorer = table_scorer(scores) if len(scores) > 1 else lambda _: scores
    rows = Ragged.from_lists(histories), Ragged.from_lists(targets)
    options = {"vocab_size": 8, "special_ids": SPECIAL, **options}
    return rank_targets(scorer, *rows, seen=None if seen is None else Ragged.from_lists(seen), **options)


def test_lists_hold_the_best_unseen_items_and_end_where_items_end() -> None:
    table = torch.tensor([[9.0, 9.0, 9.0, 1.0, 4.0, 3.0, 2.0], [9.0, 9.0, 9.0, -torch.inf, 4.0, 3.0, 2.0]])
    ranking = rank(table, [[0], [1]], [[3], [3]], [[4, 6], [4]], vocab_size=7, top_k=3)
    # the second user's item 3 scores -inf and is a candidate all the same
    assert ranking.top_items.tolist() == [[5, 3, IGNORED], [5, 6, 3]]
    assert ranking.ranks.values.tolist() == [2, 3]


def test_the_only_unseen_item_is_ranked_first() -> None:
    table, negatives = torch.tensor([[9.0, 9.0, 9.0, 5.0, -torch.inf, 7.0]]), np.full((1, 2), IGNORED)
    ranking = rank(table, [[0]], [[4]], [[3, 5]], vocab_size=6, negatives={"none left": negatives}, top_k=3)
    assert ranking.ranks.values.tolist() == ranking.sampled["none left"].values.tolist() == [1]
    assert ranking.top_items.tolist() == [[4, IGNORED, IGNORED]]


def test_a_users_targets_are_candidates_of_each_other_among_negatives_too() -> None:
    negatives = np.array([[3, 5, IGNORED], [3, 4, 7]], dtype=np.int32)  # scores are the input ids
    scores, targets = torch.arange(8.0).expand(2, -1), [[4, 7, 6], [5]]
    ranking = rank(scores, [[0], [1]], targets, [[], []], negatives={"few": negatives})
    assert ranking.sampled["few"].values.tolist() == [4, 1, 2, 2]


def test_the_history_is_what_was_seen_by_default() -> None:
    assert rank(torch.arange(8.0)[None], [[7, 6]], [[5]]).ranks.values.tolist() == [1]


@pytest.mark.parametrize(
    ("history", "targets", "options", "message"),
    [
        ([5, 6], [6], {}, "user rows 0 are among the seen"),
        ([5], [2], {}, "special"),
        ([5], [8], {}, "outside the vocabulary of 8"),
        ([5], [6, 4, 6], {}, r"user row 0 has a target twice in \[6, 4, 6\]"),  # its NDCG would be above 1
        ([5], [], {}, "no targets"),
        ([5], [6], {"vocab_size": 9}, r"shape \(1, 8\)"),
    ],
)
def test_bad_input_is_named(history: list[int], targets: list[int], options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank(torch.arange(8.0)[None], [history], [targets], **options)


def test_bad_scores_and_sizes_are_named() -> None:
    table = torch.zeros(5, 8)
    table[3, 7] = torch.nan
    with pytest.raises(ValueError, match="NaN for user rows 3:"):
        rank(table, [[user] for user in range(5)], [[4]] * 5, [[]] * 5, batch_size=2)
    with pytest.raises(ValueError, match="2 histories, 1 rows of targets"):
        rank(table, [[3], [4]], [[5]])
