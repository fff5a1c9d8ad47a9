"""`training.json`: what a card, an evaluation and a reader need to know of a finished run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import MovieRecommendationPipeline
from ..data.prepare import Prepared
from ..data.ragged import Ragged
from ..environment import describe_hardware, environment
from ..model.pipeline_bert4rec import TASK
from .trainer import Bert4RecTrainer

ROOT = Path(__file__).resolve().parents[2]
CURVE = ("step", "epoch", "loss", "eval_ndcg@10", "eval_hit_rate@10")
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
OWN_PLACES = ("--output_dir", "--data_dir", "--logging_dir", "--resume_from_checkpoint")  # of this machine alone


def training_record(
    trainer: Bert4RecTrainer, model: Any, data: Prepared, arguments: tuple[Any, ...], argv: Sequence[str]
) -> dict[str, Any]:
    """The record of a run: data, options, curve, time, hardware, versions, and an example of what the model answers.

    Args:
        model: the trained model, unwrapped.
        arguments: the dataclasses whose fields are options of the run, beside the trainer's own.
        argv: the command line, the script's name left out.
    """
    state = trainer.state
    logged = [entry for entry in state.log_history if "loss" in entry or "eval_ndcg@10" in entry]
    summary: dict[str, Any] = next((entry for entry in reversed(state.log_history) if "train_runtime" in entry), {})
    options = without_places({name: value for part in arguments for name, value in vars(part).items()})
    options |= {name: _plain(getattr(trainer.args, name)) for name in TRAINER_OPTIONS}
    if trainer.args.max_steps > 0:  # then they decide, and the number of epochs means nothing
        options |= {"max_steps": trainer.args.max_steps, "num_train_epochs": None}
    return {
        "dataset": data.name,
        "num_users": len(data.histories),
        "num_items": data.tokenizer.num_items,
        "num_interactions": int(Ragged.from_column(data.histories, "item_ids").lengths.sum()),
        "parameters": model.num_parameters(),
        "example": example(model, data.tokenizer),
        "command": command(argv),
        "hardware": describe_hardware(),
        "environment": environment(),
        "options": options,
        "processes": trainer.args.world_size,
        "seconds": round(summary.get("train_runtime", 0.0), 1),
        "best_step": state.best_global_step,
        "best_validation_ndcg@10": state.best_metric,
        "curve": [{key: entry[key] for key in CURVE if key in entry} for entry in logged],
    }


def example(model: Any, tokenizer: Any, number: int = 3, top_k: int = 3) -> dict[str, Any]:
    """What the model answers to the most watched movies: the card's quick start.

    `history` names them by title where a title names one movie alone, `history_ids` by id; `answer` is the pipeline's.
    """
    places = np.argsort(-np.array(tokenizer.items["count"]), kind="stable")[:number]
    movies = [tokenizer.movie(tokenizer.first_item_id + int(place)) for place in places]
    titles = tokenizer.titles
    pipe = MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task=TASK, device=model.device)
    ids = [movie["movie_id"] for movie in movies]
    return {
        "history": [
            movie["title"] if movie["title"] and titles.count(movie["title"]) == 1 else movie["movie_id"]
            for movie in movies
        ],
        "history_ids": ids,
        "answer": pipe(ids, top_k=min(top_k, tokenizer.num_items)),
    }


def without_places(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a run without folders of this machine, for a record is published: of a table the file's name stays."""
    names = {name: Path(options[name]).name for name in ("ratings", "items") if options.get(name)}
    return {name: value for name, value in {**options, **names}.items() if name != "data_dir"}


def command(argv: Sequence[str]) -> str:
    """The command line that trained, without the places that mean something on one machine only."""
    words, skip = [], False
    for word in argv:
        name = word.split("=")[0]
        if skip or name in OWN_PLACES:
            skip = not skip and "=" not in word
            continue
        words.append(_portable(word))
    return shlex.join(["python", "training/train.py", *words])


def _portable(word: str) -> str:
    """A path within the checkout from its root; of any other existing path the name alone."""
    option, equals, value = word.rpartition("=")
    path = Path(value)
    if not value or not path.exists():
        return word
    path = path.resolve()
    inside = path.is_relative_to(ROOT)
    return f"{option}{equals}{path.relative_to(ROOT).as_posix() if inside else path.name}"


def _plain(value: Any) -> Any:
    """An option as JSON can hold it."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else getattr(value, "value", str(value))
