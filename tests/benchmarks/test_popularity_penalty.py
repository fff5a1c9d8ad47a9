"""The penalty is that of a request, and the table is that of the result files."""

from __future__ import annotations

import json

import torch

from benchmarks.quality.popularity_penalty import MARKS, PAGE, RESULTS, PenalisedScorer, table
from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, MovieRecommendationPipeline
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.data.ragged import Ragged
from tests.model.tiny import ids_of
from tests.published import write_tables


def test_lists_are_those_of_the_pipeline_with_the_penalty(tmp_path):
    data = prepare(write_tables(tmp_path))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "max_position_embeddings": 12, "initializer_range": 0.5}
    model = Bert4RecForMaskedLM(Bert4RecConfig(vocab_size=len(data.tokenizer), **sizes)).eval()
    pipe = MovieRecommendationPipeline(model=model, tokenizer=data.tokenizer, task="movie-recommendation")
    history, first = data.tokenizer.item_ids[:4], data.tokenizer.first_item_id
    expected = ids_of(pipe(history, popularity_penalty=2.0, top_k=10, exclude_seen=False))
    assert expected != ids_of(pipe(history, top_k=10, exclude_seen=False))
    scores = PenalisedScorer(model, data, 2.0)(Ragged.from_lists([data.tokenizer.encode_items(history)]))
    assert [data.tokenizer.item_ids[index] for index in scores[0, first:].topk(10).indices] == expected


def test_the_tables_are_those_of_the_result_files():
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    page = PAGE.read_text(encoding="utf-8")
    assert page.split(MARKS[0])[1].split(MARKS[1])[0].strip() == "\n\n".join(map(table, results))
