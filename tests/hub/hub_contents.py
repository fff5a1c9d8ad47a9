"""Contents of the loopback Hub: repositories, branches, commits, git hashes, and checks of a card's metadata."""

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

LFS_SUFFIXES = (".safetensors", ".png", ".parquet")


@dataclass
class Commit:
    """All files of a branch after one commit."""

    sha: str
    message: str
    files: dict[str, bytes]


@dataclass
class Repo:
    """Branches of commits, oldest first."""

    private: bool
    branches: dict[str, list[Commit]] = field(default_factory=dict)

    def at(self, revision: str) -> Commit | None:
        """The last commit of a branch, or the commit of this hash."""
        if revision in self.branches:
            return self.branches[revision][-1]
        return next((commit for line in self.branches.values() for commit in line if commit.sha == revision), None)


def commit_of(message: str, files: dict[str, bytes], number: int = 0) -> Commit:
    """A commit whose hash depends on message, files and number."""
    digest = hashlib.sha1(f"{number} {message}".encode())
    for path, data in sorted(files.items()):
        digest.update(path.encode() + b"\0" + data)
    return Commit(digest.hexdigest(), message, files)


def oid_of(path: str, data: bytes) -> str:
    """The git blob hash: of the content, or of the LFS pointer of a large file."""
    if path.endswith(LFS_SUFFIXES):
        sha = hashlib.sha256(data).hexdigest()
        data = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize {len(data)}\n".encode()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def entry_of(path: str, data: bytes) -> dict[str, Any]:
    """Entry of a file in a listing."""
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": oid_of(path, data)}
    if path.endswith(LFS_SUFFIXES):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry


def listing(files: dict[str, bytes], folder: str, deep: bool) -> list[dict[str, Any]]:
    """The files and folders below a folder, all of them or only those directly in it."""
    start = len(folder) + 1 if folder else 0
    below = {path: data for path, data in files.items() if not folder or path.startswith(f"{folder}/")}
    folders = {path[: start + at] for path in below for at, letter in enumerate(path[start:]) if letter == "/"}
    entries = [entry_of(path, data) for path, data in sorted(below.items())]
    entries += [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in sorted(folders)]
    return [entry for entry in entries if deep or "/" not in entry["path"][start:]]


def card_problems(content: str, repo_type: str) -> list[str]:
    """What the Hub would refuse of a card's metadata."""
    front_matter = re.match(r"---\n(.*?\n)---\n", content, re.DOTALL)
    try:
        data = yaml.safe_load(front_matter[1]) if front_matter else {}
    except yaml.YAMLError as error:
        return [f"not YAML: {error}"]
    problems = [
        f'"{name}" must be a list'
        for name in ("tags", "datasets", "metrics")
        if not isinstance(data.get(name, []), list)
    ]
    if data.get("license") == "other" and not data.get("license_name"):
        problems.append('"license_name" is required with "license: other"')
    if repo_type == "space" and data.get("sdk") not in ("gradio", "docker", "static"):
        problems.append('"sdk" must be one of gradio, docker, static')
    for entry in data.get("model-index", []):
        for result in entry["results"]:
            if not (result["task"].get("type") and result["dataset"].get("type") and result["dataset"].get("name")):
                problems.append('"model-index": a result needs task.type, dataset.type and dataset.name')
            if not all("type" in metric and "value" in metric for metric in result["metrics"]):
                problems.append('"model-index": a metric needs type and value')
    return problems
