"""Runs into results, results into tables: every figure of a table comes from a file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.quality.collect import HEADLINE_MARKS, MARKS, main
from benchmarks.quality.tables import HEADLINE_PUBLISHED, headline_table

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = "ml-latest-small:\n  - {model: Theirs, ndcg@10: 0.9, hit_rate@10: 0.95, source: a paper}\n"
SAMPLED = """
popularity_100:
  another-set:
    - {model: Elsewhere, ndcg@10: 0.4, source: a paper}
  ml-latest-small:
    - {model: The paper, ndcg@10: 0.0001, hit_rate@10: 0.0002, training: 5 steps, source: its table}
"""


@pytest.fixture
def places(tmp_path) -> list[str]:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "published.yaml").write_text(PUBLISHED)
    for path in (tmp_path / "results" / "README.md", tmp_path / "page.md"):
        path.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
    (tmp_path / "README.md").write_text(f"before\n{HEADLINE_MARKS[0]}\nold\n{HEADLINE_MARKS[1]}\nafter\n")
    return [
        *("--results", str(tmp_path / "results")),
        *("--page", str(tmp_path / "page.md"), "--readme", str(tmp_path / "README.md")),
    ]


def test_a_run_is_kept_and_shown_beside_baselines_and_others(model_folder, places, tmp_path):
    main([str(model_folder), *places])
    (kept,) = (tmp_path / "results").glob("*.json")
    result = json.loads(kept.read_text())
    assert kept.name == "ml-latest-small-ml-latest-small-seed42.json"
    report = json.loads((model_folder / "evaluation.json").read_text())
    assert result["test"]["ndcg@10"] == report["metrics"]["ndcg@10"]
    assert result["targets_sha256"] == report["protocol"]["targets_sha256"]
    text = (tmp_path / "page.md").read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert rows[0].startswith("| Theirs | 0.9000 | 0.9500 |")
    figures = [float(row.split("|")[2].split()[0]) for row in rows]
    assert figures == sorted(figures, reverse=True)
    ours = next(row for row in rows if "**ours**" in row)
    assert f"{report['metrics']['ndcg@10']['mean']:.4f}" in ours
    assert tables_of(tmp_path / "results" / "README.md") == tables_of(tmp_path / "page.md")


def tables_of(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.startswith("|")]


def test_by_the_papers_protocol_ours_stand_beside_the_papers_own(model_folder, places, tmp_path):
    (tmp_path / "results" / "published.yaml").write_text(PUBLISHED + SAMPLED)
    main([str(model_folder), *places])
    assert "sampled as in the paper" not in (tmp_path / "page.md").read_text()  # of forty movies fewer were drawn
    (kept,) = (tmp_path / "results").glob("*-seed42.json")
    result = json.loads(kept.read_text())
    found = next(figures for draw, figures in result["sampled"].items() if draw.startswith("popularity"))
    kept.write_text(json.dumps({**result, "sampled": {"popularity_100": found}}))
    main(places)
    text = (tmp_path / "page.md").read_text()
    assert "Elsewhere" not in text  # of that data set there is no run to stand beside it
    table = text[text.index("**ml-latest-small, sampled as in the paper**") :]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert rows[0].startswith("| **ours**, ml-latest-small, seed 42 | ")
    for name in ("ndcg@10", "hit_rate@10"):
        assert f"| {found[name]['mean']:.4f} [{found[name]['low']:.4f}, {found[name]['high']:.4f}] |" in rows[0]
    assert "| 20 steps |" in rows[0]
    assert rows[1:] == ["| The paper | 0.0001 | 0.0002 | 5 steps | its table |"]


def test_the_curve_of_a_recipes_first_run_is_shown(model_folder, places, tmp_path):
    main([str(model_folder), *places])
    (kept,) = (tmp_path / "results").glob("*-seed42.json")
    later = json.loads(kept.read_text())
    later["options"]["seed"] = 43
    kept.with_name(kept.name.replace("42", "43")).write_text(json.dumps(later))
    picture = kept.with_suffix(".png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    picture.write_bytes(b"drawn before")
    main(places)
    assert picture.read_bytes() == b"drawn before"
    assert list((tmp_path / "results").glob("*.png")) == [picture]
    assert (tmp_path / "results" / "README.md").read_text().count(f"]({picture.name})") == 1
    assert picture.name not in (tmp_path / "page.md").read_text()
    main([str(model_folder), *places])
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_tables_can_be_written_again_without_a_run(model_folder, places, tmp_path):
    main([str(model_folder), *places])
    before = (tmp_path / "page.md").read_text()
    main(places)
    assert (tmp_path / "page.md").read_text() == before


def test_what_was_not_evaluated_is_refused(model_folder, places, tmp_path):
    copy = Path(shutil.copytree(model_folder, tmp_path / "copy"))
    (copy / "evaluation.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"run training/evaluate.py"):
        main([str(copy), *places])
    (copy / "training.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"not made by training/train.py"):
        main([str(copy), *places])


def test_the_tables_of_this_repository_are_those_of_its_results(tmp_path):
    results = Path(shutil.copytree(ROOT / "training" / "results", tmp_path / "results"))
    page = Path(shutil.copy(ROOT / "docs" / "evaluation.md", tmp_path / "evaluation.md"))
    readme = Path(shutil.copy(ROOT / "README.md", tmp_path / "README.md"))
    main(["--results", str(results), "--page", str(page), "--readme", str(readme)])
    assert page.read_text() == (ROOT / "docs" / "evaluation.md").read_text(), "run benchmarks/quality/collect.py"
    assert readme.read_text() == (ROOT / "README.md").read_text(), "run benchmarks/quality/collect.py"
    assert (results / "README.md").read_text() == (ROOT / "training" / "results" / "README.md").read_text()
    committed = {path.name for path in (ROOT / "training" / "results").glob("*.png")}
    assert {path.name for path in results.glob("*.png")} == committed, "run benchmarks/quality/collect.py"


def test_the_headline_has_means_over_seeds_best_first():
    def run(seed: int, recipe: str, ndcg: float) -> dict:
        test = {"ndcg@10": {"mean": ndcg}, "hit_rate@10": {"mean": 2 * ndcg}}
        markov = {"test": {"ndcg@10": {"mean": 0.16}, "hit_rate@10": {"mean": 0.27}}}
        command = f"python training/train.py training/recipes/{recipe}.yaml --dataset ml-1m.txt --seed {seed}"
        named = {"dataset": "ml-1m.txt", "command": command, "seconds": 60.0 * seed}
        return {**named, "test": test, "baselines": {"markov": markov}}

    runs = [run(1, "ml-1m", 0.2), run(3, "ml-1m", 0.21), run(4, "ml-1m-masked", 0.18), run(1, "ml-1m-quick", 0.3)]
    others = [{"model": name, "ndcg@10": 0.19, "hit_rate@10": 0.3, "source": "s"} for name in HEADLINE_PUBLISHED]
    rows = headline_table(runs, {"ml-1m.txt": [*others, {"model": "another", "ndcg@10": 0.5}]}).splitlines()[2:]
    assert rows[0] == "| **ours**, causal (`ml-1m`) | 0.2050 | 0.4100 | this repository, 2 seeds, 2 min each |"
    assert len(rows) == 6
    assert rows[-2:] == [
        "| **ours**, masked (`ml-1m-masked`) | 0.1800 | 0.3600 | this repository, 1 seeds, 4 min each |",
        "| Markov chain | 0.1600 | 0.2700 | this repository |",
    ]


def test_changes_of_a_recipe_are_compared_with_the_recipe_as_it_is(places, tmp_path):
    for name, change, reached in (("as it is", {}, 0.2), ("no memory", {"memory_size": None}, 0.15)):
        run = {
            "name": name,
            "recipe": "some.yaml",
            "change": change,
            "options": ["--num_train_epochs", "3"],
            "seed": 42,
        }
        path = tmp_path / "results" / "ablations" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({**run, "best_validation_ndcg@10": reached}))
    main(places)
    text = (tmp_path / "page.md").read_text()
    assert "`python -m benchmarks.quality.ablate training/recipes/some.yaml --num_train_epochs 3`" in text
    assert text.index("| as it is | 0.2000 | |") < text.index("| no memory | 0.1500 | -0.0500 |")


def test_what_was_compared_is_shown(places, tmp_path):
    interval = {"mean": 0.01, "low": 0.002, "high": 0.02}
    found = {"ndcg@10": {"mean": 0.11, "other": 0.1, "difference": interval, "share": {**interval, "mean": 0.1}}}
    kept = {"recipe": "a.yaml", "models": 2, "than": "b.yaml", "part": "test", "found": {"told": found}}
    path = tmp_path / "results" / "comparisons" / "shop.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(kept))
    main(places)
    row = "| a.yaml | 2 | told | b.yaml | 0.1100 | 0.1000 | +0.0100 [+0.0020, +0.0200] | +10.0% [+0.2%, +2.0%] |"
    assert row in (tmp_path / "page.md").read_text()


def test_seeds_of_a_recipe_are_averaged(model_folder, places, tmp_path):
    main([str(model_folder), *places])
    (kept,) = (tmp_path / "results").glob("*-seed42.json")
    other = json.loads(kept.read_text())
    other["options"]["seed"] = 43
    first = other["test"]["ndcg@10"]["mean"]
    other["test"]["ndcg@10"]["mean"] = first + 0.02
    kept.with_name(kept.name.replace("42", "43")).write_text(json.dumps(other))
    main(places)
    row = next(line for line in (tmp_path / "page.md").read_text().splitlines() if "mean of 2 seeds" in line)
    assert f"**{first + 0.01:.4f}** ± {0.02 / 2**0.5:.4f}" in row
