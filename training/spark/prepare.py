"""Prepare a table on a Spark cluster: the folder that `hf-bert4rec prepare` writes, for `train --ratings FOLDER`.

    spark-submit training/spark/prepare.py s3://shop/orders --output_dir /Volumes/shop/data/prepared

The table is Parquet. Of interactions at the same time, the one in the earlier file by name (part-10 before part-2) and
row comes first. The driver and the executors need this package and the output folder at the same path, such as a
mounted volume. The driver keeps one row for every item in memory, and at the end reads the folder once and writes its
manifest.
"""

import argparse
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from py4j.protocol import Py4JJavaError
from pyspark import TaskContext
from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from hf_bert4rec.data.arguments import DataArguments, TableOptions
from hf_bert4rec.data.columns import INTEGER, MISSING_WORDS, ROUNDED, WHITESPACE
from hf_bert4rec.data.folder.prepare_folder import find_table_columns
from hf_bert4rec.data.folder.prepared_folder import check_folders, finish_folder, new_folder
from hf_bert4rec.data.histories import check_filters, no_user_message, order_events
from hf_bert4rec.data.interactions import read_item_table
from hf_bert4rec.data.items import join_items
from hf_bert4rec.data.ragged import offsets_of, run_lengths
from hf_bert4rec.data.stored_histories import SHARD, event_indices, write_shard
from hf_bert4rec.data.times import ANY_UNIT, check_unit, compact_dates
from hf_bert4rec.model.values_bert4rec import UNKNOWN_TIME

INTERACTIONS_PER_FILE = 1 << 23
COMPACT_FORMS = {8: "yyyyMMdd", 12: "yyyyMMddHHmm", 14: "yyyyMMddHHmmss"}  # by the digits of a date
WRITTEN = T.StructType([T.StructField("file", T.StringType())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("interactions", help="a Parquet file, or a folder of them, which Spark can read")
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--items", help="a table of the items, which the driver can read")
    for name in ("user_column", "item_column", "time_column"):
        parser.add_argument(f"--{name}", default="auto")
    for name in ("event_column", "weight_column"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--target_events", nargs="+", help="the event types to predict")
    parser.add_argument("--min_interactions", type=int, default=5)
    parser.add_argument("--min_rating", type=float)
    parser.add_argument("--repeats", default="first")
    parser.add_argument("--split", default="leave-one-out")
    options = vars(parser.parse_args())
    output_dir, interactions = options.pop("output_dir"), options.pop("interactions")
    spark = SparkSession.builder.appName("hf-bert4rec prepare").getOrCreate()
    manifest = prepare_with_spark(spark, DataArguments(ratings=interactions, **options), output_dir)
    print(f"{manifest['interactions']:,} interactions of {manifest['users']:,} users are in {output_dir}")


def prepare_with_spark(spark: SparkSession, arguments: DataArguments, output_dir: str | Path) -> dict[str, Any]:
    """`prepare_folder` on a cluster; returns the manifest.

    Raises:
        FileExistsError: `output_dir` holds something other than a preparation.
        ValueError: a column that is missing or of a type that is not read, a missing value, or no user left.
    """
    check_filters(arguments.min_interactions, arguments.repeats)
    check_folders(arguments.ratings, output_dir)
    assert arguments.ratings is not None
    spark.conf.set("spark.sql.session.timeZone", "UTC")  # of dates, and of times without a zone
    table = _open(spark, arguments.ratings)
    columns = find_table_columns(arguments, table.columns, arguments.ratings, "Parquet")
    rows = _read(table, columns, arguments.ratings).persist()
    event_names = order_events(_event_types(rows), arguments) if "event" in columns else []
    histories = _core(_distinct(rows, arguments), arguments.min_interactions)
    if histories.isEmpty():
        counts = rows.agg(F.count("*"), F.countDistinct("user_id"), F.countDistinct("movie_id")).first() or (0, 0, 0)
        raise ValueError(
            no_user_message(counts[0], counts[1], counts[2], arguments.min_interactions, arguments.min_rating)
        )
    catalogue = _catalogue(rows, histories, arguments, columns["movie_id"])
    with new_folder(output_dir) as (new, _):
        _write_shards(spark, histories, catalogue["movie_id"], event_names, new)
        manifest = finish_folder(new, arguments, columns["movie_id"], catalogue, event_names)
    rows.unpersist()
    return manifest


def _open(spark: SparkSession, path: str) -> DataFrame:
    try:
        return spark.read.parquet(path)
    except (AnalysisException, Py4JJavaError) as error:  # a path that does not exist, or files of another form
        raise ValueError(f"{path} is not a Parquet file, or a folder of them, that Spark can read") from error


def _read(table: DataFrame, columns: Mapping[str, str], source: str) -> DataFrame:
    """The columns as `read_interactions` reads them, by our names, and `row`, the position in the table."""
    position = F.struct("_metadata.file_path", "_metadata.row_index").alias("row")
    rows = table.select(*(F.col(theirs).alias(ours) for ours, theirs in columns.items()), position)
    for name in ("user_id", "movie_id"):
        rows = rows.withColumn(name, _ids(rows, name, f"{source}: column {columns[name]!r}"))
    if "timestamp" in columns:
        rows = rows.withColumn("timestamp", _seconds(rows, columns["timestamp"], source))
    for name in ("rating", "weight"):
        if name in columns:
            rows = rows.withColumn(name, _float32(rows, name, f"{source}: column {columns[name]!r}"))
    if "event" in columns:
        rows = rows.withColumn("event", F.btrim(F.col("event").cast("string"), F.lit(WHITESPACE)))
    missing = rows.select([F.count_if(F.col(name).isNull()).alias(name) for name in columns]).first()
    for name, count in (missing.asDict() if missing else {}).items():
        if count:
            raise ValueError(f"{source}: column {columns[name]!r} has {count:,} missing values; every row needs one")
    _check_values(rows, columns, source)
    return rows


def _check_values(rows: DataFrame, columns: Mapping[str, str], source: str) -> None:
    """Raise ValueError for a rating, weight or event type that `read_interactions` refuses."""
    wrong = {
        "rating": (~_is_finite("rating"), "a rating is a finite number"),
        "weight": (~_is_finite("weight") | (F.col("weight") < 0), "a weight is a finite number of 0 or more"),
        "event": (F.col("event") == "", "an event type is needed"),
    }
    wrong = {name: entry for name, entry in wrong.items() if name in columns}
    counts = [F.count_if(condition).alias(name) for name, (condition, _) in wrong.items()]
    for name, count in rows.select(counts).first().asDict().items() if counts else ():
        if count:
            raise ValueError(f"{source}: column {columns[name]!r} has {count:,} wrong values: {wrong[name][1]}")
    if "weight" in columns and rows.where(F.col("weight") > 0).isEmpty():
        raise ValueError(f"{source}: column {columns['weight']!r} is 0 in all rows, but some weight must be above 0")


def _is_finite(name: str) -> Column:
    return ~F.isnan(name) & (F.abs(F.col(name)) != float("inf"))


def _event_types(rows: DataFrame) -> list[str]:
    """The event types."""
    return [row["event"] for row in rows.select("event").distinct().collect()]


def _float32(rows: DataFrame, name: str, column: str) -> Column:
    """Ratings or weights."""
    kind = rows.schema[name].dataType
    if not isinstance(kind, T.NumericType):
        raise ValueError(f"{column} is of type {kind.simpleString()}; ratings and weights are numbers: cast it")
    return F.col(name).cast("float")


def _ids(rows: DataFrame, name: str, column: str) -> Column:
    """Ids as integers if all are, else as text without surrounding whitespace."""
    kind = rows.schema[name].dataType
    if isinstance(kind, T.IntegralType):
        return F.col(name).cast("long")
    if not isinstance(kind, T.StringType):
        raise ValueError(f"{column} is of type {kind.simpleString()}; ids are integers or text: cast it")
    text = F.btrim(F.col(name), F.lit(WHITESPACE))
    is_integer, is_missing = text.rlike(INTEGER), text.isin(*MISSING_WORDS)
    wrong = (text == "") | text.rlike("[\r\n]") | text.rlike(ROUNDED)
    conditions = F.bool_or(wrong), F.bool_and(is_integer | is_missing), F.bool_or(is_missing), F.bool_or(is_integer)
    checked = rows.agg(*conditions).first()
    any_wrong, integers, missing, any_integer = checked if checked else (False, False, False, False)
    if any_wrong or (integers and missing and any_integer):
        example = rows.select(text).where(wrong | is_missing).first()
        raise ValueError(
            f"{column} has the id {example and example[0]!r}, which is empty or missing, has a line break, or was "
            "rounded by a spreadsheet"
        )
    return F.regexp_replace(text, r"\.0$", "").cast("long") if integers and not missing else text


def _seconds(rows: DataFrame, column: str, source: str) -> Column:
    """Times in seconds, long or, if one has a fraction of a second, double."""
    kind, time = rows.schema["timestamp"].dataType, F.col("timestamp")
    if isinstance(kind, T.DateType | T.TimestampType | T.TimestampNTZType):
        units, time = 10**6, F.unix_micros(time.cast("timestamp"))
    elif isinstance(kind, T.IntegralType | T.DoubleType):
        if (dates := _compact_dates(rows, column, source)) is not None:
            return F.unix_timestamp(dates)
        size = F.abs(time.cast("double"))
        least = F.min(F.when(size >= ANY_UNIT, size))  # of the times that tell their unit
        low, high, least = rows.agg(F.min(time), F.max(time), least).first()
        if low in (None, UNKNOWN_TIME) or not math.isfinite(low) or not math.isfinite(high):
            raise ValueError(f"{source}: column {column!r} has a missing time, or one that is not finite")
        units = check_unit(pl.Series(column, [least, low, high], pl.Float64), low, high, source)
        if isinstance(kind, T.IntegralType):
            time = time.cast("long")
    else:
        raise ValueError(
            f"{source}: column {column!r} is of type {kind.simpleString()}; times are numbers or timestamps: cast it"
        )
    if units == 1:
        return time
    inexact = isinstance(kind, T.DoubleType) or rows.where(time % units != 0).limit(1).count()
    return time.cast("double") / units if inexact else F.floor(time / units).cast("long")


def _compact_dates(rows: DataFrame, column: str, source: str) -> Column | None:
    """Numbers such as 20240501 as timestamps; None if the first ones are not dates. ValueError if only some are."""
    numbers = F.col("timestamp").try_cast("long")
    first_rows = rows.select(numbers.alias(column)).limit(10_000).toArrow()
    sample = pl.Series(column, first_rows[column]).drop_nulls()
    if sample.is_empty() or compact_dates(sample, source) is None:
        return None
    dates = F.try_to_timestamp(numbers.cast("string"), F.lit(COMPACT_FORMS[len(str(sample[0]))]))
    if other := rows.where(dates.isNull() | (numbers != F.col("timestamp"))).first():
        raise ValueError(
            f"{source}: column {column!r} has {other['timestamp']}, but other times are dates such as {sample[0]}"
        )
    return dates


def _distinct(rows: DataFrame, arguments: DataArguments) -> DataFrame:
    """The rows that count, by `min_rating` and `repeats`.

    `order` sorts the rows of a user. It ends with rating and weight, which never decide, as rows differ before them.
    """
    order = F.struct([name for name in ("timestamp", "row", "rating", "weight") if name in rows.columns])
    counted = (
        F.lit(True) if arguments.min_rating is None else F.col("rating") >= F.lit(arguments.min_rating).cast("float")
    )
    keys = ["user_id", "movie_id", *(["event"] if "event" in rows.columns else [])]
    if arguments.repeats == "all":
        return rows.where(counted).select(*keys, order.alias("order"))
    choose = F.max if arguments.repeats == "last" else F.min
    return rows.where(counted).groupBy(keys).agg(choose(order).alias("order"))


def _core(histories: DataFrame, k: int) -> DataFrame:
    """Users and items with at least `k` interactions with each other."""
    histories = histories.localCheckpoint()
    height = -1
    while k > 1 and height != (height := histories.count()):
        for name in ("movie_id", "user_id"):
            frequent = histories.groupBy(name).count().where(F.col("count") >= k).select(name)
            histories = histories.join(frequent, name, "left_semi")
        histories = histories.localCheckpoint()
    return histories


def _catalogue(rows: DataFrame, histories: DataFrame, arguments: DataArguments, item_column: str) -> pl.DataFrame:
    """The items of the histories in the vocabulary's order."""
    every, present = (pl.DataFrame(frame.select("movie_id").distinct().toArrow()) for frame in (rows, histories))
    items = read_item_table(arguments.items, item_column, arguments.item_columns, TableOptions())
    _, movies = join_items(every, items, str(arguments.ratings))
    present = present.cast({"movie_id": movies["movie_id"].dtype})
    return movies.join(present, on="movie_id", how="semi", maintain_order="left")


def _write_shards(
    spark: SparkSession, histories: DataFrame, item_ids: pl.Series, event_names: list[str], folder: Path
) -> None:
    """One file for each range of users, written by the executors under a name of its own, then renamed."""
    catalogue = pl.DataFrame({"movie_id": item_ids}).with_row_index("items").cast({"items": pl.Int32})
    index = spark.createDataFrame(catalogue.to_arrow())
    files = -(-histories.count() // INTERACTIONS_PER_FILE)
    order = histories.schema["order"].dataType
    assert isinstance(order, T.StructType)
    columns = {"timestamps": "order.timestamp", "ratings": "order.rating", "events": "event", "weights": "order.weight"}
    available = {*histories.columns, *(f"order.{name}" for name in order.names)}
    rows = (
        histories.withColumn("movie_id", F.col("movie_id").cast(index.schema["movie_id"].dataType))
        .join(F.broadcast(index), "movie_id")
        .repartitionByRange(files, "user_id")
        .sortWithinPartitions("user_id", "order")
        .select("user_id", "items", *(F.col(name).alias(to) for to, name in columns.items() if name in available))
    )
    target = str(folder)

    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        context = TaskContext.get()
        assert context is not None
        table = pa.Table.from_batches(list(batches))
        if table.num_rows:
            path = Path(target) / SHARD.format(context.partitionId())
            _write_shard(table, event_names, path, context.taskAttemptId())
            yield pa.record_batch({"file": [path.name]})

    rows.mapInArrow(write, WRITTEN).collect()


def _write_shard(table: pa.Table, event_names: list[str], path: Path, attempt: int) -> None:
    users = table["user_id"].combine_chunks()
    lengths = run_lengths(users.dictionary_encode().indices.to_numpy())
    values: dict[str, Any] = {
        name: table[name].to_numpy() for name in table.column_names if name not in ("user_id", "events")
    }
    if "events" in table.column_names:
        events = table["events"].combine_chunks().dictionary_encode()
        values["events"] = event_indices(events.dictionary.to_pylist(), event_names)[events.indices.to_numpy()]
    temporary = path.with_name(f".{path.name}.{attempt}")  # another attempt at the same task may run at the same time
    write_shard(temporary, users.take(pa.array(offsets_of(lengths)[:-1])), lengths, values)
    temporary.replace(path)


if __name__ == "__main__":
    main()
