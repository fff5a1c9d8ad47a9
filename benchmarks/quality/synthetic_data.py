"""Synthetic data sets, on which the rules of `recipe="auto"` were chosen.

Each is a function of the number of users and a seed, and returns a table with one row per interaction: `user`,
`item` and, but for the shop, `time`. None has what the model computes built in, such as its windows or weights.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import polars as pl

START, STEP = 1_600_000_000, 3600  # seconds; every interaction is up to twice `STEP` after the one before
IntArray = npt.NDArray[np.int64]


def sequential(users: int = 3000, seed: int = 0) -> pl.DataFrame:
    """Histories of 10 to 40 items: one of four successors of the last item with probability 0.5, else any item."""
    generator = np.random.default_rng(seed)
    items, weights = 1000, _zipf(1000, 0.7)
    successors = generator.choice(items, (items, 4), p=weights)

    def next_item(history: list[int]) -> int:
        if history and generator.random() < 0.5:
            return int(generator.choice(successors[history[-1]]))
        return int(generator.choice(items, p=weights))

    return _table([_distinct(next_item, int(generator.integers(10, 41))) for _ in range(users)], generator)


def popular(users: int = 3000, seed: int = 0) -> pl.DataFrame:
    """Histories of 5 to 30 items drawn by popularity only: nothing else can be learned."""
    generator = np.random.default_rng(seed)
    weights = _zipf(1000, 1.0)
    lengths = generator.integers(5, 31, users)
    histories = [generator.choice(1000, length, replace=False, p=weights).tolist() for length in lengths]
    return _table(histories, generator)


def repeating(users: int = 1500, seed: int = 0) -> pl.DataFrame:
    """Listeners who play one of their last five tracks again with probability 0.6, else one of their own style."""
    generator = np.random.default_rng(seed)
    styles, weights = 40, _zipf(25, 0.8)  # of 25 tracks each
    histories = []
    for _ in range(users):
        history: list[int] = []
        style = int(generator.integers(styles))
        for _ in range(int(generator.integers(15, 61))):
            recent = list(dict.fromkeys(history[::-1]))[:5]
            if recent and generator.random() < 0.6:
                history.append(int(generator.choice(recent)))
            else:
                history.append(25 * style + int(generator.choice(25, p=weights)))
        histories.append(history)
    return _table(histories, generator)


def sessions(users: int = 12_000, seed: int = 0) -> pl.DataFrame:
    """Sessions of two to five items of one topic, mostly a successor of the last item."""
    generator = np.random.default_rng(seed)
    topics, size = 100, 20
    topic_weights, item_weights = _zipf(topics, 0.6), _zipf(size, 0.7)
    successors = generator.integers(0, size, (topics, size, 3))
    histories = []
    for _ in range(users):
        topic = int(generator.choice(topics, p=topic_weights))

        def next_item(history: list[int], topic: int = topic) -> int:
            if history and generator.random() < 0.5:
                return size * topic + int(generator.choice(successors[topic, history[-1] % size]))
            return size * topic + int(generator.choice(size, p=item_weights))

        histories.append(_distinct(next_item, int(generator.integers(2, 6))))
    return _table(histories, generator)


def shop(users: int = 22_000, seed: int = 0) -> pl.DataFrame:
    """A sparse shop without times: half as many items as users, about nine interactions each.

    Items belong to groups of fifteen with a long tail. A customer has two or three favourite groups. The next item is
    one of three successors of the last one, in its group, or is of a favourite group, or is any item.
    """
    generator = np.random.default_rng(seed)
    size = 15
    groups = max(users * 6 // 11 // size, 10)
    items = groups * size
    group_weights, rank_weights = _zipf(groups, 0.5), _zipf(size, 0.6)
    ranks = np.stack([generator.permutation(size) for _ in range(groups)])  # the order of popularity in a group
    successors = generator.integers(0, size, (items, 3)) + np.arange(items)[:, None] // size * size
    cumulative = (group_weights[:, None] * rank_weights).cumsum()
    histories = []
    for _ in range(users):
        favourites = generator.choice(groups, generator.integers(2, 4), p=group_weights, replace=False)

        def next_item(history: list[int], favourites: IntArray = favourites) -> int:
            kind = generator.random()
            if history and kind < SHOP_FOLLOWS:
                return int(generator.choice(successors[history[-1]]))
            if kind < SHOP_FOLLOWS + SHOP_FAVOURITE:
                group = int(generator.choice(favourites))
                return group * size + int(ranks[group, generator.choice(size, p=rank_weights)])
            group, rank = divmod(min(int(np.searchsorted(cumulative, generator.random())), items - 1), size)
            return group * size + int(ranks[group, rank])

        histories.append(_distinct(next_item, 5 + int(generator.geometric(0.2)) - 1))
    return _table(histories, None)


SHOP_FOLLOWS, SHOP_FAVOURITE = 0.17, 0.38
SYNTHETIC_DATA: dict[str, Callable[..., pl.DataFrame]] = {
    "sequential": sequential,
    "popular": popular,
    "repeating": repeating,
    "sessions": sessions,
    "shop": shop,
}


def _zipf(number: int, power: float) -> npt.NDArray[np.float64]:
    weights = np.arange(1, number + 1) ** -power
    return weights / weights.sum()


def _distinct(next_item: Callable[[list[int]], int], length: int) -> list[int]:
    """A history of `length` distinct items, each drawn by `next_item` from those before it."""
    history: list[int] = []
    while len(history) < length:
        for _ in range(20):  # a successor may be in the history already
            if (item := next_item(history)) not in history:
                history.append(item)
                break
        else:
            return history
    return history


def _table(histories: list[list[int]], generator: np.random.Generator | None) -> pl.DataFrame:
    """One row per interaction; with a generator, times that go on over a year from a user's own start."""
    lengths = np.array([len(history) for history in histories])
    columns = {"user": np.repeat(np.arange(len(histories)), lengths), "item": np.concatenate(histories)}
    if generator is not None:
        starts = START + generator.integers(0, 365 * 86_400, len(histories))
        gaps = generator.integers(1, 2 * STEP, int(lengths.sum())).cumsum()
        first = np.repeat(gaps[np.cumsum(lengths) - lengths], lengths)
        columns["time"] = np.repeat(starts, lengths) + gaps - first
    return pl.DataFrame(columns)
