"""Serving latency, throughput and peak memory of the pipeline and of each of its features.

    python -m benchmarks.serving
    python -m benchmarks.serving outputs/ml-100k

Without a folder, an untrained model of MovieLens 1M's size is measured: 3,416 items, hidden size 128, 2 layers, window
200. Three parts: latency of one request on one thread, compared with the forward pass only; throughput of a batch on
all threads, compared with the model and `topk` called directly; latency and peak memory of each feature. Histories are
random movie ids.
"""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import pipeline

from benchmarks.data import ITEMS
from benchmarks.measure import (
    benchmark_parser,
    cpu_load,
    peak_megabytes,
    ratio_row,
    row,
    time_interleaved,
    write_result,
)
from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecTokenizer, MovieRecommendationPipeline
from hf_bert4rec.hub.onnx_export import export_onnx
from hf_bert4rec.model.onnx_bert4rec import ONNX_FILE, ONNX_FOLDER
from hf_bert4rec.model.pipeline_bert4rec import TASK
from hf_bert4rec.model.requests_bert4rec import DEFAULT_BATCH_SIZE

TOP_K = 10
MAX_P50_MILLISECONDS, MAX_FORWARD_RATIO, MIN_DIRECT_RATIO = 10, 1.5, 0.8  # targets
Calls = dict[str, Callable[[], Any]]


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_parser(__doc__, repeats=9)
    parser.add_argument("folder", type=Path, nargs="?", help="an exported recommender (default: an untrained model)")
    parser.add_argument("--calls", type=int, default=100, help="requests per repeat, for p50 and p99")
    parser.add_argument("--length", type=int, default=50, help="history length of a single request")
    parser.add_argument("--users", type=int, default=512, help="histories in a batch")
    arguments = parser.parse_args(argv)
    load = cpu_load()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or save_untrained(Path(temporary) / "untrained")
        pipe = load_pipeline(folder)
        history = random_histories(pipe, 1, arguments.length)[0]
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        rows = request_rows(pipe, history, arguments.repeats, arguments.calls)
        torch.set_num_threads(threads)
        rows += batch_rows(pipe, random_histories(pipe, arguments.users), arguments.repeats)
        calls, missing = feature_calls(pipe, history, folder, Path(temporary))
        rows += feature_rows(calls, arguments.repeats)
    write_result(arguments, "serving", rows, load, missing, items=pipe.tokenizer.num_items)


def save_untrained(folder: Path) -> Path:
    """Save an untrained recommender of MovieLens 1M's size with synthetic titles, years and genres."""
    genres = ["Action", "Comedy", "Drama", "Horror", "Romance", "Thriller"]
    ids = list(range(1, ITEMS + 1))
    movies = {
        "movie_id": ids,
        "title": [f"Movie {number}" for number in range(ITEMS)],
        "year": [1920 + number % 80 for number in range(ITEMS)],
        "genres": [[genres[number % 6], genres[number % 5]] for number in range(ITEMS)],
    }
    tokenizer = Bert4RecTokenizer.from_movies(movies, dict.fromkeys(ids, 10))
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 4, "max_position_embeddings": 200}
    model = Bert4RecForMaskedLM(Bert4RecConfig(vocab_size=len(tokenizer), **sizes)).eval()
    MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task=TASK).save_pretrained(folder)
    return folder


def load_pipeline(folder: Path, **options: Any) -> MovieRecommendationPipeline:
    return pipeline(
        TASK, model=str(folder), pipeline_class=MovieRecommendationPipeline, goal="next", device="cpu", **options
    )


def random_histories(pipe: MovieRecommendationPipeline, users: int, length: int | None = None) -> list[list[Any]]:
    """Random histories of movie ids without repeats; lengths are uniform up to the window unless given."""
    generator = np.random.default_rng(0)
    longest = min(pipe.model.config.max_position_embeddings - 1, pipe.tokenizer.num_items - TOP_K)
    lengths = generator.integers(1, longest + 1, users) if length is None else [min(length, longest)] * users
    ids = np.array(pipe.tokenizer.item_ids, dtype=object)
    return [generator.choice(ids, size, replace=False).tolist() for size in lengths]


def request_rows(
    pipe: MovieRecommendationPipeline, history: list[Any], repeats: int, calls: int
) -> list[dict[str, Any]]:
    """Latency p50 and p99 of one request and of the forward pass only, interleaved."""
    inputs = direct_inputs(pipe, [history])

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return pipe.model.next_item_logits(**inputs)

    alternating: Calls = {"pipeline": lambda: pipe(history, top_k=TOP_K), "forward": forward}
    percentiles: dict[str, list[list[float]]] = {name: [] for name in alternating}
    for _ in range(repeats):
        for name, seconds in time_interleaved(alternating, calls, warm_up=5).items():
            percentiles[name].append((1e3 * np.percentile(seconds, [50, 99])).tolist())
    rows = []
    for index, level in enumerate(("p50", "p99")):
        request, forward_only = ([levels[index] for levels in percentiles[name]] for name in alternating)
        has_target = level == "p50" and pipe.tokenizer.num_items == ITEMS
        target = {"at_most": MAX_P50_MILLISECONDS} if has_target else {}
        name = f"latency {level} of one request"
        rows.append(row(f"{name}, pipeline", "ms", request, **target))
        rows.append(row(f"{name}, forward pass only", "ms", forward_only))
        rows.append(ratio_row(f"{name}, pipeline / forward pass", request, forward_only, at_most=MAX_FORWARD_RATIO))
    return rows


def direct_inputs(pipe: MovieRecommendationPipeline, histories: list[list[Any]]) -> dict[str, torch.Tensor]:
    """Padded model inputs with a final [MASK], made with the tokenizer only; each (batch, seq)."""
    tokenizer = pipe.tokenizer
    encoded = [torch.tensor([*tokenizer.encode_items(history), tokenizer.mask_token_id]) for history in histories]
    input_ids = pad_sequence(encoded, batch_first=True, padding_value=tokenizer.pad_token_id)
    return {"input_ids": input_ids, "attention_mask": (input_ids != tokenizer.pad_token_id).long()}


def recommend_directly(pipe: MovieRecommendationPipeline, histories: list[list[Any]]) -> list[list[Any]]:
    """The ids of the movies that the pipeline recommends, from the model and `topk` only."""
    recommendations = []
    for start in range(0, len(histories), DEFAULT_BATCH_SIZE):
        inputs = direct_inputs(pipe, histories[start : start + DEFAULT_BATCH_SIZE])
        with torch.inference_mode():
            logits = pipe.model.next_item_logits(**inputs)
            logits.scatter_(1, inputs["input_ids"], -torch.inf)  # excludes seen items
            logits[:, : pipe.tokenizer.first_item_id] = -torch.inf
            top_ids = logits.topk(TOP_K).indices.tolist()
        recommendations += [pipe.tokenizer.decode_items(ids) for ids in top_ids]
    return recommendations


def batch_rows(pipe: MovieRecommendationPipeline, histories: list[list[Any]], repeats: int) -> list[dict[str, Any]]:
    """Batch throughput of the pipeline, and of the model and `topk` called directly."""
    recommended = [[movie["movie_id"] for movie in movies] for movies in pipe(histories, top_k=TOP_K)]
    direct = recommend_directly(pipe, histories)
    agreement = np.mean([ours == theirs for ours, theirs in zip(recommended, direct, strict=True)])
    if agreement < 0.99:  # ties may be broken either way
        raise ValueError(f"pipeline and model recommend the same movies for {agreement:.1%} of the histories only")
    alternating: Calls = {
        "pipeline": lambda: pipe(histories, top_k=TOP_K),
        "direct": lambda: recommend_directly(pipe, histories),
    }
    seconds = time_interleaved(alternating, repeats)
    throughput = {name: [len(histories) / taken for taken in times] for name, times in seconds.items()}
    ratio = "batch throughput, pipeline / model and topk"
    return [
        row("batch throughput, pipeline", "users/s", throughput["pipeline"]),
        row("batch throughput, model and topk", "users/s", throughput["direct"]),
        ratio_row(ratio, throughput["pipeline"], throughput["direct"], at_least=MIN_DIRECT_RATIO),
    ]


def feature_calls(
    pipe: MovieRecommendationPipeline, history: list[Any], folder: Path, temporary: Path
) -> tuple[Calls, dict[str, str]]:
    """One call per feature, and the reasons for missing ones."""
    items, missing = pipe.tokenizer.items, {}
    calls: Calls = {
        "recommend": lambda: pipe(history, top_k=TOP_K),
        "diversity": lambda: pipe(history, top_k=TOP_K, diversity=0.3),
        "popularity_penalty": lambda: pipe(history, top_k=TOP_K, popularity_penalty=0.5),
        "explain": lambda: pipe(history, top_k=TOP_K, explain=True),
        "similar": lambda: pipe.similar(history[0], top_k=TOP_K),
        "embed_users": lambda: pipe.embed_users(history),
        "embed_items": lambda: pipe.embed_items(),
        "add_items": add_one_item(load_pipeline(folder)),
    }
    genres = [name for names in items.get("genres", []) for name in names or []]
    years = [year for year in items.get("year", []) if year is not None]
    if genres and years:
        genre, first_year = max(sorted(set(genres)), key=genres.count), int(np.median(years))
        calls["filters"] = lambda: pipe(history, top_k=1, genres=[genre], years=(first_year, None), exclude=history[:1])
    else:
        missing["filters"] = "the catalogue has no genres or no years"
    onnx_pipe = load_onnx_pipeline(folder, temporary)
    calls["ONNX"] = lambda: onnx_pipe(history, top_k=TOP_K)
    return calls, missing


def add_one_item(pipe: MovieRecommendationPipeline) -> Callable[[], Any]:
    integer_ids = isinstance(pipe.tokenizer.item_ids[0], int)

    def add() -> Any:
        ids = pipe.tokenizer.item_ids
        new_id = max(ids) + 1 if integer_ids else f"new-{len(ids)}"
        return pipe.add_items({"movie_id": [new_id], "title": [f"Benchmark {len(ids)}"], "year": [1999]})

    return add


def load_onnx_pipeline(folder: Path, temporary: Path) -> MovieRecommendationPipeline:
    """The pipeline on an ONNX file, which is exported to a copy of the folder if it has none."""
    if not (folder / ONNX_FOLDER / ONNX_FILE).is_file():
        folder = Path(shutil.copytree(folder, temporary / "model"))
        export_onnx(folder)
    return load_pipeline(folder, backend="onnx")


def feature_rows(calls: Calls, repeats: int) -> list[dict[str, Any]]:
    """Latency and peak memory of every call."""
    rows = [
        row(f"latency, {name}", "ms", [1e3 * taken for taken in seconds])
        for name, seconds in time_interleaved(calls, repeats).items()
    ]
    for name, call in calls.items():
        rows.append(row(f"peak memory, {name}", "MB", [peak_megabytes(call) for _ in range(repeats)]))
    return rows


if __name__ == "__main__":
    main()
