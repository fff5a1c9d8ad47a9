"""A full disk and a read-only one: an error that says so, and what was there stays. It takes root to mount one."""

from __future__ import annotations

import pytest

from tests.stress import disks

CASES = [(attempt, room) for attempt, rooms in disks.ATTEMPTS.items() for room in rooms[:1] + rooms[-1:]]


@pytest.mark.parametrize(("attempt", "room"), CASES, ids=[f"{attempt.__name__}-{room}" for attempt, room in CASES])
def test_what_cannot_be_written_is_refused_and_nothing_is_lost(attempt, room):
    try:
        assert attempt(room)  # the words of the error
    except disks.NoDiskError as error:
        pytest.skip(str(error))
