"""`fit` on tables in memory and in files, by recipes of every form; the example notebook; runs that are resumed."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from hf_bert4rec import fit
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.folder.prepare_folder import prepare_folder
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.data.releases import RELEASES
from hf_bert4rec.hub.folder import load_pipeline
from hf_bert4rec.hub.records import portable_command, portable_options
from hf_bert4rec.training.arguments import MaskingArguments, ModelArguments, parse, parse_options
from hf_bert4rec.training.build import build_trainer
from hf_bert4rec.training.fit import OPTIONS_FILE, train, train_or_resume
from hf_bert4rec.training.record import example_answer
from tests.data.movielens_archives import small_release, write_release
from tests.published import make_model, write_tables
from tests.recipes import NEXT_ITEM, NO_EVALUATION, TINY
from tests.stress.workloads import tiny_trainer

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "quickstart.ipynb"
RECIPE: dict[str, Any] = {**TINY, **NEXT_ITEM, "memory_size": 20, "num_train_epochs": 1, "min_interactions": 1}
# Of 12 items, each is followed by the next one.
TABLE = pl.DataFrame(
    [(user, (user + step) % 12, step) for user in range(48) for step in range(6)],
    schema=["customer", "article", "date"],
    orient="row",
).with_columns(pl.col("date") + 1_700_000_000)


def test_fit_trains_on_a_prepared_folder(tmp_path: Path) -> None:
    TABLE.write_csv(tmp_path / "shop.csv")
    prepare_folder(DataArguments(ratings=str(tmp_path / "shop.csv"), min_interactions=1), tmp_path / "prepared")
    pipe = fit(tmp_path / "prepared", recipe=RECIPE, output_dir=tmp_path / "model")
    assert [movie["article"] for movie in pipe([3, 4], top_k=1)] == [5]


def test_a_penalty_of_popularity_is_subtracted_from_the_biases(tmp_path: Path) -> None:
    table = pl.DataFrame(
        [(user, item) for user in range(30) for item in range(3 + user % 10)], schema=["user", "item"], orient="row"
    )
    recipe = {**RECIPE, **NO_EVALUATION, "memory_weight": 1.0, "max_steps": 2, "time_column": ""}
    plain = fit(table, recipe=recipe, output_dir=tmp_path / "plain")
    penalised = fit(table, recipe={**recipe, "popularity_penalty": 0.5}, output_dir=tmp_path / "penalised")
    counts = np.array(plain.tokenizer.items["count"]) + 1
    assert counts.max() > 2 * counts.min()
    difference = penalised.item_biases() - plain.item_biases()
    assert difference.numpy() == pytest.approx(-0.5 * np.log(counts / counts.sum()), abs=1e-5)
    answers = [
        pipe([0, 1], top_k=10, **options) for pipe, options in ((plain, {"popularity_penalty": 0.5}), (penalised, {}))
    ]
    assert [movie["item"] for movie in answers[0]] == [movie["item"] for movie in answers[1]]
    assert "0.5 times the logarithm" in (tmp_path / "penalised" / "README.md").read_text()


def run_cells(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Execute the notebook's code in a folder; returns its names."""
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), names)
    return names


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    names = run_cells(tmp_path, monkeypatch)
    assert capsys.readouterr().out.splitlines()[-6].startswith("Blotting paper ['Ink'] 0.")
    assert names["pipe"](["Assam", "Darjeeling"], goal="next", top_k=1)[0]["title"] == "Sencha"


@pytest.mark.slow
def test_fit_is_the_command_on_a_table_in_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pipe = fit(TABLE.to_pandas(), recipe=RECIPE, output_dir=tmp_path / "memory", seed=3)
    assert (
        "the table of interactions: DataFrame, users in 'customer', items in 'article', times in 'date'" in caplog.text
    )
    figures = caplog.text.split("validation  NDCG@10  HitRate@10\n")[1].splitlines()
    assert {line.split("  ")[0] for line in figures[:5]} == {"Markov", "item-kNN", "popularity", "random", "this model"}
    assert [movie["article"] for movie in pipe([3, 4], top_k=1)] == [5]
    assert pipe.model.config.causal
    assert pipe.model.config.memory_size == pipe.model.config.vocab_size == 15  # at most one entry per token
    card = (tmp_path / "memory" / "README.md").read_text()
    assert "Every item of a history is predicted from those before it" in card
    assert "A transition memory stores, for each item, up to 20 items that followed it most" in card

    (tmp_path / "shop.csv").write_text(TABLE.write_csv())
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(RECIPE))
    words = [str(recipe), "--ratings", str(tmp_path / "shop.csv"), "--seed", "3"]
    train(parse([*words, "--output_dir", str(tmp_path / "file")]), words)
    assert load_pipeline(tmp_path / "file")([3, 4], top_k=5) == pipe([3, 4], top_k=5)
    memory, file = (json.loads((tmp_path / name / "training.json").read_text()) for name in ("memory", "file"))
    assert memory["validation"] == file["validation"]
    markov = memory["validation"]["markov"]
    assert (markov["ndcg@10"], markov["hit_rate@10"]) == (1.0, 1.0)
    assert "this model is" in figures[5]
    assert markov["difference"]["ndcg@10"]["mean"] == pytest.approx(
        memory["validation"]["model"]["ndcg@10"] - 1, abs=1e-6
    )
    assert list(memory["validation"])[-1] in ("random", "popularity")
    assert memory["options"].pop("ratings") == memory["dataset"] == "interactions"
    assert file["options"].pop("ratings") == "shop.csv"
    assert memory["options"] == file["options"]
    assert memory["command"].startswith("hf-bert4rec train recipe.yaml --hidden_size=16")
    assert {path.name for path in (tmp_path / "memory").iterdir()} == {
        path.name for path in (tmp_path / "file").iterdir()
    }


def test_options_override_a_recipe_and_none_unsets(tmp_path: Path) -> None:
    options = {"time_column": None, "quote_char": None, "columns": ("a", "b"), "output_dir": tmp_path}
    (data, model, masking, _), argv = parse_options("ml-100k", {**options, "early_stopping_patience": None})
    assert (data.time_column, data.quote_char, data.columns) == ("", None, ["a", "b"])
    assert (model.memory_size, masking.early_stopping_patience) == (400, None)
    assert parse(argv)[:3] == (data, model, masking)
    (data, model, *_), _ = parse_options({"memory_size": 7, "output_dir": "x"}, {"min_rating": 3})
    assert (model.memory_size, model.causal, data.min_rating) == (7, False, 3.0)
    with pytest.raises(ValueError, match=r"unknown option --memory_sise; did you mean --memory_size\?"):
        parse_options("ml-100k", {"memory_sise": 7})


def test_bad_tables_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="No user is left of 1 interactions"):
        fit([{"user": 1, "item": 2, "time": 3}])
    with pytest.raises(FileNotFoundError, match=r"orders\.csv: no such file"):
        fit("orders.csv")
    with pytest.raises(FileNotFoundError, match="no recipe 'nothing'"):
        fit(TABLE, recipe="nothing")
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_a_release_is_trained_on_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    movies = [(number, f"Movie {number} (1990)", ["Drama"]) for number in range(1, 31)]
    ratings = [
        (user, int(movie), 4, 880_000_000 + step)
        for user in range(1, 21)
        for step, movie in enumerate(generator.permutation(np.arange(1, 31))[:20])
    ]
    monkeypatch.setitem(RELEASES, "ml-100k", small_release("ml-100k", ratings, movies))
    write_release(tmp_path / "data", "ml-100k", ratings, movies)
    monkeypatch.setenv("HF_BERT4REC_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    pipe = fit("ml-100k", recipe=RECIPE)
    assert len(pipe(["Movie 1 (1990)"], top_k=3)) == 3
    assert json.loads((tmp_path / "outputs" / "ml-100k" / "training.json").read_text())["dataset"] == "ml-100k"


OPTIONS = {"learning_rate": 1e-3, "mlm_probability": 0.3, "seed": 42, "num_train_epochs": 1}


def test_a_resumed_run_needs_the_options_of_its_start(tmp_path):
    train_or_resume(tiny_trainer(tmp_path, epochs=1), OPTIONS)
    assert json.loads((tmp_path / OPTIONS_FILE).read_text()) == OPTIONS
    changed = {**OPTIONS, "learning_rate": 5e-4, "seed": 1}
    with pytest.raises(
        ValueError, match=r"learning_rate is 0.0005 and was 0.001; seed is 1 and was 42. Resume with its"
    ):
        train_or_resume(tiny_trainer(tmp_path, epochs=2, resume_from_checkpoint="last"), changed)
    longer = tiny_trainer(tmp_path, epochs=2, resume_from_checkpoint="last")
    train_or_resume(longer, {**OPTIONS, "num_train_epochs": 2})
    assert longer.state.global_step == 8  # 32 rows in batches of 8, twice


def test_a_run_is_not_resumed_on_another_table(tmp_path):
    options = {"output_dir": tmp_path / "model", "recipe": {**RECIPE, "save_strategy": "epoch"}}
    fit(TABLE, **options)
    later = TABLE.with_columns(pl.col("article") + 100)
    options["resume_from_checkpoint"] = "last"
    for table, changed in ((later, "vocabulary_sha256"), (TABLE[:-1], "training_interactions is 191 and was 192")):
        with pytest.raises(ValueError, match=f"had other options or data: .*{changed}"):
            fit(table, **options)
    fit(TABLE, **options)


def test_a_run_is_not_resumed_with_other_steps(tmp_path):
    options = {"output_dir": tmp_path / "model", "recipe": {**RECIPE, "save_strategy": "epoch", "num_train_epochs": 2}}
    fit(TABLE, **options, per_device_train_batch_size=8)
    options["resume_from_checkpoint"] = "last"
    with pytest.raises(ValueError, match=r"had other options or data: .* number of processes is 4 and was 8"):
        fit(TABLE, **options, per_device_train_batch_size=4)
    with pytest.raises(ValueError, match="train_sampling_strategy is random and was group_by_length"):
        fit(TABLE, **options, per_device_train_batch_size=8, train_sampling_strategy="random")
    assert "2 epochs in " in (tmp_path / "model" / "README.md").read_text()
    fit(TABLE, **options, per_device_train_batch_size=4, gradient_accumulation_steps=2)
    assert "2 epochs, the part after an interruption in " in (tmp_path / "model" / "README.md").read_text()


@pytest.mark.parametrize("options", [{"metric_for_best_model": "hit_rate@10"}, {"load_best_model_at_end": False}])
def test_the_record_has_step_and_ndcg_of_the_exported_weights(tmp_path, options):
    folder = tmp_path / "model"
    recipe = {**RECIPE, "num_train_epochs": 3, "memory_size": 0, "learning_rate": 0.003}
    fit(TABLE, recipe=recipe, output_dir=folder, **options)
    record = json.loads((folder / "training.json").read_text())
    evaluated = {entry["step"]: entry for entry in record["curve"] if "eval_ndcg@10" in entry}
    step = 6 if "metric_for_best_model" in options else 18  # the hit rate is 1 from the first evaluation on
    assert evaluated[6]["eval_ndcg@10"] < evaluated[18]["eval_ndcg@10"]
    assert record["best_step"] == step
    assert record["best_validation_ndcg@10"] == evaluated[step]["eval_ndcg@10"]
    assert record["validation"]["model"]["ndcg@10"] == pytest.approx(evaluated[step]["eval_ndcg@10"], abs=1e-6)


def test_a_new_run_replaces_the_checkpoints_and_options_of_an_earlier_one(tmp_path):
    train_or_resume(tiny_trainer(tmp_path, epochs=2), OPTIONS)
    (tmp_path / "checkpoint-8-best").mkdir()  # a user's own
    train_or_resume(tiny_trainer(tmp_path, epochs=1), {**OPTIONS, "seed": 1})
    assert not (tmp_path / "checkpoint-8").exists()
    assert (tmp_path / "checkpoint-8-best").exists()
    assert json.loads((tmp_path / OPTIONS_FILE).read_text())["seed"] == 1


def test_resuming_needs_a_checkpoint(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no complete checkpoint in .*: start without --resume_from_checkpoint"
    ):
        train_or_resume(tiny_trainer(tmp_path, resume_from_checkpoint="last"), OPTIONS)


def test_the_causal_task_is_for_models_that_are_not_causal():
    with pytest.raises(ValueError, match=r"causal_prob=0\.5 with causal=true"):
        build_trainer(None, ModelArguments(causal=True), MaskingArguments(causal_prob=0.5), None)


def test_a_causal_model_masks_nothing():
    for masking in ({}, {"mlm_probability": 1.0}, {"mask_replace_prob": 0.0}):
        with pytest.raises(ValueError, match=r"causal=true with mlm_probability=.*set them to 1\.0 and 0\.0"):
            build_trainer(None, ModelArguments(causal=True), MaskingArguments(**masking), None)


def test_options_name_tables_without_their_folders():
    options = asdict(DataArguments(ratings="/home/me/shop.csv", items="/home/me/catalogue.csv", data_dir="/data"))
    portable = portable_options(options)
    assert (portable["ratings"], portable["items"]) == ("shop.csv", "catalogue.csv")
    assert set(options) - set(portable) == {"data_dir"}
    assert not [value for value in portable.values() if "/" in str(value)]
    assert portable_options(portable) == portable
    assert portable_options(asdict(DataArguments()))["ratings"] is None


def test_the_command_can_be_set(tmp_path):
    (tmp_path / "my shop.csv").write_text("")
    recipe = str(Path(__file__).resolve().parents[2] / "training" / "recipes" / "ml-100k.yaml")
    words = [recipe, "--ratings", str(tmp_path / "my shop.csv"), "--seed", "1", "--output_dir", str(tmp_path / "out")]
    words += [f"--data_dir={tmp_path}", "--resume_from_checkpoint", "last", f"--items={tmp_path / 'my shop.csv'}"]
    assert portable_command(words) == ("ml-100k --ratings 'my shop.csv' --seed 1 '--items=my shop.csv'")


def test_the_command_has_no_secrets_and_folders(tmp_path, monkeypatch):
    """Options may be written with hyphens, and a glob is not an existing path."""
    monkeypatch.chdir(tmp_path)
    words = ["ml-1m", "--hub-token=hf_secret", "--hub_token", "hf_secret", "--output-dir", str(tmp_path / "out")]
    words += ["--data-dir", str(tmp_path), "--resume-from-checkpoint=last"]
    for glob in (f"{tmp_path}/*.csv", "clients/acme/*.csv"):
        assert portable_command([*words, "--ratings", glob, "--separator=/"]) == "ml-1m --ratings '*.csv' --separator=/"


def test_the_example_is_the_answer_to_the_most_watched(tmp_path):
    data = prepare(write_tables(tmp_path))
    record_example = example_answer(make_model(data), data.tokenizer)
    counts = dict(zip(data.tokenizer.item_ids, data.tokenizer.items["count"], strict=True))
    assert [counts[item] for item in record_example["history_ids"]] == sorted(counts.values(), reverse=True)[:3]
    assert [data.tokenizer.resolve(entry) for entry in record_example["history"]] == data.tokenizer.encode_items(
        record_example["history_ids"]
    )
    assert len(record_example["answer"]) == 3
    assert not {movie["movie_id"] for movie in record_example["answer"]} & set(record_example["history_ids"])
