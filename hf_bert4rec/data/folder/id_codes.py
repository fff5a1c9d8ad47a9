"""Integer codes of the ids in a table that is read in portions."""

import numpy as np
import polars as pl

from ..columns import as_ids, is_text
from ..ragged import IntArray


class IdCodes:
    """Numbers the ids of a column in the order in which they are read.

    Whether a column of text holds integers depends on all of it, so text is compared as it is until `sorted_ids`.
    """

    def __init__(self, column: str, source: str) -> None:
        self.column, self.source = column, source
        self._known: pl.DataFrame | None = None  # id, code

    def codes(self, values: pl.Series, source: str) -> IntArray:
        """The codes of a portion, (rows,); errors are those of `as_ids`."""
        unread = is_text(values.dtype) and not values.has_nulls()
        ids = values.cast(pl.String) if unread else as_ids(values, source)
        encoded = ids.to_arrow().dictionary_encode()
        distinct = pl.Series("id", encoded.dictionary)
        return self._codes_of(distinct)[encoded.indices.to_numpy()]

    def _codes_of(self, distinct: pl.Series) -> IntArray:
        if self._known is None:
            self._known = pl.DataFrame({"id": distinct, "code": np.arange(len(distinct))})
            return np.arange(len(distinct))
        codes = distinct.to_frame().join(self._known, on="id", how="left", maintain_order="left")["code"]
        if codes.has_nulls():
            new = distinct.filter(codes.is_null())
            first = self._known.height
            self._known = self._known.vstack(pl.DataFrame({"id": new, "code": np.arange(first, first + len(new))}))
            if self._known.n_chunks() > 8:
                self._known = self._known.rechunk()
            return self._codes_of(distinct)
        return codes.to_numpy()

    @property
    def ids(self) -> list[str]:
        """The ids as they were read, in the order of their codes."""
        assert self._known is not None
        return self._known["id"].to_list()

    def sorted_ids(self) -> tuple[pl.Series, IntArray]:
        """All ids, sorted and of one type, and the position of every code in them, (codes,); errors: `as_ids`."""
        assert self._known is not None
        ids = as_ids(self._known["id"].alias(self.column), f"{self.source}, among its distinct ids")
        distinct = ids.unique().sort()
        positions = pl.DataFrame({"id": distinct, "position": np.arange(len(distinct))})
        joined = ids.rename("id").to_frame().join(positions, on="id", how="left", maintain_order="left")
        return distinct, joined["position"].to_numpy()
