"""Training learns a predictable catalogue, evaluates by rank, and resumes to the same weights."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import EarlyStoppingCallback, EvalPrediction, Trainer, TrainerCallback, TrainingArguments

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecTokenizer
from hf_bert4rec.data.collators import DataCollatorForMaskedItems
from hf_bert4rec.data.encoding import NextItemDataset
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.data.windows import TrainingWindows, WindowSampler
from hf_bert4rec.training.checkpoints import mark_complete
from hf_bert4rec.training.trainer import Bert4RecTrainer, Bert4RecTrainingArguments

ITEMS = 12


@pytest.fixture
def cycle_tokenizer() -> Bert4RecTokenizer:
    return Bert4RecTokenizer.from_movies({"movie_id": list(range(ITEMS))})


def cyclic(tokenizer, users: int) -> tuple[Ragged, NextItemDataset]:
    """Histories in which item i is followed by i + 1, cyclically; the target is the next one."""
    generator = np.random.default_rng(0)
    starts = generator.integers(0, ITEMS, users)
    walks = [tokenizer.encode_items(((start + np.arange(9)) % ITEMS).tolist()) for start in starts]
    return (
        Ragged.from_lists([walk[:-1] for walk in walks]),
        NextItemDataset(Ragged.from_lists([w[:-1] for w in walks]), Ragged.from_lists([w[-1:] for w in walks])),
    )


MASKED = {"mlm_probability": 0.3, "last_item_prob": 0.3}
EVERY_ITEM = {"mlm_probability": 1.0, "mask_replace_prob": 0.0}  # targets of a causal model


def make_trainer(tokenizer, folder, callbacks=(), dropout=0.1, causal=False, **options) -> Bert4RecTrainer:
    histories, next_items = cyclic(tokenizer, 96)
    torch.manual_seed(0)
    model = Bert4RecForMaskedLM(
        Bert4RecConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            max_position_embeddings=8,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=0.0,
            causal=causal,
        )
    )
    options = {
        "num_train_epochs": 4,
        "per_device_train_batch_size": 16,
        "learning_rate": 1e-2,
        "logging_steps": 2,
        "use_cpu": True,
        "bf16": False,
        "disable_tqdm": True,
        **options,
    }
    return Bert4RecTrainer(
        model=model,
        args=Bert4RecTrainingArguments(output_dir=str(folder), **options),
        train_dataset=TrainingWindows(histories, 8),
        eval_dataset=next_items,
        data_collator=DataCollatorForMaskedItems(tokenizer, **(EVERY_ITEM if causal else MASKED)),
        processing_class=tokenizer,
        callbacks=list(callbacks),
    )


@pytest.mark.parametrize("causal", [False, True])
def test_a_cyclic_catalogue_is_learned_perfectly(cycle_tokenizer, tmp_path, causal):
    options = {"dropout": 0.0, "num_train_epochs": 40, "learning_rate": 5e-3}
    trainer = make_trainer(cycle_tokenizer, tmp_path, causal=causal, **options)
    trainer.train()
    assert trainer.evaluate()["eval_mrr"] == 1.0  # hit@1
    ranks = trainer.predict(trainer.eval_dataset).predictions
    assert ranks.shape == (96, 1)
    assert (ranks == 1).all()


def test_the_metrics_are_those_of_ranks_by_hand(cycle_tokenizer, tmp_path):
    trainer = make_trainer(cycle_tokenizer, tmp_path)
    next_items = trainer.eval_dataset
    actual = trainer.predict(next_items).predictions[:, 0]
    model = trainer.model.eval()
    for row in range(0, 96, 7):
        history, target = next_items.histories[row], next_items.targets[row][0]
        ids = torch.tensor([[*history[-7:], cycle_tokenizer.mask_token_id]])
        with torch.no_grad():
            scores = model.next_item_logits(ids, torch.ones_like(ids))[0]
        candidates = set(range(cycle_tokenizer.first_item_id, len(cycle_tokenizer))) - set(history.tolist())
        assert actual[row] == 1 + sum(scores[item] >= scores[target] for item in candidates - {target})
    metrics = trainer.evaluate()
    assert metrics["eval_ndcg@10"] == pytest.approx(np.where(actual <= 10, 1 / np.log2(actual + 1), 0).mean())


@pytest.mark.skipif(torch.accelerator.is_available(), reason="for machines without an accelerator")
def test_bfloat16_on_a_cpu_sets_use_cpu(tmp_path):
    assert Bert4RecTrainingArguments(str(tmp_path), bf16=True).use_cpu


class Break(TrainerCallback):
    """Interrupts a run after the checkpoint of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_save(self, args, state, control, **kwargs):
        if state.global_step >= self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("average", [{}, {"ema_decay": 0.9}])
@pytest.mark.parametrize("step", [6, 8])  # the end of an epoch, and the middle of one
def test_a_resumed_run_equals_an_uninterrupted_one(cycle_tokenizer, tmp_path, step, average):
    options = {
        **average,
        "eval_strategy": "steps",
        "save_strategy": "steps",
        "eval_steps": 2,
        "save_steps": 2,
        "save_total_limit": None,
        "learning_rate": 1e-3,
    }
    full = make_trainer(cycle_tokenizer, tmp_path / "full", [EarlyStoppingCallback(6)], **options)
    full.train()
    broken = make_trainer(cycle_tokenizer, tmp_path / "broken", [EarlyStoppingCallback(6), Break(step)], **options)
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    resumed = make_trainer(cycle_tokenizer, tmp_path / "broken", [EarlyStoppingCallback(6)], **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "broken" / f"checkpoint-{step}"))
    assert resumed.state.global_step == full.state.global_step > step
    assert resumed.state.best_metric == full.state.best_metric
    for (name, expected), actual in zip(full.model.named_parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(actual, expected), name


def test_early_stopping_continues_its_count_after_a_resume(cycle_tokenizer, tmp_path):
    options = {"learning_rate": 0.0, "num_train_epochs": 9}  # never improves
    full = make_trainer(cycle_tokenizer, tmp_path / "full", [EarlyStoppingCallback(3)], **options)
    full.train()
    broken = make_trainer(cycle_tokenizer, tmp_path / "broken", [EarlyStoppingCallback(3), Break(12)], **options)
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    resumed = make_trainer(cycle_tokenizer, tmp_path / "broken", [EarlyStoppingCallback(3)], **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "broken" / "checkpoint-12"))
    assert resumed.state.epoch == full.state.epoch == 4.0


def test_the_best_checkpoint_is_loaded_at_the_end(cycle_tokenizer, tmp_path):
    trainer = make_trainer(cycle_tokenizer, tmp_path)
    trainer.train()
    curve = [entry["eval_ndcg@10"] for entry in trainer.state.log_history if "eval_ndcg@10" in entry]
    assert len(curve) == 4
    assert trainer.state.best_metric == max(curve)
    assert trainer.evaluate()["eval_ndcg@10"] == pytest.approx(max(curve))


class Weights(TrainerCallback):
    """Records the weights of every step."""

    def __init__(self) -> None:
        self.steps: list[list[torch.Tensor]] = []

    def on_step_end(self, args, state, control, model, **kwargs):
        self.steps.append([weight.detach().clone() for weight in model.parameters()])


@pytest.mark.parametrize("best", [False, True])
def test_the_average_of_the_steps_is_evaluated_and_saved(cycle_tokenizer, tmp_path, best):
    weights = Weights()
    options = {"ema_decay": 0.9, "load_best_model_at_end": best, "save_total_limit": None}
    trainer = make_trainer(cycle_tokenizer, tmp_path, [weights], **options)
    trainer.train()
    curve = [entry["eval_ndcg@10"] for entry in trainer.state.log_history if "eval_ndcg@10" in entry]
    saved = 1 + int(np.argmax(curve)) if best else len(curve)
    expected = weights.steps[0]
    for count, step in enumerate(weights.steps[1 : saved * len(weights.steps) // len(curve)], 1):
        decay = min(0.9, (1 + count) / (10 + count))
        expected = [decay * average + (1 - decay) * weight for average, weight in zip(expected, step, strict=True)]
    assert len(weights.steps) == trainer.state.global_step == 24
    for (name, actual), average in zip(trainer.model.named_parameters(), expected, strict=True):
        torch.testing.assert_close(actual, average, atol=1e-6, rtol=1e-5, msg=name)
    assert actual.requires_grad
    assert trainer.evaluate()["eval_ndcg@10"] == pytest.approx(curve[saved - 1])
    last = Bert4RecForMaskedLM.from_pretrained(tmp_path / "checkpoint-24")  # resumes from the step's own weights
    assert torch.equal(last.get_input_embeddings().weight, weights.steps[-1][0])


def test_an_average_needs_a_decay_and_a_run_that_saved_one(cycle_tokenizer, tmp_path):
    for decay in (0.0, 1.0, 2):
        with pytest.raises(ValueError, match=f"between 0 and 1, such as 0.999, not {decay}"):
            make_trainer(cycle_tokenizer, tmp_path, ema_decay=decay)
    make_trainer(cycle_tokenizer, tmp_path, num_train_epochs=1).train()
    with pytest.raises(FileNotFoundError, match=r"no .*average\.safetensors: the run had no weight average"):
        make_trainer(cycle_tokenizer, tmp_path, ema_decay=0.9).train(str(tmp_path / "checkpoint-6"))
    make_trainer(cycle_tokenizer, tmp_path / "saved", ema_decay=0.9, num_train_epochs=1).train()
    path = tmp_path / "saved" / "checkpoint-6" / "average.safetensors"
    held = load_file(path)
    save_file({name: held[name] for name in sorted(held)[1:]}, path)
    mark_complete(path.parent)
    with pytest.raises(ValueError, match=r"average\.safetensors does not have the model's weights"):
        make_trainer(cycle_tokenizer, tmp_path / "saved", ema_decay=0.9).train(str(path.parent))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_epoch_reaches_the_masks(cycle_tokenizer, tmp_path, workers):
    trainer = make_trainer(cycle_tokenizer, tmp_path, dataloader_num_workers=workers)
    loader = trainer.get_train_dataloader()
    batches = []
    for epoch in (0, 0, 1):
        loader.set_epoch(epoch)
        batches.append(torch.cat([batch["labels"] for batch in loader]))
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])


def final_weights(tokenizer, folder, **options) -> dict[str, torch.Tensor]:
    trainer = make_trainer(tokenizer, folder, train_sampling_strategy="random", **options)
    trainer.train()
    return {name: value.detach() for name, value in trainer.model.named_parameters()}


def test_gradient_accumulation_equals_a_large_batch(cycle_tokenizer, tmp_path):
    full = final_weights(cycle_tokenizer, tmp_path / "full", dropout=0.0)
    parts = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}
    torch.testing.assert_close(
        final_weights(cycle_tokenizer, tmp_path / "parts", dropout=0.0, **parts), full, rtol=1e-3, atol=1e-4
    )
    small = final_weights(cycle_tokenizer, tmp_path / "small", dropout=0.0, per_device_train_batch_size=4)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(small, full, rtol=1e-3, atol=1e-4)


def test_gradient_checkpointing_does_not_change_the_weights(cycle_tokenizer, tmp_path):
    saved = final_weights(cycle_tokenizer, tmp_path / "saved", dropout=0.2)
    actual = final_weights(cycle_tokenizer, tmp_path / "recomputed", dropout=0.2, gradient_checkpointing=True)
    torch.testing.assert_close(actual, saved, rtol=0, atol=0)


def test_the_sampler_draws_every_window_once_and_groups_lengths(histories):
    windows = TrainingWindows(histories, 12)
    plain, grouped = WindowSampler(windows, seed=1), WindowSampler(windows, seed=1, batch_size=4)
    assert sorted(plain) == sorted(grouped) == list(range(len(windows)))
    padding = [
        sum(windows.lengths[order[start : start + 4]].max() * 4 for start in range(0, len(order) // 4 * 4, 4))
        for order in (list(plain), list(grouped))
    ]
    assert padding[1] < 0.95 * padding[0]
    first = list(plain)
    plain.set_epoch(1)
    assert list(plain) != first
    assert windows.epoch == 1


def test_short_batches_do_not_follow_one_another():
    generator = np.random.default_rng(0)
    windows = TrainingWindows(Ragged.from_lists([[5] * n for n in generator.integers(2, 50, 403).tolist()]), 50)
    order = list(WindowSampler(windows, seed=1, batch_size=4))
    longest = windows.lengths[order[:400]].reshape(-1, 4).max(axis=1)
    falls = np.mean(longest[1:] < longest[:-1])
    assert 0.35 < falls < 0.65  # in sorted batches it would fall nearly always
    assert windows.lengths[order[400:]].max() <= longest.max()


def test_a_dataset_of_tables_is_refused_with_the_fix(cycle_tokenizer, tmp_path):
    table = datasets.Dataset.from_dict({"item_ids": [[1, 2, 3]], "target": [4]})
    trainer = make_trainer(cycle_tokenizer, tmp_path)
    options = {"model": trainer.model, "args": trainer.args, "processing_class": cycle_tokenizer}
    with pytest.raises(
        TypeError, match=r"not Dataset: .* make TrainingWindows\(encode_histories\(histories, tokenizer"
    ):
        Bert4RecTrainer(train_dataset=table, eval_dataset=trainer.eval_dataset, **options)
    with pytest.raises(TypeError, match=r"data_collator is DataCollatorForMaskedItems.*, not DataCollatorWithPadding"):
        Bert4RecTrainer(train_dataset=trainer.train_dataset, eval_dataset=trainer.eval_dataset, **options)
    with pytest.raises(TypeError, match=r"not a datasets.Dataset: .*NextItemDataset\(encode_histories\(split"):
        trainer.evaluate(table)


def masked_accuracy(prediction: EvalPrediction) -> dict[str, float]:
    """The usual metric of masked language models."""
    labelled = prediction.label_ids != -100
    right = prediction.predictions.argmax(-1)[labelled] == prediction.label_ids[labelled]
    return {"accuracy": float(right.mean()), "labelled": int(labelled.sum())}


@pytest.mark.parametrize("causal", [False, True])
def test_the_plain_trainer_evaluates_masked_accuracy(cycle_tokenizer, tmp_path, causal):
    ours = make_trainer(cycle_tokenizer, tmp_path, causal=causal)
    windows = ours.train_dataset
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "plain"),
        num_train_epochs=2,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=40,
        learning_rate=1e-2,
        use_cpu=True,
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
    )
    collator = ours.data_collator
    trainer = Trainer(ours.model, arguments, collator, windows, windows, compute_metrics=masked_accuracy)
    trainer.train()
    measured = trainer.evaluate()
    batch = collator([windows[row] for row in range(len(windows))])
    with torch.no_grad():
        logits = trainer.model(**{name: batch[name] for name in ("input_ids", "attention_mask")}).logits
    labelled = batch["labels"] != -100
    assert measured["eval_labelled"] == int(labelled.sum())
    expected = (logits.argmax(-1)[labelled] == batch["labels"][labelled]).float().mean()
    assert measured["eval_accuracy"] == pytest.approx(float(expected))
