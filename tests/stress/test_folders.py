"""A damaged or mixed folder of prepared histories is refused; `make stress` tries more of each damage."""

import pytest

from tests.stress import folders


@pytest.mark.parametrize("damage", folders.DAMAGES)
def test_a_damaged_folder_is_refused(damage, tmp_path):
    assert folders.try_damage(damage, 12, tmp_path)["refused"] > 8
