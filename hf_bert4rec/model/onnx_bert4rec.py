"""Score histories with the model's ONNX file and onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers.utils import cached_file

from .values_bert4rec import UNKNOWN_TIME, parse_number

ONNX_FOLDER, ONNX_FILE, QUANTIZED_FILE = "onnx", "model.onnx", "model_quantized.onnx"
# Largest difference of a logit from the model's, if it is in float32, in half precision, and for the quantized file.
TOLERANCE, HALF_PRECISION_TOLERANCE, QUANTIZED_TOLERANCE = 1e-3, 0.1, 1.0
EXPORT_HINT = "export the model again with `hf-bert4rec export-onnx`"


def find_onnx(folder: str, onnx_file: str, revision: str | None) -> str:
    """Return the path of a file in `onnx/` of a model's folder or Hub repository; FileNotFoundError without it."""
    path = cached_file(
        folder, onnx_file, subfolder=ONNX_FOLDER, revision=revision, _raise_exceptions_for_missing_entries=False
    )
    if path is None:
        raise FileNotFoundError(
            f"{folder} has no {ONNX_FOLDER}/{onnx_file}: `hf-bert4rec export-onnx {folder}` writes {ONNX_FILE} and "
            f"{QUANTIZED_FILE}"
        )
    return path


class OnnxScorer:
    """Scores histories like `model.next_item_logits`, with a file that `hf-bert4rec export-onnx` wrote.

    Copies and pickles open the file again. ImportError without onnxruntime; ValueError for another number of items.
    """

    def __init__(self, path: str | Path, config: Any) -> None:
        # transformers requires every import of a model's code to be installed, except those inside `try`.
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError('backend="onnx" needs onnxruntime: pip install onnxruntime') from error
        self.path, self.config = str(path), config
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session: Any = onnxruntime.InferenceSession(
            self.path, options, providers=onnxruntime.get_available_providers()
        )
        self.input_names = {entry.name for entry in self.session.get_inputs()}
        num_scores = self.session.get_outputs()[0].shape[-1]
        if num_scores != config.vocab_size:
            raise ValueError(f"{path} scores {num_scores} entries and the model {config.vocab_size}: {EXPORT_HINT}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.config)

    def __call__(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        timestamps: torch.Tensor | None = None,
        event_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits (rows, vocab), float32 on the CPU, at each last attended position; ValueError beyond the window."""
        window = self.config.max_position_embeddings
        if input_ids.shape[1] > window and (longest := int(attention_mask.sum(-1).max())) > window:
            raise ValueError(
                f"a history of {longest} positions exceeds the model's window of {window}: keep its most recent items"
            )
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        for name, values, unknown in (("timestamps", timestamps, UNKNOWN_TIME), ("event_ids", event_ids, 0)):
            if name in self.input_names:
                inputs[name] = torch.full_like(input_ids, unknown) if values is None else values
        arrays = {name: tensor.cpu().numpy() for name, tensor in inputs.items()}
        return torch.from_numpy(self.session.run(["logits"], arrays)[0]).float()

    def check_scores(self, model: Any, tolerance: float | None = None) -> None:
        """Raise ValueError unless the logits of a short history are those of `model`.

        `tolerance` is the largest difference of a logit, absolute and relative; by default 0.001, or 0.1 for a model in
        half precision, or 1 for the quantized file of an export.
        """
        if tolerance is None:
            tolerance = TOLERANCE if model.dtype == torch.float32 else HALF_PRECISION_TOLERANCE
            if "quantized" in self.session.get_modelmeta().custom_metadata_map:
                tolerance = QUANTIZED_TOLERANCE
        tolerance = parse_number("onnx_tolerance", tolerance)
        input_ids = torch.tensor([[self.config.vocab_size - 1, self.config.mask_token_id]], device=model.device)
        attention_mask = torch.ones_like(input_ids)
        with torch.inference_mode():
            expected = model.eval().next_item_logits(input_ids, attention_mask).float().cpu()
        logits = self(input_ids, attention_mask)
        if not torch.allclose(logits, expected, atol=tolerance, rtol=tolerance):
            difference = (logits - expected).abs().max()
            raise ValueError(
                f"{self.path} gives other logits than the model, by up to {difference:.2g} (tolerance "
                f"{tolerance:g}). If it was quantized or converted, give a larger onnx_tolerance; if the "
                f"model changed after it was written, {EXPORT_HINT}"
            )
