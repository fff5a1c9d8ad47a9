"""A small exported model with records, evaluation, plots and card, made from synthetic data."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np

from hf_bert4rec import Bert4RecForMaskedLM
from hf_bert4rec.data import releases
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.data.prepared import PreparedData
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.environment import environment
from hf_bert4rec.evaluation.evaluate import evaluate_model
from hf_bert4rec.evaluation.plots import CURVE_FILE, draw_curve, write_plots
from hf_bert4rec.files import write_json
from hf_bert4rec.hub.card import update_card
from hf_bert4rec.hub.export import write_folder
from hf_bert4rec.training.record import example_answer
from tests.data.movielens_archives import small_release, write_release
from tests.model.tiny import build, tiny_config

GENRES = ("Drama", "Comedy|War", "Western", "Drama|Romance")
TITLES = ("Toy Story (1995)", "Godfather, The (1972)", "Amélie (2001)", "Heat (1995)", "Casablanca (1942)")
MOVIES, USERS = 40, 60
RECIPE = {
    **{"learning_rate": 1e-3, "num_train_epochs": 3.0, "per_device_train_batch_size": 32},
    **{"mlm_probability": 0.2, "seed": 42, "bf16": False},
}


def ratings() -> list[tuple[int, int, float, int]]:
    """Users who walk through forty movies in random order: user, movie, rating and time."""
    generator = np.random.default_rng(0)
    walks = [generator.permutation(MOVIES)[: 12 + user % 9].tolist() for user in range(USERS)]
    return [
        (user, 100 + movie, 4, 1000 + 10 * step + user % 3)
        for user, walk in enumerate(walks)
        for step, movie in enumerate(walk)
    ]


def movies() -> list[tuple[int, str, list[str]]]:
    """Id, title and genres of the movies."""
    titles = [*TITLES, *(f"Movie {movie} ({1950 + movie})" for movie in range(len(TITLES), MOVIES))]
    return [(100 + movie, title, GENRES[movie % 4].split("|")) for movie, title in enumerate(titles)]


def install_release(folder: Path) -> None:
    """Make this process read these ratings and movies as ml-latest-small, from `folder`."""
    releases.RELEASES["ml-latest-small"] = small_release("ml-latest-small", ratings(), movies())
    write_release(folder, "ml-latest-small", ratings(), movies())
    os.environ["HF_BERT4REC_DATA"] = str(folder)


def write_tables(folder: Path) -> DataArguments:
    """Write the ratings and the movies as CSV."""
    lines = ["user_id,movie_id,rating,timestamp", *(",".join(map(str, row)) for row in ratings())]
    rows = [f'{movie},"{title}",{"|".join(genres)}' for movie, title, genres in movies()]
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "movies.csv").write_text("\n".join(["movie_id,title,genres", *rows]) + "\n", encoding="utf-8")
    return DataArguments(ratings=str(folder / "ratings.csv"), items=str(folder / "movies.csv"), min_interactions=3)


def make_model(data: PreparedData, seed: int = 0) -> Bert4RecForMaskedLM:
    """A model with random weights whose scores differ enough for rankings to be compared."""
    return build(tiny_config(len(data.tokenizer)), seed=seed)


def make_folder(folder: Path, dataset: str = "ml-latest-small", seed: int = 0) -> Path:
    """Export and evaluate a model; its records name `dataset`, a release or a custom table, as its training data."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    options = write_tables(folder.parent)
    data = prepare(options)
    model = make_model(data, seed)
    record = make_record(data, model, options, dataset)
    write_folder(model, data.tokenizer, folder, "# A card", {"training.json": record, CURVE_FILE: draw_curve(record)})
    report = evaluate_model(folder, options)
    report["protocol"]["dataset"] = dataset
    if dataset.startswith("ml-"):  # as if a release had been read in place of a table
        record["options"] |= {"dataset": dataset, "ratings": None, "items": None}
        write_json(folder / "training.json", record)
    write_json(folder / "evaluation.json", report)
    write_plots(report, folder / "plots")
    update_card(folder)
    return folder


def make_record(data: PreparedData, model: Bert4RecForMaskedLM, options: DataArguments, dataset: str) -> dict:
    """The record that training writes; nothing was trained, so curve and times are invented."""
    return {
        "dataset": dataset,
        "num_users": len(data.histories),
        "num_items": data.tokenizer.num_items,
        "num_interactions": int(Ragged.from_column(data.histories, "item_ids").lengths.sum()),
        "parameters": model.num_parameters(),
        "example": example_answer(model, data.tokenizer),
        "command": "python training/train.py training/recipes/ml-latest-small.yaml",
        "hardware": "2 cores",
        "environment": environment(),
        "options": {**asdict(options), **_sizes(model), **RECIPE},
        "processes": 1,
        "seconds": 61.2,
        "best_step": 20,
        "best_validation_ndcg@10": 0.2345,
        "curve": [
            {"step": 10, "epoch": 1.0, "loss": 3.1},
            {"step": 10, "epoch": 1.0, "eval_ndcg@10": 0.1234},
            {"step": 20, "epoch": 2.0, "loss": 2.9},
            {"step": 20, "epoch": 2.0, "eval_ndcg@10": 0.2345},
        ],
    }


def _sizes(model: Bert4RecForMaskedLM) -> dict[str, object]:
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act")
    names += ("max_position_embeddings", "pre_layer_norm", "rotary_positions")
    return {name: getattr(model.config, name) for name in names}


def read(path: Path) -> dict:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
