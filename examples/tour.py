"""A tour of the features of a trained recommender: runs every step and writes an HTML page with code and output.

    python -m examples.tour outputs/ml-100k --output outputs/tour.html

Works with a recommender of a MovieLens release, whose folder is not changed. The steps are the functions below; the
page shows their docstring, source, output, plot, time and memory.
"""

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

from examples.tour_page import Step, bar_chart, scatter_plot, write_page
from hf_bert4rec import MovieRecommendationPipeline
from hf_bert4rec.cli.main import set_up_console
from hf_bert4rec.cli.query import main as shell
from hf_bert4rec.cli.query import table
from hf_bert4rec.data import build_histories, read_interactions
from hf_bert4rec.files import atomic_write
from hf_bert4rec.hub.onnx_export import describe, export_onnx
from hf_bert4rec.model.pipeline_bert4rec import TASK
from hf_bert4rec.training.fine_tuning import fine_tune


@dataclass(frozen=True)
class Context:
    """What the steps share: a recommender, a history of popular movies, a genre, years, and a copy of the folder."""

    pipe: MovieRecommendationPipeline
    history: list[str]
    genre: str
    years: tuple[int, int]
    folder: Path


def recommend(pipe: Any, context: Context) -> Any:
    """Recommend movies for a history of titles or ids, oldest first. A list of histories is a batch."""
    return pipe(context.history, top_k=5)


def filters(pipe: Any, context: Context) -> Any:
    """Filter by genres and years, and exclude movies. Filters combine and do not change scores."""
    return pipe(context.history, top_k=5, genres=[context.genre], years=context.years, exclude=[context.history[0]])


def candidates(pipe: Any, context: Context) -> Any:
    """Rank only the movies of a list."""
    shortlist = [movie["movie_id"] for movie in pipe.similar(context.history[-1], top_k=3)]
    return pipe(context.history, top_k=3, candidates=shortlist, exclude_seen=False)


def too_strict(pipe: Any, context: Context) -> Any:
    """If filters leave too few movies, a warning names the filter."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answer = pipe(context.history, genres=[context.genre], years=(1800, 1801))
    return f"{answer}\n{caught[-1].message}"


def diverse(pipe: Any, context: Context) -> Any:
    """`diversity` re-ranks by maximal marginal relevance over the item embeddings."""
    return pipe(context.history, top_k=5, diversity=0.5)


def less_popular(pipe: Any, context: Context) -> Any:
    """`popularity_penalty` times the logarithm of a movie's popularity is subtracted from that of its score."""
    return pipe(context.history, top_k=5, popularity_penalty=0.3)


def rated(pipe: Any, context: Context) -> Any:
    """With ratings, low-rated movies are excluded as seen but are not used as input."""
    return pipe({"history": context.history, "ratings": [5, 4, None, 1]}, top_k=5)


def similar(pipe: Any, context: Context) -> Any:
    """Similar movies, by the users who like them if the model has `taste_size`, else by the cosine of embeddings."""
    return pipe.similar(context.history[0], top_k=5)


def explain(pipe: Any, context: Context) -> Any:
    """Explain recommendations: how much the log score falls when an entry of the history is left out."""
    return pipe(context.history, top_k=3, explain=True)


def embeddings(pipe: Any, context: Context) -> Any:
    """User and item embeddings for other retrieval systems. Inner product plus bias is the network's logit, without
    the transition memory and the model of taste."""
    user = pipe.embed_users(context.history)  # (hidden,)
    logits = pipe.embed_items() @ user + pipe.item_biases()  # (items,)
    return "\n".join(pipe.tokenizer.titles[index] for index in logits.topk(5).indices.tolist())


def new_movie(pipe: Any, context: Context) -> Any:
    """Add a new movie without training; its embedding starts from movies with similar metadata."""
    neighbour = pipe.similar(context.history[0], top_k=1)[0]
    ids = pipe.tokenizer.item_ids
    new_id = max(ids) + 1 if isinstance(ids[0], int) else "the-tour"
    title, year = "The Tour", context.years[1]
    report = pipe.add_items({"movie_id": [new_id], "title": [title], "year": [year], "genres": [neighbour["genres"]]})
    answer = pipe(context.history, top_k=3, candidates=["The Tour", *context.history[:2]], exclude_seen=False)
    return f"{json.dumps(report, ensure_ascii=False, indent=1)}\n{table(answer)}"


def new_users(pipe: Any, context: Context) -> Any:
    """Fine-tune a copy on new interactions; `replay=` takes earlier interactions, which reduces forgetting."""
    movies = pipe.tokenizer.item_ids[:6] * 4
    ratings = Dataset.from_dict({"user_id": [row // 6 for row in range(24)], "movie_id": movies})
    tuned = fine_tune(pipe.model, pipe.tokenizer, ratings, replay=ratings, epochs=1)
    return tuned.report


def own_data(pipe: Any, context: Context) -> Any:
    """Read any table with one interaction per row; `hf-bert4rec train --ratings` trains on such a file."""
    shop = context.folder.parent / "shop.csv"
    rows = "customer,article,bought_at\nAda,Tee N° 7,2024-05-02\nAda,Käse,2024-05-01\nBo,Käse,2024-05-03\n"
    shop.write_text(rows, encoding="utf-8")
    tables = read_interactions(shop, user_column="customer", item_column="article", time_column="bought_at")
    return "\n".join(map(str, build_histories(tables["ratings"], min_interactions=1)))


def onnx(pipe: Any, context: Context) -> Any:
    """Export to ONNX, which is checked against torch, and recommend from the ONNX file."""
    lines = describe(context.folder, export_onnx(context.folder))
    onnx_pipe = pipeline(TASK, model=str(context.folder), pipeline_class=MovieRecommendationPipeline, backend="onnx")
    files = [f"onnx/{line.rpartition('onnx/')[2]}" for line in lines[:2]]
    return "\n".join([*files, *lines[2:], table(onnx_pipe(context.history, top_k=3))])


def command_line(pipe: Any, context: Context) -> Any:
    """The command line: hf-bert4rec recommend | similar | explain MODEL …, with --json for scripts."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        shell(["similar", str(context.folder), context.history[0], "--top-k", "3"])
    return printed.getvalue()


STEPS: dict[str, Callable[[Any, Context], Any]] = {
    "Recommend": recommend,
    "Filters": filters,
    "Rank candidates": candidates,
    "Too strict filters": too_strict,
    "Diversity": diverse,
    "Popularity penalty": less_popular,
    "Ratings": rated,
    "Similar movies": similar,
    "Explanations": explain,
    "Embeddings": embeddings,
    "ONNX": onnx,
    "Command line": command_line,
    "New movies": new_movie,
    "New users": new_users,
    "Your own table": own_data,
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
        context = load_context(folder)
        steps = run_steps(context)
    title = f"Tour of {arguments.folder.name}"
    introduction = (
        f"Generated by examples/tour.py with torch {torch.__version__} on the CPU. "
        f"The history is {', '.join(context.history)}, the genre {context.genre}, the years {context.years}."
    )
    with atomic_write(arguments.output) as written:
        written.write_text(write_page(title, introduction, steps), encoding="utf-8")
    logging.getLogger("hf_bert4rec").info("written to %s", arguments.output)


def load_context(folder: Path) -> Context:
    """Load the recommender, and choose the history, genre and years."""
    pipe = pipeline(TASK, model=str(folder), pipeline_class=MovieRecommendationPipeline, device="cpu")
    items = pipe.tokenizer.items
    popular = np.argsort(-np.array(items["count"]), kind="stable")[:4]
    genres = [name for names in items["genres"] for name in names or []]
    years = sorted(year for year in items["year"] if year is not None)
    return Context(
        pipe=pipe,
        history=[pipe.tokenizer.titles[index] for index in popular],
        genre=max(sorted(set(genres)), key=genres.count),
        years=(years[len(years) // 4], years[-1]),
        folder=folder,
    )


def run_steps(context: Context) -> list[Step]:
    """Run every step, in order."""
    steps = []
    for title, function in STEPS.items():
        before = _peak_megabytes()
        start = time.perf_counter()
        output = function(context.pipe, context)
        milliseconds = 1e3 * (time.perf_counter() - start)
        steps.append(
            Step(
                title=title,
                description=inspect.getdoc(function) or "",
                code=_code(function),
                output=_format(output),
                picture=_picture(function, context, output),
                milliseconds=milliseconds,
                megabytes=_peak_megabytes() - before,
            )
        )
    return steps


def _code(function: Callable[..., Any]) -> str:
    """The source of a step without signature and docstring."""
    source = textwrap.dedent(inspect.getsource(function).split('"""', 2)[2].lstrip("\n"))
    return source.rstrip()


def _format(output: Any) -> str:
    if isinstance(output, str):
        return output.rstrip()
    return table(output) if isinstance(output, list) else json.dumps(output, ensure_ascii=False, indent=1)


def _picture(function: Callable[..., Any], context: Context, output: Any) -> bytes | None:
    if function is explain:
        first = output[0]
        names = [entry["title"] for entry in first["because"]]
        values = [entry["contribution"] for entry in first["because"]]
        return bar_chart(names, values, f"contribution to the log score of {first['title']}")
    if function is embeddings:
        return _embedding_map(context)
    return None


def _embedding_map(context: Context, number: int = 150) -> bytes:
    """The most watched movies over the first two principal components of their embeddings."""
    items = context.pipe.tokenizer.items
    top = np.argsort(-np.array(items["count"]), kind="stable")[:number]
    vectors = context.pipe.embed_items()[torch.from_numpy(top)]
    vectors = vectors - vectors.mean(0)
    _, _, axes = torch.linalg.svd(vectors, full_matrices=False)
    genres = [(items["genres"][index] or ["none"])[0] for index in top]
    titles = [context.pipe.tokenizer.titles[index] for index in top[:25]]
    label = f"The {len(top)} most watched movies, by the first two principal components of their embeddings"
    return scatter_plot((vectors @ axes[:2].T).numpy(), titles, genres, label)


def _peak_megabytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    main()
