"""All rows, the most important first: those that do not fit into the time are measured by the next call."""

from collections.abc import Iterator, Sequence
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
    for items, users in sizes.catalogues:
        yield Row("ranking", f"{items:,} items", inference.ranking, {"items": items, "users": users})
    yield Row("pipeline", "pipeline", inference.pipeline, {})
    for kind, size, options in models(sizes.examined):
        yield Row("trainer", f"{kind}, {size}", runs.trainer_throughput, options)
    yield from launched_rows()
    for kind, size, options in models([(width, sizes.batches[-1]) for width in reversed(sizes.widths)]):
        yield Row("compiled", f"{kind}, {size}", steps.training, {**options, "compiled": True}, seconds=120)
    yield from attention_rows(sizes)
    for kind, size, options in models(sizes.examined):
        yield Row("profile", f"{kind}, {size}", steps.profiled, options)
    for kind, size, options in models(sizes.examined):
        workers = {"options": ("--dataloader_num_workers=4",)}  # processes that make the batches
        yield Row("trainer", f"{kind}, {size}, 4 workers", runs.trainer_throughput, {**options, **workers}, seconds=25)
    yield recipe_row(data, last_recipe, sizes.seeds[0])


def numerics_rows() -> Iterator[Row]:
    for kind, causal in KINDS.items():
        for precision in ("float32", "bfloat16"):
            options = {"causal": causal, "bf16": precision == "bfloat16"}
            yield Row("numerics", f"{kind}, {precision} against the CPU", numerics.numerics, options)


def training_rows(sizes: Sizes) -> Iterator[Row]:
    """Ours of every size, `BertForMaskedLM` of the smallest and largest batch, and ours with padding."""
    for width in sizes.widths:
        for batch in sizes.batches:
            for kind, size, options in models([(width, batch)]):
                yield Row("training", f"{kind}, {size}", steps.training, options)
            if batch in (sizes.batches[0], sizes.batches[-1]):
                yield Row("training", f"BertForMaskedLM, {size}", steps.bert, {"width": width, "batch": batch})
    for kind, size, options in models(sizes.examined):
        yield Row("training", f"{kind}, padded rows, {size}", steps.training, {**options, "padded": True})


def recipe_row(data: Path, recipe: str, seed: int) -> Row:
    options = {"data": str(data), "recipe": recipe, "seed": seed}
    return Row("recipe", f"{recipe}, seed {seed}", runs.trained_recipe, options, seconds=240)


def launched_rows() -> Iterator[Row]:
    for kind in runs.CONFIGS:
        seconds = runs.LAUNCH_SECONDS + 10  # the launcher's own limit comes first
        yield Row("launcher", f"{kind} on one device", runs.launched, {"kind": kind}, seconds, needed=seconds)


def attention_rows(sizes: Sizes) -> Iterator[Row]:
    """Each kernel of sdpa, eager attention, and the flash-attn library."""
    variants = [{"kernel": kernel} for kernel in steps.KERNELS]
    variants += [{"attention": name} for name in ("eager", "flash_attention_2")]
    for kind, size, options in models(sizes.examined[-1:]):
        for variant in variants:
            label = variant.get("attention") or f"sdpa {variant['kernel']}"
            yield Row("attention", f"{label}, {kind}, {size}", steps.training, {**options, **variant})


def models(sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Kind, size as text, and options of both kinds of models at these widths and batches."""
    for width, batch in sizes:
        for kind, causal in KINDS.items():
            yield kind, f"width {width}, batch {batch}", {"causal": causal, "width": width, "batch": batch}
