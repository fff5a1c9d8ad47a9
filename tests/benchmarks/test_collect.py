"""Result files and tables: every figure of a table comes from a file."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.quality.collect import MARKS, RESULTS, TARGETS, collect
from benchmarks.quality.tables import HEADLINE_PUBLISHED, headline_table

PUBLISHED = (
    "ml-latest-small:\n  - {model: Theirs, ndcg@10: 0.9, hit_rate@10: 0.95, source: a paper, note: other data}\n"
)
SAMPLED = """
popularity_100:
  another-set:
    - {model: Elsewhere, ndcg@10: 0.4, source: a paper}
  ml-latest-small:
    - {model: The paper, ndcg@10: 0.0001, hit_rate@10: 0.0002, training: 5 steps, source: its table}
"""


@pytest.fixture
def results(tmp_path) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "published.yaml").write_text(PUBLISHED)
    for path in (folder / "README.md", tmp_path / "page.md"):
        path.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
    return folder


@pytest.fixture
def page(results) -> Path:
    return results.parent / "page.md"


def table_lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.startswith("|")]


def result_file(results: Path) -> Path:
    (path,) = results.glob("*-seed42.json")
    return path


def test_a_run_is_listed_with_baselines_and_published_figures(model_folder, results, page):
    collect([model_folder], results, {page: MARKS})
    result = json.loads(result_file(results).read_text())
    assert result_file(results).name == "ml-latest-small-ml-latest-small-seed42.json"
    report = json.loads((model_folder / "evaluation.json").read_text())
    assert result["test"]["ndcg@10"] == report["metrics"]["ndcg@10"]
    assert result["targets_sha256"] == report["protocol"]["targets_sha256"]
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    rows = table_lines(page)[2:]
    assert rows[0] == "| Theirs | 0.9000 | 0.9500 | | a paper; other data |"
    figures = [float(row.split("|")[2].split()[0]) for row in rows]
    assert figures == sorted(figures, reverse=True)
    ours = next(row for row in rows if "**ours**" in row)
    assert f"{report['metrics']['ndcg@10']['mean']:.4f}" in ours
    assert table_lines(results / "README.md") == table_lines(page)


def test_sampled_metrics_are_listed_with_those_of_the_paper(model_folder, results, page):
    (results / "published.yaml").write_text(PUBLISHED + SAMPLED)
    collect([model_folder], results, {page: MARKS})
    assert "sampled metrics" not in page.read_text()  # the catalogue is too small for 100 negatives
    result = json.loads(result_file(results).read_text())
    sampled = next(metrics for draw, metrics in result["sampled"].items() if draw.startswith("popularity"))
    result_file(results).write_text(json.dumps({**result, "sampled": {"popularity_100": sampled}}))
    collect([], results, {page: MARKS})
    text = page.read_text()
    assert "Elsewhere" not in text  # no run on that data set
    table = text[text.index("**ml-latest-small, sampled metrics as in the paper**") :]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert rows[0].startswith("| **ours**, ml-latest-small, seed 42 | ")
    for name in ("ndcg@10", "hit_rate@10"):
        assert "| {mean:.4f} [{low:.4f}, {high:.4f}] |".format(**sampled[name]) in rows[0]
    assert "| 20 steps |" in rows[0]
    assert rows[1:] == ["| The paper | 0.0001 | 0.0002 | 5 steps | its table |"]


def test_the_learning_curve_of_the_first_seed_is_embedded(model_folder, results, page):
    collect([model_folder], results, {page: MARKS})
    picture = result_file(results).with_suffix(".png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    add_seed_43(results)
    picture.write_bytes(b"drawn before")
    collect([], results, {page: MARKS})
    assert picture.read_bytes() == b"drawn before"
    assert list(results.glob("*.png")) == [picture]
    assert (results / "README.md").read_text().count(f"]({picture.name})") == 1
    assert picture.name not in page.read_text()
    before = page.read_text()
    collect([model_folder], results, {page: MARKS})
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert page.read_text() == before


def add_seed_43(results: Path, ndcg_gain: float = 0.0) -> None:
    result = json.loads(result_file(results).read_text())
    result["options"]["seed"] = 43
    result["test"]["ndcg@10"]["mean"] += ndcg_gain
    result_file(results).with_name(result_file(results).name.replace("42", "43")).write_text(json.dumps(result))


def test_seeds_of_a_recipe_are_averaged(model_folder, results, page):
    collect([model_folder], results, {page: MARKS})
    mean = json.loads(result_file(results).read_text())["test"]["ndcg@10"]["mean"]
    add_seed_43(results, ndcg_gain=0.02)
    collect([], results, {page: MARKS})
    row = next(line for line in table_lines(page) if "mean of 2 seeds" in line)
    assert f"**{mean + 0.01:.4f}** ± {0.02 / 2**0.5:.4f}" in row


def test_runs_on_other_targets_are_not_compared(model_folder, results, page):
    collect([model_folder], results, {page: MARKS})
    add_seed_43(results)
    result = json.loads(result_file(results).read_text())
    result_file(results).write_text(json.dumps({**result, "targets_sha256": "0" * 64}))
    with pytest.raises(ValueError, match="the runs on ml-latest-small have 2 sets of targets"):
        collect([], results, {page: MARKS})


def test_a_model_without_evaluation_is_refused(model_folder, results, page, tmp_path):
    copy = Path(shutil.copytree(model_folder, tmp_path / "copy"))
    (copy / "evaluation.json").unlink()
    with pytest.raises(FileNotFoundError, match="run `hf-bert4rec evaluate`"):
        collect([copy], results, {page: MARKS})
    (copy / "training.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks training.json"):
        collect([copy], results, {page: MARKS})


def test_a_target_without_marks_is_refused(results, page):
    page.write_text("no marks")
    with pytest.raises(ValueError, match="lacks the marks"):
        collect([], results, {page: MARKS})


def test_the_tables_of_this_repository_are_up_to_date(tmp_path):
    results = Path(shutil.copytree(RESULTS, tmp_path / "results"))
    copies = {path: Path(shutil.copy(path, tmp_path)) for path in TARGETS}
    collect([], results, {copies[path]: marks for path, marks in TARGETS.items()})
    for path, copy in {**copies, RESULTS / "README.md": results / "README.md"}.items():
        assert copy.read_text() == path.read_text(), f"{path} is stale: run python -m benchmarks.quality.collect"
    pictures = {path.name for path in RESULTS.glob("*.png")}
    assert {path.name for path in results.glob("*.png")} == pictures, "run python -m benchmarks.quality.collect"


def test_the_headline_has_means_over_seeds_best_first():
    def run(seed: int, recipe: str, ndcg: float) -> dict:
        test = {"ndcg@10": {"mean": ndcg}, "hit_rate@10": {"mean": 2 * ndcg}}
        markov = {"test": {"ndcg@10": {"mean": 0.16}, "hit_rate@10": {"mean": 0.27}}}
        command = f"python training/train.py training/recipes/{recipe}.yaml --dataset ml-1m.txt --seed {seed}"
        record = {"dataset": "ml-1m.txt", "command": command, "seconds": 60.0 * seed}
        return {**record, "test": test, "baselines": {"markov": markov}}

    runs = [run(1, "ml-1m", 0.2), run(3, "ml-1m", 0.21), run(4, "ml-1m-causal", 0.18), run(1, "ml-1m-quick", 0.3)]
    others = [{"model": name, "ndcg@10": 0.19, "hit_rate@10": 0.3, "source": "s"} for name in HEADLINE_PUBLISHED]
    rows = headline_table(runs, {"ml-1m.txt": [*others, {"model": "another", "ndcg@10": 0.5}]}).splitlines()[2:]
    assert rows[0] == "| **ours** (`ml-1m`) | 0.2050 | 0.4100 | this repository, 2 seeds, 1 to 3 min each |"
    assert len(rows) == 6
    assert rows[-2:] == [
        "| **ours**, causal (`ml-1m-causal`) | 0.1800 | 0.3600 | this repository, 1 seed, 4 min each |",
        "| Markov chain | 0.1600 | 0.2700 | this repository |",
    ]


def test_ablations_are_compared_with_the_baseline(results, page):
    (results / "ablations").mkdir()
    options = ["--num_train_epochs", "3"]
    for name, change, ndcg in (("baseline", {}, 0.2), ("no_memory", {"memory_size": None}, 0.15)):
        run = {"name": name, "recipe": "some.yaml", "change": change, "options": options, "seed": 42}
        path = results / "ablations" / f"{name}.json"
        path.write_text(json.dumps({**run, "best_validation_ndcg@10": ndcg}))
    collect([], results, {page: MARKS})
    assert "`python -m benchmarks.quality.ablate training/recipes/some.yaml --num_train_epochs 3`" in page.read_text()
    assert table_lines(page)[2:] == [
        "| baseline | | 0.2000 | |",
        "| no_memory | `memory_size: null` | 0.1500 | -0.0500 |",
    ]


def test_comparisons_are_listed(results, page):
    interval = {"mean": 0.01, "low": 0.002, "high": 0.02}
    ndcg = {"mean": 0.11, "reference_mean": 0.1, "difference": interval, "relative": {**interval, "mean": 0.1}}
    comparison = {"recipe": "a.yaml", "seeds": 2, "reference": "b.yaml", "results": {"history": {"ndcg@10": ndcg}}}
    (results / "comparisons").mkdir()
    (results / "comparisons" / "shop.json").write_text(json.dumps(comparison))
    collect([], results, {page: MARKS})
    row = "| a.yaml | 2 | history | b.yaml | 0.1100 | 0.1000 | +0.0100 [+0.0020, +0.0200] | +10.0% [+0.2%, +2.0%] |"
    assert row in table_lines(page)
