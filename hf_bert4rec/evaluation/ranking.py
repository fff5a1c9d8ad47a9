"""The rank of every held-out item over the full catalogue: one pass that all metrics are computed from.

A *scorer* is any callable that maps a batch of histories (input ids, oldest first) to a score for every input id,
(batch, vocab_size): the model or a baseline. Seen items and special tokens are not candidates, a user's other targets
are. Ties count against the model: if all scores are equal, every target ranks last. Memory is O(batch × vocab_size).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from ..data.collators import IGNORED, pad_rows
from ..data.ragged import IntArray, Ragged, Rows, repeated_rows

Scorer: TypeAlias = Callable[[Ragged], torch.Tensor]

SORT_FROM_TARGETS = 16  # from this many targets per user, sorting the scores is cheaper than one pass per target


@dataclass(frozen=True)
class Ranking:
    """The result of one pass of a scorer over the users.

    `ranks`: 1-based rank of every target, in the rows of the targets.
    `top_items`: the `top_k` best candidates per user, (users, top_k), `IGNORED` where fewer are left.
    `sampled`: for each named set of negatives, the targets' ranks among those and the user's other targets only.
    """

    ranks: Ragged
    top_items: IntArray
    sampled: dict[str, Ragged]


def ranks_from_scores(
    scores: torch.Tensor, targets: torch.Tensor, seen: torch.Tensor, special_ids: Sequence[int]
) -> torch.Tensor:
    """Rank targets among all items that are neither seen nor special.

    rank = 1 + the number of other candidates that score at least as much as the target.

    Args:
        scores: (batch, vocab_size), floating.
        targets: (batch, n_targets) input ids, rows filled with `IGNORED`.
        seen: (batch, max_seen) input ids, rows filled with `IGNORED`.

    Returns:
        (batch, n_targets) int64, 0 where `targets` is padded.

    Raises:
        ValueError: a score is NaN, or a target is seen, special or outside the vocabulary.

    >>> scores = torch.tensor([[9.0, 9.0, 0.5, 0.9, 0.7, 0.7]])
    >>> ranks_from_scores(scores, torch.tensor([[4, 2]]), torch.tensor([[3]]), special_ids=[0, 1])
    tensor([[2, 3]])
    """
    candidates = candidate_scores(scores, seen.to(scores.device), special_ids)
    return candidate_ranks(candidates, targets.to(scores.device))


def candidate_scores(
    scores: torch.Tensor, seen: torch.Tensor, special_ids: Sequence[int], first_row: int = 0
) -> torch.Tensor:
    """A copy of `scores` (batch, vocab_size) in which exactly the entries that are not candidates are -inf.

    ValueError if a score is NaN; it names the rows, counted from `first_row`.
    """
    if bad := _format_rows(scores.amax(dim=1).isnan(), first_row):
        raise ValueError(
            f"scores are NaN for user rows {bad}: no rank can be given. If a model gives them, its training has "
            "diverged: lower the learning_rate"
        )
    candidates = scores.clamp(min=torch.finfo(scores.dtype).min)  # a candidate's own score may be -inf
    candidates.index_fill_(1, torch.tensor(list(special_ids), dtype=torch.long).to(scores.device), -torch.inf)
    rows, columns = (seen != IGNORED).nonzero(as_tuple=True)
    candidates[rows, seen[rows, columns]] = -torch.inf
    return candidates


def candidate_ranks(candidates: torch.Tensor, targets: torch.Tensor, first_row: int = 0) -> torch.Tensor:
    """Ranks (batch, n_targets) of `targets` among the entries that are not -inf; 0 where padded."""
    present = targets != IGNORED
    if bad := _format_rows((present & ((targets < 0) | (targets >= candidates.shape[1]))).any(1), first_row):
        raise ValueError(f"targets of user rows {bad} lie outside the vocabulary of {candidates.shape[1]}")
    target_scores = candidates.gather(1, targets.clamp(min=0))  # (batch, n_targets)
    if bad := _format_rows((present & (target_scores == -torch.inf)).any(1), first_row):
        raise ValueError(
            f"targets of user rows {bad} are among the seen items or special tokens: the split leaks, or a "
            "user has an item twice; keep one interaction per user and item before splitting"
        )
    if targets.shape[1] < SORT_FROM_TARGETS:
        columns = [(candidates >= score[:, None]).sum(1) for score in target_scores.unbind(1)]
        ranks = torch.stack(columns, dim=1) if columns else torch.zeros_like(targets)
    else:
        ascending = candidates.sort(dim=1).values
        ranks = candidates.shape[1] - torch.searchsorted(ascending, target_scores.contiguous(), right=False)
    return ranks * present


def rank_targets(
    scorer: Scorer,
    histories: Rows,
    targets: Ragged,
    *,
    vocab_size: int,
    special_ids: Sequence[int],
    seen: Rows | None = None,
    top_k: int = 0,
    negatives: Mapping[str, npt.NDArray[np.int32]] | None = None,
    batch_size: int = 256,
    description: str = "ranking",
) -> Ranking:
    """Rank every user's targets in one pass, batch by batch, on the device of the scores.

    Args:
        histories: input ids per user, oldest first; the scorer's input.
        targets: held-out input ids per user; a row may hold several.
        seen: input ids that may not be recommended; the histories by default.
        top_k: length of the recommendation lists.
        negatives: named sets of sampled candidates, (users, n) int32 each, see `sample_negatives`.
        description: label of the progress bar, which appears on a terminal only.

    Raises:
        ValueError: sizes disagree, nothing is held out, a user has a target twice, scores have another shape than
            (batch, vocab_size) or are NaN, or a target is seen.
    """
    seen = histories if seen is None else seen
    _check_rows(histories, targets, seen)
    negatives = negatives or {}
    # Allocated in advance: results appended between large temporaries fragment the heap.
    ranks = np.empty(len(targets.values), dtype=np.int64)
    lists = np.empty((len(targets), top_k), dtype=np.int64)
    sampled = {name: np.empty_like(ranks) for name in negatives}
    with torch.inference_mode(), tqdm(total=len(targets), desc=description, unit="user", disable=None) as bar:
        for start in range(0, len(targets), batch_size):
            stop = min(start + batch_size, len(targets))
            batch = slice(targets.offsets[start], targets.offsets[stop])
            scores = scorer(histories.rows(start, stop))
            if scores.shape != (stop - start, vocab_size):
                raise ValueError(
                    f"the scorer gave scores of shape {tuple(scores.shape)}, expected (batch, vocab_size) = "
                    f"{(stop - start, vocab_size)}: model and catalogue disagree in size"
                )
            batch_targets = to_padded(targets.rows(start, stop)).to(scores.device)
            present = batch_targets != IGNORED
            seen_ids = to_padded(seen.rows(start, stop)).to(scores.device)
            candidates = candidate_scores(scores, seen_ids, special_ids, start)
            ranks[batch] = candidate_ranks(candidates, batch_targets, start)[present].cpu().numpy()
            lists[start:stop] = top_items(candidates, top_k).cpu().numpy()
            for name, items in negatives.items():
                sample = torch.from_numpy(items[start:stop]).to(scores.device, torch.int64)
                sampled[name][batch] = sampled_ranks(scores, batch_targets, sample)[present].cpu().numpy()
            bar.update(stop - start)
    return Ranking(
        Ragged(ranks, targets.offsets), lists, {name: Ragged(each, targets.offsets) for name, each in sampled.items()}
    )


def sampled_ranks(scores: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
    """Ranks (batch, n_targets) of the targets among `negatives` (batch, n) and each other; 0 where padded."""
    candidates = torch.cat([targets, negatives], dim=1)
    # A candidate's score may be -inf; below its replacement, that marks missing candidates.
    candidate_scores = scores.gather(1, candidates.clamp(min=0)).clamp(min=torch.finfo(scores.dtype).min)
    candidate_scores = candidate_scores.masked_fill(candidates == IGNORED, -torch.inf)
    target_scores = candidate_scores[:, : targets.shape[1]]
    at_least = candidate_scores[:, None, :] >= target_scores[:, :, None]  # (batch, n_targets, n_targets + n)
    return at_least.sum(-1) * (targets != IGNORED)


def to_padded(rows: Ragged) -> torch.Tensor:
    """Rows as one int64 tensor (rows, longest), filled with `IGNORED` at the end.

    >>> to_padded(Ragged.from_lists([[7], [8, 9]]))
    tensor([[   7, -100],
            [   8,    9]])
    """
    return torch.from_numpy(pad_rows(list(rows), IGNORED))


def top_items(candidates: torch.Tensor, top_k: int) -> torch.Tensor:
    """Input ids of the best candidates (batch, top_k), best first, `IGNORED` where none is left."""
    best = candidates.topk(top_k, dim=1)
    return best.indices.masked_fill(best.values == -torch.inf, IGNORED)


def _check_rows(histories: Rows, targets: Ragged, seen: Rows) -> None:
    if not len(histories) == len(targets) == len(seen):
        raise ValueError(
            f"{len(histories)} histories, {len(targets)} rows of targets and {len(seen)} of seen items: "
            "each needs one row per user"
        )
    if not len(targets.values):
        raise ValueError("no targets to rank: the split leaves none; hold out less, or keep more users")
    if len(repeated := repeated_rows(targets.row_ids, targets.values - targets.values.min())):
        row = targets.row_ids[repeated[0]]
        raise ValueError(f"user row {row} has a target twice in {targets[row].tolist()}: keep one of each")


def _format_rows(flags: torch.Tensor, first_row: int) -> str:
    """The numbers of the first five flagged rows, and how many follow; empty without any."""
    rows = (flags.nonzero().flatten() + first_row).tolist()
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return ", ".join(map(str, rows[:5])) + more
