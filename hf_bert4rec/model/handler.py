"""Answers requests on Hugging Face Inference Endpoints; `requirements.txt` lists what the endpoint installs for it.

The endpoint calls `EndpointHandler` with the JSON of a request, and answers an exception with status 400 and its text.
"""

from __future__ import annotations

from typing import Any

from transformers import pipeline


class EndpointHandler:
    """Recommends movies for `{"inputs": ["Toy Story (1995)", 50], "parameters": {"top_k": 5}}`.

    `inputs` is a history or a list of histories, `parameters` holds options, both as in a call of the pipeline. Null
    means that an option is not given.
    """

    def __init__(self, path: str = "") -> None:
        self.pipe = pipeline("movie-recommendation", model=path, trust_remote_code=True)

    def __call__(self, data: dict[str, Any]) -> list[Any]:
        """Return the pipeline's answer; TypeError, ValueError or LookupError say what to change in a bad request."""
        if not isinstance(data, dict) or "inputs" not in data:
            raise ValueError('a request is an object with the key "inputs": a history, or a list of histories')
        if misplaced := data.keys() - {"inputs", "parameters", "options"}:  # clients may send their own "options"
            raise ValueError(f'put {min(misplaced)!r:.80} into "parameters", an object of options')
        parameters = data.get("parameters")
        if not isinstance(parameters, dict | None) or "inputs" in (parameters or {}):
            raise ValueError('"parameters" is an object of options, such as {"top_k": 5}')
        options = {name: value for name, value in (parameters or {}).items() if value is not None}
        return self.pipe(data["inputs"], **options)
