"""The folder of an exported model: its files, its titles, and loading it with this package's code."""

from pathlib import Path
from typing import Any

from huggingface_hub.constants import REPOCARD_NAME
from transformers import pipeline

from ..files import data_folder
from ..model.loading_bert4rec import read_object, report_corrupt_files
from ..model.pipeline_bert4rec import TASK, MovieRecommendationPipeline
from ..model.tokenization_bert4rec import ITEMS_FILE

CODE_FOLDER = Path(__file__).parents[1] / "model"
REQUIREMENTS = data_folder("model_card") / "requirements.txt"  # the versions that load a model
JSON_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", ITEMS_FILE)
REQUIRED_FILES = (*JSON_FILES, "pipeline_bert4rec.py", REPOCARD_NAME)
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")


def load_pipeline(folder: str | Path, **options: Any) -> MovieRecommendationPipeline:
    """Load the recommender of a folder or Hub repository with this package's code instead of its own.

    OSError or ValueError if it cannot be loaded; the error names the folder, or the damaged file.
    """
    trusted = {"pipeline_class": MovieRecommendationPipeline, "trust_remote_code": False}
    # A model of another type, which is refused once it is loaded, would be read from a pickled file.
    options["model_kwargs"] = {**options.get("model_kwargs", {}), "use_safetensors": True}
    try:
        # transformers raises RuntimeError for a config that does not describe a pipeline.
        with report_corrupt_files(folder, *JSON_FILES, exact_types=(RuntimeError,)):
            return pipeline(TASK, model=str(folder), **trusted, **options)
    except (TypeError, ValueError) as error:
        # transformers puts the traceback of the cause into the text of its error.
        text = str(error).strip().rsplit("\n", 1)[-1] if "Traceback" in str(error) else str(error)
        raise ValueError(text if str(folder) in text else f"{folder}: {text}") from error


def check_files(folder: Path) -> None:
    """Raise FileNotFoundError if a required file is missing, ValueError if a pickled one is present."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: train a model first, with `hf-bert4rec train`")
    missing = [name for name in REQUIRED_FILES if not (folder / name).is_file()]
    if not list(folder.glob("model*.safetensors")):
        missing.append("model.safetensors")
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}: it is not a complete exported recommender")
    if pickled := sorted(path.name for path in folder.rglob("*") if path.suffix in PICKLES):
        raise ValueError(f"{folder} holds {', '.join(pickled)}: pickled files run code when loaded; remove them")


def code_files() -> list[str]:
    """Names of the Python files that are copied to every model's folder."""
    return sorted(path.name for path in CODE_FOLDER.glob("*.py") if path.stem != "__init__")


def has_titles(folder: Path) -> bool:
    """Whether `items.json` of a model folder names any title."""
    return any(read_object(folder / ITEMS_FILE).get("title", []))


def has_own_titles(tokenizer: Any) -> bool:
    """Whether any title of a tokenizer is not just the id of its item, as in a table without titles."""
    titles = zip(tokenizer.items.get("title", []), tokenizer.item_ids, strict=False)
    return any(title and title != str(item) for title, item in titles)
