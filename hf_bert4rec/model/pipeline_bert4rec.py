"""`pipeline("movie-recommendation")`, or `"item-recommendation"`: histories in, items with titles and scores out.

The answer to a history does not depend on its batch and equals the evaluation's ranking.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice, repeat
from numbers import Integral
from typing import Any

from .versions_bert4rec import check_versions  # noqa: F401 (first: it refuses old versions)

# isort: split
import torch
from transformers import AutoModelForMaskedLM, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from .configuration_bert4rec import TASKS
from .loading_bert4rec import check_same_folder, check_weights, make_importable
from .onnx_bert4rec import ONNX_FILE, OnnxScorer, find_onnx
from .ranking_bert4rec import Catalogue, Corrections, ItemEmbeddings, contributions, describe_filters, select_movies
from .requests_bert4rec import (
    DEFAULT_TOP_K,
    Request,
    UnknownEntries,
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
            or a batch of those: a list, a `datasets.Dataset` or a column of one; or an iterator, a streamed or a torch
            data set, which is answered lazily. In a dict, None and NaN mean that an option is not given. `[]` is
            one empty history, an empty column an empty batch.
        batch_size: histories scored at once; changes speed, never the answer.
        num_workers: ignored; part of the signature of transformers.
        top_k: movies to recommend; 10 by default, or all of a smaller catalogue.
        goal: "next" for what users with this history watch next, or "taste" for what people who like its movies also
            like. By default "taste" for a history without times and events if the model has `config.taste_size`, else
            "next".
        exclude_seen: leave out the movies of the history with the requested event; by default as the config says.
        ratings: a number, True, False or None for each entry of the history. Entries rated below `min_rating`, 3 by
            default, are neither recommended nor part of the model's input.
        timestamps: the time of each entry, ascending, for a model trained with times: seconds, milli-, micro- or
            nanoseconds since 1970, `datetime`s, ISO 8601 texts, or None.
        now: the time of the recommendation, in the same forms.
        events: the event type of each entry, one of `tokenizer.event_names`; by default the requested type.
        event: the requested type, one of `tokenizer.target_events`, by default the first of these.
        exclude, candidates: ids and titles never to recommend, and the only ones to recommend; `exclude` wins.
        genres: movies with any of these, in any case.
        years: first and last year, None for no bound; movies without a year are left out.
        popularity_penalty: order by log(score) - penalty * log(share of all interactions).
        diversity: from 0 (order by score) to 1 (only dissimilarity to earlier movies counts); see `rerank_mmr`.
        explain: add "because" to each movie: `{"movie_id", "title", "contribution"}` of the entries of the history that
            raise its score, where the contribution is what the log of the score loses without the entry.

    Returns a list of `{"movie_id", "title", "genres", "score", "source"}`, best first, for every history; instead of
    "movie_id" the data set's own name of ids (`tokenizer.item_id_name`). `score` is the softmax over all items in
    float32, before filters; with the goal "taste", the share of all movies' scores. `source` is "model", or
    "popularity" for a history without known movies, whose scores are shares of all interactions.

    Args of the constructor, or of `pipeline(...)`:
        movies: a table of titles, years and genres for a folder without titles; see `Bert4RecTokenizer.from_movies`.
        backend: "torch", or "onnx" to score histories with a file of the folder's `onnx/` (needs onnxruntime).
        onnx_file: its name, by default "model.onnx"; "model_quantized.onnx" has int8 weights.
        onnx_tolerance: how far its logits may be from the model's; by default as `OnnxScorer.check_scores` says.

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
        check_same_folder(self.model, self.tokenizer)
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
            self._refresh_catalogue()
            yield batch

    def _refresh_catalogue(self) -> None:
        """Rebuild the catalogue if items were added by `add_items` of the model and the tokenizer."""
        if self.catalogue.num_items != self.tokenizer.num_items or len(self.tokenizer) != self.model.config.vocab_size:
            check_same_folder(self.model, self.tokenizer)
            self._build_catalogue()

    def _build_catalogue(self) -> None:
        self.catalogue = Catalogue(self.tokenizer)
        self.item_embeddings = ItemEmbeddings(self.model, self.tokenizer, self.device)

    @contextmanager
    def _evaluation_mode(self) -> Iterator[None]:
        """Switch dropout off for the block, if the model is being trained."""
        if not self.model.training:
            yield
            return
        self.model.eval()
        try:
            yield
        finally:
            self.model.train()

    def preprocess(self, input_: Sequence[Any], **options: Any) -> dict[str, Any]:
        """Parse a batch of histories, and encode those that the network scores."""
        requests = self._parse(input_, options)
        scored = [request for request in requests if request.liked and request.goal == "next"]
        return {"requests": requests, **encode(scored, self.tokenizer, self.model.config)}

    def _parse(self, histories: Iterable[Any], options: Mapping[str, Any]) -> list[Request]:
        unknown: defaultdict[str, UnknownEntries] = defaultdict(dict)
        config = self.model.config
        requests = [parse_request(history, options, self.tokenizer, config, unknown) for history in histories]
        warn_unknown(unknown)
        if not config.time_aware and any(request.has_times for request in requests):
            warn_caller("this model was trained without times: they only make 'next' the default goal")
        if not config.num_events and any(request.has_events for request in requests):
            warn_caller("this model was trained without event types: they only make 'next' the default goal")
        return requests

    def _forward(self, input_tensors: dict[str, Any], **_: Any) -> dict[str, Any]:
        inputs = dict(input_tensors)
        requests = inputs.pop("requests")
        outputs = {"requests": requests, "corrections": repeat(None)}
        if not len(inputs["input_ids"]):
            return {**outputs, "logits": torch.empty(0, self.model.config.vocab_size)}
        MovieRecommendationPipeline.has_scored = True
        score = self.onnx_scorer or self.model.next_item_logits
        # Explanations, which pass no requests, need exact scores of few movies for many histories.
        int8 = self.item_embeddings.int8() if requests and self.onnx_scorer is None else None
        with self._evaluation_mode():
            if int8 is None:
                return {**outputs, "logits": score(**inputs)}
            states = self.model.next_item_states(**inputs)
            logits = self.model.add_table_scores(int8.logits(states), **inputs)
            return {"requests": requests, "logits": logits, "corrections": int8.correct(logits, states)}

    def postprocess(self, model_outputs: dict[str, Any], **_: Any) -> list[list[dict[str, Any]]]:
        """Turn logits (histories that the network scores, vocab) into one list of movies for every request."""
        requests = model_outputs["requests"]
        # Each history's log scores (items,), and the corrections of approximate ones.
        next_scores = zip(self._log_scores(model_outputs["logits"]), model_outputs["corrections"], strict=False)
        liked = [request.liked for request in requests if request.liked and request.goal == "taste"]
        taste_scores = zip(self._taste_log_scores(liked) if liked else (), repeat(None))
        answers = []
        for request in requests:
            scores = taste_scores if request.goal == "taste" else next_scores
            answers.append(self._rank(request, *(next(scores) if request.liked else (None, None))))
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
        self, request: Request, log_scores: torch.Tensor | None, corrections: Corrections | None
    ) -> list[dict[str, Any]]:
        """The answer to one request; `log_scores` is (items,), or None to rank by popularity."""
        source = "popularity" if log_scores is None else "model"
        ranking = self.catalogue.shares.log() if log_scores is None else log_scores
        positions = select_movies(request, ranking, self.catalogue, self._vectors, corrections)
        movies = self._movies(positions, ranking[positions].exp().tolist(), source=source)
        if request.explain:
            self._explain(request, movies, positions, ranking if corrections is None else None)
        return movies

    def _movies(self, positions: list[int], scores: list[float], **fields: str) -> list[dict[str, Any]]:
        first = self.tokenizer.first_item_id
        rows = zip(positions, scores, strict=True)
        return [{**self.tokenizer.movie(first + position), "score": score, **fields} for position, score in rows]

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
        for movie, reasons in zip(movies, contributions(history.liked, positions, log_scores, score), strict=True):
            movie["because"] = [{**self.tokenizer.movie(item), "contribution": value} for item, value in reasons]
            for entry in movie["because"]:
                del entry["genres"]

    def similar(self, movies: Any, top_k: int | None = None) -> Any:
        """Movies that the same people like, and whose genres, years and words of the title are alike.

        A model without `taste_size` compares item embeddings instead. `movies` is an id or a title, or a list of them.
        Returns `top_k` others, 10 by default, as `[{"movie_id", "title", "genres", "score"}, …]`, best first; for a
        list, a list of those. `score` is from -1 to 1.

        LookupError: a movie that is not in the catalogue; AmbiguousTitleError: a title of several movies.
        """
        if isinstance(movies, (str, Integral)):
            return self.similar([movies], top_k)[0]
        num_items = self.tokenizer.num_items
        top_k = min(DEFAULT_TOP_K, num_items) if top_k is None else parse_top_k(top_k, num_items)
        scores, positions = self.item_embeddings.most_similar(self._positions(movies, "similar"), top_k)
        return [self._movies(*row) for row in zip(positions.tolist(), scores.tolist(), strict=True)]

    def embed_users(self, histories: Any, batch_size: int | None = None) -> torch.Tensor:
        """Embeddings of histories, float32 on the CPU: (histories, hidden), or (hidden,) for a single history.

        For every movie, `embed_users(history) @ embed_items([movie])[0] + item_biases([movie])[0]` is the network's
        logit, without memory and `taste_weight`. A history without known movies is embedded as an empty one.
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
        return self._vectors(self._positions(movies, "embed_items"))

    def item_biases(self, movies: Iterable[Any] | None = None) -> torch.Tensor:
        """Biases that the inner product lacks to a movie's logit: (movies,), float32 on the CPU."""
        return self.item_embeddings.biases().float().cpu()[self._positions(movies, "item_biases")]

    def _vectors(self, positions: torch.Tensor) -> torch.Tensor:
        vectors = self.item_embeddings.vectors()
        return vectors[positions.to(vectors.device)].float().cpu()

    def _positions(self, movies: Iterable[Any] | None, method: str) -> torch.Tensor:
        """Positions in the catalogue (n,) of movies by id or title, or of all."""
        self._refresh_catalogue()
        if movies is None:
            return torch.arange(self.catalogue.num_items)
        movies = as_list(movies)
        if not isinstance(movies, list):
            raise TypeError(f"{method} takes a list of ids and titles, not {short_repr(movies)}")
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
