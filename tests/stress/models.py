"""Campaign: a model's folder with flipped bits, cut files and changed JSON is refused, or its damage is known."""

from __future__ import annotations

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
from hf_bert4rec.hub.verify import load_pipeline
from tests.stress.archives import in_words
from tests.stress.workloads import tiny_model, tiny_tokenizer

WEIGHTS = "model.safetensors"
JSON_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "items.json")
STRANGE: list[Any] = [
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
FLIPS, CUTS, CHANGES = 3000, 300, 1500
SLOWEST = 20.0  # seconds that a refusal or an answer may take


class Damage(StrEnum):
    """What came of a damaged folder."""

    REFUSED = "refused"
    ONE_NUMBER = "one number is another"
    HARMLESS = "answers as before"
    ANSWERS = "answers otherwise"
    SILENT = "other weights were taken"


def campaign() -> dict[str, Any]:
    """All of it, counted. AssertionError where damaged weights pass for others, or where a case takes too long."""
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        good, work = make_good(Path(name) / "good"), Path(name) / "damaged"
        size = (good / WEIGHTS).stat().st_size
        flips = Counter(flip_bit(good, work, chance.randrange(8 * size)) for _ in range(FLIPS))
        cuts = Counter(cut(good, work, chance) for _ in range(CUTS))
        changes = Counter(change_json(good, work, chance) for _ in range(CHANGES))
    assert not flips[Damage.SILENT], flips
    assert set(cuts) == {Damage.REFUSED}, cuts
    return {"flipped_bits": dict(flips), "cut_files": dict(cuts), "changed_json": dict(changes)}


def make_good(folder: Path) -> Path:
    """A folder with nothing wrong."""
    tokenizer = tiny_tokenizer()
    write_folder(tiny_model(tokenizer).eval(), tokenizer, folder, "# A card")
    return folder


def flip_bit(good: Path, work: Path, bit: int) -> Damage:
    """Load a copy of the folder in which one bit of the weights' file is flipped."""
    copy_to(good, work)
    data = bytearray((good / WEIGHTS).read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    (work / WEIGHTS).write_bytes(data)
    if asked(work) is None:
        return Damage.REFUSED
    ours, theirs = load_file(good / WEIGHTS), load_file(work / WEIGHTS)
    if ours.keys() != theirs.keys() or any(ours[name].shape != theirs[name].shape for name in ours):
        return Damage.SILENT
    apart = sum(int((ours[name].view(torch.int32) != theirs[name].view(torch.int32)).sum()) for name in ours)
    return Damage.ONE_NUMBER if apart == 1 else Damage.HARMLESS if apart == 0 else Damage.SILENT


def cut(good: Path, work: Path, chance: random.Random) -> Damage:
    """Load a copy of the folder in which one file is cut short."""
    copy_to(good, work)
    path = work / chance.choice([WEIGHTS, *JSON_FILES])
    data = path.read_bytes().rstrip()
    path.write_bytes(data[: chance.randrange(len(data))])
    return Damage.REFUSED if asked(work) is None else Damage.ANSWERS


def change_json(good: Path, work: Path, chance: random.Random) -> Damage:
    """Load a copy of the folder in which one value of a JSON file is another, of any kind."""
    copy_to(good, work)
    path = work / chance.choice(JSON_FILES)
    tree = json.loads(path.read_text(encoding="utf-8"))
    place = tree
    while True:
        key = chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if not (isinstance(place[key], dict | list) and place[key] and chance.random() < 0.8):
            break
        place = place[key]
    place[key] = chance.choice(STRANGE)
    path.write_text(json.dumps(tree), encoding="utf-8")
    found = asked(work)
    return Damage.REFUSED if found is None else Damage.HARMLESS if found == asked(good) else Damage.ANSWERS


def copy_to(good: Path, work: Path) -> None:
    """Make `work` a copy of `good`."""
    if work.exists():
        shutil.rmtree(work)
    shutil.copytree(good, work)


def asked(folder: Path) -> Any:
    """The folder's answer to a history; None where it refuses to load by an error that tells why."""
    began = time.monotonic()
    try:
        return load_pipeline(folder, device="cpu")([100, 101])
    except (OSError, TypeError, ValueError) as error:
        in_words(error)
        return None
    finally:
        assert time.monotonic() - began < SLOWEST, "a damaged folder takes too long"
