"""Quick parts of the campaigns: full and read-only disks, for which mounting takes root; concurrency; memory."""

import pytest

from tests.stress import disks, endurance, request_fuzz

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


def test_fifty_concurrent_callers_get_the_same_answers():
    result = request_fuzz.concurrent(request_fuzz.tiny_pipeline(), 400)
    assert (result["threads"], result["requests"]) == (50, 400)


def test_the_slope_of_memory_is_fitted_to_the_readings():
    flat = endurance.slope([1000 * 1024] * 50)
    assert (flat["steps"], flat["kib_per_thousand_steps"]) == (5000, 0.0)
    assert endurance.slope([1024 * reading for reading in range(50)])["kib_per_thousand_steps"] == pytest.approx(10)
