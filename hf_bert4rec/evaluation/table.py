"""An evaluation as a table that a person reads at a glance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES = {"item_knn": "item-kNN", "markov": "Markov", "popularity": "popularity", "random": "random"}
SHOWN = ("ndcg", "hit_rate", "recall", "precision", "map", "genre_precision", "genre_ndcg", "novelty")
TOGETHER = ("coverage", "gini")


def format_report(report: Mapping[str, Any]) -> str:
    """Model beside baselines at the headline's k, the difference to each, sampled figures apart."""
    protocol, baselines = report["protocol"], report["baselines"]
    k = protocol["headline"].split("@")[1]
    header = [
        "",
        "model",
        f"{report['bootstrap']['level']:.0%} interval",
        *(NAMES.get(name, name) for name in baselines),
    ]
    rows = [_metric_row(report, name) for name in _shown(report, k)]
    rows += [
        [name, _figure(report["aggregate"][name]), "", *(_figure(b["aggregate"][name]) for b in baselines.values())]
        for name in (f"{together}@{k}" for together in TOGETHER)
    ]
    counts = protocol["counts"]
    title = [
        f"{report['model']['name']} on {protocol['dataset']}, {protocol['split']}, {protocol['part']}",
        f"{counts['users']:,} users, {counts['targets']:,} targets, each ranked among all "
        f"{protocol['catalogue_size']:,} movies but the user's own",
    ]
    if unseen := counts.get("unseen_targets"):
        title.append(f"{unseen:,} targets are movies that training never saw")
    lines = [*title, "", *_aligned([header, *rows]), "", *_differences(report)]
    return "\n".join([*lines, "", *_sampled(report, k)]).rstrip()


def format_spread(found: Mapping[str, Mapping[str, Any]], k: int = 10) -> str:
    """Mean ± standard deviation over several models, a line a metric."""
    rows = [["", "mean", "sd", "values"]]
    for name in (f"ndcg@{k}", f"hit_rate@{k}", "mrr"):
        if name in found:
            values = " ".join(_figure(value) for value in found[name]["values"])
            rows.append([name, _figure(found[name]["mean"]), _figure(found[name]["sd"]), values])
    return "\n".join(_aligned(rows))


def format_example(example: Mapping[str, Any]) -> str:
    """History → held-out movie → recommendations, with genres."""
    shown, length = len(example["history"]), example["history_length"]
    lines = ["history" if shown == length else f"history, the last {shown} of {length}"]
    lines += [f"    {_movie(movie)}" for movie in example["history"]]
    if example["held_out"]:
        lines += ["held out", *(f"    {_movie(movie)}" for movie in example["held_out"])]
    held_out = {movie["movie_id"] for movie in example["held_out"]}
    lines.append("recommended")
    for place, movie in enumerate(example["recommended"], start=1):
        lines.append(f"{place:>3} {_movie(movie)}{'  ← held out' if movie['movie_id'] in held_out else ''}")
    return "\n".join(lines)


def _shown(report: Mapping[str, Any], k: str) -> list[str]:
    several = report["protocol"]["counts"]["targets"] > report["protocol"]["counts"]["users"]
    skipped = () if several else ("recall", "map")  # with one target they repeat hit rate and reciprocal rank
    names = [f"{name}@{k}" for name in SHOWN if name not in skipped]
    names.insert(2, "mrr")
    return [name for name in names if name in report["metrics"]]


def _metric_row(report: Mapping[str, Any], name: str) -> list[str]:
    ours = report["metrics"][name]
    theirs = [baseline["metrics"].get(name) for baseline in report["baselines"].values()]
    decimals = 2 if name.startswith("novelty") else 4
    interval = f"{_figure(ours['low'], decimals)} – {_figure(ours['high'], decimals)}"
    others = ["" if found is None else _figure(found["mean"], decimals) for found in theirs]
    return [name, _figure(ours["mean"], decimals), interval, *others]


def _differences(report: Mapping[str, Any]) -> list[str]:
    name = report["protocol"]["headline"]
    lines = [f"{name}, model minus baseline (paired, {report['bootstrap']['level']:.0%} interval):"]
    for baseline, found in report["baselines"].items():
        difference = found["difference"][name]
        verdict = "" if difference["low"] > 0 or difference["high"] < 0 else "   (no clear difference)"
        bounds = f"{difference['low']:+.4f} to {difference['high']:+.4f}"
        lines.append(f"  {NAMES.get(baseline, baseline):<11} {difference['mean']:+.4f}  [{bounds}]{verdict}")
    for told, found in report.get("times", {}).items():
        mean, difference = found["metrics"][name]["mean"], found["difference"][name]
        bounds = f"{difference['low']:+.4f} to {difference['high']:+.4f}"
        lines.append(f"{name} of the model {told}: {_figure(mean)}, {difference['mean']:+.4f}  [{bounds}]")
    return lines


def _sampled(report: Mapping[str, Any], k: str) -> list[str]:
    if not report["sampled"]:
        return []
    rows = [["", f"ndcg@{k}", f"hit_rate@{k}", f"Markov ndcg@{k}"]]
    for draw, found in report["sampled"].items():
        drawn, number = draw.rsplit("_", 1)
        label = f"{number} by popularity" if drawn == "popularity" else f"{number} {drawn}"
        cells = [found["model"][f"{name}@{k}"]["mean"] for name in ("ndcg", "hit_rate")]
        cells += [found[name][f"ndcg@{k}"]["mean"] for name in ("markov",) if name in found]
        rows.append([label, *(_figure(cell) for cell in cells)])
    return [
        "Sampled negatives: far easier, only for comparison with papers (BERT4Rec's has 100 by popularity)",
        *_aligned(rows),
    ]


def _movie(movie: Mapping[str, Any]) -> str:
    genres = f"  [{', '.join(movie['genres'])}]" if movie["genres"] else ""
    return f"{movie['title'] or movie['movie_id']}{genres}"


def _figure(value: float, decimals: int = 4) -> str:
    return f"{value:.{decimals}f}"


def _aligned(rows: list[list[str]]) -> list[str]:
    """First column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
