"""`training.json` describes the run without local folders."""

from dataclasses import asdict

from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.training.record import ROOT, command, example, portable_options
from tests.published import make_model, write_tables


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
    recipe = str(ROOT / "training" / "recipes" / "ml-100k.yaml")
    words = [recipe, "--ratings", str(tmp_path / "my shop.csv"), "--seed", "1", "--output_dir", str(tmp_path / "out")]
    words += [f"--data_dir={tmp_path}", "--resume_from_checkpoint", "last", f"--items={tmp_path / 'my shop.csv'}"]
    assert command(words) == ("hf-bert4rec train ml-100k --ratings 'my shop.csv' --seed 1 '--items=my shop.csv'")


def test_the_example_is_the_answer_to_the_most_watched(tmp_path):
    data = prepare(write_tables(tmp_path))
    record_example = example(make_model(data), data.tokenizer)
    counts = dict(zip(data.tokenizer.item_ids, data.tokenizer.items["count"], strict=True))
    assert [counts[item] for item in record_example["history_ids"]] == sorted(counts.values(), reverse=True)[:3]
    assert [data.tokenizer.resolve(entry) for entry in record_example["history"]] == data.tokenizer.encode_items(
        record_example["history_ids"]
    )
    assert len(record_example["answer"]) == 3
    assert not {movie["movie_id"] for movie in record_example["answer"]} & set(record_example["history_ids"])
