"""The item tokenizer: a data set's item ids to vocabulary indices and back, and movies by title.

Three special tokens come first, then one token an item. `items.json`, beside `tokenizer.json`, holds what is known of
the items (titles, years, genres, interaction counts), in the vocabulary's order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import TokenizersBackend

from .items_bert4rec import appended, check_columns, described, read_table
from .json_bert4rec import read_object, report_corrupt_files
from .titles_bert4rec import TitleIndex, full_title

SPECIAL_TOKENS = {"pad_token": "[PAD]", "mask_token": "[MASK]", "unk_token": "[UNK]"}
ITEM_COLUMNS = ("title", "year", "genres", "count")
ITEMS_FILE = "items.json"
JSON_FILES = ("tokenizer_config.json", "tokenizer.json")
WHOLE = re.compile(r"0|-?[1-9]\d{0,99}").fullmatch


class Bert4RecTokenizer(TokenizersBackend):
    """Maps item ids to `input_ids`: [PAD] is 0, [MASK] 1, [UNK] 2, items follow in the order they were given.

    Build one with `from_movies`; load one with `from_pretrained` or `AutoTokenizer`. Item ids are int or str as in
    the data set (`item_id_type`).
    """

    vocab_files_names = {"tokenizer_file": "tokenizer.json", "items_file": ITEMS_FILE}  # noqa: RUF012
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012
    model = WordLevel

    def __init__(
        self,
        items_file: str | None = None,
        items: dict[str, list[Any]] | None = None,
        item_id_type: str = "int",
        **kwargs: Any,
    ) -> None:
        kwargs = {**SPECIAL_TOKENS, "bos_token": None, "eos_token": None, **kwargs}
        is_from_files = "tokenizer_object" not in kwargs
        super().__init__(item_id_type=item_id_type, **kwargs)
        self.item_id_type = item_id_type
        if item_id_type not in ("int", "str"):
            raise ValueError(f"item_id_type is {item_id_type!r}; it is 'int' or 'str'")
        self.item_tokens = self._checked_item_tokens()
        if items is None and items_file is not None:
            items = read_object(items_file)
        if items is not None and is_from_files:  # tokenizer_config.json can hold them as well
            check_columns(items, self.num_items, str(items_file or "items"))
        self.items = self._checked_items(items or {}, items_file or "items")

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Load as `TokenizersBackend.from_pretrained` does.

        Raises:
            OSError: a file is missing. ValueError: one is not what this class writes.
        """
        with report_corrupt_files(
            pretrained_model_name_or_path, *JSON_FILES, bare=(Exception,)
        ):  # as tokenizers raises
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)

    @classmethod
    def convert_to_native_format(cls, trust_remote_code: bool = False, **kwargs: Any) -> dict[str, Any]:
        """Let `__init__` read `tokenizer.json` itself, with and without remote code (transformers' hook)."""
        return kwargs

    @classmethod
    def from_movies(cls, movies: Any, counts: dict[Any, int] | None = None, **kwargs: Any) -> Bert4RecTokenizer:
        """Build the vocabulary from a movies table.

        Args:
            movies: a `datasets.Dataset` or mapping of columns with `movie_id` and, if known, `title`, `year` and
                `genres`. Rows become items in this order. Without a year column the year is split off the title.
            counts: interactions an item has in the training data; what popularity is measured by.

        Raises:
            ValueError: no movies, ids of mixed types or twice the same one, an id that is a special token.
        """
        ids, items = read_table(movies, SPECIAL_TOKENS.values())
        if counts is not None:
            items["count"] = [int(counts.get(item, 0)) for item in ids]
        backend = _backend([*SPECIAL_TOKENS.values(), *map(str, ids)])
        kind = "int" if isinstance(ids[0], int) else "str"
        return cls(tokenizer_object=backend, items=items, item_id_type=kind, **kwargs)

    def with_movies(self, movies: Any) -> Bert4RecTokenizer:
        """A tokenizer of the same vocabulary that has titles, years and genres from a table; see `from_movies`.

        Rows of movies that are not in the catalogue are passed over, movies without a row have no title.

        Raises:
            ValueError: the table has none of the catalogue's movies.
        """
        ids, columns = read_table(movies, SPECIAL_TOKENS.values())
        items = {**self.items, **described(self.item_tokens, ids, columns)}
        backend = _backend([*SPECIAL_TOKENS.values(), *self.item_tokens])
        return type(self)(tokenizer_object=backend, items=items, item_id_type=self.item_id_type)

    def add_items(self, movies: Any) -> list[int]:
        """Append movies to the catalogue, in place; old input ids stay. Follow with `model.add_items(tokenizer)`.

        Args:
            movies: a table as in `from_movies`, of new movies alone.

        Returns:
            The new input ids, contiguous, in the order of the table.

        Raises:
            ValueError: a movie that exists already, an id of another type than the catalogue's, or a bad table; the
                tokenizer is as it was.
        """
        ids, columns = read_table(movies, SPECIAL_TOKENS.values())
        if existing := [item for item in ids if item in self]:
            raise ValueError(
                f"{len(existing)} of the movies are in the catalogue already: {existing[:5]}; leave them out"
            )
        if not isinstance(ids[0], int if self.item_id_type == "int" else str):
            raise ValueError(f"movie_id {ids[0]!r} is not {self.item_id_type}, as the catalogue's ids are")
        items = appended(self.items, self.num_items, columns, len(ids))
        self._tokenizer.model = _word_level([*SPECIAL_TOKENS.values(), *self.item_tokens, *map(str, ids)])
        start = len(self.item_tokens) + len(SPECIAL_TOKENS)
        self.item_tokens, self.items = [*self.item_tokens, *map(str, ids)], items
        for name in ("titles", "_index", "_title_index"):
            self.__dict__.pop(name, None)
        return list(range(start, start + len(ids)))

    @property
    def num_items(self) -> int:
        """Items in the catalogue, special tokens left out."""
        return len(self.item_tokens)

    @property
    def first_item_id(self) -> int:
        """The vocabulary index of the first item; items take all indices from here on."""
        return len(self) - self.num_items

    @property
    def item_ids(self) -> list[int | str]:
        """Every item id of the catalogue, in vocabulary order."""
        return [self._typed(token) for token in self.item_tokens]

    def __contains__(self, item_id: object) -> bool:
        return str(item_id) in self._index

    def encode_items(self, item_ids: Iterable[int | str]) -> list[int]:
        """Item ids to `input_ids`; an unknown one becomes [UNK]."""
        index, unknown = self._index, int(self.unk_token_id)
        return [index.get(str(item), unknown) for item in item_ids]

    def decode_items(self, input_ids: Iterable[int]) -> list[int | str | None]:
        """`input_ids` to item ids in the data set's own type; None for a special token.

        Raises:
            IndexError: an index outside the vocabulary.
        """
        first = self.first_item_id
        decoded: list[int | str | None] = []
        for index in map(int, input_ids):
            if not 0 <= index < len(self):
                raise IndexError(f"input id {index} is outside the vocabulary of {len(self)}")
            decoded.append(self._typed(self.item_tokens[index - first]) if index >= first else None)
        return decoded

    def movie(self, input_id: int) -> dict[str, Any]:
        """What is known of one item: `{"movie_id", "title", "genres"}`; the title carries its year."""
        position = input_id - self.first_item_id
        return {
            "movie_id": self._typed(self.item_tokens[position]),
            "title": self.titles[position] if self.titles else None,
            "genres": list(self.items["genres"][position] or []) if "genres" in self.items else [],
        }

    @cached_property
    def titles(self) -> list[str]:
        """Titles with years, in vocabulary order; empty where the tokenizer has none."""
        if "title" not in self.items:
            return []
        return [
            full_title(title or str(item), year)
            for title, year, item in zip(self.items["title"], self._years, self.item_tokens, strict=True)
        ]

    def find(self, title: str) -> int | str:
        """The id of the movie with this title, loosely typed.

        Raises:
            UnknownTitleError: none has it. AmbiguousTitleError: several have it; all are listed.
        """
        return self.item_ids[self._title_index.find(title, self.item_tokens)]

    def resolve(self, entry: int | str) -> int | None:
        """The `input_id` meant by one entry of a history, an item id or else a title; None where it is neither.

        Raises:
            AmbiguousTitleError: a title of several movies; all are listed.
        """
        found = self._index.get(str(entry))
        if found is None and isinstance(entry, str):
            position = self._title_index.find_or_none(entry, self.item_tokens)
            found = None if position is None else self.first_item_id + position
        return found

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write `items.json`; `tokenizer.json` is written by transformers."""
        name = f"{filename_prefix}-{ITEMS_FILE}" if filename_prefix else ITEMS_FILE
        path = Path(save_directory) / name
        path.write_text(json.dumps(self.items, ensure_ascii=False), encoding="utf-8")
        return (str(path),)

    def _save_pretrained(
        self,
        save_directory: Any,
        file_names: tuple[str, ...],
        filename_prefix: str | None = None,
        **kwargs: Any,
    ) -> tuple[str, ...]:
        try:
            saved = super()._save_pretrained(save_directory, file_names, filename_prefix=filename_prefix, **kwargs)
        except Exception as error:
            if type(error) is not Exception:
                raise
            # All that the library in Rust says of a disk, and not where.
            raise OSError(f"tokenizer.json could not be written to {save_directory}: {error}") from error
        return saved + self.save_vocabulary(str(save_directory), filename_prefix)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {token: self.first_item_id + position for position, token in enumerate(self.item_tokens)}

    @cached_property
    def _title_index(self) -> TitleIndex:
        return TitleIndex([title or "" for title in self.items.get("title", [])], self._years)

    @property
    def _years(self) -> list[int | None]:
        return self.items.get("year", [None] * self.num_items)

    def _typed(self, token: str) -> int | str:
        return int(token) if self.item_id_type == "int" else token

    def _checked_item_tokens(self) -> list[str]:
        """Item tokens in vocabulary order, after checking that the vocabulary is what this class writes."""
        vocabulary = sorted(self.get_vocab().items(), key=lambda entry: entry[1])
        if [index for _, index in vocabulary] != list(range(len(vocabulary))):
            raise ValueError("tokenizer.json: its ids are not 0, 1, 2, … each once; build it with from_movies")
        tokens = [token for token, _ in vocabulary]
        specials = list(SPECIAL_TOKENS.values())
        if tokens[: len(specials)] != specials:
            raise ValueError(f"tokenizer.json: its first tokens are {tokens[:3]}, not {specials}")
        for name, token in SPECIAL_TOKENS.items():
            if str(getattr(self, name)) != token:
                raise ValueError(f"tokenizer_config.json: {name} is {getattr(self, name)!r:.40}, not {token!r}")
        if not isinstance(self._tokenizer.model, WordLevel):
            raise ValueError(f"tokenizer.json: its model is {self._tokenizer.model!r:.20}…, not a WordLevel one")
        if self.item_id_type == "int" and (odd := next((t for t in tokens[len(specials) :] if not WHOLE(t)), None)):
            raise ValueError(f"tokenizer.json: item {odd!r:.40} is no whole number, which item_id_type 'int' promises")
        return tokens[len(specials) :]

    def _checked_items(self, items: dict[str, list[Any]], source: str) -> dict[str, list[Any]]:
        for name, column in items.items():
            if name not in ITEM_COLUMNS or not isinstance(column, list) or len(column) != self.num_items:
                raise ValueError(
                    f"{source}: {name!r} must be one of {ITEM_COLUMNS} with one value for each of "
                    f"{self.num_items} items"
                )
        return items


def _word_level(tokens: list[str]) -> WordLevel:
    return WordLevel({token: index for index, token in enumerate(tokens)}, unk_token=SPECIAL_TOKENS["unk_token"])


def _backend(tokens: list[str]) -> Tokenizer:
    backend = Tokenizer(_word_level(tokens))
    backend.pre_tokenizer = WhitespaceSplit()
    return backend


Bert4RecTokenizer.register_for_auto_class("AutoTokenizer")

__all__ = ["Bert4RecTokenizer"]
