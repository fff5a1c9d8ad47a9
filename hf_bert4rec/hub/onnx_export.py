"""Export of a trained model to ONNX, checked against torch: `model.onnx`, and the smaller `model_quantized.onnx`.

Both map `input_ids`, `attention_mask` and, if the model uses them, `timestamps` and `event_ids`, all (batch, length)
with any length up to the model's window, to `logits` (batch, vocab) at the last attended position of each row. The
metadata describes the inputs. Names and folder are those that transformers.js expects.
"""

import contextlib
import io
import logging
import timeit
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn

from ..data.collators import MODEL_INPUTS, DataCollatorForNextItem
from ..evaluation.trained_model import load_network
from ..files import TASTE_FILE, atomic_write, write_json
from ..model.extensions_bert4rec import Bert4RecTaste
from ..model.loading_bert4rec import read_object
from ..model.modeling_bert4rec import Bert4RecForMaskedLM
from ..model.onnx_bert4rec import ONNX_FILE, ONNX_FOLDER, QUANTIZED_FILE, QUANTIZED_TOLERANCE, OnnxScorer
from ..model.tokenization_bert4rec import Bert4RecTokenizer
from ..model.values_bert4rec import UNKNOWN_TIME
from .onnx_quantization import quantize, round_to_int

TOLERANCE = 1e-4  # largest difference of a score (softmax over all items) between torch and ONNX
TRANSFORMERS_JS = {"dtype": "q8"}  # it loads the quantized file by default
TOP_K = 10
BATCH_SIZES = (1, 7, 64)
METADATA = {
    "input_ids": "int64, [MASK] after the history; padding on either side",
    "attention_mask": "int64, 1 at the history and its [MASK], 0 at padding",
    "timestamps": f"int64, seconds since 1970, at the [MASK] the time of the query; {UNKNOWN_TIME} where unknown",
    "event_ids": "int64, event type, an index of event_names in tokenizer_config.json; at the [MASK] the requested one",
    "logits": "float32, at the last attended position of each row; special tokens come first",
}


class NextItemLogits(nn.Module):
    """The exported graph: the logits at the [MASK] that ends each history."""

    def __init__(self, model: Bert4RecForMaskedLM) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        timestamps: torch.Tensor | None = None,
        event_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        return self.model.next_item_logits(input_ids, attention_mask, timestamps, event_ids)


def export_onnx(folder: Path, target: Path | None = None) -> dict[Path, str]:
    """Write `onnx/model.onnx` and `onnx/model_quantized.onnx` of a model's folder; returns how each agrees with torch.

    A model of taste is written to `onnx/taste.safetensors`, for `recommender.js`. `config.json` gets the entry
    `transformers.js_config`. All are written to `target`, by default the model's folder.

    ValueError: the model is damaged; scores differ from torch's by more than 1e-4, or the ten best movies differ; or
    logits of the quantized file differ by more than 1.
    """
    model, tokenizer = load_network(folder, attn_implementation="eager")
    target = target or folder
    path, quantized = (target / ONNX_FOLDER / name for name in (ONNX_FILE, QUANTIZED_FILE))
    with atomic_write(path) as temporary:
        _write(model, temporary)
        findings = {path: check_against_torch(OnnxScorer(temporary, model.config), model, tokenizer)}
    with atomic_write(quantized) as temporary:
        quantize(path, temporary)
        findings[quantized] = check_against_torch(OnnxScorer(temporary, model.config), model, tokenizer, quantized=True)
    if model.taste is not None:
        with atomic_write(target / ONNX_FOLDER / TASTE_FILE) as temporary:
            save_file(pack_taste(model.taste, tokenizer.first_item_id), temporary)
    config = read_object(folder / "config.json")
    write_json(target / "config.json", {**config, "transformers.js_config": TRANSFORMERS_JS})
    return findings


def _write(model: Bert4RecForMaskedLM, path: Path) -> None:
    input_ids = torch.ones(2, min(5, model.config.max_position_embeddings), dtype=torch.long)
    inputs = {"input_ids": input_ids, "attention_mask": input_ids.clone()}  # the same tensor would become one input
    if model.config.time_aware:
        inputs["timestamps"] = torch.full_like(input_ids, UNKNOWN_TIME)
    if model.config.num_events:
        inputs["event_ids"] = torch.zeros_like(input_ids)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns that the unused torchvision is missing
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # the exporter prints its progress
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            NextItemLogits(model).eval(),
            kwargs=inputs,
            input_names=list(inputs),
            output_names=["logits"],
            dynamic_shapes={name: {0: "batch", 1: "length"} for name in inputs},
            dynamo=True,
        )
    assert program is not None
    metadata = {name: text for name, text in METADATA.items() if name in (*inputs, "logits")}
    metadata["window"] = f"at most {model.config.max_position_embeddings} attended positions per row"
    program.model.metadata_props.update(metadata)
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces, with paths of this machine
    program.save(str(path), external_data=False)


def pack_taste(taste: Bert4RecTaste, first_item_id: int) -> dict[str, np.ndarray]:
    """Tables of the items: factors as int16 (items, taste_size) with scales, precisions and shares, float32 (items,).

    Integers times scales differ from the factors by less than 1e-4 of an item's largest. Penalties, if any, are
    subtracted from the logarithms of scores. Neighbours, if any, are catalogue positions, int32 (items,
    taste_neighbours), negative for none.
    """
    factors, precisions, shares = (
        table[first_item_id:].float().numpy() for table in (taste.factors, taste.precisions, taste.shares)
    )
    integers, scales = round_to_int(factors, axis=1, dtype=np.int16)
    tables = {"factors": integers, "scales": scales[:, 0], "precisions": precisions, "shares": shares}
    if taste.log_popularity is not None:
        penalties = taste.config.taste_popularity_penalty * taste.log_popularity[first_item_id:]
        tables["penalties"] = penalties.float().numpy()
    if taste.neighbours is not None:
        tables["neighbours"] = taste.neighbours[first_item_id:].numpy() - first_item_id
    return tables


def random_batches(model: Bert4RecForMaskedLM, tokenizer: Bert4RecTokenizer) -> list[dict[str, torch.Tensor]]:
    """Batches of random histories with lengths from 1 to what the window holds."""
    generator = np.random.default_rng(0)
    window = model.config.max_position_embeddings
    collate = DataCollatorForNextItem(tokenizer, window)
    items = np.arange(tokenizer.first_item_id, len(tokenizer))
    batches = []
    for rows in BATCH_SIZES:
        lengths = generator.integers(1, min(window, len(items) + 1), rows)
        histories = [{"input_ids": generator.choice(items, length, replace=False)} for length in lengths]
        if model.bert4rec.time_embeddings is not None:
            first, last = model.bert4rec.time_embeddings.span.tolist()
            for history, length in zip(histories, lengths, strict=True):
                history["timestamps"] = np.sort(generator.integers(first, last + 1, length))
        if model.config.num_events:
            for history, length in zip(histories, lengths, strict=True):
                history["event_ids"] = generator.integers(0, model.config.num_events, length)
                history["queries"] = {"event_ids": int(generator.integers(tokenizer.num_target_events))}
        batch = collate(histories)
        batches.append({name: batch[name] for name in MODEL_INPUTS if name in batch})
    return batches


def check_against_torch(
    scorer: OnnxScorer, model: Bert4RecForMaskedLM, tokenizer: Bert4RecTokenizer, quantized: bool = False
) -> str:
    """How an ONNX file agrees with torch on random histories, as a sentence; errors are those of `export_onnx`."""
    top_k, first = min(TOP_K, tokenizer.num_items), tokenizer.first_item_id
    value, tolerance = ("logit", QUANTIZED_TOLERANCE) if quantized else ("score", TOLERANCE)
    differences, overlaps, same_best = [], [], True
    for batch in random_batches(model, tokenizer):
        with torch.inference_mode():
            logits = scorer(**batch)[:, first:], model.next_item_logits(**batch)[:, first:]  # (batch, items) each
        actual, expected = logits if quantized else (each.softmax(-1) for each in logits)
        differences.append((actual - expected).abs().max().item())
        best = expected.gather(1, actual.topk(top_k).indices)  # torch's values of ONNX's best: equal except for ties
        expected_best = expected.topk(top_k).values
        overlaps += (best >= expected_best[:, -1:]).sum(1).tolist()
        same_best = same_best and torch.allclose(best, expected_best, atol=1e-7, rtol=1e-4)
    largest = float(np.max(differences))  # NaN if any is, unlike Python's max
    if not (largest <= tolerance and (quantized or same_best)):
        limit = f"at most {tolerance:g} is allowed" + ("" if quantized else ", with the same ten best movies")
        raise ValueError(f"the ONNX file differs from torch by {largest:.2g} in a {value}; {limit}")
    overlap = f"{np.mean(overlaps):.1f} of the" if quantized else "the"
    return f"{overlap} ten best movies are torch's, {value}s differ by at most {largest:.{'2f' if quantized else '0e'}}"


def describe(folder: Path, findings: Mapping[Path, str]) -> list[str]:
    """Lines with the sizes of the files that `export_onnx` wrote, its findings, and the latencies of torch and both."""
    model, tokenizer = load_network(folder)
    lines = [f"{file}: {file.stat().st_size / 1e6:.1f} MB; {finding}" for file, finding in findings.items()]
    scorers: list[Any] = [model.next_item_logits, *(OnnxScorer(file, model.config) for file in findings)]
    for batch in random_batches(model, tokenizer):
        rows, width = batch["input_ids"].shape
        latencies = []
        for name, score in zip(("torch", "ONNX", "quantized"), scorers, strict=True):
            with torch.inference_mode():
                _, *seconds = timeit.repeat(partial(score, **batch), number=1, repeat=21)  # the first warms up
            latencies.append(f"{name} {1e3 * np.median(seconds):.1f} ms")
        lines.append(f"{rows:3} histories of up to {width}: {', '.join(latencies)}")
    return lines
