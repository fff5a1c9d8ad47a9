"""Train a recipe again and again with one change at a time and the same budget, and keep what validation says.

    python -m benchmarks.quality.ablate training/recipes/ml-1m-quick.yaml --dataset ml-1m.txt --num_train_epochs 3
    python -m benchmarks.quality.collect                                  # the table

Options after the recipe are those of training/train.py, the same for every run. Each change becomes a JSON in
`training/results/ablations/`; those that are there already are not run again. The test targets are not looked at.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from hf_bert4rec.files import write_json
from hf_bert4rec.hub.staging import TRAINING_FILE
from hf_bert4rec.training.arguments import read_recipe

ABLATIONS = Path(__file__).resolve().parents[2] / "training" / "results" / "ablations"
TRAIN = Path(__file__).resolve().parents[2] / "training" / "train.py"
# What a change makes of a recipe's keys; None leaves a key out.
CHANGES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "masked, every place seen": {
        "causal": False,
        "mlm_probability": 0.3,
        "mask_replace_prob": 1.0,
        "last_item_prob": 0.2,
    },
    "no memory": {"memory_size": None},
    "embeddings start at random": {"cooccurrence_init": None},
    "learned positions": {"rotary_positions": False},
    "layer norm after": {"pre_layer_norm": False},
    "weights not averaged": {"ema_decay": None},
    "windows that do not overlap": {"window_stride": None},
    "half the learning rate": {"learning_rate": 1e-3},
    "twice the batch": {"per_device_train_batch_size": 128},
    "dropout 0.1": {"hidden_dropout_prob": 0.1},
    "dropout 0.3": {"hidden_dropout_prob": 0.3},
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--results", type=Path, default=ABLATIONS, help="where the results are kept")
    arguments, options = parser.parse_known_args(argv)
    recipe = read_recipe(arguments.recipe)
    missing = {name: change for name, change in CHANGES.items() if not path_of(arguments, name).is_file()}
    for name, change in tqdm(missing.items(), desc="ablation", unit="run", disable=None):
        training = train(changed(recipe, change), options)
        write_json(path_of(arguments, name), result_of(name, arguments.recipe.name, change, options, training))


def path_of(arguments: argparse.Namespace, name: str) -> Path:
    """Where the result of a change is kept."""
    slug = name.replace(",", "").replace(".", "").replace(" ", "-")
    return Path(arguments.results) / f"{arguments.recipe.stem}-{slug}.json"


def changed(recipe: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with a change made to it."""
    return {key: value for key, value in {**recipe, **change}.items() if value is not None}


def train(recipe: Mapping[str, Any], options: Sequence[str]) -> dict[str, Any]:
    """The record of a run of this recipe, in a process of its own.

    Raises:
        subprocess.CalledProcessError: it failed; it has said why.
    """
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder) / "recipe.yaml", Path(folder) / "model"
        path.write_text(yaml.safe_dump(dict(recipe)), encoding="utf-8")
        subprocess.run([sys.executable, str(TRAIN), str(path), *options, "--output_dir", str(output)], check=True)
        return json.loads((output / TRAINING_FILE).read_text(encoding="utf-8"))


def result_of(
    name: str, recipe: str, change: Mapping[str, Any], options: Sequence[str], training: Mapping[str, Any]
) -> dict[str, Any]:
    """What is kept of a run."""
    kept = ("dataset", "seconds", "hardware", "parameters", "best_validation_ndcg@10", "curve", "environment")
    return {
        "name": name,
        "recipe": recipe,
        "change": dict(change),
        "options": list(options),
        "seed": training["options"]["seed"],
        **{key: training[key] for key in kept},
    }


if __name__ == "__main__":
    main()
