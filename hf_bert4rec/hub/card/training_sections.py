"""The sections of a card on data, architecture, training, and how to reproduce the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...data.releases import HOMEPAGE, Release
from ...evaluation.report_text import markdown
from ...model.extensions_bert4rec import QUERY_TIME_DROPOUT, SEQUENCE_TIME_DROPOUT
from .curve import CURVE_FILE
from .markup import plain

SIZES = {
    "hidden_size": "hidden size",
    "num_hidden_layers": "layers",
    "num_attention_heads": "attention heads",
    "intermediate_size": "feed-forward size",
    "hidden_act": "activation",
    "max_position_embeddings": "window (positions)",
}
# Options that the sections on data and architecture describe in a sentence.
DATA_OPTIONS = {"dataset", "data_dir", "ratings", "items", "split", "targets", "quantile"}
DESCRIBED = {*SIZES, *DATA_OPTIONS, "pre_layer_norm", "rotary_positions"}
HELD_OUT = {
    "leave-one-out": "The last {noun} of every user is held out for testing, the one before it for validation.",
    "last-n": "The last {targets} {noun}s of every user are held out for testing, the {targets} before those for "
    "validation.",
    "temporal": "Interactions after the {quantile:.0%} quantile of all times are held out.",
}


def item_noun(release: Release | None) -> str:
    """What a card calls an item: a movie on MovieLens, an item for a custom table."""
    return "movie" if release else "item"


def data_fields(training: Mapping[str, Any], release: Release | None, titles: bool) -> dict[str, Any]:
    """Counts, preprocessing, split, licence, and whether titles are published."""
    options, min_rating = training["options"], training["options"].get("min_rating")
    return {
        "source": data_source(release, training["dataset"]),
        **{name: f"{training[name]:,}" for name in ("num_users", "num_items", "num_interactions", "parameters")},
        "min_interactions": options["min_interactions"],
        "ratings": (
            f"Interactions rated below {min_rating:g} are left out, all others count equally."
            if min_rating
            else "Every interaction counts equally, whatever its rating."
        ),
        "order": (
            "Histories are ordered by time, ties by the order of the source."
            if options.get("time_column")
            else "Histories are in the order of the source."
        ),
        "held_out": HELD_OUT[options.get("split", "leave-one-out")].format(noun=item_noun(release), **options),
        "not_published": "" if titles else " not",
        "licence": _licence(release),
    }


def data_source(release: Release | None, name: str) -> str:
    """A release with its address, or the name of a custom table."""
    return f"[{release.name}]({HOMEPAGE}), a release of MovieLens by GroupLens" if release else plain(name)


def _licence(release: Release | None) -> str:
    code = "The code in this repository is under the Apache License 2.0"
    if release is None:
        return f"{code}; the licence of the data is up to its owner."
    return (
        f"**Licence of the data.** {release.licence} The weights were learned from these data: use them under the same "
        f"terms. {code}."
    )


def architecture_fields(training: Mapping[str, Any], release: Release | None) -> dict[str, str]:
    """What the network is, and its sizes as rows of a table."""
    options = training["options"]
    return {
        "attention": "causal attention (`causal`)" if options.get("causal") else "bidirectional attention",
        "positions": "rotary positions" if options["rotary_positions"] else "learned positions",
        "norm": "before" if options["pre_layer_norm"] else "after",
        "previous_item": _previous_item(options, item_noun(release)),
        "memory": _memory(options, item_noun(release)),
        "times": _times(options),
        "sizes": "\n".join(f"| {label} | {plain(options[name])} |" for name, label in SIZES.items()),
    }


def _previous_item(options: Mapping[str, Any], noun: str) -> str:
    if not options.get("previous_item"):
        return ""
    return f" Each position's input is the sum of its own embedding and that of the {noun} before it (`previous_item`)."


def _memory(options: Mapping[str, Any], noun: str) -> str:
    if not options.get("memory_size"):
        return ""
    return (
        f" A transition memory stores, for each {noun}, the {options['memory_size']} {noun}s that followed it most "
        f"often in the training histories. Its distribution given the last ten {noun}s is multiplied into the scores, "
        f"raised to the power {options['memory_weight']:g}."
    )


def _times(options: Mapping[str, Any]) -> str:
    if not options.get("time_aware"):
        return ""
    return (
        " The model uses times (`time_aware`): the gap before each interaction, its date, and the gap until the "
        'request, given as `{"history": [...], "timestamps": [...], "now": ...}`. In training the time of the query '
        f"was dropped for {QUERY_TIME_DROPOUT:.0%} of the queries, and all times for {SEQUENCE_TIME_DROPOUT:.0%} of "
        "the histories."
    )


def _objective(options: Mapping[str, Any], noun: str) -> str:
    if options.get("causal"):
        return f"Every {noun} of a history is predicted from those before it."
    cloze = f"{noun.capitalize()}s of a history are masked at random and predicted from both sides (Cloze task)."
    if not options.get("causal_prob"):
        return cloze
    return (
        f"{cloze} In {options['causal_prob']:.0%} of the batches every {noun} is predicted from those before it "
        "instead, by the same weights with a causal mask (`causal_prob`)."
    )


def training_fields(training: Mapping[str, Any], release: Release | None) -> dict[str, Any]:
    """Objective, duration, hardware, exported step, curve, and every option of the run."""
    options, noun, best = training["options"], item_noun(release), training["best_validation_ndcg@10"]
    return {
        "objective": _objective(options, noun),
        "epochs": f"{max((entry['epoch'] for entry in training['curve']), default=0):g}",
        "seconds": f"{training['seconds']:,.0f}",
        "hardware": training["hardware"],
        "processes": "" if training["processes"] == 1 else f", {training['processes']} processes",
        "step": (
            "the last step"
            if best is None
            else f"step {training['best_step']:,}, the best by NDCG@10 on the validation part ({best:.4f})"
        ),
        "seed": options["seed"],
        "curve": CURVE_FILE,
        "options": "\n".join(
            f"| `{name}` | {plain(value)} |"
            for name, value in sorted(options.items())
            if value is not None and name not in DESCRIBED and not name.endswith("_column")
        ),
    }


def commands(training: Mapping[str, Any], evaluation: Mapping[str, Any] | None) -> str:
    """The commands that train and evaluate the model again, in a checkout of the package."""
    train = f".venv/bin/{training['command']} --output_dir outputs/again"
    if evaluation is None:
        return train
    ks, seed = " ".join(map(str, evaluation["protocol"]["ks"])), evaluation["bootstrap"]["seed"]
    part = evaluation["protocol"]["part"]
    return f"{train}\n.venv/bin/hf-bert4rec evaluate outputs/again --part {part} --ks {ks} --seed {seed}"


def versions_table(training: Mapping[str, Any], evaluation: Mapping[str, Any] | None) -> str:
    """Versions of the packages at training and at evaluation."""
    runs = {"training": training["environment"]}
    if evaluation is not None:
        runs["evaluation"] = evaluation["environment"]
    packages = list(dict.fromkeys(name for run in runs.values() for name in run["versions"]))
    rows = [[name, *(run["versions"].get(name, "") for run in runs.values())] for name in packages]
    return markdown([["", *runs], *rows, ["date", *(run["date"][:10] for run in runs.values())]])
