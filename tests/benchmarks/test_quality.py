"""The programs of benchmarks.quality on small data, and tables that are those of the result files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.quality import ablate, new_users, popularity_penalty, quantized
from benchmarks.quality.auto import table as auto_table
from benchmarks.quality.typed_histories import answer_rows, find, table
from hf_bert4rec import Bert4RecTokenizer, MovieRecommendationPipeline
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.training.arguments import read_recipe
from tests.model.tiny import build, ids_of, tiny_config
from tests.published import make_model, write_tables
from tests.recipes import TINY

ROOT = Path(__file__).resolve().parents[2]
QUICK = ROOT / "training" / "recipes" / "ml-1m-quick.yaml"
ABLATED = {**TINY, "max_position_embeddings": 8, "memory_size": 5, "num_train_epochs": 1, "output_dir": "none"}


def test_an_ablation_changes_only_the_keys_it_names():
    recipe = read_recipe(QUICK)
    assert ablate.apply_change(recipe, ablate.CHANGES[ablate.BASELINE]) == recipe
    for name, change in ablate.CHANGES.items():
        changed = ablate.apply_change(recipe, change)
        differing = {key for key in {*recipe, *changed} if recipe.get(key) != changed.get(key)}
        assert differing == set(change), name


@pytest.mark.slow
def test_an_ablation_is_recorded_and_recorded_ones_are_skipped(tmp_path, monkeypatch):
    ratings, recipe, results = tmp_path / "ratings.csv", tmp_path / "small.yaml", tmp_path / "results"
    rows = [f"{user},{(user + step) % 12},{step}" for user in range(40) for step in range(8)]
    ratings.write_text("user_id,movie_id,timestamp\n" + "\n".join(rows) + "\n")
    recipe.write_text(json.dumps(ABLATED))
    monkeypatch.setattr(ablate, "CHANGES", {"baseline": {}, "no_memory": {"memory_size": None}})
    results.mkdir()
    (results / "small-baseline.json").write_text("recorded before")
    ablate.run_ablations(recipe, ["--ratings", str(ratings)], results)
    assert (results / "small-baseline.json").read_text() == "recorded before"
    result = json.loads((results / "small-no_memory.json").read_text())
    assert (result["name"], result["recipe"], result["change"]) == ("no_memory", "small.yaml", {"memory_size": None})
    assert result["options"] == ["--ratings", str(ratings)]
    assert 0 < result["best_validation_ndcg@10"] <= 1
    assert result["parameters"] > 0


def auto_result(name: str, mean: float, seconds: float) -> dict[str, Any]:
    baselines = {"markov": 0.2, "item_knn": 0.1, "popularity": 0.05}
    return {
        "name": name,
        **{"num_users": 1234, "num_items": 56, "num_interactions": 7890, "seconds": seconds},
        "test": {"mean": mean, "low": mean - 0.01, "high": mean + 0.01},
        "baselines": {
            baseline: {
                "mean": value,
                "difference": {
                    "ndcg@10": {"mean": mean - value, "low": mean - value - 0.02, "high": mean - value + 0.02}
                },
            }
            for baseline, value in baselines.items()
        },
    }


def test_rows_are_in_the_order_of_the_data_sets(tmp_path: Path) -> None:
    for name, mean, seconds in (("ml-100k", 0.21, 200.0), ("shop", 0.3, 61.0)):
        (tmp_path / f"{name}.json").write_text(json.dumps(auto_result(name, mean, seconds)))
    header, _, shop, release, empty, *verdicts = auto_table(tmp_path).splitlines()
    assert header.startswith("| data | users | items | interactions | this model | Markov |")
    assert shop == "| shop | 1,234 | 56 | 7,890 | **0.3000** [0.2900, 0.3100] | 0.2000 | 0.1000 | 0.0500 | 1 |"
    assert release.startswith("| ml-100k |")
    assert empty == ""
    assert verdicts[0].startswith("- shop: better than Markov (+0.1000, +0.0800 to +0.1200); better than item-kNN (")
    assert verdicts[1].startswith("- ml-100k: not clearly different from Markov (+0.0100, -0.0100 to +0.0300); better")


def test_taste_is_not_below_item_knn_for_a_few_titles():
    for path in new_users.RESULTS.glob("*.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        for scorers in result["new_users"]["results"].values():
            assert scorers["item_knn"]["difference"]["ndcg@10"]["high"] > 0
        assert result["related_items"]["results"]["item_knn"]["difference"]["found@10"]["high"] > 0


def test_a_report_is_recorded_by_its_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(new_users, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(new_users, "load_report", lambda path: json.loads(path.read_text()))
    report = {"protocol": {"dataset": "ml-1m.txt"}, "related_items": {"k": 10}, "environment": {}, "metrics": {}}
    (tmp_path / "evaluation.json").write_text(json.dumps(report))
    (tmp_path / "training.json").write_text(json.dumps({"options": {"seed": 7}}))
    new_users.record(tmp_path)
    written = json.loads((tmp_path / "results" / "ml-1m-seed7.json").read_text())
    assert written == {"dataset": "ml-1m.txt", "seed": 7, "related_items": {"k": 10}, "environment": {}}


def test_means_of_seeds():
    seeds = [
        {
            "new_users": {"results": {k: {"taste": {"metrics": {"ndcg@10": {"mean": mean}}}} for k in "135"}},
            "related_items": {
                "results": {name: {"metrics": {"found@10": {"mean": mean}}} for name in ("taste", "similar")}
            },
        }
        for mean in (0.2, 0.3, 0.4)
    ]
    rows = new_users.means_table(seeds)
    assert rows[1] == ['this model, goal="taste"', *["0.3000 ± 0.1000"] * 4]
    assert rows[2] == ["this model, similar", "", "", "", "0.3000 ± 0.1000"]


def test_lists_are_those_of_the_pipeline_with_the_penalty(tmp_path):
    data = prepare(write_tables(tmp_path))
    model = make_model(data)
    pipe = MovieRecommendationPipeline(model=model, tokenizer=data.tokenizer, task="movie-recommendation")
    history, first = data.tokenizer.item_ids[:4], data.tokenizer.first_item_id
    expected = ids_of(pipe(history, popularity_penalty=2.0, top_k=10, exclude_seen=False))
    assert expected != ids_of(pipe(history, top_k=10, exclude_seen=False))
    encoded = Ragged.from_lists([data.tokenizer.encode_items(history)])
    scores = popularity_penalty.penalised_scorer(model, data, 2.0)(encoded)
    assert [data.tokenizer.item_ids[index] for index in scores[0, first:].topk(10).indices] == expected


def test_int8_weights_keep_the_accuracy():
    rows = json.loads(quantized.RESULT.read_text(encoding="utf-8"))["rows"]
    reference = rows[quantized.BASELINE]["ndcg@10"]
    for name in ("`model_quantized.onnx`", "torchao, int8", "bitsandbytes, 8 bits"):
        assert abs(rows[name]["ndcg@10"] / reference - 1) < 0.01, name


def test_a_memory_that_knows_the_targets_is_refused(tmp_path, capsys):
    (tmp_path / "training.json").write_text(json.dumps({"options": {"refresh_memory": True}}))
    with pytest.raises(SystemExit):
        quantized.main([str(tmp_path)])
    assert "knows the targets" in capsys.readouterr().err


TITLES = ["Alien", "Aliens", "Babe", "Heat", "Postino, Il (The Postman)", "Jaws", "Speed (Mach | 1)", "Casablanca"]


def make_pipeline() -> MovieRecommendationPipeline:
    """Everyone's taste is the order of the titles."""
    tokenizer = Bert4RecTokenizer.from_movies(
        {"movie_id": list(range(8)), "title": TITLES, "year": [1990] * 8}, dict.fromkeys(range(8), 1)
    )
    model = build(tiny_config(len(tokenizer), taste_size=2))
    model.taste.shares[tokenizer.first_item_id :] = torch.arange(8, 0, -1) / 10
    return MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task="movie-recommendation")


def test_the_first_name_that_one_movie_has_is_meant() -> None:
    tokenizer = make_pipeline().tokenizer
    assert find(tokenizer, ["The Thing", "babe"]) == 2
    assert find(tokenizer, ["The Thing"]) is None
    series = ["Star Wars: Episode IV - A New Hope", "Star Wars: Episode V - The Empire Strikes Back"]
    tokenizer = Bert4RecTokenizer.from_movies({"movie_id": [4, 5], "title": series})
    assert find(tokenizer, ["Star Wars", series[0]]) == 4


def test_histories_of_known_titles_are_answered() -> None:
    rows = answer_rows(make_pipeline())
    assert rows[0][0] == "history"
    histories = [row[0] for row in rows[1:-1]]
    assert histories == ["Alien; Aliens", "Casablanca", "Babe", "Postino, Il"]
    assert rows[-1] == ["answers among the 20 most popular movies", *["100%"] * 3]  # of a catalogue of fewer movies
    assert rows[1][2] == "Babe; Heat; Postino, Il; Jaws; Speed"
    assert rows[1][2] == rows[1][3]  # all movies are equally popular
    assert table([["a", "b"], ["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def quantized_table() -> str:
    return quantized.table(json.loads(quantized.RESULT.read_text(encoding="utf-8")))


def penalty_tables() -> str:
    paths = sorted(popularity_penalty.RESULTS.glob("*.json"))
    return "\n\n".join(popularity_penalty.table(json.loads(path.read_text(encoding="utf-8"))) for path in paths)


@pytest.mark.parametrize(
    ("module", "expected"),
    [(new_users, new_users.text), (quantized, quantized_table), (popularity_penalty, penalty_tables)],
)
def test_the_tables_of_the_page_are_those_of_the_result_files(module, expected):
    page = module.PAGE.read_text(encoding="utf-8")
    assert page.split(module.MARKS[0])[1].split(module.MARKS[1])[0].strip() == expected()
