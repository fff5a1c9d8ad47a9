"""A folder to the Hub, in one commit: all of it arrives or nothing does, and a failure says in words what is there now.

`HfApi.upload_folder` may cut a folder into several commits, so commits are made by `create_commit` here.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
# By what a repository of ours is known: a file, and words in it.
MARKS = {
    "model": ("config.json", '"bert4rec"'),
    "dataset": ("README.md", "hf-bert4rec"),
    "space": ("README.md", "hf-bert4rec"),
}
# Files of an earlier push that a later one may not have; whatever else someone put there stays.
STALE = ("*_bert4rec.py", "model*.safetensors*", "onnx/*", "plots/*", "evaluation.json", "data/*.parquet")
BARE = {".gitattributes", "README.md"}
FAILURES = (HfHubHTTPError, httpx2.HTTPError, OfflineModeIsEnabled, OSError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Remote:
    """A branch of a repository as it stands: its files, its last commit, whether strangers may read it."""

    files: frozenset[str]
    commit: str
    private: bool


@dataclass
class Progress:
    """How far a push came, for what is said when it fails."""

    creating: bool = False
    branching: bool = False
    sending: bool = False
    before: Remote | None = None  # the branch that the commit goes to


def check_repo_id(repo_id: str) -> None:
    """Raise ValueError unless this is a name as the Hub wants it, "user/name"."""
    if not NAME.fullmatch(repo_id) or ".." in repo_id or "--" in repo_id or repo_id.endswith((".git", ".", "-")):
        raise ValueError(
            f"{repo_id!r} is no name of a repository: it is 'user/name', each of letters, digits, '-', '_' and '.', "
            "beginning with a letter or digit"
        )


def check_token() -> str:
    """The account that the token at hand belongs to.

    Raises:
        PermissionError: there is no token, the Hub does not know it, or it may only read. ConnectionError: no network.
    """
    if get_token() is None:
        raise PermissionError("no token for the Hub: run `hf auth login`, or set the environment variable HF_TOKEN")
    try:
        found = HfApi().whoami()
    except FAILURES as error:
        raise _in_words(error, "the Hub cannot say whose token this is") from error
    role = found.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        raise PermissionError("the token may only read: make one that may write in the Hub's settings, under tokens")
    return found["name"]


def check_target(repo_id: str, repo_type: str = "model") -> None:
    """Raise FileExistsError where a repository of this name holds something else; ConnectionError without network."""
    api = HfApi(library_name="hf-bert4rec")
    try:
        _check_ours(api, repo_id, repo_type, _look(api, repo_id, repo_type, None))
    except FileExistsError:
        raise
    except FAILURES as error:
        raise _in_words(error, f"the {repo_type} {repo_id} was not changed") from error


def push(
    folder: Path, repo_id: str, repo_type: str = "model", *, private: bool = False, revision: str | None = None
) -> str:
    """Make `folder` the content of a repository by one commit; gives its address.

    Files of an earlier push that are not in `folder` are removed in the same commit; what others put there stays.

    Raises:
        ValueError: a name of the wrong form, a card that the Hub refuses.
        FileExistsError: a repository of this name that holds something else, or `private` for a public one.
        PermissionError: the token is refused. ConnectionError: no network, or the Hub failed. All say what is there.
    """
    check_repo_id(repo_id)
    check_token()
    api, progress = HfApi(library_name="hf-bert4rec"), Progress()
    try:
        _make_room(api, repo_id, repo_type, private, revision, progress)
        operations = _operations(folder, progress.before.files if progress.before else frozenset())
        message = f"Upload {folder.name} with hf-bert4rec"
        progress.sending = True
        api.create_commit(repo_id, operations, commit_message=message, repo_type=repo_type, revision=revision)
    except FileExistsError:
        raise
    except FAILURES as error:
        raise _in_words(error, _left_behind(api, repo_id, repo_type, revision, progress)) from error
    return f"{api.endpoint}/{'' if repo_type == 'model' else repo_type + 's/'}{repo_id}"


def _make_room(
    api: HfApi, repo_id: str, repo_type: str, private: bool, revision: str | None, progress: Progress
) -> None:
    """Make repository and branch where they are not there, and note how the branch stands."""
    there = _look(api, repo_id, repo_type, None)
    _check_ours(api, repo_id, repo_type, there)
    if there is None:
        progress.creating = True
        sdk = {"space_sdk": "gradio"} if repo_type == "space" else {}
        api.create_repo(repo_id, repo_type=repo_type, private=private, **sdk)
    elif private and not there.private:
        raise FileExistsError(
            f"the {repo_type} {repo_id} is public already: make it private in its settings, then push again"
        )
    if revision is not None and (there is None or _look(api, repo_id, repo_type, revision) is None):
        progress.branching = True
        api.create_branch(repo_id, branch=revision, repo_type=repo_type, exist_ok=True)
    progress.before = _look(api, repo_id, repo_type, revision)


def _look(api: HfApi, repo_id: str, repo_type: str, revision: str | None) -> Remote | None:
    """The repository as it stands; None where there is none."""
    try:
        info = api.repo_info(repo_id, repo_type=repo_type, revision=revision)
    except RepositoryNotFoundError as error:
        if error.response.status_code == 401:  # the Hub answers so, too, to a token that it does not know
            check_token()
        return None
    except RevisionNotFoundError:
        return None
    return Remote(frozenset(file.rfilename for file in info.siblings or []), info.sha or "", bool(info.private))


def _check_ours(api: HfApi, repo_id: str, repo_type: str, remote: Remote | None) -> None:
    """Raise FileExistsError where the repository holds something that this package did not make."""
    if remote is None or remote.files <= BARE:
        return
    name, mark = MARKS[repo_type]
    if name in remote.files:
        path = api.hf_hub_download(repo_id, name, repo_type=repo_type, revision=remote.commit)
        if mark in Path(path).read_text(encoding="utf-8"):
            return
    raise FileExistsError(
        f"the {repo_type} {repo_id} holds something else ({', '.join(sorted(remote.files - BARE)[:3])}, …): "
        "choose another name; nothing was changed"
    )


def _operations(folder: Path, there: frozenset[str]) -> list[Any]:
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    stale = [name for name in there - set(files) if any(fnmatch.fnmatch(name, pattern) for pattern in STALE)]
    added = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(path)) for name, path in files.items()]
    return [*added, *(CommitOperationDelete(path_in_repo=name) for name in sorted(stale))]


def _left_behind(api: HfApi, repo_id: str, repo_type: str, revision: str | None, progress: Progress) -> str:
    """What a failed push left on the Hub, as far as the Hub can be asked."""
    place = f"the {repo_type} {repo_id}"
    if not (progress.creating or progress.branching or progress.sending):
        return f"{place} was not changed"
    try:
        now = _look(api, repo_id, repo_type, revision)
    except FAILURES:
        return f"the Hub cannot say whether {place} was changed: look at it before you push again"
    if progress.sending and now is not None and progress.before is not None and now.commit != progress.before.commit:
        return f"{place} did receive the commit, only the answer was lost"
    if progress.creating and (now is not None or progress.branching):
        return f"{place} was made and is empty: push again, or delete it"
    if progress.branching and now is not None:
        return f"{place} was not changed but for a new branch {revision!r}, which holds what the main one does"
    return f"{place} was not changed"


def _in_words(error: BaseException, left: str) -> Exception:
    """The error as one of Python's own kinds that says what to do; `left` says how things stand."""
    chain: Sequence[BaseException] = list(_causes(error))
    status = next((found.response.status_code for found in chain if isinstance(found, HfHubHTTPError)), None)
    if status == 401:
        return PermissionError(f"the Hub refuses the token: log in again with `hf auth login`; {left}")
    if status == 403:
        return PermissionError(f"the token may not write there: use one that may, or another name; {left}")
    if status is not None and 400 <= status < 500 and status != 429:
        return ValueError(f"the Hub refuses this ({error}); {left}")
    if status is not None:
        return ConnectionError(f"the Hub failed (status {status}): try again later; {left}")
    if any(isinstance(found, OfflineModeIsEnabled) for found in chain):
        return ConnectionError(f"HF_HUB_OFFLINE is set: unset it to reach the Hub; {left}")
    if any(isinstance(found, httpx2.HTTPError) for found in chain):
        return ConnectionError(f"the Hub cannot be reached ({chain[-1]}): check the network; {left}")
    if isinstance(error, ValueError):
        return ValueError(f"{error}; {left}")
    return ConnectionError(f"the push failed ({error}); {left}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
