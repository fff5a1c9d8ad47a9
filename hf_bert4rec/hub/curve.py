"""The training curve as a picture, drawn from `training.json`."""

import io
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

CURVE_FILE = "plots/training.png"
LOSS_COLOUR, METRIC_COLOUR = "#8a919a", "#1f5fa8"


def draw_curve(training: Mapping[str, Any]) -> bytes:
    """Loss and validation NDCG@10 by epoch as PNG, with the exported step marked."""
    losses = [(entry["epoch"], entry["loss"]) for entry in training["curve"] if "loss" in entry]
    figure = Figure(figsize=(7.0, 3.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.plot([epoch for epoch, _ in losses], [loss for _, loss in losses], color=LOSS_COLOUR)
    axes.set_xlabel("epoch")
    axes.set_ylabel("training loss", color=LOSS_COLOUR)
    axes.spines["top"].set_visible(False)
    _draw_validation(axes.twinx(), training)
    axes.set_title(f"Training on {training['dataset']}", loc="left", fontsize=11, parse_math=False)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _draw_validation(axes: Axes, training: Mapping[str, Any]) -> None:
    evaluations = [entry for entry in training["curve"] if "eval_ndcg@10" in entry]
    epochs, values = [entry["epoch"] for entry in evaluations], [entry["eval_ndcg@10"] for entry in evaluations]
    axes.spines["top"].set_visible(False)
    axes.plot(epochs, values, color=METRIC_COLOUR, marker=".")
    axes.set_ylabel("validation NDCG@10", color=METRIC_COLOUR)
    axes.set_ylim(0, 1.12 * max(values, default=1.0) or 1.0)
    for entry in evaluations:
        if entry["step"] == training["best_step"]:
            point = (entry["epoch"], entry["eval_ndcg@10"])
            axes.plot(*point, "o", color=METRIC_COLOUR, mfc="white", ms=9)
            axes.annotate("exported", point, (0, -16), textcoords="offset points", ha="center", color=METRIC_COLOUR)
            break
