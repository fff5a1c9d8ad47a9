"""Fine-tuning of a trained model on new users and movies."""

import copy
import logging
import tempfile
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PrinterCallback

from ..data.collators import DataCollatorForMaskedItems
from ..data.encoding import encode_histories
from ..data.histories import build_histories
from ..data.ragged import Ragged, concatenate
from ..data.transitions import label_counts
from ..data.windows import TrainingWindows
from ..model.items_bert4rec import read_table
from ..model.modeling_bert4rec import Bert4RecForMaskedLM
from ..model.tokenization_bert4rec import Bert4RecTokenizer
from ..model.values_bert4rec import item_token
from .trainer import Bert4RecTrainer, Bert4RecTrainingArguments

logger = logging.getLogger(__name__)

MASKED: dict[str, Any] = {"mlm_probability": 0.3, "last_item_prob": 0.3}
# In a causal model every item is a training target.
EVERY_ITEM: dict[str, Any] = {"mlm_probability": 1.0, "mask_replace_prob": 0.0}
SCHEDULE: dict[str, Any] = {
    "warmup_steps": 0.1,
    "weight_decay": 0.0,  # it would shrink the embeddings of movies that do not occur
    "eval_strategy": "no",
    "save_strategy": "no",
    "logging_strategy": "no",
    "load_best_model_at_end": False,
    "report_to": "none",
}
MIN_KNOWN_SHARE = 0.5  # of the interactions, with movies of the catalogue


@dataclass(frozen=True)
class FineTuned:
    """The fine-tuned model, its tokenizer, and a report: users, interactions, new movies, loss."""

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
    """Train copies of `model` and `tokenizer` on new interactions; the originals are not changed.

    Args:
        ratings: as `read_interactions` and `load_movielens` return them. Include a user's earlier interactions; all are
            added to the counts of the items, which measure popularity, also those that were counted before.
        movies: a table for `Bert4RecTokenizer.add_items`. Movies of `ratings` that are not in the catalogue are added,
            initialised from similar movies (`Bert4RecForMaskedLM.add_items`).
        replay: interactions of earlier users. As many of their histories as there are new ones are drawn and added to
            the training data, so that the model does not forget.
        min_rating: interactions rated lower are left out.
        keep: share of the original weights in the returned ones, 0 to 1. The mean forgets less than the trained
            weights and generalises better (Wortsman et al., CVPR 2022, arXiv:2109.01903).

    Raises:
        ValueError: `keep` is out of range; more than half of the interactions are with movies in neither the catalogue
            nor `movies` (usually the ids of another data set); ids of another type; no user with two interactions; or
            times (if the model reads them), event types or weights in only one of `ratings` and `replay`.
    """
    if not 0 <= keep <= 1:
        raise ValueError(f"keep is {keep}; it is a share of the old weights, from 0 to 1")
    model, tokenizer = copy.deepcopy(model), copy.deepcopy(tokenizer)
    repeats = "first" if model.config.exclude_seen else "all"
    build = partial(build_histories, min_interactions=1, min_rating=min_rating, repeats=repeats)
    histories = build(ratings)
    new_movies = grow_catalogue(model, tokenizer, histories, movies)
    encode = partial(encode_histories, tokenizer=tokenizer, timed=model.config.time_aware)
    users = encode(histories)
    parts = [users]
    if replay is not None:
        earlier = encode(build(replay))
        if users.columns.keys() != earlier.columns.keys():
            raise ValueError("only one of ratings and replay has times, event types or weights: give them to both")
        parts.append(earlier.take(np.random.default_rng(seed).permutation(len(earlier))[: len(users)]))
    known, *replayed = (part.where(part.values != tokenizer.unk_token_id) for part in parts)
    options = {"num_train_epochs": epochs, "learning_rate": learning_rate, "per_device_train_batch_size": batch_size}
    loss = _train(model, tokenizer, concatenate([known, *replayed]), keep, seed=seed, **options)
    if "count" in tokenizer.items:  # the counts measure popularity
        new = label_counts(known, len(tokenizer))[tokenizer.first_item_id :]
        tokenizer.items["count"] = (np.array(tokenizer.items["count"]) + new).tolist()
    report = {
        "users": len(users),
        "interactions": len(known.values),
        "interactions_with_unknown_movies": len(users.values) - len(known.values),
        "replayed_users": sum(map(len, replayed)),
        "new_movies": new_movies,
        "loss": loss,
    }
    return FineTuned(model, tokenizer, report)


def grow_catalogue(
    model: Bert4RecForMaskedLM, tokenizer: Bert4RecTokenizer, histories: Dataset, movies: Any
) -> list[dict[str, Any]]:
    """Add movies of the histories that are in `movies` and not in the catalogue; returns `add_items`' report."""
    items = Ragged.from_column(histories, "item_ids").values
    ids, columns = ([], {}) if movies is None else read_table(movies, tokenizer.item_id_name)
    described = set(map(item_token, ids))
    new = {item_token(item): item for item in np.unique(items).tolist() if item not in tokenizer}
    rows = [row for row, item in enumerate(ids) if item_token(item) in new]
    unknown = sorted(item for token, item in new.items() if token not in described)
    unknown_share = np.isin(items, np.array(unknown, dtype=items.dtype)).mean() if unknown else 0.0
    if unknown_share > 1 - MIN_KNOWN_SHARE:
        raise ValueError(
            f"{unknown_share:.0%} of the interactions are with movies that neither the catalogue nor the table of "
            f"movies has, such as {unknown[0]!r}; the catalogue's ids are like {tokenizer.item_ids[0]!r}. Fine-tune on "
            "the data set the model was trained for, or describe its new movies with movies=..."
        )
    if unknown:
        logger.warning("%d movies have no row in the table of movies: left out of the histories", len(unknown))
    if not rows:
        return []
    table = {"movie_id": ids, **columns}
    tokenizer.add_items({name: [column[row] for row in rows] for name, column in table.items()})
    return model.add_items(tokenizer)


def _train(
    model: Bert4RecForMaskedLM, tokenizer: Bert4RecTokenizer, histories: Ragged, keep: float, **options: Any
) -> float:
    """Train `model` in place on masked histories, then average it with the original; returns the mean loss."""
    originals = [parameter.detach().clone() for parameter in model.parameters()]
    windows = TrainingWindows(histories, model.config.max_position_embeddings)
    masking = EVERY_ITEM if model.config.causal else MASKED
    collator = DataCollatorForMaskedItems(tokenizer, seed=options["seed"], **masking)
    with tempfile.TemporaryDirectory() as folder:
        arguments = Bert4RecTrainingArguments(output_dir=folder, **SCHEDULE, **options)
        trainer = Bert4RecTrainer(
            model=model, args=arguments, train_dataset=windows, data_collator=collator, processing_class=tokenizer
        )
        trainer.remove_callback(PrinterCallback)
        loss = trainer.train().training_loss
    model.eval()
    with torch.no_grad():
        for parameter, original in zip(model.parameters(), originals, strict=True):
            parameter.lerp_(original.to(parameter.device), keep)
    return float(loss)
