"""A tour of what a trained recommender can do: every step is run, and the page shows code, output, picture and cost.

    python -m examples.tour outputs/ml-100k --output outputs/tour.html

Works on any exported recommender with titles, genres and interaction counts; the folder is left as it is. The steps are
the functions below, in this order, and what the page prints as code is their source.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import io
import json
import logging
import resource
import shutil
import sys
import tempfile
import textwrap
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import pipeline

from examples.page import Step, bars, scatter, write_page
from hf_bert4rec import MovieRecommendationPipeline
from hf_bert4rec.cli.ask import main as shell
from hf_bert4rec.cli.ask import table
from hf_bert4rec.cli.console import set_up_console
from hf_bert4rec.data import build_histories, read_interactions
from hf_bert4rec.files import atomic_write
from hf_bert4rec.hub.onnx_export import describe, export_onnx
from hf_bert4rec.model.pipeline_bert4rec import TASK
from hf_bert4rec.training.fine_tuning import fine_tune


@dataclass(frozen=True)
class Visit:
    """What the steps share: a recommender, four favourites of its users, a genre, and a copy of its folder."""

    pipe: MovieRecommendationPipeline
    history: list[str]
    genre: str
    years: tuple[int, int]
    folder: Path


def recommend(pipe: Any, visit: Visit) -> Any:
    """A history of titles or ids, oldest first; movies out. A list of histories is a batch."""
    return pipe(visit.history, top_k=5)


def filters(pipe: Any, visit: Visit) -> Any:
    """Genres, years, movies to exclude; filters combine, and leave the scores as they are."""
    return pipe(visit.history, top_k=5, genres=[visit.genre], years=visit.years, exclude=[visit.history[0]])


def candidates(pipe: Any, visit: Visit) -> Any:
    """Only these may be recommended: a shelf, a shortlist, tonight's programme."""
    shelf = [movie["movie_id"] for movie in pipe.similar(visit.history[-1], top_k=3)]
    return pipe(visit.history, top_k=3, candidates=shelf, exclude_seen=False)


def emptied(pipe: Any, visit: Visit) -> Any:
    """Where filters leave too little, a warning says which one took what."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answer = pipe(visit.history, genres=[visit.genre], years=(1800, 1801))
    return f"{answer}\n{caught[-1].message}"


def varied(pipe: Any, visit: Visit) -> Any:
    """`diversity` trades likely movies for unlike ones (maximal marginal relevance over the item embeddings)."""
    return pipe(visit.history, top_k=5, diversity=0.5)


def less_popular(pipe: Any, visit: Visit) -> Any:
    """`popularity_penalty=1` orders by how much likelier this history makes a movie than it is for everyone."""
    return pipe(visit.history, top_k=5, popularity_penalty=1.0)


def rated(pipe: Any, visit: Visit) -> Any:
    """With ratings, disliked movies count as seen but not as liked."""
    return pipe({"history": visit.history, "ratings": [5, 4, None, 1]}, top_k=5)


def similar(pipe: Any, visit: Visit) -> Any:
    """Movies that the model takes for alike, by the cosine of their embeddings."""
    return pipe.similar(visit.history[0], top_k=5)


def explained(pipe: Any, visit: Visit) -> Any:
    """What speaks for a movie: by how much the log of its score falls when an entry of the history is left out."""
    return pipe(visit.history, top_k=3, explain=True)


def embeddings(pipe: Any, visit: Visit) -> Any:
    """Embeddings for retrieval elsewhere: inner product plus bias is the logit, its softmax the score."""
    user = pipe.embed_users(visit.history)  # (hidden,)
    logits = pipe.embed_items() @ user + pipe.item_biases()  # (items,)
    best = pipe(visit.history, top_k=1, exclude_seen=False)[0]
    return f"score from embeddings {logits.softmax(0).max():.6f}, from the pipeline {best['score']:.6f}"


def new_movie(pipe: Any, visit: Visit) -> Any:
    """A new movie starts from movies like it, and is recommended at once; nothing is trained."""
    like = pipe.similar(visit.history[0], top_k=1)[0]
    ids = pipe.tokenizer.item_ids
    new = max(ids) + 1 if isinstance(ids[0], int) else "the-tour"
    title, year = "The Tour", visit.years[1]
    report = pipe.add_items({"movie_id": [new], "title": [title], "year": [year], "genres": [like["genres"]]})
    answer = pipe(visit.history, top_k=3, candidates=["The Tour", *visit.history[:2]], exclude_seen=False)
    return f"{json.dumps(report, ensure_ascii=False, indent=1)}\n{table(answer)}"


def new_users(pipe: Any, visit: Visit) -> Any:
    """Fine-tuning on new interactions, on copies; earlier users' ones in `replay=` keep it from forgetting."""
    movies = pipe.tokenizer.item_ids[:6] * 4
    ratings = Dataset.from_dict({"user_id": [row // 6 for row in range(24)], "movie_id": movies})
    tuned = fine_tune(pipe.model, pipe.tokenizer, ratings, replay=ratings, epochs=1)
    return tuned.report


def own_data(pipe: Any, visit: Visit) -> Any:
    """Any table with a row an interaction becomes histories; `training/train.py --ratings` trains on such a file."""
    shop = visit.folder.parent / "shop.csv"
    shop.write_text("customer,article,bought_at\nAda,Tee N° 7,2024-05-02\nAda,Käse,2024-05-01\nBo,Käse,2024-05-03\n")
    tables = read_interactions(shop, user_column="customer", item_column="article", time_column="bought_at")
    return "\n".join(map(str, build_histories(tables["ratings"], min_interactions=1)))


def onnx(pipe: Any, visit: Visit) -> Any:
    """The same answers from an ONNX file, checked against torch when it is written."""
    lines = describe(visit.folder, export_onnx(visit.folder))
    on_onnx = pipeline(TASK, model=str(visit.folder), pipeline_class=MovieRecommendationPipeline, backend="onnx")
    return "\n".join(["onnx/" + lines[0].split("onnx/")[-1], *lines[1:], table(on_onnx(visit.history, top_k=3))])


def command_line(pipe: Any, visit: Visit) -> Any:
    """The same from a shell: hf-bert4rec recommend | similar | explain MODEL …, with --json for machines."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        shell(["similar", str(visit.folder), visit.history[0], "--top-k", "3"])
    return printed.getvalue()


STEPS: dict[str, Callable[[Any, Visit], Any]] = {
    "Recommend": recommend,
    "Filter": filters,
    "Rank a shelf": candidates,
    "Ask too much": emptied,
    "Vary": varied,
    "Leave the beaten track": less_popular,
    "Tell what was disliked": rated,
    "Find similar movies": similar,
    "Explain": explained,
    "Embed": embeddings,
    "Export to ONNX": onnx,
    "Ask from a shell": command_line,
    "Add a new movie": new_movie,
    "Learn from new users": new_users,
    "Bring your own table": own_data,
}


def main(argv: Sequence[str] | None = None) -> None:
    set_up_console()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="an exported recommender")
    parser.add_argument("--output", type=Path, default=Path("outputs/tour.html"))
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        shutil.copytree(arguments.folder, folder)
        visit = visit_to(folder)
        steps = take(visit)
    title = f"A tour of {arguments.folder.name}"
    introduction = (
        f"Written by examples/tour.py, with torch {torch.__version__} on the CPU; every step was run. The "
        f"history is {', '.join(visit.history)}; the genre {visit.genre}; the years {visit.years}."
    )
    with atomic_write(arguments.output) as written:
        written.write_text(write_page(title, introduction, steps), encoding="utf-8")
    logging.getLogger("hf_bert4rec").info("written to %s", arguments.output)


def visit_to(folder: Path) -> Visit:
    """Load the recommender and choose what to ask it about."""
    pipe = pipeline(TASK, model=str(folder), pipeline_class=MovieRecommendationPipeline, device="cpu")
    items = pipe.tokenizer.items
    favourites = np.argsort(-np.array(items["count"]), kind="stable")[:4]
    genres = [name for names in items["genres"] for name in names or []]
    years = sorted(year for year in items["year"] if year is not None)
    return Visit(
        pipe=pipe,
        history=[pipe.tokenizer.titles[place] for place in favourites],
        genre=max(sorted(set(genres)), key=genres.count),
        years=(years[len(years) // 4], years[-1]),
        folder=folder,
    )


def take(visit: Visit) -> list[Step]:
    """Take every step, in order."""
    steps = []
    for title, function in STEPS.items():
        before = _peak_megabytes()
        start = time.perf_counter()
        output = function(visit.pipe, visit)
        milliseconds = 1e3 * (time.perf_counter() - start)
        steps.append(
            Step(
                title=title,
                words=inspect.getdoc(function) or "",
                code=_code(function),
                output=_shown(output),
                picture=_picture(function, visit, output),
                milliseconds=milliseconds,
                megabytes=_peak_megabytes() - before,
            )
        )
    return steps


def _code(function: Callable[..., Any]) -> str:
    """The source of a step without its first line and its docstring."""
    source = textwrap.dedent(inspect.getsource(function).split('"""', 2)[2].lstrip("\n"))
    return source.rstrip()


def _shown(output: Any) -> str:
    if isinstance(output, str):
        return output.rstrip()
    return table(output) if isinstance(output, list) else json.dumps(output, ensure_ascii=False, indent=1)


def _picture(function: Callable[..., Any], visit: Visit, output: Any) -> bytes | None:
    if function is explained:
        first = output[0]
        names = [entry["title"] for entry in first["because"]]
        values = [entry["contribution"] for entry in first["because"]]
        return bars(names, values, f"contribution to the log score of {first['title']}")
    if function is embeddings:
        return _map_of_movies(visit)
    return None


def _map_of_movies(visit: Visit, number: int = 150) -> bytes:
    """The most watched movies by the first two principal components of their embeddings."""
    items = visit.pipe.tokenizer.items
    chosen = np.argsort(-np.array(items["count"]), kind="stable")[:number]
    vectors = visit.pipe.embed_items()[torch.from_numpy(chosen)]
    vectors = vectors - vectors.mean(0)
    _, _, axes = torch.linalg.svd(vectors, full_matrices=False)
    genres = [(items["genres"][place] or ["none"])[0] for place in chosen]
    titles = [visit.pipe.tokenizer.titles[place] for place in chosen[:25]]
    label = f"The {len(chosen)} most watched movies, by the first two principal components of their embeddings"
    return scatter((vectors @ axes[:2].T).numpy(), titles, genres, label)


def _peak_megabytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    main()
