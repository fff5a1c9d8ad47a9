"""The parts of a card that tell of data, architecture and training, and how to do it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...data.releases import HOMEPAGE, Release
from ...model.time_bert4rec import QUERY_TIME_DROPOUT, SEQUENCE_TIME_DROPOUT
from .curve import CURVE_FILE
from .markup import plain

SIZES = {
    "hidden_size": "hidden size",
    "num_hidden_layers": "layers",
    "num_attention_heads": "attention heads",
    "intermediate_size": "feed-forward size",
    "hidden_act": "activation",
    "max_position_embeddings": "window, in places",
}
# Where an option of the run comes from, and what a model is, are told in words elsewhere.
TOLD_ELSEWHERE = {*SIZES, "dataset", "data_dir", "ratings", "items", "pre_layer_norm", "rotary_positions", "split"}
TOLD_ELSEWHERE |= {"targets", "quantile", "user_column", "item_column", "time_column", "rating_column"}
HELD_OUT = {
    "leave-one-out": "Of every user the last movie is held out for testing and the one before it for validation.",
    "last-n": "Of every user the last {targets} movies are held out for testing and the {targets} before those for "
    "validation.",
    "temporal": "What came after the {quantile:.0%} quantile of all times is held out.",
}


def data_section(training: Mapping[str, Any], release: Release | None, titles: bool) -> str:
    """Counts, preprocessing, split, licence, and whether titles ship."""
    options = training["options"]
    source = (
        f"[{release.name}]({HOMEPAGE}), a release of MovieLens by GroupLens" if release else plain(training["dataset"])
    )
    rated = f" Interactions rated below {options['min_rating']:g} are left out." if options["min_rating"] else ""
    held_out = HELD_OUT[options.get("split", "leave-one-out")].format(**options)
    parts = [
        f"{source}: {training['num_users']:,} users, {training['num_items']:,} movies and "
        f"{training['num_interactions']:,} interactions after users and movies with fewer than "
        f"{options['min_interactions']} interactions were left out, repeatedly, until none had fewer.{rated} Every "
        "rating counts as one interaction, whatever its value. A history is ordered by time where times are known, "
        f"ties by the order of the source. {held_out}",
        "Interaction counts of the movies ship with the model: popularity answers where a history is empty. "
        + ("Titles and genres ship too." if titles else "Titles and genres do not."),
    ]
    if release is not None:
        parts.append(
            f"**Licence of the data.** {release.licence} The weights were learned from these data: use them under the "
            "same terms. The code in this repository is under the Apache License 2.0."
        )
    else:
        parts.append("The code in this repository is under the Apache License 2.0; the data's licence is its owner's.")
    return "\n\n".join(parts)


def architecture_section(training: Mapping[str, Any]) -> str:
    """What the network is, and its sizes as a table."""
    options = training["options"]
    positions = "rotary positions" if options["rotary_positions"] else "learned positions"
    norm = "before" if options["pre_layer_norm"] else "after"
    rows = [f"| {label} | {options[name]} |" for name, label in SIZES.items()]
    causal = options.get("causal", False)
    sees = "in which a place sees the movies before it (`causal`)" if causal else "in which a place sees all others"
    memory = (
        f" Beside it stands a memory: of every movie the {options['memory_size']} that followed it most in training "
        "histories, whose shares of what follows the last ten movies are multiplied into the scores "
        f"(to the power {options['memory_weight']:g})."
        if options.get("memory_size")
        else ""
    )
    times = (
        " It knows times (`time_aware`): the gap before each movie, the date, and the gap until it is asked where a "
        'request such as `{"history": [...], "timestamps": [...], "now": ...}` tells. In training '
        f"{QUERY_TIME_DROPOUT:.0%} of the questions were asked without their time, and {SEQUENCE_TIME_DROPOUT:.0%} of "
        "the histories shown without any."
        if options.get("time_aware")
        else ""
    )
    return (
        f"A transformer over item embeddings, {sees}, with {positions}, layer norm {norm} attention and "
        "feed-forward, and a head (dense layer, activation, layer norm) whose output embedding is tied to the input "
        "embedding, with a bias for every item. A [MASK] appended to the history takes one place of the window; of "
        f"longer histories the most recent movies are read.{memory}{times}\n\n"
        f"| size | |\n|---|---|\n" + "\n".join([*rows, f"| parameters | {training['parameters']:,} |"])
    )


def training_section(training: Mapping[str, Any]) -> str:
    """Time, hardware, the kept step, the curve, and every option of the run."""
    options = training["options"]
    rows = [
        f"| `{name}` | {value} |"
        for name, value in sorted(options.items())
        if value is not None and name not in TOLD_ELSEWHERE
    ]
    epochs = max((entry["epoch"] for entry in training["curve"]), default=0)
    processes = "" if training["processes"] == 1 else f", {training['processes']} processes"
    task = (
        "Every movie of a history is predicted from those before it."
        if options.get("causal")
        else "Movies of a history are masked at random and predicted from both sides (Cloze)."
    )
    best = training["best_validation_ndcg@10"]
    kept = (
        "the last step"
        if best is None
        else f"step {training['best_step']:,}, the best by NDCG@10 on the validation part ({best:.4f})"
    )
    return (
        f"{task} {epochs:g} epochs in "
        f"{training['seconds']:,.0f} seconds on {training['hardware']}{processes}. The weights are those of "
        f"{kept}. Seed {options['seed']}.\n\n"
        f"![Training loss and validation NDCG@10 by epoch]({CURVE_FILE})\n\n"
        "<details><summary>All options of the run</summary>\n\n| option | value |\n|---|---|\n"
        + "\n".join(rows)
        + "\n\n</details>"
    )


def reproduce_section(training: Mapping[str, Any], evaluation: Mapping[str, Any] | None) -> str:
    """The commands that train and evaluate again, from a checkout of the package."""
    lines = ["make install", f".venv/bin/{training['command']} --output_dir outputs/again"]
    if evaluation is not None:
        protocol = evaluation["protocol"]
        ks = " ".join(map(str, protocol["ks"]))
        seed = evaluation["bootstrap"]["seed"]
        lines.append(
            f".venv/bin/python training/evaluate.py outputs/again --part {protocol['part']} --ks {ks} --seed {seed}"
        )
    return (
        "In a checkout of hf-bert4rec:\n\n```\n" + "\n".join(lines) + "\n```\n\n"
        "Masks and order are functions of the seed, so that the same versions on the same hardware give the same "
        "weights. Other hardware rounds otherwise: figures then agree to within their intervals, and the hash of the "
        "targets is the same."
    )


def versions_section(training: Mapping[str, Any], evaluation: Mapping[str, Any] | None) -> str:
    """Versions of the packages, at training and at evaluation."""
    runs = {"trained": training["environment"]}
    if evaluation is not None:
        runs["evaluated"] = evaluation["environment"]
    packages = list(dict.fromkeys(name for run in runs.values() for name in run["versions"]))
    rows = [[name, *(run["versions"].get(name, "") for run in runs.values())] for name in packages]
    rows.append(["date", *(run["date"][:10] for run in runs.values())])
    lines = [["", *runs], ["---"] * (len(runs) + 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
