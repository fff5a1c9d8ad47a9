"""`hf-bert4rec evaluate`, and the same ranks from Trainer, command and pipeline."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecTokenizer, MovieRecommendationPipeline
from hf_bert4rec.cli.evaluate import main
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.collators import DataCollatorForMaskedItems
from hf_bert4rec.data.encoding import encode_histories
from hf_bert4rec.data.leakage import LeakageError, target_hash
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.data.prepared import PreparedData
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.data.taste import fit_taste
from hf_bert4rec.data.transitions import fit_transition_memory
from hf_bert4rec.data.windows import TrainingWindows
from hf_bert4rec.evaluation.config import EvaluationConfig
from hf_bert4rec.evaluation.evaluate import evaluate_model, refill_memory, taste_sections
from hf_bert4rec.evaluation.examples import MAX_HISTORY
from hf_bert4rec.evaluation.metrics import metrics_from_ranks
from hf_bert4rec.evaluation.report import load_report
from hf_bert4rec.evaluation.report_text import new_users_meaning
from hf_bert4rec.evaluation.scoring import ModelScorer, evaluate_scorer
from hf_bert4rec.evaluation.task import build_task
from hf_bert4rec.hub.export import write_folder
from hf_bert4rec.training.trainer import Bert4RecTrainer, Bert4RecTrainingArguments
from tests.model.tiny import ids_of
from tests.published import make_model, make_record

MOVIES, USERS = 30, 60
CLOSE = 1e-5


@pytest.fixture(scope="module")
def options(tmp_path_factory) -> DataArguments:
    """Ratings of users who each watch some of thirty movies in random order, and the movies' titles and genres."""
    folder = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(0)
    lines = ["user_id,movie_id,rating,timestamp"]
    for user in range(USERS):
        walk = rng.permutation(MOVIES)[: 12 + user % 9]
        lines += [f"{user},{100 + movie},4,{1000 + 10 * step + user % 3}" for step, movie in enumerate(walk)]
    titles = {0: "Eternal Sunshine of the Spotless Mind (2004)", 1: "Lost in Translation (2003)"}
    rows = [
        f'{100 + movie},"{titles.get(movie, f"Movie {movie} (1999)")}",{("Drama", "Comedy|War")[movie % 2]}'
        for movie in range(MOVIES)
    ]
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n")
    (folder / "movies.csv").write_text("\n".join(["movie_id,title,genres", *rows]) + "\n")
    return DataArguments(ratings=str(folder / "ratings.csv"), items=str(folder / "movies.csv"), min_interactions=3)


@pytest.fixture(scope="module")
def data(options) -> PreparedData:
    return prepare(options)


@pytest.fixture(scope="module")
def folder(options, data, tmp_path_factory) -> Path:
    """An exported model with random weights that give distinct scores."""
    return export_model(data, options, tmp_path_factory.mktemp("models") / "model", seed=0)


def export_model(data: PreparedData, options: DataArguments, folder: Path, seed: int) -> Path:
    model = make_model(data, seed)
    record = make_record(data, model, options, data.name)
    write_folder(model, data.tokenizer, folder, "card", {"training.json": record})
    return folder


@pytest.fixture(scope="module")
def evaluated(folder) -> dict:
    main([str(folder), "--examples", "3"])
    return load_report(folder / "evaluation.json")


def test_report_and_plots_are_written_to_the_model_folder(evaluated, folder, data) -> None:
    assert len(list((folder / "plots").glob("*.png"))) == 4
    protocol = evaluated["protocol"]
    assert protocol["targets_sha256"] == target_hash(data.split_tables["test"])
    interactions = len(Ragged.from_column(data.histories, "item_ids").values)
    assert (protocol["users_in_all"], protocol["interactions_in_all"]) == (USERS, interactions)
    assert protocol["counts"]["users"] == USERS
    assert protocol["counts"]["known_interactions"] == interactions - USERS  # all but the targets
    assert protocol["catalogue_size"] == MOVIES
    assert evaluated["model"]["window"] == 12
    assert set(evaluated["baselines"]) == {"random", "popularity", "markov", "item_knn"}
    assert set(evaluated["environment"]["seconds"]) == {"model", "all", *evaluated["baselines"]}


def test_python_gives_the_report_of_the_command(evaluated, folder) -> None:
    report = evaluate_model(folder, config=EvaluationConfig(examples=3))
    assert {**report, "environment": None} == {**evaluated, "environment": None}


def test_the_card_shows_the_figures(evaluated, folder) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"**{evaluated['metrics']['ndcg@10']['mean']:.4f}**" in card
    assert "Not evaluated yet" not in card


def test_examples_begin_with_the_fixed_history(evaluated, data) -> None:
    fixed, *others = evaluated["examples"]
    assert [movie["title"][:12] for movie in fixed["history"]] == ["Eternal Suns", "Lost in Tran"]
    assert fixed["held_out"] == []
    assert len(others) == 2
    targets = {tuple(row["item_ids"][-MAX_HISTORY:]): row["target"] for row in data.split_tables["test"]}
    for example in others:
        assert len(example["recommended"]) == 10
        assert ids_of(example["held_out"]) == [targets[tuple(ids_of(example["history"]))]]
        listed = {movie["movie_id"] for movie in example["recommended"]}
        assert not listed & {movie["movie_id"] for movie in example["history"]}


def pipeline_ranks(folder: Path, histories: list[list[int]], targets: list[int]) -> tuple[list[int], list[float]]:
    """Rank of each target in the pipeline's answer and the smallest score gap to a neighbour."""
    pipe = MovieRecommendationPipeline(
        model=Bert4RecForMaskedLM.from_pretrained(folder),
        tokenizer=Bert4RecTokenizer.from_pretrained(folder),
        task="movie-recommendation",
    )
    ranks, gaps = [], []
    with pytest.warns(UserWarning, match="fewer|left"):  # seen movies are left out
        answers = pipe(histories, top_k=MOVIES, batch_size=7)
    for answer, target in zip(answers, targets, strict=True):
        index = ids_of(answer).index(target)
        scores = [movie["score"] for movie in answer]
        near = [scores[i] for i in (index - 1, index + 1) if 0 <= i < len(scores)]
        ranks.append(index + 1)
        gaps.append(min(abs(scores[index] - score) for score in near))
    return ranks, gaps


def test_trainer_command_and_pipeline_give_the_same_ranks(folder, data, tmp_path) -> None:
    trainer = Bert4RecTrainer(
        model=Bert4RecForMaskedLM.from_pretrained(folder),
        args=Bert4RecTrainingArguments(str(tmp_path / "run"), use_cpu=True, bf16=False, disable_tqdm=True),
        train_dataset=TrainingWindows(data.train, 10),
        eval_dataset=data.next_item_dataset("validation"),
        data_collator=DataCollatorForMaskedItems(data.tokenizer),
        processing_class=data.tokenizer,
    )
    trained = trainer.evaluate()
    trainer_ranks = trainer.predict(data.next_item_dataset("validation")).predictions[:, 0]

    main([str(folder), "--part", "validation", "--examples", "0", "--output", str(tmp_path)])
    script = load_report(tmp_path / "evaluation.json")["metrics"]
    model = ModelScorer(Bert4RecForMaskedLM.from_pretrained(folder), data.tokenizer)
    config = EvaluationConfig(part="validation", ks=[10], batch_size=7)
    script_ranks = evaluate_scorer(model, build_task(data, config), config).ranking.ranks.values

    rows = data.split_tables["validation"]
    piped, gaps = pipeline_ranks(folder, list(rows["item_ids"]), list(rows["target"]))
    assert script_ranks.tolist() == trainer_ranks.tolist()
    differing = [gap for rank, other, gap in zip(piped, script_ranks, gaps, strict=True) if rank != other]
    assert all(gap < CLOSE for gap in differing), differing
    assert len(differing) <= 1  # counted: neighbours that close are rare
    for name, value in metrics_from_ranks(np.array(piped)).items():
        assert script[name]["mean"] == pytest.approx(trained[f"eval_{name}"], abs=1e-12)
        assert script[name]["mean"] == pytest.approx(value, abs=0.02 if differing else 1e-12)


def test_lists_may_be_as_long_as_the_catalogue(folder, tmp_path, caplog) -> None:
    """Seen movies are excluded, so every list is shorter than 30 and holds the target."""
    main([str(folder), "--ks", str(MOVIES), "--examples", "0", "--output", str(tmp_path)])
    report = load_report(tmp_path / "evaluation.json")
    assert report["metrics"][f"hit_rate@{MOVIES}"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert report["aggregate"][f"coverage@{MOVIES}"] == 1.0
    assert report["protocol"]["headline"] == f"ndcg@{MOVIES}"
    assert f"uniform_{MOVIES}: {USERS} users have fewer unseen items" in caplog.text


def test_several_seeds_are_summarised(folder, data, options, tmp_path, capsys) -> None:
    other = export_model(data, options, tmp_path / "other", seed=1)
    main([str(folder), str(other), "--ks", "5", "--examples", "0", "--output", str(tmp_path / "both")])
    spread = json.loads((tmp_path / "both" / "spread.json").read_text())
    single = [load_report(path / "evaluation.json")["metrics"]["mrr"]["mean"] for path in (folder, other)]
    assert spread["metrics"]["mrr"]["values"] == single
    assert spread["metrics"]["mrr"]["mean"] == pytest.approx(np.mean(single))
    output = capsys.readouterr().out
    assert "2 models\n" in output
    assert output.count("\nNDCG@5 ") == 3  # of each model, and of both


def test_targets_that_training_never_saw_are_counted(folder, options, tmp_path, capsys) -> None:
    """Two users end on a movie that only they watched: it is in no training history."""
    table = tmp_path / "ratings.csv"
    lines = Path(options.ratings).read_text().splitlines()
    walks = [line.split(",") for line in lines[1:]]
    last = {user: max((row for row in walks if row[0] == user), key=lambda row: int(row[3])) for user in ("3", "8")}
    lines = [line for line in lines if line.split(",")[1] != "107"]
    lines += [f"{user},107,4,{int(row[3]) + 10}" for user, row in last.items()]
    table.write_text("\n".join(lines) + "\n")
    main([str(folder), "--ratings", str(table), "--min_interactions", "1", "--output", str(tmp_path)])
    counts = load_report(tmp_path / "evaluation.json")["protocol"]["counts"]
    assert (counts["targets"], counts["unseen_targets"]) == (USERS, 2)
    assert "60 held-out items of 60 users, 2 of them not in the training data" in capsys.readouterr().out


@pytest.mark.parametrize("split", ["last-n", "temporal"])
def test_a_model_trained_on_the_targets_is_refused(folder, split: str, tmp_path) -> None:
    with pytest.raises(LeakageError, match=r"trained with --split leave-one-out: evaluate it with the same"):
        main([str(folder), "--split", split, "--targets", "3", "--output", str(tmp_path)])
    assert not (tmp_path / "evaluation.json").exists()


def test_new_users_are_reported_and_were_not_trained_on(folder, options, tmp_path, capsys) -> None:
    with pytest.raises(LeakageError, match=r"held_out_users is 0.2, but .* was trained with 0.0 and knows some"):
        main([str(folder), "--held_out_users", "0.2", "--output", str(tmp_path)])
    held_out = replace(options, held_out_users=0.2)
    data = prepare(held_out)
    copy = export_model(data, held_out, tmp_path / "copy", seed=0)
    main([str(copy), "--examples", "1"])
    report = load_report(copy / "evaluation.json")
    assert report["protocol"]["counts"]["users"] + len(data.split.users["test"]) < USERS
    section = report["new_users"]
    assert section["users"] == section["held_out"] == len(data.split.users["test"])
    assert list(section["results"]["3"]) == ["next", "random", "popularity", "markov", "item_knn", "ease"]
    assert set(report["related_items"]["results"]) == {
        *("next", "similar", "random", "popularity", "markov", "item_knn", "ease")
    }
    printed, card = capsys.readouterr().out, (copy / "README.md").read_text(encoding="utf-8")
    people = f"New users: {section['users']} users held out"
    for text in (people, "3 items, NDCG@10 paired by user:", "Related items: one item"):
        assert text in printed
        assert text in card


def test_a_model_of_all_users_is_measured_by_a_second_model_of_taste(options, data, tmp_path) -> None:
    """Its figures are those of a model of taste that was trained with `--held_out_users 0.2`."""
    config = EvaluationConfig(ks=[10])
    model = Bert4RecForMaskedLM(Bert4RecConfig(**{**make_model(data).config.to_dict(), "taste_size": 8})).eval()
    section = taste_sections(model, data, config)["new_users"]
    assert section.pop("refitted")

    held_out = prepare(replace(options, held_out_users=0.2))
    assert model.taste is not None
    fit_taste(model.taste, held_out.train, held_out.train_liked, held_out.tokenizer.items)
    expected = taste_sections(model, held_out, config)["new_users"]
    del expected["results"]["1"]["next"], expected["results"]["3"]["next"], expected["results"]["5"]["next"]
    assert section == expected | {"model": ["taste"]}
    assert "This model was trained on all users" in new_users_meaning(section | {"refitted": True})

    few = prepare(options, pl.read_csv(options.ratings).filter(pl.col("user_id").rank("dense") <= 3))
    assert "new_users" not in taste_sections(model, replace(few, tokenizer=data.tokenizer), config)


@pytest.mark.parametrize(("split", "targets"), [("last-n", 2 * USERS), ("temporal", None)])
def test_a_model_trained_on_the_same_split_is_evaluated(folder, split: str, targets: int | None, tmp_path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    record = json.loads((copy / "training.json").read_text())
    record["options"] |= {"split": split, "targets": 2, "quantile": 0.8}
    (copy / "training.json").write_text(json.dumps(record))
    main([str(copy), "--split", split, "--targets", "2", "--quantile", "0.8", "--examples", "1"])
    report = load_report(copy / "evaluation.json")
    assert report["protocol"]["counts"]["targets"] == (targets or report["protocol"]["counts"]["users"])
    assert report["protocol"]["split"] == {"last-n": "last 2", "temporal": "temporal at 0.8"}[split]


def test_bad_input_is_named(folder, options, tmp_path) -> None:
    few = tmp_path / "few.csv"
    lines = Path(options.ratings).read_text().splitlines()
    few.write_text("\n".join(line for line in lines if ",105," not in line and ",107," not in line))
    with pytest.raises(ValueError, match=r"0 items of the data set are missing .* 2 of the model's are not"):
        main([str(folder), "--ratings", str(few)])
    with pytest.raises(FileNotFoundError, match=r"no table shop.csv: say where it is with --ratings"):
        main([str(folder), "--ratings", "shop.csv"])
    with pytest.raises(ValueError, match="k=31 exceeds the catalogue's 30 items"):
        main([str(folder), "--ks", "5", "31"])
    with pytest.raises(ValueError, match="list lengths must be 1 or more"):
        main([str(folder), "--ks", "0"])
    with pytest.raises(ValueError, match="examples is -1 and batch_size 256; at least 0 and 1"):
        main([str(folder), "--examples=-1"])
    with pytest.raises(ValueError, match="part is 'train'; it must be one of validation, test"):
        EvaluationConfig(part="train")
    with pytest.raises(FileNotFoundError, match="nowhere is neither a folder nor a model"):
        main([str(tmp_path / "nowhere")])


def test_known_interactions_precede_the_targets(data) -> None:
    def total(known: Ragged) -> int:
        return len(known.values)

    def resplit(**changed: Any) -> PreparedData:
        return replace(data, split=replace(data.split, arguments=replace(data.split.arguments, **changed)))

    interactions = len(Ragged.from_column(data.histories, "item_ids").values)
    assert total(data.known_interactions("test")) == interactions - USERS
    assert total(data.known_interactions("validation")) == interactions - 2 * USERS

    long = resplit(split="last-n", targets=8)  # shorter histories stay in training completely
    evaluated = len(long.split_tables["test"])
    assert 0 < evaluated < USERS
    assert total(long.known_interactions("test")) == interactions - 8 * evaluated

    timed = resplit(split="temporal", quantile=0.8)
    times = Ragged.from_column(data.histories, "timestamps").values
    known = timed.known_interactions("test")
    assert total(known) == (times < timed.split_tables["test"][0]["cut"]).sum()
    first = known[0].tolist()
    assert first == data.tokenizer.encode_items(data.histories[0]["item_ids"])[: len(first)]
    with_times = timed.known_interactions("test", timed=True)
    assert with_times.values.tolist() == known.values.tolist()
    assert sorted(with_times.columns["timestamps"]) == sorted(times[times < timed.split_tables["test"][0]["cut"]])


def test_a_memory_of_all_interactions_is_replaced_before_testing(data, options, tmp_path) -> None:
    def ndcg(name: str, histories: Ragged, refresh_memory: bool) -> float:
        torch.manual_seed(0)
        model = Bert4RecForMaskedLM(Bert4RecConfig(vocab_size=len(data.tokenizer), hidden_size=16, memory_size=20))
        fit_transition_memory(model, histories)
        record = make_record(data, model, options, data.name)
        record["options"]["refresh_memory"] = refresh_memory
        write_folder(model, data.tokenizer, tmp_path / name, "card", {"training.json": record})
        report = evaluate_model(tmp_path / name)
        filled = "filled with all interactions that precede the targets"
        assert report["protocol"].get("memory") == (filled if refresh_memory else None)
        return report["metrics"]["ndcg@10"]["mean"]

    complete = encode_histories(data.histories, data.tokenizer)
    known = ndcg("known", data.known_interactions("test"), refresh_memory=False)
    assert ndcg("complete", complete, refresh_memory=True) == known
    assert ndcg("leaked", complete, refresh_memory=False) > known + 0.05


def test_a_memory_is_refilled_with_what_its_transitions_count(data, options, tmp_path) -> None:
    model = Bert4RecForMaskedLM(Bert4RecConfig(vocab_size=len(data.tokenizer), hidden_size=16, memory_size=20))
    record = make_record(data, model, options, data.name)
    record["options"]["refresh_memory"] = True
    for backward in (0.0, 0.3):
        folder = tmp_path / str(backward)
        record["memory"] = {"weight": 1.0, "backward": backward}
        write_folder(model, data.tokenizer, folder, "card", {"training.json": record})
        assert refill_memory(model, folder, data, "test")
        weights = model.memory.weights.clone()
        fit_transition_memory(model, data.known_interactions("test"), backward)
        assert torch.equal(model.memory.weights, weights)
