"""Workloads that are killed lose no complete file and never leave an incomplete one under its final name.

`make stress` kills before every file change and at many random times; here are some of each.
"""

from pathlib import Path

import pytest

from tests.data.movielens_archives import serving, write_release, zip_release
from tests.stress import kills, training_kills

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> bytes:
    return training_kills.uninterrupted_weights(tmp_path_factory.mktemp("uninterrupted"))


@pytest.fixture(scope="module")
def scoring_source(tmp_path_factory) -> tuple[Path, Path, bytes]:
    return kills.scoring_source(tmp_path_factory.mktemp("source"))


@pytest.mark.parametrize("change", [3, 14, 29, 46, 71])
def test_training_killed_before_a_file_change_ends_with_the_same_weights(tmp_path, uninterrupted, change):
    assert training_kills.train_killed_before(change, tmp_path, uninterrupted)


def test_training_killed_repeatedly_ends_with_the_same_weights(tmp_path):
    epochs = training_kills.LONG_EPOCHS
    weights = training_kills.uninterrupted_weights(tmp_path / "uninterrupted", epochs)
    assert training_kills.train_killed_randomly(tmp_path / "killed", weights, kills=3, max_delay=0.25, seed=0) == 3


@pytest.mark.parametrize("change", [1, 2])
def test_a_killed_download_is_resumed_and_checked(tmp_path, change):
    with serving() as server:
        assert kills.download(server).killed_before(change, tmp_path)


def test_a_killed_preparation_is_repeated(tmp_path):
    archive = zip_release(write_release(tmp_path / "release", "ml-1m"))
    with serving() as server:
        server.publish(archive)
        assert kills.preparation(server).killed_before(3, tmp_path / "cache")


@pytest.mark.parametrize("change", [2, 9, 17, 22])
def test_a_killed_preparation_of_a_table_leaves_a_complete_folder(tmp_path, change):
    assert kills.table_killed_before(change, tmp_path)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """The folder of an export; every kill must leave it as it is."""
    folder = tmp_path_factory.mktemp("exported")
    kills.export_earlier(folder)
    return folder


@pytest.mark.parametrize("change", [4, 9])
def test_a_killed_export_leaves_the_earlier_one(exported, change):
    assert kills.export_killed_before(change, exported, check_end=False)


@pytest.mark.parametrize("change", [2, 7, 17])
def test_killed_scoring_is_resumed_and_writes_the_same_table(tmp_path, scoring_source, change):
    assert kills.scoring(scoring_source).killed_before(change, tmp_path)


def test_an_export_killed_at_a_random_time_leaves_one_of_the_two(tmp_path):
    assert kills.export_killed_randomly(tmp_path, kills=1) == 1


def test_scoring_killed_at_a_random_time_writes_the_same_table(tmp_path, scoring_source):
    assert kills.scoring(scoring_source).killed_randomly(tmp_path / "scored", kills=1) == 1
