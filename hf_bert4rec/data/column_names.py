"""Columns of users, items, times and ratings by their usual names.

Our names of columns, or roles, are those of the tables that `read_interactions` returns.
"""

from collections.abc import Iterable, Sequence

AUTO = "auto"  # instead of a column's name: find it
# By our name of a column, in lower case without punctuation, so that "userId" matches. Our own name wins.
USUAL_NAMES = {
    "user_id": ("userid", "user", "uid", "customerid", "customer", "memberid", "member", "visitorid", "accountid"),
    "movie_id": (
        *("movieid", "movie", "itemid", "item", "iid", "productid", "product", "articleid", "article", "sku", "asin"),
        *("trackid", "songid", "artistid", "bookid", "isbn", "gameid", "businessid", "newsid", "videoid"),
    ),
    "rating": ("rating",),
    "timestamp": ("timestamp", "time", "datetime", "date", "ts", "createdat", "eventtime", "eventtimestamp"),
}
NOUNS = {  # in messages and in options such as user_column, by our names of the columns
    "user_id": "user",
    "movie_id": "item",
    "rating": "rating",
    "timestamp": "time",
    "event": "event",
    "weight": "weight",
}


def find_column(role: str, columns: Sequence[str], source: str) -> str:
    """Our name of a column, or else the one with a usual name if there is one; ValueError if there are several."""
    matches = [name for name in columns if _plain(name) in USUAL_NAMES[role]]
    if role in columns or not matches:
        return role
    if len(matches) > 1:
        noun, (first, second, *_) = NOUNS[role], matches
        raise ValueError(
            f"{source}: either {first!r} or {second!r} can be the column of {noun}s. Name one by "
            f"{noun}_column={first!r} (--{noun}_column {first})"
        )
    return matches[0]


def are_usual_names(names: Iterable[str]) -> bool:
    """Whether every name is a usual one, as in a header."""
    usual = {name for names_of_role in USUAL_NAMES.values() for name in names_of_role}
    return all(_plain(name) in usual for name in names)


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()
