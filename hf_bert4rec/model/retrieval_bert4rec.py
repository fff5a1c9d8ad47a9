"""Movies like a movie, and the embeddings behind it: what a pipeline gives for retrieval elsewhere."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from numbers import Integral
from typing import Any

import torch

from .requests_bert4rec import is_batch, listed, read_movies, read_top_k
from .titles_bert4rec import short_repr


class Retrieval:
    """The part of the pipeline that needs item embeddings alone, or a user's; see `MovieRecommendationPipeline`."""

    model: Any
    tokenizer: Any
    _batches: Callable[[Iterable[Any], int | None], Iterator[list[Any]]]
    _inputs_of: Callable[[list[Any]], dict[str, torch.Tensor]]

    def similar(self, movies: Any, top_k: int = 10) -> Any:
        """Movies that the model takes for alike: cosine of item embeddings, which stand near where histories are alike.

        Args:
            movies: an id or a title, or a list of them. top_k: movies for each, itself left out.

        Returns `[{"movie_id", "title", "genres", "score"}, …]`, best first; for a list, a list of those. `score` is
        the cosine, -1 to 1.

        Raises:
            LookupError: a movie that is not in the catalogue; AmbiguousTitleError: a title of several movies.
        """
        if isinstance(movies, (str, Integral)):
            return self.similar([movies], top_k)[0]
        movies = listed(movies)
        if not isinstance(movies, list):
            raise TypeError(f"similar takes an id, a title, or a list of them, not {short_repr(movies)}")
        top_k = min(read_top_k(top_k, self.tokenizer.num_items), self.tokenizer.num_items - 1)
        first = self.tokenizer.first_item_id
        asked = torch.tensor(read_movies(movies, self.tokenizer, "similar"), dtype=torch.long) - first
        vectors = torch.nn.functional.normalize(self._item_embeddings().float(), dim=-1)
        cosines = (vectors[asked.to(vectors.device)] @ vectors.T).cpu()  # (asked, items)
        cosines[torch.arange(len(asked)), asked] = -torch.inf
        best = cosines.topk(top_k)
        return [
            [{**self.tokenizer.movie(first + place), "score": score} for place, score in zip(*row, strict=True)]
            for row in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def embed_users(self, histories: Any, batch_size: int | None = None) -> torch.Tensor:
        """Embeddings of histories, float32 on the CPU: (histories, hidden), or (hidden,) for a single history.

        For every movie, `embed_users(history) @ embed_items([movie])[0] + item_biases([movie])[0]` is its logit, and
        the softmax of all logits its score. A history without known movies is embedded as an empty one.
        """
        histories = listed(histories)
        if isinstance(histories, Mapping) or (
            not isinstance(histories, types.GeneratorType) and not is_batch(histories)
        ):
            return self.embed_users([histories], batch_size)[0]
        embedded = [torch.empty(0, self.model.config.hidden_size)]
        for batch in self._batches(histories, batch_size):
            inputs = self._inputs_of(batch)
            with torch.inference_mode():
                inputs = {name: tensor.to(self.model.device) for name, tensor in inputs.items()}
                embedded.append(self.model.next_item_states(**inputs).float().cpu())
        return torch.cat(embedded)

    def embed_items(self, movies: Iterable[Any] | None = None) -> torch.Tensor:
        """Embeddings of movies by id or title, of the whole catalogue without: (movies, hidden), float32 on the CPU."""
        return self._item_embeddings()[self._places(movies)].float().cpu()

    def item_biases(self, movies: Iterable[Any] | None = None) -> torch.Tensor:
        """What a movie's logit has beside the inner product, (movies,), float32 on the CPU."""
        biases = self.model.get_output_embeddings().bias.detach()[self.tokenizer.first_item_id :]
        return biases[self._places(movies)].float().cpu()

    def _places(self, movies: Iterable[Any] | None) -> Any:
        if movies is None:
            return slice(None)
        items = read_movies(listed(movies), self.tokenizer, "embed_items")
        return torch.tensor(items, dtype=torch.long, device=self.model.device) - self.tokenizer.first_item_id

    def _item_embeddings(self) -> torch.Tensor:
        """(items, hidden), as the model has them."""
        return self.model.get_output_embeddings().weight.detach()[self.tokenizer.first_item_id :]


__all__ = ["Retrieval"]
