"""hf_bert4rec: trained as `training/train.py` trains, ranked as `hf_bert4rec.evaluation` ranks."""

from argparse import Namespace
from typing import Any

import torch
from transformers import EarlyStoppingCallback, TrainerCallback, TrainerControl

from benchmarks.measure import ROOT
from benchmarks.peers.common import Stopwatch, ThroughputMeter, run_action, timed
from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM
from hf_bert4rec.cli.main import set_up_console
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.evaluation.ranking import rank_targets
from hf_bert4rec.evaluation.scoring import ModelScorer
from hf_bert4rec.training.arguments import parse
from hf_bert4rec.training.build import build_trainer
from hf_bert4rec.training.hardware import disable_malloc_trim
from hf_bert4rec.training.trainer import Bert4RecTrainer

RECIPE = ROOT / "training" / "recipes" / "ml-1m-quick.yaml"
PAD_ID = 0
NDCG = "eval_ndcg@10"


def train(settings: Namespace) -> dict[str, Any]:
    """Training throughput."""
    options = {
        "hidden_size": settings.width,
        "intermediate_size": 4 * settings.width,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        "max_position_embeddings": settings.length,
        "hidden_dropout_prob": settings.dropout,
        "previous_item": "false",  # the model and task of the peers
        "causal_prob": 0.0,
        "memory_size": 0,
        "mlm_probability": settings.mask,
        "mask_replace_prob": 1.0,
        "last_item_prob": 0.0,
        "window_stride": settings.length,
        "per_device_train_batch_size": settings.batch,
        "num_train_epochs": 1000,
        "eval_strategy": "no",
        "save_strategy": "no",
        "load_best_model_at_end": "false",
        **settings.options,
    }
    trainer = recipe_trainer(settings, options)
    meter = ThroughputMeter(settings.seconds)
    trainer.add_callback(_MeterCallback(trainer, meter))
    trainer.train()
    trainer.leave_process_group()
    return meter.result()


def quality(settings: Namespace) -> dict[str, Any]:
    """Validation NDCG@10 by seconds of training, evaluated several times per epoch."""
    options = {"eval_strategy": "steps", "save_strategy": "no", "load_best_model_at_end": "false"}
    trainer = recipe_trainer(settings, {**options, **settings.options})
    trainer.args.eval_steps = 1 / (trainer.args.num_train_epochs * settings.evaluations_per_epoch)
    watch, evaluate, curve = Stopwatch(), trainer.evaluate, []

    def timed_evaluate(*args: Any, **kwargs: Any) -> Any:
        metrics = watch.pause(lambda: evaluate(*args, **kwargs))
        curve.append({"seconds": watch.seconds, "ndcg@10": metrics[NDCG]})
        if metrics[NDCG] >= settings.stop_at:
            trainer.control.should_training_stop = True
        return metrics

    trainer.evaluate = timed_evaluate
    trainer.train()
    return {"curve": curve}


def evaluation(settings: Namespace) -> dict[str, Any]:
    """Throughput of full-catalogue ranking by an untrained model: top 10 and the rank of the target."""
    disable_malloc_trim()
    data = prepare(DataArguments(**settings.arguments))
    torch.manual_seed(0)
    config = Bert4RecConfig(
        vocab_size=len(data.tokenizer),
        hidden_size=settings.width,
        intermediate_size=4 * settings.width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=settings.length,
    )
    model = Bert4RecForMaskedLM(config).eval()
    dataset = data.next_item_dataset("validation")
    rows = min(settings.users, len(dataset))
    histories, targets = dataset.histories.rows(0, rows), dataset.targets.rows(0, rows)
    scorer = ModelScorer(model, data.tokenizer)

    def rank(stop: int) -> None:
        rank_targets(
            scorer,
            histories.rows(0, stop),
            targets.rows(0, stop),
            vocab_size=len(data.tokenizer),
            special_ids=data.tokenizer.all_special_ids,
            top_k=10,
            batch_size=settings.batch,
        )

    rank(min(rows, settings.batch))  # warm-up
    return {"users_per_second": rows / timed(lambda: rank(rows)), "users": rows}


def recipe_trainer(settings: Namespace, options: dict[str, Any]) -> Bert4RecTrainer:
    """The trainer of `training/train.py` with the quick recipe of MovieLens 1M and these options."""
    set_up_console()
    disable_malloc_trim()
    # Trainer accepts bf16 on a CPU only with use_cpu.
    precision = {"bf16": settings.precision == "bfloat16", "use_cpu": not torch.cuda.is_available()}
    options = {**settings.arguments, **precision, "output_dir": settings.scratch, "report_to": "none", **options}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    data_arguments, model_arguments, masking, arguments = parse([str(RECIPE), *words])
    trainer = build_trainer(prepare(data_arguments), model_arguments, masking, arguments)
    trainer.remove_callback(EarlyStoppingCallback)
    return trainer


class _MeterCallback(TrainerCallback):
    """Counts the tokens of every step and stops training once the time is up."""

    def __init__(self, trainer: Bert4RecTrainer, meter: ThroughputMeter) -> None:
        self.meter, self.tokens = meter, 0
        training_step = trainer.training_step

        def counting_step(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            self.tokens += int((inputs["input_ids"] != PAD_ID).sum())
            return training_step(model, inputs, *args, **kwargs)

        trainer.training_step = counting_step

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        if self.meter.batch_done(self.tokens):
            control.should_training_stop = True
        self.tokens = 0


if __name__ == "__main__":
    run_action({"train": train, "quality": quality, "evaluation": evaluation}, ("torch", "transformers", "accelerate"))
