"""Train BERT4Rec from a recipe and export a folder for the Hub.

    python training/train.py training/recipes/ml-100k.yaml
    python training/train.py training/recipes/ml-100k.yaml --learning_rate 5e-4 --output_dir outputs/faster
    accelerate launch training/train.py training/recipes/ml-1m.yaml

A broken run goes on with `--resume_from_checkpoint last`. Training state lies in `checkpoints/` beside the exported
folder.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import EarlyStoppingCallback, set_seed

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a checkout works uninstalled

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM
from hf_bert4rec.checkpoints import last_whole
from hf_bert4rec.cooccurrence import cooccurrence_embeddings
from hf_bert4rec.data.collators import DataCollatorForMaskedItems
from hf_bert4rec.data.negatives import NegativeSampler
from hf_bert4rec.data.prepare import Prepared, prepare
from hf_bert4rec.data.windows import TrainingWindows
from hf_bert4rec.hardware import keep_freed_memory, training_attention
from hf_bert4rec.hub import check_replaceable, export, remove_checkpoints
from hf_bert4rec.hub_stage import TRAINING_FILE
from hf_bert4rec.trainer import Bert4RecTrainer, Bert4RecTrainingArguments
from hf_bert4rec.transitions import fill_memory, set_span
from model_card.curve import CURVE_FILE, draw_curve
from model_card.render import render_card
from training.arguments import MaskingArguments, ModelArguments, parse
from training.console import set_up_console
from training.record import training_record

logger = logging.getLogger("training")


def main() -> None:
    set_up_console()
    if keep_freed_memory():
        logger.info("told the allocator to keep what a step frees for the next one")
    data_arguments, model_arguments, masking, arguments = parse()
    folder = Path(arguments.output_dir)
    check_replaceable(folder)
    arguments.output_dir = str(folder.parent / "checkpoints" / folder.name)
    set_seed(arguments.seed)
    data = prepare(data_arguments)
    trainer = build_trainer(data, model_arguments, masking, arguments)
    run(trainer)
    model = trainer.whole_model().float()
    if trainer.is_world_process_zero():
        record = training_record(trainer, model, data, (data_arguments, model_arguments, masking), sys.argv[1:])
        files = {TRAINING_FILE: record, CURVE_FILE: draw_curve(record)}
        export(model, data.tokenizer, folder, render_card(record), files)
        logger.info("exported to %s", folder)
    trainer.end()


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
        eval_dataset=data.questions("validation", timed=model.config.time_aware),
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
        set_span(model, train)
    if model.memory is not None:
        fill_memory(model, train)
    return model


def run(trainer: Bert4RecTrainer) -> None:
    """Train from the start, or from the last checkpoint when asked to."""
    checkpoints = Path(trainer.args.output_dir)
    resume = trainer.args.resume_from_checkpoint
    if resume in ("last", "true", "True"):
        found = last_whole(checkpoints)
        if found is None:
            raise FileNotFoundError(f"no whole checkpoint in {checkpoints} to resume from: start without the option")
        resume = str(found)
    if resume is None and trainer.is_world_process_zero():
        remove_checkpoints(checkpoints)
    trainer.accelerator.wait_for_everyone()
    trainer.train(resume_from_checkpoint=resume)


if __name__ == "__main__":
    main()
