"""Recommend to every user of a data set, and write one table.

    python training/recommend.py outputs/ml-1m --output recommendations.parquet --top_k 100
    accelerate launch training/recommend.py someone/bert4rec-ml-1m --dataset ml-1m

A row is `user_id`, `movie_id`, `rank` (from 1) and `score` (the pipeline's); what a user has interacted with is left
out. Data options default to what the model was trained with. Users are scored in shards, which every process takes its
share of, and each is written as it is done: a run that was broken off goes on when it is started again.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from accelerate import PartialState
from tqdm import tqdm

from .. import Bert4RecForMaskedLM, Bert4RecTokenizer
from ..data.collators import IGNORED
from ..data.encoding import encode_histories
from ..data.histories import build_histories
from ..data.prepare import DataArguments, load
from ..data.ragged import Ragged, TimedHistories
from ..evaluation.assessment import ModelScorer
from ..evaluation.ranking import candidate_scores, to_padded, top_items
from ..evaluation.report import weights_sha256
from ..files import atomic_write
from ..model.tokenization_bert4rec import ITEMS_FILE
from .console import set_up_console
from .model_options import parse_beside_models

logger = logging.getLogger(__name__)

FINGERPRINT = b"fingerprint"


@dataclass
class RecommendArguments:
    """What is written, and in what portions."""

    output: str = field(default="recommendations.parquet", metadata={"help": "the table to write"})
    top_k: int = field(default=100, metadata={"help": "movies a user"})
    batch_size: int = field(default=256, metadata={"help": "users scored at once"})
    users_per_shard: int = field(default=8192, metadata={"help": "users between two writes"})


@dataclass(frozen=True)
class Audience:
    """The users to recommend to: their ids, and their histories as input ids."""

    user_ids: pa.Array
    histories: Ragged


@dataclass(frozen=True)
class Shards:
    """The parts of a table on disk, and what they are parts of.

    `fingerprint` stands in every part: a part of other weights, histories or options is written again.
    """

    output: Path
    fingerprint: str
    users: int
    users_per_shard: int

    @property
    def folder(self) -> Path:
        return self.output.with_name(f"{self.output.name}.parts")

    @cached_property
    def bounds(self) -> list[tuple[int, int]]:
        """First and one-past-last user of every shard."""
        starts = range(0, self.users, self.users_per_shard)
        return [(start, min(start + self.users_per_shard, self.users)) for start in starts]

    def path(self, number: int) -> Path:
        """Where shard `number` lies."""
        return self.folder / f"{number:06}.parquet"

    def missing(self) -> list[int]:
        """Numbers of the shards that are still to be written."""
        return [number for number in range(len(self.bounds)) if not self._is_there(self.path(number))]

    def _is_there(self, path: Path) -> bool:
        try:
            return (pq.read_schema(path).metadata or {}).get(FINGERPRINT) == self.fingerprint.encode()
        except (OSError, pa.ArrowInvalid):
            return False

    def write(self, number: int, table: pa.Table) -> None:
        """Write shard `number`, whole or not at all."""
        with atomic_write(self.path(number)) as temporary:
            pq.write_table(table.replace_schema_metadata({FINGERPRINT: self.fingerprint}), temporary)

    def merge(self) -> None:
        """One table of all shards, which are then removed."""
        with atomic_write(self.output) as temporary:
            schema = pq.read_schema(self.path(0)).remove_metadata()
            with pq.ParquetWriter(temporary, schema) as writer:
                for number in range(len(self.bounds)):
                    writer.write_table(pq.read_table(self.path(number)).replace_schema_metadata(None))
        shutil.rmtree(self.folder)


def main(argv: Sequence[str] | None = None) -> None:
    set_up_console()
    _, (folder,), options, arguments = parse_beside_models(
        list(sys.argv[1:] if argv is None else argv), RecommendArguments, __doc__, nargs=1
    )
    check_numbers(arguments)
    state = PartialState(cpu=not torch.cuda.is_available())
    model = Bert4RecForMaskedLM.from_pretrained(folder, dtype=torch.float32).to(state.device)
    tokenizer = Bert4RecTokenizer.from_pretrained(folder)
    if arguments.top_k > len(tokenizer.item_ids):
        raise ValueError(f"--top_k {arguments.top_k} is more than the model's {len(tokenizer.item_ids)} items")
    with state.main_process_first():  # the others find what it has downloaded
        audience = find_audience(options, tokenizer, model.config.time_aware)
    fingerprint = fingerprint_of(folder, audience, arguments)
    shards = Shards(Path(arguments.output), fingerprint, len(audience.user_ids), arguments.users_per_shard)
    missing = shards.missing()
    state.wait_for_everyone()  # all have counted the same before anyone adds to them
    if state.is_main_process and len(missing) < len(shards.bounds):
        logger.info("goes on: %d of %d parts are there", len(shards.bounds) - len(missing), len(shards.bounds))
    answer = partial(recommend, ModelScorer(model, tokenizer), tokenizer, arguments)
    mine = missing[state.process_index :: state.num_processes]
    write_shards(shards, mine, audience, answer, disable=None if state.is_local_main_process else True)
    state.wait_for_everyone()
    if state.is_main_process:
        shards.merge()
        logger.info("%d users' recommendations are in %s", len(audience.user_ids), shards.output)
    state.wait_for_everyone()
    state.destroy_process_group()


def write_shards(
    shards: Shards,
    numbers: Sequence[int],
    audience: Audience,
    answer: Callable[[Ragged, tqdm], Iterator[pa.Table]],
    disable: bool | None,
) -> None:
    """Write the shards of these numbers, a progress bar ahead of them unless `disable` (None: on terminals alone)."""
    bounds = [shards.bounds[number] for number in numbers]
    users = sum(stop - start for start, stop in bounds)
    with tqdm(total=users, desc="recommending", unit="user", disable=disable) as bar:
        for number, (start, stop) in zip(numbers, bounds, strict=True):
            table = pa.concat_tables(answer(audience.histories.rows(start, stop), bar))
            shards.write(number, with_users(table, audience.user_ids, start))


def check_numbers(arguments: RecommendArguments) -> None:
    """Raise ValueError for a number below one."""
    for name in ("top_k", "batch_size", "users_per_shard"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name} {getattr(arguments, name)} counts from 1")


def find_audience(options: DataArguments, tokenizer: Bert4RecTokenizer, timed: bool = False) -> Audience:
    """The users of a data set and what they have interacted with, as far as the model knows it, `timed` with times.

    Raises:
        ValueError: the model knows no item of the data set.
    """
    rows = build_histories(
        load(options)["ratings"], min_interactions=options.min_interactions, min_rating=options.min_rating
    )
    histories = encode_histories(rows, tokenizer, timed)
    known = histories.values != tokenizer.unk_token_id
    lengths = np.bincount(histories.row_ids[known], minlength=len(histories))
    if not known.any():
        raise ValueError("the model knows none of the data set's items: was it trained on another data set?")
    if not known.all():
        logger.warning(
            "%d of %d interactions are with items that the model does not know; %d users with no other are left out",
            (~known).sum(),
            len(known),
            (lengths == 0).sum(),
        )
    user_ids = rows.with_format("arrow")[:]["user_id"].combine_chunks().filter(pa.array(lengths > 0))
    return Audience(user_ids, histories.where(known).take(np.flatnonzero(lengths)))


def fingerprint_of(folder: Path, audience: Audience, arguments: RecommendArguments) -> str:
    """A hash of all that decides the shards."""
    parts = [weights_sha256(folder), arguments.top_k, arguments.batch_size, arguments.users_per_shard]
    told = hashlib.sha256(repr([*parts, audience.user_ids.to_pylist()]).encode())
    told.update((folder / ITEMS_FILE).read_bytes())
    told.update(audience.histories.values.tobytes() + audience.histories.offsets.tobytes())
    if isinstance(audience.histories, TimedHistories):
        told.update(audience.histories.times.tobytes())
    return told.hexdigest()


def recommend(
    scorer: ModelScorer, tokenizer: Bert4RecTokenizer, arguments: RecommendArguments, histories: Ragged, bar: tqdm
) -> Iterator[pa.Table]:
    """The best unseen items of every history, a table a batch: `row` counts from 0, best first within one."""
    item_ids, first = pa.array(tokenizer.item_ids), tokenizer.first_item_id
    for start in range(0, len(histories), arguments.batch_size):
        batch = histories.rows(start, min(start + arguments.batch_size, len(histories)))
        logits = scorer(batch)  # (batch, vocab_size)
        candidates = candidate_scores(logits, to_padded(batch).to(logits.device), tokenizer.all_special_ids, start)
        best = top_items(candidates, arguments.top_k)  # (batch, top_k)
        there = best != IGNORED
        row, place = there.nonzero(as_tuple=True)
        scores = logits[:, first:].softmax(dim=1)[row, best[there] - first]
        yield pa.table(
            {
                "row": (row + start).cpu().numpy(),
                "movie_id": item_ids.take(pa.array((best[there] - first).cpu().numpy())),
                "rank": (place + 1).to(torch.int32).cpu().numpy(),
                "score": scores.cpu().numpy(),
            }
        )
        bar.update(len(batch))


def with_users(table: pa.Table, user_ids: pa.Array, first: int) -> pa.Table:
    """The table with `user_id` in place of the row, counted from user `first`."""
    users = user_ids.take(pa.compute.add(table["row"], first).combine_chunks())
    return table.drop_columns("row").add_column(0, "user_id", users)
