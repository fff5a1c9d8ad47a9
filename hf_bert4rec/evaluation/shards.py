"""A large Parquet table written in parts, so that an interrupted run continues where it stopped."""

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..files import atomic_write


@dataclass(frozen=True)
class Shards:
    """The parts of a table on disk, in a folder next to `output`, one for every `users_per_shard` users.

    Names of parts have the `fingerprint`, a hash of all their inputs, so that those of other inputs are not used.
    """

    output: Path
    fingerprint: str
    users: int
    users_per_shard: int

    @cached_property
    def bounds(self) -> list[tuple[int, int]]:
        """First user (inclusive) and last user (exclusive) of every shard."""
        starts = range(0, self.users, self.users_per_shard)
        return [(start, min(start + self.users_per_shard, self.users)) for start in starts]

    def path(self, number: int) -> Path:
        return self.output.with_name(f"{self.output.name}.parts") / f"{number:06}-{self.fingerprint[:16]}.parquet"

    def missing(self) -> list[int]:
        """Numbers of the shards still to write."""
        return [number for number in range(len(self.bounds)) if not self.path(number).exists()]

    def write(self, number: int, table: pa.Table) -> None:
        with atomic_write(self.path(number)) as temporary:
            pq.write_table(table, temporary)

    def merge(self) -> None:
        """Concatenate all shards into the output and remove them."""
        schema = pq.read_schema(self.path(0))
        with atomic_write(self.output) as temporary, pq.ParquetWriter(temporary, schema) as writer:
            for number in range(len(self.bounds)):
                writer.write_table(pq.read_table(self.path(number)))
        shutil.rmtree(self.path(0).parent)
