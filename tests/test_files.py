"""Files are written completely or not at all."""

import json
import stat
from pathlib import Path

import pytest

from hf_bert4rec.files import atomic_write, write_json


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("complete")
        assert not path.exists()
    assert path.read_text() == "complete"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_utf8_and_refuses_nan(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    write_json(path, {"title": "Amélie", "score": 0.5})
    assert "Amélie" in path.read_text(encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8")) == {"title": "Amélie", "score": 0.5}
    with pytest.raises(ValueError, match=r"JSON compliant|nan"):
        write_json(path, {"score": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8"))["score"] == 0.5
