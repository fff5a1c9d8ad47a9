"""Finding a movie by a loosely typed title.

Case, accents, punctuation and the place of an article are forgiven ("Godfather, The" is "the godfather" is
"Godfather"), so is a missing year; a year tells remakes apart. Titles are not unique: any look-up can be ambiguous.
"""

from __future__ import annotations

import difflib
import re
import reprlib
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

TRAILING_YEAR = re.compile(r"\((\d{4})\)$")  # of text without blanks at its end: \s* there would take n² steps
PARENTHESES = re.compile(r"\(([^()]*)\)")
TRAILING_ARTICLE = re.compile(r"^(.*), (the|an?|l[aeo]s?|l'|el|il|die|das|der|det|den|une?)$")
ALSO_KNOWN_AS = re.compile(r"^a\.?k\.?a\.?\s+")


class AmbiguousTitleError(ValueError):
    """A title that several movies share; the message lists them."""


class UnknownTitleError(LookupError):
    """A title that no movie of the catalogue has; the message suggests near ones."""


def short_repr(value: object) -> str:
    """A value as a message repeats it: at most 80 characters, however long or deeply nested it is."""
    try:
        return reprlib.repr(value)[:80] if isinstance(value, (list, tuple, dict, set)) else f"{value!r:.80}"
    except (ValueError, RecursionError):  # a number of thousands of digits
        return f"a {type(value).__name__} too large to be shown"


def normalise(title: str) -> str:
    """Lower case, no accents, no punctuation, a trailing article moved to the front, an English one dropped."""
    text = unicodedata.normalize("NFKD", title.casefold())
    text = "".join(character for character in text if not unicodedata.combining(character)).strip()
    if moved := TRAILING_ARTICLE.match(text):
        text = f"{moved[2]} {moved[1]}"
    words = re.findall(r"\w+", text.replace("'", "").replace("&", " and "))
    if len(words) > 1 and words[0] in ("the", "a", "an"):
        words = words[1:]
    return " ".join(words)


def split_year(title: str) -> tuple[str, int | None]:
    """Cut a trailing "(1995)" off: ("Toy Story", 1995). No year there gives None."""
    text = title.rstrip()
    found = TRAILING_YEAR.search(text[-6:])
    return (text[:-6].rstrip(), int(found[1])) if found else (title, None)


def spellings(title: str) -> list[str]:
    """The normalised names a title answers to: whole, without its parentheses, and what stands in them."""
    bare = PARENTHESES.sub(" ", title).strip()
    inner = [ALSO_KNOWN_AS.sub("", text.casefold().strip()) for text in PARENTHESES.findall(title)]
    return [name for name in dict.fromkeys(map(normalise, [title, bare, *inner])) if name]


def full_title(title: str, year: int | None) -> str:
    """The title as people write it: "Toy Story (1995)"."""
    return title if year is None else f"{title} ({year})"


class TitleIndex:
    """Look-up from typed titles to positions in the lists of titles and years it was built from."""

    def __init__(self, titles: Sequence[str], years: Sequence[int | None]) -> None:
        self.titles, self.years = titles, years
        self.by_title: dict[str, list[int]] = defaultdict(list)
        self.by_spelling: dict[str, list[int]] = defaultdict(list)
        for position, title in enumerate(titles):
            for rank, name in enumerate(spellings(title)):
                (self.by_spelling if rank else self.by_title)[name].append(position)

    def candidates(self, query: str) -> list[int]:
        """Positions of every movie the query may mean; main titles come before other spellings."""
        whole = self.by_title.get(normalise(query), [])
        title, year = split_year(query)
        name = normalise(title)
        for index in (self.by_title, self.by_spelling):
            found = [position for position in index.get(name, []) if year in (None, self.years[position])]
            if found:
                return found
        return whole

    def find(self, query: str, ids: Sequence[int | str]) -> int:
        """Position of the one movie meant by `query`; `ids` name the candidates in messages.

        Raises:
            UnknownTitleError: no movie has this title; near ones are suggested.
            AmbiguousTitleError: several have it; all are listed.
        """
        found = self.find_or_none(query, ids)
        if found is None:
            raise UnknownTitleError(f"no movie is called {short_repr(query)}{self._suggestion(query)}")
        return found

    def find_or_none(self, query: str, ids: Sequence[int | str]) -> int | None:
        """Like `find`, with None for a title that no movie has."""
        found = self.candidates(query)
        if len(found) > 1:
            listed = "; ".join(
                f"{full_title(self.titles[position], self.years[position])} (id {ids[position]})" for position in found
            )
            raise AmbiguousTitleError(
                f"{short_repr(query)} may mean {len(found)} movies: {listed}. Give the year or the id."
            )
        return found[0] if found else None

    def suggest(self, query: str, limit: int = 3) -> list[str]:
        """Titles that look like the query, best first."""
        name = normalise(split_year(query)[0])
        near = difflib.get_close_matches(name, self.by_title, n=limit)
        positions = [self.by_title[match][0] for match in near]
        return [full_title(self.titles[position], self.years[position]) for position in positions]

    def _suggestion(self, query: str) -> str:
        near = self.suggest(query)
        return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


__all__ = [
    "AmbiguousTitleError",
    "TitleIndex",
    "UnknownTitleError",
    "full_title",
    "normalise",
    "short_repr",
    "split_year",
]
