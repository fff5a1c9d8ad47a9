"""The copy of ml-100k in a wheel: fetched by pip, verified, and written in the release's layout. No network."""

import dataclasses
import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from hf_bert4rec.data import load_movielens, mirrors, releases
from tests.data.movielens_archives import small_release

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n22\t267\t1\t878887116\n"
ITEM = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "242\tMisérables, Les\t1995\tDrama Musical\n"
    "267\tunkonwn\tunkonwn\tunknown\n"
    "1412\tLand Before Time III: The Time of the Great Giving (1995)\tV\tAnimation Children's\n"
)


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A made-up wheel that a made-up pip fetches."""
    path = tmp_path / "wheel.whl"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("recbole/dataset_example/ml-100k/ml-100k.inter", INTER)
        opened.writestr("recbole/dataset_example/ml-100k/ml-100k.item", ITEM)
    monkeypatch.setattr(mirrors, "WHEEL_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())

    def pip(command: list[str], **options: object) -> subprocess.CompletedProcess:
        assert command[1:6] == ["-m", "pip", "download", "--quiet", "--no-deps"]
        (Path(command[command.index("--dest") + 1]) / "recbole-1.2.1-py3-none-any.whl").write_bytes(path.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(mirrors.subprocess, "run", pip)
    return path


def test_mirror_reads_like_the_release(wheel: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = mirrors.write_mirrored_release(tmp_path / "cache" / "ml-100k")
    assert (folder / "u.data").read_text() == "196\t242\t3\t881250949\n22\t267\t1\t878887116\n"
    assert [path.name for path in folder.parent.iterdir()] == ["ml-100k"]
    counts = dataclasses.replace(small_release("ml-100k"), users=2, rated_movies=2, movies=3, ratings=2)
    monkeypatch.setitem(releases.RELEASES, "ml-100k", counts)
    assert load_movielens("ml-100k", folder)["movies"].to_list() == [
        {"movie_id": 242, "title": "Misérables, Les", "year": 1995, "genres": ["Drama", "Musical"]},
        {"movie_id": 267, "title": "unknown", "year": None, "genres": []},
        {
            "movie_id": 1412,
            "title": "Land Before Time III: The Time of the Great Giving",
            "year": 1995,
            "genres": ["Animation", "Children's"],
        },
    ]


def test_wheel_of_another_content_is_refused(wheel: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mirrors, "WHEEL_SHA256", "9c" * 32)
    with pytest.raises(ValueError, match=r"has sha256 [0-9a-f]{64}, expected (9c){32}: not used"):
        mirrors.write_mirrored_release(tmp_path / "cache" / "ml-100k")
    assert list((tmp_path / "cache").iterdir()) == []


def test_pip_that_fails_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "warning\nERROR: No matching distribution found")
    monkeypatch.setattr(mirrors.subprocess, "run", lambda command, **options: failed)
    with pytest.raises(OSError, match=r"pip download recbole==1.2.1 failed: ERROR: No matching distribution"):
        mirrors.fetch_wheel(tmp_path)
