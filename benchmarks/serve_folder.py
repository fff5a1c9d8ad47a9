"""Load a model's folder with its own code and time its first requests; prints JSON.

    python -m benchmarks.serve_folder FOLDER

`catalogue_growth` runs this in a new process for every measurement. The package is not imported, because its code would
then run instead of the folder's.
"""

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import pipeline

from benchmarks.peers.common import process_megabytes

TOP_K = 10


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--calls", type=int, default=100, help="requests, for p50 and p99")
    parser.add_argument("--length", type=int, default=50, help="movies in a history")
    print(json.dumps(measure(parser.parse_args(argv))))


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds of loading, of the first request of each kind and of later ones; megabytes of memory and disk."""
    torch.set_num_threads(1)
    options = {"model": str(arguments.folder), "trust_remote_code": True, "device": "cpu"}
    pipe, load = timed(lambda: pipeline("movie-recommendation", **options))
    tokenizer, generator = pipe.tokenizer, random.Random(0)
    histories = [generator.sample(tokenizer.item_ids, arguments.length) for _ in range(arguments.calls)]
    _, first_request = timed(lambda: pipe(histories[0], top_k=TOP_K))
    title = tokenizer.movie(tokenizer.first_item_id + tokenizer.num_items // 2)["title"]
    answer, first_title = timed(lambda: pipe([title], top_k=TOP_K))
    _, first_filter = timed(lambda: pipe(histories[0], top_k=TOP_K, genres=answer[0]["genres"]))
    times = sorted(timed(partial(pipe, history, top_k=TOP_K))[1] for history in histories)
    titled = sorted(timed(lambda: pipe([title], top_k=TOP_K))[1] for _ in histories)
    return {
        "load": load,
        "first request": first_request,
        "first title": first_title,
        "first filter": first_filter,
        "request p50": times[len(times) // 2],
        "request p99": times[int(0.99 * len(times))],
        "request with a title p50": titled[len(titled) // 2],
        "resident memory": process_megabytes("VmRSS"),
        "disk": sum(path.stat().st_size for path in arguments.folder.rglob("*") if path.is_file()) / 1e6,
        "recall of the best 10": recall(pipe, histories),
    }


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a call, and its seconds of CPU time, which other processes do not change."""
    start = time.process_time()
    result = call()
    return result, time.process_time() - start


def recall(pipe: Any, histories: list[list[Any]]) -> float:
    """Share of the best movies by the model's exact logits that the pipeline recommends."""
    tokenizer, hits = pipe.tokenizer, 0
    for history in histories:
        input_ids = torch.tensor([[*tokenizer.encode_items(history), tokenizer.mask_token_id]])
        with torch.no_grad():
            logits = pipe.model.next_item_logits(input_ids, torch.ones_like(input_ids))[0]
        logits[input_ids[0]] = -torch.inf
        logits[: tokenizer.first_item_id] = -torch.inf
        best = set(tokenizer.decode_items(logits.topk(TOP_K).indices.tolist()))
        hits += len(best & {movie["movie_id"] for movie in pipe(history, top_k=TOP_K)})
    return hits / (TOP_K * len(histories))


if __name__ == "__main__":
    main()
