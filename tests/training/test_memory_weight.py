"""The transition memory's weight is the best on the validation part, and the model is no worse than its parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from hf_bert4rec import Bert4RecForMaskedLM, fit
from hf_bert4rec.data.encoding import NextItemDataset
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.data.transitions import fit_transition_memory
from hf_bert4rec.evaluation.metrics import metrics_from_ranks
from hf_bert4rec.evaluation.ranking import rank_targets
from hf_bert4rec.evaluation.scoring import ModelScorer
from hf_bert4rec.training import memory
from hf_bert4rec.training.memory import WEIGHTS, choose_memory_weight

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "max_position_embeddings": 12,
    "memory_size": 40,
    "num_train_epochs": 1,
    "min_interactions": 1,
    "use_cpu": True,
    "bf16": False,
}


def walks(tokenizer: Any, users: int, noise: float) -> Ragged:
    """Walks over a circle of all items: the next item is the neighbour, or with probability `noise` another one."""
    generator = np.random.default_rng(0)
    rows = []
    for _ in range(users):
        walk = [int(generator.integers(tokenizer.num_items))]
        while len(walk) < 8:
            step = walk[-1] + 1 if generator.random() > noise else generator.integers(tokenizer.num_items)
            if step % tokenizer.num_items not in walk:
                walk.append(int(step % tokenizer.num_items))
        rows.append([tokenizer.first_item_id + item for item in walk])
    return Ragged.from_lists(rows)


def ndcg(model: Bert4RecForMaskedLM, tokenizer: Any, dataset: NextItemDataset) -> float:
    ranks = rank_targets(
        ModelScorer(model, tokenizer),
        dataset.histories,
        dataset.targets,
        vocab_size=len(tokenizer),
        special_ids=tokenizer.all_special_ids,
    ).ranks
    return metrics_from_ranks(ranks)["ndcg@10"]


@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_the_best_weight_is_chosen(config, tokenizer, noise):
    config.memory_size = config.vocab_size
    torch.manual_seed(0)
    model = Bert4RecForMaskedLM(config)
    rows = list(walks(tokenizer, 120, noise))
    fit_transition_memory(model, Ragged.from_lists([row[:-1] for row in rows]))
    dataset = NextItemDataset(
        Ragged.from_lists([row[:-1] for row in rows]), Ragged.from_lists([row[-1:] for row in rows])
    )
    choice = choose_memory_weight(model, dataset, tokenizer)
    assert model.config.memory_weight == choice["weight"]
    figures = {}
    for weight in WEIGHTS:
        model.config.memory_weight = weight
        figures[weight] = ndcg(model, tokenizer, dataset)
    assert choice["combined"] == pytest.approx(max(figures.values()), abs=1e-6)
    assert choice["combined"] == pytest.approx(figures[choice["weight"]], abs=1e-6)
    assert choice["network"] == pytest.approx(figures[0.0], abs=1e-6)
    assert choice["combined"] >= max(choice["memory"], choice["network"])
    assert choice["memory"] > choice["network"]  # whose weights are random


def test_a_sample_of_many_users_counts(config, tokenizer, monkeypatch):
    monkeypatch.setattr(memory, "MAX_USERS", 20)
    config.memory_size = config.vocab_size
    model = Bert4RecForMaskedLM(config)
    rows = list(walks(tokenizer, 40, 0.5))
    dataset = NextItemDataset(
        Ragged.from_lists([row[:-1] for row in rows]), Ragged.from_lists([row[-1:] for row in rows])
    )
    drawn = np.random.default_rng(3).permutation(40)[:20]
    sample = NextItemDataset(dataset.histories.take(drawn), dataset.targets.take(drawn))
    assert choose_memory_weight(model, dataset, tokenizer, seed=3)["network"] == pytest.approx(
        choose_memory_weight(model, sample, tokenizer)["network"]
    )


@pytest.mark.slow
def test_training_chooses_and_records_the_weight_and_refills_the_memory(tmp_path: Path) -> None:
    table = pl.DataFrame(
        [(user, (user * 7 + step) % 40, step) for user in range(80) for step in range(5)],
        schema=["user", "item", "time"],
        orient="row",
    )
    pipe = fit(table, recipe=SIZES, output_dir=tmp_path / "chosen")
    record = json.loads((tmp_path / "chosen" / "training.json").read_text())
    choice = record["memory"]
    assert record["options"]["memory_weight"] is None
    assert pipe.model.config.memory_weight == choice["weight"]
    assert choice["combined"] == pytest.approx(record["validation"]["model"]["ndcg@10"], abs=1e-5)
    assert choice["combined"] >= max(choice["network"], choice["memory"])
    card = (tmp_path / "chosen" / "README.md").read_text()
    assert f"power {choice['weight']:g}, chosen on the validation part: NDCG@10 is" in " ".join(card.split())
    assert "The published memory is filled with all interactions" in card
    # The last interactions are in the exported memory.
    first, second = (pipe.tokenizer.encode_items([item])[0] for item in (3, 4))
    assert second in pipe.model.memory.next_items[first].tolist()

    fixed = fit(table, recipe={**SIZES, "memory_weight": 0.3, "refresh_memory": False}, output_dir=tmp_path / "fixed")
    record = json.loads((tmp_path / "fixed" / "training.json").read_text())
    assert (fixed.model.config.memory_weight, record["memory"]) == (0.3, None)
    assert "power 0.3." in (tmp_path / "fixed" / "README.md").read_text()
    assert pipe.model.memory.weights.sum() > fixed.model.memory.weights.sum()
