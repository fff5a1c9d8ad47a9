"""A collection on the Hub: a model with its data set and its demo."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from huggingface_hub import HfApi

from .upload import FAILURES, explain_failure

DESCRIPTION = "A recommender, the data it was trained on, and a demo."
MAX_TITLE = 59  # characters that the Hub allows


def push_collection(repo_id: str, repo_types: Iterable[Any], *, private: bool = False) -> str:
    """Add the repositories `repo_id` of some types to the collection of this name, and return its address.

    The collection is created if the account has none of this name; its other items stay.

    Raises:
        PermissionError: the token is refused. ConnectionError: the Hub cannot be reached, or failed.
    """
    api = HfApi(library_name="hf-bert4rec")
    namespace, name = repo_id.split("/")
    try:
        collection = api.create_collection(
            name[:MAX_TITLE], namespace=namespace, description=DESCRIPTION, private=private, exists_ok=True
        )
        for repo_type in repo_types:
            api.add_collection_item(collection.slug, repo_id, repo_type, exists_ok=True)
    except FAILURES as error:
        state = f"the collection {name} is not complete, all else was published: push again"
        raise explain_failure(error, state) from error
    return collection.url
