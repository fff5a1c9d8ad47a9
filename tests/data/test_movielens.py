"""load_movielens: every layout, every source, and errors on bad input."""

import logging
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hf_bert4rec.data import build_histories, load_movielens, movielens, releases
from hf_bert4rec.data.movielens import cache_folder, find_release_folder
from tests.data.movielens_archives import CLEAN, RATINGS, Server, serving, small_release, write_release, zip_release

REAL = os.environ.get("HF_BERT4REC_DATA", "")
NAMES = list(releases.RELEASES)


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Small counts for every release; no folder, cache or server but those of the test."""
    monkeypatch.delenv("HF_BERT4REC_DATA", raising=False)
    monkeypatch.setenv("HF_BERT4REC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_BERT4REC_GROUPLENS", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in NAMES:
        monkeypatch.setitem(releases.RELEASES, name, small_release(name))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving() as running:
        monkeypatch.setenv("HF_BERT4REC_GROUPLENS", running.url)
        yield running


def check_tables(tables) -> None:
    rows = tables["ratings"]
    assert [tuple(row.values()) for row in rows] == RATINGS
    kinds = {name: feature.dtype for name, feature in rows.features.items()}
    assert kinds == {"user_id": "int64", "movie_id": "int64", "rating": "float32", "timestamp": "int64"}
    assert tables["movies"].to_list() == CLEAN


@pytest.mark.parametrize("name", NAMES)
def test_each_layout_reads_the_same_from_folder_and_zip(name: str, tmp_path: Path) -> None:
    folder = write_release(tmp_path / "data", name)
    check_tables(load_movielens(name, tmp_path / "data"))
    check_tables(load_movielens(name, folder))
    archive = zip_release(folder)
    check_tables(load_movielens(name, archive))
    folder.rename(tmp_path / "elsewhere")
    tables = load_movielens(name, tmp_path / "data", download=False)
    check_tables(tables)
    closed = "may not be redistributed" in tables["ratings"].info.license
    assert closed == (name != "ml-latest-small")


def test_folder_named_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_release(tmp_path, "ml-20m")
    monkeypatch.setenv("HF_BERT4REC_DATA", str(tmp_path))
    check_tables(load_movielens("ml-20m"))
    assert find_release_folder("ml-20m") == tmp_path / "ml-20m"
    monkeypatch.setenv("HF_BERT4REC_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"nowhere, named by the environment variable HF_BERT4REC_DATA"):
        load_movielens("ml-20m")


def test_ml_10m_unpacks_to_another_name(tmp_path: Path) -> None:
    write_release(tmp_path, "ml-10m").rename(tmp_path / "ml-10M100K")
    check_tables(load_movielens("ml-10m", tmp_path))


def test_folder_without_ratings_is_passed_over_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (write_release(tmp_path, "ml-1m") / "ratings.dat").unlink()
    with pytest.raises(FileNotFoundError, match=r"ml-1m lacks ratings.dat\) nor in .*download=False forbids"):
        load_movielens("ml-1m", tmp_path, download=False)
    assert "ml-1m lacks ratings.dat" in caplog.text
    write_release(tmp_path / "cache", "ml-1m")
    check_tables(load_movielens("ml-1m", tmp_path))


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder(tmp_path) == tmp_path
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("HF_BERT4REC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "hf-bert4rec"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "hf-bert4rec"


def test_download_once_then_from_the_cache(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    server.publish(zip_release(write_release(tmp_path, "ml-25m")))
    check_tables(load_movielens("ml-25m"))
    assert [name for name, _ in server.requests] == ["ml-25m.zip.md5", "ml-25m.zip"]
    check_tables(load_movielens("ml-25m"))
    assert len(server.requests) == 2
    assert f"reading {tmp_path / 'cache' / 'ml-25m.zip'}" in caplog.text


def test_broken_transfer_is_resumed(server: Server, tmp_path: Path) -> None:
    archive = zip_release(write_release(tmp_path, "ml-32m"))
    server.publish(archive)
    server.breaks = 2
    check_tables(load_movielens("ml-32m"))
    ranges = [byte_range for name, byte_range in server.requests if name.endswith(".zip")]
    half = archive.stat().st_size // 2
    assert ranges[:2] == [None, f"bytes={half}-"]
    assert len(ranges) == 3


def test_transfer_that_never_ends_keeps_the_part_for_the_next_run(server: Server, tmp_path: Path) -> None:
    server.publish(zip_release(write_release(tmp_path, "ml-20m")))
    server.breaks = 3
    with pytest.raises(FileNotFoundError, match="connection lost 3 times"):
        load_movielens("ml-20m")
    part = tmp_path / "cache" / "ml-20m.zip.part"
    size = part.stat().st_size
    assert not part.with_suffix("").exists()
    check_tables(load_movielens("ml-20m"))
    assert server.requests[-1] == ("ml-20m.zip", f"bytes={size}-")
    assert not part.exists()


@pytest.mark.parametrize("ranges", [True, False])
def test_stale_part_of_another_file_is_fetched_again(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.publish(zip_release(write_release(tmp_path, "ml-25m")))
    server.ranges = ranges
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "ml-25m.zip.part").write_bytes(b"of another release")
    check_tables(load_movielens("ml-25m"))


def test_wrong_md5_leaves_nothing_behind(server: Server, tmp_path: Path) -> None:
    server.publish(zip_release(write_release(tmp_path, "ml-25m")))
    server.files["ml-25m.zip.md5"] = b"0" * 32
    with pytest.raises(ValueError, match=r"md5 [0-9a-f]{32}, but 0{32} is published"):
        load_movielens("ml-25m")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".ml-25m.lock"]


def test_an_invalid_checksum_and_a_missing_archive_are_named(server: Server) -> None:
    server.files["ml-25m.zip.md5"] = b"<html>please log in</html>"
    with pytest.raises(FileNotFoundError, match="something other than an md5"):
        load_movielens("ml-25m")
    with pytest.raises(FileNotFoundError, match=r"404.*Download http://127.0.0.1:\d+/ml-32m.zip by hand"):
        load_movielens("ml-32m")


def test_unreachable_server_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"ml-1m is not in .*refused.*HF_BERT4REC_DATA"):
        load_movielens("ml-1m")


def test_ml_100k_comes_from_the_mirror_where_grouplens_is_unreachable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(movielens, "write_mirrored_release", lambda folder: write_release(folder.parent, folder.name))
    check_tables(load_movielens("ml-100k"))
    assert "using the package index's copy" in caplog.text
    assert (tmp_path / "cache" / "ml-100k" / "u.data").is_file()


def test_unknown_release_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"'ml-1000k'; known are ml-100k, .*Did you mean 'ml-100k'"):
        load_movielens("ml-1000k")


@pytest.mark.parametrize(
    ("name", "line", "bad", "message"),
    [
        ("ml-25m", 3, "1,x,5,1000", r"ratings.csv, line 3: movie_id 'x' is not an integer"),
        ("ml-25m", 4, "1,9,4", r"ratings.csv, line 4: expected 4 fields, not 3"),
        ("ml-25m", 4, "1,9,4,5,6", r"ratings.csv, line 4: expected 4 fields, not 5"),
        ("ml-25m", 4, "1,9,nan,1000", r"ratings.csv, line 4: rating 'nan' is not a number"),
        ("ml-25m", 1, "user,item,rating,timestamp", r"ratings.csv, line 1: expected the header 'userId,"),
        ("ml-25m", 4, "", r"ratings.csv, line 4: expected 4 fields, not 0"),
        ("ml-1m", 2, "1::1::5", r"ratings.dat, line 2: expected 4 fields, not 3"),
        ("ml-1m", 2, "1::1::five::1", r"ratings.dat, line 2: rating 'five'"),
        ("ml-100k", 7, "3\t12\t5\t9.5", r"u.data, line 7: timestamp '9.5' is not an integer"),
    ],
)
def test_row_that_does_not_parse_is_named(name: str, line: int, bad: str, message: str, tmp_path: Path) -> None:
    path = write_release(tmp_path, name) / releases.RELEASES[name].layout.ratings_file
    lines = path.read_text().splitlines()
    lines[line - 1] = bad
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=message):
        load_movielens(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("ml-25m", b"9,", b"nine,", r"movies.csv, line 5: movie_id 'nine'"),
        ("ml-25m", b"Toy Story (1995),Drama", b"Toy Story (1995)", r"movies.csv, line 8: expected 3 fields, not 2"),
        ("ml-25m", b'"Godfather', b'"God"father', r"movies.csv, line 3"),
        ("ml-25m", "é".encode(), b"\xe9", r"movies.csv, line 5: byte 0xe9 is not UTF-8"),
        ("ml-1m", b"2::Godfather, The", b"2:Godfather, The", r"movies.dat, line 2: expected 3 fields"),
        ("ml-1m", b"\xe9", "é".encode(), r"movies.dat: the file is UTF-8, but this release is latin-1"),
        ("ml-100k", b"2|God", b"1|God", r"u.item, row 1 .* is 1, but an earlier row has this id"),
    ],
)
def test_bad_movies_file_is_named(name: str, old: bytes, new: bytes, message: str, tmp_path: Path) -> None:
    path = write_release(tmp_path, name) / releases.RELEASES[name].layout.movies_file
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1) if old != b"9," else data.replace(b"\n9,", b"\nnine,"))
    with pytest.raises(ValueError, match=message):
        load_movielens(name, tmp_path)


def test_wrong_counts_are_named_with_the_expected_ones(tmp_path: Path) -> None:
    path = write_release(tmp_path, "ml-25m") / "ratings.csv"
    path.write_bytes(path.read_bytes() + b"0,1,3.5,1\r\n")
    with pytest.raises(ValueError, match=r"is not ml-25m: it has 8 ratings \(7 expected\), 4 users \(3 expected\)\."):
        load_movielens("ml-25m", tmp_path)


def test_empty_ratings_file(tmp_path: Path) -> None:
    messages = {"ml-25m": r"ratings.csv, line 1: expected the header", "ml-1m": r"it has 0 ratings|empty data"}
    for name, message in messages.items():
        path = write_release(tmp_path, name) / releases.RELEASES[name].layout.ratings_file
        path.write_bytes(b"")
        with pytest.raises(ValueError, match=message):
            load_movielens(name, tmp_path)


def test_damaged_and_foreign_archives(tmp_path: Path) -> None:
    archive = zip_release(write_release(tmp_path, "ml-25m"))
    complete = archive.read_bytes()
    archive.write_bytes(complete[: len(complete) // 2])
    with pytest.raises(ValueError, match=r"ml-25m.zip is truncated, damaged or not a zip"):
        load_movielens("ml-25m", archive)
    archive.write_bytes(complete[:60] + bytes([complete[60] ^ 0xFF]) + complete[61:])
    with pytest.raises(ValueError, match="truncated, damaged"):
        load_movielens("ml-25m", archive)
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("ml-25m/links.csv", "x")
    with pytest.raises(ValueError, match=r"has no ratings.csv, only ml-25m/links.csv"):
        load_movielens("ml-25m", archive)


@pytest.mark.parametrize("member", ["../evil", "/etc/evil", "ml-25m/../../evil", "C:\\evil", "..\\evil"])
def test_archive_with_paths_that_lead_out_is_refused(member: str, tmp_path: Path) -> None:
    archive = zip_release(write_release(tmp_path, "ml-25m"))
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(member, "x")
    with pytest.raises(ValueError, match="leads out of it"):
        load_movielens("ml-25m", archive)


@pytest.mark.parametrize(("name", "items", "untitled"), [("ml-100k", 1_349, 1), ("ml-latest-small", 3_650, 13)])
def test_the_real_files(name: str, items: int, untitled: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (Path(REAL) / name).is_dir() or not REAL:
        pytest.skip(f"HF_BERT4REC_DATA names no folder with {name}")
    monkeypatch.undo()
    tables = load_movielens(name, REAL, download=False)
    assert tables["movies"].to_polars()["year"].null_count() == untitled
    histories = build_histories(tables["ratings"])
    assert len({item for row in histories["item_ids"] for item in row}) == items
