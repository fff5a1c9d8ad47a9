"""A batch gives the same losses in one part and in several, also when rows are grouped by length."""

from __future__ import annotations

import numpy as np
import torch

from hf_bert4rec import Bert4RecTokenizer
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.data.windows import TrainingWindows
from tests.training.test_trainer import ITEMS, make_trainer

OPTIONS = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "logging_steps": 1}
STEPS = 4


def losses(tokenizer, folder, rows: int, parts: int) -> list[float]:
    """The loss of every step on batches of `parts` times `rows` histories of 2 to 8 items."""
    options = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": parts, "max_steps": STEPS}
    trainer = make_trainer(tokenizer, folder, dropout=0.0, **OPTIONS, **options)
    generator = np.random.default_rng(0)
    items = tokenizer.first_item_id + np.arange(ITEMS)
    histories = [generator.permutation(items)[: generator.integers(2, 9)] for _ in range(96)]
    trainer.train_dataset = TrainingWindows(Ragged.from_lists(histories), 8)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_parts_of_a_batch_sum_to_its_loss(tmp_path):
    tokenizer = Bert4RecTokenizer.from_movies({"movie_id": list(range(ITEMS))})
    expected = losses(tokenizer, tmp_path / "one", 16, 1)
    assert len(expected) == STEPS
    torch.testing.assert_close(losses(tokenizer, tmp_path / "parts", 4, 4), expected, rtol=1e-4, atol=1e-4)
