"""The shipped recipes: their descriptions are true, and GPU recipes train on a small scale."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality.tables import recipe_name
from hf_bert4rec import Bert4RecConfig
from hf_bert4rec.data import releases
from hf_bert4rec.hub.folder import load_pipeline
from hf_bert4rec.training.arguments import ModelArguments, parse, read_recipe
from hf_bert4rec.training.fit import train
from tests.data.movielens_archives import Movie, Rating, small_release, write_release

TRAINING = Path(__file__).resolve().parents[2] / "training"
RECIPES = sorted((TRAINING / "recipes").glob("*.yaml"))
NOT_RUN = "Not yet run in full"
GPU = [path for path in RECIPES if "for a GPU" in path.read_text(encoding="utf-8")]


def synthetic_tables(name: str, users: int = 24, movies: int = 300) -> tuple[list[Rating], list[Movie]]:
    """Ratings like those of a release: half stars, ids with gaps, and some histories longer than the window."""
    generator = np.random.default_rng(0)
    spread = releases.RELEASES[name].rated_movies // movies
    ids = [1 + spread * number for number in range(movies)]
    ratings: list[Rating] = []
    for user in range(1, users + 1):
        watched = generator.permutation(movies)[: 20 + 10 * user]
        stars = generator.integers(1, 11, len(watched)) / 2
        ratings += [
            (user, ids[movie], float(star), 1_000_000_000 + 60 * step)
            for step, (movie, star) in enumerate(zip(watched, stars, strict=True))
        ]
    kinds = (["Drama"], ["Comedy", "Romance"], [])
    return ratings, [(movie, f"Movie {movie} ({1950 + movie % 60})", kinds[movie % 3]) for movie in ids]


@pytest.fixture
def arguments(request, monkeypatch, tmp_path) -> list[str]:
    """The command line of a GPU recipe for three small steps, on a synthetic release with its layout."""
    path: Path = request.param
    tables = synthetic_tables(path.stem)
    write_release(tmp_path / "data", path.stem, *tables)
    monkeypatch.setitem(releases.RELEASES, path.stem, small_release(path.stem, *tables))
    words = [str(path), "--data_dir", str(tmp_path / "data"), "--output_dir", str(tmp_path / "model")]
    return [*words, "--max_steps", "3", "--per_device_train_batch_size", "4", "--logging_steps", "1"]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", GPU, ids=lambda path: path.stem, indirect=True)
def test_a_recipe_for_a_gpu_trains_and_exports(arguments, tmp_path):
    train(parse(arguments), arguments)
    recipe, record = read_recipe(Path(arguments[0])), json.loads((tmp_path / "model" / "training.json").read_text())
    compared = set(recipe) & set(record["options"]) - {"num_train_epochs", "per_device_train_batch_size"}
    assert len(compared) > 15
    assert {key: float(record["options"][key]) for key in compared if key != "dataset"} == {
        key: float(recipe[key]) for key in compared if key != "dataset"
    }
    assert record["dataset"] == recipe["dataset"] == Path(arguments[0]).stem
    assert (record["options"]["max_steps"], record["options"]["num_train_epochs"]) == (3, None)
    losses = [entry["loss"] for entry in record["curve"] if "loss" in entry]
    assert len(losses) == 3
    assert all(map(math.isfinite, losses))
    assert [entry["step"] for entry in record["curve"] if "eval_ndcg@10" in entry] == [3]
    pipe = load_pipeline(tmp_path / "model", device="cpu")
    assert pipe.model.config.hidden_size == recipe["hidden_size"]
    assert pipe(["Movie 1 (1951)"], top_k=3)[0]["title"].startswith("Movie ")


def test_untested_recipes_are_marked():
    results = [json.loads(path.read_text(encoding="utf-8")) for path in (TRAINING / "results").glob("*-seed*.json")]
    ran = {recipe_name(result) for result in results}
    said = {path.stem for path in RECIPES if NOT_RUN in path.read_text(encoding="utf-8").split("\ndataset:")[0]}
    assert said == {path.stem for path in RECIPES} - ran - {"auto"}  # which is for any data
    assert {path.stem for path in GPU} <= said


def test_the_recipe_of_the_paper_has_its_model(tmp_path):
    path = TRAINING / "recipes" / "paper-ml-1m.yaml"
    _, model, masking, training = parse([str(path), "--output_dir", str(tmp_path), "--bf16", "false"])
    assert model == ModelArguments()
    sizes = {name: value for name, value in vars(model).items() if not name.endswith("_weight")}  # without tables
    assert Bert4RecConfig(**sizes).to_dict() == Bert4RecConfig().to_dict()
    assert (masking.mlm_probability, masking.mask_replace_prob) == (0.2, 1.0)
    assert masking.last_item_prob == pytest.approx(1 / 11, abs=1e-4)
    assert training.lr_scheduler_type == "linear"
    assert training.ema_decay is None
    assert 8 <= training.max_steps / training.eval_steps <= 12


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_parses(path, tmp_path):
    data, _, _, training = parse([str(path), "--output_dir", str(tmp_path), "--bf16", "false"])
    assert data.dataset.startswith("ml-")
    assert training.learning_rate > 0
