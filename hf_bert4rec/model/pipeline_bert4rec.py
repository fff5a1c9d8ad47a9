"""`pipeline("movie-recommendation")`: histories of ids or titles in, movies with titles and scores out.

A flat list is one history, a list of lists (or of dicts) a batch. The answer to a history is the same alone, in any
batch, and in the evaluation's ranking.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from transformers import AutoModelForMaskedLM, Pipeline

from .explain_bert4rec import because, contributions
from .onnx_bert4rec import OnnxScorer, find_onnx
from .requests_bert4rec import Request, UnknownEntries, check_option_names, is_batch, listed, read_request, warn_caller
from .retrieval_bert4rec import Retrieval
from .steering_bert4rec import Catalogue, choose, describe
from .time_bert4rec import UNKNOWN_TIME

TASK = "movie-recommendation"
DEFAULT_BATCH_SIZE = 64


@dataclass(frozen=True)
class ModelInput:
    """What the model is shown of a request: items, oldest first, when each was, and when it is asked."""

    items: list[int]
    moments: list[int | None]
    now: int | None

    def at(self, places: list[int]) -> ModelInput:
        """The same with nothing but these places left."""
        return ModelInput([self.items[place] for place in places], [self.moments[place] for place in places], self.now)


class MovieRecommendationPipeline(Retrieval, Pipeline):
    """Recommends the next movies for a history.

    ```python
    pipe = pipeline("movie-recommendation", model=folder_or_name, trust_remote_code=True)
    pipe(["Toy Story (1995)", 50, "181"], top_k=10, genres=["Comedy"], years=(1990, 1999))
    ```

    Args of a call:
        inputs: a history (list of ids and titles, oldest first), a dict `{"history": [...]}` that may add options of
            its own, or a batch of those: a list, a `datasets` column, or a generator (answered lazily).
        batch_size: histories scored at once; changes speed, never the answer.
        top_k: movies to recommend, 1 to the size of the catalogue.
        exclude_seen: leave out the movies of the history.
        ratings: a number, or None, for each entry of the history. Entries rated below `min_rating` (3 unless given)
            count as seen, not as liked: they are neither recommended nor shown to the model.
        timestamps: when each entry of the history was, for a model that was trained with times: seconds since 1970,
            `datetime`s, ISO 8601 texts, or None. Ascending, as the history is.
        now: when the next movie is asked for, in the same forms; unknown unless given.
        exclude: ids and titles that are not to be recommended; wins over `candidates`.
        candidates: the only ids and titles that may be.
        genres: movies that have any of these, in any case.
        years: first and last year, None for no bound; movies without a year are left out.
        popularity_penalty: order by log(score) - penalty * log(share of all interactions). 1 asks what this history
            makes likelier than it is for everyone.
        diversity: 0 (order by score) to 1 (only unlikeness counts after the first movie): each movie is the one with
            the largest (1 - diversity) * relevance - diversity * likeness to those chosen before it.
        explain: add to each movie "because", the entries of the history that speak for it: `{"movie_id", "title",
            "contribution"}`, the contribution being what the log of the score loses without the entry.

    Returns a list of `{"movie_id", "title", "genres", "score", "source"}`, best first, for every history. `score` is
    the softmax over all items in float32 before any movie is left out. `source` is "model", or "popularity" where a
    history names nothing the model knows; its score is then the movie's share of all interactions. Where fewer than
    `top_k` movies are left, one warning says what each filter left.

    Args of the constructor, or of `pipeline(...)`:
        movies: a table with `movie_id` and any of `title`, `year` and `genres` (a mapping of columns or a
            `datasets.Dataset`), for a folder that holds none.
        backend: "torch", or "onnx" to score histories with the folder's `onnx/model.onnx` (needs onnxruntime).

    Raises:
        TypeError: a history that is not a list, an entry that is neither an id nor a title, an option of another type.
        ValueError: an option out of range, a title that several movies share, a genre that no movie has, an unknown
            option. LookupError: a candidate that is not in the catalogue.
    """

    tokenizer: Any

    _load_tokenizer = True
    _load_feature_extractor = False
    _load_image_processor = False
    _load_processor = False

    def __init__(self, *args: Any, movies: Any = None, backend: str = "torch", **kwargs: Any) -> None:
        if backend not in ("torch", "onnx"):
            raise ValueError(f"backend is {backend!r}; it is 'torch' or 'onnx'")
        super().__init__(*args, **kwargs)
        self.model.eval()
        for part, needed in ((self.model, "next_item_states"), (self.tokenizer, "item_tokens")):
            if not hasattr(part, needed):
                raise TypeError(
                    f"a {type(part).__name__} recommends no movies: load model and tokenizer of a BERT4Rec folder, "
                    'whose config.json has the model_type "bert4rec"'
                )
        if len(self.tokenizer) != self.model.config.vocab_size:
            raise ValueError(
                f"the tokenizer has {len(self.tokenizer)} entries and the model {self.model.config.vocab_size}: "
                "they were not made for each other; load both from one folder"
            )
        check_weights(self.model)
        if movies is not None:
            self.tokenizer = self.tokenizer.with_movies(movies)
        self.catalogue = Catalogue(self.tokenizer)
        self.onnx_scorer = None
        if backend == "onnx":
            revision = getattr(self.model.config, "_commit_hash", None)  # of a model that came from the Hub
            path = find_onnx(self.model.name_or_path, revision)
            self.onnx_scorer = OnnxScorer(path, self.model.config.vocab_size)
            self.onnx_scorer.check_is_of(self.model)

    def _sanitize_parameters(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        check_option_names(options)
        return options, {}, {}

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        options = {**self._preprocess_params, **self._sanitize_parameters(**options)[0]}
        inputs = listed(inputs)
        if isinstance(inputs, types.GeneratorType):
            return self._answers(inputs, batch_size, options)
        if isinstance(inputs, Mapping) or not is_batch(inputs):
            return next(self._answers(iter([inputs]), batch_size, options))
        return list(self._answers(iter(inputs), batch_size, options))

    def _answers(
        self, histories: Iterator[Any], batch_size: int | None, options: dict[str, Any]
    ) -> Iterator[list[dict[str, Any]]]:
        for batch in self._batches(histories, batch_size):
            yield from self.run_single(batch, options, {}, {})

    def _batches(self, histories: Iterable[Any], batch_size: int | None) -> Iterator[list[Any]]:
        histories = iter(histories)
        while batch := list(islice(histories, batch_size or self._batch_size or DEFAULT_BATCH_SIZE)):
            yield batch

    def preprocess(self, input_: Sequence[Any], **options: Any) -> dict[str, Any]:
        """Resolve a batch of histories and pad the known ones, each with a [MASK] at its end."""
        requests = self._read(input_, options)
        return {"requests": requests, **self._padded([self._shown(request) for request in requests if request.liked])}

    def _read(self, histories: Iterable[Any], options: Mapping[str, Any]) -> list[Request]:
        unknown = UnknownEntries()
        requests = [read_request(history, options, self.tokenizer, unknown) for history in histories]
        unknown.warn()
        timed = any(request.moments is not None or request.now is not None for request in requests)
        if timed and not self.model.config.time_aware:
            warn_caller("this model was trained without times: timestamps and now change nothing")
        return requests

    def _shown(self, request: Request) -> ModelInput:
        """The most recent entries that the window holds; the [MASK] takes one place."""
        start = max(0, len(request.liked) - (self.model.config.max_position_embeddings - 1))
        moments = request.moments or [None] * len(request.liked)
        return ModelInput(request.liked[start:], moments[start:], request.now)

    def _padded(self, histories: Sequence[ModelInput]) -> dict[str, torch.Tensor]:
        """Histories as model inputs (rows, longest), [MASK] at the end, padded on the right."""
        longest = max((len(history.items) + 1 for history in histories), default=0)
        ids, attended, times = [], [], []
        for history in histories:
            places = len(history.items) + 1
            left = longest - places
            ids.append([*history.items, self.tokenizer.mask_token_id, *[self.tokenizer.pad_token_id] * left])
            attended.append([1] * places + [0] * left)
            moments = [*history.moments, history.now, *[None] * left]
            times.append([UNKNOWN_TIME if moment is None else moment for moment in moments])
        columns = {"input_ids": ids, "attention_mask": attended}
        if self.model.config.time_aware:
            columns["timestamps"] = times
        # made of lists at once, which takes less than to fill tensors row by row
        return {name: torch.tensor(rows, dtype=torch.long).view(len(rows), longest) for name, rows in columns.items()}

    def _inputs_of(self, histories: list[Any]) -> dict[str, torch.Tensor]:
        """Model inputs of histories as callers write them, of those that name nothing known too."""
        return self._padded([self._shown(request) for request in self._read(histories, self._preprocess_params)])

    def _forward(self, input_tensors: dict[str, Any], **_: Any) -> dict[str, Any]:
        inputs = dict(input_tensors)
        requests = inputs.pop("requests")
        if not len(inputs["input_ids"]):
            return {"requests": requests, "logits": torch.empty(0, self.model.config.vocab_size)}
        score = self.onnx_scorer or self.model.next_item_logits
        return {"requests": requests, "logits": score(**inputs)}

    def _log_scores(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (rows, vocab) to logarithms of scores (rows, items), a softmax over items alone."""
        return logits[:, self.tokenizer.first_item_id :].log_softmax(-1)

    def postprocess(self, model_outputs: dict[str, Any], **_: Any) -> list[list[dict[str, Any]]]:
        """Turn logits (known histories, vocab) into one list of movies for every request."""
        requests = model_outputs["requests"]
        scored = iter(self._log_scores(model_outputs["logits"]))  # each (items,)
        answers = [self._movies(request, next(scored) if request.liked else None) for request in requests]
        left_over = [len(answer) - request.top_k for answer, request in zip(answers, requests, strict=True)]
        if min(left_over, default=0) < 0:
            shortest = left_over.index(min(left_over))
            left = len(answers[shortest]) or "none"
            reason = describe(requests[shortest], self.catalogue)
            warn_caller(f"{requests[shortest].top_k} movies asked for, {left} left: {reason}")
        return answers

    def _movies(self, request: Request, log_scores: torch.Tensor | None) -> list[dict[str, Any]]:
        """The answer to one request; `log_scores` is (items,), None where popularity has to do."""
        source = "popularity" if log_scores is None else "model"
        known = self.catalogue.shares.log() if log_scores is None else log_scores
        chosen = choose(request, known, self.catalogue, self._item_embeddings())
        scores = known[chosen].exp().tolist()
        movies = [
            {**self.tokenizer.movie(self.tokenizer.first_item_id + place), "score": score, "source": source}
            for place, score in zip(chosen, scores, strict=True)
        ]
        if request.explain:
            shown = self._shown(request)
            items = [] if log_scores is None else shown.items
            explained = contributions(items, chosen, known, lambda kept: self._log_scores_of(shown, kept))
            for movie, speaking in zip(movies, explained, strict=True):
                movie["because"] = because(self.tokenizer, speaking)
        return movies

    def _log_scores_of(self, shown: ModelInput, kept: list[list[int]]) -> torch.Tensor:
        """Log scores (histories, items) for what is left of a history where only some places are kept, or none."""
        inputs = self._padded([shown.at(places) for places in kept])
        return self._log_scores(self.forward({"requests": [], **inputs})["logits"])

    def add_items(self, movies: Any, vectors: torch.Tensor | None = None) -> list[dict[str, Any]]:
        """Add new movies to tokenizer and model, both or neither; see their `add_items`. Not while others are asking.

        Returns:
            What each new movie started from: `{"movie_id", "title", "input_id", "start", "similar"}`.
        """
        if self.onnx_scorer is not None:
            raise ValueError("an ONNX file cannot grow: add the movies with backend='torch', save, and export it again")
        tokenizer = copy.deepcopy(self.tokenizer)
        tokenizer.add_items(movies)
        report = self.model.add_items(tokenizer, vectors)
        self.tokenizer, self.catalogue = tokenizer, Catalogue(tokenizer)
        return report


def check_weights(model: Any) -> None:
    """Raise ValueError where weights were missing from the model's file, and are random, or are not finite."""
    mend = "the file is damaged: fetch or export the model again"
    if missing := getattr(model, "missing_weights", ()):
        raise ValueError(f"the weights lack {', '.join(missing[:3])} and {max(0, len(missing) - 3)} others; {mend}")
    for name, weight in (*model.named_parameters(), *model.named_buffers()):
        if not bool(weight.isfinite().all()):
            raise ValueError(f"the weight {name} holds NaN or infinite values; {mend}")
    if model.memory is not None:
        followers = model.memory.followers
        if int(followers.min()) < 0 or int(followers.max()) >= model.config.vocab_size:
            raise ValueError(f"memory.followers names items beyond the {model.config.vocab_size} there are; {mend}")


# A pipeline saved again after it was loaded from a Hub folder must know its own registration.
MovieRecommendationPipeline._registered_impl = {
    TASK: {"impl": MovieRecommendationPipeline, "pt": (AutoModelForMaskedLM,), "type": "text"}
}

__all__ = ["TASK", "MovieRecommendationPipeline"]
