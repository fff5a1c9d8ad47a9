"""transformers' `Trainer` for BERT4Rec: it shuffles and masks by epoch, and evaluates by rank.

Everything that decides a batch (order, masks) is a function of the seed and the epoch, so that a run that was broken
off and resumed ends with the weights of an unbroken one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method
from torch.utils.data import DataLoader, Sampler, SequentialSampler
from transformers import EvalPrediction, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import rotate_checkpoints

from ..data.collators import MODEL_INPUTS, DataCollatorForNextItem
from ..data.windows import TrainingWindows
from ..evaluation.metrics import metrics_from_ranks
from ..evaluation.ranking import ranks_from_scores
from ..files import annotate_write_errors
from ..model.modeling_bert4rec import Bert4RecForMaskedLM
from .checkpoints import check_complete, mark_complete, mark_incomplete, remove_incomplete
from .ema import WeightAverage
from .hardware import bf16_is_fast
from .training_forward import training_forward_installed

MAKE_ROOM = "Earlier checkpoints are whole: make room, then resume from the last one"


@dataclass
class Bert4RecTrainingArguments(TrainingArguments):
    """`TrainingArguments` with the defaults that a recommender wants; every field can still be set.

    The best checkpoint by validation NDCG@10 is kept, and callbacks remember their state over a resume.
    """

    # Evaluated once, on import: HfArgumentParser does not read default factories of booleans.
    bf16: bool = field(default=bf16_is_fast(), metadata={"help": "bfloat16 autocast; on where it pays"})
    disable_tqdm: bool | None = not sys.stderr.isatty()
    dataloader_pin_memory: bool = torch.cuda.is_available()
    eval_strategy: str = "epoch"
    save_strategy: str = "epoch"
    load_best_model_at_end: bool = True
    metric_for_best_model: str | None = "ndcg@10"
    greater_is_better: bool | None = True
    save_total_limit: int | None = 2
    remove_unused_columns: bool | None = False
    restore_callback_states_from_checkpoint: bool = True
    train_sampling_strategy: str = "group_by_length"
    per_device_eval_batch_size: int = 128
    ddp_find_unused_parameters: bool | None = False
    ema_decay: float | None = field(
        default=None,
        metadata={"help": "evaluate and keep an exponential moving average of the weights, of this decay a step"},
    )

    def __post_init__(self) -> None:
        if self.bf16 and not torch.accelerator.is_available():
            self.use_cpu = True  # transformers asks to be told so before it takes bfloat16 there
        super().__post_init__()
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay is a share between 0 and 1, such as 0.999, and not {self.ema_decay}")


class WindowSampler(Sampler[int]):
    """A new order of the training windows every epoch, a function of (seed, epoch) alone.

    With a `batch_size` above 1, shuffled windows are sorted by length 50 batches at a time, so that a batch is padded
    little, and the batches are shuffled once more: a run of ever shorter ones would pull the weights to and fro.
    `set_epoch` reaches the windows as well: their masks change with the order.
    """

    BATCHES_SORTED_TOGETHER = 50

    def __init__(self, windows: TrainingWindows, seed: int, batch_size: int = 1) -> None:
        self.windows, self.seed, self.batch_size = windows, seed, batch_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Take the order and the masks of this epoch."""
        self.epoch = epoch
        self.windows.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.windows)

    def __iter__(self) -> Iterator[int]:
        generator = np.random.default_rng((self.seed, self.epoch))
        order = generator.permutation(len(self.windows))
        if self.batch_size > 1:
            block = np.arange(len(order)) // (self.batch_size * self.BATCHES_SORTED_TOGETHER)
            order = order[np.lexsort((-self.windows.lengths[order], block))]
            whole = len(order) // self.batch_size * self.batch_size  # what is left over stays last, a short batch
            batches = generator.permutation(order[:whole].reshape(-1, self.batch_size))
            order = np.concatenate([batches.ravel(), order[whole:]])
        return iter(order.tolist())


class Bert4RecTrainer(Trainer):
    """Trains on `TrainingWindows` and evaluates on `NextItemDataset` by the rank of every target.

    `evaluate` gives `eval_ndcg@10` and the like over the whole catalogue, seen items left out, ties against the
    model; `predict` gives the ranks themselves, (users, targets).

    With `ema_decay` all of it is of the averaged weights, which are also the model's own once training has ended.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, compute_metrics=_metrics, **kwargs)
        if self.is_fsdp_enabled and self.args.ema_decay is not None:
            raise ValueError("ema_decay needs whole weights on every process, which FSDP shards: leave out one of them")
        self.next_item_collator = DataCollatorForNextItem(
            self.processing_class, self.model.config.max_position_embeddings
        )
        self.average: WeightAverage | None = None  # only while a run with `ema_decay` goes on
        self._average_to_resume: Path | None = None
        self.add_callback(_EpochToSampler(self))
        if self.args.ema_decay is not None:
            self.add_callback(_KeepAverage(self))

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> Any:
        with training_forward_installed(self.model):
            return super()._inner_training_loop(*args, **kwargs)

    def _get_train_sampler(self, train_dataset: Any = None) -> WindowSampler:
        grouped = self.args.train_sampling_strategy == "group_by_length"
        batch = self.args.train_batch_size * self.args.world_size
        seed = self.args.data_seed if self.args.data_seed is not None else self.args.seed
        self.window_sampler = WindowSampler(self.train_dataset, seed, batch if grouped else 1)
        return self.window_sampler

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler[int]:
        # Trainer would group these by length too, and so give ranks back in another order than the users'.
        return SequentialSampler(eval_dataset)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        return self._with_next_item_collator(super().get_eval_dataloader, eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader[Any]:
        return self._with_next_item_collator(super().get_test_dataloader, test_dataset)

    def _with_next_item_collator(self, build: Any, dataset: Any) -> DataLoader[Any]:
        # Trainer has one collator for all its loaders; masking is for training alone.
        masking: Any = self.data_collator
        self.data_collator: Any = self.next_item_collator
        try:
            return build(dataset)
        finally:
            self.data_collator = masking

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """Ranks (batch, targets) in place of logits (batch, vocab): all that evaluation needs to keep."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            scoring: Any = self.average.module if self.average else self.accelerator.unwrap_model(model)
            sharded = isinstance(scoring, FSDPModule)
            if sharded and "next_item_logits" not in vars(scoring):
                register_fsdp_forward_method(scoring, "next_item_logits")  # gathers the weights, as `forward` does
            given = {name: inputs[name] for name in MODEL_INPUTS if name in inputs}
            scores = scoring.next_item_logits(**given)
        special = self.processing_class.all_special_ids
        ranks = ranks_from_scores(scores, inputs["targets"], inputs["seen"], special)
        return None, ranks, inputs["targets"]

    def whole_model(self) -> Bert4RecForMaskedLM:
        """The model, gathered on the first process where its weights are sharded; every process has to ask."""
        model: Bert4RecForMaskedLM = self.accelerator.unwrap_model(self.model)
        if not self.is_fsdp_enabled:
            return model
        state = self.accelerator.get_state_dict(self.model)
        whole = Bert4RecForMaskedLM(model.config)
        if self.is_world_process_zero():
            whole.load_state_dict(state)
        return whole

    def end(self) -> None:
        """Leave the group of processes; nothing can be trained or evaluated after it.

        Threads of a group that something still holds at exit now and then abort the process, and what holds it longest
        is the wrapper of the model that several processes train.
        """
        self.model_wrapped = self.model
        self.accelerator.free_memory()
        self.accelerator.end_training()

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # Sealed once all of it is there, and only then may an older one go: killed at any moment, a whole one is left.
        folder = self._get_output_dir(trial=trial)
        checkpoint = Path(folder) / f"checkpoint-{self.state.global_step}"
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            with annotate_write_errors(checkpoint, MAKE_ROOM, RuntimeError):  # torch has no other type for it
                if self.args.should_save:
                    mark_incomplete(checkpoint)
                super()._save_checkpoint(model, trial)
                if self.average and self.args.should_save:
                    self.average.save(checkpoint)
        finally:
            self.args.save_total_limit = limit
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            mark_complete(checkpoint)
            remove_incomplete(folder)
            rotate_checkpoints(folder, limit, self.state.best_model_checkpoint)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        check_complete(resume_from_checkpoint)
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self._average_to_resume = Path(resume_from_checkpoint)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        if self.average:
            self.average.load(Path(self.state.best_model_checkpoint))

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        # The output embedding is the input embedding, saved once: it is not missing from a checkpoint.
        tied = set(self.model.all_tied_weights_keys)
        load_result.missing_keys[:] = [key for key in load_result.missing_keys if key not in tied]
        super()._issue_warnings_after_load(load_result)


class _EpochToSampler(TrainerCallback):
    """Tells the sampler the epoch before its first batch, on a resume within an epoch as well."""

    def __init__(self, trainer: Bert4RecTrainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.window_sampler.set_epoch(int(state.epoch))


class _KeepAverage(TrainerCallback):
    """Follows the weights with their average, from the first step or a checkpoint's, and hands it over at the end."""

    def __init__(self, trainer: Bert4RecTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer = self.trainer
        trainer.average = WeightAverage(trainer.accelerator.unwrap_model(trainer.model), args.ema_decay)
        if trainer._average_to_resume is not None:
            trainer.average.load(trainer._average_to_resume)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert self.trainer.average is not None
        self.trainer.average.update_parameters(self.trainer.accelerator.unwrap_model(self.trainer.model))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert self.trainer.average is not None
        self.trainer.average.copy_to(self.trainer.accelerator.unwrap_model(self.trainer.model))
        self.trainer.average = None


def _metrics(prediction: EvalPrediction) -> dict[str, float]:
    return metrics_from_ranks(np.maximum(prediction.predictions, 0))  # Trainer pads ragged batches with -100
