"""Ablations change the recipe keys they name, and runs that have a result are skipped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.quality import ablate
from hf_bert4rec.training.arguments import read_recipe

ROOT = Path(__file__).resolve().parents[2]
QUICK = ROOT / "training" / "recipes" / "ml-1m-quick.yaml"
RECIPE = """
hidden_size: 16
num_hidden_layers: 1
max_position_embeddings: 8
memory_size: 5
use_cpu: true
bf16: false
num_train_epochs: 1
output_dir: none
"""


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
    recipe.write_text(RECIPE)
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
