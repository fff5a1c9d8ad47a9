"""The sections of a card on data, architecture, training, and how to reproduce the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...data.releases import HOMEPAGE, Release
from ...model.extensions_bert4rec import QUERY_TIME_DROPOUT, SEQUENCE_TIME_DROPOUT
from .curve import CURVE_FILE
from .markup import plain
from .usage_sections import item_noun

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


def data_section(training: Mapping[str, Any], release: Release | None, titles: bool) -> str:
    """Counts, preprocessing, split, licence, and whether titles are published."""
    options, noun = training["options"], item_noun(release)
    source = (
        f"[{release.name}]({HOMEPAGE}), a release of MovieLens by GroupLens" if release else plain(training["dataset"])
    )
    min_rating = options.get("min_rating")
    ratings = (
        f"Interactions rated below {min_rating:g} are left out, all others count alike."
        if min_rating
        else "Every interaction counts alike, whatever its rating."
    )
    order = (
        "Histories are ordered by time, ties by the order of the source."
        if options.get("time_column")
        else "Histories are in the order of the source."
    )
    held_out = HELD_OUT[options.get("split", "leave-one-out")].format(noun=noun, **options)
    counts = (
        f"{source}: {training['num_users']:,} users, {training['num_items']:,} {noun}s and "
        f"{training['num_interactions']:,} interactions. Users and {noun}s with fewer than "
        f"{options['min_interactions']} interactions were removed repeatedly until none was left. {ratings} "
        f"{order} {held_out}"
    )
    published = (
        f"Interaction counts of the {noun}s are part of this repository: they rank the answer to an empty history. "
        f"Titles and genres are{'' if titles else ' not'} part of it."
    )
    return "\n\n".join([counts, published, _licence(release)])


def _licence(release: Release | None) -> str:
    code = "The code in this repository is under the Apache License 2.0"
    if release is None:
        return f"{code}; the licence of the data is up to its owner."
    return (
        f"**Licence of the data.** {release.licence} The weights were learned from these data: use them under the same "
        f"terms. {code}."
    )


def architecture_section(training: Mapping[str, Any], release: Release | None) -> str:
    """What the network is, and its sizes as a table."""
    options, noun = training["options"], item_noun(release)
    positions = "rotary positions" if options["rotary_positions"] else "learned positions"
    norm = "before" if options["pre_layer_norm"] else "after"
    attention = "causal attention (`causal`)" if options.get("causal") else "bidirectional attention"
    rows = [f"| {label} | {plain(options[name])} |" for name, label in SIZES.items()]
    return (
        f"A transformer encoder over {noun} embeddings with {attention}, {positions}, layer norm {norm} attention and "
        "feed-forward, and a head (dense layer, activation, layer norm) whose output embedding is tied to the input "
        f"embedding, with a bias for each {noun}. A [MASK] is appended to the history and takes one position of the "
        f"window; longer histories are truncated to their most recent {noun}s."
        f"{_memory(options, noun)}{_times(options)}\n\n"
        "| size | |\n|---|---|\n" + "\n".join([*rows, f"| parameters | {training['parameters']:,} |"])
    )


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


def training_section(training: Mapping[str, Any], release: Release | None) -> str:
    """Objective, duration, hardware, exported step, curve, and every option of the run."""
    options, noun = training["options"], item_noun(release)
    objective = (
        f"Every {noun} of a history is predicted from those before it."
        if options.get("causal")
        else f"{noun.capitalize()}s of a history are masked at random and predicted from both sides (Cloze task)."
    )
    epochs = max((entry["epoch"] for entry in training["curve"]), default=0)
    processes = "" if training["processes"] == 1 else f", {training['processes']} processes"
    best = training["best_validation_ndcg@10"]
    step = (
        "the last step"
        if best is None
        else f"step {training['best_step']:,}, the best by NDCG@10 on the validation part ({best:.4f})"
    )
    return (
        f"{objective} {epochs:g} epochs in {training['seconds']:,.0f} seconds on {training['hardware']}{processes}. "
        f"The weights are those of {step}. Seed {options['seed']}.\n\n"
        f"![Training loss and validation NDCG@10 by epoch]({CURVE_FILE})\n\n"
        f"<details><summary>All options of the run</summary>\n\n{_option_table(options)}\n\n</details>"
    )


def _option_table(options: Mapping[str, Any]) -> str:
    rows = [
        f"| `{name}` | {plain(value)} |"
        for name, value in sorted(options.items())
        if value is not None and name not in DESCRIBED and not name.endswith("_column")
    ]
    return "\n".join(["| option | value |\n|---|---|", *rows])


def reproduce_section(training: Mapping[str, Any], evaluation: Mapping[str, Any] | None) -> str:
    """The commands that train and evaluate the model again, in a checkout of the package."""
    lines = ["make install", f".venv/bin/{training['command']} --output_dir outputs/again"]
    if evaluation is not None:
        protocol = evaluation["protocol"]
        ks = " ".join(map(str, protocol["ks"]))
        seed = evaluation["bootstrap"]["seed"]
        lines.append(f".venv/bin/hf-bert4rec evaluate outputs/again --part {protocol['part']} --ks {ks} --seed {seed}")
    return (
        "In a checkout of hf-bert4rec:\n\n```bash\n" + "\n".join(lines) + "\n```\n\n"
        "Masks and batches are functions of the seed: the same versions on the same hardware give the same weights. "
        "On other hardware rounding differs; the figures then agree within their intervals, and the hash of the "
        "targets is the same."
    )


def versions_section(training: Mapping[str, Any], evaluation: Mapping[str, Any] | None) -> str:
    """Versions of the packages at training and at evaluation, as a table."""
    runs = {"training": training["environment"]}
    if evaluation is not None:
        runs["evaluation"] = evaluation["environment"]
    packages = list(dict.fromkeys(name for run in runs.values() for name in run["versions"]))
    rows = [[name, *(run["versions"].get(name, "") for run in runs.values())] for name in packages]
    rows.append(["date", *(run["date"][:10] for run in runs.values())])
    lines = [["", *runs], ["---"] * (len(runs) + 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
