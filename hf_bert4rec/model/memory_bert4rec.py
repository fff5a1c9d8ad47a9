"""What followed what: a memory of item-to-item transitions beside the network, for the prediction of the next item.

A network of few dimensions blurs rare transitions, which a table holds as they were. The two are multiplied, a
transition's share raised to a weight; language models gain from what they have stored in much the same way (Khandelwal
et al., ICLR 2020, arXiv:1911.00172). The table is a windowed Markov chain; every item keeps its likeliest followers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from .configuration_bert4rec import Bert4RecConfig
from .time_bert4rec import UNKNOWN_TIME, latest_known

STEPS = 10  # items back that are looked up, each counting 1/distance
# A new item is taken to follow what the items like it follow, so many times as strongly as they do on average. With 1,
# new movies of ml-100k were found 5 times as often as by chance and the NDCG of old ones fell by 3 %; with 2 it was 9
# times, and 6 %.
COLD_START_BOOST = 1.5
# Where times are known, a transition is kept apart from the same one of another half-year and counts e times less for
# every year that lies between it and the question, down to a tenth.
YEAR = 365.25 * 86_400  # seconds
ERA = YEAR / 2
MIN_DECAY = 0.1
SMOOTHING = 3e-4  # share of what never followed: its logarithm is finite, and not so small that nothing makes up for it


class Bert4RecMemory(nn.Module):
    """`followers` (vocab, n) of every item and their `strengths` (vocab, n), 0 where there are fewer than n.

    A strength below 0 is that of a follower added later, of the same size: it takes no part in the whole that shares
    are shares of, so that those of the others stay.

    With times, `eras` (vocab, n) is the half-year since 1970 in which it followed.

    Empty, and without a say, until `fit_transition_memory` of the package has filled it; training does not change it.
    """

    followers: torch.Tensor
    strengths: torch.Tensor
    eras: torch.Tensor | None

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__()
        shape = (config.vocab_size, config.memory_size)
        self.register_buffer("followers", torch.zeros(shape, dtype=torch.int32))
        self.register_buffer("strengths", torch.zeros(shape))
        self.register_buffer("eras", torch.zeros(shape, dtype=torch.int32) if config.time_aware else None)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, timestamps: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logarithm of the share that each item has among what follows a row's last items, (batch, vocab).

        Args:
            input_ids: (batch, seq), the last attended place asking for the next item.
            attention_mask: (batch, seq).
            timestamps: (batch, seq) seconds, the last attended place's those of the question, or `UNKNOWN_TIME`.
        """
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        last = (places * attention_mask).argmax(-1, keepdim=True)  # (batch, 1)
        distances = torch.arange(1, STEPS + 1, device=input_ids.device)
        back = last - distances  # (batch, steps)
        there = (back >= 0) & attention_mask.bool().gather(1, back.clamp(min=0))
        items = input_ids.gather(1, back.clamp(min=0))
        weights = there / distances  # (batch, steps)
        strengths = self.strengths[items].float() * weights[..., None]  # (batch, steps, n)
        if self.eras is not None and timestamps is not None:
            asked = latest_known(timestamps.gather(1, last), timestamps.gather(1, (last - 1).clamp(min=0)))
            strengths = strengths * self._freshness(items, asked)
        followers = self.followers[items].long()
        empty = strengths.new_zeros(strengths.shape[0], self.followers.shape[0])
        shares = empty.scatter_add(1, followers.flatten(1), strengths.abs().flatten(1))  # (batch, vocab)
        whole = strengths.clamp(min=0).sum((1, 2))[:, None]
        return (shares / whole.clamp(min=torch.finfo(whole.dtype).tiny) + SMOOTHING).log()

    def _freshness(self, items: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        """What transitions count, (batch, steps, n), when asked for at (batch, 1) seconds."""
        assert self.eras is not None
        apart = (self.eras[items].float() + 0.5 - (asked.float() / ERA)[..., None]).abs() * (ERA / YEAR)
        return torch.where((asked == UNKNOWN_TIME)[..., None], 1.0, MIN_DECAY + (-apart).exp())

    def resize(self, vocab_size: int) -> None:
        """Hold so many items: what is remembered of others is forgotten, new ones have followed nothing yet."""
        kept = min(vocab_size, len(self.followers))
        known = self.followers[:kept] < vocab_size
        rows = (0, 0, 0, vocab_size - kept)
        self._change_tables(lambda table: nn.functional.pad(table[:kept] * known, rows))

    def add(self, likes: list[list[int]]) -> int:
        """Remember the last items as the items that they are like, given most alike first; the new width of the table.

        What followed the item most alike is taken to follow the new one, and the new one to follow what its likes
        follow, `COLD_START_BOOST` times as strongly.
        """
        vocab_size, width = self.followers.shape
        entries: list[list[tuple[int, float, int]]] = [[] for _ in range(vocab_size)]
        for item, alike in enumerate(likes, start=vocab_size - len(likes)):
            if not alike:
                continue
            for table in self._tables().values():
                table[item] = table[alike[0]]
            wanted = torch.tensor(alike, dtype=torch.int32, device=self.followers.device)
            hits = torch.isin(self.followers[: vocab_size - len(likes)], wanted)
            hits = self.strengths[: len(hits)].abs() * hits  # (known, n)
            strengths, strongest = hits.sum(1) * COLD_START_BOOST / len(alike), hits.argmax(1)
            for row in strengths.nonzero().flatten().tolist():
                era = 0 if self.eras is None else int(self.eras[row, strongest[row]])
                entries[row].append((item, -float(strengths[row]), era))
        wider = max(map(len, entries))
        self._change_tables(lambda table: nn.functional.pad(table, (0, wider)))
        for row, added in enumerate(entries):
            for place, values in enumerate(added, start=width):
                for table, value in zip(self._tables().values(), values, strict=False):
                    table[row, place] = value
        return width + wider

    def _tables(self) -> dict[str, torch.Tensor]:
        """Followers, strengths and, where there are any, eras."""
        return dict(self.named_buffers())

    def _change_tables(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        for name, table in self._tables().items():
            self.register_buffer(name, change(table))


__all__ = ["Bert4RecMemory"]
