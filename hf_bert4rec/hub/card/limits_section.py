"""The part of a card that tells what the model is bad at, measured where it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...data.releases import Release
from .evaluation_section import label
from .metadata import metric_label

MOVIELENS = (
    "**MovieLens is a place of its own.** Its users came to rate movies and be recommended some, and rated at least "
    "20. Many entered years of watching in one sitting, in the order in which the site showed the movies; a time is "
    "that of the rating, not of watching. So part of what is learned is the site's own order, and figures on these "
    "data say little of a shop or a streaming service. Who the users are is their own choice: no population is "
    "represented."
)


def limits_section(training: Mapping[str, Any], evaluation: Mapping[str, Any] | None, release: Release | None) -> str:
    """Popularity bias, history length, cold start, the fixed catalogue and, for MovieLens, its own effects."""
    parts = []
    if evaluation is not None:
        parts += [_popularity(evaluation), _slices(evaluation)]
    parts.append(
        f"**The catalogue is fixed.** The {training['num_items']:,} movies it was trained on can be recommended and "
        "understood, no other. One that is added later (`pipe.add_items`) starts where movies with like genres, year "
        "and title are, a guess, until the model is trained on histories that hold it."
    )
    parts.append(
        "**New users.** A history without any known movie is answered by popularity, the same for everyone. With one "
        "or two movies the answer rests on these alone."
    )
    if release is not None:
        parts.append(MOVIELENS)
    return "\n\n".join(parts)


def _popularity(evaluation: Mapping[str, Any]) -> str:
    shares, k = evaluation["popularity"], evaluation["protocol"]["headline"].split("@")[1]
    half = {who: sum(tenths[len(tenths) // 2 :]) for who, tenths in shares.items()}
    novelty = evaluation["aggregate"][f"coverage@{k}"]
    return (
        f"**Popularity bias, measured.** The most popular tenth of the catalogue takes {shares['known'][0]:.1%} of the "
        f"known interactions and {shares['targets'][0]:.1%} of the held-out movies, and {shares['model'][0]:.1%} of "
        f"the places in this model's lists of {k}. The less popular half takes {half['known']:.1%}, "
        f"{half['targets']:.1%} and {half['model']:.1%}. {novelty:.1%} of the catalogue stands in anyone's list."
    )


def _slices(evaluation: Mapping[str, Any]) -> str:
    headline, slices = evaluation["protocol"]["headline"], evaluation["slices"]
    rare, common = slices["target_popularity"]["model"][0], slices["target_popularity"]["model"][-1]
    short, long = slices["history_length"]["model"][0], slices["history_length"]["model"][-1]
    best = max(evaluation["baselines"], key=lambda name: evaluation["baselines"][name]["metrics"][headline]["mean"])
    theirs = slices["target_popularity"][best][0]["metrics"][headline]["mean"]
    return (
        f"**Where it is weak.** {metric_label(headline)} is {_told(rare, headline)} known interactions of the held-out "
        f"movie ({label(best)}, the best baseline: {theirs:.4f}) and {_told(common, headline)}. By length of the "
        f"history it is {_told(short, headline)} movies and {_told(long, headline)}."
    )


def _told(part: Mapping[str, Any], name: str) -> str:
    span = f"{part['from']:,}" if part["from"] == part["to"] else f"{part['from']:,} to {part['to']:,}"
    return f"{part['metrics'][name]['mean']:.4f} at {span}"
