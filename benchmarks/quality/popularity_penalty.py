"""What `popularity_penalty` does to accuracy and variety, and to the sampled metrics of the BERT4Rec paper.

    python -m benchmarks.quality.popularity_penalty outputs/ml-1m outputs/ml-1m-43 outputs/ml-1m-44

The models are seeds of one recipe; the figures are means. A penalty includes the recipe's own. The paper draws a user's
negatives by popularity: where the model's score is the probability p(item | history), the best order of such candidates
is that by p(item | history) / popularity(item), which is a penalty of 1. Writes
`training/results/popularity_penalty/`, one JSON file per data set, and the table of docs/evaluation.md.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from benchmarks.markdown import read_json_files, replace_between_marks
from benchmarks.measure import ROOT, script_parser
from benchmarks.quality.tables import PENALTIES
from hf_bert4rec import Bert4RecForMaskedLM
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.prepared import PreparedData
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.environment import environment
from hf_bert4rec.evaluation.config import EvaluationConfig
from hf_bert4rec.evaluation.evaluate import prepare_for_model, refill_memory
from hf_bert4rec.evaluation.ranking import Scorer
from hf_bert4rec.evaluation.report_text import markdown
from hf_bert4rec.evaluation.scoring import ModelScorer, evaluate_scorer
from hf_bert4rec.evaluation.task import EvaluationTask, build_task
from hf_bert4rec.evaluation.trained_model import training_data_options, training_record
from hf_bert4rec.files import write_json
from hf_bert4rec.model.ranking_bert4rec import Catalogue

RESULTS, PAGE = ROOT / "training" / "results" / "popularity_penalty", ROOT / "docs" / "evaluation.md"
MARKS = ("<!-- penalty: written by benchmarks/quality/popularity_penalty.py -->", "<!-- end of penalty -->")
COLUMNS = {  # of the table; `sampled` metrics are those of the paper
    "ndcg@10": "NDCG@10",
    "hit_rate@10": "HR@10",
    "coverage@10": "coverage@10",
    "novelty@10": "novelty@10",
    "sampled ndcg@10": "sampled NDCG@10",
    "sampled hit_rate@10": "sampled HR@10",
}


def penalised_scorer(model: Bert4RecForMaskedLM, data: PreparedData, penalty: float) -> Scorer:
    """A model's scores less `penalty` times the logarithm of popularity, as in a request."""
    score, subtracted = ModelScorer(model, data.tokenizer), penalty * Catalogue(data.tokenizer).log_popularity

    def scorer(histories: Ragged) -> torch.Tensor:
        scores = score(histories)
        scores[:, data.tokenizer.first_item_id :] -= subtracted.to(scores.device)
        return scores

    return scorer


def measure(folder: Path) -> dict[str, list[dict[str, float]]]:
    """The metrics for each of `PENALTIES`, on either part of the split."""
    model = Bert4RecForMaskedLM.from_pretrained(folder, dtype=torch.float32)
    data = prepare_for_model(folder, DataArguments(**training_data_options(folder)))
    own = training_record(folder)["options"].get("popularity_penalty", 0.0)
    parts = {}
    for part in ("validation", "test"):
        config = EvaluationConfig(part=part, ks=[10])
        task = build_task(data, config, timed=model.config.time_aware)
        refill_memory(model, folder, data, part)
        parts[part] = [metrics(penalised_scorer(model, data, total - own), task, config) for total in PENALTIES]
    return parts


def metrics(scorer: Scorer, task: EvaluationTask, config: EvaluationConfig) -> dict[str, float]:
    result = evaluate_scorer(scorer, task, config)
    draw = next(name for name in result.sampled if name.startswith("popularity"))
    values = {name: float(column.mean()) for name, column in result.per_user.items()}
    sampled = {f"sampled {name}": float(column.mean()) for name, column in result.sampled[draw].items()}
    everything = values | result.aggregate | sampled
    return {name: everything[name] for name in COLUMNS}


def table(result: dict[str, Any]) -> str:
    """The means over the models, for each penalty, on the test part; with NDCG@10 on the validation part."""
    count = len(result["models"])
    chosen_by = "ndcg@10", "sampled ndcg@10"
    rows = [["penalty", *COLUMNS.values(), *(f"validation, {COLUMNS[name]}" for name in chosen_by)]]
    for index, penalty in enumerate(PENALTIES):
        test, validation = (
            {name: mean(model[part][index][name] for model in result["models"].values()) for name in COLUMNS}
            for part in ("test", "validation")
        )
        figures = [f"{value:.2f}" if name == "novelty@10" else f"{value:.4f}" for name, value in test.items()]
        rows.append([f"{penalty:g}", *figures, *(f"{validation[name]:.4f}" for name in chosen_by)])
    return f"**{result['dataset']}**, mean of {count} seed{'s' if count > 1 else ''}\n\n{markdown(rows)}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = script_parser(__doc__)
    parser.add_argument("folders", nargs="*", type=Path, help="exported models; without any, the table only")
    folders = parser.parse_args(argv).folders
    if folders:
        dataset = training_data_options(folders[0])["dataset"]
        models = {folder.name: measure(folder) for folder in folders}
        result = {"dataset": dataset, "models": models, "environment": environment()}
        write_json(RESULTS / f"{dataset.removesuffix('.txt')}.json", result)
    replace_between_marks(PAGE, MARKS, "\n\n".join(map(table, read_json_files(RESULTS))))


if __name__ == "__main__":
    main()
