"""Render the cards of models and data sets from their records with the templates in `model_card/`."""

import ast
import html
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from huggingface_hub.constants import REPOCARD_NAME
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..data.releases import CITATION, HOMEPAGE, Release
from ..evaluation import report_text
from ..evaluation.plots import CURVE_FILE
from ..files import data_folder, write_text
from ..model.extensions_bert4rec import QUERY_TIME_DROPOUT, SEQUENCE_TIME_DROPOUT
from ..model.onnx_bert4rec import ONNX_FILE, ONNX_FOLDER
from ..model.pipeline_bert4rec import MovieRecommendationPipeline
from .folder import CODE_FOLDER, REQUIREMENTS, code_files, has_own_titles, load_pipeline
from .records import read_evaluation, read_training, release_of

TAGS = ("recommendation", "sequential-recommendation", "bert4rec", "endpoints-template")
DATA_LICENCE = {"license": "other", "license_name": "movielens-terms-of-use", "license_link": HOMEPAGE}
NOTEBOOK = "notebook.ipynb"
UNPUBLISHED = "PATH_OR_NAME_OF_THIS_MODEL"
TEMPLATES = data_folder("model_card")
PICTURES = {
    "metrics.png": "Metrics of this model and the baselines, with intervals",
    "history_length.png": "Quality by length of the history",
    "target_popularity.png": "Quality by popularity of the held-out item",
    "popularity.png": "Popularity of recommended, held-out and known items",
}
MARKDOWN = re.compile(r"([\\`*_\[\]|~#])")


def render_card(
    training: Mapping[str, Any],
    evaluation: Mapping[str, Any] | None = None,
    name: str = UNPUBLISHED,
    *,
    titles: bool,
    onnx: bool = False,
    dataset_id: str | None = None,
    revision: str | None = None,
) -> str:
    """Render the card of the model repository `name` from the content of `training.json` and `evaluation.json`.

    `titles` and `onnx` say whether the folder has these. The data set `dataset_id` is published with the model.
    `revision` is the model's branch, None for the main one.
    """
    release = release_of(training)
    title = f"BERT4Rec on {training['dataset']}"
    metadata = ModelCardData(
        library_name="transformers",
        tags=[*TAGS, *(["movielens"] if release else [])],
        datasets=[dataset_id] if dataset_id else [release.name] if release else None,
        metrics=list(report_text.METRIC_LABELS) if evaluation else None,
        model_name=title if evaluation else None,
        eval_results=_eval_results(evaluation) if evaluation else None,
        **(DATA_LICENCE if release else {}),
    )
    return render_template(
        "template.md",
        release,
        metadata=metadata,
        title=title,
        name=name,
        revision=revision,
        published=name != UNPUBLISHED,
        dataset_id=dataset_id,
        training=training,
        options=defaultdict(lambda: None, training["options"]),  # records of earlier versions lack some
        example=training["example"],
        evaluation=evaluation,
        verdicts=report_text.validation_verdicts(training.get("validation", {})),
        titles=titles,
        onnx=onnx,
        requirements=REQUIREMENTS.read_text(encoding="utf-8").splitlines(),
        code={name: _summary_line(name) for name in code_files()},
        versions=_versions(training, evaluation),
        pictures=PICTURES,
        curve=CURVE_FILE,
        query_time_dropout=QUERY_TIME_DROPOUT,
        sequence_time_dropout=SEQUENCE_TIME_DROPOUT,
    )


def _eval_results(evaluation: Mapping[str, Any]) -> list[EvalResult]:
    protocol = evaluation["protocol"]
    k = protocol["headline"].split("@")[1]
    return [
        EvalResult(
            task_type="sequential-recommendation",
            task_name="Next-item recommendation",
            dataset_type=protocol["dataset"],
            dataset_name=f"{protocol['dataset']}, {protocol['split']}, ranked over the full catalogue",
            dataset_split=protocol["part"],
            metric_type=metric,
            metric_name=report_text.metric_label(metric),
            metric_value=round(evaluation["metrics"][metric]["mean"], 6),
        )
        for metric in (f"ndcg@{k}", f"hit_rate@{k}", "mrr")
    ]


def render_notebook(name: str, history: Sequence[Any], revision: str | None = None) -> str:
    """The notebook of a model that is published on a branch, with an example history."""
    requirements = REQUIREMENTS.read_text(encoding="utf-8").split()
    fields = {"name": name, "revision": revision or "main", "history": [*history], "requirements": requirements}
    return render_template(NOTEBOOK, None, **fields)


def render_template(template: str, release: Release | None, **fields: Any) -> str:
    """Render a template of the folder `model_card`; `release` is None for a custom table."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "fmt": format,
        "in_json": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
        "json": lambda value: json.dumps(value, ensure_ascii=False),
        "escape_markdown": escape_markdown,
        "rounded": lambda movie: repr({**movie, "score": float(f"{movie['score']:.4g}")}),
    }
    environment.globals |= {"homepage": HOMEPAGE, "escape_markdown": escape_markdown, "report": report_text}
    return environment.get_template(template).render(
        release=release, item="movie" if release else "item", citation=CITATION, **fields
    )


def escape_markdown(text: object) -> str:
    """The text on one line, with Markdown and HTML escaped and control characters replaced by spaces."""
    line = "".join(" " if unicodedata.category(character)[0] == "C" else character for character in str(text))
    return MARKDOWN.sub(r"\\\1", html.escape(line, quote=False))


def update_card(folder: Path) -> None:
    """Rewrite README.md of a local model folder from the records in it; errors are those of reading them."""
    pipe = load_pipeline(folder, device="cpu")
    training, evaluation = with_current_model(read_training(folder), pipe), read_evaluation(folder)
    onnx = (folder / ONNX_FOLDER / ONNX_FILE).is_file()
    titles = has_own_titles(pipe.tokenizer)
    write_text(folder / REPOCARD_NAME, render_card(training, evaluation, titles=titles, onnx=onnx))


def with_current_model(training: Mapping[str, Any], pipe: MovieRecommendationPipeline) -> dict[str, Any]:
    """A training record with sizes and example of the model as it is now: `add_items` may have changed it."""
    example = training["example"]
    answer = pipe(example["history_ids"], top_k=len(example["answer"]))
    sizes = {"catalogue": pipe.tokenizer.num_items, "parameters": pipe.model.num_parameters()}
    return {**training, **sizes, "example": {**example, "answer": answer}}


def _summary_line(name: str) -> str:
    """First line of the docstring of a module that travels with the model."""
    docstring = ast.get_docstring(ast.parse((CODE_FOLDER / name).read_text(encoding="utf-8"))) or ""
    return docstring.split("\n")[0].replace("|", r"\|")


def _versions(training: Mapping[str, Any], evaluation: Mapping[str, Any] | None) -> report_text.Rows:
    """Versions of the packages at training and at evaluation, as rows of a table."""
    runs = {"training": training["environment"]}
    if evaluation is not None:
        runs["evaluation"] = evaluation["environment"]
    packages = list(dict.fromkeys(name for run in runs.values() for name in run["versions"]))
    rows = [[name, *(run["versions"].get(name, "") for run in runs.values())] for name in packages]
    return [["", *runs], *rows, ["date", *(run["date"][:10] for run in runs.values())]]
