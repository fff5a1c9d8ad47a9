"""Full and read-only disks: a descriptive error, and earlier files are unchanged. Mounting a disk takes root."""

from __future__ import annotations

import pytest

from tests.stress import disks

SLOW = {disks.export_refused, disks.scoring_refused}
CASES = [
    pytest.param(attempt, free_kib, id=f"{attempt.__name__}-{free_kib}", marks=[pytest.mark.slow] * (attempt in SLOW))
    for attempt, sizes in disks.ATTEMPTS.items()
    for free_kib in (sizes[0], sizes[-1])
]


@pytest.mark.parametrize(("attempt", "free_kib"), CASES)
def test_writing_to_a_full_disk_is_an_error_and_loses_nothing(attempt, free_kib):
    try:
        assert attempt(free_kib)  # the error message
    except disks.NoDiskError as error:
        pytest.skip(str(error))
