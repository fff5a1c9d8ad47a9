"""The part of a card that tells how good the model is: protocol, figures beside baselines, pictures, examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...evaluation.table import NAMES
from .markup import plain
from .metadata import metric_label

RANKED = ("ndcg", "hit_rate")
LISTED = {
    "genre_precision": "share of the list that has a genre of the held-out movie",
    "novelty": "how rare listed movies are, in bits",
    "intra_list_diversity": "unlikeness of genres within a list",
}
TOGETHER = {
    "coverage": "share of the catalogue that stands in anyone's list",
    "gini": "concentration of all lists on few movies, 0 to 1",
}
PICTURES = {
    "metrics.png": "This model beside the baselines, with intervals",
    "history_length.png": "Quality by length of the history",
    "target_popularity.png": "Quality by popularity of the held-out movie",
    "popularity.png": "Popularity of what is recommended, beside what is watched",
}
EXAMPLES = 3


def evaluation_section(evaluation: Mapping[str, Any] | None) -> str:
    """Everything that `evaluation.json` says, for a reader; one sentence where there is none."""
    if evaluation is None:
        return "Not evaluated yet: run `training/evaluate.py` on this folder."
    parts = [
        _protocol(evaluation),
        _table(evaluation),
        _differences(evaluation),
        *(f"![{text}](plots/{name})" for name, text in PICTURES.items()),
        _examples(evaluation["examples"]),
        _sampled(evaluation),
    ]
    return "\n\n".join(part for part in parts if part)


def label(baseline: str) -> str:
    """A baseline's name as people write it."""
    return NAMES.get(baseline, baseline)


def _protocol(evaluation: Mapping[str, Any]) -> str:
    protocol, bootstrap = evaluation["protocol"], evaluation["bootstrap"]
    counts = protocol["counts"]
    return (
        f"**Protocol.** {protocol['dataset']}, split {protocol['split']}, {protocol['part']} part: "
        f"{counts['targets']:,} held-out movies of {counts['users']:,} users{_unseen(counts)}. Each is ranked among "
        f"{protocol['candidates']} ({protocol['catalogue_size']:,} movies); ties {protocol['ties']}. Order of "
        f"histories: {protocol['order']}. Model and baselines know {protocol['known'].split(';')[0]}. Intervals: "
        f"{bootstrap['level']:.0%}, bootstrap over users, {bootstrap['resamples']:,} resamples, seed "
        f"{bootstrap['seed']}. sha256 of the held-out movies: `{protocol['targets_sha256']}`; of the weights: "
        f"`{evaluation['model']['weights_sha256']}`. Figures with another hash of held-out movies are not comparable."
    )


def _unseen(counts: Mapping[str, int]) -> str:
    if "unseen_targets" not in counts:  # an evaluation by an earlier version
        return ""
    return f", {counts['unseen_targets']:,} of them movies that training never saw"


def _table(evaluation: Mapping[str, Any]) -> str:
    ks, baselines = evaluation["protocol"]["ks"], evaluation["baselines"]
    k = evaluation["protocol"]["headline"].split("@")[1]
    header = ["", "this model", f"{evaluation['bootstrap']['level']:.0%} interval", *map(label, baselines)]
    names = [f"{name}@{each}" for name in RANKED for each in ks] + ["mrr"] + [f"{name}@{k}" for name in LISTED]
    rows = [_metric_row(evaluation, name) for name in names if name in evaluation["metrics"]]
    for name in (f"{together}@{k}" for together in TOGETHER):
        theirs = [f"{found['aggregate'][name]:.4f}" for found in baselines.values()]
        rows.append([metric_label(name), f"**{evaluation['aggregate'][name]:.4f}**", "", *theirs])
    lines = ["| " + " | ".join(row) + " |" for row in [header, ["---"] + ["---:"] * (len(header) - 1), *rows]]
    meanings = {f"{name}@{k}": meaning for name, meaning in (LISTED | TOGETHER).items()}
    legend = "; ".join(f"{name}: {meaning}" for name, meaning in meanings.items())
    return "\n".join(lines) + f"\n\nWhat the lower rows mean. {legend}."


def _metric_row(evaluation: Mapping[str, Any], name: str) -> list[str]:
    ours = evaluation["metrics"][name]
    theirs = [found["metrics"].get(name) for found in evaluation["baselines"].values()]
    others = ["" if found is None else f"{found['mean']:.4f}" for found in theirs]
    return [metric_label(name), f"**{ours['mean']:.4f}**", f"{ours['low']:.4f} to {ours['high']:.4f}", *others]


def _differences(evaluation: Mapping[str, Any]) -> str:
    headline = evaluation["protocol"]["headline"]
    told = []
    for name, found in evaluation["baselines"].items():
        difference = found["difference"][headline]
        clear = "better than" if difference["low"] > 0 else "worse than" if difference["high"] < 0 else None
        verdict = f"**{clear} {label(name)}**" if clear else f"**not clearly different from {label(name)}**"
        told.append(f"{verdict} ({difference['mean']:+.4f}, {difference['low']:+.4f} to {difference['high']:+.4f})")
    return (
        f"By {metric_label(headline)}, user by user on the same held-out movies, this model is "
        + "; ".join(told)
        + f". In brackets: the mean difference and its {evaluation['bootstrap']['level']:.0%} interval."
        + _times(evaluation, headline)
    )


def _times(evaluation: Mapping[str, Any], headline: str) -> str:
    """What more times, or none, change for a model that knows them."""
    told = []
    for name, found in evaluation.get("times", {}).items():
        difference = found["difference"][headline]
        bounds = f"{difference['low']:+.4f} to {difference['high']:+.4f}"
        told.append(f"{name}, {found['metrics'][headline]['mean']:.4f} ({difference['mean']:+.4f}, {bounds})")
    return f" It was shown when the movies of the history were seen; {'; '.join(told)}." if told else ""


def _examples(examples: list[Mapping[str, Any]]) -> str:
    if not examples:
        return ""
    shown = "\n\n".join(_example(example) for example in examples[:EXAMPLES])
    fixed = not examples[0]["held_out"]
    drawn = "the first the same for every model, the others drawn by chance" if fixed else "drawn by chance, not chosen"
    return f"**Examples**, {drawn}:\n\n{shown}"


def _example(example: Mapping[str, Any]) -> str:
    held_out = {movie["movie_id"] for movie in example["held_out"]}
    known = "; ".join(map(_movie, example["history"]))
    whole = len(example["history"]) == example["history_length"]
    scope = "" if whole else f", the last {len(example['history'])} of {example['history_length']:,}"
    next_one = "; ".join(map(_movie, example["held_out"]))
    listed = [
        f"{place}. {_movie(movie)}{' (held out)' if movie['movie_id'] in held_out else ''}"
        for place, movie in enumerate(example["recommended"], 1)
    ]
    told = f"> History{scope}: {known}.\n>\n> " + (f"Held out: {next_one}.\n>\n> " if next_one else "")
    return told + "Recommended:\n" + "\n".join(f"> {line}" for line in listed)


def _movie(movie: Mapping[str, Any]) -> str:
    genres = f" [{plain(', '.join(movie['genres']))}]" if movie["genres"] else ""
    return f"{plain(movie['title'] or movie['movie_id'])}{genres}"


def _sampled(evaluation: Mapping[str, Any]) -> str:
    k = evaluation["protocol"]["headline"].split("@")[1]
    if not evaluation["sampled"]:
        return ""
    rows = []
    for draw, found in evaluation["sampled"].items():
        kind, number = draw.rsplit("_", 1)
        drawn = {"popularity": "by popularity, as in the paper", "uniform": "evenly"}[kind]
        kind = f"{number} movies drawn {drawn}"
        for who in ("model", *evaluation["baselines"]):
            cells = [f"{found[who][name]['mean']:.4f}" for name in (f"ndcg@{k}", f"hit_rate@{k}")]
            rows.append(f"| {kind} | {'this model' if who == 'model' else label(who)} | {' | '.join(cells)} |")
    return (
        "**Sampled figures, apart.** Held-out movies ranked among a sample only. They are far higher, order models "
        "otherwise than the whole catalogue does, and are here to compare with papers that report them; never compare "
        f"them with the table above.\n\n| among | | NDCG@{k} | HitRate@{k} |\n|---|---|---:|---:|\n" + "\n".join(rows)
    )
