"""Campaign: concurrent users and invalid requests against the demo's server on loopback."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np

from tests.stress.endurance import PAGE
from tests.stress.models import save_good
from tests.stress.workloads import ITEMS

APP = Path(__file__).resolve().parents[2] / "model_card" / "space" / "app.py"
USERS, WARM_UP, ROUNDS = 50, 3, 8
MAX_SECONDS = 60.0  # per answer
# Limits on the last third of the load relative to the first: CPU time per request, and MiB of memory.
MAX_CPU_RATIO, MAX_GROWTH_MIB = 1.5, 48.0
TITLE = re.compile(r"<h3>(.*?)</h3>")
MARKUP = "<img src=x onerror=alert(1)>"
HUGE = "9" * 400
# Requests that the page never sends: function and JSON inputs. null is the state of the session.
INVALID = [
    ("search", "[null, null]"),
    ("search", '["\\u0000\\u001b[2J<b>", null]'),
    ("search", '["\\ud800", null]'),
    ("search", f'["{"x" * 100_000}", null]'),
    ("search", f"[{'[' * 300}{']' * 300}, null]"),
    ("search", f"{'[' * 100_000}{']' * 100_000}"),
    ("search", '[5, ["picks", "of", "another"]]'),
    ("search", f"[{'9' * 5000}, null]"),
    ("pick", '["no such movie", null]'),
    ("pick", '["<script>alert(1)</script>", null]'),
    ("pick", "[{}, null]"),
    ("watched", f"[[{', '.join(['100'] * 100_000)}]]"),
    ("watched", "[5]"),
    ("watched", '[["no such id"]]'),
    ("recommend", '[null, "Drama", null, null]'),
    ("recommend", '[null, ["no such genre"], null, null]'),
    ("recommend", '[null, [], "x", null]'),
    ("recommend", '[null, [], null, {"a": [1]}]'),
    ("recommend", "[null, [], 3000, 1000]"),
    ("recommend", f"[null, [], {HUGE}, {HUGE}]"),
    ("recommend", "[null, [], NaN, Infinity]"),
    ("recommend", "[]"),
    ("similar", '["no such id"]'),
    ("similar", "[[100]]"),
    ("similar", f"[{HUGE}]"),
]


@dataclass(frozen=True)
class Server:
    """A running demo on a loopback port, in its own process."""

    port: int
    pid: int

    def resident_mib(self) -> float:
        """Resident memory of the process."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE / 2**20

    def cpu_seconds(self) -> float:
        """CPU time of the process; unlike latency it does not depend on the load of the machine."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Call:
    """One request: its start, latency and outcome, and memory and CPU time of the server after it."""

    start: float
    seconds: float
    outcome: str
    mib: float
    cpu_seconds: float


@contextmanager
def running_demo(folder: Path) -> Iterator[Server]:
    """Run the demo of a model with twelve movies, one with HTML in its title, within the block."""
    model = save_good(folder / "model")
    items = json.loads((model / "items.json").read_text(encoding="utf-8"))
    items["title"][0] = MARKUP
    (model / "items.json").write_text(json.dumps(items), encoding="utf-8")
    environment = {"HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False", "PYTHONUNBUFFERED": "1"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(APP), str(model)],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert process.stdout is not None
        try:
            matches = (re.search(r"http://127\.0\.0\.1:(\d+)", line) for line in process.stdout)
            address = next(filter(None, matches), None)
            if address is None:
                raise RuntimeError(f"the demo does not start: {(folder / 'log').read_text()[-2000:]}")
            yield Server(int(address[1]), process.pid)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


class Visitor:
    """A user with a session, who sends the requests of the page one after the other."""

    def __init__(self, server: Server, session: str) -> None:
        self.server, self.session, self.calls = server, session, list[Call]()

    def request(self, name: str, *data: Any) -> Any:
        """The answer to a valid request."""
        outcome, answer = self.send(name, json.dumps(data))
        assert outcome == "answered", f"{name}{data}: {answer}"
        return answer

    def send(self, name: str, data: str) -> tuple[str, Any]:
        """ "answered" or "refused", and the answer.

        Raises:
            AssertionError: No answer, or an error without a message.
        """
        start = time.monotonic()
        body = f'{{"data": {data}, "session_hash": "{self.session}"}}'
        status, text = self._fetch("POST", f"/gradio_api/call/{name}", body)
        if status == 200:
            status, text = self._fetch("GET", f"/gradio_api/call/{name}/{json.loads(text)['event_id']}")
        outcome, answer = parse_answer(status, text)
        seconds, server = time.monotonic() - start, self.server
        self.calls.append(Call(start, seconds, outcome, server.resident_mib(), server.cpu_seconds()))
        return outcome, answer

    def _fetch(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        with closing(HTTPConnection("127.0.0.1", self.server.port, timeout=MAX_SECONDS)) as connection:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def visit(self, rng: random.Random) -> None:
        """Search, pick two or three movies, get recommendations and similar movies, send an invalid request, clear."""
        labels = [button["value"] for button in self.request("search", "movie", None)[1:] if button.get("value")]
        picked = rng.sample(labels, rng.randint(2, 3))
        for label in picked:
            self.request("pick", label, None)
        self.request("picks", None)
        html, similar_to = self.request("recommend", None, [], None, None)
        titles = TITLE.findall(html)
        assert len(titles) == min(10, ITEMS - len(picked)), f"{len(titles)} movies for {picked}"
        assert not {label.removesuffix(" (1990)") for label in picked} & set(titles), "the answer of another session"
        assert "<img" not in html, "a title is not escaped"
        (similar,) = self.request("similar", similar_to["choices"][0][1])
        assert len(TITLE.findall(similar)) == 6
        self.send(*rng.choice(INVALID))
        self.request("clear")


def parse_answer(status: int, text: str) -> tuple[str, Any]:
    """Outcome and answer of a request from the server's response."""
    if 400 <= status < 500:
        assert len(json.loads(text)["detail"]) > 0, text
        return "refused", text
    assert status == 200, f"{status}: {text[:300]}"
    event, _, data = text.strip().rsplit("event: ", 1)[-1].partition("\ndata: ")
    answer = json.loads(data)
    if event == "error":
        assert isinstance(answer, dict), text[:300]
        assert len(answer["error"] or "") > 10, f"an error without a message: {answer}"
        return "refused", answer["error"]
    assert event == "complete", text[:300]
    return "answered", answer


def load(server: Server, users: int, rounds: int, warm_up: int) -> dict[str, Any]:
    """Concurrent users, each with several visits.

    Raises:
        AssertionError: A request fails, or gets the answer of another session.
    """
    visitors = [Visitor(server, f"session{number}") for number in range(users)]
    all_warm = threading.Barrier(users)

    def visit_repeatedly(number: int) -> list[Call]:
        rng = random.Random(number)
        for _ in range(warm_up):
            visitors[number].visit(rng)
        visitors[number].calls.clear()
        all_warm.wait(MAX_SECONDS)
        for _ in range(rounds):
            visitors[number].visit(rng)
        return visitors[number].calls

    start = time.monotonic()
    with ThreadPoolExecutor(users) as pool:
        calls = sorted(
            (call for calls in pool.map(visit_repeatedly, range(users)) for call in calls), key=lambda call: call.start
        )
    third = len(calls) // 3
    return {
        "users": users,
        "requests": len(calls),
        "outcomes": dict(Counter(call.outcome for call in calls)),
        "requests_per_second": round(len(calls) / (time.monotonic() - calls[0].start)),
        "warm_up_seconds": round(calls[0].start - start, 1),
        "first_third": statistics(calls[:third]),
        "last_third": statistics(calls[-third:]),
    }


def statistics(calls: list[Call]) -> dict[str, float]:
    """Latency percentiles, and CPU time per request and memory of the server."""
    milliseconds = [1000 * call.seconds for call in calls]
    latency = {f"latency_p{level}_ms": round(float(np.percentile(milliseconds, level)), 1) for level in (50, 95, 99)}
    cpu = 1000 * (max(call.cpu_seconds for call in calls) - min(call.cpu_seconds for call in calls)) / len(calls)
    memory = round(float(np.mean([call.mib for call in calls])), 1)
    return {**latency, "cpu_ms_per_request": round(cpu, 1), "server_mib": memory}


def invalid_requests(server: Server) -> Counter[str]:
    """Every invalid request, before and after a movie is picked; counts the outcomes."""
    visitor = Visitor(server, "invalid")
    for name, data in INVALID:
        visitor.send(name, data)
    visitor.request("pick", "Movie 105 (1990)", None)
    visitor.request("picks", None)
    for name, data in INVALID:
        visitor.send(name, data)
    assert len(visitor.request("recommend", None, [], None, None)) == 2  # the session still works
    assert max(call.seconds for call in visitor.calls) < MAX_SECONDS / 6
    return Counter(call.outcome for call in visitor.calls)


def campaign() -> dict[str, Any]:
    """Invalid requests, then the load.

    Raises:
        AssertionError: The last third of the load takes more CPU time or memory than the first.
    """
    with tempfile.TemporaryDirectory() as name, running_demo(Path(name)) as server:
        invalid, result = invalid_requests(server), load(server, USERS, ROUNDS, WARM_UP)
    first, last = result["first_third"], result["last_third"]
    assert last["cpu_ms_per_request"] < MAX_CPU_RATIO * first["cpu_ms_per_request"], f"the demo gets slower: {result}"
    assert last["server_mib"] - first["server_mib"] < MAX_GROWTH_MIB, f"memory of the demo grows: {result}"
    return {"invalid_requests": dict(invalid), "load": result}
