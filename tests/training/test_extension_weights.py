"""The transition memory's weight is the best on the validation part, and the model is at least as good as its parts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from hf_bert4rec import Bert4RecForMaskedLM, fit
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.encoding import NextItemDataset
from hf_bert4rec.data.prepare import PreparedData, prepare
from hf_bert4rec.data.taste import fit_taste
from hf_bert4rec.data.transitions import fit_transition_memory
from hf_bert4rec.evaluation.metrics import metrics_from_ranks
from hf_bert4rec.evaluation.ranking import rank_targets
from hf_bert4rec.evaluation.scoring import ModelScorer
from hf_bert4rec.training import extension_weights
from hf_bert4rec.training.arguments import parse_options
from hf_bert4rec.training.build import build_trainer
from hf_bert4rec.training.extension_weights import (
    BACKWARD,
    COARSE_WEIGHTS,
    TASTE_WEIGHTS,
    WEIGHTS,
    choose_memory,
    choose_taste_weight,
    validation_batches,
)
from tests.model.tiny import build, tiny_config
from tests.recipes import TINY

SIZES: dict[str, Any] = {**TINY, "memory_size": 40, "num_train_epochs": 1, "min_interactions": 1}


def walks(noise: float) -> PreparedData:
    """Walks over a circle of 40 items: the next item is the neighbour, or with probability `noise` another one."""
    generator, rows = np.random.default_rng(0), []
    for user in range(120):
        walk = [int(generator.integers(40))]
        while len(walk) < 8:
            item = int(walk[-1] + 1 if generator.random() > noise else generator.integers(40)) % 40
            if item not in walk:
                walk.append(item)
        rows += [(user, item) for item in walk]
    table = pl.DataFrame(rows, schema=["user", "item"], orient="row")
    return prepare(DataArguments(ratings="walks", time_column="", min_interactions=1), table)


def random_model(data: PreparedData) -> Bert4RecForMaskedLM:
    return build(tiny_config(len(data.tokenizer), memory_size=len(data.tokenizer)))


def ndcg(model: Bert4RecForMaskedLM, data: PreparedData, rows: NextItemDataset | None = None) -> float:
    rows = rows or data.next_item_dataset("validation")
    ranks = rank_targets(
        ModelScorer(model, data.tokenizer),
        rows.histories,
        rows.targets,
        vocab_size=len(data.tokenizer),
        special_ids=data.tokenizer.all_special_ids,
    ).ranks
    return metrics_from_ranks(ranks)["ndcg@10"]


@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_the_best_weight_and_direction_are_chosen(noise: float) -> None:
    data = walks(noise)
    model = random_model(data)
    choice = choose_memory(model, data, validation_batches(model, data))
    assert model.config.memory_weight == choice["weight"]
    assert choice["combined"] == pytest.approx(ndcg(model, data), abs=1e-6)
    figures = {}
    for backward in BACKWARD:
        fit_transition_memory(model, data.train, backward)
        for weight in WEIGHTS:
            model.config.memory_weight = weight
            figures[backward, weight] = ndcg(model, data)
    assert choice["combined"] == pytest.approx(max(figures.values()), abs=1e-6)
    assert choice["combined"] == pytest.approx(figures[choice["backward"], choice["weight"]], abs=1e-6)
    assert choice["network"] == pytest.approx(figures[0.0, 0.0], abs=1e-6)
    assert choice["combined"] >= max(choice["memory"], choice["network"])
    assert choice["memory"] > choice["network"]  # whose weights are random


def test_the_best_weight_of_taste_is_chosen() -> None:
    """Users of either half of the items stay there, which a random network does not know."""
    rng = np.random.default_rng(0)
    rows = [(user, int(item) + 20 * (user % 2)) for user in range(120) for item in rng.permutation(20)[:8]]
    table = pl.DataFrame(rows, schema=["user", "item"], orient="row")
    data = prepare(DataArguments(ratings="halves", time_column="", min_interactions=1), table)
    model = build(tiny_config(len(data.tokenizer), taste_size=8, taste_weight=1.0))
    fit_taste(model.taste, data.train, data.train_liked, data.tokenizer.items)
    figures = {}
    for weight in TASTE_WEIGHTS:
        model.config.taste_weight = weight
        figures[weight] = ndcg(model, data)
    choice = choose_taste_weight(model, data, validation_batches(model, data))
    assert choice["weight"] == model.config.taste_weight == max(figures, key=figures.__getitem__) > 0
    assert choice["combined"] == pytest.approx(figures[choice["weight"]], abs=1e-6)
    assert choice["without"] == pytest.approx(figures[0.0], abs=1e-6)

    model.taste.factors.zero_()  # nothing helps: without the model of taste
    assert choose_taste_weight(model, data, validation_batches(model, data))["weight"] == 0.0
    assert model.config.taste_weight == 0.0
    assert model.taste.regression is None


def test_a_sample_of_many_users_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    data = walks(0.5)
    model = random_model(data)
    monkeypatch.setattr(extension_weights, "MIN_USERS", 20)
    monkeypatch.setattr(extension_weights, "MAX_SCORES", 0)
    rows = data.next_item_dataset("validation")
    drawn = np.random.default_rng(3).permutation(120)[:20]
    sample = NextItemDataset(rows.histories.take(drawn), rows.targets.take(drawn))
    model.config.memory_weight = 0.0
    expected = ndcg(model, data, sample)
    assert choose_memory(model, data, validation_batches(model, data, seed=3))["network"] == pytest.approx(
        expected, abs=1e-6
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
    assert f"raised to the power {choice['weight']:g}, and transitions in the opposite" in " ".join(card.split())
    assert "The published memory is filled with all interactions" in card
    # The last interactions are in the exported memory.
    first, second = (pipe.tokenizer.encode_items([item])[0] for item in (3, 4))
    assert second in pipe.model.memory.next_items[first].tolist()

    fixed = fit(table, recipe={**SIZES, "memory_weight": 0.3, "refresh_memory": False}, output_dir=tmp_path / "fixed")
    record = json.loads((tmp_path / "fixed" / "training.json").read_text())
    assert (fixed.model.config.memory_weight, record["memory"]) == (0.3, None)
    assert "power 0.3." in (tmp_path / "fixed" / "README.md").read_text()
    assert pipe.model.memory.weights.sum() > fixed.model.memory.weights.sum()


def test_evaluations_during_training_are_with_the_best_weight(tmp_path: Path) -> None:
    data = walks(0.5)
    (_, model, masking, training), _ = parse_options({**SIZES, "output_dir": tmp_path, "report_to": "none"}, {})
    trainer = build_trainer(data, model, masking, training)
    assert trainer.memory_weights == COARSE_WEIGHTS
    best = trainer.evaluate()
    trainer.memory_weights = ()
    single = []
    for weight in COARSE_WEIGHTS:
        trainer.model.config.memory_weight = weight
        single.append(trainer.evaluate())
    assert best["eval_ndcg@10"] == pytest.approx(max(metrics["eval_ndcg@10"] for metrics in single), abs=1e-6)
    assert len({metrics["eval_ndcg@10"] for metrics in single}) > 2
    model.memory_weight = 0.5
    assert build_trainer(data, model, masking, training).memory_weights == ()
