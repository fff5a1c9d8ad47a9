"""The handler of an exported folder answers JSON over HTTP as the pipeline does, and says what a bad request lacks."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.hub.exported_onnx import load_pipeline

pytestmark = pytest.mark.slow
BAD_REQUESTS: dict[str, tuple[Any, str]] = {
    "no inputs": ({"history": [100]}, "Body needs to provide a inputs key"),
    "a list": ([100], "Body needs to provide a inputs key"),
    "no history": ({"inputs": None}, "a history is a list of ids and titles, not NoneType: None"),
    "a number": ({"inputs": 100}, "a history is a list of ids and titles, not int: 100"),
    "an entry": ({"inputs": [{"id": 100}]}, "a request needs the key 'history'; this one has ['id']"),
    "a mixture": ({"inputs": [100, [101]]}, "entry 1 is [101]: a list holds either the entries"),
    "parameters": ({"inputs": [100], "parameters": [5]}, '"parameters" is an object of options'),
    "inputs twice": ({"inputs": [100], "parameters": {"inputs": [101]}}, '"parameters" is an object of options'),
    "misplaced options": ({"inputs": [100], "top_k": 5, "genres": ["Drama"]}, "put 'genres' into \"parameters\""),
    "an option": ({"inputs": [100], "parameters": {"top": 5}}, "unknown option 'top'; did you mean 'top_k'?"),
    "a value": ({"inputs": [100], "parameters": {"top_k": 41}}, "top_k is 41; it must be from 1 to the catalogue's 40"),
    "a type": ({"inputs": [100], "parameters": {"batch_size": "all"}}, "batch_size is an integer, not 'all'"),
    "a candidate": ({"inputs": [100], "parameters": {"candidates": [7]}}, "candidates: 7 is not in the catalogue"),
    "a genre": (
        {"inputs": [100], "parameters": {"genres": ["Dramas"]}},
        "no movie has the genre 'Dramas'; did you mean",
    ),
    "a time": ({"inputs": {"history": [100], "timestamps": ["now"]}}, "'now'"),
}


@contextmanager
def endpoint(folder: Path) -> Iterator[str]:
    """Address of an endpoint that serves the folder."""
    command = [sys.executable, str(Path(__file__).with_name("endpoint.py")), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def post(address: str, body: Any) -> tuple[int, Any]:
    """Status and JSON of the answer to a request; bytes are sent as they are."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(address, data)) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture(scope="module")
def address(model_folder) -> Iterator[str]:
    with endpoint(model_folder) as address:
        yield address


def test_histories_are_answered_as_by_the_pipeline(address, model_folder):
    pipe = load_pipeline(model_folder)
    options = {"top_k": 3, "genres": ["Western"]}
    batch = [["Toy Story", 103], [], {"history": [107], "explain": True}]
    for inputs in (batch[0], [], batch):
        assert post(address, {"inputs": inputs}) == (200, pipe(inputs))
        assert post(address, {"inputs": inputs, "parameters": options}) == (200, pipe(inputs, **options))
    for nothing in (None, {"top_k": None, "exclude_seen": None}):
        assert post(address, {"inputs": [100], "parameters": nothing}) == (200, pipe([100]))


@pytest.mark.parametrize(("body", "message"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_bad_request_gets_status_400_and_the_reason(address, body, message):
    status, answer = post(address, body)
    assert status == 400
    assert message in answer["error"]
    assert "Traceback" not in answer["error"]


def test_the_handler_refuses_what_the_endpoint_lets_through(address):
    assert post(address, b'"inputs"') == (
        400,
        {"error": 'a request is an object with the key "inputs": a history, or a list of histories'},
    )
    assert post(address, b'{"inputs": [100')[0] == 400
