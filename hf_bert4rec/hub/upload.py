"""Push a folder to the Hub in one commit, and group repositories; errors say what is on the Hub afterwards.

`HfApi.upload_folder` may split a folder into several commits, so this module calls `create_commit`.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import filter_repo_objects

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
PRECONDITION_FAILED = 412  # the Hub's answer to a commit whose parent is not the head of the branch


def check_repo_id(repo_id: str) -> None:
    """Raise ValueError unless the Hub accepts this name of a repository, "user/name"."""
    if not REPO_ID.fullmatch(repo_id) or ".." in repo_id or "--" in repo_id or repo_id.endswith((".git", ".", "-")):
        rule = "'user/name' of letters, digits, '-', '_', '.'; a letter or digit first, not '.' last, no '--' or '..'"
        raise ValueError(f"{repo_id!r} is not a repository name: it must be {rule}")


def check_token() -> None:
    """Raise PermissionError unless there is a token that may write, ConnectionError if the Hub cannot be reached."""
    if get_token() is None:
        raise PermissionError("no token for the Hub: run `hf auth login`, or set the environment variable HF_TOKEN")
    with explain_failures("the account of the token", lambda: "is unknown"):
        account = HfApi().whoami()
    if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise PermissionError("the token may only read: create one with write access in the Hub's settings, Tokens")


def check_target(repo_id: str, repo_type: str = "model") -> None:
    """Raise FileExistsError unless the repository is absent, empty or made by this package; others as `push`."""
    target = PushTarget(repo_id, repo_type)
    with explain_failures(target.name, target.state_after_failure):
        target.read_own_main()


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
    target = PushTarget(repo_id, repo_type, revision)
    with explain_failures(target.name, target.state_after_failure):
        target.prepare_branch(private)
        target.commit(folder)
    return f"{target.api.endpoint}/{'' if repo_type == 'model' else repo_type + 's/'}{repo_id}"


def push_collection(repo_id: str, repo_types: Iterable[Any], *, private: bool = False) -> str:
    """Add the repositories `repo_id` of some types to the collection of this name, and return its address.

    The collection is created if the account has none of this name; its other items stay. Errors are those of `push`.
    """
    api = HfApi(library_name="hf-bert4rec")
    namespace, name = repo_id.split("/")
    description = "A recommender, the data it was trained on, and a demo."
    state = "is not complete, all else was published: push again"
    with explain_failures(f"the collection {name}", lambda: state):
        collection = api.create_collection(
            name[:MAX_TITLE], namespace=namespace, description=description, private=private, exists_ok=True
        )
        for repo_type in repo_types:
            api.add_collection_item(collection.slug, repo_id, repo_type, exists_ok=True)
    return collection.url


class PushTarget:
    """A branch of a repository, and what a push has changed there so far; None is the main branch."""

    def __init__(self, repo_id: str, repo_type: str, revision: str | None = None) -> None:
        self.api = HfApi(library_name="hf-bert4rec")
        self.repo = {"repo_id": repo_id, "repo_type": repo_type}
        self.name, self.revision = f"the {repo_type} {repo_id}", revision
        self.steps_begun: list[str] = []
        self.before: Any = None  # the branch before the commit

    def prepare_branch(self, private: bool) -> None:
        """Create repository and branch if they do not exist."""
        main = self.read_own_main()
        if main is None:
            self.steps_begun.append("create")
            sdk = {"space_sdk": "static"} if self.repo["repo_type"] == "space" else {}
            self.api.create_repo(**self.repo, private=private, **sdk)
        elif private and not main.private:
            raise FileExistsError(f"{self.name} is public already: make it private in its settings first")
        if self.revision is not None and (main is None or self.read(self.revision) is None):
            self.steps_begun.append("branch")
            self.api.create_branch(**self.repo, branch=self.revision, exist_ok=True)
        self.before = self.api.repo_info(**self.repo, revision=self.revision)

    def read(self, revision: str | None) -> Any:
        """The Hub's description of a branch; None if it does not exist."""
        try:
            return self.api.repo_info(**self.repo, revision=revision)
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return None

    def read_own_main(self) -> Any:
        """The main branch; FileExistsError if the repository holds something that this package did not make."""
        main = self.read(None)
        if main is None or (files := _files(main)) <= INITIAL_FILES:
            return main
        name, text = SIGNATURES[self.repo["repo_type"]]
        if name in files:
            path = self.api.hf_hub_download(**self.repo, filename=name, revision=main.sha)
            if text in Path(path).read_text(encoding="utf-8"):
                return main
        some = ", ".join(sorted(files - INITIAL_FILES)[:3])
        raise FileExistsError(f"{self.name} holds something else ({some}, …): choose another name; nothing was changed")

    def commit(self, folder: Path) -> None:
        """Add every file of the folder, delete the stale ones."""
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        patterns = [*STALE, *STALE_IN_SPACES] if self.repo["repo_type"] == "space" else [*STALE]
        stale = filter_repo_objects(sorted(_files(self.before) - set(files)), allow_patterns=patterns)
        added = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(path)) for name, path in files.items()]
        self.api.create_commit(
            **self.repo,
            operations=[*added, *(CommitOperationDelete(path_in_repo=name) for name in stale)],
            commit_message=f"Upload {folder.name} with hf-bert4rec",
            revision=self.revision,
            parent_commit=self.before.sha,
        )

    def state_after_failure(self) -> str:
        """What a failed push left of the repository."""
        if not self.steps_begun and self.before is None:
            return "was not changed"
        try:
            now = self.read(self.revision)
        except FAILURES:
            return "may have changed, its state is unknown: look at it before you push again"
        if now is not None and self.before is not None and now.sha != self.before.sha:
            return "received the commit; only the response was lost"
        if "create" in self.steps_begun and (now is not None or "branch" in self.steps_begun):
            return "was created and is empty: push again, or delete it"
        if "branch" in self.steps_begun and now is not None:
            return f"was not changed except for a new branch {self.revision!r}, a copy of the main branch"
        return "was not changed"


def _files(branch: Any) -> set[str]:
    return {file.rfilename for file in branch.siblings or []}


@contextmanager
def explain_failures(subject: str, state: Callable[[], str]) -> Iterator[None]:
    """Turn errors of the Hub into built-in ones that name cause, fix, and the state of `subject`, such as a model."""
    try:
        yield
    except FileExistsError:
        raise
    except FAILURES as error:
        raise _explained(error, subject, state()) from error


def _explained(error: BaseException, subject: str, state: str) -> Exception:
    causes, left = list(_causes(error)), f"{subject} {state}"
    # The status of the first response.
    status = next((cause.response.status_code for cause in causes if isinstance(cause, HfHubHTTPError)), None)
    if status == PRECONDITION_FAILED:
        fix = "look at it, then push again; nothing of this push was committed"
        return RuntimeError(f"another commit to {subject} arrived during this push: {fix}")
    if status == 401:
        return PermissionError(f"the Hub refuses the token: log in again with `hf auth login`; {left}")
    if status == 403:
        return PermissionError(f"the token has no write access there: use another token or name; {left}")
    if status is not None and 400 <= status < 500 and status != 429:
        return ValueError(f"the Hub refuses this ({error}); {left}")
    if status is not None:
        return ConnectionError(f"the Hub failed (status {status}): try again later; {left}")
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
        return ConnectionError(f"HF_HUB_OFFLINE is set: unset it to reach the Hub; {left}")
    if any(isinstance(cause, httpx2.HTTPError) for cause in causes):
        return ConnectionError(f"the Hub cannot be reached ({causes[-1]}): check the network; {left}")
    error_type = ValueError if isinstance(error, ValueError) else ConnectionError
    return error_type(f"the push failed ({error}); {left}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
