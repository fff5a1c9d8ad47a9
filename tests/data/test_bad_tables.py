"""Odd tables are read, and broken archives refused; `make stress` tries thousands of them."""

import logging
import resource

import polars as pl
import pytest

from hf_bert4rec.data import read_interactions
from tests.data.movielens_archives import write_release, zip_release
from tests.stress import archives


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def test_any_text_is_an_id_and_survives_a_csv_file(tmp_path):
    names = ['a"b', "a,b", "é💿", "'; DROP TABLE", "\x07", "nan", "=1+1"]
    pl.DataFrame({"user_id": names, "movie_id": names[::-1], "timestamp": range(7)}).write_csv(tmp_path / "odd.csv")
    ratings = read_interactions(tmp_path / "odd.csv")["ratings"]
    assert ratings["user_id"] == names
    assert ratings["movie_id"] == names[::-1]


# A zip bomb takes long to write: one layout is enough.
ARCHIVES = [(name, kind) for name in archives.NAMES for kind in archives.CORPUS if kind != "bomb" or name == "ml-1m"]


@pytest.mark.parametrize(("name", "kind"), ARCHIVES)
def test_a_broken_archive_is_refused(tmp_path, name, kind):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with archives.small_releases():
        assert archives.corrupt_once(name, archives.CORPUS[kind], tmp_path) == "refused"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


def test_encrypted_archives_and_zip_bombs_are_named(tmp_path):
    with archives.small_releases():
        for kind, message in (
            ("encrypted", "encrypted, password required"),
            ("bomb", r"expands \w+.dat to 300,000,"),
        ):
            archive = zip_release(write_release(tmp_path / kind, "ml-1m"))
            archives.CORPUS[kind](tmp_path, archive)
            with pytest.raises(ValueError, match=message):
                archives.load_movielens("ml-1m", data_dir=archive)


def test_a_lack_of_memory_is_not_called_damage(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(pl, "read_csv", full)
    (tmp_path / "ratings.csv").write_text("user_id,movie_id,timestamp\n1,2,3\n")
    with pytest.raises(MemoryError):
        read_interactions(tmp_path / "ratings.csv")


@pytest.mark.parametrize("name", archives.NAMES)
def test_random_damage_to_a_release_is_refused_or_is_a_value(tmp_path, name):
    with archives.small_releases():
        counts = archives.try_random(name, tmp_path, 40, seed=1)
    assert counts["refused"] > 25
