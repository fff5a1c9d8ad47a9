"""Small models, tokenizers and histories that the tests share. Tests connect to loopback only."""

import os
import resource
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models are much slower on two threads
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
import torch

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecTokenizer, MovieRecommendationPipeline
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.model.values_bert4rec import UNKNOWN_TIME
from tests.model.tiny import HEADS, KINDS, LAYERS, VOCAB, WINDOW, build, tiny_config

torch.set_num_threads(1)

NUM_MOVIES = 40
MOVIES = {
    "movie_id": [10 + 3 * number for number in range(NUM_MOVIES)],
    "title": ["Toy Story", "Godfather, The", "Sabrina", "Sabrina", "Seven (a.k.a. Se7en)", "Amélie"]
    + [f"Movie {number}" for number in range(6, NUM_MOVIES)],
    "year": [1995, 1972, 1954, 1995, 1995, 2001] + [1960 + number for number in range(6, NUM_MOVIES)],
    "genres": [["Animation", "Comedy"], ["Crime"], ["Romance"], ["Romance"], ["Thriller"], []]
    + [["Drama"]] * (NUM_MOVIES - 6),
}


@pytest.fixture
def tokenizer() -> Bert4RecTokenizer:
    counts = {movie: 1 + position for position, movie in enumerate(MOVIES["movie_id"])}
    return Bert4RecTokenizer.from_movies(MOVIES, counts)


@pytest.fixture
def config(tokenizer) -> Bert4RecConfig:
    return tiny_config(len(tokenizer))


@pytest.fixture
def model(config) -> Bert4RecForMaskedLM:
    return build(config)


@pytest.fixture
def pipe(model, tokenizer) -> MovieRecommendationPipeline:
    return MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task="movie-recommendation")


@pytest.fixture
def histories(tokenizer) -> Ragged:
    """Fifty histories of 1 to 20 distinct items, some longer than the window."""
    generator = np.random.default_rng(0)
    items = np.arange(tokenizer.first_item_id, len(tokenizer))
    return Ragged.from_lists([generator.permutation(items)[: generator.integers(1, 21)] for _ in range(50)])


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    """A small evaluated model, like those of `make run`. Read only: copy it to change it."""
    from tests.published import make_folder  # imports the training code, which few tests need

    return make_folder(tmp_path_factory.mktemp("published") / "small")


@pytest.fixture(scope="session")
def runtime_cache(tmp_path_factory) -> Path:
    """A value of HF_BERT4REC_CACHE with placeholders for the files of onnxruntime-web, so that none are downloaded."""
    from hf_bert4rec.hub.space import RUNTIME_FILES, RUNTIME_VERSION

    cache = tmp_path_factory.mktemp("cache")
    folder = cache / f"onnxruntime-web-{RUNTIME_VERSION}"
    folder.mkdir()
    for name in RUNTIME_FILES:
        (folder / name).write_text(f"placeholder of {name}")
    return cache


@pytest.fixture
def bounds():
    """Bounds for loading an untrusted folder: five seconds of CPU time and 300 MiB."""
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.process_time() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


@pytest.fixture(params=KINDS)
def kind(request) -> Bert4RecConfig:
    return tiny_config(
        num_hidden_layers=LAYERS, num_attention_heads=HEADS, initializer_range=0.3, **KINDS[request.param]
    )


@pytest.fixture
def rows() -> dict[str, torch.Tensor]:
    """Four rows of 12, 9, 5 and 1 positions, padded on the right."""
    generator = torch.Generator().manual_seed(0)
    attention_mask = (torch.arange(WINDOW) < torch.tensor([[12], [9], [5], [1]])).long()
    input_ids = torch.randint(3, VOCAB, (4, WINDOW), generator=generator) * attention_mask
    timestamps = torch.randint(0, 10**6, (4, WINDOW), generator=generator).cumsum(1)  # models without times ignore them
    timestamps[1, 3], timestamps[:, 6] = UNKNOWN_TIME, timestamps[:, 5]
    return {"input_ids": input_ids, "attention_mask": attention_mask, "timestamps": timestamps}


@pytest.fixture
def labelled_rows(rows) -> dict[str, torch.Tensor]:
    labels = torch.where(rows["attention_mask"].bool(), rows["input_ids"], -100)
    return {**rows, "labels": labels}
