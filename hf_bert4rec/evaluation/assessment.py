"""What a scorer reaches on a task: one pass over the users, then every metric."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..data.collators import MODEL_INPUTS, DataCollatorForNextItem
from ..data.encoding import collator_row
from ..data.ragged import Ragged
from .list_metrics import coverage, genre_metrics_per_user, gini, list_metrics_per_user
from .metrics import FloatArray, metrics_per_user
from .ranking import Ranking, Scorer, rank_targets
from .task import EvaluationTask

PADDED_TOGETHER = 64  # histories of like lengths that the model is shown at once: less padding, as good a use of it


@dataclass(frozen=True)
class EvaluationResult:
    """What one scorer reached.

    `per_user`: every metric over the whole catalogue, (users,) each. `together`: coverage and Gini of all lists.
    `sampled`: for each set of negatives the metrics among those. `seconds`: the scoring pass.
    """

    ranking: Ranking
    per_user: dict[str, FloatArray]
    together: dict[str, float]
    sampled: dict[str, dict[str, FloatArray]]
    seconds: float


class ModelScorer:
    """A trained model as a scorer: its most recent items and a [MASK], read at the [MASK].

    Times are given to the model where the histories have them.

    Args:
        model: Has `next_item_logits(input_ids, attention_mask)`, (batch, vocab_size); put into evaluation mode.
        tokenizer: The model's own.

    Raises:
        ValueError: Model and tokenizer disagree in size.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        if len(tokenizer) != model.config.vocab_size:
            raise ValueError(
                f"the tokenizer has {len(tokenizer)} entries and the model {model.config.vocab_size}: "
                "they were not made for each other; load both from one folder"
            )
        self.model = model.eval()
        self.collate = DataCollatorForNextItem(tokenizer, model.config.max_position_embeddings)

    def __call__(self, histories: Ragged) -> torch.Tensor:
        """Scores (batch, vocab_size), float32, on the model's device."""
        order = np.argsort(histories.lengths, kind="stable")
        scores = torch.empty(len(order), self.model.config.vocab_size, device=self.model.device)
        for start in range(0, len(order), PADDED_TOGETHER):
            rows = order[start : start + PADDED_TOGETHER]
            places = torch.from_numpy(rows).to(self.model.device)
            scores[places] = self._scores([collator_row(histories, row) for row in rows])
        return scores

    def _scores(self, questions: list[dict[str, Any]]) -> torch.Tensor:
        batch = self.collate(questions)
        given = {name: batch[name].to(self.model.device) for name in MODEL_INPUTS if name in batch}
        with torch.no_grad():
            return self.model.next_item_logits(**given).float()


def evaluate_scorer(
    scorer: Scorer, task: EvaluationTask, ks: Sequence[int], batch_size: int = 256, name: str = "model"
) -> EvaluationResult:
    """Rank the task's targets with one pass of the scorer and take every metric at every k.

    Raises:
        ValueError: As `rank_targets`; among others, the largest k exceeds the catalogue.
    """
    start = time.perf_counter()
    ranking = rank_targets(
        scorer,
        task.histories,
        task.targets,
        vocab_size=task.vocab_size,
        special_ids=task.special_ids,
        top_k=max(ks),
        negatives=task.negatives,
        batch_size=batch_size,
        description=name,
    )
    seconds = time.perf_counter() - start
    lists = ranking.top_items
    per_user = metrics_per_user(ranking.ranks, ks)
    per_user |= list_metrics_per_user(lists, task.counts, len(task.known), ks)
    if task.genres is not None:
        per_user |= genre_metrics_per_user(lists, task.targets, task.histories, task.genres, ks)
    together = {f"coverage@{k}": coverage(lists[:, :k], task.catalogue_size) for k in ks}
    together |= {f"gini@{k}": gini(lists[:, :k], task.catalogue_size) for k in ks}
    sampled = {name: metrics_per_user(ranks, ks) for name, ranks in ranking.sampled.items()}
    return EvaluationResult(ranking, per_user, together, sampled, seconds)
