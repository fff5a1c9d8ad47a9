"""Files of "user item" lines: the sequences that published results use."""

from pathlib import Path

import polars as pl
from datasets import Dataset, DatasetDict

from .columns import as_ids
from .delimited import UTF8_MARK, Dialect, looks_like_header
from .items import join_items, with_ids_of_one_type
from .movielens import check_counts, read_movies
from .releases import COLONS_LATIN, Release
from .rows import read_rows
from .tables import to_dataset, to_frame

SEQUENCE_FILE, MAPPING_FILE, MOVIES_FILE = "ml-1m.txt", "item_mapping.txt", "movies.dat"
PUBLISHED = Release(SEQUENCE_FILE, COLONS_LATIN, 6_040, 3_416, 3_883, 999_611)  # of published results
HEAD = 1000  # rows that show whether the first is a header


def read_sequences(
    path: str | Path, items: Dataset | pl.DataFrame | None = None, id_mapping: str | Path | None = None
) -> DatasetDict:
    """Read a file with "user item" on each line, in chronological order for each user, without a header.

    `ratings` has user_id and movie_id only, in the order of the lines.

    Args:
        items: a movies table with movie_id, title, year and genres, such as `load_movielens(...)["movies"]`, all of
            which is returned; without it, ids serve as titles.
        id_mapping: a file of "item id in the sequence file, movie id" lines; without it the file's ids are movie ids.

    Raises:
        ValueError: A line that is not two fields, a header, an item without a mapping, or a mapping that gives two
            items one id; the message names file and line.
    """
    path = Path(path)
    ratings = _read_pairs(path, ("user_id", "movie_id"))
    if id_mapping is not None:
        ratings = _mapped(ratings, path, Path(id_mapping))
    movies = to_frame(items) if isinstance(items, Dataset) else items
    ratings, movies = join_items(ratings, movies, str(path))
    return DatasetDict(ratings=to_dataset(ratings), movies=to_dataset(movies))


def load_ml1m_sequences(folder: str | Path) -> DatasetDict:
    """Read the ML-1M sequences that published BERT4Rec and SASRec results use, with GroupLens' ids and titles.

    `folder` holds ml-1m.txt, item_mapping.txt (its item ids → GroupLens') and the release's movies.dat.

    FileNotFoundError if a file is missing, ValueError if the counts are not those of the published file.
    """
    folder = Path(folder)
    if missing := [name for name in (SEQUENCE_FILE, MAPPING_FILE, MOVIES_FILE) if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}")
    movies = read_movies("ml-1m", folder)
    tables = read_sequences(folder / SEQUENCE_FILE, movies, folder / MAPPING_FILE)
    check_counts(PUBLISHED, to_frame(tables["ratings"]), movies, folder / SEQUENCE_FILE)
    return tables


def _read_pairs(path: Path, names: tuple[str, str]) -> pl.DataFrame:
    """A file of two fields per line, separated by one space or tab."""
    data = path.read_bytes().removeprefix(UTF8_MARK).replace(b"\t", b" ")
    if not data.strip():
        raise ValueError(f"{path} has no rows")
    frame = read_rows(data, dict.fromkeys(names, pl.String), Dialect(" "), path)
    if looks_like_header(*frame.head(HEAD).rows()):
        raise ValueError(f"{path}, line 1: {' '.join(frame.row(0))!r} looks like a header; remove this line")
    return pl.DataFrame([as_ids(frame[name], str(path)) for name in names])


def _mapped(ratings: pl.DataFrame, path: Path, id_mapping: Path) -> pl.DataFrame:
    mapping = _read_pairs(id_mapping, ("movie_id", "mapped"))
    for name in mapping.columns:
        if (repeated := ~mapping[name].is_first_distinct()).any():
            line = repeated.arg_true()[0] + 1
            raise ValueError(f"{id_mapping}, line {line}: duplicate id {mapping[name][line - 1]!r}")
    ratings, mapping = with_ids_of_one_type(ratings, mapping)
    mapped = ratings.join(mapping, on="movie_id", how="left", maintain_order="left")
    if (unknown := mapped["mapped"].is_null()).any():
        line = unknown.arg_true()[0]
        raise ValueError(f"{path}, line {line + 1}: item {ratings['movie_id'][line]!r} is not in {id_mapping}")
    return mapped.select("user_id", pl.col("mapped").alias("movie_id"))
