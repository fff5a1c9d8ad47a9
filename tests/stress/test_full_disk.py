"""Full and read-only disks: a descriptive error, and earlier files are unchanged. Mounting a disk takes root."""

from __future__ import annotations

import pytest

from tests.stress import disks

CASES = [(attempt, free) for attempt, sizes in disks.ATTEMPTS.items() for free in (sizes[0], sizes[-1])]


@pytest.mark.parametrize(("attempt", "free_kib"), CASES, ids=[f"{attempt.__name__}-{free}" for attempt, free in CASES])
def test_writing_to_a_full_disk_is_an_error_and_loses_nothing(attempt, free_kib):
    try:
        assert attempt(free_kib)  # the error message
    except disks.NoDiskError as error:
        pytest.skip(str(error))
