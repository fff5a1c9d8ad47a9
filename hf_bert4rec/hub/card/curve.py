"""The curve of a training run as a picture, drawn from `training.json` alone."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib

matplotlib.use("Agg")  # files only; no display is needed
import matplotlib.pyplot as plt

CURVE_FILE = "plots/training.png"
LOSS_COLOUR, METRIC_COLOUR = "#8a919a", "#1f5fa8"


def draw_curve(training: Mapping[str, Any]) -> bytes:
    """Loss and validation NDCG@10 by epoch, the kept step marked, as PNG."""
    losses = [(entry["epoch"], entry["loss"]) for entry in training["curve"] if "loss" in entry]
    found = [entry for entry in training["curve"] if "eval_ndcg@10" in entry]
    figure, axes = plt.subplots(figsize=(7.0, 3.6), dpi=150, layout="constrained")
    axes.plot([epoch for epoch, _ in losses], [loss for _, loss in losses], color=LOSS_COLOUR)
    axes.set_xlabel("epoch")
    axes.set_ylabel("training loss", color=LOSS_COLOUR)
    axes.spines["top"].set_visible(False)
    right = axes.twinx()
    right.spines["top"].set_visible(False)
    epochs, values = [entry["epoch"] for entry in found], [entry["eval_ndcg@10"] for entry in found]
    right.plot(epochs, values, color=METRIC_COLOUR, marker=".")
    right.set_ylabel("validation NDCG@10", color=METRIC_COLOUR)
    right.set_ylim(0, 1.12 * max(values, default=1.0) or 1.0)
    best = [entry for entry in found if entry["step"] == training["best_step"]]
    if best:
        right.plot(best[0]["epoch"], best[0]["eval_ndcg@10"], "o", color=METRIC_COLOUR, mfc="white", ms=9)
        place = (best[0]["epoch"], best[0]["eval_ndcg@10"])
        right.annotate("kept", place, (0, -16), textcoords="offset points", ha="center", color=METRIC_COLOUR)
    axes.set_title(f"Training on {training['dataset']}", loc="left", fontsize=11)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    plt.close(figure)
    return file.getvalue()
