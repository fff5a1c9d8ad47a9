"""Model, collator and trainer of a run, from encoded data and parsed options."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import EarlyStoppingCallback

from ..data.collators import DataCollatorForMaskedItems
from ..data.random_streams import NegativeSampler
from ..data.taste import POPULARITY_PENALTY, fit_taste, neighbours_for
from ..data.transitions import fit_transition_memory, item_counts
from ..data.windows import TrainingWindows
from ..model.configuration_bert4rec import Bert4RecConfig
from ..model.modeling_bert4rec import Bert4RecForMaskedLM
from .arguments import MaskingArguments, ModelArguments
from .extension_weights import COARSE_WEIGHTS, TRAINING_WEIGHT
from .hardware import training_attention
from .initialization import cooccurrence_embeddings, fit_time_span
from .trainer import Bert4RecTrainer, Bert4RecTrainingArguments

if TYPE_CHECKING:
    from ..data.prepared import PreparedData  # it needs datasets, and training does not


def build_trainer(
    data: PreparedData, model_arguments: ModelArguments, masking: MaskingArguments, arguments: Bert4RecTrainingArguments
) -> Bert4RecTrainer:
    """A trainer with a new model, the training windows and their masks; ValueError if options exclude each other."""
    if model_arguments.causal and masking.causal_prob:
        raise ValueError(f"causal_prob={masking.causal_prob} with causal=true: every batch is causal already")
    if model_arguments.causal and (masking.mlm_probability < 1 or masking.mask_replace_prob > 0):
        raise ValueError(
            f"causal=true with mlm_probability={masking.mlm_probability} and mask_replace_prob="
            f"{masking.mask_replace_prob}: every item is a label and none is masked, so set them to 1.0 and 0.0"
        )
    model = build_model(data, model_arguments, masking.cooccurrence_init, arguments.seed)
    window, timed = model.config.max_position_embeddings, model.config.time_aware
    model.set_attn_implementation(training_attention(window, arguments.bf16))
    patience = masking.early_stopping_patience
    trainer = Bert4RecTrainer(
        model=model,
        args=arguments,
        train_dataset=TrainingWindows(data.timed_train if timed else data.train, window, masking.window_stride),
        eval_dataset=data.next_item_dataset("validation", timed=timed),
        data_collator=build_collator(data, masking, arguments.order_seed),
        processing_class=data.tokenizer,
        callbacks=[EarlyStoppingCallback(patience)] if patience else [],
    )
    if model.memory is not None and model_arguments.memory_weight is None:
        trainer.memory_weights = COARSE_WEIGHTS
    return trainer


def build_collator(data: PreparedData, masking: MaskingArguments, seed: int) -> DataCollatorForMaskedItems:
    """The collator that masks training rows, and samples negatives if the loss needs them."""
    tokenizer, negatives = data.tokenizer, None
    if masking.sampled_negatives is not None:
        counts = item_counts(data.train, len(tokenizer))
        negatives = NegativeSampler(counts, masking.sampled_negatives, tokenizer.first_item_id, seed)
    return DataCollatorForMaskedItems(
        tokenizer,
        mlm_probability=masking.mlm_probability,
        mask_replace_prob=masking.mask_replace_prob,
        random_replace_prob=masking.random_replace_prob,
        last_item_prob=masking.last_item_prob,
        causal_prob=masking.causal_prob,
        seed=seed,
        negatives=negatives,
    )


def build_model(
    data: PreparedData, model_arguments: ModelArguments, cooccurrence_init: float | None, seed: int
) -> Bert4RecForMaskedLM:
    """A new model for the vocabulary of `data`, its buffers and initial embeddings computed from training histories."""
    vocab_size = len(data.tokenizer)
    options = {**vars(model_arguments), "memory_size": min(model_arguments.memory_size, vocab_size)}
    if model_arguments.memory_weight is None:
        options["memory_weight"] = TRAINING_WEIGHT
    options["taste_size"] = min(model_arguments.taste_size, vocab_size)
    if not options["taste_size"]:
        options["taste_weight"] = 0.0
    elif model_arguments.taste_weight is None:
        options["taste_weight"] = TRAINING_WEIGHT
    options["taste_popularity_penalty"] = POPULARITY_PENALTY if options["taste_size"] else 0.0
    options["taste_neighbours"] = neighbours_for(vocab_size, model_arguments.taste_size)
    options["exclude_seen"] = data.exclude_seen
    options["num_events"] = len(data.tokenizer.event_names)
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
    if model.taste is not None:
        fit_taste(model.taste, data.train, data.train_liked, data.tokenizer.items)
    return model
