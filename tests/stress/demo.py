"""Campaign: the demo's own server on loopback, asked by fifty people at once: nobody is left without an answer."""

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
from tests.stress.models import make_good
from tests.stress.workloads import ITEMS

APP = Path(__file__).resolve().parents[2] / "model_card" / "space" / "app.py"
USERS, WARM_UP, ROUNDS = 50, 3, 8
SLOWEST = 60.0  # seconds that an answer may take
SLOWER, LARGER = 1.5, 48.0  # processor time a request, and MiB, that the last third may take more than the first
TITLE = re.compile(r"<h3>(.*?)</h3>")
MARKUP = "<img src=x onerror=alert(1)>"
HUGE = "9" * 400
# What a page would never send, as JSON: the function, and the values of its inputs; null stands for the session's own.
ODD = [
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
    """A demo that answers at a port of loopback, in a process of its own."""

    port: int
    pid: int

    def resident(self) -> float:
        """MiB of it that are in memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE / 2**20

    def busy(self) -> float:
        """Seconds of a processor that it has used: unlike latency, these do not grow where others use the machine."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Call:
    """One request: when it began, the seconds to its answer, how it ended, and what the server then had used."""

    began: float
    seconds: float
    outcome: str
    mib: float
    busy: float


@contextmanager
def served(folder: Path) -> Iterator[Server]:
    """The demo of a model of twelve movies, one of them named by markup, for as long as the block runs."""
    model = make_good(folder / "model")
    items = json.loads((model / "items.json").read_text(encoding="utf-8"))
    items["title"][0] = MARKUP
    (model / "items.json").write_text(json.dumps(items), encoding="utf-8")
    quiet = {"HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False", "PYTHONUNBUFFERED": "1"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(APP), str(model)],
            env=os.environ | quiet,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert process.stdout is not None
        try:
            found = next(filter(None, (re.search(r"http://127\.0\.0\.1:(\d+)", line) for line in process.stdout)), None)
            if found is None:
                raise RuntimeError(f"the demo does not start: {(folder / 'log').read_text()[-2000:]}")
            yield Server(int(found[1]), process.pid)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


class Person:
    """Someone with a session of their own, who asks as the page does and waits for each answer."""

    def __init__(self, server: Server, session: str) -> None:
        self.server, self.session, self.calls = server, session, list[Call]()

    def ask(self, name: str, *data: Any) -> Any:
        """What a sensible request is answered with."""
        outcome, answer = self.send(name, json.dumps(data))
        assert outcome == "answered", f"{name}{data}: {answer}"
        return answer

    def send(self, name: str, data: str) -> tuple[str, Any]:
        """ "answered" or "refused in words", and the answer; AssertionError for anything else, such as none."""
        began = time.monotonic()
        body = f'{{"data": {data}, "session_hash": "{self.session}"}}'
        status, text = self._fetch("POST", f"/gradio_api/call/{name}", body)
        if status == 200:
            status, text = self._fetch("GET", f"/gradio_api/call/{name}/{json.loads(text)['event_id']}")
        outcome, answer = judged(status, text)
        seconds, server = time.monotonic() - began, self.server
        self.calls.append(Call(began, seconds, outcome, server.resident(), server.busy()))
        return outcome, answer

    def _fetch(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        with closing(HTTPConnection("127.0.0.1", self.server.port, timeout=SLOWEST)) as connection:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def visit(self, chance: random.Random) -> None:
        """Search, pick two or three movies, look at what is recommended and alike, try something odd, begin again."""
        labels = [button["value"] for button in self.ask("search", "movie", None)[1:] if button.get("value")]
        picked = chance.sample(labels, chance.randint(2, 3))
        for label in picked:
            self.ask("pick", label, None)
        self.ask("picks", None)
        html, like = self.ask("recommend", None, [], None, None)
        titles = TITLE.findall(html)
        assert len(titles) == min(10, ITEMS - len(picked)), f"{len(titles)} movies for {picked}"
        assert not {label.removesuffix(" (1990)") for label in picked} & set(titles), "another one's answer"
        assert "<img" not in html, "a title is markup"
        (alike,) = self.ask("similar", like["choices"][0][1])
        assert len(TITLE.findall(alike)) == 6
        self.send(*chance.choice(ODD))
        self.ask("clear")


def judged(status: int, text: str) -> tuple[str, Any]:
    """How a request ended, by the server's answer to it."""
    if 400 <= status < 500:
        assert len(json.loads(text)["detail"]) > 0, text
        return "refused in words", text
    assert status == 200, f"{status}: {text[:300]}"
    event, _, data = text.strip().rsplit("event: ", 1)[-1].partition("\ndata: ")
    answer = json.loads(data)
    if event == "error":
        assert isinstance(answer, dict), text[:300]
        assert len(answer["error"] or "") > 10, f"an error without words: {answer}"
        return "refused in words", answer["error"]
    assert event == "complete", text[:300]
    return "answered", answer


def load(server: Server, users: int, rounds: int, warm_up: int) -> dict[str, Any]:
    """So many people at once, each of whom comes so many times; AssertionError where one is lost or gets another's."""
    people = [Person(server, f"session{number}") for number in range(users)]
    all_here = threading.Barrier(users)

    def stay(number: int) -> list[Call]:
        chance = random.Random(number)
        for _ in range(warm_up):
            people[number].visit(chance)
        people[number].calls.clear()
        all_here.wait(SLOWEST)
        for _ in range(rounds):
            people[number].visit(chance)
        return people[number].calls

    began = time.monotonic()
    with ThreadPoolExecutor(users) as pool:
        calls = sorted((call for found in pool.map(stay, range(users)) for call in found), key=lambda call: call.began)
    third = len(calls) // 3
    return {
        "users_at_once": users,
        "requests_held": len(calls),
        "outcomes": dict(Counter(call.outcome for call in calls)),
        "requests_a_second": round(len(calls) / (time.monotonic() - calls[0].began)),
        "seconds_to_warm_up": round(calls[0].began - began, 1),
        "first_third": figures(calls[:third]),
        "last_third": figures(calls[-third:]),
    }


def figures(calls: list[Call]) -> dict[str, float]:
    """Latency at three percentiles, the server's processor time a request, and its memory."""
    milliseconds = [1000 * call.seconds for call in calls]
    shares = {f"p{share}_milliseconds": round(float(np.percentile(milliseconds, share)), 1) for share in (50, 95, 99)}
    busy = 1000 * (max(call.busy for call in calls) - min(call.busy for call in calls)) / len(calls)
    memory = round(float(np.mean([call.mib for call in calls])), 1)
    return {**shares, "processor_milliseconds": round(busy, 1), "server_mib": memory}


def odd_requests(server: Server) -> Counter[str]:
    """Every odd request, before and after something is picked; how they ended."""
    person = Person(server, "odd")
    for name, data in ODD:
        person.send(name, data)
    person.ask("pick", "Movie 105 (1990)", None)
    person.ask("picks", None)
    for name, data in ODD:
        person.send(name, data)
    assert len(person.ask("recommend", None, [], None, None)) == 2  # still there
    assert max(call.seconds for call in person.calls) < SLOWEST / 6
    return Counter(call.outcome for call in person.calls)


def campaign() -> dict[str, Any]:
    """Odd requests, then the load; AssertionError where the last third of it is slower or larger than the first."""
    with tempfile.TemporaryDirectory() as name, served(Path(name)) as server:
        odd, found = odd_requests(server), load(server, USERS, ROUNDS, WARM_UP)
    first, last = found["first_third"], found["last_third"]
    assert last["processor_milliseconds"] < SLOWER * first["processor_milliseconds"], f"the demo grows slower: {found}"
    assert last["server_mib"] - first["server_mib"] < LARGER, f"the demo grows: {found}"
    return {"odd_requests": dict(odd), "load": found}
