"""Weights of labels: a weighted mean of the cross-entropies, in every form of the loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hf_bert4rec import Bert4RecForMaskedLM, Bert4RecTokenizer
from hf_bert4rec.data.collators import DataCollatorForMaskedItems
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.data.windows import TrainingWindows
from hf_bert4rec.training import training_forward
from hf_bert4rec.training.trainer import Bert4RecTrainer, Bert4RecTrainingArguments
from hf_bert4rec.training.training_forward import training_forward_installed

LABELS = torch.tensor([[-100, 8, 9, -100], [3, -100, -100, 11]])
WEIGHTS = torch.tensor([[7.0, 2.0, 0.5, 7.0], [1.0, 7.0, 7.0, 0.0]])  # 7: of no label


def loss_and_gradients(model: Bert4RecForMaskedLM, **kwargs: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    input_ids = torch.tensor([[5, 1, 1, 6], [1, 7, 4, 1]])
    model.zero_grad()
    with training_forward_installed(model, fast_dropout=False):
        loss = model(input_ids, torch.ones_like(input_ids), labels=LABELS, **kwargs).loss
    loss.backward()
    return loss.detach(), [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("form", ["dense", "chunked", "sampled"])
def test_the_loss_is_the_weighted_mean(model: Bert4RecForMaskedLM, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    model.bert4rec.layers[0].attention.attention_dropout = model.bert4rec.layers[1].attention.attention_dropout = 0.0
    options = {"negatives": torch.arange(3, len(model.decoder.bias))} if form == "sampled" else {}
    monkeypatch.setattr(training_forward, "MAX_DENSE_LOGITS", 0 if form == "chunked" else 1 << 18)
    weights, labelled = WEIGHTS[LABELS != -100], (LABELS != -100).nonzero().tolist()
    expected_loss, expected_gradients = torch.zeros(()), [0.0] * len(list(model.parameters()))
    for (row, position), weight in zip(labelled, weights, strict=True):
        one = torch.zeros_like(WEIGHTS)
        one[row, position] = 1.0
        loss, gradients = loss_and_gradients(model, label_weights=one, **options)
        expected_loss += weight * loss / weights.sum()
        expected_gradients = [
            total + weight * gradient / weights.sum()
            for total, gradient in zip(expected_gradients, gradients, strict=True)
        ]
    loss, gradients = loss_and_gradients(model, label_weights=WEIGHTS, **options)
    torch.testing.assert_close(loss, expected_loss)
    torch.testing.assert_close(gradients, expected_gradients, atol=1e-5, rtol=1e-4)
    plain, plain_gradients = loss_and_gradients(model, **options)
    ones, gradients_of_ones = loss_and_gradients(model, label_weights=torch.full_like(WEIGHTS, 3.0), **options)
    torch.testing.assert_close(ones, plain)
    torch.testing.assert_close(gradients_of_ones, plain_gradients, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(loss, plain)


def test_accumulated_batches_are_one_weighted_mean(
    model: Bert4RecForMaskedLM, tokenizer: Bert4RecTokenizer, histories: Ragged, tmp_path: Path
) -> None:
    weights = np.random.default_rng(0).random(len(histories.values)).astype(np.float32)
    weighted = TrainingWindows(histories.with_columns(label_weights=weights), 12)
    collator = DataCollatorForMaskedItems(tokenizer)
    arguments = Bert4RecTrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
        report_to=[],
    )
    trainer = Bert4RecTrainer(
        model=model, args=arguments, train_dataset=weighted, data_collator=collator, processing_class=tokenizer
    )
    batches = [collator([weighted[row] for row in rows]) for rows in ((0, 1, 2), (3, 4))]
    total = sum(batch["label_weights"][batch["labels"] != -100].sum() for batch in batches)
    assert trainer._get_num_items_in_batch(batches, torch.device("cpu")) == pytest.approx(float(total))
    plain = [{name: tensor for name, tensor in batch.items() if name != "label_weights"} for batch in batches]
    assert trainer._get_num_items_in_batch(plain, torch.device("cpu")) == sum(
        (b["labels"] != -100).sum() for b in plain
    )
