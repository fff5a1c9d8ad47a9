"""Evaluate a trained model and the baselines on the same held-out items."""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..data.arguments import DataArguments
from ..data.leakage import LeakageError
from ..data.prepare import prepare
from ..data.prepared import PreparedData
from ..data.splits import SPLIT_OPTIONS
from ..data.taste import fit_taste
from ..data.transitions import fit_transition_memory
from ..model.configuration_bert4rec import Bert4RecConfig
from ..model.extensions_bert4rec import Bert4RecTaste
from ..model.modeling_bert4rec import Bert4RecForMaskedLM
from ..model.ranking_bert4rec import ItemEmbeddings
from ..model.tokenization_bert4rec import Bert4RecTokenizer
from .baselines import fit_baselines
from .config import EvaluationConfig
from .examples import make_examples
from .new_users import draw_likes, evaluate_new_users
from .ranking import Scorer
from .related_items import SimilarScorer, evaluate_related_items
from .report import build_report, times_section
from .scoring import ModelScorer, TasteScorer, evaluate_scorer
from .task import build_task, time_ablations
from .trained_model import find_model, load_network, training_data_options, training_record, weights_sha256

logger = logging.getLogger(__name__)

REFIT_SHARE = 0.2  # of the users, held out from a second model of taste where the model knows all users
# With the name of the table, these options decide the histories.
HISTORY_OPTIONS = ("dataset", "min_interactions", "min_rating", "event_column")


def evaluate_model(
    model: str | Path, data: DataArguments | None = None, config: EvaluationConfig | None = None
) -> dict[str, Any]:
    """Rank every held-out item with a model and with the baselines.

    ```python
    report = evaluate_model("outputs/ml-100k", config=EvaluationConfig(ks=[10]))
    report["metrics"]["ndcg@10"]  # {"mean": …, "low": …, "high": …}
    ```

    Args:
        model: an exported folder, or a name on the Hub.
        data: the data set and its split; by default those of the training.

    Returns:
        The content of `evaluation.json`, described in `report.py`.

    Raises:
        FileNotFoundError: the model or a table is missing.
        ValueError: the model is damaged, the catalogues differ, nothing is held out, a list is longer than the
            catalogue, or a score is NaN.
        LeakageError: the model's training data hold a target.
    """
    start = time.perf_counter()
    config = config or EvaluationConfig()
    folder = find_model(model)
    options = data or DataArguments(**training_data_options(folder))
    network, _ = load_network(folder)
    network.to(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    prepared = prepare_for_model(folder, options)
    task = build_task(prepared, config, timed=network.config.time_aware)
    protocol = _protocol(prepared, options, config)
    if refill_memory(network, folder, prepared, config.part):
        protocol["memory"] = "filled with all interactions that precede the targets"
    scorer = ModelScorer(network, prepared.tokenizer)
    baselines = fit_baselines(task.known, task.vocab_size, config.seed)
    result = evaluate_scorer(scorer, task, config, str(model))
    report = build_report(
        task,
        result,
        ((name, evaluate_scorer(baseline, task, config, name)) for name, baseline in baselines.items()),
        config,
        model_info={
            "name": str(model),
            "weights_sha256": weights_sha256(folder),
            "parameters": network.num_parameters(),
            "window": network.config.max_position_embeddings,
        },
        protocol=protocol,
        examples=make_examples(scorer, task, prepared.tokenizer, config),
    )
    if network.config.time_aware:
        ablations = {
            name: evaluate_scorer(scorer, ablation, config, f"{model}, {name}")
            for name, ablation in time_ablations(task, prepared, config).items()
        }
        report["times"] = times_section(result, ablations, config.seed)
    report |= taste_sections(network, prepared, config)
    report["environment"]["seconds"]["all"] = round(time.perf_counter() - start, 2)
    return report


def taste_sections(network: Bert4RecForMaskedLM, data: PreparedData, config: EvaluationConfig) -> dict[str, Any]:
    """The sections `related_items` and `new_users`, as far as data and model allow."""
    scorers: dict[str, Scorer] = {"next": ModelScorer(network, data.tokenizer)}
    if network.taste is not None:
        scorers = {"taste": TasteScorer(network.taste), **scorers}
    similar = SimilarScorer(ItemEmbeddings(network, data.tokenizer, network.device), len(data.tokenizer))
    sections = {"related_items": evaluate_related_items({**scorers, "similar": similar}, data, config)}
    if data.holds_out_users:
        sections["new_users"] = evaluate_new_users(scorers, data, config)
    elif network.taste is not None:
        sections["new_users"] = refitted_section(network.config, data, config)
    return {name: section for name, section in sections.items() if section is not None}


def refill_memory(network: Bert4RecForMaskedLM, folder: Path, data: PreparedData, part: str) -> bool:
    """Fill a memory of all interactions (`refresh_memory`) with only those that precede the targets of `part`.

    Returns whether it was refilled. Other memories hold the training part only, and are unchanged.
    """
    record = training_record(folder)
    if network.memory is None or not record["options"].get("refresh_memory"):
        return False
    known = data.known_interactions(part, timed=network.config.time_aware)
    fit_transition_memory(network, known, (record.get("memory") or {}).get("backward", 0.0))
    return True


def refitted_section(
    model_config: Bert4RecConfig, data: PreparedData, config: EvaluationConfig
) -> dict[str, Any] | None:
    """Figures for `REFIT_SHARE` of the users, of a second model of taste fitted without them; None if they are few.

    The network, which was trained on them, is left out.
    """
    try:
        data = data.with_held_out_users(REFIT_SHARE)
        draw_likes(data, config.part, config.seed)
    except ValueError as error:
        logger.info("quality for new users is not measured: %s", error)
        return None
    taste = Bert4RecTaste(model_config)
    fit_taste(taste, data.train, data.train_liked, data.tokenizer.items)
    return {**evaluate_new_users({"taste": TasteScorer(taste)}, data, config), "refitted": True}


def prepare_for_model(folder: Path, options: DataArguments) -> PreparedData:
    """The data set encoded with the model's own tokenizer, checked for leaks into the model's training.

    Raises:
        ValueError: the catalogues of model and data set differ.
        LeakageError: the split leaks, or the model was trained on what is held out.
    """
    data = prepare(options)
    tokenizer = Bert4RecTokenizer.from_pretrained(folder)
    _check_catalogues(tokenizer, data)
    trained = training_record(folder)["options"]
    if _history_options(trained) != _history_options(vars(options)):
        logger.warning("no record that %s was trained on these data: only the split is checked for leaks", folder)
    else:
        training_split = replace(options, **{name: trained[name] for name in SPLIT_OPTIONS if name in trained})
        data.check_training(training_split)
        if data.holds_out_users and trained.get("held_out_users", 0.0) != options.held_out_users:
            raise LeakageError(
                f"held_out_users is {options.held_out_users}, but {folder} was trained with "
                f"{trained.get('held_out_users', 0.0)} and knows some of these users: train it with the same share"
            )
    return replace(data, tokenizer=tokenizer)


def _history_options(options: Mapping[str, Any]) -> tuple[Any, ...]:
    """The options that decide the histories; a table by its name, as training records have no folders."""
    table = options.get("ratings")
    repeats = options.get("repeats", "first")  # not recorded by earlier versions
    return (Path(table).name if table else None, repeats, *(options.get(name) for name in HISTORY_OPTIONS))


def _check_catalogues(tokenizer: Bert4RecTokenizer, data: PreparedData) -> None:
    """Raise ValueError unless model and data set have the same items."""
    model_items, data_items = set(tokenizer.item_ids), set(data.tokenizer.item_ids)
    missing, extra = data_items - model_items, model_items - data_items
    if missing or extra:
        examples = ", ".join(map(repr, sorted(missing or extra, key=str)[:3]))
        raise ValueError(
            f"the model's catalogue and that of {data.name} differ: {len(missing):,} items of the data set are missing "
            f"from the model and {len(extra):,} of the model's are not in the data set ({examples}, …): evaluate on "
            "the data set, and with the --min_interactions and --min_rating, that the model was trained with, or after "
            "add_items on one that has the new items too"
        )


def _protocol(data: PreparedData, options: DataArguments, config: EvaluationConfig) -> dict[str, Any]:
    split = {"last-n": f"last {options.targets}", "temporal": f"temporal at {options.quantile}"}
    return {
        "dataset": data.name,
        "split": split.get(options.split, options.split),
        "part": config.part,
        "order": "by user, time, row of the release; stable" if data.timed else "as the file lists them",
        "min_interactions": options.min_interactions,
        "min_rating": options.min_rating,
        **({"target_events": options.target_events} if options.event_column else {}),
        "targets_sha256": data.target_hash(config.part),
        "users_in_all": len(data.history_lengths),
        "interactions_in_all": int(data.history_lengths.sum()),
        "seeds": dict.fromkeys(("bootstrap", "negatives", "random"), config.seed),
    }
