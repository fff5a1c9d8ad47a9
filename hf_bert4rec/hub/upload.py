"""Push a folder to the Hub in one commit, and group repositories; errors say what is on the Hub afterwards.

`HfApi.upload_folder` may split a folder into several commits, so this module calls `create_commit`.
"""

import fnmatch
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError

REPO_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
# Every repository made by this package has this file, which contains this text.
SIGNATURES = {
    "model": ("config.json", '"bert4rec"'),
    "dataset": ("README.md", "hf-bert4rec"),
    "space": ("README.md", "hf-bert4rec"),
}
# Files of an earlier push that are deleted if the folder lacks them; all other files on the Hub stay.
STALE = ("*_bert4rec.py", "model*.safetensors*", "onnx/*", "plots/*", "evaluation.json", "data/*.parquet")
STALE_IN_SPACES = ("app.py", "requirements.txt", "model.txt", "ort/*")  # the first three are of a demo in Gradio
INITIAL_FILES = {".gitattributes", "README.md"}
FAILURES = (HfHubHTTPError, httpx2.HTTPError, OfflineModeIsEnabled, OSError, RuntimeError, ValueError)
MAX_TITLE = 59  # characters of a collection's title that the Hub allows
Step = Literal["create", "branch", "commit"]  # of a push
PRECONDITION_FAILED = 412  # the Hub's answer to a commit whose parent is not the head of the branch


@dataclass(frozen=True)
class Remote:
    """State of a branch: its files, its last commit, and whether the repository is private."""

    files: frozenset[str]
    commit: str
    private: bool


def check_repo_id(repo_id: str) -> None:
    """Raise ValueError unless the Hub accepts this name of a repository, "user/name"."""
    if not REPO_ID.fullmatch(repo_id) or ".." in repo_id or "--" in repo_id or repo_id.endswith((".git", ".", "-")):
        raise ValueError(
            f"{repo_id!r} is not a repository name: it must be 'user/name', each of letters, digits, '-', '_' and '.', "
            "beginning with a letter or digit"
        )


def check_token() -> str:
    """Return the account of the current token.

    Raises:
        PermissionError: there is no token, the Hub does not know it, or it is read-only.
        ConnectionError: the Hub cannot be reached.
    """
    if get_token() is None:
        raise PermissionError("no token for the Hub: run `hf auth login`, or set the environment variable HF_TOKEN")
    try:
        account = HfApi().whoami()
    except FAILURES as error:
        raise explain_failure(error, "the account of the token is unknown") from error
    if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise PermissionError("the token may only read: create one with write access in the Hub's settings, Tokens")
    return account["name"]


def check_target(repo_id: str, repo_type: str = "model") -> None:
    """Raise FileExistsError unless the repository is absent, empty or made by this package; others as `push`."""
    api = HfApi(library_name="hf-bert4rec")
    try:
        _check_signature(api, repo_id, repo_type, _read_remote(api, repo_id, repo_type))
    except FileExistsError:
        raise
    except FAILURES as error:
        raise explain_failure(error, f"the {repo_type} {repo_id} was not changed") from error


def push(
    folder: Path, repo_id: str, repo_type: str = "model", *, private: bool = False, revision: str | None = None
) -> str:
    """Make `folder` the content of a repository in one commit, and return its address.

    The commit deletes files of an earlier push that `folder` lacks; files that others added remain.

    Raises:
        ValueError: `repo_id` is malformed, or the Hub refuses the card.
        FileExistsError: the repository holds something else, or is public and `private` is set.
        PermissionError: the token is refused.
        RuntimeError: another commit arrived during this push.
        ConnectionError: the Hub cannot be reached, or failed. Every message says what is on the Hub now.
    """
    check_repo_id(repo_id)
    check_token()
    api = HfApi(library_name="hf-bert4rec")
    begun: list[Step] = []
    before = None
    try:
        before = _prepare_branch(api, repo_id, repo_type, private, revision, begun)
        begun.append("commit")
        api.create_commit(
            repo_id,
            _operations(folder, before.files if before else frozenset(), repo_type),
            commit_message=f"Upload {folder.name} with hf-bert4rec",
            repo_type=repo_type,
            revision=revision,
            parent_commit=before.commit if before else None,
        )
    except FileExistsError:
        raise
    except FAILURES as error:
        if _status(error) == PRECONDITION_FAILED:
            raise RuntimeError(
                f"another commit to the {repo_type} {repo_id} arrived during this push: look at it, then push again; "
                "nothing of this push was committed"
            ) from error
        raise explain_failure(error, _state_after_failure(api, repo_id, repo_type, revision, begun, before)) from error
    return f"{api.endpoint}/{'' if repo_type == 'model' else repo_type + 's/'}{repo_id}"


def push_collection(repo_id: str, repo_types: Iterable[Any], *, private: bool = False) -> str:
    """Add the repositories `repo_id` of some types to the collection of this name, and return its address.

    The collection is created if the account has none of this name; its other items stay. Errors are those of `push`.
    """
    api = HfApi(library_name="hf-bert4rec")
    namespace, name = repo_id.split("/")
    description = "A recommender, the data it was trained on, and a demo."
    try:
        collection = api.create_collection(
            name[:MAX_TITLE], namespace=namespace, description=description, private=private, exists_ok=True
        )
        for repo_type in repo_types:
            api.add_collection_item(collection.slug, repo_id, repo_type, exists_ok=True)
    except FAILURES as error:
        state = f"the collection {name} is not complete, all else was published: push again"
        raise explain_failure(error, state) from error
    return collection.url


def _prepare_branch(
    api: HfApi, repo_id: str, repo_type: str, private: bool, revision: str | None, begun: list[Step]
) -> Remote | None:
    """Create repository and branch if they do not exist, and return the state of the branch; adds steps to `begun`."""
    remote = _read_remote(api, repo_id, repo_type)
    _check_signature(api, repo_id, repo_type, remote)
    if remote is None:
        begun.append("create")
        sdk = {"space_sdk": "static"} if repo_type == "space" else {}
        api.create_repo(repo_id, repo_type=repo_type, private=private, **sdk)
    elif private and not remote.private:
        raise FileExistsError(
            f"the {repo_type} {repo_id} is public already: make it private in its settings, then push again"
        )
    if revision is not None and (remote is None or _read_remote(api, repo_id, repo_type, revision) is None):
        begun.append("branch")
        api.create_branch(repo_id, branch=revision, repo_type=repo_type, exist_ok=True)
    return _read_remote(api, repo_id, repo_type, revision)


def _read_remote(api: HfApi, repo_id: str, repo_type: str, revision: str | None = None) -> Remote | None:
    """State of the repository's branch; None if it does not exist."""
    try:
        info = api.repo_info(repo_id, repo_type=repo_type, revision=revision)
    except RepositoryNotFoundError as error:
        if error.response.status_code == 401:  # also the Hub's answer to an unknown token
            check_token()
        return None
    except RevisionNotFoundError:
        return None
    return Remote(frozenset(file.rfilename for file in info.siblings or []), info.sha or "", bool(info.private))


def _check_signature(api: HfApi, repo_id: str, repo_type: str, remote: Remote | None) -> None:
    """Raise FileExistsError if the repository holds something that this package did not make."""
    if remote is None or remote.files <= INITIAL_FILES:
        return
    name, text = SIGNATURES[repo_type]
    if name in remote.files:
        path = api.hf_hub_download(repo_id, name, repo_type=repo_type, revision=remote.commit)
        if text in Path(path).read_text(encoding="utf-8"):
            return
    raise FileExistsError(
        f"the {repo_type} {repo_id} holds something else ({', '.join(sorted(remote.files - INITIAL_FILES)[:3])}, …): "
        "choose another name; nothing was changed"
    )


def _operations(folder: Path, remote_files: frozenset[str], repo_type: str) -> list[Any]:
    """Add every file of the folder, delete the stale ones."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    patterns = (*STALE, *STALE_IN_SPACES) if repo_type == "space" else STALE
    stale = [name for name in remote_files - set(files) if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    added = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(path)) for name, path in files.items()]
    return [*added, *(CommitOperationDelete(path_in_repo=name) for name in sorted(stale))]


def _state_after_failure(
    api: HfApi, repo_id: str, repo_type: str, revision: str | None, begun: list[Step], before: Remote | None
) -> str:
    """What a failed push left on the Hub, as the last clause of an error message."""
    target = f"the {repo_type} {repo_id}"
    if not begun:
        return f"{target} was not changed"
    try:
        now = _read_remote(api, repo_id, repo_type, revision)
    except FAILURES:
        return f"whether {target} was changed is unknown: look at it before you push again"
    if "commit" in begun and now is not None and before is not None and now.commit != before.commit:
        return f"{target} received the commit; only the response was lost"
    if "create" in begun and (now is not None or "branch" in begun):
        return f"{target} was created and is empty: push again, or delete it"
    if "branch" in begun and now is not None:
        return f"{target} was not changed except for a new branch {revision!r}, a copy of the main branch"
    return f"{target} was not changed"


def explain_failure(error: BaseException, state: str) -> Exception:
    """A built-in exception that names cause and fix; `state` says what is on the Hub now."""
    causes, status = list(_causes(error)), _status(error)
    if status == 401:
        return PermissionError(f"the Hub refuses the token: log in again with `hf auth login`; {state}")
    if status == 403:
        return PermissionError(f"the token has no write access there: use another token or name; {state}")
    if status is not None and 400 <= status < 500 and status != 429:
        return ValueError(f"the Hub refuses this ({error}); {state}")
    if status is not None:
        return ConnectionError(f"the Hub failed (status {status}): try again later; {state}")
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
        return ConnectionError(f"HF_HUB_OFFLINE is set: unset it to reach the Hub; {state}")
    if any(isinstance(cause, httpx2.HTTPError) for cause in causes):
        return ConnectionError(f"the Hub cannot be reached ({causes[-1]}): check the network; {state}")
    if isinstance(error, ValueError):
        return ValueError(f"{error}; {state}")
    return ConnectionError(f"the push failed ({error}); {state}")


def _status(error: BaseException) -> int | None:
    """HTTP status of the first response among the causes of an error."""
    return next((cause.response.status_code for cause in _causes(error) if isinstance(cause, HfHubHTTPError)), None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
