"""Ranking of a full catalogue, and the pipeline."""

from functools import partial
from typing import Any

import numpy as np

from benchmarks.gpu.data import Vocabulary, random_histories
from benchmarks.gpu.sizes import Sizes, device, heads, peak_megabytes, timed
from benchmarks.measure import row
from benchmarks.models import untrained_model
from hf_bert4rec import Bert4RecTokenizer, MovieRecommendationPipeline
from hf_bert4rec.data.ragged import Ragged, offsets_of
from hf_bert4rec.evaluation.ranking import rank_targets
from hf_bert4rec.evaluation.scoring import ModelScorer
from hf_bert4rec.model.pipeline_bert4rec import TASK

WIDTH, TOP_K = 128, 10
BATCH_LOGITS = 1 << 30  # scores of a batch of users
MIN_USERS_PER_SECOND = {1_000_000: 20_000}  # targets


def ranking(sizes: Sizes, name: str, *, items: int, users: int) -> dict[str, Any]:
    """Users per second of the rank of a held-out item and the best ten, with seen items excluded."""
    vocabulary = Vocabulary(items)
    model = model_of(items, sizes.length).to(device())
    scorer = ModelScorer(model, vocabulary)
    histories = random_histories(items, users, sizes.length - 1)
    # An item that no history has, so that it can be ranked: drawn again where it was seen.
    generator = np.random.default_rng(1)
    targets = [unseen(generator, history, vocabulary) for history in histories]
    held_out = Ragged(np.array(targets), offsets_of(np.ones(users, dtype=np.int64)))
    batch = min(1024, max(16, BATCH_LOGITS // items))

    options: dict[str, Any] = {"vocab_size": len(vocabulary), "special_ids": vocabulary.all_special_ids}
    options |= {"top_k": TOP_K, "batch_size": batch}
    rank_targets(scorer, histories.rows(0, 2 * batch), held_out.rows(0, 2 * batch), **options)  # warm-up
    seconds = [timed(partial(rank_targets, scorer, histories, held_out, **options)) for _ in range(sizes.repeats)]
    target = {"at_least": MIN_USERS_PER_SECOND[items]} if items in MIN_USERS_PER_SECOND else {}
    rows = [row(f"{name}, throughput", "users/s", [users / taken for taken in seconds], **target)]
    megabytes = peak_megabytes()
    return {"rows": rows if megabytes is None else [*rows, row(f"{name}, peak memory", "MB", [megabytes])]}


def unseen(generator: np.random.Generator, history: Any, vocabulary: Vocabulary) -> int:
    while (item := int(generator.integers(vocabulary.first_item_id, len(vocabulary)))) in history:
        pass
    return item


def pipeline(sizes: Sizes, name: str) -> dict[str, Any]:
    """Latency of one request, and throughput of many, from ids to movies with titles."""
    ids = list(range(1, sizes.items + 1))
    tokenizer = Bert4RecTokenizer.from_movies({"movie_id": ids, "title": [f"Movie {number}" for number in ids]})
    model = model_of(sizes.items, sizes.length)
    pipe = MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task=TASK, device=device())
    histories = random_histories(sizes.items, max(sizes.requests, 2048 if device().type == "cuda" else 0), 100)
    requests = [[ids[item - tokenizer.first_item_id] for item in history] for history in histories]
    single = [*requests[:5], *requests[: sizes.requests]]
    seconds = [timed(partial(pipe, request, top_k=TOP_K)) for request in single]
    p50, p99 = (1e3 * np.percentile(seconds[5:], [50, 99])).tolist()
    answer_all = partial(pipe, requests, top_k=TOP_K, batch_size=256)
    throughput = [len(requests) / timed(answer_all) for _ in range(1 + sizes.repeats)]
    return {
        "rows": [
            row(f"{name}, latency p50", "ms", [p50]),
            row(f"{name}, latency p99", "ms", [p99]),
            row(f"{name}, throughput", "users/s", throughput[1:]),
        ]
    }


def model_of(items: int, length: int) -> Any:
    return untrained_model(len(Vocabulary(items)), WIDTH, length, num_attention_heads=heads(WIDTH)).eval()
