"""Recommend to every user of a table, and write one Parquet table.

    hf-bert4rec recommend-all outputs/ml-1m --ratings visitors.csv --output recommendations.parquet --top_k 100
    accelerate launch -m hf_bert4rec recommend-all someone/bert4rec-ml-1m --dataset ml-1m

A row is `user_id`, `movie_id`, `rank` (from 1), `score` and `source` ("model", or "popularity" for a user without a
movie that the model knows). Scores are the pipeline's with goal="next" and the times of the history. Seen movies are
left out, unless the model recommends items again (--repeats all); a user who has seen every movie has no row. The
k-core and the split of the training do not apply: every user gets movies, and those rated below --min_rating count as
seen but are not read by the model. Data options default to the training's. An interrupted run can be continued.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..batch.recommend_all import BatchRecommendConfig, recommend_all
from ..data.arguments import InteractionArguments
from .model_options import parse_model_options

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecommendArguments(BatchRecommendConfig):
    output: str = field(default="recommendations.parquet", metadata={"help": "the table to write"})


def main(argv: Sequence[str]) -> None:
    _, (folder,), data, arguments = parse_model_options(
        argv, RecommendArguments, "hf-bert4rec recommend-all", __doc__, InteractionArguments, nargs=1
    )
    users = recommend_all(folder, data, arguments.output, arguments)
    logger.info("recommendations for %d users are in %s", users, arguments.output)
