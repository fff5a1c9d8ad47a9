"""An external index of inner products finds what the model ranks first."""

import pytest
import torch

from tests.conftest import MOVIES
from tests.model.tiny import ids_of

faiss = pytest.importorskip("faiss", reason="needs pip install faiss-cpu")
HISTORIES = [[10, 13], [16, 19, 22], [40], [MOVIES["movie_id"][-1], 25]]


@pytest.mark.parametrize(("kind", "least"), [("Flat", 1.0), ("HNSW32", 0.95)])
def test_the_best_ten_movies_are_those_of_the_exact_logits(pipe, kind, least):
    items = torch.cat([pipe.embed_items(), pipe.item_biases()[:, None]], dim=1)
    index = faiss.index_factory(items.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    index.add(items.numpy())
    users = torch.nn.functional.pad(pipe.embed_users(HISTORIES), (0, 1), value=1.0)
    _, positions = index.search(users.numpy(), 10)
    recalled = []
    for history, row in zip(HISTORIES, positions, strict=True):
        exact = ids_of(pipe(history, exclude_seen=False, top_k=10))
        recalled.append(len(set(exact) & {pipe.tokenizer.item_ids[position] for position in row}) / 10)
    assert sum(recalled) / len(recalled) >= least
