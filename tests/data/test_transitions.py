"""Transitions that are counted in chunks of items and of histories are those counted at once."""

import itertools

import numpy as np
import pytest
import torch

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM
from hf_bert4rec.data import transitions
from hf_bert4rec.data.ragged import LazyRows, Ragged, Rows, offsets_of, sample_rows

ITEMS, FIRST, USERS = 30, 3, 40


def histories(step: int) -> tuple[Ragged, LazyRows]:
    """The same histories in memory and in three arrays, which have two more items at the end of each history."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(0, 25, USERS)
    stored = generator.integers(0, ITEMS, (lengths + 2).sum()).astype(np.int32)
    times = np.sort(generator.integers(0, 40, len(stored))) * step
    starts = offsets_of(lengths + 2)[:-1]
    cuts = [0, starts[11], starts[30], len(stored)]
    pieces = [slice(low, high) for low, high in itertools.pairwise(cuts)]
    parts = [Ragged(stored[piece], offsets_of([len(stored[piece])]), {"timestamps": times[piece]}) for piece in pieces]
    mapped = LazyRows(parts, starts, lengths).map(
        lambda rows: Ragged(rows.values.astype(np.int64) + FIRST, rows.offsets, rows.columns, rows.queries)
    )
    rows = [slice(start, start + length) for start, length in zip(starts, lengths, strict=True)]
    memory = Ragged(
        np.concatenate([stored[row] for row in rows]).astype(np.int64) + FIRST,
        offsets_of(lengths),
        {"timestamps": np.concatenate([times[row] for row in rows])},
    )
    return memory, mapped


def filled(train: Rows, time_aware: bool, backward: float) -> list[torch.Tensor]:
    config = Bert4RecConfig(vocab_size=FIRST + ITEMS, hidden_size=8, memory_size=9, time_aware=time_aware)
    model = Bert4RecForMaskedLM(config)
    transitions.fit_transition_memory(model, train, backward)
    return list(model.memory.buffers())


@pytest.mark.parametrize("step", [3600, 365 * 86_400, 50 * 365 * 86_400])  # one half-year, 80, and more than 256
@pytest.mark.parametrize(("time_aware", "backward"), [(False, 0.0), (False, 0.3), (True, 0.3)])
def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch, time_aware: bool, backward: float, step: int) -> None:
    memory, mapped = histories(step)
    expected = filled(memory, time_aware, backward)
    assert expected[0].any()
    monkeypatch.setattr(transitions, "PAIRS_AT_ONCE", 700)
    assert len(list(transitions._damped_blocks(memory, FIRST + ITEMS, None))) > 3
    for train in (memory, mapped):
        for ours, theirs in zip(filled(train, time_aware, backward), expected, strict=True):
            assert torch.equal(ours, theirs)


def test_mapped_rows_are_those_in_memory() -> None:
    memory, mapped = histories(3600)
    chosen = np.array([5, 0, 39, 12, 12, 31])
    for ours, theirs in [
        (mapped.rows(0, USERS), memory),
        (mapped.rows(9, 33), memory.rows(9, 33)),
        (mapped.take(chosen), memory.take(chosen)),
        (mapped.take(chosen[:0]), memory.take(chosen[:0])),
    ]:
        np.testing.assert_array_equal(ours.values, theirs.values)
        np.testing.assert_array_equal(ours.offsets, theirs.offsets)
        np.testing.assert_array_equal(ours.columns["timestamps"], theirs.columns["timestamps"])
    assert [block.values.tolist() for block in mapped.blocks()] != [memory.values.tolist()]
    assert all((ours == theirs).all() for ours, theirs in zip(mapped, memory, strict=True))


def test_a_sample_of_histories() -> None:
    memory, mapped = histories(3600)
    total = len(memory.values)
    assert len(sample_rows(mapped.lengths, total, seed=0)) == len(mapped)
    sample = mapped.take(sample_rows(mapped.lengths, total // 2, seed=0))
    assert total // 3 < len(sample.values) <= total // 2
    rows = {row.tobytes() for row in memory}
    assert all(row.tobytes() in rows for row in sample)


def test_counts_in_chunks() -> None:
    memory, mapped = histories(3600)
    np.testing.assert_array_equal(
        transitions.item_counts(mapped, FIRST + ITEMS), np.bincount(memory.values, minlength=FIRST + ITEMS)
    )
    with pytest.raises(ValueError, match="outside the vocabulary of 9"):
        transitions.item_counts(mapped, 9)
