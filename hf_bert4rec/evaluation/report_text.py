"""An evaluation as text for the terminal and the model card: tables, comparisons and examples."""

from collections.abc import Callable, Mapping
from typing import Any

from .bootstrap import FEW_USERS

METRIC_LABELS = {"ndcg": "NDCG", "hit_rate": "HitRate", "mrr": "MRR"}
SCORER_LABELS = {
    "model": "this model",
    "next": 'this model, goal="next"',
    "taste": 'this model, goal="taste"',
    "similar": "this model, similar",
    "item_knn": "item-kNN",
    "markov": "Markov",
    "ease": "EASE",
}
AT_EVERY_K = ("ndcg", "hit_rate")
# The following metrics are at the headline's k. With one target per user, recall and MAP repeat HitRate and MRR.
SEVERAL_TARGETS_ONLY = ("recall", "map")
PER_USER = ("precision", "genre_precision", "genre_ndcg", "novelty", "intra_list_diversity")
AGGREGATE = ("coverage", "gini")
MEANINGS = {
    "genre_precision": "share of the list that has a genre of the held-out item",
    "genre_ndcg": "NDCG with the overlap of genres as relevance",
    "novelty": "mean rarity of the listed items, in bits",
    "intra_list_diversity": "mean genre distance within a list",
    "coverage": "share of the catalogue that is in any list",
    "gini": "concentration of all lists on few items, 0 to 1",
}
DRAWS = {"popularity": "drawn by popularity, as in the paper", "uniform": "drawn uniformly"}
Rows = list[list[str]]


def format_report(report: Mapping[str, Any]) -> str:
    """The complete report for the terminal, without the examples."""
    protocol = report["protocol"]
    lines = [
        f"{report['model']['name']} on {protocol['dataset']}, {protocol['split']}, {protocol['part']}",
        target_counts(report),
        *([f"transition memory {protocol['memory']}"] if "memory" in protocol else []),
        "",
        align(metric_table(report)),
        "",
        f"{metric_label(protocol['headline'])}, paired by user (mean difference, {level(report)} interval):",
        *(f"  {verdict}" for verdict in verdicts(report["baselines"], protocol["headline"])),
        *format_times(report),
        *format_taste(report, align),
    ]
    if report["sampled"]:
        lines += ["", "Ranked among sampled candidates only, for comparison with papers:", align(sampled_table(report))]
    return "\n".join(lines)


def format_taste(report: Mapping[str, Any], table: Callable[[Rows], str]) -> list[str]:
    """The sections on new users and related items, if the report has them: meaning, table and comparisons.

    `table` formats rows: `align` or `markdown`.
    """
    lines: list[str] = []
    if new_users := report.get("new_users"):
        headline = f"ndcg@{new_users['k']}"
        lines += ["", new_users_meaning(new_users), "", table(new_users_table(new_users)), ""]
        lines += [
            f"{_plural(length, 'item')}, {metric_label(headline)} paired by user: "
            f"{_comparison_sentence(results, headline, new_users)}."
            for length, results in new_users["results"].items()
        ]
    if related := report.get("related_items"):
        compared = _comparison_sentence(related["results"], f"found@{related['k']}", related)
        lines += ["", related_items_meaning(related), "", table(related_items_table(related)), ""]
        lines.append(f"Paired by group: {compared}.")
    return lines


def new_users_meaning(section: Mapping[str, Any]) -> str:
    rating = section["liked_rating"]
    liked = "interacted with, as there are no ratings" if rating is None else f"rated {rating:g} or more"
    text = (
        f"New users: {section['users']:,} users held out of training name 1, 3 or 5 random items that they {liked}, "
        f"without times ({section['draws']} draws each). Relevant are all others that they {liked.split(',')[0]}; "
        f"precision@{section['k']} is the share of those in the first {section['k']}, a lower bound, since users like "
        "items that they have not rated, too."
    )
    if section.get("refitted"):
        text += (
            " This model was trained on all users: the figures are those of a second model of taste with the same "
            "options, fitted without these users."
        )
    return text + _small_sample_note(section["users"], "users")


def related_items_meaning(section: Mapping[str, Any]) -> str:
    text = (
        f"Related items: one item is the history, and found@{section['k']} is the share of the others of its series, "
        f"director or studio in the first {section['k']}. {_plural(section['groups'], 'group')} with "
        f"{section['movies']} items"
    )
    if listed := section.get("listed"):
        text += f", {listed} of them from a list; the items of the others have words of their titles in common"
    return f"{text}." + _small_sample_note(section["groups"], "groups")


def new_users_table(section: Mapping[str, Any]) -> Rows:
    """NDCG with its interval, and precision, of every scorer for each number of items; header first."""
    k, results = section["k"], section["results"]
    rows = [[f"NDCG@{k} [interval] / precision@{k}", *(_plural(length, "item") for length in results)]]
    for name in next(iter(results.values())):
        metrics = [scorers[name]["metrics"] for scorers in results.values()]
        cells = [
            f"{_with_interval(each[f'ndcg@{k}'])} / {_rounded(each[f'precision@{k}']['mean'])}" for each in metrics
        ]
        rows.append([scorer_label(name), *cells])
    return rows


def related_items_table(section: Mapping[str, Any]) -> Rows:
    """The share of related items that every scorer finds, in all groups and in the listed ones; header first."""
    labels = {f"found@{section['k']}": "all groups", f"listed_found@{section['k']}": "groups of the list"}
    names = labels if section.get("listed") else list(labels)[:1]
    rows = [
        [scorer_label(key), *(_with_interval(each["metrics"][name]) for name in names)]
        for key, each in section["results"].items()
    ]
    return [[f"found@{section['k']} [interval]", *(labels[name] for name in names)], *rows]


def _comparison_sentence(results: Mapping[str, Any], metric: str, section: Mapping[str, Any]) -> str:
    """The section's first scorer compared with every baseline."""
    baselines = {name: each for name, each in results.items() if name not in section["model"]}
    return f"{scorer_label(section['model'][0])} is {', '.join(verdicts(baselines, metric))}"


def _small_sample_note(number: int, noun: str) -> str:
    return f" Fewer than fifty {noun}: the intervals say little." if number < FEW_USERS else ""


def _plural(number: int | str, noun: str) -> str:
    return f"{number} {noun}{'' if int(number) == 1 else 's'}"


def _with_interval(estimate: Mapping[str, float]) -> str:
    return f"{_rounded(estimate['mean'])} [{_rounded(estimate['low'])}, {_rounded(estimate['high'])}]"


def format_spread(metrics: Mapping[str, Mapping[str, Any]], k: int = 10) -> str:
    """Mean and standard deviation over several models, one line per metric."""
    rows = [["", "mean", "sd", "values"]]
    for name in (f"ndcg@{k}", f"hit_rate@{k}", "mrr"):
        if name in metrics:
            values = " ".join(map(_rounded, metrics[name]["values"]))
            rows.append([metric_label(name), _rounded(metrics[name]["mean"]), _rounded(metrics[name]["sd"]), values])
    return align(rows)


def format_example(example: Mapping[str, Any], escape: Callable[[str], str] = str) -> str:
    """History, held-out items and recommendations, with genres; `escape` is applied to titles and genres."""

    def describe(item: Mapping[str, Any]) -> str:
        genres = f" [{escape(', '.join(item['genres']))}]" if item["genres"] else ""
        return escape(str(item["title"] or item["movie_id"])) + genres

    listed, length = len(example["history"]), example["history_length"]
    scope = "" if listed == length else f", the last {listed} of {length:,}"
    lines = [f"History{scope}: {'; '.join(map(describe, example['history']))}.", ""]
    if example["held_out"]:
        lines += [f"Held out: {'; '.join(map(describe, example['held_out']))}.", ""]
    held_out = {item["movie_id"] for item in example["held_out"]}
    lines.append("Recommended:")
    for rank, item in enumerate(example["recommended"], start=1):
        lines.append(f"{rank}. {describe(item)}{' (held out)' if item['movie_id'] in held_out else ''}")
    return "\n".join(lines)


def metric_label(name: str) -> str:
    """The usual spelling of a metric: "NDCG@10" for "ndcg@10"."""
    base, at, k = name.partition("@")
    return METRIC_LABELS.get(base, base) + at + k


def scorer_label(name: str) -> str:
    """The usual spelling of a baseline's name, or "this model"."""
    return SCORER_LABELS.get(name, name)


def best_baseline(report: Mapping[str, Any]) -> str:
    """The name of the baseline with the highest headline metric."""
    headline, baselines = report["protocol"]["headline"], report["baselines"]
    return max(baselines, key=lambda name: baselines[name]["metrics"][headline]["mean"])


def level(report: Mapping[str, Any]) -> str:
    """The level of the report's intervals, in percent."""
    return f"{report['bootstrap']['level']:.0%}"


def target_counts(report: Mapping[str, Any]) -> str:
    """Numbers of held-out items and of their users, and of items in no training history."""
    counts = report["protocol"]["counts"]
    held_out = f"{counts['targets']:,} held-out items of {counts['users']:,} users"
    return f"{held_out}, {counts['unseen_targets']:,} of them not in the training data"


def metric_table(report: Mapping[str, Any], emphasis: str = "") -> Rows:
    """Every metric of the model, with its interval, and of the baselines; header first.

    `emphasis`, such as "**", encloses the model's figures.
    """
    protocol, k = report["protocol"], _headline_k(report)
    several = protocol["counts"]["targets"] > protocol["counts"]["users"]
    names = [f"{base}@{each}" for base in AT_EVERY_K for each in protocol["ks"]] + ["mrr"]
    names += [f"{base}@{k}" for base in (*(SEVERAL_TARGETS_ONLY if several else ()), *PER_USER)]
    baselines = report["baselines"].values()
    rows = [["", scorer_label("model"), f"{level(report)} interval", *map(scorer_label, report["baselines"])]]
    for name in [name for name in dict.fromkeys(names) if name in report["metrics"]]:
        model, others = report["metrics"][name], [baseline["metrics"].get(name) for baseline in baselines]
        interval = f"{_rounded(model['low'])} to {_rounded(model['high'])}"
        means = [_rounded(estimate["mean"]) if estimate else "" for estimate in others]
        rows.append([metric_label(name), f"{emphasis}{_rounded(model['mean'])}{emphasis}", interval, *means])
    for name in (f"{base}@{k}" for base in AGGREGATE):
        values = [_rounded(baseline["aggregate"][name]) for baseline in baselines]
        rows.append([name, f"{emphasis}{_rounded(report['aggregate'][name])}{emphasis}", "", *values])
    return rows


def comparisons(results: Mapping[str, Mapping[str, Any]], metric: str) -> list[tuple[str, str]]:
    """For each baseline a verdict such as "better than Markov", and the paired difference with its interval."""
    result = []
    for name, baseline in results.items():
        difference = baseline["difference"][metric]
        verdict = "better than" if difference["low"] > 0 else "worse than" if difference["high"] < 0 else None
        result.append((f"{verdict or 'not clearly different from'} {scorer_label(name)}", _difference(difference)))
    return result


def validation_verdicts(results: Mapping[str, Mapping[str, Any]], metric: str = "ndcg@10") -> str:
    """A sentence that compares the model with every baseline but random on the validation part.

    Empty for records of earlier versions, which have no differences.
    """
    baselines = {name: each for name, each in results.items() if name != "random" and "difference" in each}
    if not baselines:
        return ""
    return f"By {metric_label(metric)}, paired by user, this model is {'; '.join(verdicts(baselines, metric))}."


def verdicts(results: Mapping[str, Mapping[str, Any]], metric: str) -> list[str]:
    """For each baseline a verdict such as "better than Markov (+0.0100, +0.0050 to +0.0150)"."""
    return [f"{verdict} ({figures})" for verdict, figures in comparisons(results, metric)]


def format_times(report: Mapping[str, Any]) -> list[str]:
    """The headline metric of a time-aware model with more times, or without any; empty for other models."""
    headline = report["protocol"]["headline"]
    return [
        f"{metric_label(headline)} {name}: {_rounded(ablation['metrics'][headline]['mean'])} "
        f"({_difference(ablation['difference'][headline])})"
        for name, ablation in report.get("times", {}).items()
    ]


def sampled_table(report: Mapping[str, Any]) -> Rows:
    """NDCG and HitRate of model and baselines among sampled candidates; header first."""
    names = [f"{base}@{_headline_k(report)}" for base in AT_EVERY_K]
    rows = [["candidates", "", *map(metric_label, names)]]
    for draw, metrics in report["sampled"].items():
        kind, number = draw.rsplit("_", 1)
        for scorer in ("model", *report["baselines"]):
            figures = [_rounded(metrics[scorer][name]["mean"]) for name in names]
            rows.append([f"{number} {DRAWS[kind]}", scorer_label(scorer), *figures])
    return rows


def legend(report: Mapping[str, Any]) -> str:
    """Meanings of the less common metrics of the table."""
    names = [f"{base}@{_headline_k(report)}" for base in MEANINGS]
    present = [name for name in names if name in report["metrics"] or name in report["aggregate"]]
    return "; ".join(f"{name}: {MEANINGS[name.split('@')[0]]}" for name in present) + "."


def align(rows: Rows) -> str:
    """Rows as plain text, first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def markdown(rows: Rows) -> str:
    header, *body = rows
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *body))


def _headline_k(report: Mapping[str, Any]) -> str:
    return report["protocol"]["headline"].partition("@")[2]


def _difference(estimate: Mapping[str, float]) -> str:
    return f"{estimate['mean']:+.4f}, {estimate['low']:+.4f} to {estimate['high']:+.4f}"


def _rounded(value: float) -> str:
    return f"{value:.4f}"
