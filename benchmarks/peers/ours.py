"""Ours, as a contender: trained by `Bert4RecTrainer` as training/train.py would, ranked as evaluation ranks."""

from __future__ import annotations

import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, TrainerCallback, TrainerControl

from benchmarks.peers.common import Clock, Stopwatch, answer
from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM
from hf_bert4rec.cli.console import set_up_console
from hf_bert4rec.data.prepare import DataArguments, prepare
from hf_bert4rec.evaluation.ranking import rank_targets
from hf_bert4rec.evaluation.scoring import ModelScorer
from hf_bert4rec.training.arguments import parse
from hf_bert4rec.training.fit import build_trainer
from hf_bert4rec.training.hardware import disable_malloc_trim
from hf_bert4rec.training.trainer import Bert4RecTrainer

RECIPE = Path(__file__).resolve().parents[2] / "training" / "recipes" / "ml-1m-quick.yaml"
PAD = 0
AT = "eval_ndcg@10"


def train(settings: Namespace) -> dict[str, Any]:
    """Tokens a second at the sizes that all contenders have."""
    options = {
        "hidden_size": settings.width,
        "intermediate_size": 4 * settings.width,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        "max_position_embeddings": settings.length,
        "hidden_dropout_prob": settings.dropout,
        "causal": "false",  # the peers' task, where the recipe's is another
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
    trainer = trainer_of(settings, options)
    clock = Clock(settings.seconds)
    trainer.add_callback(_Count(trainer, clock))
    trainer.train()
    trainer.end()
    return {**clock.result(), "precision": "bfloat16" if trainer.args.bf16 else "float32"}


def quality(settings: Namespace) -> dict[str, Any]:
    """Seconds of training at which validation NDCG@10 was what, evaluated several times an epoch."""
    options = {"eval_strategy": "steps", "save_strategy": "no", "load_best_model_at_end": "false"}
    trainer = trainer_of(settings, {**options, **settings.options})
    trainer.args.eval_steps = 1 / (trainer.args.num_train_epochs * settings.times_an_epoch)
    watch, evaluate, curve = Stopwatch(), trainer.evaluate, []

    def evaluated(*args: Any, **kwargs: Any) -> Any:
        metrics = watch.pause(lambda: evaluate(*args, **kwargs))
        curve.append({"seconds": watch.seconds, "ndcg@10": metrics[AT]})
        if metrics[AT] >= settings.enough:
            trainer.control.should_training_stop = True
        return metrics

    trainer.evaluate = evaluated
    trainer.train()
    return {"curve": curve, "precision": "bfloat16" if trainer.args.bf16 else "float32"}


def evaluation(settings: Namespace) -> dict[str, Any]:
    """Users a second that an untrained model ranks the whole catalogue for, ten best and the target's rank."""
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
    questions = data.next_item_dataset("validation")
    rows = min(settings.users, len(questions))
    histories, targets = questions.histories.rows(0, rows), questions.targets.rows(0, rows)
    scorer = ModelScorer(model, data.tokenizer)

    def ranked(stop: int) -> None:
        rank_targets(
            scorer,
            histories.rows(0, stop),
            targets.rows(0, stop),
            vocab_size=len(data.tokenizer),
            special_ids=data.tokenizer.all_special_ids,
            top_k=10,
            batch_size=settings.batch,
        )

    ranked(min(rows, settings.batch))  # warms up
    start = time.perf_counter()
    ranked(rows)
    return {"users_per_second": rows / (time.perf_counter() - start), "users": rows}


def trainer_of(settings: Namespace, options: dict[str, Any]) -> Bert4RecTrainer:
    """What training/train.py would train with the quick recipe of MovieLens 1M and these options."""
    set_up_console()
    disable_malloc_trim()
    options = {**settings.arguments, "output_dir": settings.scratch, "report_to": "none", **options}
    if settings.precision is not None:
        # Trainer takes bfloat16 on a CPU only where it is told that a CPU is meant.
        options |= {"bf16": settings.precision == "bfloat16", "use_cpu": not torch.cuda.is_available()}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    data_arguments, model_arguments, masking, arguments = parse([str(RECIPE), *words])
    trainer = build_trainer(prepare(data_arguments), model_arguments, masking, arguments)
    trainer.remove_callback(EarlyStoppingCallback)
    return trainer


class _Count(TrainerCallback):
    """Tells the clock the tokens of every step, and ends training when the time is over."""

    def __init__(self, trainer: Bert4RecTrainer, clock: Clock) -> None:
        self.clock, self.tokens = clock, 0
        step = trainer.training_step

        def counted(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            self.tokens += int((inputs["input_ids"] != PAD).sum())
            return step(model, inputs, *args, **kwargs)

        trainer.training_step = counted

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        if self.clock.batch_done(self.tokens):
            control.should_training_stop = True
        self.tokens = 0


if __name__ == "__main__":
    answer({"train": train, "quality": quality, "evaluation": evaluation}, ("torch", "transformers", "accelerate"))
