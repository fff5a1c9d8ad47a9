"""Killed at any moment, nothing is lost that was whole, and nothing half-written is taken for whole.

`make stress` kills at every change to a file and at many moments of chance; here are some of each.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.movielens_archives import serving, write_release, zip_release
from tests.stress import kills, training_kills


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> bytes:
    return training_kills.unbroken_weights(tmp_path_factory.mktemp("unbroken"))


@pytest.mark.slow
@pytest.mark.parametrize("change", [3, 14, 29, 46, 71])
def test_training_killed_before_a_change_to_a_file_ends_as_an_unbroken_run(tmp_path, unbroken, change):
    assert training_kills.train_killed_at(change, tmp_path, unbroken)


@pytest.mark.slow
def test_training_killed_again_and_again_ends_as_an_unbroken_run(tmp_path):
    unbroken = training_kills.unbroken_weights(tmp_path / "unbroken", training_kills.RUN_EPOCHS)
    assert training_kills.train_killed_by_chance(tmp_path / "killed", unbroken, kills=3, moment=0.25, seed=0) == 3


@pytest.mark.slow
@pytest.mark.parametrize("change", [1, 2])
def test_a_killed_download_goes_on_and_is_checked(tmp_path, change):
    with serving() as server:
        assert kills.download_killed_at(change, tmp_path, server)


@pytest.mark.slow
def test_a_killed_preparation_is_done_again(tmp_path):
    archive = zip_release(write_release(tmp_path / "release", "ml-1m"))
    with serving() as server:
        server.publish(archive)
        assert kills.prepare_killed_at(3, tmp_path / "cache", server)


@pytest.mark.slow
@pytest.mark.parametrize("change", [4, 9])
def test_a_killed_export_leaves_the_earlier_one(tmp_path: Path, change):
    kills.old_export(tmp_path)
    assert kills.export_killed_at(change, tmp_path, check_end=False)


@pytest.mark.slow
@pytest.mark.parametrize("change", [2, 7, 17])
def test_killed_scoring_goes_on_and_writes_the_same_table(tmp_path, change):
    source = kills.scoring_source(tmp_path / "source")
    assert kills.score_killed_at(change, tmp_path / "killed", source)


@pytest.mark.slow
def test_export_and_scoring_killed_at_moments_of_chance(tmp_path):
    assert kills.export_killed_by_chance(tmp_path / "exported", kills=1) == 1
    source = kills.scoring_source(tmp_path / "source")
    assert kills.score_killed_by_chance(tmp_path / "scored", source, kills=1) == 1
