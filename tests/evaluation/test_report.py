"""`evaluation.json`: its schema, its earlier versions, and its figures for a perfect and a constant scorer."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.evaluation import report as reports
from hf_bert4rec.evaluation.baselines import fit_baselines
from hf_bert4rec.evaluation.config import EvaluationConfig
from hf_bert4rec.evaluation.plots import write_plots
from hf_bert4rec.evaluation.report import popularity_profile, sliced
from hf_bert4rec.evaluation.report_text import format_report, format_spread, legend
from hf_bert4rec.evaluation.scoring import EvaluationResult, evaluate_scorer
from hf_bert4rec.evaluation.task import EvaluationTask, genre_table, sampled_candidates
from hf_bert4rec.evaluation.trained_model import weights_sha256

SPECIAL, VOCAB, USERS = [0, 1, 2], 40, 30
CONFIG = EvaluationConfig(ks=[5, 10])
GENRES = [["Drama"], ["Comedy", "Drama"], ["War"], []]


@pytest.fixture
def task() -> EvaluationTask:
    """Users who each saw 2 to 12 of 37 items; one target each."""
    rng = np.random.default_rng(0)
    walks = [3 + rng.permutation(VOCAB - 3)[: 3 + user % 11] for user in range(USERS)]
    histories = Ragged.from_lists([walk[:-1] for walk in walks])
    targets = Ragged.from_lists([walk[-1:] for walk in walks])
    counts = np.bincount(histories.values, minlength=VOCAB)
    task = EvaluationTask(
        histories,
        targets,
        known=histories,
        counts=counts,
        vocab_size=VOCAB,
        special_ids=SPECIAL,
        genres=genre_table([GENRES[item % 4] for item in range(VOCAB - 3)], VOCAB),
    )
    return replace(task, negatives=sampled_candidates(task, seed=0))


def knows(task: EvaluationTask):
    """A scorer that puts the target of a history first."""
    answers = {tuple(history): target[0] for history, target in zip(task.histories, task.targets, strict=True)}

    def scorer(histories: Ragged) -> torch.Tensor:
        scores = torch.zeros(len(histories), VOCAB)
        for row, history in enumerate(histories):
            scores[row, answers[tuple(history)]] = 1.0
        return scores

    return scorer


def indifferent(histories: Ragged) -> torch.Tensor:
    return torch.zeros(len(histories), VOCAB)


def build(task: EvaluationTask, model: EvaluationResult) -> dict:
    baselines = fit_baselines(task.known, VOCAB)
    return reports.build_report(
        task,
        model,
        ((name, evaluate_scorer(scorer, task, CONFIG)) for name, scorer in baselines.items()),
        CONFIG,
        model_info={"name": "made-up", "weights_sha256": "0" * 64},
        protocol={"dataset": "toy", "split": "leave-one-out", "part": "test", "targets_sha256": "f"},
    )


def test_users_with_too_few_unseen_items_are_counted(task, caplog) -> None:
    assert sampled_candidates(task, seed=0)["uniform_37"].shape == (USERS, 37)
    assert "uniform_37: 30 users have fewer unseen items" in caplog.text


def test_a_perfect_scorer_gets_one_everywhere(task) -> None:
    result = evaluate_scorer(knows(task), task, EvaluationConfig(ks=[1, 5, 10]))
    for values in (result.per_user, *result.sampled.values()):
        for name, value in values.items():
            if name.startswith(("hit_rate", "ndcg", "recall", "map", "mrr")):
                assert (value == 1.0).all(), name
    assert (result.per_user["precision@1"] == 1.0).all()


def test_equal_scores_get_zero_everywhere(task) -> None:
    result = evaluate_scorer(indifferent, task, EvaluationConfig(ks=[1, 5, 10]))
    for values in (result.per_user, *result.sampled.values()):
        for name, value in values.items():
            if name.startswith(("hit_rate", "ndcg", "recall", "map", "precision")):
                assert (value == 0.0).all(), name


def test_slices_of_targets_have_intervals_over_users(task) -> None:
    rng = np.random.default_rng(0)
    unseen = [np.setdiff1d(np.arange(3, VOCAB), history) for history in task.histories]
    targets = Ragged.from_lists([rng.choice(items, 6, replace=False) for items in unseen])
    task = replace(task, targets=targets, negatives={})
    scores = torch.from_numpy(rng.random((USERS, VOCAB)))
    model = evaluate_scorer(lambda _: scores, task, CONFIG)
    ranks = model.ranking.ranks.values
    counts, hits = task.counts[targets.values], np.where(ranks <= 10, 1.0, 0.0)
    for part in build(task, model)["slices"]["target_popularity"]["model"]:
        inside = (counts >= part["from"]) & (counts <= part["to"])
        by_user = [hits[inside & (targets.row_ids == user)] for user in np.unique(targets.row_ids[inside])]
        draws, means = np.random.default_rng(CONFIG.seed), []
        for _ in range(1000):
            drawn = draws.integers(len(by_user), size=len(by_user))
            means.append(np.concatenate([by_user[user] for user in drawn]).mean())
        low, high = np.quantile(means, [0.025, 0.975])
        assert part["metrics"]["hit_rate@10"] == pytest.approx({"mean": hits[inside].mean(), "low": low, "high": high})


def test_novelty_counts_users_and_not_their_repeats() -> None:
    known = Ragged.from_lists([[3, 3, 3, 4], [3, 3]])  # both users have item 3, one of them item 4
    counts, targets = np.bincount(known.values, minlength=6), Ragged.from_lists([[5], [5]])
    task = EvaluationTask(known, targets, known, counts, vocab_size=6, special_ids=SPECIAL, exclude_seen=False)
    result = evaluate_scorer(lambda histories: -torch.arange(6.0).expand(2, -1), task, EvaluationConfig(ks=[2]))
    assert result.ranking.top_items.tolist() == [[3, 4], [3, 4]]
    assert result.per_user["novelty@2"].tolist() == [0.5, 0.5]  # 0 and 1 bit


def test_a_scorer_that_has_seen_the_target_is_detected(task) -> None:
    histories = Ragged.from_lists([[*h, *t] for h, t in zip(task.histories, task.targets, strict=True)])
    leaky = replace(task, histories=histories)
    with pytest.raises(ValueError, match="among the seen items"):
        evaluate_scorer(indifferent, leaky, EvaluationConfig(ks=[5]))


def test_the_report_holds_what_its_schema_says(task, tmp_path) -> None:
    made = build(task, evaluate_scorer(knows(task), task, CONFIG))
    path = tmp_path / reports.REPORT_FILE
    path.write_text(json.dumps(made, allow_nan=False))
    report = reports.load_report(path)
    assert report == made
    assert report["metrics"]["ndcg@10"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert report["protocol"]["catalogue_size"] == VOCAB - 3
    assert report["protocol"]["headline"] == "ndcg@10"
    for baseline in report["baselines"].values():
        difference = baseline["difference"]["ndcg@10"]
        assert difference["mean"] == pytest.approx(1.0 - baseline["metrics"]["ndcg@10"]["mean"])
        assert difference["low"] <= difference["mean"] <= difference["high"]
    for kind in ("history_length", "target_popularity"):
        assert sum(part["n"] for part in report["slices"][kind]["markov"]) == USERS
    for shares in report["popularity"].values():
        assert sum(shares) == pytest.approx(1.0)
    assert {"genre_ndcg@5", "novelty@10", "intra_list_diversity@5"} <= set(report["metrics"])
    assert {draw.split("_")[0] for draw in report["sampled"]} == {"popularity", "uniform"}
    assert report["environment"]["versions"]["torch"].startswith("2.")


def test_the_table_has_model_baselines_and_differences(task) -> None:
    report = build(task, evaluate_scorer(knows(task), task, CONFIG))
    text = format_report(report)
    first = next(line for line in text.splitlines() if line.startswith("NDCG@10 "))
    assert first.split()[:5] == ["NDCG@10", "1.0000", "1.0000", "to", "1.0000"]
    assert "30 held-out items of 30 users, 0 of them not in the training data" in text
    assert "not clearly different" not in text
    assert "novelty@10: mean rarity of the listed items, in bits" in legend(report)
    assert max(map(len, text.splitlines())) < 110


def test_a_model_equal_to_its_baseline_is_not_clearly_different(task) -> None:
    text = format_report(build(task, evaluate_scorer(fit_baselines(task.known, VOCAB)["markov"], task, CONFIG)))
    assert "  not clearly different from Markov (+0.0000, +0.0000 to +0.0000)" in text.splitlines()


def test_every_plot_is_drawn(task, tmp_path) -> None:
    report = build(task, evaluate_scorer(knows(task), task, CONFIG))
    report["protocol"]["dataset"] = r"$\bad$"  # not a formula of matplotlib
    write_plots(report, tmp_path / "plots")
    paths = list((tmp_path / "plots").iterdir())
    names = {path.name for path in paths}
    assert names == {"metrics.png", "history_length.png", "target_popularity.png", "popularity.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000 for path in paths)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"schema_version": 0}', "schema version 0, .* run `hf-bert4rec evaluate`"),
        ('{"figures": {}}', "schema version None, .* run `hf-bert4rec evaluate`"),
        ('{"schema_version": 99}', "schema version 99, .* update hf-bert4rec"),
        ('{"schema_version": 2, "metrics": {}}', "lacks the sections model, protocol"),
        ('{"schema_ver', "is not valid JSON"),
        ("[]", "holds a list, not an object: run `hf-bert4rec evaluate`"),
    ],
)
def test_an_evaluation_that_cannot_be_read_says_what_to_do(tmp_path, content: str, message: str) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        reports.load_report(path)


def test_a_missing_evaluation_or_model_is_named(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no evaluation at .*evaluation\.json"):
        reports.load_report(tmp_path / "evaluation.json")
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors"):
        weights_sha256(tmp_path)


def test_the_hash_of_the_weights_is_that_of_the_file(tmp_path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"abc")
    assert weights_sha256(tmp_path).startswith("ba7816bf")


def test_spread_over_seeds() -> None:
    def made(value: float, targets: str = "a") -> dict:
        return {"protocol": {"targets_sha256": targets}, "metrics": {"ndcg@10": {"mean": value}}}

    metrics = reports.spread([made(0.1), made(0.3)])
    assert metrics["ndcg@10"]["mean"] == pytest.approx(0.2)
    assert metrics["ndcg@10"]["sd"] == pytest.approx(0.1414, abs=1e-4)
    assert "0.2000" in format_spread(metrics)
    with pytest.raises(ValueError, match="2 different sets of targets"):
        reports.spread([made(0.1), made(0.3, "b")])


def test_slices_partition_the_rows_and_do_not_split_ties() -> None:
    sizes = np.array([5] * 20 + [9, 9, 12, 30, 31])
    parts = sliced(sizes, {"x": sizes.astype(float)}, seed=0, parts=5)
    assert sum(part["n"] for part in parts) == len(sizes)
    assert all(first["to"] < second["from"] for first, second in itertools.pairwise(parts))
    assert parts[0]["metrics"]["x"] == {"mean": 5.0, "low": 5.0, "high": 5.0}


def test_tenths_of_the_catalogue_are_ordered_by_popularity() -> None:
    shares = popularity_profile(np.bincount([19, 18, 0], minlength=20), np.arange(20))
    assert shares == pytest.approx([2 / 3, 0, 0, 0, 0, 0, 0, 0, 0, 1 / 3])
