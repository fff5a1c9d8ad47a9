"""What smaller weights cost: size, NDCG@10 and latency of a model in torch, in ONNX, and quantized.

    hf-bert4rec export-onnx outputs/ml-100k
    python -m benchmarks.quality.quantized outputs/ml-100k

The targets are those of the model's own evaluation, answered by the network. The latency is the shortest of 200 calls
with one history of the window's length, on one thread. Needs torchao and bitsandbytes. Writes
`benchmarks/quality/quantized.json` and the table of docs/usage.md.
"""

from __future__ import annotations

import io
import timeit
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import BitsAndBytesConfig, TorchAoConfig

from benchmarks.markdown import replace_between_marks
from benchmarks.measure import ROOT, cpu_load, script_parser
from hf_bert4rec import Bert4RecForMaskedLM
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.environment import describe_hardware, environment
from hf_bert4rec.evaluation.config import EvaluationConfig
from hf_bert4rec.evaluation.evaluate import prepare_for_model
from hf_bert4rec.evaluation.report_text import markdown
from hf_bert4rec.evaluation.scoring import ModelScorer, evaluate_scorer
from hf_bert4rec.evaluation.task import build_task
from hf_bert4rec.evaluation.trained_model import training_data_options, training_record
from hf_bert4rec.files import write_json
from hf_bert4rec.model.onnx_bert4rec import ONNX_FILE, ONNX_FOLDER, QUANTIZED_FILE, OnnxScorer

RESULT, PAGE = Path(__file__).with_suffix(".json"), ROOT / "docs" / "usage.md"
MARKS = ("<!-- quantized: written by benchmarks/quality/quantized.py -->", "<!-- end of quantized -->")
BASELINE = "`model.safetensors`"


class OnnxModel:
    """An ONNX file with the attributes of a model that an evaluation uses."""

    def __init__(self, path: Path, config: Any) -> None:
        self.next_item_logits = OnnxScorer(path, config)
        self.config, self.device = config, torch.device("cpu")

    def eval(self) -> OnnxModel:
        return self


def load_models(folder: Path) -> dict[str, tuple[Any, float]]:
    """Every variant of the model, and its size in megabytes."""
    from torchao.quantization import Int8WeightOnlyConfig

    load = partial(Bert4RecForMaskedLM.from_pretrained, folder, device_map="cpu")
    in_torch = {
        BASELINE: load(),
        "torchao, int8": load(quantization_config=TorchAoConfig(Int8WeightOnlyConfig())),
        "bitsandbytes, 8 bits": load(quantization_config=BitsAndBytesConfig(load_in_8bit=True)),
        "bitsandbytes, 4 bits": load(quantization_config=BitsAndBytesConfig(load_in_4bit=True)),
    }
    config = in_torch[BASELINE].config
    paths = [folder / ONNX_FOLDER / name for name in (ONNX_FILE, QUANTIZED_FILE)]
    models = {name: (model.eval(), megabytes(model)) for name, model in in_torch.items()}
    return models | {f"`{path.name}`": (OnnxModel(path, config), path.stat().st_size / 1e6) for path in paths}


def megabytes(model: Any) -> float:
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.tell() / 1e6


def measure(folder: Path) -> dict[str, dict[str, float]]:
    """Megabytes, NDCG@10 and milliseconds per history of every variant."""
    models = load_models(folder)
    network = models[BASELINE][0]
    prepared = prepare_for_model(folder, DataArguments(**training_data_options(folder)))
    config = EvaluationConfig(ks=[10])
    task = build_task(prepared, config, timed=network.config.time_aware)
    history = prepared.tokenizer.first_item_id + torch.arange(network.config.max_position_embeddings - 1)
    input_ids = torch.cat([history, torch.tensor([network.config.mask_token_id])])[None]
    batch = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
    rows = {}
    for name, (model, size) in models.items():
        scores = evaluate_scorer(ModelScorer(model, prepared.tokenizer), task, config, name)
        with torch.inference_mode():
            latency = 1e3 * min(timeit.repeat(partial(model.next_item_logits, **batch), number=1, repeat=200))
        rows[name] = {"megabytes": size, "ndcg@10": scores.per_user["ndcg@10"].mean().item(), "milliseconds": latency}
    return rows


def table(result: dict[str, Any]) -> str:
    """The rows of a result in Markdown, with the change of NDCG@10."""
    reference = result["rows"][BASELINE]["ndcg@10"]
    rows = [["weights", "MB", "NDCG@10", "change", "ms"]]
    for name, row in result["rows"].items():
        ndcg, change = row["ndcg@10"], row["ndcg@10"] / reference - 1
        rows.append([name, f"{row['megabytes']:.1f}", f"{ndcg:.4f}", f"{change:+.1%}", f"{row['milliseconds']:.1f}"])
    return markdown(rows)


def main(argv: Sequence[str] | None = None) -> None:
    parser = script_parser(__doc__)
    parser.add_argument("folder", type=Path, help="an exported recommender with ONNX files")
    folder = parser.parse_args(argv).folder
    if training_record(folder)["options"].get("refresh_memory"):
        parser.error(
            f"the memory of {folder}, and of its ONNX files, knows the targets: train with refresh_memory=false"
        )
    torch.set_num_threads(1)
    load = cpu_load()
    result = {
        "model": folder.name,
        "rows": measure(folder),
        "machine": describe_hardware(),
        "load_before": load,
        "environment": environment(),
        "peers": {name: version(name) for name in ("torchao", "bitsandbytes")},
    }
    write_json(RESULT, result)
    replace_between_marks(PAGE, MARKS, table(result))
    print(table(result))


if __name__ == "__main__":
    main()
