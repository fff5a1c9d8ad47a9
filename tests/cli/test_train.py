"""`training/train.py` on a custom table, in one process and in two, and the exported folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing import event_accumulator

from hf_bert4rec import Bert4RecTokenizer
from hf_bert4rec.training import fit
from hf_bert4rec.training.arguments import parse
from tests.recipes import NO_DROPOUT, TINY
from tests.training.two_processes import LAUNCHER

ROOT = Path(__file__).resolve().parents[2]
RECIPE = {
    **{**TINY, **NO_DROPOUT, "rotary_positions": True, "mlm_probability": 0.3, "last_item_prob": 0.3},
    **{"num_train_epochs": 20, "learning_rate": 1e-2, "logging_steps": 5, "min_interactions": 3},
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    """A shop in which article i is bought after article i - 1, and the recipe of a small model."""
    folder = tmp_path_factory.mktemp("shop")
    generator = np.random.default_rng(0)
    lines = ["customer,article,bought_at"]
    for customer in range(128):
        start = generator.integers(0, 15)
        lines += [
            f"c{customer},Nº {(start + step) % 15:02d},{1_600_000_000 + step}" for step in range(10 + customer % 3)
        ]
    (folder / "shop.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "recipe.yaml").write_text(json.dumps(RECIPE))
    return folder


def command_line(shop: Path, output: str, *options: str) -> list[str]:
    columns = ["--user_column", "customer", "--item_column", "article", "--time_column", "bought_at"]
    table = ["--ratings", str(shop / "shop.csv"), *columns]
    return [str(shop / "recipe.yaml"), *table, "--output_dir", str(shop / output), *options]


def read_record(shop: Path, output: str) -> dict:
    return json.loads((shop / output / "training.json").read_text())


def train(shop: Path, output: str, *options: str, launcher: tuple[str, ...] = (sys.executable,)) -> dict:
    """Run training/train.py in another process."""
    command = [*launcher, str(ROOT / "training" / "train.py"), *command_line(shop, output, *options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HOME": str(shop / "home")}
    completed = subprocess.run(command, cwd=shop, env=environment, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr[-3000:]
    assert "it/s]" not in completed.stderr  # no progress bars without a terminal
    return read_record(shop, output)


@pytest.fixture(scope="module")
def single(shop) -> dict:
    return train(shop, "single", "--per_device_train_batch_size", "16", "--report_to", "tensorboard")


@pytest.mark.slow
def test_a_custom_table_is_trained_and_exported(shop, single):
    assert single["dataset"] == "shop"
    assert (single["num_users"], single["num_items"], single["num_interactions"]) == (128, 15, 1407)
    assert single["best_validation_ndcg@10"] > 0.7  # the best of 7 or fewer unseen; guessing gets 0.55
    tokenizer = Bert4RecTokenizer.from_pretrained(shop / "single")
    assert tokenizer.item_ids[0].startswith("Nº ")
    assert (shop / "single" / "README.md").read_text().startswith("---\nlibrary_name: transformers")


@pytest.mark.slow
def test_curves_are_logged_to_tensorboard_on_request(shop, single):
    (run,) = (shop / "checkpoints" / "single" / "runs").iterdir()
    events = event_accumulator.EventAccumulator(str(run)).Reload()
    logged = [event.value for event in events.Scalars("eval/ndcg@10")]
    assert logged == pytest.approx([entry["eval_ndcg@10"] for entry in single["curve"] if "eval_ndcg@10" in entry])


@pytest.mark.slow
def test_two_processes_with_the_same_batch_end_as_one(shop, single):
    two = train(shop, "two", "--per_device_train_batch_size", "8", launcher=LAUNCHER)
    assert two["processes"] == 2
    assert two["best_step"] == pytest.approx(single["best_step"], abs=16)
    curves = [[entry["eval_ndcg@10"] for entry in run["curve"] if "eval_ndcg@10" in entry] for run in (single, two)]
    assert len(curves[0]) == len(curves[1]) == 20
    assert curves[1] == pytest.approx(curves[0], abs=0.01)


def test_an_output_folder_with_other_files_is_refused(shop):
    (shop / "thesis").mkdir()
    (shop / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="holds something that is not an exported recommender"):
        fit.train(parse(command_line(shop, "thesis")))
    assert (shop / "thesis" / "chapter.txt").read_text() == "years of work"
