"""A small model with titles and ONNX files, and histories to compare its answers for."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import pipeline

from hf_bert4rec import Bert4RecTokenizer, MovieRecommendationPipeline
from hf_bert4rec.hub.export import write_folder
from hf_bert4rec.hub.onnx_export import export_onnx
from hf_bert4rec.model.pipeline_bert4rec import TASK
from tests.conftest import MOVIES
from tests.model.tiny import build, tiny_config

NUM_HISTORIES = 100


def make_onnx_folder(folder: Path) -> Path:
    """Export a random model with times, memory and taste, whose scores differ enough to compare rankings."""
    counts = {movie: 1 + position for position, movie in enumerate(MOVIES["movie_id"])}
    tokenizer = Bert4RecTokenizer.from_movies(MOVIES, counts)
    generator = torch.Generator().manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "initializer_range": 0.2}
    memory = {"causal": True, "time_aware": True, "memory_size": 20, "memory_weight": 0.5}
    taste = {"taste_size": 8, "taste_weight": 0.5, "taste_popularity_penalty": 0.4, "taste_neighbours": 5}
    model = build(tiny_config(len(tokenizer), **sizes, **memory, **taste))
    memory, time_embeddings = model.memory, model.bert4rec.time_embeddings
    shape = memory.next_items.shape
    memory.next_items.copy_(torch.randint(tokenizer.first_item_id, len(tokenizer), shape, generator=generator))
    memory.weights.copy_(torch.rand(shape, generator=generator))
    memory.time_bins.copy_(torch.randint(50, 60, shape, generator=generator))
    for table in model.taste.buffers():
        table.copy_(torch.rand(table.shape, generator=generator) - 0.3)
    neighbours = model.taste.neighbours  # of the first items none
    neighbours[9:].copy_(
        torch.randint(tokenizer.first_item_id, len(tokenizer), neighbours[9:].shape, generator=generator)
    )
    time_embeddings.span.copy_(torch.tensor([800_000_000, 900_000_000]))
    write_folder(model, tokenizer, folder, "# A card")
    export_onnx(folder)
    return folder


def requests() -> list[dict[str, Any]]:
    """A hundred requests of 0 to 20 movies, some longer than the window, with times, filters or a goal of their own."""
    generator = np.random.default_rng(1)
    rows = []
    for number in range(NUM_HISTORIES):
        length = int(generator.integers(1, 21)) if number else 0
        row: dict[str, Any] = {"history": generator.permutation(MOVIES["movie_id"])[:length].tolist()}
        if number % 3 == 0 and length:
            row["timestamps"] = np.sort(generator.integers(8e8, 9e8, length)).tolist()
            row["now"] = 900_000_000
        if number % 4 == 3:
            row["goal"] = ("taste", "next")[number % 8 // 4]
        if number % 5 == 1:
            row["genres"] = [["Drama"], ["comedy", "Crime"], ["ROMANCE"]][number % 3]
        if number % 7 == 2:
            row["years"] = [[1970, 1980], [None, 1975], [1990, None]][number % 3]
        rows.append(row)
    return rows


def load_pipeline(folder: Path, **options: Any) -> MovieRecommendationPipeline:
    return pipeline(TASK, model=str(folder), pipeline_class=MovieRecommendationPipeline, device="cpu", **options)
