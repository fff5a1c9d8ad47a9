"""The section of a model card on limitations, with figures from the evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...evaluation.report_text import best_baseline, metric_label, scorer_label

MOVIELENS = (
    "**MovieLens is not a log of watching.** Its users came to rate movies and get recommendations, and rated at least "
    "20. Many entered years of watching in one session, in the order in which the site listed the movies; a timestamp "
    "is that of the rating. So part of what the model learns is the order of the site, and these figures do not "
    "predict those of a shop or a streaming service. The users chose themselves and represent no population."
)


def measured_limits(evaluation: Mapping[str, Any] | None) -> str:
    """Popularity bias, rare items and short histories; empty without an evaluation."""
    return "" if evaluation is None else f"{_popularity(evaluation)}\n\n{_slices(evaluation)}"


def _popularity(evaluation: Mapping[str, Any]) -> str:
    shares, k = evaluation["popularity"], evaluation["protocol"]["headline"].split("@")[1]
    less_popular = {name: sum(tenths[len(tenths) // 2 :]) for name, tenths in shares.items()}
    coverage = evaluation["aggregate"][f"coverage@{k}"]
    return (
        f"**Popularity bias.** The most popular tenth of the catalogue has {shares['known'][0]:.1%} of the known "
        f"interactions, {shares['targets'][0]:.1%} of the held-out items and {shares['model'][0]:.1%} of this model's "
        f"lists of {k}; the less popular half has {less_popular['known']:.1%}, {less_popular['targets']:.1%} and "
        f"{less_popular['model']:.1%}. {coverage:.1%} of the catalogue is in any list."
    )


def _slices(evaluation: Mapping[str, Any]) -> str:
    headline, slices = evaluation["protocol"]["headline"], evaluation["slices"]
    by_popularity, by_length = slices["target_popularity"]["model"], slices["history_length"]["model"]
    best = best_baseline(evaluation)
    best_on_rare = slices["target_popularity"][best][0]["metrics"][headline]["mean"]
    return (
        f"**Rare items and short histories.** {metric_label(headline)} is {_figure_at(by_popularity[0], headline)} "
        f"known interactions of the held-out item ({scorer_label(best)}, the best baseline: {best_on_rare:.4f}) and "
        f"{_figure_at(by_popularity[-1], headline)}. By length of the history it is "
        f"{_figure_at(by_length[0], headline)} items and {_figure_at(by_length[-1], headline)}."
    )


def _figure_at(part: Mapping[str, Any], name: str) -> str:
    sizes = f"{part['from']:,}" if part["from"] == part["to"] else f"{part['from']:,} to {part['to']:,}"
    return f"{part['metrics'][name]['mean']:.4f} at {sizes}"
