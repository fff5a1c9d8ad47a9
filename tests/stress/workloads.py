"""Workloads that the campaigns interrupt. Each resumes what an earlier call in the same folder left, or starts over.

They run in their own processes (see `sigkill`), so they take paths and write their results to files.
"""

import os
import threading
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tqdm import tqdm

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecTokenizer
from hf_bert4rec.cli import recommend_all as recommend
from hf_bert4rec.data import load_movielens, releases
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.collators import DataCollatorForMaskedItems
from hf_bert4rec.data.download import download_checked
from hf_bert4rec.data.encoding import NextItemDataset
from hf_bert4rec.data.folder.prepare_folder import prepare_folder
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.data.windows import TrainingWindows
from hf_bert4rec.files import atomic_write
from hf_bert4rec.hub.export import export
from hf_bert4rec.training.checkpoints import latest_complete
from hf_bert4rec.training.trainer import Bert4RecTrainer, Bert4RecTrainingArguments
from tests.data.movielens_archives import small_release

tqdm.set_lock(threading.RLock())  # the default is a semaphore, which a killed process would leave locked

ITEMS, USERS = 12, 32
WEIGHTS_FILE = "final.safetensors"
RELEASE = "ml-1m"


def tiny_tokenizer() -> Bert4RecTokenizer:
    """A tokenizer of twelve items with titles and counts."""
    ids = list(range(100, 100 + ITEMS))
    movies = {"movie_id": ids, "title": [f"Movie {item} (1990)" for item in ids], "genres": [["Drama"]] * ITEMS}
    return Bert4RecTokenizer.from_movies(movies, dict.fromkeys(ids, 1))


def tiny_model(tokenizer: Bert4RecTokenizer, seed: int = 0) -> Bert4RecForMaskedLM:
    """A model of a few thousand parameters with seeded weights."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "max_position_embeddings": 8}
    return Bert4RecForMaskedLM(Bert4RecConfig(vocab_size=len(tokenizer), **sizes))


def tiny_trainer(folder: str | Path, epochs: float = 3, users: int = USERS, **options: object) -> Bert4RecTrainer:
    """A trainer with dropout, evaluation, and a checkpoint every two steps: all the state that a resume restores."""
    torch.set_num_threads(1)
    tokenizer = tiny_tokenizer()
    generator = np.random.default_rng(0)
    first = tokenizer.first_item_id
    walks = [first + (start + np.arange(9)) % ITEMS for start in generator.integers(0, ITEMS, users)]
    arguments: dict[str, object] = {
        "num_train_epochs": epochs,
        "per_device_train_batch_size": 8,
        "eval_strategy": "steps",
        "save_strategy": "steps",
        "eval_steps": 2,
        "save_steps": 2,
        "use_cpu": True,
        "bf16": False,
        "disable_tqdm": True,
        "report_to": "none",
        "logging_steps": 1000,
    }
    return Bert4RecTrainer(
        model=tiny_model(tokenizer),
        args=Bert4RecTrainingArguments(output_dir=str(folder), **(arguments | options)),  # type: ignore[arg-type]
        train_dataset=TrainingWindows(Ragged.from_lists([walk[:-1] for walk in walks]), 8),
        eval_dataset=NextItemDataset(
            Ragged.from_lists([walk[:-1] for walk in walks]), Ragged.from_lists([walk[-1:] for walk in walks])
        ),
        data_collator=DataCollatorForMaskedItems(tokenizer, mlm_probability=0.3),
        processing_class=tokenizer,
    )


def train(folder: str, epochs: float = 3) -> None:
    """Train from the latest complete checkpoint in `folder`, and write the final weights there."""
    trainer = tiny_trainer(Path(folder) / "checkpoints", epochs)
    checkpoint = latest_complete(Path(folder) / "checkpoints")
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    with atomic_write(Path(folder) / WEIGHTS_FILE) as temporary:
        save_file({name: value.contiguous() for name, value in trainer.model.named_parameters()}, temporary)


def download(folder: str, url: str) -> None:
    """Download a file, resuming an earlier partial download."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    download_checked(url, Path(folder) / "file.zip")


def prepare(folder: str, address: str) -> None:
    """Load a small release through the cache in `folder`, from a local server in place of GroupLens'."""
    releases.RELEASES[RELEASE] = small_release(RELEASE)
    os.environ["HF_BERT4REC_GROUPLENS"] = address
    load_movielens(RELEASE, cache_dir=folder)


def prepare_table(folder: str, table: str) -> None:
    """Prepare a table of interactions, replacing an earlier preparation."""
    prepare_folder(DataArguments(ratings=table, min_interactions=1), Path(folder) / "prepared")


def export_model(folder: str, seed: int) -> None:
    """Export a model, replacing an earlier export."""
    tokenizer = tiny_tokenizer()
    export(
        tiny_model(tokenizer, seed).eval(), tokenizer, Path(folder) / "model", f"# Model {seed}\n", {"seed.json": seed}
    )


def score(folder: str, model: str, ratings: str) -> None:
    """Recommend to all users of a table, resuming from the parts in `folder`."""
    torch.set_num_threads(1)
    counts = ["--ratings", ratings, "--top_k", "3", "--users_per_shard", "8"]
    recommend.main([model, *counts, "--output", str(Path(folder) / "recommendations.parquet")])
