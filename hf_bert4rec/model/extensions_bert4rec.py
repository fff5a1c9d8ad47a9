"""Optional parts that are not in the BERT4Rec paper: embeddings of times and events, transition memory, model of taste.

The last two are tables that are counted from the training data.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from .configuration_bert4rec import Bert4RecConfig
from .values_bert4rec import UNKNOWN_TIME

BINS_PER_DOUBLING = 2
GAPS = 64  # bins of known gaps, up to 2^31 seconds; index GAPS is the unknown gap
DATES = 64  # date vectors, evenly spaced over the training data; dates between two of them are interpolated
# Shares of positions trained without their own time, and of sequences trained without any: a request may come with the
# time of the query, without it, or without all times.
QUERY_TIME_DROPOUT, SEQUENCE_TIME_DROPOUT = 0.5, 0.1

STEPS = 10  # last items of a history that are looked up in the memory, weighted by 1/distance
YEAR = 365.25 * 86_400  # seconds
TIME_BIN = YEAR / 2  # seconds; transitions are counted per half-year
# A transition decays by a factor of e per year between it and the query, down to this floor.
MIN_DECAY = 0.1
SMOOTHING = 3e-4  # probability of an unseen transition: keeps the logarithm finite and within reach of the network


class Bert4RecTimeEmbeddings(nn.Module):
    """Embeddings (batch, seq, hidden) of each position's date and of the gaps around it.

    The gaps are those before the previous item, between it and the position, and, unless the model is causal, until
    the next item. A position's own time is optional at a [MASK] and in a causal model, where it is the time of the
    query. Gaps are binned by the logarithm of seconds (cf. TiSASRec, WSDM 2020, and MEANTIME, RecSys 2020).

    `span` (2,) holds the first and the last second of the training data; dates outside are clamped to it.
    """

    span: torch.Tensor

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__()
        self.gap_before = nn.Embedding(GAPS + 1, config.hidden_size)
        self.gap_until = nn.Embedding(GAPS + 1, config.hidden_size)
        self.gap_after = None if config.causal else nn.Embedding(GAPS + 1, config.hidden_size)
        self.dates = nn.Embedding(DATES, config.hidden_size)
        self.register_buffer("span", torch.tensor([0, 1]))

    def forward(
        self, timestamps: torch.Tensor, position_ids: torch.Tensor, is_causal: bool, masked: torch.Tensor | None
    ) -> torch.Tensor:
        """Embed timestamps.

        Args:
            timestamps: (batch, seq) seconds since 1970, int64; `UNKNOWN_TIME` where unknown.
            position_ids: (batch, seq), 0 at each row's oldest position.
            is_causal: leave out the gap until the next item.
            masked: (batch, seq) positions whose own times are dropped at random in training; with `is_causal` all are.
        """
        query_times = timestamps
        if self.training:
            query_times, timestamps = _drop_times(timestamps, is_causal, masked)
        before = time_before(timestamps, position_ids)  # (batch, seq), time of the previous item
        embeddings = self.gap_before(gap_bin(time_before(before, position_ids), before))
        embeddings = embeddings + self.gap_until(gap_bin(before, query_times))
        embeddings = embeddings + self._date(latest_known(query_times, before))
        if self.gap_after is not None:
            after = nn.functional.pad(timestamps[:, 1:], (0, 1), value=UNKNOWN_TIME)  # time of the next item
            if is_causal:
                after = torch.full_like(after, UNKNOWN_TIME)
            embeddings = embeddings + self.gap_after(gap_bin(query_times, after))
        return embeddings  # (batch, seq, hidden)

    def _date(self, times: torch.Tensor) -> torch.Tensor:
        """Interpolated date embeddings (batch, seq, hidden), 0 where the time is unknown."""
        first, last = self.span[0], self.span[1]
        seconds = torch.minimum(torch.maximum(times, first), last) - first
        position = seconds.float() / (last - first).clamp(min=1).float() * (DATES - 1)
        lower = position.floor().clamp(max=DATES - 2)
        earlier, later = self.dates(lower.long()), self.dates(lower.long() + 1)
        share = (position - lower)[..., None].to(later.dtype)
        return ((1 - share) * earlier + share * later) * (times != UNKNOWN_TIME)[..., None]


def time_before(timestamps: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
    """Time of the previous position, (batch, seq); unknown at the oldest position."""
    return timestamps.roll(1, dims=1).masked_fill(position_ids == 0, UNKNOWN_TIME)


def latest_known(query_times: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """`query_times`, replaced by the times `before` where unknown."""
    return torch.where(query_times == UNKNOWN_TIME, before, query_times)


def gap_bin(earlier: torch.Tensor, later: torch.Tensor) -> torch.Tensor:
    """Bin of the gap, 0 to GAPS - 1; 0 where `later` is not later, GAPS where either time is unknown."""
    unknown = (earlier == UNKNOWN_TIME) | (later == UNKNOWN_TIME)
    seconds = (later - earlier).masked_fill(unknown, 0).clamp(min=0).float()
    doublings = seconds.clamp(min=1).log2()
    bins = (1 + BINS_PER_DOUBLING * doublings).floor().clamp(max=GAPS - 1) * (seconds >= 1)
    return bins.long().masked_fill(unknown, GAPS)


def _drop_times(
    timestamps: torch.Tensor, is_causal: bool, masked: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Timestamps (batch, seq) with random ones unknown: as times of the query, and as times of the history."""
    sequences = torch.rand(len(timestamps), 1, device=timestamps.device) < SEQUENCE_TIME_DROPOUT
    timestamps = timestamps.masked_fill(sequences, UNKNOWN_TIME)
    dropped = torch.rand(timestamps.shape, device=timestamps.device) < QUERY_TIME_DROPOUT
    if is_causal:  # each position is a query of its own and history for later ones
        return timestamps.masked_fill(dropped, UNKNOWN_TIME), timestamps
    if masked is not None:
        timestamps = timestamps.masked_fill(dropped & masked, UNKNOWN_TIME)
    return timestamps, timestamps


class Bert4RecEventEmbeddings(nn.Module):
    """Embeddings (batch, seq, hidden) of the event types: of each position's own, and of the one before it.

    At a [MASK], a position's own type is the requested one. The type before is needed where the input has the item
    before (`previous_item`, `causal`), and does no harm elsewhere.
    """

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__()
        self.own = nn.Embedding(config.num_events, config.hidden_size)
        self.before = nn.Embedding(config.num_events, config.hidden_size)

    def forward(self, event_ids: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        """Embed `event_ids` (batch, seq), any at padding; `position_ids` (batch or 1, seq) are 0 at the oldest ones."""
        before = self.before(event_ids.roll(1, dims=1)) * (position_ids > 0)[..., None]
        return self.own(event_ids) + before  # (batch, seq, hidden)


def resize_rows(table: torch.Tensor, rows: int) -> torch.Tensor:
    """A table (n, …) as (rows, …): cut off, or filled up with zeros."""
    return nn.functional.pad(table, (0, 0) * (table.dim() - 1) + (0, rows - len(table)))


class Bert4RecTransitionMemory(nn.Module):
    """A windowed Markov chain whose log-probabilities are added to the logits of the next item.

    A network of few dimensions blurs rare transitions, which a table stores exactly; language models are combined with
    stored examples in a similar way (Khandelwal et al., ICLR 2020, arXiv:1911.00172).

    Buffers:
        next_items: (vocab, n) the items that most often follow each item, int32.
        weights: (vocab, n) how often, 0 for unused entries. Entries of items added later are negative: their
            magnitude counts for the item, but not in the normalisation, so that other probabilities do not change.
        time_bins: (vocab, n) half-years since 1970 in which the transition occurred, int32; None unless `time_aware`.

    All zero until `fit_transition_memory` of the package fills them; training does not change them.
    """

    next_items: torch.Tensor
    weights: torch.Tensor
    time_bins: torch.Tensor | None

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__()
        shape = (config.vocab_size, config.memory_size)
        self.register_buffer("next_items", torch.zeros(shape, dtype=torch.int32))
        self.register_buffer("weights", torch.zeros(shape))
        self.register_buffer("time_bins", torch.zeros(shape, dtype=torch.int32) if config.time_aware else None)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, timestamps: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Log-probability of each item to follow a row's last items, (batch, vocab).

        Arguments are (batch, seq); the last attended position is the query's. Unknown `timestamps` are `UNKNOWN_TIME`.
        """
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        last = (positions * attention_mask).argmax(-1, keepdim=True)  # (batch, 1)
        distances = torch.arange(1, STEPS + 1, device=input_ids.device)
        back = last - distances  # (batch, steps)
        attended = (back >= 0) & attention_mask.bool().gather(1, back.clamp(min=0))
        items = input_ids.gather(1, back.clamp(min=0))
        weights = self.weights[items].float() * (attended / distances)[..., None]  # (batch, steps, n)
        if self.time_bins is not None and timestamps is not None:
            query_times = latest_known(timestamps.gather(1, last), timestamps.gather(1, (last - 1).clamp(min=0)))
            weights = weights * self._decay(items, query_times)
        next_items = self.next_items[items].long()
        zeros = weights.new_zeros(weights.shape[0], self.next_items.shape[0])
        counts = zeros.scatter_add(1, next_items.flatten(1), weights.abs().flatten(1))  # (batch, vocab)
        total = weights.clamp(min=0).sum((1, 2))[:, None]
        return (counts / total.clamp(min=torch.finfo(total.dtype).tiny) + SMOOTHING).log()

    def _decay(self, items: torch.Tensor, query_times: torch.Tensor) -> torch.Tensor:
        """Factor (batch, steps, n) of each transition at query times (batch, 1) in seconds."""
        assert self.time_bins is not None
        bin_centres = self.time_bins[items].float() + 0.5
        years = (bin_centres - (query_times.float() / TIME_BIN)[..., None]).abs() * (TIME_BIN / YEAR)
        return torch.where((query_times == UNKNOWN_TIME)[..., None], 1.0, MIN_DECAY + (-years).exp())

    def resize(self, vocab_size: int) -> None:
        """Resize to `vocab_size` items; entries of items beyond are dropped."""
        known = self.next_items < vocab_size
        self._change_tables(lambda table: resize_rows(table * known, vocab_size))
        if self.next_items.shape[1] > vocab_size:  # more than `Bert4RecConfig` allows
            strongest = self.weights.abs().argsort(dim=1, descending=True, stable=True)[:, :vocab_size]
            self._change_tables(lambda table: table.gather(1, strongest))

    def add(self, similar: list[tuple[torch.Tensor, torch.Tensor]]) -> int:
        """Fill the last `len(similar)` rows, those of new items, each from known items and weights that add up to 1.

        A new item is followed by what follows the first of its known items, the most similar one. It follows what its
        known items follow, as often as they do on (weighted) average. Returns the new number of entries per item.
        """
        vocab_size, width = self.next_items.shape
        entries: list[list[tuple[int, float, int]]] = [[] for _ in range(vocab_size)]  # in the order of the buffers
        known = self.next_items[: vocab_size - len(similar)].long()
        for item, (known_ids, shares) in enumerate(similar, start=len(known)):
            if not len(known_ids):
                continue
            for table in self.buffers():
                table[item] = table[known_ids[0]]
            share_of = self.weights.new_zeros(vocab_size)
            share_of[known_ids] = shares.to(share_of)
            matched = self.weights[: len(known)].abs() * share_of[known]  # (known, n)
            weights, strongest = matched.sum(1), matched.argmax(1)
            for row in weights.nonzero().flatten().tolist():
                time_bin = 0 if self.time_bins is None else int(self.time_bins[row, strongest[row]])
                entries[row].append((item, -float(weights[row]), time_bin))
        added_width = max(map(len, entries))
        self._change_tables(lambda table: nn.functional.pad(table, (0, added_width)))
        for row, added in enumerate(entries):
            for table, values in zip(self.buffers(), zip(*added, strict=True), strict=False):
                table[row, width : width + len(added)] = torch.tensor(values)
        return width + added_width

    def _change_tables(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        for name, table in list(self.named_buffers()):
            self.register_buffer(name, change(table))


SMALLEST_SCORE = 1e-4  # `log_scores` is linear below this, as scores may be negative
# Ranks of neighbours among the first ten after one item: by score only, a series that few like would be missing.
LISTED, SIMILAR_RANKS = 10, (3, 5, 7)
# Averaged factors are short, so a history hardly raises a new item's score. Without this factor, new movies are
# recommended less often than at random. docs/usage.md has the trade-off.
COLD_START_SHARE = 2.0


class Bert4RecTaste(nn.Module):
    """Linear scores of items b after a set of liked items a: shares[b] + Σ_a precisions[a] · factors[a]·factors[b].

    Products of factors approximate the covariance, over users, of liking a and b; this is the regression of every item
    on the liked ones (a denoising linear autoencoder, cf. Steck, NeurIPS 2020, of reduced rank). With `taste_weight`, a
    second regression is part of the network's logits: it assumes complete histories, as EASE does (Steck, WWW 2019).

    Buffers:
        factors: (vocab, taste_size).
        precisions: (vocab,) inverse variances of the likes.
        shares: (vocab,) weighted shares of users who like each item.
        log_popularity: (vocab,) logarithms of the items' shares of all interactions. None without
            `taste_popularity_penalty`.
        neighbours: (vocab, taste_neighbours) input ids, closest first, int32; 0 for none. None if the size is 0.
        correlations: (vocab, taste_neighbours) similarities of an item and its neighbours, by likes and metadata.
        regression: (taste_size, taste_size) of the second regression: Σ_a precisions[a] · factors[a]' · regression ·
            factors[b]. None without `taste_weight`.

    All zero until `fit_taste` of the package fills them; training does not change them.
    """

    factors: torch.Tensor
    precisions: torch.Tensor
    shares: torch.Tensor
    log_popularity: torch.Tensor | None
    neighbours: torch.Tensor | None
    correlations: torch.Tensor
    regression: torch.Tensor | None

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__()
        items, factors, neighbours = config.vocab_size, config.taste_size, config.taste_neighbours
        self.config = config  # its penalty may be changed later
        special_ids = config.pad_token_id, config.mask_token_id, config.unk_token_id
        self.special_ids = [index for index in special_ids if index is not None]
        self.register_buffer("factors", torch.zeros(items, factors))
        self.register_buffer("precisions", torch.zeros(items))
        self.register_buffer("shares", torch.zeros(items))
        self.register_buffer("log_popularity", torch.zeros(items) if config.taste_popularity_penalty else None)
        indices = torch.zeros(items, neighbours, dtype=torch.int32)
        self.register_buffer("neighbours", indices if neighbours else None)
        self.register_buffer("correlations", torch.zeros(items, neighbours) if neighbours else None)
        self.register_buffer("regression", torch.zeros(factors, factors) if config.taste_weight else None)

    def forward(self, histories: list[list[int]]) -> torch.Tensor:
        """Scores (histories, vocab), float32, of lists of input ids; repeated items count once."""
        distinct = [list(dict.fromkeys(history)) for history in histories]
        indices = [torch.tensor(items, dtype=torch.long, device=self.factors.device) for items in distinct]
        users = torch.stack([self.precisions[index].float() @ self.factors[index].float() for index in indices])
        return self.shares.float() + users @ self.factors.float().T  # (histories, vocab)

    def log_scores(self, histories: list[list[int]]) -> torch.Tensor:
        """Logarithms of scores, to rank by, (histories, vocab).

        The penalty for popular items is subtracted, then neighbours of a single item are raised.

        ValueError: the configuration has a penalty, but the model was made without one.
        """
        scores = self(histories)
        line = scores / SMALLEST_SCORE - 1 + torch.tensor(SMALLEST_SCORE).log()
        log_scores = torch.where(scores > SMALLEST_SCORE, scores.clamp(min=SMALLEST_SCORE).log(), line)
        if penalty := self.config.taste_popularity_penalty:
            if self.log_popularity is None:
                raise ValueError(
                    "taste_popularity_penalty needs a model that was trained with one: set "
                    "config.taste_popularity_penalty to 0"
                )
            log_scores.sub_(self.log_popularity.float(), alpha=penalty)
        for row, items in enumerate(map(set, histories)):
            if self.neighbours is not None and len(items) == 1:
                item = items.pop()
                self._raise_neighbours(log_scores[row], item, self.neighbours[item].tolist())
        return log_scores

    def next_item_scores(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Scores (batch, vocab), float32, to add to the logits of histories (batch, seq), taken as complete.

        Their order does not matter; a repeated item counts each time.
        """
        if self.regression is None:
            raise ValueError("taste_weight needs a model that was trained with one: set config.taste_weight to 0")
        factors = self.factors.float()
        precisions = self.precisions[input_ids].float() * attention_mask  # (batch, seq)
        users = (precisions[..., None] * factors[input_ids]).sum(1)  # (batch, taste_size)
        return users @ self.regression.float() @ factors.T

    def similarities(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Similarities (n, vocab) of items (n,) to all items.

        Those of neighbours are stored; the others are cosines of factors, scaled to at most the smallest stored one.
        """
        vectors = nn.functional.normalize(self.factors.float(), dim=-1)
        input_ids = input_ids.to(vectors.device)
        cosines = vectors[input_ids] @ vectors.T
        if self.neighbours is None:
            return cosines
        neighbours, correlations = self.neighbours[input_ids].long(), self.correlations[input_ids].float()
        smallest = correlations.masked_fill(neighbours == 0, 1.0).amin(-1, keepdim=True)
        cosines *= smallest
        return cosines.scatter(-1, neighbours, correlations.where(neighbours > 0, cosines[:, :1]))

    def resize(self, vocab_size: int) -> None:
        """Resize to `vocab_size` items; entries of items beyond are dropped, new ones are zero."""
        for name, table in list(self.named_buffers()):
            if name != "regression":
                self.register_buffer(name, resize_rows(table, vocab_size))
        if self.neighbours is not None:
            self.neighbours[self.neighbours >= vocab_size] = 0
            # `Bert4RecConfig` allows no more neighbours than items.
            self.neighbours, self.correlations = self.neighbours[:, :vocab_size], self.correlations[:, :vocab_size]

    def add(self, similar: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Append an item for each (known items, weights that add up to 1): their weighted mean; zeros without any.

        Shares are then multiplied by `COLD_START_SHARE`. New items have no neighbours.
        """
        known = self.shares.shape[0]
        self.resize(known + len(similar))
        tables = [self.factors, self.precisions, self.shares]
        if self.log_popularity is not None:
            tables.append(self.log_popularity)
        for row, (items, weights) in enumerate(similar, start=known):
            for table in tables:
                table[row] = weights.to(table) @ table[items.to(table.device)]
        self.shares[known:] *= COLD_START_SHARE

    def _raise_neighbours(self, scores: torch.Tensor, item: int, neighbours: list[int]) -> None:
        """Raise the scores (vocab,) of the closest neighbours to `SIMILAR_RANKS` of the first `LISTED`."""
        candidates = scores.clone()
        candidates[[item, *self.special_ids]] = -torch.inf
        best = candidates.topk(min(LISTED, len(candidates)))
        if not best.values.isfinite().all():
            return  # a list of all items
        by_score, listed = best.indices.tolist(), [0]  # 0 fills up the neighbours
        for rank in range(1, LISTED + 1):
            preferred = neighbours if rank in SIMILAR_RANKS else []
            listed.append(next(each for each in (*preferred, *by_score) if each not in listed))
        for rank in SIMILAR_RANKS:
            if listed[rank] in neighbours:
                scores[listed[rank]] = candidates[[listed[rank - 1], listed[rank + 1]]].mean()
