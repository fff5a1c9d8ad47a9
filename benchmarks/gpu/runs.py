"""Complete training runs: a recipe, the trainer's throughput, and the trainer under a launcher.

`python -m benchmarks.gpu.runs` is the program that the launcher starts.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, set_seed

from benchmarks.gpu.data import EncodedSplits
from benchmarks.gpu.sizes import FULL, TINY, Sizes, heads, peak_megabytes, synchronize
from benchmarks.gpu.steps import count_tokens
from benchmarks.measure import ROOT, row
from hf_bert4rec.training.arguments import parse
from hf_bert4rec.training.build import build_trainer
from hf_bert4rec.training.trainer import Bert4RecTrainer

NDCG = "eval_ndcg@10"
MIN_NDCG, MAX_SECONDS = 0.2, 60  # targets of the recipe: NDCG@10 of the test items, and the time
WARM_UP = 5  # steps before the clock of the trainer starts
CONFIGS = {"DDP": ("gpus.yaml", "MULTI_GPU"), "FSDP": ("fsdp.yaml", "FSDP")}  # with accelerate's name on a GPU
LAUNCH_SECONDS = 90
# The processes of a launcher find each other without a network.
LOOPBACK = {"NCCL_SOCKET_IFNAME": "lo", "GLOO_SOCKET_IFNAME": "lo"}
ATTRIBUTES = ("distributed_type", "num_processes", "mixed_precision")


def trained_recipe(sizes: Sizes, name: str, *, data: str, recipe: str, seed: int) -> dict[str, Any]:
    """The recipe as it is: wall time from the model's initialisation to its last validation, and NDCG@10."""
    splits = EncodedSplits.load(Path(data))
    with tempfile.TemporaryDirectory() as folder:
        set_seed(seed)
        start = time.perf_counter()
        trainer = trainer_of(splits, recipe, folder, [f"--seed={seed}", *sizes.recipe_options])
        built = time.perf_counter() - start
        trainer.train()
        synchronize()
        seconds = time.perf_counter() - start
        validation = max(entry[NDCG] for entry in trainer.state.log_history if NDCG in entry)
        test = trainer.evaluate(splits.next_item_dataset("test"))[NDCG]
    limit = {"at_most": MAX_SECONDS} if recipe == sizes.recipes[0] else {}
    return {
        "rows": [
            row(f"{name}, time", "s", [seconds], **limit),
            row(f"{name}, time of initial embeddings and memory", "s", [built]),
            row(f"{name}, NDCG@10 of the validation items", "", [validation]),
            row(f"{name}, NDCG@10 of the test items", "", [test], at_least=MIN_NDCG),
        ],
        "log": trainer.state.log_history,
        "megabytes": peak_megabytes(),
    }


def trainer_throughput(
    sizes: Sizes, name: str, *, width: int, batch: int, causal: bool, options: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Tokens per second of the trainer, with the collation of batches, on random histories."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = step_trainer(sizes, folder, step_options(sizes, width, batch, causal) + list(options))
        clock = _Clock(trainer)
        trainer.train()
    return {"rows": [row(f"{name}, throughput", "tokens/s", [clock.tokens_per_second()])]}


def step_options(sizes: Sizes, width: int, batch: int, causal: bool) -> list[str]:
    """Options of a run of some steps without evaluation."""
    masking = ["--mlm_probability=1.0", "--mask_replace_prob=0.0"] if causal else ["--mlm_probability=0.2"]
    return [
        *(f"--hidden_size={width}", f"--intermediate_size={4 * width}", f"--num_attention_heads={heads(width)}"),
        *(f"--max_position_embeddings={sizes.length}", f"--window_stride={sizes.length}", "--hidden_dropout_prob=0.2"),
        *(f"--causal={str(causal).lower()}", *masking, "--pre_layer_norm=true", "--rotary_positions=true"),
        *(f"--per_device_train_batch_size={batch}", f"--max_steps={sizes.trainer_steps}"),
        *("--eval_strategy=no", "--save_strategy=no", "--load_best_model_at_end=false"),
    ]


def step_trainer(sizes: Sizes, folder: str, options: list[str]) -> Bert4RecTrainer:
    """A trainer on random histories with these options only."""
    recipe = Path(folder) / "recipe.yaml"
    recipe.write_text("report_to: none\n", encoding="utf-8")
    return trainer_of(EncodedSplits.random(sizes), str(recipe), folder, options)


def trainer_of(splits: Any, recipe: str, folder: str, options: list[str]) -> Bert4RecTrainer:
    words = [recipe, f"--output_dir={folder}/run", "--report_to=none", *options]
    _, model, masking, arguments = parse(words)
    return build_trainer(splits, model, masking, arguments)


def launched(sizes: Sizes, name: str, *, kind: str) -> dict[str, Any]:
    """The trainer under `accelerate launch` with one process: some steps and an evaluation."""
    file, distributed_type = CONFIGS[kind]
    config = ROOT / "training" / "accelerate" / file
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config), "--num_processes", "1"]
    command += ["--main_process_port", "0", "-m", "benchmarks.gpu.runs", "tiny" if sizes == TINY else "full"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **LOOPBACK},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    limit = LAUNCH_SECONDS * sizes.patience
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        raise RuntimeError(f"stopped after {limit} s\n{output[-3000:]}") from None
    lines = output.strip().splitlines()
    if process.returncode:
        errors = [line for line in lines if "Error" in line]
        raise RuntimeError((errors or lines or ["no output"])[-1] + f"\n{output[-3000:]}")
    result = json.loads(next(line for line in reversed(lines) if line.startswith("{")))
    if torch.cuda.is_available() and not result["distributed_type"].endswith(distributed_type):
        raise RuntimeError(f"the launcher chose {result['distributed_type']}, not {distributed_type}")
    return {"rows": [row(f"{name}, throughput", "tokens/s", [result.pop("tokens_per_second")])], **result}


def main() -> None:
    """Train some steps with random histories, evaluate, and print what ran as JSON."""
    sizes = {"tiny": TINY, "full": FULL}[sys.argv[1]]
    width, batch = sizes.examined[0]
    with tempfile.TemporaryDirectory() as folder:
        trainer = step_trainer(sizes, folder, step_options(sizes, width, batch, causal=False))
        clock = _Clock(trainer)
        trainer.train()
        metrics = trainer.evaluate()
        wrappers = {type(module).__name__ for module in (trainer.model_wrapped, trainer.model)}
        state = trainer.accelerator.state
        result: dict[str, Any] = {name: str(getattr(state, name)) for name in ATTRIBUTES}
        result |= {"wrappers": sorted(wrappers), "ndcg@10": metrics[NDCG]}
        print(json.dumps({**result, "tokens_per_second": clock.tokens_per_second()}), flush=True)
        trainer.leave_process_group()


class _Clock(TrainerCallback):
    """Tokens per second of a trainer after `WARM_UP` steps; tokens are counted without waiting for the device."""

    def __init__(self, trainer: Bert4RecTrainer) -> None:
        self.tokens: list[torch.Tensor] = []
        self.start = self.stop = 0.0
        training_step = trainer.training_step

        def counting_step(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            self.tokens.append(count_tokens(inputs))
            return training_step(model, inputs, *args, **kwargs)

        trainer.training_step = counting_step
        trainer.add_callback(self)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == WARM_UP:
            synchronize()
            self.start = time.perf_counter()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        synchronize()
        self.stop = time.perf_counter()

    def tokens_per_second(self) -> float:
        """Of the steps after the warm-up."""
        return sum(int(tokens) for tokens in self.tokens[WARM_UP:]) / (self.stop - self.start)


if __name__ == "__main__":
    main()
