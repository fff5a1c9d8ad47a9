"""Recommend to every user of a Spark table with an exported model.

    spark-submit training/spark/recommend.py /Volumes/shop/model s3://shop/orders s3://shop/recommended --top_k 20

The result has one row for each recommendation: user_id, item_id, rank (from 1) and score, those of the pipeline for the
user's complete history without times and event types. The executors need this package and the model's folder at
the same path.
"""

import argparse
from collections.abc import Iterator

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from hf_bert4rec.hub.folder import load_pipeline

BATCH = 256  # users scored at once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="an exported model")
    parser.add_argument("interactions", help="Parquet, which Spark can read")
    parser.add_argument("output", help="the Parquet folder to write")
    parser.add_argument("--user_column", default="user_id")
    parser.add_argument("--item_column", default="movie_id")
    parser.add_argument("--time_column", default="timestamp")
    parser.add_argument("--top_k", type=int, default=100)
    options = parser.parse_args()
    spark = SparkSession.builder.appName("hf-bert4rec recommend").getOrCreate()
    table = spark.read.parquet(options.interactions)
    histories = collect_histories(table, options.user_column, options.item_column, options.time_column)
    recommend_with_spark(histories, options.model, options.top_k).write.parquet(options.output)


def collect_histories(table: DataFrame, user: str, item: str, time: str) -> DataFrame:
    """One row per user: user_id and `history`, the items in the order of time, then of files and rows.

    ValueError for times of text, whose order is another, and missing values.
    """
    if isinstance(table.schema[time].dataType, T.StringType):
        raise ValueError(f"column {time!r} is of type string; times are numbers or timestamps: cast it")
    missing = table.select([F.count_if(F.col(name).isNull()).alias(name) for name in (user, item, time)]).first()
    for name, count in missing.asDict().items() if missing else ():
        if count:
            raise ValueError(f"column {name!r} has {count:,} missing values; every row needs one")
    row = F.struct(F.col(time), "_metadata.file_path", "_metadata.row_index", F.col(item).alias("item"))
    rows = table.groupBy(F.col(user).alias("user_id")).agg(F.array_sort(F.collect_list(row)).alias("rows"))
    return rows.select("user_id", F.col("rows.item").alias("history"))


def recommend_with_spark(histories: DataFrame, model: str, top_k: int = 100) -> DataFrame:
    """The pipeline's answers to `history`, an array of item ids, for every user_id."""
    items = histories.schema["history"].dataType
    assert isinstance(items, T.ArrayType)
    convert = str if isinstance(items.elementType, T.StringType) else int  # the model's ids may be of the other type
    schema = T.StructType(
        [
            histories.schema["user_id"],
            T.StructField("item_id", items.elementType),
            T.StructField("rank", T.IntegerType()),
            T.StructField("score", T.FloatType()),
        ]
    )

    def recommend(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        pipe = load_pipeline(model, device="cpu")  # once for each partition
        item_id = pipe.tokenizer.item_id_name
        for batch in batches:
            for start in range(0, len(batch), BATCH):
                part = batch.iloc[start : start + BATCH]
                answers = pipe([list(history) for history in part["history"]], top_k=top_k, batch_size=len(part))
                yield pd.DataFrame(
                    [
                        (user, convert(movie[item_id]), rank, movie["score"])
                        for user, answer in zip(part["user_id"], answers, strict=True)
                        for rank, movie in enumerate(answer, 1)
                    ],
                    columns=schema.names,
                )

    return histories.mapInPandas(recommend, schema)


if __name__ == "__main__":
    main()
