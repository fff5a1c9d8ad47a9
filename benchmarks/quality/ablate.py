"""Ablations: train a recipe once per change with the same budget, and record the validation metrics.

    python -m benchmarks.quality.ablate training/recipes/ml-1m-quick.yaml --dataset ml-1m.txt
    python -m benchmarks.quality.collect                                  # writes the tables

Options after the recipe go to `training/train.py` unchanged and are the same for every run. Each run is saved as one
JSON file in `training/results/ablations/`; runs whose file exists are skipped. The test targets are never evaluated.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from benchmarks.measure import ROOT, script_parser
from hf_bert4rec.evaluation.trained_model import training_record
from hf_bert4rec.files import write_json
from hf_bert4rec.training.arguments import read_recipe

ABLATIONS = ROOT / "training" / "results" / "ablations"
TRAIN = ROOT / "training" / "train.py"
BASELINE = "baseline"
# The recipe keys that each ablation changes; None removes the key, so that its default applies.
CHANGES: dict[str, dict[str, Any]] = {
    BASELINE: {},
    "no_transition_memory": {"memory_size": None},
    "no_taste": {"taste_weight": 0.0},
    "no_previous_item": {"previous_item": None},
    "causal": {
        "causal": True,
        "previous_item": None,
        "causal_prob": None,
        "mlm_probability": 1.0,
        "mask_replace_prob": 0.0,
        "last_item_prob": None,
    },
    "cloze_only": {"causal_prob": None},
    "cloze_only_no_previous_item": {"causal_prob": None, "previous_item": None},
    "random_init": {"cooccurrence_init": None},
    "learned_positions": {"rotary_positions": False},
    "no_last_item_rows": {"last_item_prob": None},
    "three_layers": {"num_hidden_layers": 3},
    "hidden_size_192": {"hidden_size": 192, "intermediate_size": 768},
    "one_layer": {"num_hidden_layers": 1},
    "hidden_size_64": {"hidden_size": 64, "intermediate_size": 256},
}
RECORDED = ("dataset", "seconds", "hardware", "parameters", "best_validation_ndcg@10", "curve", "environment")


def main(argv: Sequence[str] | None = None) -> None:
    parser = script_parser(__doc__)
    parser.add_argument("recipe", type=Path)
    arguments, options = parser.parse_known_args(argv)
    run_ablations(arguments.recipe, options, ABLATIONS)


def run_ablations(recipe_path: Path, options: Sequence[str], folder: Path) -> None:
    """Run every ablation that has no result in `folder` yet."""
    recipe = read_recipe(recipe_path)
    paths = {name: folder / f"{recipe_path.stem}-{name}.json" for name in CHANGES}
    missing = [name for name, path in paths.items() if not path.is_file()]
    for name in tqdm(missing, desc="ablation", unit="run", disable=None):
        change = CHANGES[name]
        training = train(apply_change(recipe, change), options)
        result = {
            "name": name,
            "recipe": recipe_path.name,
            "change": change,
            "options": list(options),
            "seed": training["options"]["seed"],
            **{key: training[key] for key in RECORDED},
        }
        write_json(paths[name], result)


def apply_change(recipe: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with some keys replaced, or removed where the new value is None."""
    return {key: value for key, value in {**recipe, **change}.items() if value is not None}


def train(recipe: Mapping[str, Any], options: Sequence[str]) -> dict[str, Any]:
    """Train in a subprocess and return its training record."""
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder) / "recipe.yaml", Path(folder) / "model"
        path.write_text(yaml.safe_dump(dict(recipe)), encoding="utf-8")
        subprocess.run([sys.executable, str(TRAIN), str(path), *options, "--output_dir", str(output)], check=True)
        return training_record(output)


if __name__ == "__main__":
    main()
