"""The section of a model card on quality: protocol, metrics of model and baselines, plots and examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...evaluation import report_text
from ...evaluation.report_text import format_example, markdown, metric_label
from .markup import fill, plain

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
    protocol, bootstrap = evaluation["protocol"], evaluation["bootstrap"]
    header, *rows = report_text.metric_table(evaluation)
    ablations = "; ".join(report_text.time_ablations(evaluation))
    fields = {
        **protocol,
        "dataset": plain(protocol["dataset"]),
        "targets": report_text.target_counts(evaluation),
        "catalogue_size": f"{protocol['catalogue_size']:,}",
        "known": protocol["known"].split(";")[0],
        "level": report_text.level(evaluation),
        "resamples": f"{bootstrap['resamples']:,}",
        "seed": bootstrap["seed"],
        "weights_sha256": evaluation["model"]["weights_sha256"],
        "metrics": markdown([header, *([name, f"**{mean}**", *others] for name, mean, *others in rows)]),
        "legend": report_text.legend(evaluation),
        "headline": metric_label(protocol["headline"]),
        "comparisons": "; ".join(
            f"**{verdict}** ({figures})" for verdict, figures in report_text.comparisons(evaluation)
        ),
        "times": f" The table uses the times of the history. {ablations}." if ablations else "",
        "pictures": "\n\n".join(f"![{text}](plots/{name})" for name, text in PICTURES.items()),
        "examples": _examples(evaluation["examples"]),
        "sampled": _sampled(evaluation),
    }
    return fill("evaluation.md", fields).strip()


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
        f"not be compared with the table above.\n\n{markdown(report_text.sampled_table(evaluation))}"
    )
