"""A Hub on loopback for tests: the endpoints that huggingface_hub uses, in memory, with failures on demand.

    with Hub() as hub:
        subprocess.run(…, env=hub.environment(home))

Repositories are lists of commits. `hub.rules` breaks requests: a `Rule` names a method, a pattern of the path, and what
happens instead of a response. Clients set rules by POST to `/_rules`, so that one process can run into many failures.
"""

from __future__ import annotations

import os
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.hub.hub_contents import Repo
from tests.hub.hub_handler import CUT, CUT_AFTER, OUTSIDER, OVERTAKEN, READER, WRITER, Handler, Rule

__all__ = ["CUT", "CUT_AFTER", "OUTSIDER", "OVERTAKEN", "READER", "WRITER", "Hub", "Rule"]


class Hub:
    """The server, its repositories by (type, name), collections, large files by sha256, and the requests received."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.collections: dict[str, dict[str, Any]] = {}  # by slug
        self.large: dict[str, bytes] = {}
        self.rules: list[Rule] = []
        self.requests: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": self}))
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def environment(self, home: Path, token: str | None = WRITER) -> dict[str, str]:
        """What a process needs to take this for the Hub."""
        environment = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HF_HUB_OFFLINE")}
        environment |= {
            "HF_ENDPOINT": self.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(home),
            "OMP_NUM_THREADS": "1",
        }
        environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
        return environment | ({"HF_TOKEN": token} if token else {})

    def files(self, repo_type: str, name: str, revision: str = "main") -> dict[str, bytes]:
        """The content of a branch."""
        commit = self.repos[repo_type, name].at(revision)
        assert commit is not None
        return commit.files

    def commits(self, repo_type: str, name: str, revision: str = "main") -> list[str]:
        """Messages of a branch's commits, the one that made the repository left out."""
        return [commit.message for commit in self.repos[repo_type, name].branches[revision]][1:]
