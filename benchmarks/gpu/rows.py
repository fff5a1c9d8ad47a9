"""All rows, the most important first: what the time does not suffice for is measured by the next call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu import inference, numerics, runs, steps
from benchmarks.gpu.process import Measure
from benchmarks.gpu.sizes import Sizes

KINDS = {"masked": False, "causal": True}  # whether a model is causal


class Row(NamedTuple):
    """A measurement: `measure(sizes, name, **options)` in at most `seconds`, not begun with less than `needed` left.

    `part` is the part of the table.
    """

    part: str
    name: str
    measure: Measure
    options: dict[str, Any]
    seconds: float = 60
    needed: float = 8


def all_rows(sizes: Sizes, data: Path) -> Iterator[Row]:
    """Rows in the order in which they are measured; `data` is the file of encoded MovieLens 1M."""
    first_recipe, *_, last_recipe = sizes.recipes
    yield Row("machine", "machine", steps.machine, {}, seconds=120)  # with the imports
    yield from numerics_rows()
    for seed in sizes.seeds:
        yield recipe_row(data, first_recipe, seed)
    yield from training_rows(sizes)
    yield from ranking_rows(sizes)
    yield Row("pipeline", "pipeline", inference.pipeline, {})
    yield from trainer_rows(sizes)
    yield from compiled_rows(sizes)
    yield from launched_rows()
    yield recipe_row(data, last_recipe, sizes.seeds[0])
    yield from attention_rows(sizes)
    yield from profile_rows(sizes)


def numerics_rows() -> Iterator[Row]:
    for kind, causal in KINDS.items():
        for precision in ("float32", "bfloat16"):
            options = {"causal": causal, "bf16": precision == "bfloat16"}
            yield Row("numerics", f"{kind}, {precision} against the CPU", numerics.numerics, options)


def training_rows(sizes: Sizes) -> Iterator[Row]:
    """Ours of every size, `BertForMaskedLM` of the smallest and largest batch, and ours with padding."""
    for width in sizes.widths:
        for batch in sizes.batches:
            name = f"width {width}, batch {batch}"
            for kind, causal in KINDS.items():
                options = {"causal": causal, "width": width, "batch": batch}
                yield Row("training", f"{kind}, {name}", steps.training, options)
            if batch in (sizes.batches[0], sizes.batches[-1]):
                yield Row("training", f"BertForMaskedLM, {name}", steps.bert, {"width": width, "batch": batch})
    for (width, batch), (kind, causal) in product(sizes):
        options = {"causal": causal, "width": width, "batch": batch, "padded": True}
        yield Row("training", f"{kind}, padded rows, width {width}, batch {batch}", steps.training, options)


def ranking_rows(sizes: Sizes) -> Iterator[Row]:
    for items, users in sizes.catalogues:
        yield Row("ranking", f"{items:,} items", inference.ranking, {"items": items, "users": users})


def recipe_row(data: Path, recipe: str, seed: int) -> Row:
    options = {"data": str(data), "recipe": recipe, "seed": seed}
    return Row("recipe", f"{recipe}, seed {seed}", runs.trained_recipe, options, seconds=240)


def launched_rows() -> Iterator[Row]:
    for kind in runs.CONFIGS:
        seconds = runs.LAUNCH_SECONDS + 10  # the launcher's own limit comes first
        yield Row("launcher", f"{kind} on one device", runs.launched, {"kind": kind}, seconds, needed=seconds)


def profile_rows(sizes: Sizes) -> Iterator[Row]:
    for (width, batch), (kind, causal) in product(sizes):
        options = {"causal": causal, "width": width, "batch": batch}
        yield Row("profile", f"{kind}, width {width}, batch {batch}", steps.profiled, options)


def trainer_rows(sizes: Sizes) -> Iterator[Row]:
    """The trainer as it is, and with workers that make the batches."""
    variants: dict[str, tuple[str, ...]] = {"": (), ", 4 workers": ("--dataloader_num_workers=4",)}
    for (width, batch), (kind, causal) in product(sizes):
        for variant, options in variants.items():
            name = f"{kind}, width {width}, batch {batch}{variant}"
            settings = {"causal": causal, "width": width, "batch": batch, "options": options}
            yield Row("trainer", name, runs.trainer_throughput, settings)


def attention_rows(sizes: Sizes) -> Iterator[Row]:
    """Every kernel of sdpa alone, eager attention, and the flash-attn library."""
    variants = [{"kernel": kernel} for kernel in steps.KERNELS]
    variants += [{"attention": name} for name in ("eager", "flash_attention_2")]
    width, batch = sizes.examined[-1]
    for kind, causal in KINDS.items():
        for variant in variants:
            options = {"causal": causal, "width": width, "batch": batch, **variant}
            label = variant.get("attention") or f"sdpa {variant['kernel']}"
            yield Row("attention", f"{label}, {kind}, width {width}, batch {batch}", steps.training, options)


def compiled_rows(sizes: Sizes) -> Iterator[Row]:
    """`torch.compile`, at the largest batch."""
    batch = sizes.batches[-1]
    for width, _ in reversed(sizes.examined):
        for kind, causal in KINDS.items():
            options = {"causal": causal, "width": width, "batch": batch, "compiled": True}
            yield Row("compiled", f"{kind}, width {width}, batch {batch}", steps.training, options, seconds=120)


def product(sizes: Sizes) -> list[tuple[tuple[int, int], tuple[str, bool]]]:
    """The examined sizes with both kinds of models."""
    return [(size, kind) for size in sizes.examined for kind in KINDS.items()]
