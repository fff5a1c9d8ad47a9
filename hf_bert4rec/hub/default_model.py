"""The model that `pipeline("movie-recommendation")` loads if none is named."""

import os
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download

DEFAULT_MODEL = "hf-bert4rec/bert4rec-ml-latest-small"
MODEL_VARIABLE = "HF_BERT4REC_MODEL"


class DefaultModel(dict[str, Any]):
    """The task's default for the pipeline registry of transformers, resolved on access.

    `default["model"]` is `(name, revision)`. The name is the folder or repository in the environment variable
    `HF_BERT4REC_MODEL`, or else `DEFAULT_MODEL`; OSError if it cannot be loaded.
    """

    def __init__(self) -> None:
        super().__init__(model=(DEFAULT_MODEL, None))

    def __getitem__(self, key: str) -> Any:
        if key != "model":
            return super().__getitem__(key)
        name = os.environ.get(MODEL_VARIABLE) or DEFAULT_MODEL
        if not Path(name).is_dir():
            try:
                hf_hub_download(name, "config.json")
            except (OSError, ValueError) as error:
                raise OSError(
                    f"no model was named, and the default, {name!r}, cannot be loaded ({type(error).__name__}): name "
                    f'one, as in pipeline("movie-recommendation", model="folder-or-user/name"), or set '
                    f"{MODEL_VARIABLE} to a folder or a name on the Hub"
                ) from error
        return name, None
