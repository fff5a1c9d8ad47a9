"""The item tokenizer: item ids of a data set to vocabulary indices and back, and movies by title.

`items.json`, next to `tokenizer.json`, holds the item table (titles, years, genres, counts) in vocabulary order.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Container, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

from .versions_bert4rec import check_versions  # noqa: F401 (first: it refuses old versions)

# isort: split
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import TokenizersBackend

from .items_bert4rec import SPECIAL_TOKENS, TitleIndex, check_columns, full_title, read_table
from .loading_bert4rec import garbage_collection_paused, make_importable, read_object, read_tokens, report_corrupt_files
from .values_bert4rec import integral_as_int, item_token, short_repr

FIRST_ITEM_ID = len(SPECIAL_TOKENS)
ITEMS_FILE = "items.json"
JSON_FILES = ("tokenizer_config.json", "tokenizer.json")
ANSWER_KEYS = {"title", "genres", "score", "source", "because", "contribution", "input_id", "start", "similar"}
is_integer = re.compile(r"0|-?[1-9]\d{0,99}").fullmatch


class Bert4RecTokenizer(TokenizersBackend):
    """Maps item ids to `input_ids`: [PAD] is 0, [MASK] 1, [UNK] 2, items follow in the order they were given.

    Item ids are int or str as in the data set (`item_id_type`), and compared without surrounding whitespace. Their key
    in answers is `item_id_name`, the data set's column of items. Truncation drops the oldest items. `event_names` has
    the event types in the order of their ids; the first `num_target_events` can be requested.
    """

    vocab_files_names = {"tokenizer_file": "tokenizer.json", "items_file": ITEMS_FILE}  # noqa: RUF012
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012
    model = WordLevel
    truncation_side = "left"
    first_item_id = FIRST_ITEM_ID

    def __init__(
        self,
        items_file: str | None = None,
        items: dict[str, list[Any]] | None = None,
        item_id_type: str = "int",
        item_id_name: str = "movie_id",
        event_names: list[str] | tuple[str, ...] = (),
        num_target_events: int = 0,
        **kwargs: Any,
    ) -> None:
        kwargs = {**SPECIAL_TOKENS, "bos_token": None, "eos_token": None, **kwargs}
        if event_names:
            kwargs |= {"event_names": event_names, "num_target_events": num_target_events}
        super().__init__(item_id_type=item_id_type, item_id_name=item_id_name, **kwargs)
        self.item_id_type, self.item_id_name = item_id_type, item_id_name
        _check_events(event_names, num_target_events)
        self.event_names, self.num_target_events = list(event_names), num_target_events
        if item_id_type not in ("int", "str"):
            raise ValueError(f"item_id_type is {item_id_type!r}; it is 'int' or 'str'")
        if not isinstance(item_id_name, str) or item_id_name in ANSWER_KEYS:
            raise ValueError(f"item_id_name is {item_id_name!r:.40}; answers have {', '.join(sorted(ANSWER_KEYS))} too")
        self.item_tokens = self._checked_item_tokens(kwargs.get("tokenizer_file"))
        # Look-ups, built when they are needed. `datasets.map` leaves an attribute of this name out of its fingerprint.
        self.cache: dict[str, Any] = {}
        if items is None:
            items = {} if items_file is None else read_object(items_file)
        # From an untrusted source in either case: tokenizer_config.json can hold items as well.
        self.items = check_columns(items, self.num_items, str(items_file or "items"))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "cache": {}}  # so that a pickle does not depend on earlier calls

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Load as `TokenizersBackend` does; OSError without a file, ValueError for one of another class."""
        any_error = (Exception,)  # the type of all errors of the tokenizers library
        # Without this transformers parses tokenizer.json a second time, for tokens that `__init__` would refuse.
        kwargs = {"added_tokens_decoder": {}, **kwargs}
        with (
            garbage_collection_paused(),
            report_corrupt_files(pretrained_model_name_or_path, *JSON_FILES, exact_types=any_error),
        ):
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)

    @classmethod
    def convert_to_native_format(cls, trust_remote_code: bool = False, **kwargs: Any) -> dict[str, Any]:
        """Let `__init__` read `tokenizer.json` itself, with and without remote code (transformers' hook)."""
        return kwargs

    @classmethod
    def from_movies(cls, movies: Any, counts: dict[Any, int] | None = None, **kwargs: Any) -> Bert4RecTokenizer:
        """Build the vocabulary from a movies table.

        Args:
            movies: a table with `movie_id`, or the column `item_id_name`, and, if known, `title`, `year` and `genres`;
                see `read_table` for its forms and errors. Rows become items in this order.
            counts: interactions per item id in the training data, the measure of popularity.
            kwargs: options of a tokenizer, such as `item_id_name`, the key of ids in answers, and `model_max_length`:
                the model's window less the [MASK].
        """
        ids, items = read_table(movies, kwargs.get("item_id_name", "movie_id"))
        if counts is not None:
            by_token = {item_token(item): integral_as_int(count) for item, count in counts.items()}
            items["count"] = [by_token.get(str(item), 0) for item in ids]
        backend = Tokenizer(_word_level(map(str, ids)))
        backend.pre_tokenizer = WhitespaceSplit()
        item_id_type = "int" if isinstance(ids[0], int) else "str"
        return cls(tokenizer_object=backend, items=items, item_id_type=item_id_type, **kwargs)

    def with_movies(self, movies: Any) -> Bert4RecTokenizer:
        """Return a tokenizer of the same vocabulary with titles, years and genres from a table; see `from_movies`.

        Rows of other movies are ignored, unless all are (ValueError); movies without a row have no title.
        """
        ids, columns = read_table(movies, self.item_id_name)
        row_of = {str(item): row for row, item in enumerate(ids)}
        rows = [row_of.get(token) for token in self.item_tokens]
        if all(row is None for row in rows):
            raise ValueError(
                f"the table of movies has none of the catalogue's {self.num_items} items: its ids are like {ids[0]!r}, "
                f"the catalogue's like {self.item_tokens[0]!r}"
            )
        tokenizer = copy.deepcopy(self)
        for name, column in columns.items():
            tokenizer.items[name] = [None if row is None else column[row] for row in rows]
        return tokenizer

    def add_items(self, movies: Any) -> list[int]:
        """Append the movies of a table to the catalogue, in place. Follow with `model.add_items(tokenizer)`.

        Returns the new input ids, in the order of the table. KeyError or ValueError, with the tokenizer unchanged:
        those of `read_table`, a movie that exists already, or an id of another type than the catalogue's.
        """
        ids, columns = read_table(movies, self.item_id_name)
        if known := [item for item in ids if item in self]:
            raise ValueError(f"{len(known)} of the movies are in the catalogue already: {known[:5]}; leave them out")
        if not isinstance(ids[0], int if self.item_id_type == "int" else str):
            raise ValueError(f"movie_id {ids[0]!r} is not {self.item_id_type}, the type of the catalogue's ids")
        start, unknown = len(self), [None] * self.num_items
        columns = {name: [0 if name == "count" else None] * len(ids) for name in self.items} | columns
        items = {name: [*self.items.get(name, unknown), *column] for name, column in columns.items()}
        self.item_tokens, self.items, self.cache = [*self.item_tokens, *map(str, ids)], items, {}
        self._tokenizer.model = _word_level(self.item_tokens)
        return list(range(start, len(self)))

    @property
    def num_items(self) -> int:
        """Items in the catalogue, without special tokens."""
        return len(self.item_tokens)

    @property
    def item_ids(self) -> list[int | str]:
        """Every item id of the catalogue, in vocabulary order."""
        return [self._typed(token) for token in self.item_tokens]

    def __contains__(self, item_id: object) -> bool:
        return self._input_id(item_id) is not None

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Raise ValueError for new tokens, ignore those of the vocabulary: an added "10" would split the id "100"."""
        if not hasattr(self, "item_tokens"):  # under construction; the vocabulary is checked afterwards
            return super().add_tokens(new_tokens, special_tokens)
        _refuse_tokens(new_tokens, self.get_vocab())
        return 0

    def add_special_tokens(self, special_tokens_dict: Any, *args: Any, **kwargs: Any) -> int:
        """Raise ValueError for special tokens other than the three of this class, which come before the items."""
        for tokens in special_tokens_dict.values():
            _refuse_tokens(tokens, SPECIAL_TOKENS.values())
        return super().add_special_tokens(special_tokens_dict, *args, **kwargs)

    def encode_items(self, item_ids: Iterable[int | str]) -> list[int]:
        """Item ids to `input_ids`; an unknown one becomes [UNK]."""
        unknown = int(self.unk_token_id)
        return [unknown if (input_id := self._input_id(item)) is None else input_id for item in item_ids]

    @property
    def target_events(self) -> list[str]:
        """Event types that can be requested; empty if there are none."""
        return self.event_names[: self.num_target_events]

    def encode_events(self, names: Iterable[str]) -> list[int]:
        """Event types to `event_ids`; ValueError for an unknown one."""
        names = list(names)
        if unknown := [name for name in names if name not in self.event_names]:
            known = ", ".join(map(repr, self.event_names))
            problem = f"none of {known}" if known else "given to a model without event types"
            raise ValueError(f"the event type {short_repr(unknown[0])} is {problem}")
        return [self.event_names.index(name) for name in names]

    def decode_items(self, input_ids: Iterable[int]) -> list[int | str | None]:
        """`input_ids` to item ids in the data set's type; None for a special token, IndexError for one out of range."""
        decoded: list[int | str | None] = []
        for index in map(int, input_ids):
            if not 0 <= index < len(self):
                raise IndexError(f"input id {index} is outside the vocabulary of {len(self)}")
            decoded.append(self._typed(self.item_tokens[index - FIRST_ITEM_ID]) if index >= FIRST_ITEM_ID else None)
        return decoded

    def movie(self, input_id: int) -> dict[str, Any]:
        """Describe one item: its id, under `item_id_name`, its "title", with the year, and its "genres".

        IndexError for the input id of a special token, or one out of range.
        """
        position = input_id - FIRST_ITEM_ID
        if not 0 <= position < self.num_items:
            raise IndexError(f"input id {input_id} is not an item: items are from {FIRST_ITEM_ID} to {len(self) - 1}")
        return {
            self.item_id_name: self._typed(self.item_tokens[position]),
            "title": self._full_title(position) if "title" in self.items else None,
            "genres": list(self.items["genres"][position] or []) if "genres" in self.items else [],
        }

    def _cached(self, name: str, build: Callable[[], Any]) -> Any:
        if name not in self.cache:
            self.cache[name] = build()
        return self.cache[name]

    @property
    def vocabulary_sha256(self) -> str:
        """Hexadecimal sha256 of the JSON list of the item tokens, in vocabulary order."""
        return self._cached("vocabulary_sha256", lambda: sha256(json.dumps(self.item_tokens).encode()).hexdigest())

    @property
    def titles(self) -> list[str]:
        """Titles with years, in vocabulary order; empty if the tokenizer has none."""
        positions = range(self.num_items if "title" in self.items else 0)
        return self._cached("titles", lambda: list(map(self._full_title, positions)))

    def _full_title(self, position: int) -> str:
        year = self.items["year"][position] if "year" in self.items else None
        return full_title(self.items["title"][position] or self.item_tokens[position], year)

    def find(self, title: str) -> int | str:
        """Id of the movie with this title, loosely typed; UnknownTitleError, or AmbiguousTitleError for several."""
        return self._typed(self.item_tokens[self._title_index.find(title)])

    def suggest(self, title: str) -> list[str]:
        """Up to three titles of the catalogue that resemble a title which no movie has, the best first."""
        return self._title_index.suggest(title)

    def resolve(self, entry: int | str) -> int | None:
        """Return the `input_id` of an item id, or else a title; None for neither, AmbiguousTitleError for several."""
        input_id = self._input_id(entry)
        if input_id is None and isinstance(entry, str):
            position = self._title_index.find_or_none(entry)
            input_id = None if position is None else FIRST_ITEM_ID + position
        return input_id

    def _save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> tuple[str, ...]:
        try:
            saved = super()._save_pretrained(save_directory, *args, **kwargs)
        except Exception as error:
            if type(error) is not Exception:
                raise
            # The tokenizers library raises a bare Exception, without the path, where the disk is full.
            raise OSError(f"tokenizer.json could not be written to {save_directory}: {error}") from error
        items_file = Path(save_directory) / ITEMS_FILE
        items_file.write_text(json.dumps(self.items, ensure_ascii=False), encoding="utf-8")
        return (*saved, str(items_file))

    def _input_id(self, item_id: object) -> int | None:
        """The `input_id` of an item id; None if it is not in the catalogue."""
        try:
            input_id = self._tokenizer.token_to_id(item_token(item_id))
        except UnicodeEncodeError:  # half a surrogate pair
            return None
        return None if input_id is None or input_id < FIRST_ITEM_ID else input_id

    @property
    def _title_index(self) -> TitleIndex:
        def build() -> TitleIndex:
            titles = [title or "" for title in self.items.get("title", [])]
            return TitleIndex(titles, self.items.get("year", [None] * len(titles)), self.item_tokens)

        return self._cached("titles by name", build)

    def _typed(self, token: str) -> int | str:
        return int(token) if self.item_id_type == "int" else token

    def _checked_item_tokens(self, tokenizer_file: str | None) -> list[str]:
        """Return item tokens in vocabulary order; ValueError unless this class could have written the vocabulary."""
        tokens: list[Any] = read_tokens(tokenizer_file) if tokenizer_file else []
        if len(tokens) != len(self):
            tokens = list(map(self._tokenizer.id_to_token, range(len(self))))
        if None in tokens:
            raise ValueError("tokenizer.json: its ids are not 0, 1, 2, …; build it with from_movies")
        specials = list(SPECIAL_TOKENS.values())
        if tokens[: len(specials)] != specials:
            raise ValueError(f"tokenizer.json: its first tokens are {tokens[:3]}, not {specials}")
        for name, token in SPECIAL_TOKENS.items():
            if str(getattr(self, name)) != token:
                raise ValueError(f"tokenizer_config.json: {name} is {getattr(self, name)!r:.40}, not {token!r}")
        if not isinstance(self._tokenizer.model, WordLevel):  # others split ids into parts
            raise ValueError(f"tokenizer.json: its model is {self._tokenizer.model!r:.20}…, not a WordLevel one")
        items = tokens[len(specials) :]
        if self.item_id_type == "int" and (wrong := [token for token in items if not is_integer(token)]):
            raise ValueError(f"tokenizer.json: item {wrong[0]!r:.40} is not an integer, as item_id_type 'int' requires")
        if added := sorted(set(self.get_added_vocab()) - set(specials)):
            raise ValueError(f"tokenizer.json: items {short_repr(added)} are added tokens; build it with from_movies")
        return items


def _check_events(names: Any, num_target_events: Any) -> None:
    """Raise ValueError unless event types are different names, and the targets are some of them."""
    listed = isinstance(names, (list, tuple)) and all(isinstance(name, str) and name for name in names)
    if not listed or len(set(names)) < len(names):
        raise ValueError(f"event_names is {short_repr(names)}; it is a list of different names")
    lower, upper = min(1, len(names)), len(names)
    if type(num_target_events) is not int or not lower <= num_target_events <= upper:
        raise ValueError(f"num_target_events is {short_repr(num_target_events)}; it must be from {lower} to {upper}")


def _refuse_tokens(tokens: Any, allowed: Container[str]) -> None:
    """Raise ValueError for a token, or one of a list of tokens, that is not allowed."""
    for token in map(str, tokens if isinstance(tokens, (list, tuple)) else [tokens]):
        if token not in allowed:
            hint = "add items with tokenizer.add_items(movies) and model.add_items(tokenizer)"
            raise ValueError(f"{short_repr(token)} cannot be added as a token: {hint}")


def _word_level(item_tokens: Iterable[str]) -> WordLevel:
    """The vocabulary: special tokens, then items."""
    tokens = [*SPECIAL_TOKENS.values(), *item_tokens]
    return WordLevel({token: index for index, token in enumerate(tokens)}, unk_token=SPECIAL_TOKENS["unk_token"])


Bert4RecTokenizer.register_for_auto_class("AutoTokenizer")
make_importable(__name__)
