"""Training on views and purchases: the next view follows the last view, and the next purchase the last purchase."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from transformers import pipeline

from hf_bert4rec import fit
from hf_bert4rec.cli import evaluate, query, recommend_all
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.folder.prepare_folder import prepare_folder
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.data.prepared import PreparedData
from hf_bert4rec.data.ragged import FloatArray, seen_items
from hf_bert4rec.evaluation.ranking import rank_targets
from hf_bert4rec.evaluation.scoring import ModelScorer
from hf_bert4rec.hub.folder import load_pipeline
from hf_bert4rec.training.arguments import parse_options
from hf_bert4rec.training.build import build_trainer
from tests.recipes import NEXT_ITEM, NO_DROPOUT, NO_EVALUATION, TINY

ARTICLES, CUSTOMERS, LENGTH = 12, 300, 8
STEPS = {"view": 1, "buy": 5}  # from an article to the next one of the same event type
RECIPE: dict[str, Any] = {
    **{**TINY, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 1, "max_position_embeddings": LENGTH},
    **{**NO_DROPOUT, **NEXT_ITEM, **NO_EVALUATION, "pre_layer_norm": True, "rotary_positions": True},
    **{"num_train_epochs": 16, "per_device_train_batch_size": 16, "learning_rate": 1e-2},
    **{"min_interactions": 1, "repeats": "all"},
}
KINDS: dict[str, Any] = {"event_column": "kind", "target_events": ["buy", "view"]}
HISTORY = {"history": [4, 11, 5, 4], "events": ["view", "buy", "view", "buy"]}


def visits() -> Iterator[dict[str, Any]]:
    generator = np.random.default_rng(0)
    for customer in range(CUSTOMERS):
        article = {kind: int(generator.integers(ARTICLES)) for kind in STEPS}
        for time in range(LENGTH):
            kind = str(generator.choice(list(STEPS)))
            yield {"customer": customer, "article": article[kind], "kind": kind, "time": 1_600_000_000 + 60 * time}
            article[kind] = (article[kind] + STEPS[kind]) % ARTICLES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model of both kinds, next to its table."""
    folder = tmp_path_factory.mktemp("events")
    lines = [",".join(map(str, visit.values())) for visit in visits()]
    (folder / "shop.csv").write_text("\n".join(["customer,article,kind,time", *lines]) + "\n", encoding="utf-8")
    fit(folder / "shop.csv", recipe=RECIPE, output_dir=folder / "kinds", **KINDS)
    return folder / "kinds"


def ranks(model: Any, data: PreparedData) -> FloatArray:
    """Ranks of the test targets among all articles."""
    rows = data.next_item_dataset("test")
    scorer, special_ids = ModelScorer(model, data.tokenizer), data.tokenizer.all_special_ids
    seen = seen_items(rows.histories, data.exclude_seen)
    ranking = rank_targets(
        scorer, rows.histories, rows.targets, vocab_size=len(data.tokenizer), special_ids=special_ids, seen=seen
    )
    return ranking.ranks.values


@pytest.mark.slow
def test_a_model_of_kinds_beats_the_same_model_without(folder: Path) -> None:
    table = {"ratings": str(folder.parent / "shop.csv"), "output_dir": str(folder.parent / "plain")}
    (options, model, masking, training), _ = parse_options(RECIPE, table)
    trainer = build_trainer(prepare(options), model, masking, training)
    trainer.train()
    (options, *_), _ = parse_options(RECIPE, {**table, **KINDS})
    data = prepare(options)
    with_kinds, without = ranks(load_pipeline(folder).model, data), ranks(trainer.model, data)
    assert (with_kinds == 1).mean() > 0.9  # a few customers have no earlier event of the kind
    assert (without == 1).mean() < 0.5  # either of two articles comes next
    assert (without <= 2).mean() > 0.6


@pytest.mark.slow
def test_the_requested_kind_decides_the_answer(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipes = load_pipeline(folder), pipeline("item-recommendation", model=str(folder), trust_remote_code=True)
    for pipe in pipes:
        answers = pipe([HISTORY, {**HISTORY, "event": "buy"}, {**HISTORY, "event": "view"}], top_k=1)
        assert [answer[0]["article"] for answer in answers] == [9, 9, 6]  # 4 + 5, and 5 + 1
    query.main(["recommend", str(folder), *map(str, HISTORY["history"]), "--events", "view,buy,view,buy", "--json"])
    assert json.loads(capsys.readouterr().out)[0]["article"] == 9
    query.main(["recommend", str(folder), "4", "5", "--events", "buy,view", "--event", "view", "--json"])
    assert json.loads(capsys.readouterr().out)[0]["article"] == 6


@pytest.mark.slow
def test_evaluation_and_card_know_the_kinds(folder: Path) -> None:
    evaluate.main([str(folder), "--ratings", str(folder.parent / "shop.csv"), "--examples", "2", "--ks", "1", "5"])
    report = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    assert report["metrics"]["hit_rate@1"]["mean"] > 0.9
    assert report["protocol"]["target_events"] == ["buy", "view"]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "The model distinguishes event types: buy and view can be requested" in card


@pytest.mark.slow
def test_all_users_get_what_the_pipeline_gives_with_their_events(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "all.parquet"
    table = ["--ratings", str(folder.parent / "shop.csv"), "--output", str(output), "--top_k", "3"]
    recommend_all.main([str(folder), *table])
    rows = pq.read_table(output).to_pylist()
    pipe = load_pipeline(folder)
    for customer in (0, 7):
        own = [visit for visit in visits() if visit["customer"] == customer]
        request = {"history": [visit["article"] for visit in own], "events": [visit["kind"] for visit in own]}
        expected = [article["article"] for article in pipe(request, top_k=3)]
        assert [row["movie_id"] for row in rows if row["user_id"] == customer] == expected
    options: dict[str, Any] = {"ratings": str(folder.parent / "shop.csv"), "min_interactions": 1, "repeats": "all"}
    prepare_folder(DataArguments(**options, **KINDS), tmp_path / "prepared")
    recommend_all.main([str(folder), "--ratings", str(tmp_path / "prepared"), *table[2:]])
    assert pq.read_table(output).to_pylist() == rows
