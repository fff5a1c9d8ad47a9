"""Hold movies and users back, train without them, and measure what adding them later is worth.

    python -m examples.new_movies training/recipes/ml-100k.yaml --output_dir outputs/new-movies

A twentieth of the movies and a fifth of the users are unknown to training. Then

1. the movies are added with `add_items`, without training. Every time a new user watched one of them is a question:
   what they had watched before is shown, and the movie has to be named among the whole catalogue;
2. the model is fine-tuned on the new users' histories, replaying old ones. The last movie of every old user says what
   was forgotten, that of every new user what was learned.

Writes `new_movies.json`. Recipe and options are those of `training/train.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import set_seed

from hf_bert4rec import Bert4RecForMaskedLM, Bert4RecTokenizer
from hf_bert4rec.cli.console import set_up_console
from hf_bert4rec.data.encoding import encode_histories
from hf_bert4rec.data.histories import build_histories
from hf_bert4rec.data.prepare import Prepared, prepare
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.data.splits import leave_one_out
from hf_bert4rec.evaluation.bootstrap import intervals
from hf_bert4rec.evaluation.metrics import hit_rate, ndcg
from hf_bert4rec.evaluation.ranking import rank_targets
from hf_bert4rec.evaluation.scoring import ModelScorer
from hf_bert4rec.files import write_json
from hf_bert4rec.training.arguments import parse
from hf_bert4rec.training.fine_tuning import fine_tune
from hf_bert4rec.training.fit import build_trainer

NEW_MOVIES, NEW_USERS = 0.05, 0.2
K = 10


@dataclass(frozen=True)
class HeldBack:
    """A data set without some movies and users (`old`), and what was held back of it.

    `movies` are the new movies' rows, `histories` the new users' histories with all movies, one row a user.
    """

    old: Prepared
    movies: Dataset
    histories: Dataset


def main(argv: Sequence[str] | None = None) -> None:
    set_up_console()
    data_arguments, model_arguments, masking, arguments = parse(argv)
    folder = Path(arguments.output_dir)
    arguments.output_dir = str(folder.parent / "checkpoints" / folder.name)
    set_seed(arguments.seed)
    held = hold_back(prepare(data_arguments), arguments.seed)
    trainer = build_trainer(held.old, model_arguments, masking, arguments)
    trainer.train()
    report = measure(trainer.accelerator.unwrap_model(trainer.model).float().cpu().eval(), held, arguments.seed)
    write_json(folder / "new_movies.json", report)
    for line in told(report):
        print(line)


def hold_back(data: Prepared, seed: int) -> HeldBack:
    """Draw the new movies and users; everything else becomes a data set of its own."""
    generator = np.random.default_rng(seed)
    catalogue, users = np.array(data.movies["movie_id"]), np.array(data.histories["user_id"])
    new_movies = generator.choice(catalogue, round(NEW_MOVIES * len(catalogue)), replace=False)
    new_users = generator.choice(users, round(NEW_USERS * len(users)), replace=False)
    ratings = data.ratings.select(np.flatnonzero(np.isin(data.ratings["movie_id"], catalogue)))
    is_new_user, is_new_movie = np.isin(ratings["user_id"], new_users), np.isin(ratings["movie_id"], new_movies)
    old_ratings = ratings.select(np.flatnonzero(~is_new_user & ~is_new_movie))
    histories = build_histories(old_ratings, min_interactions=1)
    splits = leave_one_out(histories)
    met, counts = np.unique(Ragged.from_column(splits["train"], "item_ids").values, return_counts=True)
    movies = data.movies.select(np.flatnonzero(~np.isin(catalogue, new_movies)))
    tokenizer = Bert4RecTokenizer.from_movies(movies, dict(zip(met.tolist(), counts.tolist(), strict=True)))
    return HeldBack(
        old=Prepared(data.name, movies, old_ratings, histories, splits, tokenizer),
        movies=data.movies.select(np.flatnonzero(np.isin(catalogue, new_movies))),
        histories=build_histories(ratings.select(np.flatnonzero(is_new_user)), min_interactions=1),
    )


def measure(model: Bert4RecForMaskedLM, held: HeldBack, seed: int) -> dict[str, Any]:
    """What new movies reach without training, and what fine-tuning on new users changes."""
    tokenizer, old = copy.deepcopy(held.old.tokenizer), held.old
    grown = copy.deepcopy(model)
    tokenizer.add_items(held.movies)
    grown.add_items(tokenizer)
    new_users = leave_one_out(held.histories)
    tuned = fine_tune(
        model, old.tokenizer, flat(new_users["train"]), movies=held.movies, replay=flat(old.splits["train"]), seed=seed
    )
    after = (tuned.model, tuned.tokenizer)
    return {
        "dataset": old.name,
        "movies": {"old": old.tokenizer.num_items, "new": len(held.movies)},
        "users": {"old": len(old.histories), "new": len(held.histories)},
        f"new_movies_hit_rate@{K}": new_movie_hits(grown, tokenizer, held.histories, old.tokenizer.num_items),
        f"ndcg@{K}": {
            "old_users_movies_added": compare((model, old.tokenizer), (grown, tokenizer), old.splits["test"]),
            "old_users_fine_tuned": compare((model, old.tokenizer), after, old.splits["test"]),
            "new_users_fine_tuned": compare((grown, tokenizer), after, new_users["test"]),
        },
    }


def new_movie_hits(
    model: Bert4RecForMaskedLM, tokenizer: Bert4RecTokenizer, histories: Dataset, num_old: int
) -> dict[str, Any]:
    """HitRate@10 of new movies at the places where they stand in histories, and how many times random's it is.

    The interval is over users: a user's questions are taken together.
    """
    encoded = encode_histories(histories, tokenizer, model.config.time_aware)
    starts = encoded.offsets[encoded.row_ids]
    places = np.flatnonzero((encoded.values >= tokenizer.first_item_id + num_old) & (np.arange(len(starts)) > starts))
    whole = encoded.take(encoded.row_ids[places])  # of every question the user's history, of which the head is shown
    within = np.arange(len(whole.values)) - np.repeat(whole.offsets[:-1], whole.lengths)
    shown = whole.where(within < np.repeat(places - starts[places], whole.lengths))
    targets = Ragged(encoded.values[places], np.arange(len(places) + 1))
    hits = hit_rate(ranks_of(model, tokenizer, shown, targets), K)
    by_chance = K / (tokenizer.num_items - shown.lengths)  # a random order of what has not been seen
    users = encoded.row_ids[places]
    each = [users == user for user in np.unique(users)]
    rate = np.array([hits[of_user].mean() for of_user in each])
    random = np.array([by_chance[of_user].mean() for of_user in each])
    found = intervals({"model": rate, "random": random, "times_random": rate / random.mean()})
    return {"questions": len(places), "users": len(each), **{name: list(value) for name, value in found.items()}}


def compare(before: tuple[Any, Any], after: tuple[Any, Any], rows: Dataset) -> dict[str, Any]:
    """NDCG@10 of the rows' targets before and after, each in its whole catalogue, and the change in per cent."""
    found = {}
    for name, (model, tokenizer) in (("before", before), ("after", after)):
        histories = encode_histories(rows, tokenizer, model.config.time_aware)
        targets = np.array(tokenizer.encode_items(rows["target"]))
        found[name] = ndcg(ranks_of(model, tokenizer, histories, Ragged(targets, np.arange(len(targets) + 1))), K)
    change = 100 * (found["after"] - found["before"]) / found["before"].mean()
    means = intervals({**found, "change_in_per_cent": change})
    return {"users": len(rows), **{name: list(value) for name, value in means.items()}}


def ranks_of(model: Bert4RecForMaskedLM, tokenizer: Bert4RecTokenizer, histories: Ragged, targets: Ragged) -> Ragged:
    """The targets' ranks among the whole catalogue, what was shown left out."""
    return rank_targets(
        ModelScorer(model, tokenizer),
        histories,
        targets,
        vocab_size=len(tokenizer),
        special_ids=tokenizer.all_special_ids,
    ).ranks


def flat(histories: Dataset) -> Dataset:
    """Histories as interactions again, one a row, in order."""
    items = Ragged.from_column(histories, "item_ids")
    users = np.array(histories["user_id"])[items.row_ids]
    columns = {"user_id": users.tolist(), "movie_id": items.values.tolist()}
    if "timestamps" in histories.column_names:
        columns["timestamp"] = Ragged.from_column(histories, "timestamps").values.tolist()
    return Dataset.from_dict(columns)


def told(report: dict[str, Any]) -> list[str]:
    """The report in a few lines; every mean with its 95 % interval over users."""
    new = report[f"new_movies_hit_rate@{K}"]
    lines = [
        "{dataset}: {movies[new]} of {0} movies and {users[new]} of {1} users held back".format(
            sum(report["movies"].values()), sum(report["users"].values()), **report
        ),
        f"new movies, added without training: HitRate@{K} {_interval(new['model'])}, "
        f"{_interval(new['times_random'], 1)} times random's ({new['questions']} questions to {new['users']} users)",
    ]
    for name, found in report[f"ndcg@{K}"].items():
        lines.append(
            f"{name.replace('_', ' ')}: NDCG@{K} {found['before'][0]:.4f} before, {found['after'][0]:.4f} after, "
            f"{_interval(found['change_in_per_cent'], 1)} %"
        )
    return lines


def _interval(found: Sequence[float], digits: int = 3) -> str:
    mean, low, high = (f"{value:.{digits}f}" for value in found)
    return f"{mean} [{low}, {high}]"


if __name__ == "__main__":
    main()
