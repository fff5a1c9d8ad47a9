"""A training run: from parsed options to an exported folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EarlyStoppingCallback, set_seed

from ..data.collators import DataCollatorForMaskedItems
from ..data.negatives import NegativeSampler
from ..data.prepare import Prepared, prepare
from ..data.windows import TrainingWindows
from ..files import TRAINING_FILE, write_json
from ..hub.card.curve import CURVE_FILE, draw_curve
from ..hub.card.render import render_card
from ..hub.export import check_replaceable, export, remove_checkpoints
from ..model.configuration_bert4rec import Bert4RecConfig
from ..model.modeling_bert4rec import Bert4RecForMaskedLM
from .arguments import Arguments, MaskingArguments, ModelArguments
from .checkpoints import latest_complete
from .hardware import training_attention
from .initialization import cooccurrence_embeddings, fit_time_span, fit_transition_memory
from .record import run_options, training_record
from .trainer import Bert4RecTrainer, Bert4RecTrainingArguments

logger = logging.getLogger(__name__)

OPTIONS_FILE = "options.json"
# Options that a resumed run may change: how long it runs, and how a batch is spread over processes.
RESUMABLE = {"num_train_epochs", "max_steps", "early_stopping_patience", "bf16"}
RESUMABLE |= {"per_device_train_batch_size", "gradient_accumulation_steps"}


def fit(arguments: Arguments, argv: Sequence[str] = ()) -> Path:
    """Train, evaluate on the validation part, and export to `output_dir`, the returned folder.

    Checkpoints are written to `checkpoints/`, next to that folder.

    Args:
        arguments: what `parse` returns.
        argv: the command line, for the training record.
    """
    data_arguments, model_arguments, masking, training = arguments
    options = (data_arguments, model_arguments, masking)
    folder = Path(training.output_dir)
    check_replaceable(folder)
    training.output_dir = str(folder.parent / "checkpoints" / folder.name)
    set_seed(training.seed)
    data = prepare(data_arguments)
    trainer = build_trainer(data, model_arguments, masking, training)
    run(trainer, run_options(options, training))
    model = trainer.gathered_model().float()
    if trainer.is_world_process_zero():
        record = training_record(trainer, model, data, options, argv)
        files = {TRAINING_FILE: record, CURVE_FILE: draw_curve(record)}
        card = render_card(record, titles=any(data.tokenizer.items.get("title", [])))
        export(model, data.tokenizer, folder, card, files)
        logger.info("exported to %s", folder)
    trainer.end()
    return folder


def build_trainer(
    data: Prepared,
    model_arguments: ModelArguments,
    masking: MaskingArguments,
    arguments: Bert4RecTrainingArguments,
) -> Bert4RecTrainer:
    """A trainer with a new model, the training windows and their masks."""
    model = build_model(data, model_arguments, masking.cooccurrence_init, arguments.seed)
    window, timed = model.config.max_position_embeddings, model.config.time_aware
    model.set_attn_implementation(training_attention(window, arguments.bf16))
    patience = masking.early_stopping_patience
    return Bert4RecTrainer(
        model=model,
        args=arguments,
        train_dataset=TrainingWindows(data.timed_train if timed else data.train, window, masking.window_stride),
        eval_dataset=data.next_item_dataset("validation", timed=timed),
        data_collator=build_collator(data, masking, arguments.order_seed),
        processing_class=data.tokenizer,
        callbacks=[EarlyStoppingCallback(patience)] if patience else [],
    )


def build_collator(data: Prepared, masking: MaskingArguments, seed: int) -> DataCollatorForMaskedItems:
    """The collator that masks training rows, and samples negatives if the loss needs them."""
    tokenizer, negatives = data.tokenizer, None
    if masking.sampled_negatives is not None:
        counts = np.bincount(data.train.values, minlength=len(tokenizer))
        negatives = NegativeSampler(counts, masking.sampled_negatives, tokenizer.first_item_id, seed)
    return DataCollatorForMaskedItems(
        tokenizer,
        mlm_probability=masking.mlm_probability,
        mask_replace_prob=masking.mask_replace_prob,
        random_replace_prob=masking.random_replace_prob,
        last_item_prob=masking.last_item_prob,
        seed=seed,
        negatives=negatives,
    )


def build_model(
    data: Prepared, model_arguments: ModelArguments, cooccurrence_init: float | None, seed: int
) -> Bert4RecForMaskedLM:
    """A new model for the vocabulary of `data`, its buffers and initial embeddings computed from training histories."""
    vocab_size = len(data.tokenizer)
    options = {**vars(model_arguments), "memory_size": min(model_arguments.memory_size, vocab_size)}
    options["vocabulary_sha256"] = data.tokenizer.vocabulary_sha256
    model = Bert4RecForMaskedLM(Bert4RecConfig(vocab_size=vocab_size, **options))
    if cooccurrence_init is not None:
        embeddings = cooccurrence_embeddings(data.train, vocab_size, model.config.hidden_size, cooccurrence_init, seed)
        with torch.no_grad():
            present = embeddings.abs().sum(1) > 0
            model.get_input_embeddings().weight[present] = embeddings[present]
    train = data.timed_train if model.config.time_aware else data.train
    if model.config.time_aware:
        fit_time_span(model, train)
    if model.memory is not None:
        fit_transition_memory(model, train)
    return model


def run(trainer: Bert4RecTrainer, options: Mapping[str, Any]) -> None:
    """Train from the start, or from the checkpoint that `resume_from_checkpoint` names ("last": the latest complete).

    Args:
        trainer: what `build_trainer` returns.
        options: the run's options as JSON values. A resumed run must have those of the run that it continues.

    Raises:
        FileNotFoundError: there is no complete checkpoint to resume from.
        ValueError: an option has another value than in the run that wrote the checkpoint.
    """
    checkpoints = Path(trainer.args.output_dir)
    resume = trainer.args.resume_from_checkpoint
    if resume in ("last", "true", "True"):
        checkpoint = latest_complete(checkpoints)
        if checkpoint is None:
            raise FileNotFoundError(f"no complete checkpoint in {checkpoints}: start without --resume_from_checkpoint")
        resume = str(checkpoint)
    if resume is not None:
        check_same_options(Path(resume).parent / OPTIONS_FILE, options)
    elif trainer.is_world_process_zero():
        remove_checkpoints(checkpoints)
        write_json(checkpoints / OPTIONS_FILE, options)
    trainer.accelerator.wait_for_everyone()
    trainer.train(resume_from_checkpoint=resume)


def check_same_options(path: Path, options: Mapping[str, Any]) -> None:
    """Raise ValueError if an option differs from that of the run which wrote the file; without a file, pass.

    The optimizer's state, the order and the masks would otherwise be those of neither run.
    """
    if not path.is_file():
        return
    earlier = json.loads(path.read_text(encoding="utf-8"))
    changed = [
        f"{name} is {options[name]} and was {earlier[name]}"
        for name in sorted(set(options) & set(earlier) - RESUMABLE)
        if options[name] != earlier[name]
    ]
    if changed:
        raise ValueError(
            f"the run in {path.parent} had other options: {'; '.join(changed)}. Resume with its options, or start anew "
            "without --resume_from_checkpoint"
        )
