"""Teach a trained recommender new users and new movies without making it forget the old ones."""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PrinterCallback

from ..data.collators import DataCollatorForMaskedItems
from ..data.encoding import encode_histories
from ..data.histories import build_histories
from ..data.ragged import Ragged, TimedHistories, offsets_of
from ..data.windows import TrainingWindows
from ..model.modeling_bert4rec import Bert4RecForMaskedLM
from ..model.tokenization_bert4rec import Bert4RecTokenizer
from .trainer import Bert4RecTrainer, Bert4RecTrainingArguments

logger = logging.getLogger(__name__)

MASKED: dict[str, Any] = {"mlm_probability": 0.3, "last_item_prob": 0.3}
# Of a causal model every item is asked for at once.
EVERY_ITEM: dict[str, Any] = {"mlm_probability": 1.0, "mask_replace_prob": 0.0}
LEAST_KNOWN = 0.5  # share of the interactions that must be with movies of the catalogue


@dataclass(frozen=True)
class FineTuned:
    """A model and its tokenizer after fine-tuning, and what happened: users, interactions, new movies, loss."""

    model: Bert4RecForMaskedLM
    tokenizer: Bert4RecTokenizer
    report: dict[str, Any]


def fine_tune(
    model: Bert4RecForMaskedLM,
    tokenizer: Bert4RecTokenizer,
    ratings: Dataset,
    movies: Any = None,
    replay: Dataset | None = None,
    *,
    min_rating: float | None = None,
    keep: float = 0.5,
    epochs: float = 8,
    learning_rate: float = 3e-4,
    batch_size: int = 16,
    seed: int = 42,
) -> FineTuned:
    """Train copies of `model` and `tokenizer` on new interactions; what is given stays as it is, whatever happens.

    Args:
        ratings: `user_id`, `movie_id` and, where known, `timestamp` and `rating`, as `read_interactions` and
            `load_movielens` give them. Within a user the order is by time, then by row: rows that go backwards are
            sorted, so give all that is known of a user and not only what is new.
        movies: a table with `movie_id`, `title`, `year` and `genres` that describes movies the catalogue has not;
            those that occur in `ratings` are added, and start from movies like them (`Bert4RecForMaskedLM.add_items`).
        replay: interactions of earlier users, in the same form. As many of their histories as there are new ones are
            drawn and trained on beside them, which keeps the model from forgetting.
        min_rating: interactions rated lower are left out.
        keep: share of the weights before training in the weights that are given back, 0 to 1. Their mean forgets less
            than the trained ones and generalises better (Wortsman et al., CVPR 2022, arXiv:2109.01903).

    Raises:
        ValueError: `keep` is not from 0 to 1; more than half of the interactions are with movies that neither the
            catalogue nor `movies` has (the ids of another data set, as a rule); ids of another type; or nobody with
            two interactions.
    """
    if not 0 <= keep <= 1:
        raise ValueError(f"keep is {keep}; it is a share of the old weights, from 0 to 1")
    model, tokenizer = copy.deepcopy(model), copy.deepcopy(tokenizer)
    histories = build_histories(ratings, min_interactions=1, min_rating=min_rating)
    new_movies = grow_catalogue(model, tokenizer, histories, movies)
    timed = model.config.time_aware
    encoded = encode_histories(histories, tokenizer, timed)
    trained_on = [encoded]
    if replay is not None:
        replayed = build_histories(replay, min_interactions=1, min_rating=min_rating)
        earlier = encode_histories(replayed, tokenizer, timed)
        chosen = np.random.default_rng(seed).permutation(len(earlier))[: len(encoded)]
        trained_on.append(earlier.take(chosen))
    known = [part.where(part.values != tokenizer.unk_token_id) for part in trained_on]
    before = [parameter.detach().clone() for parameter in model.parameters()]
    loss = _train(model, tokenizer, _together(known), epochs, learning_rate, batch_size, seed)
    _blend(model, before, keep)
    _count(tokenizer, known[0])
    report = {
        "users": len(encoded),
        "interactions": len(known[0].values),
        "interactions_with_unknown_movies": len(encoded.values) - len(known[0].values),
        "replayed_users": len(known[1]) if replay is not None else 0,
        "new_movies": new_movies,
        "loss": loss,
    }
    return FineTuned(model, tokenizer, report)


def grow_catalogue(
    model: Bert4RecForMaskedLM, tokenizer: Bert4RecTokenizer, histories: Dataset, movies: Any
) -> list[dict[str, Any]]:
    """Add the movies of the histories that the catalogue lacks and `movies` describes; the report on them."""
    met = Ragged.from_column(histories, "item_ids").values
    table = {} if movies is None else _columns(movies, ("movie_id", "title", "year", "genres"))
    needed = {item for item in np.unique(met).tolist() if item not in tokenizer}
    described = [row for row, item in enumerate(table.get("movie_id", [])) if item in needed]
    missing = needed - {table["movie_id"][row] for row in described} if table else needed
    lost = np.isin(met, np.array(sorted(missing), dtype=met.dtype)).mean() if missing else 0.0
    if lost > 1 - LEAST_KNOWN:
        raise ValueError(
            f"{lost:.0%} of the interactions are with movies that neither the catalogue nor the table of movies has, "
            f"such as {next(iter(sorted(missing)))!r}; the catalogue's ids are like {tokenizer.item_ids[0]!r}. "
            "Fine-tune on the data set the model was trained for, or describe its new movies with movies=..."
        )
    if missing:
        logger.warning("%d movies have no row in the table of movies: left out of the histories", len(missing))
    if not described:
        return []
    tokenizer.add_items({name: [column[row] for row in described] for name, column in table.items()})
    return model.add_items(tokenizer)


def _columns(table: Any, names: Sequence[str]) -> dict[str, list[Any]]:
    known = getattr(table, "column_names", None) or list(table)
    return {name: list(table[name]) for name in names if name in known}


def _together(parts: list[Ragged]) -> Ragged:
    """The rows of all, with times where all of them have some."""
    values = np.concatenate([part.values for part in parts])
    offsets = offsets_of(np.concatenate([part.lengths for part in parts]))
    timed = [part for part in parts if isinstance(part, TimedHistories)]
    if len(timed) < len(parts):
        return Ragged(values, offsets)
    return TimedHistories(values, offsets, np.concatenate([part.times for part in timed]))


def _train(
    model: Bert4RecForMaskedLM,
    tokenizer: Bert4RecTokenizer,
    histories: Ragged,
    epochs: float,
    learning_rate: float,
    batch_size: int,
    seed: int,
) -> float:
    """Masked training as in the recipes, in place; the mean loss."""
    windows = TrainingWindows(histories, model.config.max_position_embeddings)
    masking = EVERY_ITEM if model.config.causal else MASKED
    collator = DataCollatorForMaskedItems(tokenizer, seed=seed, **masking)
    with tempfile.TemporaryDirectory() as folder:
        arguments = Bert4RecTrainingArguments(
            output_dir=folder,
            num_train_epochs=epochs,
            learning_rate=learning_rate,
            per_device_train_batch_size=batch_size,
            warmup_steps=0.1,
            weight_decay=0.0,  # decay would pull rows of movies that do not occur towards nothing
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
            logging_strategy="no",
            report_to="none",
            seed=seed,
        )
        trainer = Bert4RecTrainer(
            model=model, args=arguments, train_dataset=windows, data_collator=collator, processing_class=tokenizer
        )
        trainer.remove_callback(PrinterCallback)
        loss = trainer.train().training_loss
    model.eval()
    return float(loss)


def _blend(model: Bert4RecForMaskedLM, before: list[torch.Tensor], keep: float) -> None:
    """Move the weights back, by this share of the way, to where they were before training."""
    with torch.no_grad():
        for parameter, old in zip(model.parameters(), before, strict=True):
            parameter.lerp_(old.to(parameter.device), keep)


def _count(tokenizer: Bert4RecTokenizer, histories: Ragged) -> None:
    """Add the new interactions to the counts that popularity is measured by."""
    if "count" in tokenizer.items:
        new = np.bincount(histories.values, minlength=len(tokenizer))[tokenizer.first_item_id :]
        tokenizer.items["count"] = (np.array(tokenizer.items["count"]) + new).tolist()


__all__ = ["FineTuned", "fine_tune"]
