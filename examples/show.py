"""Print recommendations of an exported model for three users with contrasting tastes.

    python -m examples.show outputs/ml-100k --dataset ml-100k

The folder of a MovieLens model is loaded as a downloaded model would be: in a new process, from another directory,
without this package. The movie that each user watched next is marked.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hf_bert4rec import Bert4RecConfig
from hf_bert4rec.cli.main import set_up_console
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.data.prepared import PreparedData
from hf_bert4rec.hub.verify import answer_in_isolation

PRINTED_MOVIES = 8  # most recent movies of a history
TOP_K = 10


def main() -> None:
    set_up_console()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="an exported recommender")
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_dir", default=None)
    arguments = parser.parse_args()
    data = prepare(DataArguments(dataset=arguments.dataset, data_dir=arguments.data_dir))
    users = contrasting_users(data)
    rows = data.split_tables["test"].select(users)
    requests = [{"history": row["item_ids"], "goal": "next"} for row in rows]
    if "timestamps" in rows.column_names and Bert4RecConfig.from_pretrained(arguments.folder).time_aware:
        requests = [{**request, "timestamps": row["timestamps"]} for request, row in zip(requests, rows, strict=True)]
    answers = answer_in_isolation(arguments.folder, {"histories": requests, "top_k": TOP_K})["answers"]
    popular = most_popular(data, TOP_K)
    for row, answer in zip(rows, answers, strict=True):
        print_user(data, row, answer, popular)


def contrasting_users(data: PreparedData, number: int = 3, lengths: tuple[int, int] = (15, 120)) -> list[int]:
    """Rows of the test split whose histories differ most in genres, by farthest-point sampling.

    The first is the one with the most one-sided genres.
    """
    profiles = genre_profiles(data)
    sizes = data.next_item_dataset("test").histories.lengths
    candidates = np.flatnonzero((sizes >= lengths[0]) & (sizes <= lengths[1]) & (profiles.sum(1) > 0))
    if not len(candidates):
        candidates = np.arange(len(sizes))
    profiles = profiles[candidates]
    selected = [int(np.linalg.norm(profiles, axis=1).argmax())]
    while len(selected) < min(number, len(candidates)):
        distances = np.linalg.norm(profiles[:, None] - profiles[selected], axis=2).min(1)
        selected.append(int(distances.argmax()))
    return candidates[selected].tolist()


def genre_profiles(data: PreparedData) -> npt.NDArray[np.float64]:
    """Share of every genre in each test history above its share in all, (users, genres)."""
    tokenizer, test = data.tokenizer, data.next_item_dataset("test")
    histories = test.histories.rows(0, len(test))
    genres = [set(entry or []) for entry in tokenizer.items.get("genres", [[]] * tokenizer.num_items)]
    names = sorted(set().union(*genres))
    table = np.array([[name in entry for name in names] for entry in genres], dtype=np.float64)
    table = table.reshape(tokenizer.num_items, len(names))
    watched = table[histories.values - tokenizer.first_item_id]  # (interactions, genres)
    profiles = np.add.reduceat(watched, histories.offsets[:-1]) / histories.lengths[:, None]
    return np.clip(profiles - watched.mean(0), 0, None) if len(names) else np.zeros((len(histories), 1))


def most_popular(data: PreparedData, number: int) -> set[Any]:
    """Ids of the movies with the most training interactions."""
    counts = np.array(data.tokenizer.items["count"])
    return {data.tokenizer.item_ids[index] for index in np.argsort(-counts, kind="stable")[:number]}


def print_user(data: PreparedData, row: dict[str, Any], answer: list[dict[str, Any]], popular: set[Any]) -> None:
    """Print the history of one user, the recommendations, and the next movie."""
    tokenizer = data.tokenizer
    watched = [tokenizer.movie(input_id) for input_id in tokenizer.encode_items(row["item_ids"])]
    target = tokenizer.movie(tokenizer.encode_items([row["target"]])[0])
    print(f"\nUser {row['user_id']} watched {len(watched)} movies, most recently")
    for movie in watched[-PRINTED_MOVIES:]:
        print(f"    {movie['title'] or movie['movie_id']}  [{', '.join(movie['genres'])}]")
    print("Recommended")
    for rank, movie in enumerate(answer, 1):
        notes = " *" if movie["movie_id"] in popular else ""
        notes += "  <- watched next" if movie["movie_id"] == target["movie_id"] else ""
        title = movie["title"] or movie["movie_id"]
        print(f"{rank:3}. {title}  [{', '.join(movie['genres'])}]  {movie['score']:.1%}{notes}")
    uncommon = sum(movie["movie_id"] not in popular for movie in answer)
    print(f"Watched next: {target['title'] or target['movie_id']}  [{', '.join(target['genres'])}]")
    print(f"{uncommon} of {len(answer)} are outside the ten most popular movies (*).")


if __name__ == "__main__":
    main()
