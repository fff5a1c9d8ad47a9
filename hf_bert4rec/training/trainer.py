"""transformers' `Trainer` for BERT4Rec: rows are shuffled and masked by epoch, and evaluation ranks the catalogue.

The order of rows and their masks are functions of the seed and the epoch, so an interrupted and resumed run ends with
the same weights as an uninterrupted one.
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method
from torch.nn.attention import sdpa_kernel
from torch.utils.data import DataLoader, Sampler, SequentialSampler
from transformers import EvalPrediction, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import SCHEDULER_NAME
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import rotate_checkpoints
from transformers.utils import is_in_notebook

from ..data.arguments import option
from ..data.collators import IGNORED, MODEL_INPUTS, DataCollatorForMaskedItems, DataCollatorForNextItem
from ..data.windows import TrainingWindows, WindowSampler
from ..evaluation.metrics import metrics_from_ranks, metrics_per_user
from ..evaluation.ranking import ranks_from_scores
from ..files import annotate_write_errors
from ..model.modeling_bert4rec import Bert4RecForMaskedLM
from .checkpoints import COMPLETE_FILE, check_complete, mark_complete, remove_incomplete
from .ema import WeightAverage
from .hardware import VARIABLE_LENGTH_KERNELS, bf16_is_fast
from .training_forward import TrainingCollator, supports_query_positions, training_forward_installed

logger = logging.getLogger(__name__)

DISK_FULL_HINT = "Earlier checkpoints are complete: free some space, then resume from the last one"

METRICS = tuple(metrics_per_user(np.array([1])))  # names of all metrics of an evaluation
WEIGHT_METRIC = "ndcg@10"  # decides which of `memory_weights` is best
SAMPLING_STRATEGIES = ("group_by_length", "random")


@dataclass
class Bert4RecTrainingArguments(TrainingArguments):
    """`TrainingArguments` with other defaults: the best checkpoint by validation NDCG@10 is loaded at the end."""

    output_dir: str = option("the exported folder; checkpoints are written to checkpoints/ next to it")
    resume_from_checkpoint: str | None = option("checkpoint to continue from, or `last` for the last complete one")
    # A default, not a default factory: HfArgumentParser does not read factories of booleans.
    bf16: bool = option("bfloat16 autocast; on where it is faster", bf16_is_fast())
    disable_tqdm: bool | None = not (sys.stderr.isatty() or is_in_notebook())
    dataloader_pin_memory: bool = torch.cuda.is_available()
    eval_strategy: str = "epoch"
    save_strategy: str = "epoch"
    load_best_model_at_end: bool = True
    metric_for_best_model: str | None = "ndcg@10"
    save_total_limit: int | None = 2
    remove_unused_columns: bool | None = False
    restore_callback_states_from_checkpoint: bool = True
    train_sampling_strategy: str = "group_by_length"
    per_device_eval_batch_size: int = 128
    ddp_find_unused_parameters: bool | None = False
    logging_nan_inf_filter: bool = False  # it waits for the GPU in every step, and hides losses of NaN
    ema_decay: float | None = option(
        "decay per step of an exponential moving average of the weights, which is evaluated and saved"
    )

    def __post_init__(self) -> None:
        if self.bf16 and not torch.accelerator.is_available():
            self.use_cpu = True  # without it transformers refuses bfloat16 on a CPU
        super().__post_init__()
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay is {self.ema_decay}; it must be between 0 and 1, such as 0.999")
        if self.train_sampling_strategy not in SAMPLING_STRATEGIES:
            known = " or ".join(SAMPLING_STRATEGIES)
            raise ValueError(f"train_sampling_strategy is {self.train_sampling_strategy}; it must be {known}")
        metric = (self.metric_for_best_model or METRICS[0]).removeprefix("eval_")
        # A metric of one data set of several ({"name": ...}) begins with its name: "name_ndcg@10".
        if metric not in METRICS and not metric.endswith(tuple(f"_{name}" for name in METRICS)):
            raise ValueError(f"metric_for_best_model is {metric}; it must be one of {', '.join(METRICS)}")
        by_steps = self.save_strategy == self.eval_strategy == "steps"
        if self.load_best_model_at_end and by_steps and self.save_steps != self.eval_steps:
            raise ValueError(
                f"save_steps is {self.save_steps} and eval_steps is {self.eval_steps}: load_best_model_at_end needs a "
                "checkpoint of every evaluated step, so set both to the same number"
            )

    @property
    def n_gpu(self) -> int:
        """One GPU per process: copies by `nn.DataParallel` have a forward that is bound to the first GPU's weights."""
        return min(super().n_gpu, 1)

    @property
    def order_seed(self) -> int:
        """The seed of the order of rows and, in `build_trainer`, of their masks, which are the collator's."""
        return self.seed if self.data_seed is None else self.data_seed


class Bert4RecTrainer(Trainer):
    """Trains on `TrainingWindows` and evaluates on `NextItemDataset` by the rank of every target.

    `evaluate` returns `eval_ndcg@10` and the like over the full catalogue, without seen items and with ties counted
    against the model. `predict` returns the ranks, (users, targets).

    With `ema_decay`, evaluation uses the averaged weights; they become the model's weights when training ends.

    Checkpoints hold the weights of their step, from which a run resumes, and the average in `average.safetensors`.

    TypeError: the data sets or the collator have another type. ValueError: `ema_decay` with FSDP, or
    `label_smoothing_factor` with weights of labels or sampled negatives.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, compute_metrics=_metrics, **kwargs)
        if self.train_dataset is not None:
            self._check_training_data()
        if self.is_fsdp_enabled and self.args.ema_decay is not None:
            raise ValueError("ema_decay needs the full weights on every process, which FSDP shards: unset one of them")
        # If there are any, `evaluate` is with the best of these weights of the transition memory.
        self.memory_weights: Sequence[float] = ()
        self.average: WeightAverage | None = None  # during a run with `ema_decay`
        self.resumed_from: Path | None = None
        self.add_callback(_TrainingCallback(self))

    def _check_training_data(self) -> None:
        if not isinstance(self.train_dataset, TrainingWindows):
            raise TypeError(
                f"train_dataset must be TrainingWindows, not {type(self.train_dataset).__name__}: make "
                "TrainingWindows(encode_histories(histories, tokenizer), max_length) from histories (rows with "
                "`item_ids`); see hf_bert4rec.data.windows and hf_bert4rec.data.encoding"
            )
        if not isinstance(self.data_collator, DataCollatorForMaskedItems):
            given = type(self.data_collator).__name__
            raise TypeError(f"data_collator must be DataCollatorForMaskedItems(tokenizer, ...), not {given}")
        row = self.train_dataset[0]
        if self.model.config.time_aware and "timestamps" not in row:
            logger.warning(
                "the model is time_aware, but the training histories have no timestamps, so it learns without times: "
                "give them a time column, and encode them with encode_histories(histories, tokenizer, timed=True)"
            )
        weighted = "label_weights" in row
        if self.args.label_smoothing_factor and (weighted or self.data_collator.negatives is not None):
            raise ValueError(
                f"label_smoothing_factor is {self.args.label_smoothing_factor}: transformers' smoothed loss ignores "
                "weights and event types, and sampled negatives; set it to 0"
            )

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> Any:
        with training_forward_installed(self.model), sdpa_kernel(VARIABLE_LENGTH_KERNELS):
            try:
                return super()._inner_training_loop(*args, **kwargs)
            finally:
                self.average = None  # an interrupted run leaves the weights of its last step in the model

    def _get_train_sampler(self, train_dataset: Any = None) -> WindowSampler:
        grouped = self.args.train_sampling_strategy == "group_by_length"
        # Rows of an optimizer step, so that accumulated gradients are those of a larger batch.
        batch = self.args.train_batch_size * self.args.world_size * self.args.gradient_accumulation_steps
        self.window_sampler = WindowSampler(self.train_dataset, self.args.order_seed, batch if grouped else 1)
        return self.window_sampler

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler[int]:
        # Trainer would group these by length too, and return ranks in another order than the users'.
        return SequentialSampler(eval_dataset)

    def _get_dataloader(self, dataset: Any, description: str, *args: Any, **kwargs: Any) -> DataLoader[Any]:
        if hasattr(dataset, "column_names"):  # a table of the datasets library
            raise TypeError(
                f"eval_dataset must be a NextItemDataset, not a datasets.{type(dataset).__name__}: make "
                "NextItemDataset(encode_histories(split, tokenizer), encode_targets(split, tokenizer)) from a split "
                "with targets; see hf_bert4rec.data.encoding"
            )
        drop_last = self.args.dataloader_drop_last
        self.args.dataloader_drop_last = drop_last and description == "Training"  # every user is evaluated
        try:
            return super()._get_dataloader(dataset, description, *args, **kwargs)
        finally:
            self.args.dataloader_drop_last = drop_last

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        if eval_dataset is not None and not isinstance(eval_dataset, str):
            # With persistent workers Trainer would return the loader that it kept of another data set.
            return self.get_test_dataloader(eval_dataset)
        loader: DataLoader[Any] = super().get_eval_dataloader(eval_dataset)
        _advance_random_state(loader)
        return loader

    def _get_collator_with_removed_columns(self, data_collator: Any, description: str | None = None) -> Any:
        # Trainer calls this for the collator of each loader; only training masks.
        base = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        if description == "Training":
            return TrainingCollator(data_collator, supports_query_positions(base), base.config.vocab_size)
        return DataCollatorForNextItem(self.processing_class, base.config.max_position_embeddings)

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """Ranks (batch, targets), or with `memory_weights` (batch, targets, weights), instead of logits."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            scoring: Any = self.average.module if self.average else self.accelerator.unwrap_model(model)
            sharded = isinstance(scoring, FSDPModule)
            if sharded and "next_item_logits" not in vars(scoring):
                register_fsdp_forward_method(scoring, "next_item_logits")  # gathers the weights, as `forward` does
            scores = scoring.next_item_logits(**{name: inputs[name] for name in MODEL_INPUTS if name in inputs})
        special = self.processing_class.all_special_ids
        seen = inputs["seen"] if scoring.config.exclude_seen else inputs["seen"][:, :0]
        targets = inputs["targets"]
        if not self.memory_weights:
            return None, ranks_from_scores(scores, targets, seen, special), targets
        memory = scoring.memory(inputs["input_ids"], inputs["attention_mask"], inputs.get("timestamps"))
        changes = [weight - scoring.config.memory_weight for weight in self.memory_weights]
        ranks = [ranks_from_scores(scores + change * memory, targets, seen, special) for change in changes]
        return None, torch.stack(ranks, dim=-1), targets

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> torch.Tensor | int | None:
        # The divisor of the sum of losses over all batches and processes of a step.
        count = super()._get_num_items_in_batch(batch_samples, device)
        if count is None or "label_weights" not in batch_samples[0]:
            return count
        total = sum((batch["label_weights"] * (batch["labels"] != IGNORED)).sum() for batch in batch_samples).to(device)
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            total = self.accelerator.gather(total).sum()
        return total

    def gathered_model(self) -> Bert4RecForMaskedLM:
        """The model, on the first process with all its weights if they are sharded. Call it on every process."""
        model: Bert4RecForMaskedLM = self.accelerator.unwrap_model(self.model)
        if not self.is_fsdp_enabled:
            return model
        state = self.accelerator.get_state_dict(self.model)
        gathered = Bert4RecForMaskedLM(model.config)
        if self.is_world_process_zero():
            gathered.load_state_dict(state)
        return gathered

    def leave_process_group(self) -> None:
        """Leave the process group, after training and evaluation: its threads sometimes abort a process at exit."""
        self.model_wrapped = self.model  # the wrapper for several processes references the group
        self.accelerator.free_memory()
        self.accelerator.end_training()

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # Mark the checkpoint as complete after its last file and remove older ones only then: a complete checkpoint
        # remains whenever the process is killed.
        folder = self._get_output_dir(trial=trial)
        checkpoint = Path(folder) / f"checkpoint-{self.state.global_step}"
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            with annotate_write_errors(checkpoint, DISK_FULL_HINT, RuntimeError):  # which torch raises on a full disk
                if self.args.should_save:
                    (checkpoint / COMPLETE_FILE).unlink(missing_ok=True)  # before its files are overwritten
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
        if not (Path(resume_from_checkpoint) / SCHEDULER_NAME).is_file():  # transformers would start a new optimizer
            raise FileNotFoundError(
                f"no {SCHEDULER_NAME} in {resume_from_checkpoint}, which has weights only (save_only_model): load them "
                "with from_pretrained for a new run"
            )
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self.resumed_from = Path(resume_from_checkpoint)

    def _load_callback_state(self) -> None:
        # What callbacks counted is restored, not their arguments: a resumed run may change its patience.
        for callback in self.callback_handler.callbacks:
            stored = self.state.stateful_callbacks.get(type(callback).__name__)
            if isinstance(callback, ExportableState) and isinstance(stored, dict):
                stored["args"] = callback.state()["args"]
        super()._load_callback_state()

    def _load_best_model(self) -> None:
        super()._load_best_model()
        if self.average:
            self.average.load(Path(self.state.best_model_checkpoint))

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        # The output embedding is tied to the input embedding and saved once: it is not missing from a checkpoint.
        tied = set(self.model.all_tied_weights_keys)
        load_result.missing_keys[:] = [key for key in load_result.missing_keys if key not in tied]
        super()._issue_warnings_after_load(load_result)


class _TrainingCallback(TrainerCallback):
    """Sets the sampler's epoch before its first batch, also when resuming within an epoch, and averages the weights.

    With `ema_decay`, the average begins at the first step or with a checkpoint's; the model gets it at the end.
    """

    def __init__(self, trainer: Bert4RecTrainer) -> None:
        self.trainer = trainer

    @property
    def model(self) -> Any:
        return self.trainer.accelerator.unwrap_model(self.trainer.model)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        checkpoint, self.trainer.resumed_from = self.trainer.resumed_from, None  # not of a later call of `train`
        if args.ema_decay is not None:
            self.trainer.average = WeightAverage(self.model, args.ema_decay)
            if checkpoint is not None:
                self.trainer.average.load(checkpoint)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any, **kwargs: Any) -> None:
        self.trainer.window_sampler.set_epoch(int(state.epoch))
        _advance_random_state(train_dataloader)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer.average is not None:
            self.trainer.average.update_parameters(self.model)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer.average is not None:
            self.trainer.average.copy_to(self.model)


def _advance_random_state(loader: DataLoader[Any]) -> None:
    """Advance torch's random state, which dropout uses, as a new iterator does; persistent workers keep the old one."""
    if getattr(loader, "_iterator", None) is not None:
        torch.empty((), dtype=torch.int64).random_()


def _metrics(prediction: EvalPrediction) -> dict[str, float]:
    ranks = np.maximum(prediction.predictions, 0)  # Trainer pads ragged batches with -100
    if ranks.ndim == 2:
        return metrics_from_ranks(ranks)
    by_weight = [metrics_from_ranks(each) for each in np.moveaxis(ranks, -1, 0)]
    return max(by_weight, key=lambda metrics: metrics[WEIGHT_METRIC])
