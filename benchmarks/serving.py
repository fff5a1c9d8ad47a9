"""What an answer of the pipeline costs beside the model alone, and what each feature costs.

    python -m benchmarks.serving
    python -m benchmarks.serving outputs/ml-100k

Without a folder it asks an untrained model of MovieLens 1M's size: 3,416 items, width 128, 2 layers, length 200. One
request on one thread against the bare forward; a batch on all threads against model and topk by hand; time and memory
of every feature. Histories are random, of movies given by id.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import pipeline

from benchmarks.measure import interleaved, load_of_machine, parser, peak_megabytes, ratio_row, row, write_result
from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecTokenizer, MovieRecommendationPipeline
from hf_bert4rec.cli.console import set_up_console
from hf_bert4rec.model.onnx_bert4rec import ONNX_FILE, ONNX_FOLDER
from hf_bert4rec.model.pipeline_bert4rec import DEFAULT_BATCH_SIZE, TASK

TOP_K = 10
ITEMS = 3416  # of MovieLens 1M
MOST_MILLISECONDS, MOST_FORWARDS, BY_HAND = 10, 1.5, 0.8  # targets
Calls = dict[str, Callable[[], Any]]


def main(argv: Sequence[str] | None = None) -> None:
    set_up_console()
    options = parser(__doc__, repeats=9)
    options.add_argument(
        "folder",
        type=Path,
        nargs="?",
        help="an exported recommender; an untrained one of MovieLens 1M's size unless given",
    )
    options.add_argument("--calls", type=int, default=100, help="requests in a repeat, of which p50 and p99 are taken")
    options.add_argument("--length", type=int, default=50, help="entries of the history in a single request")
    options.add_argument("--users", type=int, default=512, help="histories in a batch")
    arguments = options.parse_args(argv)
    load = load_of_machine()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or untrained(Path(temporary) / "untrained")
        pipe = loaded(folder)
        history = histories(pipe, 1, arguments.length)[0]
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        rows = one_request(pipe, history, arguments.repeats, arguments.calls)
        torch.set_num_threads(threads)
        rows += batch(pipe, histories(pipe, arguments.users), arguments.repeats)
        calls, missing = features(pipe, history, folder, Path(temporary))
        rows += costs(calls, arguments.repeats)
    write_result(arguments, "serving", rows, load, missing, items=pipe.tokenizer.num_items)


def untrained(folder: Path) -> Path:
    """A recommender of MovieLens 1M's size with weights of chance, and made-up titles, years and genres."""
    names = ["Action", "Comedy", "Drama", "Horror", "Romance", "Thriller"]
    ids = list(range(1, ITEMS + 1))
    movies = {
        "movie_id": ids,
        "title": [f"Movie {number}" for number in range(ITEMS)],
        "year": [1920 + number % 80 for number in range(ITEMS)],
        "genres": [[names[number % 6], names[number % 5]] for number in range(ITEMS)],
    }
    tokenizer = Bert4RecTokenizer.from_movies(movies, dict.fromkeys(ids, 10))
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 4, "max_position_embeddings": 200}
    model = Bert4RecForMaskedLM(Bert4RecConfig(vocab_size=len(tokenizer), **sizes)).eval()
    MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task=TASK).save_pretrained(folder)
    return folder


def loaded(folder: Path, **options: Any) -> MovieRecommendationPipeline:
    """The recommender of a folder, on the CPU."""
    return pipeline(TASK, model=str(folder), pipeline_class=MovieRecommendationPipeline, device="cpu", **options)


def histories(pipe: MovieRecommendationPipeline, users: int, length: int | None = None) -> list[list[Any]]:
    """Random histories of movie ids; of all lengths that the window holds where none is given."""
    generator = np.random.default_rng(0)
    longest = min(pipe.model.config.max_position_embeddings - 1, pipe.tokenizer.num_items - TOP_K)
    lengths = generator.integers(1, longest + 1, users) if length is None else [min(length, longest)] * users
    ids = np.array(pipe.tokenizer.item_ids, dtype=object)
    return [generator.choice(ids, size, replace=False).tolist() for size in lengths]


def one_request(
    pipe: MovieRecommendationPipeline, history: list[Any], repeats: int, calls: int
) -> list[dict[str, Any]]:
    """p50 and p99 of one request and of the bare forward, taken in turns."""
    inputs = {name: torch.tensor(value) for name, value in by_hand_inputs(pipe, [history]).items()}

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return pipe.model.next_item_logits(**inputs)

    turns: Calls = {"pipeline": lambda: pipe(history, top_k=TOP_K), "forward": forward}
    found: dict[str, list[list[float]]] = {name: [] for name in turns}
    for _ in range(repeats):
        for name, seconds in interleaved(turns, calls, warm_up=5).items():
            found[name].append((1e3 * np.percentile(seconds, [50, 99])).tolist())
    rows = []
    for place, level in enumerate(("p50", "p99")):
        whole, bare = ([levels[place] for levels in found[name]] for name in turns)
        most = {"at_most": MOST_MILLISECONDS} if level == "p50" and pipe.tokenizer.num_items == ITEMS else {}
        rows.append(row(f"one request, one thread, {level}", "ms", whole, **most))
        rows.append(row(f"its forward alone, {level}", "ms", bare))
        rows.append(ratio_row(f"one request : its forward, {level}", whole, bare, at_most=MOST_FORWARDS))
    return rows


def by_hand_inputs(pipe: MovieRecommendationPipeline, asked: list[list[Any]]) -> dict[str, Any]:
    """Ids to padded lists, as anyone would write it who has the model and the tokenizer."""
    encoded = [[*pipe.tokenizer.encode_items(history), pipe.tokenizer.mask_token_id] for history in asked]
    longest = max(map(len, encoded))
    return {
        "input_ids": [[*ids, *[pipe.tokenizer.pad_token_id] * (longest - len(ids))] for ids in encoded],
        "attention_mask": [[1] * len(ids) + [0] * (longest - len(ids)) for ids in encoded],
    }


def by_hand(pipe: MovieRecommendationPipeline, asked: list[list[Any]]) -> list[list[Any]]:
    """The ids of the movies that the pipeline recommends, without it."""
    answers = []
    for start in range(0, len(asked), DEFAULT_BATCH_SIZE):
        lists = by_hand_inputs(pipe, asked[start : start + DEFAULT_BATCH_SIZE])
        inputs = {name: torch.tensor(value) for name, value in lists.items()}
        with torch.inference_mode():
            logits = pipe.model.next_item_logits(**inputs)
            logits.scatter_(1, inputs["input_ids"], -torch.inf)  # seen
            logits[:, : pipe.tokenizer.first_item_id] = -torch.inf
            best = logits.topk(TOP_K).indices.tolist()
        answers += [pipe.tokenizer.decode_items(ids) for ids in best]
    return answers


def batch(pipe: MovieRecommendationPipeline, asked: list[list[Any]], repeats: int) -> list[dict[str, Any]]:
    """Users a second through the pipeline and by hand.

    Raises:
        ValueError: the two do not recommend the same, so that there is nothing to compare.
    """
    found = [[movie["movie_id"] for movie in movies] for movies in pipe(asked, top_k=TOP_K)]
    agreeing = np.mean([ours == theirs for ours, theirs in zip(found, by_hand(pipe, asked), strict=True)])
    if agreeing < 0.99:  # ties may fall either way
        raise ValueError(f"pipeline and model recommend the same to only {agreeing:.1%} of the histories")
    turns: Calls = {"pipeline": lambda: pipe(asked, top_k=TOP_K), "by hand": lambda: by_hand(pipe, asked)}
    speeds = {name: [len(asked) / time for time in times] for name, times in interleaved(turns, repeats).items()}
    return [
        row("batch through the pipeline", "users/s", speeds["pipeline"]),
        row("batch by model and topk", "users/s", speeds["by hand"]),
        ratio_row("batch through the pipeline : by hand", speeds["pipeline"], speeds["by hand"], at_least=BY_HAND),
    ]


def features(
    pipe: MovieRecommendationPipeline, history: list[Any], folder: Path, temporary: Path
) -> tuple[Calls, dict[str, str]]:
    """A call of every feature, and why those that are left out are."""
    items, missing = pipe.tokenizer.items, {}
    calls: Calls = {
        "recommend": lambda: pipe(history, top_k=TOP_K),
        "diversity": lambda: pipe(history, top_k=TOP_K, diversity=0.3),
        "popularity_penalty": lambda: pipe(history, top_k=TOP_K, popularity_penalty=0.5),
        "explain": lambda: pipe(history, top_k=TOP_K, explain=True),
        "similar": lambda: pipe.similar(history[0], top_k=TOP_K),
        "embed_users": lambda: pipe.embed_users(history),
        "embed_items": lambda: pipe.embed_items(),
        "add_items": growth(loaded(folder)),
    }
    genres = [name for names in items.get("genres", []) for name in names or []]
    years = [year for year in items.get("year", []) if year is not None]
    if genres and years:
        genre, first = max(sorted(set(genres)), key=genres.count), int(np.median(years))
        calls["filters"] = lambda: pipe(history, top_k=1, genres=[genre], years=(first, None), exclude=history[:1])
    else:
        missing["filters"] = "the catalogue has no genres or no years"
    if lacking := [name for name in ("onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]:
        missing["ONNX"] = f"{' and '.join(lacking)} not installed"
    else:
        on_onnx = with_onnx(folder, temporary)
        calls["ONNX"] = lambda: on_onnx(history, top_k=TOP_K)
    return calls, missing


def growth(pipe: MovieRecommendationPipeline) -> Callable[[], Any]:
    """A call that adds one more movie each time."""
    numbered = isinstance(pipe.tokenizer.item_ids[0], int)

    def add() -> Any:
        ids = pipe.tokenizer.item_ids
        new = max(ids) + 1 if numbered else f"new-{len(ids)}"
        return pipe.add_items({"movie_id": [new], "title": [f"Benchmark {len(ids)}"], "year": [1999]})

    return add


def with_onnx(folder: Path, temporary: Path) -> MovieRecommendationPipeline:
    """The recommender on an ONNX file, exported to a copy where the folder has none."""
    if not (folder / ONNX_FOLDER / ONNX_FILE).is_file():
        from hf_bert4rec.cli.export_onnx import export_onnx  # needs onnxruntime

        folder = Path(shutil.copytree(folder, temporary / "model"))
        export_onnx(folder)
    return loaded(folder, backend="onnx")


def costs(calls: Calls, repeats: int) -> list[dict[str, Any]]:
    """Time and memory of every call."""
    rows = [
        row(name, "ms", [1e3 * second for second in seconds]) for name, seconds in interleaved(calls, repeats).items()
    ]
    for name, call in calls.items():
        peaks = [peak for _ in range(repeats) if (peak := peak_megabytes(call)) is not None]
        if peaks:
            rows.append(row(f"{name}, memory", "MB", peaks))
    return rows


if __name__ == "__main__":
    main()
