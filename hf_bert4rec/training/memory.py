"""The weight of the transition memory, chosen on the validation part after training.

The network and the memory score every validation history once; a weight then costs one comparison of their sum with the
target's score. The memory knows the training part only, as the network does, so that neither has seen the targets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..data.collators import MODEL_INPUTS, DataCollatorForNextItem
from ..data.encoding import NextItemDataset
from ..evaluation.metrics import FloatArray, ndcg
from ..evaluation.ranking import candidate_ranks, candidate_scores
from ..model.modeling_bert4rec import Bert4RecForMaskedLM

# From the network only to nearly the memory only; beyond 10 the network decides among items of about equal probability.
WEIGHTS = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.6, 2.0, 2.4, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 50.0)
TRAINING_WEIGHT = 1.0  # while the network is trained and evaluated, before a weight is chosen
MAX_USERS = 20_000
BATCH_SIZE = 128
K = 10


def choose_memory_weight(
    model: Bert4RecForMaskedLM, dataset: NextItemDataset, tokenizer: Any, seed: int = 0
) -> dict[str, Any]:
    """Set `config.memory_weight` to the one of `WEIGHTS` with the best NDCG@10 on a validation part.

    Args:
        model: with a memory filled from the training part.
        dataset: the validation part; of more than `MAX_USERS` users, a sample drawn with `seed` counts.

    Returns:
        `weight`, and the NDCG@10 of the `network` only, of the `memory` only, and of both (`combined`), which is at
        least that of the network. It is that of the memory or more, unless its ties break to the memory's favour.
    """
    users = np.random.default_rng(seed).permutation(len(dataset))[:MAX_USERS]
    users = users[np.argsort(dataset.histories.lengths[users], kind="stable")]  # similar lengths: less padding
    collate = DataCollatorForNextItem(tokenizer, model.config.max_position_embeddings)
    model.eval()
    parts = []
    for start in range(0, len(users), BATCH_SIZE):
        batch = collate([dataset[user] for user in users[start : start + BATCH_SIZE].tolist()])
        parts.append(_metric_by_weight(model, batch, tokenizer.all_special_ids))
    *weighted, memory = np.concatenate(parts, axis=1).mean(1).tolist()  # (weights + 1,)
    best = int(np.argmax(weighted))
    model.config.memory_weight = WEIGHTS[best]
    figures = {"network": weighted[0], "memory": memory, "combined": weighted[best]}
    return {"weight": WEIGHTS[best], **{name: round(value, 6) for name, value in figures.items()}}


@torch.no_grad()
def _metric_by_weight(model: Bert4RecForMaskedLM, batch: dict[str, torch.Tensor], special_ids: list[int]) -> FloatArray:
    """NDCG@10 of every history of a batch for each of `WEIGHTS`, then of the memory only, (weights + 1, batch)."""
    assert model.memory is not None
    batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
    inputs = {name: batch[name] for name in MODEL_INPUTS if name in batch}
    network = model.decoder(model.next_item_states(**inputs)).float()  # (batch, vocab)
    memory = model.memory(inputs["input_ids"], inputs["attention_mask"], inputs.get("timestamps"))
    seen = batch["seen"] if model.config.exclude_seen else batch["seen"][:, :0]
    candidates = candidate_scores(network, seen, special_ids)
    scores = (torch.add(candidates, memory, alpha=weight) for weight in WEIGHTS)
    ranks = [candidate_ranks(each, batch["targets"]) for each in scores]
    ranks.append(candidate_ranks(candidate_scores(memory, seen, special_ids), batch["targets"]))
    return np.stack([ndcg(each.cpu().numpy(), K) for each in ranks])


def format_choice(choice: dict[str, Any]) -> str:
    """The chosen weight in one sentence."""
    return (
        "The transition memory has weight {weight:g}, chosen on the validation part: NDCG@10 is {network:.4f} for the "
        "network only, {memory:.4f} for the memory only, and {combined:.4f} for both."
    ).format(**choice)
