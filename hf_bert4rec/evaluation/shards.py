"""A large Parquet table written in parts, so that an interrupted run continues where it stopped."""

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..files import atomic_write

FINGERPRINT_KEY = b"fingerprint"


@dataclass(frozen=True)
class Shards:
    """The parts of a table on disk, one for every `users_per_shard` users.

    Every part stores `fingerprint`, a hash of all its inputs; a part with another fingerprint counts as missing.
    """

    output: Path
    fingerprint: str
    users: int
    users_per_shard: int

    @property
    def folder(self) -> Path:
        """Folder of the parts, next to the output."""
        return self.output.with_name(f"{self.output.name}.parts")

    @cached_property
    def bounds(self) -> list[tuple[int, int]]:
        """First user (inclusive) and last user (exclusive) of every shard."""
        starts = range(0, self.users, self.users_per_shard)
        return [(start, min(start + self.users_per_shard, self.users)) for start in starts]

    def path(self, number: int) -> Path:
        """File of shard `number`."""
        return self.folder / f"{number:06}.parquet"

    def missing(self) -> list[int]:
        """Numbers of the shards still to write."""
        return [number for number in range(len(self.bounds)) if not self._is_complete(self.path(number))]

    def write(self, number: int, table: pa.Table) -> None:
        """Write shard `number` atomically."""
        with atomic_write(self.path(number)) as temporary:
            pq.write_table(table.replace_schema_metadata({FINGERPRINT_KEY: self.fingerprint}), temporary)

    def merge(self) -> None:
        """Concatenate all shards into the output and remove them."""
        with atomic_write(self.output) as temporary:
            schema = pq.read_schema(self.path(0)).remove_metadata()
            with pq.ParquetWriter(temporary, schema) as writer:
                for number in range(len(self.bounds)):
                    writer.write_table(pq.read_table(self.path(number)).replace_schema_metadata(None))
        shutil.rmtree(self.folder)

    def _is_complete(self, path: Path) -> bool:
        try:
            return (pq.read_schema(path).metadata or {}).get(FINGERPRINT_KEY) == self.fingerprint.encode()
        except (OSError, pa.ArrowInvalid):
            return False
