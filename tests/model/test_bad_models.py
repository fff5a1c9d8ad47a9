"""Damaged, inconsistent and malicious folders raise a descriptive error, quickly and in bounded memory.

AutoConfig, AutoTokenizer and `pipeline` read config.json and tokenizer_config.json before any code of a model runs: the
errors of invalid JSON in these files are transformers'.
"""

import json
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer, modeling_utils, pipeline

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecTokenizer
from hf_bert4rec.cli import main as cli
from hf_bert4rec.hub.folder import JSON_FILES, load_pipeline
from hf_bert4rec.model.loading_bert4rec import INDEX_FILE
from hf_bert4rec.model.pipeline_bert4rec import TASK
from tests.model.tiny import needs_transformers
from tests.pickles import MaliciousPickle
from tests.stress.models import Damage, flip_bit, save_good
from tests.stress.workloads import ITEMS

WEIGHTS = "model.safetensors"
pytestmark = pytest.mark.usefixtures("bounds")


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return save_good(tmp_path_factory.mktemp("models") / "good")


@pytest.fixture
def folder(good, tmp_path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "model"))


def change(folder: Path, name: str, **values) -> None:
    """Set keys of a JSON file."""
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def assert_refused(folder: Path, error, message: str) -> None:
    with pytest.raises(error, match=message):
        load_pipeline(folder, device="cpu")


def assert_damage_is_named(folder: Path) -> None:
    message = (
        rf"the safetensors weights of {re.escape(str(folder))} are damaged \(.*header.*force_download=True, or export"
    )
    with pytest.raises(OSError, match=message):
        AutoModelForMaskedLM.from_pretrained(folder)
    assert_refused(folder, ValueError, message)


def test_the_undamaged_folder_answers(folder):
    assert len(load_pipeline(folder, device="cpu")([100, 101])) == 10


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("hidden_size", "16", "Field 'hidden_size' expected int, got str"),
        ("hidden_size", 0, "hidden_size is 0"),
        ("hidden_size", 2**20, "hidden_size is 1048576"),
        ("hidden_size", True, "Field 'hidden_size' expected int, got bool"),
        ("num_attention_heads", 0, "num_attention_heads is 0"),
        ("num_attention_heads", -2, "num_attention_heads is -2"),
        ("num_attention_heads", 3, "must be a multiple of num_attention_heads"),
        ("num_hidden_layers", 10**9, "num_hidden_layers is 1000000000"),
        ("num_hidden_layers", 3, r"the weights lack bert4rec.layers.1.attention.key.bias.* and 29 others"),
        ("vocab_size", -1, "vocab_size is -1"),
        ("vocab_size", None, "Field 'vocab_size' expected int, got NoneType"),
        ("vocab_size", 2**27, "these sizes make 2,147,48"),
        ("vocab_size", 14, "thus raising an error"),
        ("vocab_size", 10**6, "thus raising an error"),
        ("intermediate_size", 10**12, "intermediate_size is 1000000000000"),
        ("max_position_embeddings", 10**9, "max_position_embeddings is 1000000000"),
        ("pad_token_id", 99, "pad_token_id is 99; it must be from 0 to 14"),
        ("mask_token_id", -1, "mask_token_id is -1"),
        ("pad_token_id", 0.5, r"Field 'pad_token_id' expected int \| None, got float"),
        ("mask_token_id", True, "Field 'mask_token_id' expected int, got bool"),
        ("rotary_positions", "yes", "Field 'rotary_positions' expected bool, got str"),
        ("hidden_dropout_prob", "0.1", r"Field 'hidden_dropout_prob' expected float \| int, got str"),
        ("mask_token_id", None, "Field 'mask_token_id' expected int, got NoneType"),
        ("hidden_act", ["gelu"], "Field 'hidden_act' expected str, got list"),
        ("layer_types", ["x"], "config.json or .* seems to be damaged .*fetch or export the model again"),
        (
            "transformers_weights",
            "adapter_model.bin",
            "transformers_weights is 'adapter_model.bin': a config file may not choose weights",
        ),
        ("hidden_act", "import os", "hidden_act is 'import os'; it must be one of"),
        ("hidden_dropout_prob", 1.5, "hidden_dropout_prob is 1.5"),
        ("embedding_dropout_prob", -0.5, "embedding_dropout_prob is -0.5"),
        ("layer_norm_eps", -1.0, "layer_norm_eps is -1.0"),
        ("initializer_range", float("nan"), "initializer_range is nan"),
        ("dtype", [], r"dtype is \[\]; it must be one of float32"),
        ("dtype", "torch.float32", "dtype is 'torch.float32'"),
        ("num_labels", 10**8, "num_labels is 100000000"),
        ("_attn_implementation", "stranger/kernel", "a config file may not fetch kernels"),
        ("attn_implementation", "stranger/kernel", "a config file may not fetch kernels"),
        ("model_type", "bert", "a BertForMaskedLM recommends no movies"),
        ("model_type", "other", "contains custom code which must be executed"),  # never run
    ],
)
def test_an_invalid_config_is_refused(folder, name, value, message):
    change(folder, "config.json", **{name: value})
    assert_refused(folder, ValueError, message)


def test_a_huge_regression_of_taste_is_refused():
    Bert4RecConfig(taste_size=2**16)  # 2^16 · (vocab_size 3,420) factors; the regression would have 2^32
    with pytest.raises(ValueError, match="these sizes make 4,5"):
        Bert4RecConfig(taste_size=2**16, taste_weight=1.0)


def test_rotary_positions_need_pairs(folder):
    change(folder, "config.json", rotary_positions=True, num_attention_heads=16)
    assert_refused(folder, ValueError, "rotary_positions rotate pairs, so hidden_size .* must be even")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("title", [1] * ITEMS, "title, row 0, is 1; it must be a text or null"),
        ("title", [["a"]] * ITEMS, r"title, row 0, is \['a'\]"),
        ("title", ["a"] * (ITEMS - 1), "with one value for each of 12 items"),
        ("title", "a" * ITEMS, "'title' must be a list"),
        ("year", ["1990"] * ITEMS, "year, row 0, is '1990'; it must be an integer or null"),
        ("year", [10**400] * ITEMS, "year, row 0, is 1000"),
        ("genres", ["Drama"] * ITEMS, "genres, row 0, is 'Drama'; it must be a list of texts or null"),
        ("genres", [[1]] * ITEMS, r"genres, row 0, is \[1\]"),
        ("genres", [[["Drama"]]] * ITEMS, r"genres, row 0, is \[\['Drama'\]\]"),
        ("count", [-1] * ITEMS, "count, row 0, is -1"),
        ("count", [float("nan")] * ITEMS, "count, row 0, is nan"),
        ("script", ["x"] * ITEMS, "'script' must be one of"),
    ],
)
def test_invalid_items_are_refused(folder, name, value, message):
    change(folder, "items.json", **{name: value})
    assert_refused(folder, ValueError, f"items.json: .*{message}|items.json: {message}")


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ({"100": 4}, "its ids are not 0, 1, 2, …;"),  # 101 has it as well
        ({"100": 500}, "its ids are not 0, 1, 2, …;"),
        ({"100": 2**32 - 1}, "its ids are not 0, 1, 2, …;"),
        ({"100": -1}, "expected u32"),
        ({"[PAD]": 1, "[MASK]": 0}, "its first tokens are"),
        ({"0100": 15}, "item '0100' is not an integer"),
        ({"abc": 15}, "item 'abc' is not an integer"),
        ({"9" * 5000: 15}, "item '9999.* is not an integer"),
    ],
)
def test_invalid_vocabulary_ids_are_refused(folder, vocabulary, message):
    written = json.loads((folder / "tokenizer.json").read_text())
    written["model"]["vocab"] |= vocabulary
    (folder / "tokenizer.json").write_text(json.dumps(written))
    assert_refused(folder, ValueError, message)


def test_a_tokenizer_that_splits_ids_is_refused(folder):
    written = json.loads((folder / "tokenizer.json").read_text())
    written["model"] |= {"type": "BPE", "merges": []}
    (folder / "tokenizer.json").write_text(json.dumps(written))
    assert_refused(folder, ValueError, "its model is BPE.*, not a WordLevel one")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("pad_token", "100", r"pad_token is '100', not '\[PAD\]'"),
        ("unk_token", "nope", "unk_token is 'nope'"),
        ("item_id_type", "float", "item_id_type is 'float'"),
        ("items", [], "it is a list, not an object of columns"),
        ("event_names", ["a", "a"], r"event_names is \['a', 'a'\]; it is a list of different names"),
        ("event_names", "ab", "event_names is 'ab'; it is a list"),
        ("event_names", ["a"], "num_target_events is 0; it must be from 1 to 1"),
        ("extra_special_tokens", ["a"], "item 'a' is not an integer"),
        ("extra_special_tokens", ["100"], r"items \['100'\] are added tokens"),
        ("tokenizer_class", "PreTrainedTokenizerFast", "a TokenizersBackend recommends no movies"),
        ("tokenizer_class", 5, "tokenizer_config.json or .* seems to be damaged .*AttributeError"),
    ],
)
def test_an_invalid_tokenizer_config_is_refused(folder, name, value, message):
    change(folder, "tokenizer_config.json", **{name: value})
    assert_refused(folder, ValueError, message)


def test_titles_in_the_tokenizer_config_are_checked(folder):
    (folder / "items.json").unlink()
    change(folder, "tokenizer_config.json", items={"title": [1] * ITEMS})
    assert_refused(folder, ValueError, "items: title, row 0, is 1; it must be a text or null")


@pytest.mark.parametrize("size", [0, 4, 8, 50, 0.5, 0.999])
def test_truncated_weights_are_refused(folder, size):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: int(size * len(data)) if size < 1 else size])
    assert_damage_is_named(folder)


@pytest.mark.parametrize("size", [2**62, 2**32, 2**24])
def test_a_huge_header_is_refused(folder, size):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(size.to_bytes(8, "little") + data[8:])
    assert_damage_is_named(folder)


def test_flipped_bits_are_refused_or_change_one_number(good, tmp_path):
    counts = [flip_bit(good, tmp_path / "flipped", bit) for bit in range(0, 8 * 8, 9)]  # the length of the header
    assert set(counts) == {Damage.REFUSED}
    counts = [flip_bit(good, tmp_path / "flipped", bit) for bit in range(8 * 8, 8 * 600, 397)]  # the header
    assert Damage.SILENT not in counts
    size = 8 * (good / WEIGHTS).stat().st_size
    counts = [flip_bit(good, tmp_path / "flipped", bit) for bit in range(size - 8 * 2000, size, 1601)]  # numbers
    assert set(counts) <= {Damage.REFUSED, Damage.ONE_NUMBER}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_weights_are_refused(folder, value):
    weights = load_file(folder / WEIGHTS)
    weights["head.dense.weight"] = torch.full_like(weights["head.dense.weight"], value)
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    assert_refused(folder, ValueError, "the weight head.dense.weight holds NaN or infinite values; the file is damaged")


def test_missing_weights_are_refused(folder):
    weights = load_file(folder / WEIGHTS)
    del weights["head.dense.weight"]
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    assert Bert4RecForMaskedLM.from_pretrained(folder).missing_weights == ("head.dense.weight",)
    assert_refused(folder, ValueError, "the weights lack head.dense.weight")


def test_pickled_weights_are_refused_unread(folder, tmp_path):
    mark = tmp_path / "created"
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(MaliciousPickle(mark)))
    assert_refused(folder, ValueError, r"^OSError: Error no file named model\.safetensors found in directory \S+$")
    for loader in (Bert4RecForMaskedLM, AutoModelForMaskedLM):
        with pytest.raises(OSError, match=r"model\.safetensors"):
            loader.from_pretrained(folder)
        with pytest.raises(ValueError, match="never pickled ones"):
            loader.from_pretrained(folder, use_safetensors=False)
    change(folder, "config.json", model_type="bert")
    assert_refused(folder, ValueError, r"Error no file named model\.safetensors")
    assert not mark.exists()


def shard(folder: Path, name: str) -> None:
    """Turn the weights into those of a sharded model with one shard, called `name`."""
    weight_map = dict.fromkeys(load_file(folder / WEIGHTS), name)
    (folder / WEIGHTS).rename(folder / "shard.safetensors")
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_weights_in_several_files_are_read(folder):
    shard(folder, "shard.safetensors")
    assert len(load_pipeline(folder, device="cpu")([100, 101])) == 10
    (folder / INDEX_FILE).write_text("{}")
    assert_refused(folder, ValueError, "index.json has no weight_map from weights to files: fetch or export the model")


@pytest.mark.parametrize("name", ["weights.bin", "../good/model.safetensors", "/etc/passwd", "a/shard.safetensors", 5])
def test_an_index_may_name_only_safetensors_of_the_same_folder(folder, tmp_path, name):
    mark = tmp_path / "created"
    (folder / "weights.bin").write_bytes(pickle.dumps(MaliciousPickle(mark)))
    shard(folder, name)
    message = rf"model.safetensors.index.json of {re.escape(str(folder))} names '{name}' for weights; only safetensors"
    for loader in (Bert4RecForMaskedLM, AutoModelForMaskedLM):
        with pytest.raises(ValueError, match=message):
            loader.from_pretrained(folder)
    assert_refused(folder, ValueError, message)
    assert not mark.exists()


@needs_transformers(5, 23, reason="older versions look for adapters elsewhere")
def test_an_adapter_is_refused_unread(folder, tmp_path, monkeypatch):
    """As `from_pretrained` finds it where peft is installed."""
    mark = tmp_path / "created"
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(MaliciousPickle(mark)))
    monkeypatch.setattr(modeling_utils, "maybe_load_adapters", lambda name, *_, **options: (name, name, options))
    assert_refused(folder, ValueError, "an adapter is not read with the model: load it by peft's PeftModel")
    assert not mark.exists()


def test_a_single_pickled_file_is_refused_by_its_name(folder):
    config = Bert4RecForMaskedLM.from_pretrained(folder).config
    (folder / "weights.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"names 'weights\.bin' for weights"):
        Bert4RecForMaskedLM.from_pretrained(folder / "weights.bin", config=config)


BOMBS = {
    "lists without end": b"[" * 10**6,
    "objects without end": b'{"a":' * 10**6,
    "a hundred thousand levels": b'{"a":' + b"[" * 10**5 + b"]" * 10**5 + b"}",
    "a number of 5,000 digits": b'{"vocab_size": ' + b"9" * 5000 + b"}",
    "nothing": b"",
    "zeros": bytes(100),
    "no UTF-8": b'{"a": "\xff"}',
    "null": b"null",
    "a list": b"[]",
    "a text": b'"x"',
    "NaN": b"NaN",
}
OURS = {
    "pipeline": (load_pipeline, JSON_FILES),
    "config": (Bert4RecConfig.from_pretrained, ("config.json",)),
    "model": (Bert4RecForMaskedLM.from_pretrained, ("config.json", INDEX_FILE)),
    "model by AutoModel": (AutoModelForMaskedLM.from_pretrained, (INDEX_FILE,)),
    "tokenizer": (Bert4RecTokenizer.from_pretrained, ("tokenizer_config.json", "tokenizer.json", "items.json")),
    "tokenizer by AutoTokenizer": (AutoTokenizer.from_pretrained, ("tokenizer.json", "items.json")),
}
CASES = [(load, name) for load, names in OURS.values() for name in names]


def put(folder: Path, name: str, data: bytes) -> None:
    if name == INDEX_FILE:  # read only where the weights are in several files
        (folder / "model.safetensors").rename(folder / "shard.safetensors")
    (folder / name).write_bytes(data)


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize(
    ("load", "name"), CASES, ids=[f"{who}-{name}" for who, (_, names) in OURS.items() for name in names]
)
def test_errors_of_this_package_name_the_file_and_the_fix(folder, load, name, bomb):
    put(folder, name, BOMBS[bomb])
    with pytest.raises((ValueError, OSError)) as caught:
        load(str(folder))
    message = str(caught.value)
    assert type(caught.value) in (ValueError, OSError)
    assert str(folder) in message
    assert name in message
    assert "fetch or export the model again" in message or "is not a valid JSON file" in message  # transformers' own


@pytest.mark.parametrize("levels", [150, 400, 900, 985])
@pytest.mark.parametrize("name", JSON_FILES)
def test_deeply_nested_extra_keys_are_harmless_or_named(folder, name, levels):
    text = (folder / name).read_text().rstrip().removesuffix("}")
    (folder / name).write_text(text + ', "odd": ' + "[" * levels + "]" * levels + "}")
    counts = answer_or_error(folder)
    assert counts == 10 or (str(folder) in counts and name in counts)


@needs_transformers(5, 23, reason="older versions raise other errors")
@pytest.mark.parametrize(
    ("bomb", "config_error", "tokenizer_error"),
    [
        ("lists without end", RecursionError, RecursionError),
        ("objects without end", RecursionError, RecursionError),
        ("a hundred thousand levels", RecursionError, RecursionError),
        ("a number of 5,000 digits", ValueError, ValueError),
        ("nothing", OSError, json.JSONDecodeError),
        ("zeros", OSError, json.JSONDecodeError),
        ("no UTF-8", OSError, UnicodeDecodeError),
        ("null", TypeError, AttributeError),
        ("a list", ValueError, AttributeError),
        ("a text", ValueError, AttributeError),
        ("NaN", TypeError, AttributeError),
    ],
)
def test_files_that_transformers_reads_first_raise_its_own_errors(
    folder, good, tmp_path, bomb, config_error, tokenizer_error
):
    put(folder, "config.json", BOMBS[bomb])
    for load in (AutoConfig.from_pretrained, AutoModelForMaskedLM.from_pretrained, ask_transformers):
        assert type(error_of(load, folder)) is config_error
    other = Path(shutil.copytree(good, tmp_path / "other"))
    put(other, "tokenizer_config.json", BOMBS[bomb])
    for load in (AutoTokenizer.from_pretrained, ask_transformers):
        assert type(error_of(load, other)) is tokenizer_error


def answer_or_error(folder: Path) -> int | str:
    try:
        return len(load_pipeline(folder)([100, 101]))
    except (ValueError, OSError) as error:
        return str(error)


def ask_transformers(folder: str) -> None:
    pipeline(TASK, model=folder, trust_remote_code=True)


def error_of(load, folder: Path) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 (the caller looks at its type)
        load(str(folder))
    return caught.value


@pytest.mark.parametrize("bomb", ["lists without end", "null"])
@pytest.mark.parametrize("name", JSON_FILES)
def test_the_command_and_the_demo_name_the_file(folder, capsys, name, bomb):
    put(folder, name, BOMBS[bomb])
    for command in (["similar", str(folder), "100"], ["demo", str(folder), "--port", "0"]):
        assert cli.main(command) == cli.BAD_INPUT
        assert name in capsys.readouterr().err


def test_the_command_reports_a_folder_without_weights_in_a_line(folder, capsys):
    (folder / WEIGHTS).unlink()
    assert cli.main(["similar", str(folder), "100"]) == cli.BAD_INPUT
    message = f"hf-bert4rec: OSError: Error no file named {WEIGHTS} found in directory {folder}.\n"
    assert capsys.readouterr().err.endswith(message)
