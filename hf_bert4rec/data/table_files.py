"""The file, folder or glob of a table; its format is detected by content, not by name."""

import io
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from ..files import report_damage
from .arguments import TableOptions
from .delimited import PAIRS, UTF8_MARK, UTF16_MARKS, read_delimited

COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}  # by the first bytes of a file
PARQUET, ARROW, ARROW_STREAM, ZIP = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff", b"PK\x03\x04"
BINARY_FORMS: dict[bytes, tuple[str, Callable[[bytes], pl.DataFrame]]] = {
    PARQUET: ("Parquet", pl.read_parquet),
    ARROW: ("Arrow", pl.read_ipc),
    ARROW_STREAM: ("Arrow", pl.read_ipc_stream),
}
IGNORED_PREFIXES = ("_", ".", "README", "LICENSE")  # of files that are not tables


def read_files(path: Path, options: TableOptions) -> tuple[pl.LazyFrame, str]:
    """Read the table in a file, in all files of a folder, or in those that match a glob; returns it with its form."""
    files = find_files(path)
    tables = [read_file(file, options) for file in files]
    columns = [frame.collect_schema().names() for frame, _ in tables]
    check_columns(files, columns)
    frame = pl.concat([frame.select(columns[0]) for frame, _ in tables], how="vertical_relaxed")
    with report_damage(f"{path}: a column has types in its files that do not go together"):
        frame.collect_schema()
    return frame, describe_form(files, tables[0][1])


def check_columns(files: Sequence[Path], columns: Sequence[list[str]]) -> None:
    """Raise ValueError unless all files have the same columns."""
    for file, names in zip(files, columns, strict=True):
        if set(names) != set(columns[0]):
            raise ValueError(f"{file} has the columns {names}, but {files[0]} has {columns[0]}: give one of the tables")


def describe_form(files: Sequence[Path], form: str) -> str:
    """The form of a table in files of this form."""
    return form if form == PAIRS or len(files) == 1 else f"{len(files)} files of {form}"


def find_files(path: Path) -> list[Path]:
    """The files of a table by name, part-2 before part-10; in a folder, names with `IGNORED_PREFIXES` are left out.

    FileNotFoundError if there are none.
    """
    if path.is_file():
        return [path]
    if path.is_dir():
        paths = [file for file in path.rglob("*") if not _is_ignored(file.relative_to(path))]
    else:
        paths = [*Path(path.anchor).glob(str(path.relative_to(path.anchor)))]
    if not (files := sorted((file for file in paths if file.is_file()), key=_name_order)):
        raise FileNotFoundError(f"{path}: no such file, or a folder without tables")
    return files


def _name_order(path: Path) -> list[Any]:
    """A key that sorts numbers in names by their value: rows without times are in the order of their files."""
    return [int(text) if text.isdecimal() else text for text in re.split(r"(\d+)", str(path))]


def _is_ignored(path: Path) -> bool:
    return any(part.startswith(IGNORED_PREFIXES) for part in path.parts)


def read_file(path: Path, options: TableOptions) -> tuple[pl.LazyFrame, str]:
    """Read one file of a table; returns it with its form. Of a Parquet file only the schema is read."""
    with path.open("rb") as file:
        is_parquet = file.read(len(PARQUET)) == PARQUET
    if is_parquet:  # may be large: only some of its columns are read
        return _parsed(lambda: _scan_parquet(path), "Parquet", str(path))
    return _read_bytes(path.read_bytes(), str(path), options)


def _scan_parquet(path: Path) -> pl.LazyFrame:
    """A Parquet file with columns that its folders name, such as `day=3/`, unless the file has one of them itself."""
    frame = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    named = {part.partition("=")[0] for part in path.parts[:-1] if "=" in part}
    if not named.isdisjoint(frame.collect_schema().names()):  # Polars would overwrite it
        return frame
    return pl.scan_parquet(path, glob=False, hive_partitioning=True)


def is_delimited(start: bytes) -> bool:
    """Whether a file that begins with these bytes holds delimited text that may be read in blocks, and not UTF-16."""
    marks = (*COMPRESSIONS, ZIP, PARQUET, ARROW, ARROW_STREAM, *UTF16_MARKS)
    text = start.removeprefix(UTF8_MARK).lstrip()
    return bool(text) and not start.startswith(marks) and b"\0" not in start[:1000] and text[:1] not in b"{["


def _read_bytes(data: bytes, source: str, options: TableOptions) -> tuple[pl.LazyFrame, str]:
    for mark, name in COMPRESSIONS.items():
        if data.startswith(mark):
            with report_damage(f"{source} cannot be decompressed ({name})"):
                text = pa.CompressedInputStream(pa.BufferReader(data), name).read()
            return _read_bytes(text, source, options)
    if data.startswith(ZIP):
        return _read_bytes(_from_zip(data, source), source, options)
    for mark, (form, read) in BINARY_FORMS.items():
        if data.startswith(mark):
            return _parsed(partial(read, data), form, source)
    data = data.removeprefix(UTF8_MARK)
    if not data.strip():
        raise ValueError(f"{source} is empty")
    if b"\0" in data[:1000] and not data.startswith(UTF16_MARKS):
        raise ValueError(f"{source} is none of CSV, TSV, JSON, Parquet and Arrow: export the table as one of these")
    if data.lstrip()[:1] == b"{":
        return _read_json_lines(data, source)
    if data.lstrip()[:1] == b"[":
        return _parsed(lambda: pl.read_json(data, infer_schema_length=None), "JSON", source)
    frame, form = read_delimited(data, source, options)
    return frame.lazy(), form


def _parsed(read: Callable[[], Any], form: str, source: str) -> tuple[pl.LazyFrame, str]:
    with report_damage(f"{source} cannot be read as {form}, it may be truncated"):
        frame = read().lazy()
        frame.collect_schema()  # a damaged file that is only scanned raises here
        return frame, form


def _from_zip(data: bytes, source: str) -> bytes:
    with report_damage(f"{source} cannot be unpacked"):
        archive = zipfile.ZipFile(io.BytesIO(data))
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    if "[Content_Types].xml" in names:
        raise ValueError(f"{source} is an Excel workbook: save the sheet as CSV")
    names = [name for name in names if not _is_ignored(Path(name)) and "__MACOSX" not in name]
    if len(names) != 1:
        raise ValueError(f"{source} holds {len(names)} files ({', '.join(names[:9])}), not one: unpack it")
    with report_damage(f"{source} cannot be unpacked"):
        return archive.read(names[0])


def _read_json_lines(data: bytes, source: str) -> tuple[pl.LazyFrame, str]:
    try:
        return _parsed(lambda: pl.read_ndjson(data, infer_schema_length=None), "JSON lines", source)
    except ValueError:
        for number, line in enumerate(data.split(b"\n"), 1):
            if line.strip():
                with report_damage(f"{source}, line {number} is not JSON"):
                    json.loads(line)
        raise
