"""`pipeline("movie-recommendation")`, or `"item-recommendation"`: histories in, items with titles and scores out.

A request is parsed and encoded (`requests_bert4rec.py`), scored by the model, ranked (`ranking_bert4rec.py`) and
answered with titles. The answer to a history does not depend on its batch and equals the evaluation's ranking.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice, repeat
from numbers import Integral
from typing import Any

from .versions_bert4rec import check_versions  # noqa: F401 (first: it refuses old versions)

# isort: split
import torch
from transformers import AutoModelForMaskedLM, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from .configuration_bert4rec import TASKS
from .loading_bert4rec import check_parts, check_weights, make_importable
from .onnx_bert4rec import ONNX_FILE, OnnxScorer, find_onnx
from .ranking_bert4rec import Catalogue, Corrections, ItemEmbeddings, contributions, describe_filters, select_movies
from .requests_bert4rec import (
    DEFAULT_TOP_K,
    Request,
    check_option_names,
    encode,
    parse_batch_size,
    parse_movies,
    parse_request,
    parse_top_k,
    read_histories,
    warn_caller,
    warn_unknown,
)
from .values_bert4rec import as_list, short_repr

try:
    from os import register_at_fork
except ImportError:  # Windows does not fork
    register_at_fork = None  # type: ignore[assignment]

TASK = TASKS[0]


class MovieRecommendationPipeline(Pipeline):
    """Recommends the next movies for a history.

    ```python
    pipe = pipeline("movie-recommendation", model=folder_or_name, trust_remote_code=True)
    pipe(["Toy Story (1995)", 50, "181"], top_k=10, genres=["Comedy"], years=(1990, 1999))
    ```

    Args of a call:
        inputs: a history (list of ids and titles, oldest first), a dict `{"history": [...]}` with options of its own,
            or a batch of those: a list, a `datasets` column, or a data set or iterator, which is answered lazily. Other
            keys of a dict are ignored with a warning, and an option that is None or NaN is not given. `[]` is one empty
            history, an empty column of histories an empty batch.
        batch_size: histories scored at once, 1 or more; changes speed, never the answer.
        num_workers: ignored; part of the signature of transformers.
        top_k: movies to recommend, 1 to the size of the catalogue; 10 by default, or all of a smaller catalogue.
        goal: "next" for what such users watched next, by the network, or "taste" for what people who like these movies
            also like, whatever the order and times of the history; after one movie, every third of ten is a similar
            one. By default "taste" for a history without times and events if the model has `config.taste_size`, else
            "next".
        exclude_seen: leave out the movies of the history; by default as `config.exclude_seen` says.
        ratings: a number or None for each entry of the history; thumbs up and down are True and False. Entries rated
            below `min_rating` (default 3) are neither recommended nor part of the model's input.
        timestamps: the time of each entry of the history, ascending, for a model trained with times: seconds, milli-,
            micro- or nanoseconds since 1970, `datetime`s, ISO 8601 texts, or None.
        now: the time of the recommendation, in the same forms; unknown by default.
        events: the kind of event of each entry of the history, such as "view", for a model trained with kinds of
            events (`tokenizer.event_names`); by default the requested kind. `exclude_seen` leaves out movies with an
            event of the requested kind.
        event: the requested kind, one of `tokenizer.target_events`, by default the first of these.
        exclude: ids and titles never to recommend; takes precedence over `candidates`.
        candidates: the only ids and titles to recommend.
        genres: movies with any of these, in any case.
        years: first and last year, None for no bound; movies without a year are left out.
        popularity_penalty: order by log(score) - penalty * log(share of all interactions). With 1, movies rank by how
            much likelier this history makes them than they are for everyone.
        diversity: from 0 (order by score) to 1 (after the first movie, only dissimilarity counts): each next movie has
            the largest (1 - diversity) * relevance - diversity * similarity to those selected before it.
        explain: add to each movie "because", the entries of the history that raise its score: `{"movie_id", "title",
            "contribution"}`, where the contribution is what the log of the score loses without the entry.

    Returns a list of `{"movie_id", "title", "genres", "score", "source"}`, best first, for every history; instead of
    "movie_id" the data set's own name of ids (`tokenizer.item_id_name`). `score` is the softmax over all items in
    float32, before filters; with the goal "taste", the share of all movies' scores. `source` is "model", or
    "popularity" for a history without known movies, whose scores are shares of all interactions. If fewer than `top_k`
    movies are left, one warning says what each filter left.

    Args of the constructor, or of `pipeline(...)`:
        movies: a table with `movie_id` and any of `title`, `year` and `genres` (a mapping of columns or a
            `datasets.Dataset`), for a folder without titles.
        backend: "torch", or "onnx" to score histories with a file of the folder's `onnx/` (needs onnxruntime).
        onnx_file: its name, by default "model.onnx"; "model_quantized.onnx" has int8 weights.
        onnx_tolerance: how far its logits may be from the model's when it is loaded, by default 0.001, or 1 for
            "model_quantized.onnx"; a file quantized by other tools may need more.

    Raises:
        TypeError: a history that is not a list, an entry that is neither an id nor a title, an option of another type.
        ValueError: an option out of range or unknown, a title of several movies, a genre that no movie has.
        LookupError: a candidate that is not in the catalogue.
    """

    tokenizer: Any
    has_scored = False  # in this process, by any pipeline

    _load_tokenizer = True
    _load_feature_extractor = False
    _load_image_processor = False
    _load_processor = False

    def __init__(
        self,
        *args: Any,
        movies: Any = None,
        backend: str = "torch",
        onnx_file: str = ONNX_FILE,
        onnx_tolerance: float | None = None,
        **kwargs: Any,
    ) -> None:
        if backend not in ("torch", "onnx"):
            raise ValueError(f"backend is {backend!r}; it is 'torch' or 'onnx'")
        if backend == "torch" and (onnx_file != ONNX_FILE or onnx_tolerance is not None):
            raise ValueError("onnx_file and onnx_tolerance need backend='onnx'")
        model: Any = args[0] if args else kwargs.get("model")
        if hasattr(model, "_hf_hook") and not hasattr(model, "hf_device_map"):
            # Offloaded by accelerate's cpu_offload or disk_offload: transformers would move weights that are not there.
            model.hf_device_map = {"": "cpu"}
        super().__init__(*args, **kwargs)
        self.model.eval()
        check_parts(self.model, self.tokenizer)
        check_weights(self.model)
        if movies is not None:
            self.tokenizer = self.tokenizer.with_movies(movies)
        window = self.model.config.max_position_embeddings - 1  # one position is the [MASK]
        self.tokenizer.model_max_length = min(self.tokenizer.model_max_length, window)
        self._build_catalogue()
        self.onnx_scorer = None
        if backend == "onnx":
            revision = getattr(self.model.config, "_commit_hash", None)  # of a model from the Hub
            self.onnx_scorer = OnnxScorer(find_onnx(self.model.name_or_path, onnx_file, revision), self.model.config)
            self.onnx_scorer.check_scores(self.model, onnx_tolerance)

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """`Pipeline.save_pretrained`; the configuration then names the items that the model was made for."""
        self.model.config.vocabulary_sha256 = self.tokenizer.vocabulary_sha256
        super().save_pretrained(*args, **kwargs)

    def _sanitize_parameters(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        check_option_names(options)
        return options, {}, {}

    def __call__(
        self, inputs: Any, *, batch_size: int | None = None, num_workers: int | None = None, **options: Any
    ) -> Any:
        options = {**self._preprocess_params, **self._sanitize_parameters(**options)[0]}
        batch_size = parse_batch_size(self._batch_size if batch_size is None else batch_size)
        histories, is_single = read_histories(inputs)
        batches = self._batches(histories, batch_size)
        answers = (answer for batch in batches for answer in self.run_single(batch, options, {}, {}))
        if isinstance(histories, Iterator):
            return answers
        return next(answers) if is_single else list(answers)

    def _batches(self, histories: Iterable[Any], batch_size: int) -> Iterator[list[Any]]:
        histories = iter(histories)
        while batch := list(islice(histories, batch_size)):
            self._follow_growth()
            yield batch

    def _follow_growth(self) -> None:
        """Answer from the present catalogue if model and tokenizer grew by their own `add_items`."""
        if self.catalogue.num_items != self.tokenizer.num_items or len(self.tokenizer) != self.model.config.vocab_size:
            check_parts(self.model, self.tokenizer)
            self._build_catalogue()

    def _build_catalogue(self) -> None:
        self.catalogue = Catalogue(self.tokenizer)
        self.item_embeddings = ItemEmbeddings(self.model, self.tokenizer, self.device)

    @contextmanager
    def _evaluation_mode(self) -> Iterator[None]:
        """Switch dropout off for the block, if the model is being trained."""
        training = self.model.training
        if training:
            self.model.eval()
        try:
            yield
        finally:
            if training:
                self.model.train()

    def preprocess(self, input_: Sequence[Any], **options: Any) -> dict[str, Any]:
        """Parse a batch of histories, and encode those that the network scores."""
        requests = self._parse(input_, options)
        scored = [request for request in requests if request.liked and request.goal == "next"]
        return {"requests": requests, **encode(scored, self.tokenizer, self.model.config)}

    def _parse(self, histories: Iterable[Any], options: Mapping[str, Any]) -> list[Request]:
        unknown: defaultdict[str, list[str]] = defaultdict(list)
        options = {"exclude_seen": self.model.config.exclude_seen, **options}
        requests = [parse_request(history, options, self.tokenizer, unknown) for history in histories]
        warn_unknown(unknown)
        requests = [replace(request, goal=self._goal(request)) for request in requests]
        if not self.model.config.time_aware and any(request.has_times for request in requests):
            warn_caller("this model was trained without times: they only make 'next' the default goal")
        if not self.model.config.num_events and any(request.has_events for request in requests):
            warn_caller("this model was trained without kinds of events: they only make 'next' the default goal")
        return requests

    def _goal(self, request: Request) -> str:
        """The goal of a request, by default "taste" if the model has factors and the request no times and events."""
        if self.model.taste is None:
            if request.goal == "taste":
                raise ValueError("goal is 'taste', but the model has no taste factors: train it with --taste_size 64")
            return "next"
        return request.goal or ("next" if request.has_times or request.has_events else "taste")

    def _forward(self, input_tensors: dict[str, Any], **_: Any) -> dict[str, Any]:
        inputs = dict(input_tensors)
        requests = inputs.pop("requests")
        if not len(inputs["input_ids"]):
            return {"requests": requests, "logits": torch.empty(0, self.model.config.vocab_size), "corrections": []}
        MovieRecommendationPipeline.has_scored = True
        score = self.onnx_scorer or self.model.next_item_logits
        # Explanations, which have no requests, need exact scores of the listed movies only, but of many histories.
        int8 = self.item_embeddings.int8() if requests and self.onnx_scorer is None else None
        with self._evaluation_mode():
            if int8 is None:
                return {"requests": requests, "logits": score(**inputs), "corrections": repeat(None)}
            states = self.model.next_item_states(**inputs)
            logits = self.model.add_table_scores(int8.logits(states), **inputs)
            return {"requests": requests, "logits": logits, "corrections": int8.correct(logits, states)}

    def postprocess(self, model_outputs: dict[str, Any], **_: Any) -> list[list[dict[str, Any]]]:
        """Turn logits (histories that the network scores, vocab) into one list of movies for every request."""
        requests = model_outputs["requests"]
        # Each history's log scores (items,), and the corrections of approximate ones.
        network = zip(self._log_scores(model_outputs["logits"]), model_outputs["corrections"], strict=False)
        liked = [request.liked for request in requests if request.liked and request.goal == "taste"]
        taste = iter(self._taste_log_scores(liked) if liked else ())
        answers = []
        for request in requests:
            if not request.liked:
                answers.append(self._rank(request, None))
            elif request.goal == "taste":
                answers.append(self._rank(request, next(taste)))
            else:
                answers.append(self._rank(request, *next(network)))
        for request, answer in zip(requests, answers, strict=True):
            if len(answer) < request.top_k:
                reason = describe_filters(request, self.catalogue)
                warn_caller(f"{request.top_k} movies requested, {len(answer) or 'none'} left: {reason}")
                break  # one warning for a batch
        return answers

    def _log_scores(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (rows, vocab) to logarithms of scores (rows, items), a softmax over items only."""
        return logits[:, self.tokenizer.first_item_id :].log_softmax(-1)

    def _taste_log_scores(self, histories: list[list[int]]) -> torch.Tensor:
        """Logarithms of scores (histories, items) of the model of taste, scaled so that scores add up to 1."""
        return self._log_scores(self.model.taste.log_scores(histories).cpu())

    def _rank(
        self, request: Request, log_scores: torch.Tensor | None, corrections: Corrections | None = None
    ) -> list[dict[str, Any]]:
        """The answer to one request; `log_scores` is (items,), or None to rank by popularity."""
        source = "popularity" if log_scores is None else "model"
        ranking = self.catalogue.shares.log() if log_scores is None else log_scores
        positions = select_movies(request, ranking, self.catalogue, self._vectors, corrections)
        scores = ranking[positions].exp().tolist()
        movies = [
            {**self.tokenizer.movie(self.tokenizer.first_item_id + position), "score": score, "source": source}
            for position, score in zip(positions, scores, strict=True)
        ]
        if request.explain:
            self._explain(request, movies, positions, ranking if corrections is None else None)
        return movies

    def _explain(
        self, request: Request, movies: list[dict[str, Any]], positions: list[int], log_scores: torch.Tensor | None
    ) -> None:
        """Add "because" to every movie. `log_scores` is (items,), or None to score the history exactly."""
        is_taste = request.goal == "taste"
        config = self.model.config
        history = request if is_taste else request.last(config.max_position_embeddings - 1)

        def score(rows: list[list[int]]) -> torch.Tensor:
            shorter = [history.subset(indices) for indices in rows]
            if is_taste:
                return self._taste_log_scores([each.liked for each in shorter])
            return self._log_scores(self.forward({"requests": [], **encode(shorter, self.tokenizer, config)})["logits"])

        if log_scores is None:
            log_scores = score([list(range(len(history.liked)))])[0]
        name = self.tokenizer.item_id_name
        for movie, reasons in zip(movies, contributions(history.liked, positions, log_scores, score), strict=True):
            entries = [(self.tokenizer.movie(item), contribution) for item, contribution in reasons]
            movie["because"] = [
                {name: entry[name], "title": entry["title"], "contribution": contribution}
                for entry, contribution in entries
            ]

    def similar(self, movies: Any, top_k: int | None = None) -> Any:
        """Movies that the same people like, and whose genres, years and words of the title are alike.

        A model without `taste_size` compares item embeddings instead.

        Args:
            movies: an id or a title, or a list of them.
            top_k: movies for each, without itself; 10 by default.

        Returns `[{"movie_id", "title", "genres", "score"}, …]`, best first; for a list, a list of those. `score` is
        from -1 to 1.

        Raises:
            LookupError: a movie that is not in the catalogue; AmbiguousTitleError: a title of several movies.
        """
        if isinstance(movies, (str, Integral)):
            return self.similar([movies], top_k)[0]
        num_items = self.tokenizer.num_items
        top_k = min(DEFAULT_TOP_K, num_items) if top_k is None else parse_top_k(top_k, num_items)
        cosines, positions = self.item_embeddings.most_similar(self._positions(movies, "similar"), top_k)
        first = self.tokenizer.first_item_id
        return [
            [{**self.tokenizer.movie(first + position), "score": score} for position, score in zip(*row, strict=True)]
            for row in zip(positions.tolist(), cosines.tolist(), strict=True)
        ]

    def embed_users(self, histories: Any, batch_size: int | None = None) -> torch.Tensor:
        """Embeddings of histories, float32 on the CPU: (histories, hidden), or (hidden,) for a single history.

        For every movie, `embed_users(history) @ embed_items([movie])[0] + item_biases([movie])[0]` is the network's
        logit, to which the pipeline adds the terms of the transition memory and of `taste_weight`, if the model has
        them. The softmax of all logits is the score with the goal "next". A history without known movies is embedded
        as an empty one.
        """
        batch_size = parse_batch_size(self._batch_size if batch_size is None else batch_size)
        histories, is_single = read_histories(histories)
        embedded = [torch.empty(0, self.model.config.hidden_size)]
        for batch in self._batches(histories, batch_size):
            tensors = encode(self._parse(batch, self._preprocess_params), self.tokenizer, self.model.config)
            with torch.inference_mode(), self._evaluation_mode():
                inputs = {name: tensor.to(self.device) for name, tensor in tensors.items()}
                embedded.append(self.model.next_item_states(**inputs).float().cpu())
        users = torch.cat(embedded)
        return users[0] if is_single else users

    def embed_items(self, movies: Iterable[Any] | None = None) -> torch.Tensor:
        """Embeddings of movies by id or title, by default of all: (movies, hidden), float32 on the CPU."""
        return self._vectors(None if movies is None else self._positions(movies, "embed_items"))

    def item_biases(self, movies: Iterable[Any] | None = None) -> torch.Tensor:
        """Biases that the inner product lacks to a movie's logit: (movies,), float32 on the CPU."""
        biases = self.item_embeddings.biases().float().cpu()
        return biases if movies is None else biases[self._positions(movies, "item_biases")]

    def _vectors(self, positions: torch.Tensor | None) -> torch.Tensor:
        self._follow_growth()
        return self.item_embeddings.vectors(positions).float().cpu()

    def _positions(self, movies: Iterable[Any], method: str) -> torch.Tensor:
        """Positions in the catalogue (n,) of movies by id or title."""
        movies = as_list(movies)
        if not isinstance(movies, list):
            raise TypeError(f"{method} takes a list of ids and titles, not {short_repr(movies)}")
        self._follow_growth()
        items = parse_movies(movies, self.tokenizer, method)
        return torch.tensor(items, dtype=torch.long) - self.tokenizer.first_item_id

    def add_items(self, movies: Any, vectors: torch.Tensor | None = None) -> list[dict[str, Any]]:
        """Add new movies to both tokenizer and model, or to neither; see their `add_items`. Not thread-safe.

        Returns what each new movie started from: `{"movie_id", "title", "input_id", "start", "similar"}`.
        """
        if self.onnx_scorer is not None:
            raise ValueError("an ONNX file cannot grow: add the movies with backend='torch', save, and export it again")
        tokenizer = copy.deepcopy(self.tokenizer)
        tokenizer.add_items(movies)
        report = self.model.add_items(tokenizer, vectors)
        self.tokenizer = tokenizer
        self._build_catalogue()
        return report


def _use_one_thread() -> None:
    """Limit torch to one thread in a forked process: OpenMP would wait for threads that do not survive the fork."""
    if MovieRecommendationPipeline.has_scored:
        torch.set_num_threads(1)


if register_at_fork is not None:
    register_at_fork(after_in_child=_use_one_thread)

if __name__.startswith("transformers_modules."):  # the code of a model's folder
    for task in TASKS:
        # `pipeline(TASK, model=model, tokenizer=tokenizer)` looks the task up by name.
        if task not in PIPELINE_REGISTRY.get_supported_tasks():
            PIPELINE_REGISTRY.register_pipeline(task, MovieRecommendationPipeline, AutoModelForMaskedLM, type="text")
# A pipeline loaded from a Hub folder finds its own registration here when it is saved again.
MovieRecommendationPipeline._registered_impl = {
    task: {"impl": MovieRecommendationPipeline, "pt": (AutoModelForMaskedLM,), "type": "text"} for task in TASKS
}
make_importable(__name__)
