"""When: what the times of interactions tell a place, its gaps and its date, as vectors beside the item's.

Gaps are counted in doublings of seconds, as a wait of a second and one of a minute differ more than one of a month and
one of a month and a minute (TiSASRec, WSDM 2020, and MEANTIME, RecSys 2020, measure time between items too). The date
is a place on the line from the first to the last interaction of the training data.
"""

from __future__ import annotations

import torch
from torch import nn

from .configuration_bert4rec import Bert4RecConfig

UNKNOWN_TIME = torch.iinfo(torch.int64).min  # at a place of which nobody knows when, such as padding
GAPS_A_DOUBLING = 2
GAPS = 64  # gaps that are told apart, up to 2^31 seconds; the one after them is the gap that is unknown
DATES = 64  # vectors along the line of dates; between two of them it is their mean, the nearer counting more
# In training, of places that are not told their own time, and of rows that are told none: a model is asked with the
# time of the question and without it, and by those who keep no times.
QUERY_TIME_DROPOUT, SEQUENCE_TIME_DROPOUT = 0.5, 0.1


class Bert4RecTimeEmbeddings(nn.Module):
    """Vectors (batch, seq, hidden) of the times that each place of a causal model knows.

    A place is shown the item before its own, and so that item's time and the gap before it. Its own time, which is when
    it is asked what comes, it may know or not: where it does, it also has the gap until then.

    `span` (2,) holds the first and the last second of the training data; dates outside of it count as the nearer one.
    """

    span: torch.Tensor

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__()
        self.gap_before = nn.Embedding(GAPS + 1, config.hidden_size)
        self.gap_until = nn.Embedding(GAPS + 1, config.hidden_size)
        self.dates = nn.Embedding(DATES, config.hidden_size)
        self.register_buffer("span", torch.tensor([0, 1]))

    def forward(self, timestamps: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        """Vectors of the times.

        Args:
            timestamps: (batch, seq) seconds since 1970, int64; `UNKNOWN_TIME` where they are not known.
            position_ids: (batch, seq), 0 at a row's oldest place.
        """
        own = timestamps
        if self.training:
            own, timestamps = _some_hidden(timestamps)
        before = time_before(timestamps, position_ids)  # (batch, seq), when the item that is shown was
        gap_before = gap_between(time_before(before, position_ids), before)
        gap_until = gap_between(before, own)
        gaps = self.gap_before(gap_before) + self.gap_until(gap_until)
        return gaps + self._date(latest_known(own, before))  # (batch, seq, hidden)

    def _date(self, times: torch.Tensor) -> torch.Tensor:
        """The date's vector, (batch, seq, hidden), 0 where it is unknown."""
        first, last = self.span[0], self.span[1]
        inside = torch.minimum(torch.maximum(times, first), last) - first
        place = inside.float() / (last - first).clamp(min=1).float() * (DATES - 1)
        lower = place.floor().clamp(max=DATES - 2)
        share = (place - lower)[..., None].to(self.dates.weight.dtype)
        lower = lower.long()
        date = (1 - share) * self.dates(lower) + share * self.dates(lower + 1)
        return date * (times != UNKNOWN_TIME)[..., None]


def time_before(timestamps: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
    """At each place the time of the place before it, (batch, seq); unknown at the oldest."""
    return timestamps.roll(1, dims=1).masked_fill(position_ids == 0, UNKNOWN_TIME)


def latest_known(own: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """`own` times, and those `before` where these are unknown."""
    return torch.where(own == UNKNOWN_TIME, before, own)


def gap_between(earlier: torch.Tensor, later: torch.Tensor) -> torch.Tensor:
    """Number of the gap, 0 to GAPS - 1, 0 where the later is not later; GAPS where either time is unknown."""
    unknown = (earlier == UNKNOWN_TIME) | (later == UNKNOWN_TIME)
    seconds = (later - earlier).masked_fill(unknown, 0).clamp(min=0).float()
    doublings = seconds.clamp(min=1).log2()
    number = (1 + GAPS_A_DOUBLING * doublings).floor().clamp(max=GAPS - 1) * (seconds >= 1)
    return number.long().masked_fill(unknown, GAPS)


def _some_hidden(timestamps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Times as the places know them of themselves, and as later ones do: with some hidden, as dropout hides numbers."""
    rows = torch.rand(len(timestamps), 1, device=timestamps.device) < SEQUENCE_TIME_DROPOUT
    timestamps = timestamps.masked_fill(rows, UNKNOWN_TIME)
    places = torch.rand(timestamps.shape, device=timestamps.device) < QUERY_TIME_DROPOUT
    return timestamps.masked_fill(places, UNKNOWN_TIME), timestamps


__all__ = ["UNKNOWN_TIME", "Bert4RecTimeEmbeddings", "latest_known", "time_before"]
