"""Items found by a loosely typed title.

Case, accents, punctuation and the position of an article do not matter in a title ("Godfather, The" is "the godfather"
is "Godfather"), and the year may be missing; a year tells remakes apart. Titles are not unique, so any look-up can be
ambiguous.
"""

from __future__ import annotations

import difflib
import re
import sys
import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cached_property

import torch

from .items_bert4rec import short_repr, split_year

PARENTHESES = re.compile(r"\(([^()]*)\)")
TRAILING_ARTICLE = re.compile(r"^(.*), (the|an?|l[aeo]s?|l'|el|il|die|das|der|det|den|une?)$")
ALSO_KNOWN_AS = re.compile(r"^a\.?k\.?a\.?\s+")
ENGLISH_ARTICLES = ("the", "a", "an")
TITLES_AT_ONCE = 2**16  # bounds the memory of `letter_sums`


class AmbiguousTitleError(ValueError):
    """A title that several movies share; the message lists them."""


class UnknownTitleError(LookupError):
    """A title that no movie of the catalogue has; the message suggests similar ones."""


def normalise(title: str) -> str:
    """Lower case, no accents, no punctuation, a trailing article moved to the front, an English one dropped."""
    text = _fold(title).strip()
    if ", " in text and (moved := TRAILING_ARTICLE.match(text)):
        text = f"{moved[2]} {moved[1]}"
    words = re.findall(r"\w+", text.replace("'", "").replace("&", " and "))
    if len(words) > 1 and words[0] in ENGLISH_ARTICLES:
        words = words[1:]
    return " ".join(words)


def _fold(text: str) -> str:
    """Lower case without accents, character by character: the fold of a text is that of its characters, joined."""
    text = text.casefold()
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def spellings(title: str) -> list[str]:
    """The normalised names of a title: all of it, without its parentheses, and the content of these."""
    return [name for name in dict.fromkeys(map(normalise, [title, *_other_names(title)])) if name]


def _other_names(title: str) -> list[str]:
    """A title without its parentheses, and the content of these; nothing if it has none."""
    inner = PARENTHESES.findall(title)
    return inner and [
        PARENTHESES.sub(" ", title).strip(),
        *(ALSO_KNOWN_AS.sub("", text.casefold().strip()) for text in inner),
    ]


def full_title(title: str, year: int | None) -> str:
    """The title as people write it: "Toy Story (1995)"."""
    return title if year is None else f"{title} ({year})"


class NameIndex:
    """Which texts may have the same `normalise`d name: those with the same letters, whatever their order.

    Building it hashes characters by tensor operations; normalising a million titles would take ten times as long.
    """

    def __init__(self, texts: Sequence[str], positions: torch.Tensor) -> None:
        sums = letter_sums(texts)
        order = sums.argsort(stable=True)
        self.sums = array("q", sums[order].tolist())  # ascending
        self.positions = array("q", positions[order].tolist())

    def candidates(self, name: str) -> list[int]:
        """Ascending positions of the texts that may be called `name`, with or without an English article."""
        positions = set()
        letters = name.replace(" ", "")
        for article in ("", *ENGLISH_ARTICLES):
            total = _letter_sum(article + letters)
            row = bisect_left(self.sums, total)
            while row < len(self.sums) and self.sums[row] == total:
                positions.add(self.positions[row])
                row += 1
        return sorted(positions)


def letter_sums(texts: Sequence[str]) -> torch.Tensor:
    """For every text the sum (texts,), int64, of the hashes of the letters and digits that `normalise` makes of it."""
    values = torch.zeros(sys.maxunicode + 1, dtype=torch.long)
    sums = [torch.empty(0, dtype=torch.long)]
    for start in range(0, len(texts), TITLES_AT_ONCE):
        chunk = texts[start : start + TITLES_AT_ONCE]
        encoded = bytearray("\0".join(["", *chunk, ""]).encode("utf-32-le", "surrogatepass"))
        codes = torch.frombuffer(encoded, dtype=torch.int32)
        for code in codes.bincount().nonzero().flatten().tolist():
            values[code] = _letter_sum(re.findall(r"\w", _fold(chr(code)).replace("&", "and")))
        totals = values.index_select(0, codes).cumsum(0)
        lengths = torch.frombuffer(array("q", [0, *map(len, chunk)]), dtype=torch.long)
        ends = lengths.cumsum(0) + torch.arange(len(lengths))  # of every text, with the separator before it
        sums.append(totals[ends].diff())
    return torch.cat(sums)


def _letter_sum(letters: Iterable[str]) -> int:
    """The sum of the hashes of letters, as int64 overflows."""
    return (sum(map(hash, letters)) + 2**63) % 2**64 - 2**63


class TitleIndex:
    """Look-up from typed titles to positions in the lists of titles and years it was built from."""

    def __init__(self, titles: Sequence[str], years: Sequence[int | None]) -> None:
        self.titles, self.years = titles, years
        self.by_title = NameIndex(titles, torch.arange(len(titles)))

    @cached_property
    def by_other_name(self) -> NameIndex:
        """The other names of titles with parentheses."""
        pairs = [
            (name, position)
            for position, title in enumerate(self.titles)
            if "(" in title
            for name in _other_names(title)
        ]
        return NameIndex([name for name, _ in pairs], torch.tensor([row for _, row in pairs], dtype=torch.long))

    def candidates(self, query: str) -> list[int]:
        """Positions of every movie the query may mean; main titles come before other spellings."""
        title, year = split_year(query)
        for named in (self._with_title, self._with_other_name):
            positions = [position for position in named(normalise(title)) if year in (None, self.years[position])]
            if positions:
                return positions
        return self._with_title(normalise(query))

    def _with_title(self, name: str) -> list[int]:
        candidates = self.by_title.candidates(name) if name else []
        return [position for position in candidates if normalise(self.titles[position]) == name]

    def _with_other_name(self, name: str) -> list[int]:
        candidates = self.by_other_name.candidates(name) if name else []
        return [position for position in candidates if name in spellings(self.titles[position])[1:]]

    def find(self, query: str, ids: Sequence[int | str]) -> int:
        """Position of the one movie meant by `query`; `ids` name the candidates in messages.

        Raises:
            UnknownTitleError: no movie has this title; similar ones are suggested.
            AmbiguousTitleError: several have it; all are listed.
        """
        position = self.find_or_none(query, ids)
        if position is None:
            raise UnknownTitleError(f"no movie is called {short_repr(query)}{self._suggestion(query)}")
        return position

    def find_or_none(self, query: str, ids: Sequence[int | str]) -> int | None:
        """Like `find`, but None for a title that no movie has."""
        positions = self.candidates(query)
        if len(positions) > 1:
            listed = "; ".join(
                f"{full_title(self.titles[position], self.years[position])} (id {ids[position]})"
                for position in positions
            )
            raise AmbiguousTitleError(
                f"{short_repr(query)} may mean {len(positions)} movies: {listed}. Give the year or the id."
            )
        return positions[0] if positions else None

    @cached_property
    def names(self) -> dict[str, int]:
        """The first position of every name."""
        names: dict[str, int] = {}
        for position, title in enumerate(self.titles):
            names.setdefault(normalise(title), position)
        return {name: position for name, position in names.items() if name}

    def suggest(self, query: str, limit: int = 3) -> list[str]:
        """Titles similar to the query, best first."""
        matches = difflib.get_close_matches(normalise(split_year(query)[0]), self.names, n=limit)
        positions = [self.names[match] for match in matches]
        return [full_title(self.titles[position], self.years[position]) for position in positions]

    def _suggestion(self, query: str) -> str:
        matches = self.suggest(query)
        return f"; did you mean {' or '.join(map(repr, matches))}?" if matches else ""


__all__ = [
    "AmbiguousTitleError",
    "TitleIndex",
    "UnknownTitleError",
    "full_title",
    "normalise",
]
