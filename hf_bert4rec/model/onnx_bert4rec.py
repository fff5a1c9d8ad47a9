"""Score histories with the model's ONNX file and onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers.utils import cached_file

from .extensions_bert4rec import UNKNOWN_TIME

ONNX_FOLDER, ONNX_FILE = "onnx", "model.onnx"
EXPORT_HINT = "export the model again with `hf-bert4rec export-onnx`"


def find_onnx(folder: str, revision: str | None = None) -> str:
    """Return the path of the ONNX file of a model's folder or Hub repository.

    Raises:
        FileNotFoundError: the folder or repository has none.
    """
    path = cached_file(
        folder, ONNX_FILE, subfolder=ONNX_FOLDER, revision=revision, _raise_exceptions_for_missing_entries=False
    )
    if path is None:
        raise FileNotFoundError(
            f"{folder} has no {ONNX_FOLDER}/{ONNX_FILE}: write it with `hf-bert4rec export-onnx {folder}`"
        )
    return path


class OnnxScorer:
    """Scores histories like `model.next_item_logits`, with a file that `hf-bert4rec export-onnx` wrote.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: the file scores another number of items than the model has.
    """

    def __init__(self, path: str | Path, vocab_size: int) -> None:
        # transformers requires every import of a model's code to be installed, except those inside `try`.
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError('backend="onnx" needs onnxruntime: pip install onnxruntime') from error
        self.path = path
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session: Any = onnxruntime.InferenceSession(
            str(path), options, providers=onnxruntime.get_available_providers()
        )
        self.takes_timestamps = any(entry.name == "timestamps" for entry in self.session.get_inputs())
        num_scores = self.session.get_outputs()[0].shape[-1]
        if num_scores != vocab_size:
            raise ValueError(f"{path} scores {num_scores} entries and the model {vocab_size}: {EXPORT_HINT}")

    def __call__(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, timestamps: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits (rows, vocab), float32 on the CPU, at each row's last attended position."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.takes_timestamps:
            inputs["timestamps"] = torch.full_like(input_ids, UNKNOWN_TIME) if timestamps is None else timestamps
        arrays = {name: tensor.cpu().numpy() for name, tensor in inputs.items()}
        return torch.from_numpy(self.session.run(["logits"], arrays)[0])

    def check_scores(self, model: Any) -> None:
        """Raise ValueError unless a short history gets the scores of `model`: the file may be of older weights."""
        config = model.config
        input_ids = torch.tensor([[config.vocab_size - 1, config.mask_token_id]], device=model.device)
        attention_mask = torch.ones_like(input_ids)
        with torch.inference_mode():
            expected = model.eval().next_item_logits(input_ids, attention_mask).float().cpu()
        tolerance = 1e-3 if model.dtype == torch.float32 else 0.1
        logits = self(input_ids, attention_mask)
        if not torch.allclose(logits, expected, atol=tolerance, rtol=tolerance):
            raise ValueError(
                f"{self.path} gives other scores than the model, by up to {(logits - expected).abs().max():.2g}: the "
                f"weights were changed after it was written; {EXPORT_HINT}"
            )


__all__ = ["ONNX_FILE", "ONNX_FOLDER", "OnnxScorer", "find_onnx"]
