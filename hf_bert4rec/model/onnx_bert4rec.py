"""The model as an ONNX file: scoring without torch's kernels, where onnxruntime is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers.utils import cached_file

from .time_bert4rec import UNKNOWN_TIME

ONNX_FOLDER, ONNX_FILE = "onnx", "model.onnx"


def find_onnx(folder: str, revision: str | None = None) -> str:
    """Path of the ONNX file in a model's folder, or in the Hub repository of this name.

    Raises:
        FileNotFoundError: there is none.
    """
    path = cached_file(
        folder, ONNX_FILE, subfolder=ONNX_FOLDER, revision=revision, _raise_exceptions_for_missing_entries=False
    )
    if path is None:
        raise FileNotFoundError(
            f"{folder} has no {ONNX_FOLDER}/{ONNX_FILE}: write it with `python training/export_onnx.py {folder}`"
        )
    return path


class OnnxScorer:
    """Scores histories as `model.next_item_logits` does, with an ONNX file that training/export_onnx.py wrote.

    Raises:
        ImportError: onnxruntime is not installed. ValueError: the file scores another number of items than the model.
    """

    def __init__(self, path: str | Path, vocab_size: int) -> None:
        # Inside `try`, because transformers asks every user of a model for what its code imports elsewhere.
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
        self.timed = any(entry.name == "timestamps" for entry in self.session.get_inputs())
        found = self.session.get_outputs()[0].shape[-1]
        if found != vocab_size:
            raise ValueError(
                f"{path} scores {found} entries and the model {vocab_size}: export the model again with "
                "training/export_onnx.py"
            )

    def __call__(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, timestamps: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits (rows, vocab), float32 on the CPU, at each row's last attended place."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.timed:
            inputs["timestamps"] = torch.full_like(input_ids, UNKNOWN_TIME) if timestamps is None else timestamps
        arrays = {name: tensor.cpu().numpy() for name, tensor in inputs.items()}
        return torch.from_numpy(self.session.run(["logits"], arrays)[0])

    def check_is_of(self, model: Any) -> None:
        """Raise ValueError unless a short history gets the scores of `model`: the file may be an earlier one's."""
        config = model.config
        input_ids = torch.tensor([[config.vocab_size - 1, config.mask_token_id]], device=model.device)
        attention_mask = torch.ones_like(input_ids)
        with torch.inference_mode():
            expected = model.eval().next_item_logits(input_ids, attention_mask).float().cpu()
        tolerance = 1e-3 if model.dtype == torch.float32 else 0.1
        found = self(input_ids, attention_mask)
        if not torch.allclose(found, expected, atol=tolerance, rtol=tolerance):
            raise ValueError(
                f"{self.path} gives other scores than the model, by up to {(found - expected).abs().max():.2g}: the "
                "weights were changed after it was written; export the model again with training/export_onnx.py"
            )


__all__ = ["ONNX_FILE", "ONNX_FOLDER", "OnnxScorer", "find_onnx"]
