"""Evaluate a scorer on a task: one pass over the users, then every metric."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..data.collators import MODEL_INPUTS, DataCollatorForNextItem
from ..data.encoding import collator_row
from ..data.ragged import FloatArray, IntArray, Ragged
from ..model.extensions_bert4rec import Bert4RecTaste
from .bootstrap import intervals
from .config import EvaluationConfig
from .list_metrics import coverage, genre_metrics_per_user, gini, novelty
from .metrics import metrics_per_user
from .ranking import Ranking, Scorer, rank_targets

if TYPE_CHECKING:
    from .task import EvaluationTask  # needs libraries for raw data

CPU_FORWARD_BATCH = 64  # histories of similar lengths per forward pass: less padding at the same throughput


@dataclass(frozen=True)
class EvaluationResult:
    """The figures of one scorer.

    `per_user`: every metric over the full catalogue, (users,) each. `aggregate`: coverage and Gini of all lists.
    `sampled`: for each set of negatives the metrics among those. `seconds`: duration of the scoring pass.
    """

    ranking: Ranking
    per_user: dict[str, FloatArray]
    aggregate: dict[str, float]
    sampled: dict[str, dict[str, FloatArray]]
    seconds: float


class ModelScorer:
    """A trained model as a scorer, which reads the most recent items, with their times if known, and a [MASK].

    Args:
        model: has `next_item_logits(input_ids, attention_mask)`, (batch, vocab_size); put into evaluation mode.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model.eval()
        self.collate = DataCollatorForNextItem(tokenizer, model.config.max_position_embeddings)

    def __call__(self, histories: Ragged) -> torch.Tensor:
        """Scores (batch, vocab_size), float32, on the model's device."""
        if self.model.device.type != "cpu":
            return self._scores(histories, np.arange(len(histories)))
        by_length = np.argsort(histories.lengths, kind="stable")
        scores = torch.empty(len(by_length), self.model.config.vocab_size)
        for start in range(0, len(by_length), CPU_FORWARD_BATCH):
            rows = by_length[start : start + CPU_FORWARD_BATCH]
            scores[torch.from_numpy(rows)] = self._scores(histories, rows)
        return scores

    def _scores(self, histories: Ragged, rows: IntArray) -> torch.Tensor:
        batch = self.collate([collator_row(histories, row) for row in rows])
        inputs = {name: batch[name].to(self.model.device) for name in MODEL_INPUTS if name in batch}
        with torch.no_grad():
            return self.model.next_item_logits(**inputs).float()


class TasteScorer:
    """The model of taste as a scorer, which ignores the order of a history."""

    def __init__(self, taste: Bert4RecTaste) -> None:
        self.taste = taste

    def __call__(self, histories: Ragged) -> torch.Tensor:
        """Logarithms of scores (batch, vocab_size), float32, on the device of the factors."""
        with torch.no_grad():
            return self.taste.log_scores([history.tolist() for history in histories])


def compare_scorers(
    scorers: Mapping[str, Scorer],
    histories: Ragged,
    targets: Ragged,
    metrics: Callable[[Ragged], dict[str, FloatArray]],
    tokenizer: Any,
    config: EvaluationConfig,
) -> dict[str, dict[str, Any]]:
    """Intervals of every scorer's metrics, and of their paired `difference` from those of the first scorer.

    `metrics` makes values, one per user or group, of the ranks of the targets.
    """
    vocabulary = {"vocab_size": len(tokenizer), "special_ids": tokenizer.all_special_ids}
    values = {}
    for name, scorer in scorers.items():
        options = {**vocabulary, "batch_size": config.batch_size, "description": name}
        values[name] = metrics(rank_targets(scorer, histories, targets, **options).ranks)
    first = next(iter(values.values()))
    return {
        name: {
            "metrics": intervals(own, config.seed),
            "difference": intervals({metric: first[metric] - own[metric] for metric in own}, config.seed),
        }
        for name, own in values.items()
    }


def evaluate_scorer(
    scorer: Scorer, task: EvaluationTask, config: EvaluationConfig, name: str = "model"
) -> EvaluationResult:
    """Rank the task's targets with one pass of the scorer and compute every metric at every k.

    Raises:
        ValueError: as `rank_targets`, or a list is longer than the catalogue.
    """
    if max(config.ks) > task.catalogue_size:
        raise ValueError(f"k={max(config.ks)} exceeds the catalogue's {task.catalogue_size} items: give smaller ks")
    start = time.perf_counter()
    ranking = rank_targets(
        scorer,
        task.histories,
        task.targets,
        vocab_size=task.vocab_size,
        special_ids=task.special_ids,
        seen=task.seen,
        top_k=max(config.ks),
        negatives=task.negatives,
        batch_size=config.batch_size,
        description=name,
    )
    seconds = time.perf_counter() - start
    lists, ks = ranking.top_items, config.ks
    per_user = metrics_per_user(ranking.ranks, ks)
    per_user |= {f"novelty@{k}": novelty(lists[:, :k], task.user_counts, len(task.known)) for k in ks}
    if task.genres is not None:
        per_user |= genre_metrics_per_user(lists, task.targets, task.seen, task.genres, ks)
    aggregate = {f"coverage@{k}": coverage(lists[:, :k], task.catalogue_size) for k in ks}
    aggregate |= {f"gini@{k}": gini(lists[:, :k], task.catalogue_size) for k in ks}
    sampled = {name: metrics_per_user(ranks, ks) for name, ranks in ranking.sampled.items()}
    return EvaluationResult(ranking, per_user, aggregate, sampled, seconds)
