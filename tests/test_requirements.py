"""The lock with hashes pins what the constraints pin."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r"([A-Za-z0-9._-]+)==([^ +]+)")


def pins(name: str) -> dict[str, str]:
    found = (PIN.match(line) for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
    return {re.sub(r"[-_.]+", "-", pin[1]).lower(): pin[2] for pin in found if pin}


def test_the_lock_pins_the_same_versions_as_the_constraints():
    locked, constrained = pins("requirements.lock"), pins("constraints.txt")
    assert "torch" in locked
    assert {name: version for name, version in locked.items() if constrained.get(name) != version} == {}


def test_every_pin_of_the_lock_has_a_hash_and_no_address():
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()[1:]
    assert all(re.fullmatch(r"\S+==\S+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
