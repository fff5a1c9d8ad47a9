"""A training run put together: model, windows, masks, callbacks and `Trainer`, from parsed arguments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import EarlyStoppingCallback

from ..data.collators import DataCollatorForMaskedItems
from ..data.negatives import NegativeSampler
from ..data.prepare import Prepared
from ..data.windows import TrainingWindows
from ..hub.export import remove_checkpoints
from ..model.configuration_bert4rec import Bert4RecConfig
from ..model.modeling_bert4rec import Bert4RecForMaskedLM
from .arguments import MaskingArguments, ModelArguments
from .checkpoints import latest_complete
from .hardware import training_attention
from .initialization import cooccurrence_embeddings, fit_time_span, fit_transition_memory
from .trainer import Bert4RecTrainer, Bert4RecTrainingArguments


def build_trainer(
    data: Prepared,
    model_arguments: ModelArguments,
    masking: MaskingArguments,
    arguments: Bert4RecTrainingArguments,
) -> Bert4RecTrainer:
    """Model, windows, masks and callbacks, put together."""
    model = build_model(data, model_arguments, masking.cooccurrence_init, arguments.seed)
    model.set_attn_implementation(training_attention(model.config.max_position_embeddings, arguments.bf16))
    train = data.timed_train if model.config.time_aware else data.train
    windows = TrainingWindows(train, model.config.max_position_embeddings, masking.window_stride)
    collator = build_collator(data, masking, arguments.data_seed if arguments.data_seed is not None else arguments.seed)
    callbacks = []
    if masking.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(masking.early_stopping_patience))
    return Bert4RecTrainer(
        model=model,
        args=arguments,
        train_dataset=windows,
        eval_dataset=data.next_item_dataset("validation", timed=model.config.time_aware),
        data_collator=collator,
        processing_class=data.tokenizer,
        callbacks=callbacks,
    )


def build_collator(data: Prepared, masking: MaskingArguments, seed: int) -> DataCollatorForMaskedItems:
    """Masks, and the negatives of a sampled loss where there is one."""
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
    """A fresh model for this data set's vocabulary."""
    tokenizer = data.tokenizer
    options = {**vars(model_arguments), "memory_size": min(model_arguments.memory_size, len(tokenizer))}
    model = Bert4RecForMaskedLM(Bert4RecConfig(vocab_size=len(tokenizer), **options))
    if cooccurrence_init is not None:
        embeddings = cooccurrence_embeddings(
            data.train, len(tokenizer), model.config.hidden_size, cooccurrence_init, seed
        )
        with torch.no_grad():
            present = embeddings.abs().sum(1) > 0
            model.get_input_embeddings().weight[present] = embeddings[present]
    train = data.timed_train if model.config.time_aware else data.train
    if model.config.time_aware:
        fit_time_span(model, train)
    if model.memory is not None:
        fit_transition_memory(model, train)
    return model


def run(trainer: Bert4RecTrainer) -> None:
    """Train from the start, or from the last checkpoint when asked to."""
    checkpoints = Path(trainer.args.output_dir)
    resume = trainer.args.resume_from_checkpoint
    if resume in ("last", "true", "True"):
        found = latest_complete(checkpoints)
        if found is None:
            raise FileNotFoundError(f"no whole checkpoint in {checkpoints} to resume from: start without the option")
        resume = str(found)
    if resume is None and trainer.is_world_process_zero():
        remove_checkpoints(checkpoints)
    trainer.accelerator.wait_for_everyone()
    trainer.train(resume_from_checkpoint=resume)
