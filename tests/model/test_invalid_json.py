"""Invalid JSON, endlessly nested JSON, and JSON other than an object, in every file of a model's folder.

Files that this package reads raise an error with the file and the fix. AutoConfig, AutoTokenizer and `pipeline` read
config.json and tokenizer_config.json before any code of a model runs: those errors are transformers'.
"""

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer, pipeline

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecTokenizer
from hf_bert4rec.cli import main as cli
from hf_bert4rec.hub.verify import JSON_FILES, load_pipeline
from hf_bert4rec.model.loading_bert4rec import INDEX_FILE
from hf_bert4rec.model.pipeline_bert4rec import TASK
from tests.model.tiny import needs_transformers
from tests.stress.models import save_good

pytestmark = pytest.mark.usefixtures("bounds")
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


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return save_good(tmp_path_factory.mktemp("bombs") / "good")


@pytest.fixture
def folder(good, tmp_path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "model"))


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
