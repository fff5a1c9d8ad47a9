"""A training run: from parsed options to an exported folder."""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from ..data.prepared import PreparedData
from ..data.releases import RELEASES
from ..data.sequences import SEQUENCE_FILE
from ..data.tables import table_name
from ..data.transitions import fit_transition_memory
from ..evaluation.plots import CURVE_FILE, draw_curve
from ..evaluation.validation import format_validation, validation_metrics
from ..files import TRAINING_FILE, write_json
from ..hub.card import render_card
from ..hub.export import check_replaceable, export
from ..hub.folder import has_own_titles, load_pipeline
from ..model.modeling_bert4rec import Bert4RecForMaskedLM
from ..model.pipeline_bert4rec import MovieRecommendationPipeline
from ..model.ranking_bert4rec import Catalogue
from .arguments import Arguments, parse_options
from .auto import prepare_and_choose
from .build import build_trainer
from .checkpoints import latest_complete, list_checkpoints
from .extension_weights import choose_memory, choose_taste_weight, validation_batches
from .hardware import disable_malloc_trim
from .record import build_record, run_options
from .trainer import Bert4RecTrainer, Bert4RecTrainingArguments

logger = logging.getLogger(__name__)

OPTIONS_FILE = "options.json"
# Options that a resumed run may change: its length, its precision, and how a batch is spread over processes.
RESUMABLE = {"num_train_epochs", "max_steps", "early_stopping_patience", "bf16"}
RESUMABLE |= {"per_device_train_batch_size", "gradient_accumulation_steps"}
SCHEDULE_OPTIONS = ("train_sampling_strategy", "dataloader_drop_last", "optim", "adam_beta1", "adam_beta2")


def fit(
    interactions: Any,
    items: Any = None,
    recipe: str | Path | Mapping[str, Any] = "auto",
    output_dir: str | Path | None = None,
    **options: Any,
) -> MovieRecommendationPipeline:
    """Train a recommender on a table of interactions; `hf-bert4rec train` in Python.

    ```python
    pipe = fit(purchases, items=articles, time_column="bought_at")
    pipe(["Ink-1", "Ink-2"], top_k=3)
    pipe.push_to_hub("someone/shop")
    ```

    The log says how the tables were read and which options were chosen, and at the end the validation metrics of model
    and baselines. Use the command to train with several processes.

    Args:
        interactions: a table in any form that `read_interactions` takes, or the name of a MovieLens release.
        items: a table that describes the items, in one of these forms.
        recipe: the name of an installed recipe, a YAML file, or a recipe's entries. "auto" chooses them from the data.
        output_dir: the exported folder, by default `outputs/` and the table's name. An earlier export is replaced.
        options: of `hf-bert4rec train --help`; they override the recipe.

    Raises:
        FileNotFoundError: a table or a recipe does not exist.
        FileExistsError: `output_dir` holds something other than an exported recommender.
        ValueError, TypeError: a table that cannot be read or is too small, or an unknown option.
    """
    logging.basicConfig(format="%(message)s")  # without effect where logging is set up
    logging.getLogger("hf_bert4rec").setLevel(logging.INFO)
    name = str(interactions) if isinstance(interactions, str | Path) else "interactions"
    is_release = isinstance(interactions, str) and name in (*RELEASES, SEQUENCE_FILE) and not Path(name).is_file()
    options["dataset" if is_release else "ratings"] = name
    if isinstance(interactions, str | Path):  # the options name it
        interactions = None
    if items is not None:
        options["items"] = str(items) if isinstance(items, str | Path) else "items"
    options["output_dir"] = output_dir or f"outputs/{table_name(name)}"
    arguments, argv = parse_options(recipe, options)
    return load_pipeline(train(arguments, argv, interactions, items))


def train(arguments: Arguments, argv: Sequence[str] = (), interactions: Any = None, items: Any = None) -> Path:
    """Train, compare with the baselines on the validation part, and export to `output_dir`, the returned folder.

    Checkpoints are written to `checkpoints/`, next to that folder. The training record has the command line `argv`.
    `interactions` and `items` are tables in memory, instead of the files that `arguments` name.
    """
    _, model_arguments, masking, training = arguments
    folder = Path(training.output_dir)
    check_replaceable(folder)
    training.output_dir = str(folder.parent / "checkpoints" / folder.name)
    set_seed(training.seed)
    data, chosen = prepare_and_choose(arguments, interactions, items)
    if chosen:
        logger.info("\n- ".join(["options chosen from the data:", *chosen]))
    disable_malloc_trim()
    trainer = build_trainer(data, model_arguments, masking, training)
    train_or_resume(trainer, run_options(arguments[:-1], training) | resume_conditions(training, data))
    model = trainer.gathered_model().float()
    if trainer.is_world_process_zero():
        figures = finish_model(model, data, arguments)
        record = build_record(trainer, model, data, arguments[:-1], argv) | {"auto": chosen, **figures}
        files = {TRAINING_FILE: record, CURVE_FILE: draw_curve(record)}
        card = render_card(record, titles=has_own_titles(data.tokenizer))
        export(model, data.tokenizer, folder, card, files)
        logger.info("exported to %s\n%s", folder, format_validation(figures["validation"]))
    trainer.leave_process_group()
    return folder


def resume_conditions(training: Bert4RecTrainingArguments, data: PreparedData) -> dict[str, Any]:
    """What a resumed run must keep in addition to `run_options`: the order of rows, and the data behind a name."""
    options = training.to_dict()
    rows = training.train_batch_size * training.gradient_accumulation_steps * training.world_size
    return {
        "per_device_train_batch_size * gradient_accumulation_steps * number of processes": rows,
        **{name: options[name] for name in SCHEDULE_OPTIONS},
        "training_interactions": int(data.train.lengths.sum()),
        "validation_targets_sha256": data.target_hash("validation"),
        "vocabulary_sha256": data.tokenizer.vocabulary_sha256,
    }


def finish_model(model: Bert4RecForMaskedLM, data: PreparedData, arguments: Arguments) -> dict[str, Any]:
    """Subtract popularity, choose weights, validate, and fill the memory with all interactions; returns the figures."""
    _, model_arguments, masking, training = arguments
    if masking.popularity_penalty:
        subtract_popularity(model, Catalogue(data.tokenizer), masking.popularity_penalty)
    choose_for_memory = model.memory is not None and model_arguments.memory_weight is None
    choose_for_taste = model.taste is not None and model_arguments.taste_weight is None
    batches = validation_batches(model, data, training.seed) if choose_for_memory or choose_for_taste else []
    memory = choose_memory(model, data, batches) if choose_for_memory else None
    taste = choose_taste_weight(model, data, batches) if choose_for_taste else None
    validation = validation_metrics(model, data, training.seed)
    if masking.refresh_memory and model.memory is not None:
        histories = data.complete_histories(model.config.time_aware)
        fit_transition_memory(model, histories, memory["backward"] if memory else 0.0)
    return {"memory": memory, "taste": taste, "validation": validation}


@torch.no_grad()
def subtract_popularity(model: Bert4RecForMaskedLM, catalogue: Catalogue, penalty: float) -> None:
    """Subtract penalty * log(popularity) from the items' biases, as a request's `popularity_penalty` does from scores.

    Source: logit adjustment (Menon et al., arXiv:2007.07314).
    """
    model.decoder.bias[catalogue.first_item_id :] -= penalty * catalogue.log_popularity.to(model.device)


def train_or_resume(trainer: Bert4RecTrainer, options: Mapping[str, Any]) -> None:
    """Train from the start, or from the checkpoint that `resume_from_checkpoint` names ("last": the latest complete).

    FileNotFoundError without a complete one; ValueError if one of `options`, JSON values by name, differs from its run.
    """
    checkpoints = Path(trainer.args.output_dir)
    resume = trainer.args.resume_from_checkpoint
    if resume in ("last", "true", "True"):
        checkpoint = latest_complete(checkpoints)
        if checkpoint is None:
            raise FileNotFoundError(f"no complete checkpoint in {checkpoints}: start without --resume_from_checkpoint")
        resume = str(checkpoint)
    if resume is not None:
        check_same_options(Path(resume).parent / OPTIONS_FILE, options)
    elif trainer.is_world_process_zero():
        for checkpoint in list_checkpoints(checkpoints):
            shutil.rmtree(checkpoint)
        write_json(checkpoints / OPTIONS_FILE, options)
    trainer.accelerator.wait_for_everyone()
    trainer.train(resume_from_checkpoint=resume)


def check_same_options(path: Path, options: Mapping[str, Any]) -> None:
    """Raise ValueError if an option differs from that of the run which wrote the file; without a file, pass.

    The optimizer's state, the order and the masks would otherwise be those of neither run.
    """
    if not path.is_file():
        return
    earlier = json.loads(path.read_text(encoding="utf-8"))
    changed = [
        f"{name} is {options[name]} and was {earlier[name]}"
        for name in sorted(set(options) & set(earlier) - RESUMABLE)
        if options[name] != earlier[name]
    ]
    if changed:
        raise ValueError(
            f"the run in {path.parent} had other options or data: {'; '.join(changed)}. Resume with its own, or start "
            "again without --resume_from_checkpoint"
        )
