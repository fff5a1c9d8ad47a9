"""Integer codes of the ids in a table that is read in chunks."""

import numpy as np
import polars as pl

from ..columns import as_ids, is_text
from ..ragged import Array, IntArray


class IdCodes:
    """Numbers the ids of a column in the order in which they are read.

    Whether a text column holds integers is known only after the last chunk, so `sorted_ids` converts them.
    """

    def __init__(self, column: str, source: str) -> None:
        self.column, self.source = column, source
        self._known = pl.Series("id")  # the ids in the order of their codes

    def codes(self, values: pl.Series, source: str) -> Array:
        """The codes of a chunk, (rows,); errors are those of `as_ids`."""
        unread = is_text(values.dtype) and not values.has_nulls()
        ids = values.cast(pl.String) if unread else as_ids(values, source)
        encoded = ids.to_arrow().dictionary_encode()
        distinct = pl.Series("id", encoded.dictionary)
        known = distinct if self._known.is_empty() else pl.concat([self._known, distinct])
        self._known = known.unique(maintain_order=True)
        rows = self._known.to_frame().with_row_index("row")
        codes = distinct.to_frame().join(rows, on="id", how="left", maintain_order="left")["row"]
        return codes.to_numpy()[encoded.indices.to_numpy()]

    @property
    def ids(self) -> list[str]:
        """The ids as they were read, in the order of their codes."""
        return self._known.to_list()

    def sorted_ids(self) -> tuple[pl.Series, IntArray]:
        """All ids, sorted and of one type, and the position of every code in them, (codes,); errors: `as_ids`."""
        ids = as_ids(self._known.alias(self.column), f"{self.source}, among its distinct ids")
        return ids.unique().sort(), ids.rank("dense").to_numpy().astype(np.int64) - 1
