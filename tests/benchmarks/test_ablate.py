"""One change at a time: what a change makes of a recipe, and that every change is one of a known key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.quality.ablate import CHANGES, changed, main
from hf_bert4rec.training.arguments import read_recipe

ROOT = Path(__file__).resolve().parents[2]
QUICK = ROOT / "training" / "recipes" / "ml-1m-quick.yaml"


def test_every_change_changes_a_key_of_the_recipe():
    recipe = read_recipe(QUICK)
    assert changed(recipe, CHANGES["as it is"]) == recipe
    for name, change in CHANGES.items():
        found = changed(recipe, change)
        differing = {key for key in {*recipe, *found} if recipe.get(key) != found.get(key)}
        assert differing == set(change), name


@pytest.mark.slow
def test_a_change_is_run_and_kept_once(tmp_path, monkeypatch):
    ratings = tmp_path / "ratings.csv"
    rows = [f"{user},{(user + step) % 12},{step}" for user in range(40) for step in range(8)]
    ratings.write_text("user_id,movie_id,timestamp\n" + "\n".join(rows) + "\n")
    recipe = tmp_path / "small.yaml"
    recipe.write_text(
        "hidden_size: 16\nnum_hidden_layers: 1\nmax_position_embeddings: 8\nmemory_size: 5\n"
        "use_cpu: true\nbf16: false\nnum_train_epochs: 1\noutput_dir: none\n"
    )
    monkeypatch.setattr("benchmarks.quality.ablate.CHANGES", {"as it is": {}, "no memory": {"memory_size": None}})
    command = [str(recipe), "--results", str(tmp_path / "kept"), "--ratings", str(ratings)]
    main(command)
    kept = {path.name: json.loads(path.read_text()) for path in (tmp_path / "kept").iterdir()}
    assert set(kept) == {"small-as-it-is.json", "small-no-memory.json"}
    assert kept["small-no-memory.json"]["change"] == {"memory_size": None}
    assert kept["small-no-memory.json"]["parameters"] == kept["small-as-it-is.json"]["parameters"]
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}
    main(command)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()} == times
