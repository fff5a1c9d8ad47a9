"""The pipeline's answers with goal="next" for every user of a table of interactions, as one Parquet table."""

import hashlib
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from accelerate import PartialState
from tqdm import tqdm

from ..data.arguments import DataArguments, option
from ..data.collators import IGNORED
from ..data.ragged import IntArray
from ..evaluation.ranking import candidate_scores, to_padded, top_items
from ..evaluation.scoring import ModelScorer
from ..evaluation.trained_model import load_network, weights_sha256
from ..files import atomic_write
from ..model.modeling_bert4rec import Bert4RecForMaskedLM
from ..model.ranking_bert4rec import Catalogue, select_movies
from ..model.requests_bert4rec import Request
from ..model.tokenization_bert4rec import ITEMS_FILE, Bert4RecTokenizer
from .users import Users, read_users

logger = logging.getLogger(__name__)

COLUMNS = ("user_id", "movie_id", "rank", "score", "source")
SOURCES = pa.array(["model", "popularity"])


@dataclass(frozen=True)
class BatchRecommendConfig:
    """How many movies to recommend, and how many users at a time."""

    top_k: int = option("movies per user", 100)
    batch_size: int = option("users scored at once", 256)
    users_per_shard: int = option("users between two writes", 8192)

    def __post_init__(self) -> None:
        for name in ("top_k", "batch_size", "users_per_shard"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")


def recommend_all(folder: str | Path, data: DataArguments, output: str | Path, config: BatchRecommendConfig) -> int:
    """Write the best unseen movies of every user of a data set to the Parquet file `output`.

    The columns are `user_id`, `movie_id`, `rank` (from 1), `score` and `source`: "model", or "popularity" for a user
    with no movie in the model's catalogue. The processes of an `accelerate launch` share the users. Parts are stored
    next to `output` until all are written, so that an interrupted run continues.

    Args:
        folder: an exported model.
        data: the table; of its filters only `min_rating` is used, see `read_users`.

    Returns:
        The number of users.

    Raises:
        ValueError: `top_k` exceeds the catalogue, the model is damaged, the table is malformed, or popularity is needed
            and the model has no interaction counts.
    """
    folder, state = Path(folder), PartialState(cpu=not torch.cuda.is_available())
    model, tokenizer = load_network(folder)
    recommender = BatchRecommender(model.to(state.device), tokenizer, config)
    with state.main_process_first():  # the main process downloads the data, the others read the copy
        users = read_users(data, recommender.tokenizer, model.config.time_aware, model.config.exclude_seen)
    recommender.check(users)
    shards = Shards(Path(output), _fingerprint(folder, users, config), -(-len(users) // config.users_per_shard))
    missing = shards.missing()
    state.wait_for_everyone()  # every process has listed the shards before any process adds one
    if state.is_main_process and (written := shards.number - len(missing)):
        logger.info("continuing: %d of %d parts are already written", written, shards.number)
    own_shards = missing[state.process_index :: state.num_processes]
    _write_shards(shards, own_shards, users, recommender, show_progress=state.is_local_main_process)
    state.wait_for_everyone()
    if state.is_main_process:
        shards.merge()
    state.wait_for_everyone()
    state.destroy_process_group()
    return len(users)


class BatchRecommender:
    """Lists of unseen movies for batches of users: by the model, or by popularity for empty histories.

    ValueError if `top_k` exceeds the catalogue.
    """

    def __init__(self, model: Bert4RecForMaskedLM, tokenizer: Bert4RecTokenizer, config: BatchRecommendConfig) -> None:
        if config.top_k > tokenizer.num_items:
            raise ValueError(f"top_k {config.top_k} is more than the model's {tokenizer.num_items} items")
        self.scorer, self.tokenizer, self.config = ModelScorer(model, tokenizer), tokenizer, config
        self.catalogue, self.item_ids = Catalogue(tokenizer), pa.array(tokenizer.item_ids)

    def check(self, users: Users) -> None:
        """Raise ValueError if popularity is needed and unknown; warn about users who have seen almost everything."""
        if (users.liked.lengths == 0).any():
            _ = self.catalogue.shares
        short = 0
        for seen in users.seen.blocks():
            pairs = np.unique(seen.row_ids * len(self.tokenizer) + seen.values)
            unseen = self.tokenizer.num_items - np.bincount(pairs // len(self.tokenizer))
            short += int((unseen < self.config.top_k).sum())
        if short:
            logger.warning("%d users have fewer than %d unseen movies and get those", short, self.config.top_k)

    def recommend(self, users: Users, first_row: int = 0) -> pa.Table:
        """The table's rows for a batch of users, in their order, best first; `first_row` numbers them in errors."""
        known = users.liked.lengths > 0
        best = np.full((len(users), self.config.top_k), IGNORED)  # positions in the catalogue
        scores = np.zeros(best.shape, dtype=np.float32)
        if known.any():
            best[known], scores[known] = self._by_model(users, np.flatnonzero(known), first_row)
        for row in np.flatnonzero(~known).tolist():
            movies, shares = self._by_popularity(users.seen[row].tolist())
            best[row, : len(movies)], scores[row, : len(movies)] = movies, shares
        rows, ranks = (best != IGNORED).nonzero()
        columns = [
            users.user_ids.take(pa.array(rows)),
            self.item_ids.take(pa.array(best[rows, ranks])),
            pa.array((ranks + 1).astype(np.int32)),
            pa.array(scores[rows, ranks]),
            SOURCES.take(pa.array(np.where(known[rows], 0, 1))),
        ]
        return pa.table(columns, names=list(COLUMNS))

    def _by_model(self, users: Users, rows: IntArray, first_row: int) -> tuple[np.ndarray, np.ndarray]:
        """Movies and scores, (rows, top_k), of users with a history; `IGNORED` where none is left."""
        first = self.tokenizer.first_item_id
        logits = self.scorer(users.liked.take(rows))  # (rows, vocab_size)
        seen = to_padded(users.seen.take(rows)).to(logits.device)
        candidates = candidate_scores(logits, seen, self.tokenizer.all_special_ids, first_row)
        best = top_items(candidates, self.config.top_k)
        movies = (best - first).masked_fill(best == IGNORED, IGNORED)
        scores = logits[:, first:].softmax(dim=1).gather(1, movies.clamp(min=0))
        return movies.cpu().numpy(), scores.cpu().numpy()

    def _by_popularity(self, seen: list[int]) -> tuple[list[int], np.ndarray]:
        """Movies and scores, up to `top_k`, of a user without a history, as the pipeline answers."""
        request = Request(liked=[], seen=seen, top_k=self.config.top_k)
        log_shares = self.catalogue.shares.log()
        movies = select_movies(request, log_shares, self.catalogue, torch.zeros_like)  # embeddings are not used
        return movies, log_shares[movies].exp().numpy()


@dataclass(frozen=True)
class Shards:
    """The `number` parts of a table on disk, in a folder next to `output`.

    File names contain the `fingerprint`, a hash of all inputs, so that parts of other inputs are not used.
    """

    output: Path
    fingerprint: str
    number: int

    def path(self, number: int) -> Path:
        return self.output.with_name(f"{self.output.name}.parts") / f"{number:06}-{self.fingerprint[:16]}.parquet"

    def missing(self) -> list[int]:
        """Numbers of the shards still to write."""
        return [number for number in range(self.number) if not self.path(number).exists()]

    def write(self, number: int, table: pa.Table) -> None:
        with atomic_write(self.path(number)) as temporary:
            pq.write_table(table, temporary)

    def merge(self) -> None:
        """Concatenate all shards into the output and remove them."""
        schema = pq.read_schema(self.path(0))
        with atomic_write(self.output) as temporary, pq.ParquetWriter(temporary, schema) as writer:
            for number in range(self.number):
                writer.write_table(pq.read_table(self.path(number)))
        shutil.rmtree(self.path(0).parent)


def _write_shards(
    shards: Shards, numbers: Sequence[int], users: Users, recommender: BatchRecommender, show_progress: bool
) -> None:
    size, batch_size = recommender.config.users_per_shard, recommender.config.batch_size
    bounds = {number: (number * size, min((number + 1) * size, len(users))) for number in numbers}
    total = sum(stop - start for start, stop in bounds.values())
    disable = None if show_progress else True  # None: on a terminal only
    with tqdm(total=total, desc="recommending", unit="user", disable=disable) as bar:
        for number, (start, stop) in bounds.items():
            tables = []
            for first in range(start, stop, batch_size):
                batch = users.rows(first, min(first + batch_size, stop))
                tables.append(recommender.recommend(batch, first))
                bar.update(len(batch))
            shards.write(number, pa.concat_tables(tables))


def _fingerprint(folder: Path, users: Users, config: BatchRecommendConfig) -> str:
    """A hash of everything that the table and its parts depend on."""
    parts = [weights_sha256(folder), config, COLUMNS, users.user_ids.to_pylist()]
    digest = hashlib.sha256(repr(parts).encode())
    for name in ("config.json", "tokenizer.json", ITEMS_FILE):
        digest.update((folder / name).read_bytes())
    for rows in (users.liked, users.seen):
        for block in rows.blocks():
            for array in (block.values, block.offsets, *block.columns.values()):
                digest.update(array.tobytes())
    return digest.hexdigest()
