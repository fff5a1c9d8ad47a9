"""The section of a model card on quality: protocol, metrics of model and baselines, plots and examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...evaluation.report_text import (
    comparisons,
    format_example,
    legend,
    level,
    markdown,
    metric_label,
    metric_table,
    sampled_table,
    target_counts,
    time_ablations,
)
from .markup import plain

PICTURES = {
    "metrics.png": "Metrics of this model and the baselines, with intervals",
    "history_length.png": "Quality by length of the history",
    "target_popularity.png": "Quality by popularity of the held-out item",
    "popularity.png": "Popularity of recommended, held-out and known items",
}
MAX_EXAMPLES = 3


def evaluation_section(evaluation: Mapping[str, Any] | None) -> str:
    """The content of `evaluation.json` as Markdown; one sentence where there is none."""
    if evaluation is None:
        return "Not evaluated yet: run `hf-bert4rec evaluate` on this folder."
    parts = [
        _protocol(evaluation),
        _metrics(evaluation),
        _comparisons(evaluation),
        *(f"![{text}](plots/{name})" for name, text in PICTURES.items()),
        _examples(evaluation["examples"]),
        _sampled(evaluation),
    ]
    return "\n\n".join(part for part in parts if part)


def _protocol(evaluation: Mapping[str, Any]) -> str:
    protocol, bootstrap = evaluation["protocol"], evaluation["bootstrap"]
    return (
        f"**Protocol.** {protocol['dataset']}, split {protocol['split']}, {protocol['part']} part: "
        f"{target_counts(evaluation)}. Each is ranked among {protocol['candidates']} ({protocol['catalogue_size']:,} "
        f"items); ties {protocol['ties']}. Order of histories: {protocol['order']}. Model and baselines know "
        f"{protocol['known'].split(';')[0]}. Intervals: {level(evaluation)}, bootstrap over users, "
        f"{bootstrap['resamples']:,} resamples, seed {bootstrap['seed']}. sha256 of the held-out items: "
        f"`{protocol['targets_sha256']}`; of the weights: `{evaluation['model']['weights_sha256']}`. Only figures with "
        "the same hash of held-out items are comparable."
    )


def _metrics(evaluation: Mapping[str, Any]) -> str:
    header, *rows = metric_table(evaluation)
    bold = [[name, f"**{mean}**", *others] for name, mean, *others in rows]
    return f"{markdown([header, *bold])}\n\n{legend(evaluation)}"


def _comparisons(evaluation: Mapping[str, Any]) -> str:
    verdicts = "; ".join(f"**{verdict}** ({figures})" for verdict, figures in comparisons(evaluation))
    text = (
        f"By {metric_label(evaluation['protocol']['headline'])}, paired by user, this model is {verdicts}. In "
        f"parentheses: the mean difference and its {level(evaluation)} interval."
    )
    ablations = "; ".join(time_ablations(evaluation))
    return f"{text} The table uses the times of the history. {ablations}." if ablations else text


def _examples(examples: Sequence[Mapping[str, Any]]) -> str:
    if not examples:
        return ""
    origin = "drawn at random" if examples[0]["held_out"] else "the first fixed, the others drawn at random"
    quoted = "\n\n".join(_quoted(format_example(example, plain)) for example in examples[:MAX_EXAMPLES])
    return f"**Examples**, {origin}:\n\n{quoted}"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))


def _sampled(evaluation: Mapping[str, Any]) -> str:
    if not evaluation["sampled"]:
        return ""
    return (
        "**Sampled candidates.** Held-out items ranked among a sample only, for comparison with papers that report "
        "this. The figures are far higher than those over the full catalogue, can order models differently, and must "
        f"not be compared with the table above.\n\n{markdown(sampled_table(evaluation))}"
    )
