"""Campaign: model folders with flipped bits, truncated files and changed JSON values."""

import json
import random
import shutil
import tempfile
import time
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from hf_bert4rec.hub.export import write_folder
from hf_bert4rec.hub.folder import load_pipeline
from tests.stress.archives import checked_message
from tests.stress.workloads import tiny_model, tiny_tokenizer

WEIGHTS = "model.safetensors"
JSON_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "items.json")
VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    3,
    2**31,
    10**30,
    0.5,
    1e308,
    "",
    "x",
    "../..",
    [],
    [[]],
    {},
    {"a": 1},
    [1, "a"],
]
FLIPS, TRUNCATIONS, CHANGES = 3000, 300, 1500
MAX_SECONDS = 20.0  # per folder


class Damage(StrEnum):
    """The outcome of loading a damaged folder."""

    REFUSED = "refused"
    ONE_NUMBER = "one weight differs"
    HARMLESS = "same answer"
    ANSWERS = "another answer"
    SILENT = "other weights loaded"


def campaign() -> dict[str, Any]:
    """All outcomes, counted.

    Raises:
        AssertionError: Damaged weights load silently, or a case takes too long.
    """
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        good, work = save_good(Path(name) / "good"), Path(name) / "damaged"
        size = (good / WEIGHTS).stat().st_size
        flips = Counter(flip_bit(good, work, rng.randrange(8 * size)) for _ in range(FLIPS))
        truncations = Counter(truncate(good, work, rng) for _ in range(TRUNCATIONS))
        changes = Counter(change_json(good, work, rng) for _ in range(CHANGES))
    assert not flips[Damage.SILENT], flips
    assert set(truncations) == {Damage.REFUSED}, truncations
    return {"flipped_bits": dict(flips), "truncated_files": dict(truncations), "changed_json": dict(changes)}


def save_good(folder: Path) -> Path:
    """Save an intact model folder."""
    tokenizer = tiny_tokenizer()
    write_folder(tiny_model(tokenizer).eval(), tokenizer, folder, "# A card")
    return folder


def flip_bit(good: Path, work: Path, bit: int) -> Damage:
    """Flip one bit of the weights in a copy of the folder and load it."""
    copy_to(good, work)
    data = bytearray((good / WEIGHTS).read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    (work / WEIGHTS).write_bytes(data)
    if load_and_recommend(work) is None:
        return Damage.REFUSED
    intact, damaged = load_file(good / WEIGHTS), load_file(work / WEIGHTS)
    if intact.keys() != damaged.keys() or any(intact[name].shape != damaged[name].shape for name in intact):
        return Damage.SILENT
    differing = sum(int((intact[name].view(torch.int32) != damaged[name].view(torch.int32)).sum()) for name in intact)
    return Damage.ONE_NUMBER if differing == 1 else Damage.HARMLESS if differing == 0 else Damage.SILENT


def truncate(good: Path, work: Path, rng: random.Random) -> Damage:
    """Truncate one file in a copy of the folder and load it."""
    copy_to(good, work)
    path = work / rng.choice([WEIGHTS, *JSON_FILES])
    data = path.read_bytes().rstrip()
    path.write_bytes(data[: rng.randrange(len(data))])
    return Damage.REFUSED if load_and_recommend(work) is None else Damage.ANSWERS


def change_json(good: Path, work: Path, rng: random.Random) -> Damage:
    """Replace one value of a JSON file in a copy of the folder by a value of any type and load it."""
    copy_to(good, work)
    path = work / rng.choice(JSON_FILES)
    tree = json.loads(path.read_text(encoding="utf-8"))
    node = tree
    while True:
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if not (isinstance(node[key], dict | list) and node[key] and rng.random() < 0.8):
            break
        node = node[key]
    node[key] = rng.choice(VALUES)
    path.write_text(json.dumps(tree), encoding="utf-8")
    answer = load_and_recommend(work)
    if answer is None:
        return Damage.REFUSED
    return Damage.HARMLESS if answer == load_and_recommend(good) else Damage.ANSWERS


def copy_to(good: Path, work: Path) -> None:
    """Replace `work` by a copy of `good`."""
    if work.exists():
        shutil.rmtree(work)
    shutil.copytree(good, work)


def load_and_recommend(folder: Path) -> Any:
    """Recommendations of the folder's model; None if loading raises a descriptive error."""
    start = time.monotonic()
    try:
        return load_pipeline(folder, device="cpu")([100, 101])
    except (OSError, TypeError, ValueError) as error:
        checked_message(error)
        return None
    finally:
        assert time.monotonic() - start < MAX_SECONDS, "loading a damaged folder takes too long"
