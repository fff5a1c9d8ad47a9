"""Training learns a predictable catalogue, evaluates by rank, resumes to the same weights, and depends on the seed."""

import datasets
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import multiprocessing
from transformers import EarlyStoppingCallback, EvalPrediction, Trainer, TrainerCallback, TrainingArguments

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecTokenizer
from hf_bert4rec.data.collators import DataCollatorForMaskedItems
from hf_bert4rec.data.encoding import NextItemDataset
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.data.windows import TrainingWindows, WindowSampler
from hf_bert4rec.training.checkpoints import mark_complete
from hf_bert4rec.training.trainer import Bert4RecTrainer, Bert4RecTrainingArguments
from tests.recipes import NO_EVALUATION

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
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "max_position_embeddings": 8}
    dropouts = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": 0.0}
    model = Bert4RecForMaskedLM(Bert4RecConfig(vocab_size=len(tokenizer), causal=causal, **sizes, **dropouts))
    steps = {"num_train_epochs": 4, "per_device_train_batch_size": 16, "learning_rate": 1e-2, "logging_steps": 2}
    options = {**steps, "use_cpu": True, "bf16": False, "disable_tqdm": True, **options}
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


def assert_equal(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


class Break(TrainerCallback):
    """Interrupts a run after the checkpoint of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_save(self, args, state, control, **kwargs):
        if state.global_step >= self.step:
            raise KeyboardInterrupt


def uninterrupted_and_resumed(tokenizer, folder, patience, step, **options) -> tuple[Bert4RecTrainer, Bert4RecTrainer]:
    """A run with early stopping, and one that is broken off after a checkpoint and resumed from it."""

    def make(name, *callbacks):
        return make_trainer(tokenizer, folder / name, [EarlyStoppingCallback(patience), *callbacks], **options)

    full = make("full")
    full.train()
    with pytest.raises(KeyboardInterrupt):
        make("broken", Break(step)).train()
    resumed = make("broken")
    resumed.train(resume_from_checkpoint=str(folder / "broken" / f"checkpoint-{step}"))
    return full, resumed


PERSISTENT = {"dataloader_num_workers": 1, "dataloader_persistent_workers": True}


@pytest.mark.parametrize("options", [{}, {"ema_decay": 0.9}, PERSISTENT], ids=["plain", "average", "workers"])
@pytest.mark.parametrize("step", [6, 8])  # the end of an epoch, and the middle of one
def test_a_resumed_run_equals_an_uninterrupted_one(cycle_tokenizer, tmp_path, step, options):
    every_two = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2, "save_steps": 2}
    options = {**options, **every_two, "save_total_limit": None, "learning_rate": 1e-3}
    full, resumed = uninterrupted_and_resumed(cycle_tokenizer, tmp_path, 6, step, **options)
    assert resumed.state.global_step == full.state.global_step > step
    assert resumed.state.best_metric == full.state.best_metric
    assert_equal(resumed.model.state_dict(), full.model.state_dict())  # of the best step, perhaps before the break
    last = f"checkpoint-{full.state.global_step}"
    weights = sorted((tmp_path / "full" / last).glob("*.safetensors"))  # of the step, and their average
    assert len(weights) == 1 + ("ema_decay" in options)
    for path in weights:
        assert_equal(load_file(tmp_path / "broken" / last / path.name), load_file(path))


def test_early_stopping_continues_its_count_after_a_resume(cycle_tokenizer, tmp_path):
    options = {"learning_rate": 0.0, "num_train_epochs": 9}  # never improves
    full, resumed = uninterrupted_and_resumed(cycle_tokenizer, tmp_path, 3, 12, **options)
    assert resumed.state.epoch == full.state.epoch == 4.0


def test_a_resumed_run_may_change_the_patience(cycle_tokenizer, tmp_path):
    options = {"learning_rate": 0.0, "num_train_epochs": 9}  # never improves
    with pytest.raises(KeyboardInterrupt):
        make_trainer(cycle_tokenizer, tmp_path, [EarlyStoppingCallback(3), Break(12)], **options).train()
    resumed = make_trainer(cycle_tokenizer, tmp_path, [EarlyStoppingCallback(5)], **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-12"))
    assert resumed.state.epoch == 6.0  # the best is that of the first epoch


def test_a_checkpoint_of_weights_only_is_not_resumed(cycle_tokenizer, tmp_path):
    make_trainer(cycle_tokenizer, tmp_path, num_train_epochs=1, save_only_model=True).train()
    with pytest.raises(FileNotFoundError, match=r"no scheduler\.pt in .*checkpoint-6, which has weights only"):
        make_trainer(cycle_tokenizer, tmp_path).train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))


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


def test_an_average_is_of_one_run(cycle_tokenizer, tmp_path):
    options = {"ema_decay": 0.9, "load_best_model_at_end": False}
    with pytest.raises(KeyboardInterrupt):
        make_trainer(cycle_tokenizer, tmp_path, [Break(6)], **options).train()
    weights = Weights()
    trainer = make_trainer(cycle_tokenizer, tmp_path, [weights], **options, num_train_epochs=1)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    trainer.args.max_steps = 1  # of a new run
    trainer.train()
    assert_equal(list(trainer.model.parameters()), weights.steps[-1])  # the average of one step is that step


def test_an_interrupted_run_evaluates_the_weights_that_the_model_has(cycle_tokenizer, tmp_path):
    trainer = make_trainer(cycle_tokenizer, tmp_path, [Break(6)], ema_decay=0.999)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    ranks = trainer.predict(trainer.eval_dataset).predictions
    trainer.save_model(str(tmp_path / "saved"))
    saved = make_trainer(cycle_tokenizer, tmp_path)
    saved.model.load_state_dict(Bert4RecForMaskedLM.from_pretrained(tmp_path / "saved").state_dict())
    np.testing.assert_array_equal(saved.predict(saved.eval_dataset).predictions, ranks)


def test_an_average_needs_a_decay_and_a_run_that_saved_one(cycle_tokenizer, tmp_path):
    for decay in (0.0, 1.0, 2):
        with pytest.raises(ValueError, match=f"ema_decay is {decay}; it must be between 0 and 1"):
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


@pytest.mark.parametrize("options", [{}, {"dataloader_num_workers": 2}, PERSISTENT], ids=["0", "2", "persistent"])
def test_the_epoch_reaches_the_masks_in_every_worker(cycle_tokenizer, tmp_path, options):
    loaders = [make_trainer(cycle_tokenizer, tmp_path, **each).get_train_dataloader() for each in ({}, options)]
    epochs = []
    for epoch in (0, 1, 0):
        for loader in loaders:
            loader.set_epoch(epoch)
        expected, labels = (torch.cat([batch["labels"] for batch in loader]) for loader in loaders)
        assert torch.equal(labels, expected)
        epochs.append(labels)
    assert torch.equal(epochs[2], epochs[0])
    assert not torch.equal(epochs[1], epochs[0])


def final_weights(tokenizer, folder, **options) -> dict[str, torch.Tensor]:
    trainer = make_trainer(tokenizer, folder, **{**NO_EVALUATION, **options})
    trainer.train()
    return {name: value.detach() for name, value in trainer.model.named_parameters()}


def test_the_seed_determines_the_weights(cycle_tokenizer, tmp_path):
    expected = final_weights(cycle_tokenizer, tmp_path, seed=1)
    torch.rand(7)  # earlier draws do not change the result
    assert_equal(final_weights(cycle_tokenizer, tmp_path, seed=1), expected)
    with pytest.raises(AssertionError):
        assert_equal(final_weights(cycle_tokenizer, tmp_path, seed=2), expected)


def test_a_model_of_times_that_learns_without_them_is_noted(cycle_tokenizer, tmp_path, caplog):
    trainer = make_trainer(cycle_tokenizer, tmp_path)
    model = Bert4RecForMaskedLM(Bert4RecConfig(vocab_size=len(cycle_tokenizer), hidden_size=32, time_aware=True))
    options = {"args": trainer.args, "processing_class": cycle_tokenizer, "data_collator": trainer.data_collator}
    Bert4RecTrainer(model, train_dataset=trainer.train_dataset, eval_dataset=[], **options)
    assert "time_aware, but the training histories have no timestamps, so it learns without times" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "options"),
    [
        ("fork", {"dataloader_num_workers": 1}),
        ("fork", {"dataloader_num_workers": 2}),
        ("fork", PERSISTENT),
        ("spawn", PERSISTENT),
    ],
)
def test_workers_do_not_change_the_weights(cycle_tokenizer, tmp_path, start, options):
    expected = final_weights(cycle_tokenizer, tmp_path)
    multiprocessing.set_start_method(start, force=True)
    try:
        assert_equal(final_weights(cycle_tokenizer, tmp_path, **options), expected)
    finally:
        multiprocessing.set_start_method("fork", force=True)


def test_gradient_accumulation_equals_a_large_batch(cycle_tokenizer, tmp_path):
    shuffled = {"train_sampling_strategy": "random", "dropout": 0.0}
    parts = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}
    full, accumulated, small = (
        final_weights(cycle_tokenizer, tmp_path, **shuffled, **options)
        for options in ({}, parts, {"per_device_train_batch_size": 4})
    )
    torch.testing.assert_close(accumulated, full, rtol=1e-3, atol=1e-4)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(small, full, rtol=1e-3, atol=1e-4)


def losses(tokenizer, folder, rows: int, parts: int) -> list[float]:
    """The loss of every step on batches of `parts` times `rows` histories of 2 to 8 items, grouped by length."""
    options = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": parts, "max_steps": 4}
    trainer = make_trainer(tokenizer, folder, dropout=0.0, **NO_EVALUATION, **{**options, "logging_steps": 1})
    generator = np.random.default_rng(0)
    items = tokenizer.first_item_id + np.arange(ITEMS)
    histories = [generator.permutation(items)[: generator.integers(2, 9)] for _ in range(96)]
    trainer.train_dataset = TrainingWindows(Ragged.from_lists(histories), 8)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_parts_of_a_batch_sum_to_its_loss(cycle_tokenizer, tmp_path):
    expected = losses(cycle_tokenizer, tmp_path, 16, 1)
    assert len(expected) == 4
    torch.testing.assert_close(losses(cycle_tokenizer, tmp_path, 4, 4), expected, rtol=1e-4, atol=1e-4)


def test_accumulated_batches_are_one_weighted_mean(cycle_tokenizer, tmp_path):
    trainer, (histories, _) = make_trainer(cycle_tokenizer, tmp_path), cyclic(cycle_tokenizer, 8)
    weights = np.random.default_rng(0).random(len(histories.values)).astype(np.float32)
    weighted = TrainingWindows(histories.with_columns(label_weights=weights), 8)
    batches = [trainer.data_collator([weighted[row] for row in rows]) for rows in ((0, 1, 2), (3, 4))]
    total = sum(batch["label_weights"][batch["labels"] != -100].sum() for batch in batches)
    assert trainer._get_num_items_in_batch(batches, torch.device("cpu")) == pytest.approx(float(total))
    labels = sum((batch["labels"] != -100).sum() for batch in batches)
    for batch in batches:
        del batch["label_weights"]
    assert trainer._get_num_items_in_batch(batches, torch.device("cpu")) == labels


def test_gradient_checkpointing_does_not_change_the_weights(cycle_tokenizer, tmp_path):
    saved, recomputed = (
        final_weights(cycle_tokenizer, tmp_path, dropout=0.2, gradient_checkpointing=on) for on in (False, True)
    )
    assert_equal(recomputed, saved)


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
    with pytest.raises(TypeError, match=r"not Dataset: make TrainingWindows\(encode_histories\(histories, tokenizer"):
        Bert4RecTrainer(train_dataset=table, eval_dataset=trainer.eval_dataset, **options)
    with pytest.raises(TypeError, match=r"must be DataCollatorForMaskedItems.*, not DataCollatorWithPadding"):
        Bert4RecTrainer(train_dataset=trainer.train_dataset, eval_dataset=trainer.eval_dataset, **options)
    for split in (table, table.to_iterable_dataset()):
        with pytest.raises(TypeError, match=r"not a datasets.*Dataset: .*NextItemDataset\(encode_histories\(split"):
            trainer.evaluate(split)


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


def test_the_best_checkpoint_is_that_of_one_data_set_of_several(cycle_tokenizer, tmp_path):
    trainer = make_trainer(cycle_tokenizer, tmp_path, num_train_epochs=2, metric_for_best_model="late_ndcg@10")
    users = trainer.eval_dataset
    halves = [(0, 48), (48, 96)]
    early, late = (NextItemDataset(users.histories.rows(*half), users.targets.rows(*half)) for half in halves)
    trainer.eval_dataset = {"early": early, "late": late}
    trainer.train()
    logged = [entry["eval_late_ndcg@10"] for entry in trainer.state.log_history if "eval_late_ndcg@10" in entry]
    assert trainer.state.best_metric == max(logged)
    assert trainer.evaluate(late)["eval_ndcg@10"] == pytest.approx(max(logged))


def test_the_batch_size_of_evaluation_changes_no_metric(cycle_tokenizer, tmp_path):
    trainer = make_trainer(cycle_tokenizer, tmp_path)
    expected = trainer.evaluate()
    trainer.args.per_device_eval_batch_size = 1
    actual = trainer.evaluate()
    names = ["eval_ndcg@10", "eval_hit_rate@5", "eval_mrr"]
    assert [actual[name] for name in names] == [expected[name] for name in names]


def test_every_user_of_any_data_set_is_evaluated(cycle_tokenizer, tmp_path):
    options = {**PERSISTENT, "dataloader_drop_last": True, "per_device_eval_batch_size": 40, "num_train_epochs": 1}
    trainer = make_trainer(cycle_tokenizer, tmp_path, **options)
    trainer.train()  # keeps the workers of its evaluations
    users = trainer.eval_dataset
    first = NextItemDataset(users.histories.rows(0, 10), users.targets.rows(0, 10))
    ranks = trainer.predict(users).predictions[:, 0]
    assert ranks.shape == (96,)
    for dataset, expected in ((users, ranks), (first, ranks[:10])):
        assert trainer.evaluate(dataset)["eval_mrr"] == pytest.approx((1 / expected).mean())
    assert trainer.evaluate()["eval_mrr"] == pytest.approx((1 / ranks).mean())


@pytest.mark.parametrize("metric", ["late_loss", "lndcg@10"])
def test_another_metric_is_refused(tmp_path, metric):
    with pytest.raises(ValueError, match=f"metric_for_best_model is {metric}; it must be one of"):
        Bert4RecTrainingArguments(str(tmp_path), metric_for_best_model=metric)


def test_every_evaluated_step_has_a_checkpoint(tmp_path):
    steps = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 1, "save_steps": 4}
    with pytest.raises(ValueError, match="save_steps is 4 and eval_steps is 1: load_best_model_at_end needs"):
        Bert4RecTrainingArguments(str(tmp_path), **steps)
    Bert4RecTrainingArguments(str(tmp_path), **steps, load_best_model_at_end=False)


def test_smoothed_labels_have_no_weights(cycle_tokenizer, tmp_path):
    trainer = make_trainer(cycle_tokenizer, tmp_path, label_smoothing_factor=0.1)
    histories, _ = cyclic(cycle_tokenizer, 8)
    weighted = histories.with_columns(label_weights=np.full(len(histories.values), 2.0, dtype=np.float32))
    options = {"args": trainer.args, "processing_class": cycle_tokenizer, "data_collator": trainer.data_collator}
    with pytest.raises(ValueError, match=r"label_smoothing_factor is 0\.1: .* ignores weights"):
        Bert4RecTrainer(trainer.model, train_dataset=TrainingWindows(weighted, 8), eval_dataset=[], **options)


@pytest.mark.slow
def test_a_run_is_read_back_from_trackio(cycle_tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when trackio is imported
    pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    report = {"report_to": "trackio", "project": "cycle", "run_name": "small"}
    trainer = make_trainer(cycle_tokenizer, tmp_path / "checkpoints", num_train_epochs=1, **report)
    trainer.train()
    assert (tmp_path / "trackio" / "cycle.db").is_file()
    logs = SQLiteStorage.get_logs("cycle", run="small")
    for reported, logged in (("train/loss", "loss"), ("eval/ndcg@10", "eval_ndcg@10")):
        expected = {entry["step"]: entry[logged] for entry in trainer.state.log_history if logged in entry}
        assert expected
        assert {log["train/global_step"]: log[reported] for log in logs if reported in log} == pytest.approx(expected)
