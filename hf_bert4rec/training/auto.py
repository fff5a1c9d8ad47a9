"""Options chosen from the data: those that a recipe lists under `auto`.

Every rule is a smooth function of one or two properties of the data, so that similar data get similar options. With
`scale` = log10(training interactions / 100,000), sizes and schedule interpolate between the tuned recipes for MovieLens
100K (scale 0) and 1M (scale 1). The others were chosen on `benchmarks/quality/synthetic_data.py`.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from ..data.arguments import DataArguments
from ..data.folder.prepared_folder import is_prepared, read_manifest
from ..data.prepare import load, prepare, prepare_tables
from ..data.prepared import PreparedData
from ..data.ragged import Rows, codes_with_events, repeated_rows
from ..data.sorting import codes_of
from ..data.tables import to_frame
from ..data.windows import TrainingWindows
from .arguments import Arguments

REPEATS_SHARE = 0.1  # from this share of interactions on with an item of the user's history, repeats count
CORE = 5  # interactions that a user and an item need, where users have that many
DAY = 86_400  # seconds; times that span less are the numbers of steps
MAX_WINDOW = 100
MAX_DENSE_ITEMS = 100_000  # of a larger catalogue, the softmax is sampled


class Choice:
    """Options and the property of the data that they follow from."""

    def __init__(self, reason: str, **options: Any) -> None:
        self.reason, self.options = reason, options


def prepare_and_choose(
    arguments: Arguments, interactions: Any = None, items: Any = None
) -> tuple[PreparedData, list[str]]:
    """`prepare`, and the options that `auto` lists set in `arguments`; returns a sentence for each choice too."""
    options, _, masking, training = arguments
    if not masking.auto:
        return prepare(options, interactions, items), []
    if interactions is None and options.ratings is not None and is_prepared(options.ratings):
        manifest = read_manifest(Path(options.ratings))["options"]
        fixed = {name: manifest[name] for name in ("repeats", "min_interactions")}
        sentences = apply_choices([Choice("as the folder was prepared", **fixed)], masking.auto, arguments)
        data = prepare(options)
    else:
        tables = load(options, interactions, items)
        sentences = apply_choices(choose_data_options(tables["ratings"], options), masking.auto, arguments)
        data = prepare_tables(tables, options)
    parts = training.world_size * training.gradient_accumulation_steps
    sentences += apply_choices(choose_training_options(data, parts), masking.auto, arguments)
    return data, sentences


def choose_data_options(ratings: Dataset, data: DataArguments) -> list[Choice]:
    """Which interactions count, from a table of `user_id`, `movie_id` and, if known, `event`."""
    names = [name for name in ("user_id", "movie_id", "event") if name in ratings.column_names]
    codes = {name: codes_of(column) for name, column in zip(names, to_frame(ratings, names), strict=True)}
    users, items = codes["user_id"], codes_with_events(codes["movie_id"], codes.get("event"))
    repeated = len(repeated_rows(users, items)) / max(len(users), 1)
    repeats = "all" if repeated >= REPEATS_SHARE and data.split != "last-n" else "first"
    counts = np.bincount(users)
    long = counts[counts >= CORE].sum() / max(len(users), 1)
    return [
        Choice(f"{repeated:.1%} of the interactions are with an item of the user's history", repeats=repeats),
        Choice(
            f"users with {CORE} or more interactions have {long:.0%} of them",
            min_interactions=CORE if long >= 0.5 else 2,
        ),
    ]


def choose_training_options(data: PreparedData, parts: int = 1) -> list[Choice]:
    """Sizes of model, schedule and batches, which several processes or accumulated gradients divide into `parts`."""
    train, items = data.train, data.tokenizer.num_items
    interactions = int(train.lengths.sum())
    scale = math.log10(max(interactions, 1) / 100_000)
    hidden = int(np.clip(round(128 * 1.5**scale / 64), 1, 4)) * 64
    learning_rate = _two_digits(float(np.clip(1e-3 * 2**scale, 1e-3, 2e-3)))
    decay = round(float(np.clip(1 - 0.01 * 0.1**scale, 0.99, 0.999)), 4)
    return [
        Choice(f"for {interactions:,} training interactions", hidden_size=hidden, intermediate_size=4 * hidden),
        _regularization(train, scale, data.exclude_seen),
        *_window(train, scale, parts),
        Choice("larger with more training interactions", learning_rate=learning_rate, ema_decay=decay),
        *_extensions(data.timed_train, items, interactions),
    ]


def _regularization(train: Rows, scale: float, distinct: bool) -> Choice:
    """Dropout and weight decay. Repeats of recent items are a pattern that any model may learn."""
    reason, repeated = "the fewer training interactions, the more regularization", 0.0
    if not distinct:
        rows = sum(len(repeated_rows(block.row_ids, block.values)) for block in train.blocks())
        repeated = rows / train.lengths.sum()
        reason += f"; {repeated:.0%} of them are repeats, which need less"
    dropout = float(np.clip(0.6 - 0.3 * scale, 0.1, 0.6)) * (1 - repeated)
    decay = _two_digits(float(np.clip(10 ** (-1 - scale), 0.01, 0.1)))
    return Choice(reason, hidden_dropout_prob=round(max(dropout, 0.1), 2), weight_decay=decay)


def _window(train: Rows, scale: float, parts: int) -> list[Choice]:
    """The window, and the batch and the number of epochs that follow from the number of windows."""
    lengths = train.lengths[train.lengths > 1]
    length = int(np.quantile(lengths, 0.95)) if len(lengths) else 2
    window = int(np.clip(-(-(length + 1) // 8) * 8, 16, MAX_WINDOW))
    stride = window // 2
    rows = TrainingWindows(train, window, stride)
    tokens = 1200 * 5**scale  # of a batch
    batch = 2 ** int(np.clip(round(math.log2(tokens / rows.lengths.mean())), 4, 9))
    steps = 2800 * 2 ** max(scale, 0.0)
    epochs = int(np.clip(round(steps / math.ceil(len(rows) / batch)), 8, 100))
    return [
        Choice(
            f"95 % of the training histories have {length} items or fewer",
            max_position_embeddings=window,
            window_stride=stride,
        ),
        Choice(
            f"{len(rows):,} training windows with {rows.lengths.mean():.0f} items on average",
            per_device_train_batch_size=max(batch // parts, 1),
            num_train_epochs=epochs,
        ),
    ]


def _extensions(train: Rows, items: int, interactions: int) -> list[Choice]:
    """Times, memory, taste and the sampled softmax."""
    times = [times for block in train.blocks() if len(times := block.columns.get("timestamps", ()))]
    span = int(max(map(np.max, times)) - min(map(np.min, times))) if times else 0
    timed = span >= DAY
    reason = f"times span {span / DAY:,.0f} days" if timed else "there are no times that span a day"
    stored = "when" if timed else "only that"
    choices = [
        Choice(reason, time_aware=timed),
        Choice(f"the memory stores {stored} items followed each other", memory_size=400 if timed else 200),
        Choice(f"for {interactions:,} training interactions", taste_size=128 if interactions <= 500_000 else 64),
    ]
    if items > MAX_DENSE_ITEMS:
        choices.append(Choice(f"{items:,} items are too many for a complete softmax", sampled_negatives=8192))
    return choices


def _two_digits(value: float) -> float:
    """The value with two significant digits."""
    return float(f"{value:.2g}")


def apply_choices(choices: Sequence[Choice], auto: Sequence[str], arguments: Sequence[Any]) -> list[str]:
    """Set the options that `auto` lists in the dataclasses that have them; returns a sentence for each choice."""
    sentences = []
    for choice in choices:
        options = {name: value for name, value in choice.options.items() if name in auto}
        for name, value in options.items():
            for part in arguments:
                if hasattr(part, name):
                    setattr(part, name, value)
        if options:
            settings = ", ".join(f"{name} {value}" for name, value in options.items())
            sentences.append(f"{settings}: {choice.reason}")
    return sentences
