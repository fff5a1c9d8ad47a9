"""Which interactions of histories are likes, by their ratings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from datasets import Dataset

from .tables import to_frame


def liked_mask(histories: Dataset, ratings: Dataset, liked_rating: float) -> npt.NDArray[np.bool_]:
    """Whether each interaction of the histories, (total,), is rated `liked_rating` or more.

    All are where the ratings table has no ratings. Of repeated ratings of an item the first counts.
    """
    pairs = to_frame(histories, ["user_id", "item_ids"]).explode("item_ids").rename({"item_ids": "movie_id"})
    if "rating" not in ratings.column_names:
        return np.ones(pairs.height, dtype=bool)
    rated = to_frame(ratings, ["user_id", "movie_id", "rating"]).cast(dict(pairs.schema))  # type: ignore[arg-type]
    rated = rated.unique(["user_id", "movie_id"], keep="first", maintain_order=True)
    joined = pairs.join(rated, on=["user_id", "movie_id"], how="left", maintain_order="left")
    return (joined["rating"] >= liked_rating).fill_null(False).to_numpy()
