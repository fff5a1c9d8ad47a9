"""What int8 weights cost: size, NDCG@10 and latency of a model in torch and of both its ONNX files.

    hf-bert4rec export-onnx outputs/ml-100k
    python -m benchmarks.quality.quantized outputs/ml-100k

The targets are those of the model's own evaluation. The latency is the shortest of 200 calls with one history of the
window's length, on one thread.
"""

from __future__ import annotations

import argparse
import timeit
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hf_bert4rec import Bert4RecForMaskedLM
from hf_bert4rec.cli.console import set_up_console
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.evaluation.config import EvaluationConfig
from hf_bert4rec.evaluation.evaluate import prepare_for_model
from hf_bert4rec.evaluation.scoring import ModelScorer, evaluate_scorer
from hf_bert4rec.evaluation.task import build_task
from hf_bert4rec.evaluation.trained_model import training_data_options
from hf_bert4rec.hub.onnx_export import megabytes
from hf_bert4rec.model.onnx_bert4rec import ONNX_FILE, ONNX_FOLDER, QUANTIZED_FILE, OnnxScorer

WEIGHTS = "model.safetensors"


class OnnxModel:
    """An ONNX file with the attributes of a model that an evaluation uses."""

    def __init__(self, path: Path, config: Any) -> None:
        self.next_item_logits = OnnxScorer(path, config)
        self.config, self.device = config, torch.device("cpu")

    def eval(self) -> OnnxModel:
        return self


def main(argv: Sequence[str] | None = None) -> None:
    set_up_console()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="an exported recommender with ONNX files")
    folder = parser.parse_args(argv).folder
    torch.set_num_threads(1)
    network = Bert4RecForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    prepared = prepare_for_model(folder, DataArguments(**training_data_options(folder)))
    config = EvaluationConfig(ks=[10])
    task = build_task(prepared, config, timed=network.config.time_aware)
    window = network.config.max_position_embeddings
    history = prepared.tokenizer.first_item_id + torch.arange(window - 1)
    input_ids = torch.cat([history, torch.tensor([network.config.mask_token_id])])[None]
    batch = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
    paths = {name: folder / ONNX_FOLDER / name for name in (ONNX_FILE, QUANTIZED_FILE)}
    models = {WEIGHTS: network, **{name: OnnxModel(path, network.config) for name, path in paths.items()}}
    print("| file | MB | NDCG@10 | ms |\n|---|---|---|---|")
    for name, model in models.items():
        scores = evaluate_scorer(ModelScorer(model, prepared.tokenizer), task, config, name)
        with torch.inference_mode():
            latency = 1e3 * min(timeit.repeat(partial(model.next_item_logits, **batch), number=1, repeat=200))
        size = megabytes(paths.get(name, folder / WEIGHTS))
        print(f"| `{name}` | {size:.1f} | {scores.per_user['ndcg@10'].mean():.4f} | {latency:.1f} |")


if __name__ == "__main__":
    main()
