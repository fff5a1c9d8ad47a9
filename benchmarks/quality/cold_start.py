"""Quality of `add_items` for new movies, and of `fine_tune` for new users.

    python -m benchmarks.quality.cold_start training/recipes/ml-100k.yaml --seed 42 --output_dir outputs/cold-start

Training excludes 5 % of the movies and 20 % of the users. Then

1. the new movies are added with `add_items`, without training. Each interaction of a new user with a new movie is a
   test case: the earlier history is the input, and the movie is ranked over the full catalogue. The last movies of
   old users measure what they lose; both are measured for several biases of the new movies. The same is measured for
   the model of taste, with a few random likes of a new user as the history and the other likes as targets;
2. the model is fine-tuned on the new users' histories with replay of the old ones. The last movies of old users measure
   forgetting, those of new users measure learning.

Writes `training/results/cold_start/`, one JSON file per data set and seed, and the figures of docs/usage.md. Recipe and
options are those of `training/train.py`; the seed is that of the split and of the training.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from transformers import set_seed

from benchmarks.markdown import read_json_files, replace_between_marks
from benchmarks.measure import ROOT
from hf_bert4rec import Bert4RecForMaskedLM, Bert4RecTokenizer
from hf_bert4rec.cli.main import set_up_console
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.encoding import encode_histories, encode_targets
from hf_bert4rec.data.histories import build_histories
from hf_bert4rec.data.prepare import load, prepare_histories, prepare_tables
from hf_bert4rec.data.prepared import PreparedData
from hf_bert4rec.data.ragged import FloatArray, Ragged
from hf_bert4rec.data.splits import leave_one_out
from hf_bert4rec.data.tables import to_dataset, to_frame
from hf_bert4rec.environment import environment
from hf_bert4rec.evaluation.bootstrap import intervals
from hf_bert4rec.evaluation.metrics import hit_rate, ndcg, recall
from hf_bert4rec.evaluation.new_users import LENGTHS
from hf_bert4rec.evaluation.ranking import Scorer, rank_targets
from hf_bert4rec.evaluation.scoring import ModelScorer, TasteScorer
from hf_bert4rec.files import write_json
from hf_bert4rec.model.cold_start_bert4rec import COLD_START_BIAS
from hf_bert4rec.training.arguments import parse
from hf_bert4rec.training.build import build_trainer
from hf_bert4rec.training.fine_tuning import fine_tune

RESULTS, PAGE = ROOT / "training" / "results" / "cold_start", ROOT / "docs" / "usage.md"
MARKS = ("<!-- cold start: written by benchmarks/quality/cold_start.py -->", "<!-- end of cold start -->")
NEW_MOVIES, NEW_USERS = 0.05, 0.2
BIASES = (0.0, 0.5, 1.0, 1.3, 2.0)  # subtracted from the logits of new movies, instead of `COLD_START_BIAS`
K = 10
COLUMNS = {"item_ids": "movie_id", "timestamps": "timestamp"}  # of histories, and of interactions


@dataclass(frozen=True)
class ColdStartSplit:
    """`old`, a data set without the new movies and users; `movies`, the new movies; `histories` of the new users.

    `liked`: whether each interaction of these histories is a like, (total,).
    """

    old: PreparedData
    movies: Dataset
    histories: Dataset
    liked: npt.NDArray[np.bool_]


def main(argv: Sequence[str] | None = None) -> None:
    set_up_console()
    data_arguments, model_arguments, masking, arguments = parse(argv)
    folder = Path(arguments.output_dir)
    arguments.output_dir = str(folder.parent / "checkpoints" / folder.name)
    set_seed(arguments.seed)
    tables = load(data_arguments)
    split = cold_start_split(prepare_tables(tables, data_arguments), tables["ratings"], arguments.seed)
    trainer = build_trainer(split.old, model_arguments, masking, arguments)
    trainer.train()
    report = measure(trainer.accelerator.unwrap_model(trainer.model).float().cpu().eval(), split, arguments.seed)
    name = f"{report['dataset'].removesuffix('.txt')}-seed{arguments.seed}.json"
    write_json(RESULTS / name, {**report, "environment": environment()})
    replace_between_marks(PAGE, MARKS, results_text())
    print("\n".join(format_report(report)))


def cold_start_split(data: PreparedData, ratings: Dataset, seed: int) -> ColdStartSplit:
    """Sample the new movies and users, and prepare the rest of the ratings as a data set."""
    generator = np.random.default_rng(seed)
    catalogue, users = np.array(data.movies["movie_id"]), np.array(data.histories["user_id"])
    new_movies = generator.choice(catalogue, round(NEW_MOVIES * len(catalogue)), replace=False)
    new_users = generator.choice(users, round(NEW_USERS * len(users)), replace=False)
    ratings = ratings.select(np.flatnonzero(np.isin(ratings["movie_id"], catalogue)))
    is_new_user, is_new_movie = np.isin(ratings["user_id"], new_users), np.isin(ratings["movie_id"], new_movies)
    old_ratings = ratings.select(np.flatnonzero(~is_new_user & ~is_new_movie))
    histories = build_histories(old_ratings, min_interactions=1, with_ratings=True)
    movies = data.movies.select(np.flatnonzero(~np.isin(catalogue, new_movies)))
    new_histories = build_histories(ratings.select(np.flatnonzero(is_new_user)), min_interactions=1, with_ratings=True)
    liked = np.ones(len(Ragged.from_column(new_histories, "item_ids").values), dtype=bool)
    if data.rated:
        liked = Ragged.from_column(new_histories, "ratings").values >= data.liked_rating
    return ColdStartSplit(
        old=prepare_histories(histories, movies, DataArguments(dataset=data.name)),
        movies=data.movies.select(np.flatnonzero(np.isin(catalogue, new_movies))),
        histories=new_histories,
        liked=liked,
    )


def measure(model: Bert4RecForMaskedLM, split: ColdStartSplit, seed: int) -> dict[str, Any]:
    """Metrics of new movies without training, and the changes by fine-tuning on new users."""
    tokenizer, old = copy.deepcopy(split.old.tokenizer), split.old
    extended = copy.deepcopy(model)
    tokenizer.add_items(split.movies)
    extended.add_items(tokenizer)
    new_users = leave_one_out(split.histories)
    tuned = fine_tune(
        model,
        old.tokenizer,
        to_interactions(new_users["train"]),
        movies=split.movies,
        replay=to_interactions(old.split_tables["train"]),
        seed=seed,
    )
    before, added, after = (model, old.tokenizer), (extended, tokenizer), (tuned.model, tuned.tokenizer)
    return {
        "dataset": old.name,
        "movies": {"old": old.tokenizer.num_items, "new": len(split.movies)},
        "users": {"old": len(old.histories), "new": len(split.histories)},
        f"new_movies_hit_rate@{K}": new_movie_hit_rate(*added, split.histories, old.tokenizer.num_items),
        f"ndcg@{K}": {
            "old_users_movies_added": compare(before, added, old.split_tables["test"]),
            "old_users_fine_tuned": compare(before, after, old.split_tables["test"]),
            "new_users_fine_tuned": compare(added, after, new_users["test"]),
        },
        "biases": trade_off(before, added, split),
        "taste": [] if model.taste is None else new_movies_by_taste(before, added, split, seed),
    }


def trade_off(before: tuple[Any, Any], added: tuple[Any, Any], split: ColdStartSplit) -> list[dict[str, Any]]:
    """For each of `BIASES`, the hit rate of new movies relative to a random order, and the change for old users."""
    (_, old_tokenizer), (model, tokenizer) = before, added
    points = []
    for bias in BIASES:
        moved = copy.deepcopy(model)
        with torch.no_grad():
            moved.decoder.bias[len(old_tokenizer) :] += COLD_START_BIAS - bias
        hits = new_movie_hit_rate(moved, tokenizer, split.histories, old_tokenizer.num_items)
        change = compare(before, (moved, tokenizer), split.old.split_tables["test"])
        points.append({"bias": bias, "lift": hits["lift"], "change_percent": change["change_percent"]})
    return points


def new_movies_by_taste(
    before: tuple[Any, Any], added: tuple[Any, Any], split: ColdStartSplit, seed: int
) -> list[dict[str, Any]]:
    """For histories of a few random likes of old movies, as in `evaluation.new_users`, with one draw per user.

    The recall of liked new movies relative to a random order, and the change for the other liked old movies.
    """
    (_, old_tokenizer), (model, tokenizer) = before, added
    likes = encode_histories(split.histories, tokenizer).where(split.liked)
    generator = np.random.default_rng(seed)
    is_old = [row < len(old_tokenizer) for row in likes]
    users = [
        (generator.permutation(row[old]).tolist(), row[~old].tolist())
        for row, old in zip(likes, is_old, strict=True)
        if old.sum() > max(LENGTHS)
    ]
    points = []
    for length in LENGTHS:
        histories = Ragged.from_lists([old[:length] for old, _ in users])
        others = Ragged.from_lists([old[length:] for old, _ in users])
        values = [
            ndcg(target_ranks(TasteScorer(each.taste), its_tokenizer, histories, others), K)
            for each, its_tokenizer in (before, added)
        ]
        histories = Ragged.from_lists([old[:length] for old, new in users if len(new)])
        liked = Ragged.from_lists([new for _, new in users if len(new)])
        shares = recall(target_ranks(TasteScorer(model.taste), tokenizer, histories, liked), K)
        lift = intervals({"lift": shares * (tokenizer.num_items - length) / K})["lift"]
        change = _changes(*values)["change_percent"]
        points.append({"length": length, "users": len(users), "lift": [*lift.values()], "change_percent": change})
    return points


def new_movie_hit_rate(
    model: Bert4RecForMaskedLM, tokenizer: Bert4RecTokenizer, histories: Dataset, num_old: int
) -> dict[str, Any]:
    """HitRate@10 of new movies at their positions in the histories, absolute and relative to a random order.

    Test cases are averaged per user; intervals are over users.
    """
    encoded = encode_histories(histories, tokenizer, model.config.time_aware)
    starts = encoded.offsets[encoded.row_ids]
    positions = np.flatnonzero(
        (encoded.values >= tokenizer.first_item_id + num_old) & (np.arange(len(starts)) > starts)
    )
    full = encoded.take(encoded.row_ids[positions])  # the full history of every test case
    index = np.arange(len(full.values)) - np.repeat(full.offsets[:-1], full.lengths)
    before = full.where(index < np.repeat(positions - starts[positions], full.lengths))
    targets = Ragged(encoded.values[positions], np.arange(len(positions) + 1))
    hits = hit_rate(target_ranks(ModelScorer(model, tokenizer), tokenizer, before, targets), K)
    random_hits = K / (tokenizer.num_items - before.lengths)  # expected for a random order of unseen items
    users = encoded.row_ids[positions]
    masks = [users == user for user in np.unique(users)]
    rate = np.array([hits[mask].mean() for mask in masks])
    random = np.array([random_hits[mask].mean() for mask in masks])
    values = intervals({"model": rate, "random": random, "lift": rate / random.mean()})
    return {
        "cases": len(positions),
        "users": len(masks),
        **{name: [*interval.values()] for name, interval in values.items()},
    }


def compare(before: tuple[Any, Any], after: tuple[Any, Any], rows: Dataset) -> dict[str, Any]:
    """NDCG@10 of the targets before and after, each over its full catalogue, and the change in percent."""
    metrics = []
    for model, tokenizer in (before, after):
        histories = encode_histories(rows, tokenizer, model.config.time_aware)
        targets = encode_targets(rows, tokenizer)
        metrics.append(ndcg(target_ranks(ModelScorer(model, tokenizer), tokenizer, histories, targets), K))
    return {"users": len(rows), **_changes(*metrics)}


def _changes(before: FloatArray, after: FloatArray) -> dict[str, list[float]]:
    """Intervals of a metric before and after, and of the change in percent of the mean before."""
    change = 100 * (after - before) / before.mean()
    means = intervals({"before": before, "after": after, "change_percent": change})
    return {name: [*interval.values()] for name, interval in means.items()}


def target_ranks(scorer: Scorer, tokenizer: Bert4RecTokenizer, histories: Ragged, targets: Ragged) -> Ragged:
    """Ranks of the targets over the full catalogue, histories excluded."""
    return rank_targets(
        scorer, histories, targets, vocab_size=len(tokenizer), special_ids=tokenizer.all_special_ids
    ).ranks


def to_interactions(histories: Dataset) -> Dataset:
    """Histories as a table with one interaction per row, in order."""
    lists = {ours: name for ours, name in COLUMNS.items() if ours in histories.column_names}
    return to_dataset(to_frame(histories, ["user_id", *lists]).explode(*lists).rename(lists))


def results_text() -> str:
    """For every data set a block of Markdown: the report on the first split, and a few figures of all."""
    blocks = []
    for _, splits in groupby(read_json_files(RESULTS), lambda report: report["dataset"]):
        first, *others = splits
        blocks.append("\n".join(["```", *format_report(first), *format_splits([first, *others]), "```"]))
    return "\n\n".join(blocks)


def format_splits(reports: Sequence[dict[str, Any]]) -> list[str]:
    """What new movies reach and old users lose on each of several splits, with the means."""
    figures = {
        "new movies, times random order": [report[f"new_movies_hit_rate@{K}"]["lift"][0] for report in reports],
        "old users, %": [report[f"ndcg@{K}"]["old_users_movies_added"]["change_percent"][0] for report in reports],
    }
    for index, length in enumerate(LENGTHS):
        points = [report["taste"][index] for report in reports]
        figures[f"taste, history of {length}, new movies, times random order"] = [point["lift"][0] for point in points]
        figures[f"taste, history of {length}, old movies, %"] = [point["change_percent"][0] for point in points]
    lines = [f"splits: {len(reports)}"]
    for name, values in figures.items():
        lines.append(f"  {name}: {', '.join(f'{value:.1f}' for value in values)}; mean {np.mean(values):.1f}")
    return lines


def format_report(report: dict[str, Any]) -> list[str]:
    """The report in a few lines: means with 95 % intervals over users."""
    new = report[f"new_movies_hit_rate@{K}"]
    lines = [
        "{dataset}: {movies[new]} of {0} movies and {users[new]} of {1} users are new".format(
            sum(report["movies"].values()), sum(report["users"].values()), **report
        ),
        f"new movies after add_items: HitRate@{K} {_interval(new['model'])}, "
        f"{_interval(new['lift'], 1)} times random order ({new['cases']} cases of {new['users']} users)",
    ]
    for name, change in report[f"ndcg@{K}"].items():
        lines.append(
            f"{name.replace('_', ' ')}: NDCG@{K} {change['before'][0]:.4f} before, {change['after'][0]:.4f} after, "
            f"{_interval(change['change_percent'], 1)} %"
        )
    points = [(f"bias {point['bias']}", point) for point in report["biases"]]
    points += [(f"taste, history of {point['length']}", point) for point in report["taste"]]
    for name, point in points:
        lines.append(
            f"{name}: new movies {_interval(point['lift'], 1)} times random order, old ones "
            f"{_interval(point['change_percent'], 1)} %"
        )
    return lines


def _interval(values: Sequence[float], digits: int = 3) -> str:
    mean, low, high = (f"{value:.{digits}f}" for value in values)
    return f"{mean} [{low}, {high}]"


if __name__ == "__main__":
    main()
