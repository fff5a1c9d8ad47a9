"""Time-aware training end to end, on a shop in which the next purchase depends on the hour."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from transformers import pipeline

from benchmarks.quality import compare
from hf_bert4rec.cli import evaluate
from hf_bert4rec.cli import recommend_all as recommend
from hf_bert4rec.evaluation.task import WITH_TIMES, WITHOUT_TIMES
from hf_bert4rec.training.arguments import parse
from hf_bert4rec.training.fit import train
from tests.model.tiny import ids_of
from tests.recipes import NEXT_ITEM, TINY

ARTICLES, CUSTOMERS = 30, 200
SOON, LATER = 5, 90_000  # seconds until the article after, or until the one after seven
RECIPE = {
    **{**TINY, **NEXT_ITEM, "hidden_dropout_prob": 0.0, "rotary_positions": True, "pre_layer_norm": True},
    **{"time_aware": True, "memory_size": 10, "min_interactions": 3},
    **{"num_train_epochs": 40, "per_device_train_batch_size": 16, "learning_rate": 1e-2, "logging_steps": 50},
    **{"eval_strategy": "steps", "eval_steps": 260, "save_strategy": "steps", "save_steps": 260},
}


def write_shop(path: Path) -> None:
    generator = np.random.default_rng(0)
    lines = ["user_id,movie_id,timestamp"]
    for customer in range(CUSTOMERS):
        article, second, bought = int(generator.integers(ARTICLES)), 1_600_000_000, set()
        while article not in bought and len(bought) < 9:
            lines.append(f"{customer},{article},{second}")
            bought.add(article)
            later = generator.random() < 0.5
            article, second = (article + (7 if later else 1)) % ARTICLES, second + (LATER if later else SOON)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    """The time-aware model, and the same recipe without."""
    folder = tmp_path_factory.mktemp("hours")
    write_shop(folder / "shop.csv")
    (folder / "recipe.yaml").write_text(json.dumps(RECIPE), encoding="utf-8")
    for name, aware in (("timed", "true"), ("timeless", "false")):
        table = ["--ratings", str(folder / "shop.csv")]
        arguments = [str(folder / "recipe.yaml"), *table, "--output_dir", str(folder / name), "--time_aware", aware]
        train(parse(arguments), arguments)
    return folder / "timed", folder / "timeless"


def data_options(folder: Path) -> list[str]:
    return ["--ratings", str(folder.parent / "shop.csv")]


@pytest.mark.slow
def test_the_time_of_the_query_improves_the_ranking(trained, capsys):
    timed, timeless = trained
    evaluate.main([str(timed), *data_options(timed), "--examples", "2"])
    assert "with the time of the query" in capsys.readouterr().out
    report = json.loads((timed / "evaluation.json").read_text(encoding="utf-8"))
    without_time = report["metrics"]["hit_rate@5"]["mean"], report["metrics"]["ndcg@5"]["mean"]
    with_time = report["times"][WITH_TIMES]["metrics"]["ndcg@5"]["mean"]
    assert without_time[0] > 0.9  # either of two articles comes next
    assert without_time[1] < 0.85
    assert with_time > 0.95
    assert report["times"][WITH_TIMES]["difference"]["ndcg@5"]["low"] > 0.1
    assert report["times"][WITHOUT_TIMES]["metrics"]["hit_rate@5"]["mean"] > 0.8
    card = (timed / "README.md").read_text(encoding="utf-8")
    assert "The table uses the times of the history. NDCG@10 with the time of the query: " in card
    assert '`{"history": [...], "timestamps": [...], "now": ...}`' in card
    result = timed.parent / "result.json"
    compare.main([str(timed), *data_options(timed), "--reference", str(timeless), "--result", str(result)])
    comparison = json.loads(result.read_text(encoding="utf-8"))
    with_query_time = comparison["results"][compare.QUERY_TIME_INPUT]["ndcg@10"]
    assert with_query_time["relative"]["low"] > 0.1
    assert with_query_time["mean"] == pytest.approx(report["times"][WITH_TIMES]["metrics"]["ndcg@10"]["mean"])
    assert abs(comparison["results"][compare.HISTORY_INPUT]["ndcg@10"]["difference"]["mean"]) < 0.05
    assert f" | 1 | {compare.QUERY_TIME_INPUT} | recipe.yaml" in capsys.readouterr().out
    assert (comparison["seeds"], comparison["reference"].split()[0]) == (1, "recipe.yaml")
    compare.main([str(timed), *data_options(timed), "--reference", "markov", "--result", str(result)])
    markov = report["baselines"]["markov"]
    comparison = json.loads(result.read_text(encoding="utf-8"))
    against_markov = comparison["results"][compare.HISTORY_INPUT]["ndcg@10"]
    assert against_markov["reference_mean"] == pytest.approx(markov["metrics"]["ndcg@10"]["mean"])
    assert against_markov["difference"] == pytest.approx(markov["difference"]["ndcg@10"])


@pytest.mark.slow
def test_the_pipeline_uses_the_time_of_the_query(trained):
    pipe = pipeline("movie-recommendation", model=str(trained[0]), trust_remote_code=True)
    history = {"history": [3, 4], "timestamps": [1_600_000_000, 1_600_000_005]}
    for later, article in ((SOON, 5), (LATER, 11)):
        assert pipe({**history, "now": 1_600_000_005 + later}, top_k=1)[0]["movie_id"] == article
    assert {movie["movie_id"] for movie in pipe(history, top_k=2)} == {5, 11}


@pytest.mark.slow
def test_all_users_get_what_the_pipeline_gives_with_their_times(trained, tmp_path):
    output = tmp_path / "all.parquet"
    recommend.main([str(trained[0]), *data_options(trained[0]), "--output", str(output), "--top_k", "3"])
    table = pq.read_table(output).to_pylist()
    pipe = pipeline("movie-recommendation", model=str(trained[0]), trust_remote_code=True)
    rows = [line.split(",") for line in (trained[0].parent / "shop.csv").read_text().splitlines()[1:]]
    for user in (0, 7):
        own = [(int(article), int(second)) for customer, article, second in rows if customer == str(user)]
        request = {"history": [article for article, _ in own], "timestamps": [second for _, second in own]}
        expected = ids_of(pipe(request, top_k=3))
        assert [row["movie_id"] for row in table if row["user_id"] == user] == expected
