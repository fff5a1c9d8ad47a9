"""`hf-bert4rec export-onnx`: export a trained model to ONNX, check it against torch, and print sizes and latencies.

    hf-bert4rec export-onnx outputs/ml-100k

Writes `onnx/model.onnx` into the folder, which `pipeline(..., backend="onnx")` loads, and `onnx/model_quantized.onnx`,
with int8 weights, which the demo and transformers.js load. Needs `pip install "hf-bert4rec[onnx]"`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..hub.onnx_export import describe, export_onnx


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="hf-bert4rec export-onnx", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="an exported model")
    folder = parser.parse_args(argv).folder
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} has no config.json: it is not a model's folder")
    print("\n".join(describe(folder, export_onnx(folder))))
