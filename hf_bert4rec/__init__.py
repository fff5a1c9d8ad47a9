"""BERT4Rec for the Hugging Face Hub: `from_pretrained`, `pipeline("movie-recommendation")`, and `fit`, which trains.

Importing the package registers the Auto classes and the pipeline's task with transformers.
"""

from importlib import import_module
from typing import Any

from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoTokenizer
from transformers.pipelines import PIPELINE_REGISTRY

from .hub.default_model import DefaultModel
from .model.configuration_bert4rec import TASKS, Bert4RecConfig
from .model.items_bert4rec import AmbiguousTitleError, UnknownTitleError
from .model.modeling_bert4rec import Bert4RecForMaskedLM, Bert4RecModel
from .model.pipeline_bert4rec import MovieRecommendationPipeline
from .model.tokenization_bert4rec import Bert4RecTokenizer

__version__ = "0.1.0"

AutoConfig.register("bert4rec", Bert4RecConfig, exist_ok=True)
AutoModel.register(Bert4RecConfig, Bert4RecModel, exist_ok=True)
AutoModelForMaskedLM.register(Bert4RecConfig, Bert4RecForMaskedLM, exist_ok=True)
AutoTokenizer.register(Bert4RecConfig, fast_tokenizer_class=Bert4RecTokenizer, exist_ok=True)
_registered = MovieRecommendationPipeline._registered_impl
for _task in TASKS:
    PIPELINE_REGISTRY.register_pipeline(
        _task,
        pipeline_class=MovieRecommendationPipeline,
        pt_model=AutoModelForMaskedLM,
        default=DefaultModel(),
        type="text",
    )
# Registration put the default model on the class, from where saving would write it into every config.
MovieRecommendationPipeline._registered_impl = _registered

__all__ = [
    "AmbiguousTitleError",
    "Bert4RecConfig",
    "Bert4RecForMaskedLM",
    "Bert4RecModel",
    "Bert4RecTokenizer",
    "MovieRecommendationPipeline",
    "UnknownTitleError",
    "fit",
]


def __getattr__(name: str) -> Any:
    if name == "fit":  # training needs more libraries than answering
        return import_module(".training.fit", __name__).fit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
