"""The weights of the transition memory and the model of taste, chosen on the validation part after training.

The network encodes every validation history once; a weight then costs one comparison of the scores with the target's.
Memory, model of taste and network are all fitted on the training part only, so none of them has seen the targets.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..data.collators import MODEL_INPUTS, DataCollatorForNextItem
from ..data.transitions import fit_transition_memory
from ..evaluation.metrics import ndcg
from ..evaluation.ranking import candidate_ranks, candidate_scores
from ..model.modeling_bert4rec import Bert4RecForMaskedLM

if TYPE_CHECKING:
    from ..data.prepared import PreparedData  # it needs datasets, and training does not

logger = logging.getLogger(__name__)

# 0 is the network only. Beyond 10, the network decides only between items of about equal probability in the memory.
WEIGHTS = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.6, 2.0, 2.4, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 50.0, 200.0, 1000.0)
BACKWARD = (0.0, 0.1, 0.3, 0.6)  # what a transition in the opposite direction counts
TASTE_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0)
# During training every evaluation is with the best of these; `TRAINING_WEIGHT` is only in the configuration.
COARSE_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 10.0, 50.0)
TRAINING_WEIGHT = 1.0  # of both
MIN_USERS, MAX_USERS = 1_000, 10_000  # between them, as many as give `MAX_SCORES` scores
MAX_SCORES = 1 << 27
BATCH_SIZE = 128
K = 10

EncodedBatches = list[tuple[torch.Tensor, dict[str, torch.Tensor]]]  # see `validation_batches`


def choose_memory(model: Bert4RecForMaskedLM, data: PreparedData, batches: EncodedBatches) -> dict[str, Any]:
    """Set `config.memory_weight` and fill the memory so that NDCG@10 on the validation part is best, without taste.

    Returns `weight`, one of `WEIGHTS`; `backward`, one of `BACKWARD`; and the NDCG@10 of the `network` only, of this
    `memory` only, and of both (`combined`), which is at least as good as either.
    """
    train = data.timed_train if model.config.time_aware else data.train
    figures = {}
    for backward in BACKWARD:
        fit_transition_memory(model, train, backward)
        figures[backward] = _ndcg_by_weight(model, data, batches, WEIGHTS, of_taste=False)
    best = max(BACKWARD, key=lambda backward: max(figures[backward][:-1]))
    *weighted, memory = figures[best]
    weight = WEIGHTS[int(np.argmax(weighted))]
    model.config.memory_weight = weight
    fit_transition_memory(model, train, best)
    metrics = {"network": weighted[0], "memory": memory, "combined": max(weighted)}
    choice = {"weight": weight, "backward": best, **{name: round(value, 6) for name, value in metrics.items()}}
    logger.info("transition memory, chosen by NDCG@10 on the validation part: %s", choice)
    return choice


def choose_taste_weight(model: Bert4RecForMaskedLM, data: PreparedData, batches: EncodedBatches) -> dict[str, float]:
    """Set `config.taste_weight`, with which NDCG@10 on the validation part is best; the first of equals.

    Returns `weight`, one of `TASTE_WEIGHTS`; and the NDCG@10 `without` the model of taste, and with it (`combined`).
    """
    assert model.taste is not None
    model.config.taste_weight = 0.0
    *figures, _ = _ndcg_by_weight(model, data, batches, TASTE_WEIGHTS, of_taste=True)
    model.config.taste_weight = TASTE_WEIGHTS[int(np.argmax(figures))]
    if not model.config.taste_weight:
        model.taste.regression = None
    choice = {"weight": model.config.taste_weight, "without": round(figures[0], 6), "combined": round(max(figures), 6)}
    logger.info("weight of the model of taste, chosen by NDCG@10 on the validation part: %s", choice)
    return choice


@torch.no_grad()
def validation_batches(model: Bert4RecForMaskedLM, data: PreparedData, seed: int = 0) -> EncodedBatches:
    """Batches of validation rows, each with the network's user embeddings (batch, hidden).

    Of many users a sample drawn with `seed` counts, the smaller the larger the catalogue is.
    """
    model.eval()
    dataset = data.next_item_dataset("validation", timed=model.config.time_aware)
    sample = min(max(MAX_SCORES // len(data.tokenizer), MIN_USERS), MAX_USERS)
    users = np.random.default_rng(seed).permutation(len(dataset))[:sample]
    users = users[np.argsort(dataset.histories.lengths[users], kind="stable")]  # similar lengths: less padding
    collate = DataCollatorForNextItem(data.tokenizer, model.config.max_position_embeddings)
    batches = []
    for start in range(0, len(users), BATCH_SIZE):
        batch = collate([dataset[user] for user in users[start : start + BATCH_SIZE].tolist()])
        batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
        states = model.next_item_states(**{name: batch[name] for name in MODEL_INPUTS if name in batch})
        batches.append((states, batch))
    return batches


@torch.no_grad()
def _ndcg_by_weight(
    model: Bert4RecForMaskedLM, data: PreparedData, batches: EncodedBatches, weights: Sequence[float], of_taste: bool
) -> list[float]:
    """NDCG@10 for each weight of the memory's scores, or of the model of taste's, and last for these scores only.

    Those of the memory are added to the network's logits, those of the model of taste to the sum.
    """
    figures = []
    for states, batch in batches:
        scores = model.decoder(states).float()  # (batch, vocab)
        if of_taste:
            assert model.taste is not None
            scores = model.add_table_scores(scores, **batch)
            added = model.taste.next_item_scores(batch["input_ids"], batch["attention_mask"])
        else:
            assert model.memory is not None
            added = model.memory(batch["input_ids"], batch["attention_mask"], batch.get("timestamps"))
        seen = batch["seen"] if model.config.exclude_seen else batch["seen"][:, :0]
        candidates = candidate_scores(scores, seen, data.tokenizer.all_special_ids)
        sums = (torch.add(candidates, added, alpha=weight) for weight in weights)
        ranks = [candidate_ranks(each, batch["targets"]) for each in sums]
        ranks.append(candidate_ranks(added.where(candidates > -torch.inf, -torch.inf), batch["targets"]))
        figures.append([ndcg(each.cpu().numpy(), K) for each in ranks])
    means: list[float] = np.concatenate(figures, axis=1).mean(1).tolist()
    return means
