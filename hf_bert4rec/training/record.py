"""`training.json`: the record of a finished run, for its card and its evaluation."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.prepared import PreparedData
from ..environment import describe_hardware, environment
from ..hub.records import portable_command, portable_options
from ..model.pipeline_bert4rec import TASK, MovieRecommendationPipeline
from .trainer import Bert4RecTrainer, Bert4RecTrainingArguments

NDCG = "eval_ndcg@10"
CURVE = ("step", "epoch", "loss", NDCG, "eval_hit_rate@10")
TRAINER_OPTIONS = (
    "learning_rate",
    "num_train_epochs",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "weight_decay",
    "max_grad_norm",
    "warmup_steps",
    "lr_scheduler_type",
    "ema_decay",
    "seed",
    "data_seed",
    "bf16",
)


def build_record(
    trainer: Bert4RecTrainer, model: Any, data: PreparedData, arguments: Sequence[Any], argv: Sequence[str]
) -> dict[str, Any]:
    """The record of a run: data, options, curve, time, hardware, versions, and an example answer of the model.

    Options are the fields of `arguments` and of the trainer's; `argv` is the command line without the program's name.
    """
    state = trainer.state
    logged = [entry for entry in state.log_history if "loss" in entry or NDCG in entry]
    step = state.best_global_step if trainer.args.load_best_model_at_end else state.global_step
    validation = [entry[NDCG] for entry in logged if NDCG in entry and entry["step"] == step]
    summary: dict[str, Any] = next((entry for entry in reversed(state.log_history) if "train_runtime" in entry), {})
    return {
        "dataset": data.name,
        "num_users": len(data.history_lengths),
        "num_items": data.tokenizer.num_items,
        "num_interactions": int(data.history_lengths.sum()),
        "parameters": model.num_parameters(),
        "example": example_answer(model, data.tokenizer),
        "command": portable_command(["hf-bert4rec", "train", *argv]),
        "hardware": describe_hardware(),
        "environment": environment(),
        "options": run_options(arguments, trainer.args),
        "processes": trainer.args.world_size,
        "seconds": round(summary.get("train_runtime", 0.0), 1),  # of a resumed run without its first part
        "resumed": trainer.args.resume_from_checkpoint is not None,
        "best_step": step,
        "best_validation_ndcg@10": validation[0] if validation else None,
        "curve": [{key: entry[key] for key in CURVE if key in entry} for entry in logged],
    }


def run_options(arguments: Sequence[Any], training: Bert4RecTrainingArguments) -> dict[str, Any]:
    """The options that decide a run, as JSON values and without this machine's folders."""
    options = portable_options({name: value for part in arguments for name, value in vars(part).items()})
    trainer_options = training.to_dict()
    options |= {name: trainer_options[name] for name in TRAINER_OPTIONS}
    if training.max_steps > 0:  # it overrides the number of epochs
        options |= {"max_steps": training.max_steps, "num_train_epochs": None}
    return options


def example_answer(model: Any, tokenizer: Any) -> dict[str, Any]:
    """The model's answer to the three most watched movies, for the card's quick start.

    `history` has their titles, or ids where a title is not unique; `history_ids` their ids; `answer` is the pipeline's.
    """
    indices = np.argsort(-np.array(tokenizer.items["count"]), kind="stable")[:3]
    movies = [tokenizer.movie(tokenizer.first_item_id + int(index)) for index in indices]
    ids = [movie[tokenizer.item_id_name] for movie in movies]
    unique = [movie["title"] and tokenizer.titles.count(movie["title"]) == 1 for movie in movies]
    pipe = MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task=TASK, device=model.device)
    return {
        "history": [movie["title"] if named else item for movie, named, item in zip(movies, unique, ids, strict=True)],
        "history_ids": ids,
        "answer": pipe(ids, top_k=min(3, tokenizer.num_items)),
    }
