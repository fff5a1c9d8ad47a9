"""`pipeline("movie-recommendation")`: histories of ids or titles in, movies with titles and scores out.

A flat list is one history, a list of lists (or of dicts) a batch. The answer to a history is the same alone, in any
batch, and in the evaluation's ranking.
"""

from __future__ import annotations

import types
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from numbers import Integral
from typing import Any

import torch
from transformers import AutoModelForMaskedLM, Pipeline

TASK = "movie-recommendation"
DEFAULT_TOP_K = 10
DEFAULT_BATCH_SIZE = 64
CALLER = 5  # frames from preprocess and postprocess up to the user's own line, for warnings


@dataclass(frozen=True)
class Request:
    """One history, resolved: what was seen (input ids, oldest first) and what is asked."""

    seen: list[int]
    top_k: int
    exclude_seen: bool


class MovieRecommendationPipeline(Pipeline):
    """Recommends the next movies for a history.

    ```python
    pipe = pipeline("movie-recommendation", model=folder_or_name, trust_remote_code=True)
    pipe(["Toy Story (1995)", 50, "181"], top_k=10)
    ```

    Args of a call:
        inputs: a history (list of ids and titles, oldest first), a dict `{"history": [...]}` that may add options of
            its own, or a batch of those: a list, a `datasets` column, or a generator (answered lazily).
        top_k: movies to recommend, 1 to the size of the catalogue.
        exclude_seen: leave out the movies of the history.
        batch_size: histories scored at once; changes speed, never the answer.

    Returns a list of `{"movie_id", "title", "genres", "score", "source"}`, best first, for every history. `score` is
    the softmax over all items in float32 before any movie is left out. `source` is "model", or "popularity" where a
    history names nothing the model knows; its score is then the movie's share of all interactions.

    Raises:
        TypeError: a history that is not a list, an entry that is neither an id nor a title.
        ValueError: `top_k` out of range, a title that several movies share, an unknown option.
    """

    _load_tokenizer = True
    _load_feature_extractor = False
    _load_image_processor = False
    _load_processor = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model.eval()
        if len(self.tokenizer) != self.model.config.vocab_size:
            raise ValueError(
                f"the tokenizer has {len(self.tokenizer)} entries and the model {self.model.config.vocab_size}: "
                "they were not made for each other; load both from one folder"
            )

    def _sanitize_parameters(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        unknown = sorted(set(options) - {"top_k", "exclude_seen"})
        if unknown:
            raise ValueError(f"unknown option {unknown[0]!r}; a request takes top_k and exclude_seen")
        return options, {}, {}

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        size = batch_size or self._batch_size or DEFAULT_BATCH_SIZE
        options = {**self._preprocess_params, **self._sanitize_parameters(**options)[0]}
        inputs = _listed(inputs)
        if isinstance(inputs, types.GeneratorType):
            return self._answers(inputs, size, options)
        if isinstance(inputs, Mapping) or not _is_batch(inputs):
            return next(self._answers(iter([inputs]), 1, options))
        return list(self._answers(iter(inputs), size, options))

    def _answers(
        self, histories: Iterator[Any], batch_size: int, options: dict[str, Any]
    ) -> Iterator[list[dict[str, Any]]]:
        while batch := list(islice(histories, batch_size)):
            yield from self.run_single(batch, options, {}, {})

    def preprocess(self, input_: Sequence[Any], **options: Any) -> dict[str, Any]:
        """Resolve a batch of histories and pad the known ones, each with a [MASK] at its end."""
        unknown: list[str] = []
        requests = [self._request(history, options, unknown) for history in input_]
        if unknown:
            names = ", ".join(dict.fromkeys(unknown))
            warnings.warn(f"not in the catalogue, left out of the history: {names}", stacklevel=CALLER)
        room = self.model.config.max_position_embeddings - 1  # the [MASK] takes one place
        known = [[*request.seen[-room:], self.tokenizer.mask_token_id] for request in requests if request.seen]
        longest = max(map(len, known), default=0)
        input_ids = torch.full((len(known), longest), self.tokenizer.pad_token_id)
        attention_mask = torch.zeros_like(input_ids)
        for row, ids in enumerate(known):
            input_ids[row, : len(ids)] = torch.tensor(ids)
            attention_mask[row, : len(ids)] = 1
        return {"requests": requests, "input_ids": input_ids, "attention_mask": attention_mask}

    def _request(self, history: Any, options: dict[str, Any], unknown: list[str]) -> Request:
        if isinstance(history, Mapping):
            given = dict(history)
            if "history" not in given:
                raise ValueError(f"a request needs the key 'history'; this one has {sorted(given)}")
            history = given.pop("history")
            options = {**options, **self._sanitize_parameters(**given)[0]}
        history = _listed(history)
        if not isinstance(history, (list, tuple)):
            raise TypeError(f"a history is a list of ids and titles, not {type(history).__name__}: {history!r:.80}")
        seen = [index for entry in history if (index := self._resolve(entry, unknown)) is not None]
        top_k = options.get("top_k", DEFAULT_TOP_K)
        if not isinstance(top_k, Integral) or isinstance(top_k, bool):
            raise TypeError(f"top_k is a whole number, not {top_k!r}")
        if not 1 <= int(top_k) <= self.tokenizer.num_items:
            raise ValueError(
                f"top_k is {top_k}; it must be from 1 to the catalogue's {self.tokenizer.num_items} movies"
            )
        return Request(seen, int(top_k), bool(options.get("exclude_seen", True)))

    def _resolve(self, entry: Any, unknown: list[str]) -> int | None:
        if isinstance(entry, bool) or not isinstance(entry, (str, Integral)):
            raise TypeError(f"an entry of a history is an id or a title, not {type(entry).__name__}: {entry!r:.80}")
        found = self.tokenizer.resolve(entry if isinstance(entry, str) else int(entry))
        if found is None:
            unknown.append(repr(entry))
        return found

    def _forward(self, input_tensors: dict[str, Any], **_: Any) -> dict[str, Any]:
        requests, input_ids = input_tensors["requests"], input_tensors["input_ids"]
        if not len(input_ids):
            return {"requests": requests, "logits": torch.empty(0, self.model.config.vocab_size)}
        logits = self.model.next_item_logits(input_ids, input_tensors["attention_mask"])
        return {"requests": requests, "logits": logits}

    def postprocess(self, model_outputs: dict[str, Any], **_: Any) -> list[list[dict[str, Any]]]:
        """Turn logits (known histories, vocab) into one list of movies for every request."""
        first = self.tokenizer.first_item_id
        scores = iter(model_outputs["logits"][:, first:].softmax(-1))  # each (items,)
        answers = []
        for request in model_outputs["requests"]:
            source = "model" if request.seen else "popularity"
            answers.append(self._movies(request, next(scores) if request.seen else self._popularity(), source))
        asked = [request.top_k for request in model_outputs["requests"]]
        short = [len(answer) for answer, top_k in zip(answers, asked, strict=True) if len(answer) < top_k]
        if short:
            warnings.warn(
                f"{max(asked)} movies asked for, {min(short)} left after the seen ones were left out",
                stacklevel=CALLER,
            )
        return answers

    def _movies(self, request: Request, scores: torch.Tensor, source: str) -> list[dict[str, Any]]:
        """The best unseen movies of one history; `scores` is (items,)."""
        first = self.tokenizer.first_item_id
        seen = {index - first for index in request.seen} if request.exclude_seen else set()
        best = scores.topk(min(request.top_k + len(seen), len(scores)))
        ranked = [
            (position, score)
            for position, score in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            if position not in seen
        ][: request.top_k]
        return [
            {**self.tokenizer.movie(first + position), "score": score, "source": source} for position, score in ranked
        ]

    def _popularity(self) -> torch.Tensor:
        """Every item's share of the training interactions, (items,)."""
        counts = self.tokenizer.items.get("count")
        if counts is None:
            raise ValueError(
                "a history without known movies is answered by popularity, and this tokenizer has no interaction "
                "counts: build it with from_movies(movies, counts=...)"
            )
        shares = torch.tensor(counts, dtype=torch.float64)
        return (shares / shares.sum().clamp(min=1)).float()


def _listed(value: Any) -> Any:
    """Arrays, columns and other iterables as lists; mappings, strings, scalars and generators as they are."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (list, Mapping, str, bytes, types.GeneratorType)) or not isinstance(value, Iterable):
        return value
    return list(value)


def _is_batch(inputs: Any) -> bool:
    """Whether a list holds histories rather than entries; a mixture is an error."""
    if not isinstance(inputs, list):
        raise TypeError(f"a history is a list of ids and titles, not {type(inputs).__name__}: {inputs!r:.80}")
    nested = [not isinstance(entry, (str, Integral)) and isinstance(entry, Iterable) for entry in inputs]
    if any(nested) and not all(nested):
        place = nested.index(not nested[0])
        raise TypeError(
            f"entry {place} is {inputs[place]!r:.80}: a list holds either the entries of one history or several "
            "histories, not both"
        )
    return bool(nested) and nested[0]


# A pipeline saved again after it was loaded from a Hub folder must know its own registration.
MovieRecommendationPipeline._registered_impl = {
    TASK: {"impl": MovieRecommendationPipeline, "pt": (AutoModelForMaskedLM,), "type": "text"}
}

__all__ = ["TASK", "MovieRecommendationPipeline"]
