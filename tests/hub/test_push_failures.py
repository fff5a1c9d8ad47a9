"""Failures of a push: the error names the fix, and the Hub is unchanged."""

import errno
import re
import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from safetensors.torch import load_file, save_file

from hf_bert4rec.cli import push as push_to_hub
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.data.releases import RELEASES
from hf_bert4rec.hub import space
from hf_bert4rec.hub.dataset_repository import push_dataset, write_dataset
from hf_bert4rec.hub.space import SPACE_FOLDER, stage_space
from hf_bert4rec.hub.staging import stage_model
from hf_bert4rec.hub.upload import push
from tests.hub.hub_clients import PUSHER, ROOT, run
from tests.hub.hub_server import CUT, CUT_AFTER, OUTSIDER, READER, WRITER, Hub
from tests.published import make_folder, write_tables

NAME = "someone/small"
DATASET = {"repo_type": "dataset"}


# Every request of a push: a method and a pattern of the path.
STEPS = {
    "who": ("GET", "whoami"),
    "look": ("GET", "/api/[a-z]+/[^/]+/[^/]+$"),
    "look at a branch": ("GET", "/api/[a-z]+/[^/]+/[^/]+/revision/"),
    "ours": ("HEAD", "/resolve/"),
    "read ours": ("GET", "/resolve/"),
    "create": ("POST", "/api/repos/create"),
    "branch": ("POST", "/branch/"),
    "card check": ("POST", "validate-yaml"),
    "preupload": ("POST", "/preupload/"),
    "large files": ("POST", "/objects/batch"),
    "large file": ("PUT", "/_lfs/"),
    "large file check": ("POST", "/_lfs/.*/verify"),
    "commit": ("POST", "/commit/"),
}
# Requests of an update, in an order in which none that fails was answered in an earlier push.
UPDATE = (
    "ours",
    "read ours",
    "who",
    "look",
    "card check",
    "preupload",
    "large files",
    "large file",
    "large file check",
    "commit",
)
STATE = "was not changed|was created and|received the commit|is unknown"


def refused(folder: Path, bad: Path) -> dict[str, tuple[dict, str, str]]:
    """Pushes that are refused: the request, the type of the error, and a part of its message."""
    ask = {"folder": str(folder), "name": NAME, "token": WRITER}
    fresh = {**ask, "name": "someone/fresh"}
    return {
        "no token": ({**ask, "token": None}, "PermissionError", "hf auth login"),
        "unknown token": ({**ask, "token": "hf_unknown"}, "PermissionError", "refuses the token"),
        "reading token": ({**ask, "token": READER}, "PermissionError", "may only read"),
        "another's token": ({**ask, "token": OUTSIDER}, "PermissionError", "was not changed"),
        "another's name": ({**fresh, "token": OUTSIDER}, "PermissionError", "no write access"),
        "no slash": ({**ask, "name": "small"}, "ValueError", "'user/name'"),
        "other model": ({**ask, "name": "someone/classifier"}, "FileExistsError", "holds something else"),
        "other model, checked": ({**ask, "name": "someone/classifier", "check": "model"}, "FileExistsError", "else"),
        "other data": (
            {**ask, "name": "someone/corpus", "options": DATASET},
            "FileExistsError",
            "holds something else",
        ),
        "public already": ({**ask, "options": {"private": True}}, "FileExistsError", "public already"),
        "no network": ({**ask, "endpoint": "http://127.0.0.1:9"}, "ConnectionError", "the Hub cannot be reached"),
        "bad card": ({**ask, "folder": str(bad)}, "ValueError", "was not changed"),
        "bad card, new": ({**fresh, "folder": str(bad)}, "ValueError", "was created and is empty"),
    }


def broken(folder: Path, space: Path) -> dict[str, tuple[dict, str, str]]:
    """Pushes in which a request fails, or the connection breaks before or after it."""
    ask = {"folder": str(folder), "name": NAME, "token": WRITER}

    def case(step: str, action: int | str, **changed: Any) -> dict[str, Any]:
        return {**ask, "rules": [[*STEPS[step], action]], **changed}

    cases = {
        f"{step} {action}": (case(step, action), "ConnectionError", "") for step in UPDATE for action in (500, CUT)
    }
    for number, action in enumerate((500, CUT, CUT_AFTER)):
        new, lost = f"someone/new-{number}", action == CUT_AFTER
        words = "was created and is empty" if lost else "was not changed"
        cases[f"create {action}"] = (case("create", action, name=new), "ConnectionError", words)
        branch = {"options": {"revision": f"b{number}"}}
        words = "except for a new branch" if lost else "was not changed"
        cases[f"branch {action}"] = (case("branch", action, **branch), "ConnectionError", words)
        cases[f"look at a branch {action}"] = (case("look at a branch", action, **branch), "ConnectionError", "")
        if not lost:
            for kind, content in (("dataset", folder), ("space", space)):
                options = {"name": f"someone/{kind}-{number}", "options": {"repo_type": kind}, "folder": str(content)}
                words = f"the {kind} someone/{kind}-{number} was created and is empty: push again, or delete it"
                cases[f"{kind} {action}"] = (case("commit", action, **options), "ConnectionError", words)
    words = "received the commit; only the response was lost"
    cases["answer lost"] = (case("commit", CUT_AFTER), "ConnectionError", words)
    return cases


@pytest.mark.slow
def test_every_failure_is_reported_and_changes_nothing(model_folder, tmp_path):
    changed, bad, other, space = (tmp_path / name for name in ("small", "bad", "other", "space"))
    shutil.copytree(SPACE_FOLDER, space)
    make_folder(changed, seed=2)
    bad.mkdir()
    (bad / "README.md").write_text("---\ntags: bert4rec\n---\n")
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "bert"}')
    existing = [
        {"folder": str(model_folder), "name": NAME, "token": WRITER},
        {"folder": str(other), "name": "someone/classifier", "token": WRITER},
        {"folder": str(other), "name": "someone/corpus", "token": WRITER, "options": DATASET},
    ]
    expected = broken(changed, space) | refused(changed, bad)
    with Hub() as hub:
        cases = [*existing, *(case for case, _, _ in expected.values())]
        results = run(PUSHER, cases, hub.environment(tmp_path / "home"))
    assert [kind for kind, _ in results[:3]] == ["published"] * 3
    for (label, (_, kind, words)), (error, message) in zip(expected.items(), results[3:], strict=True):
        assert error == kind, f"{label}: {error}: {message}"
        assert words in message, f"{label}: {message}"
        if error == "ConnectionError":
            assert re.search("check the network|try again later", message), f"{label}: {message}"
            assert re.search(STATE, message), f"{label}: {message}"
    commits = {name: len(hub.commits(kind, name)) for kind, name in hub.repos}
    assert {name: number for name, number in commits.items() if number} == {
        "someone/classifier": 1,
        "someone/corpus": 1,
        NAME: 2,  # the one before, and the one whose answer was lost
    }
    assert hub.files("model", NAME)["model.safetensors"] == (changed / "model.safetensors").read_bytes()
    for request in set(hub.requests) - {("POST", "/_rules")}:
        assert any(request[0] == method and re.search(pattern, request[1]) for method, pattern in STEPS.values()), (
            f"{request} is a request that no failure was tried at"
        )


def test_the_script_reports_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["push_to_hub.py", str(tmp_path / "nothing"), NAME])
    with pytest.raises(SystemExit, match=r"^2$"):
        runpy.run_path(str(ROOT / "training" / "push_to_hub.py"), run_name="__main__")
    assert "nothing is not a folder: train a model first" in capsys.readouterr().err


def test_offline_mode_is_reported(model_folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", WRITER)  # the tests' own process has HF_HUB_OFFLINE set
    with pytest.raises(ConnectionError, match="HF_HUB_OFFLINE is set"):
        push(model_folder, NAME)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda folder: (folder / "training_args.bin").write_bytes(b"a pickle"), ValueError, "training_args.bin"),
        (lambda folder: (folder / "tokenizer.json").unlink(), FileNotFoundError, "lacks tokenizer.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), FileNotFoundError, "lacks model.safetensors"),
        (lambda folder: (folder / "training.json").unlink(), FileNotFoundError, "lacks training.json"),
        (lambda folder: change_weights(folder), ValueError, "evaluation of another model"),
        (lambda folder: shutil.rmtree(folder), FileNotFoundError, "is not a folder"),
    ],
    ids=["pickle", "no tokenizer", "no weights", "no record", "other weights", "nothing"],
)
def test_an_incomplete_folder_is_refused_at_once(model_folder, tmp_path, change, error, words):
    folder = tmp_path / "copy"
    shutil.copytree(model_folder, folder)
    change(folder)
    with pytest.raises(error, match=words):
        push_to_hub.main([str(folder), NAME, "--dry-run"])


def change_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "is not valid JSON"), ('{"dataset": "ml-100k"}', "lacks options, example, command, curve, environment")],
    ids=["cut short", "another version"],
)
def test_a_damaged_training_record_is_refused(model_folder, tmp_path, text, words):
    folder = shutil.copytree(model_folder, tmp_path / "copy")
    (folder / "training.json").write_text(text)
    with pytest.raises(ValueError, match=f"{words}.*: train the model again"):
        push_to_hub.main([str(folder), NAME, "--dry-run"])


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_reported(model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match=r"staged could not be written: .*No space left.*TMPDIR; nothing was sent"):
        stage_model(model_folder, tmp_path / "staged", NAME)


def test_a_full_disk_while_writing_a_dataset(tmp_path, monkeypatch):
    data = prepare(write_tables(tmp_path))
    monkeypatch.setattr(Dataset, "to_parquet", full)
    with pytest.raises(OSError, match=r"staged could not be written: .*No space left.*TMPDIR; nothing was sent"):
        write_dataset(data, tmp_path / "staged", "someone/walks")


def test_a_full_disk_while_writing_the_demo(model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(space, "browser_runtime", lambda: tmp_path)
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match=r"staged could not be written: .*No space left.*TMPDIR; nothing was sent"):
        stage_space(model_folder, tmp_path / "staged", NAME)


def test_data_without_a_licence_to_publish_are_refused(tmp_path):
    data = prepare(write_tables(tmp_path))
    with pytest.raises(PermissionError, match=r"Its licence is not known.*redistribute=True.*nothing was sent"):
        push_dataset(data, "someone/walks")
    closed = replace(data, name="ml-1m", release=RELEASES["ml-1m"])
    with pytest.raises(PermissionError, match=r"ml-1m is not published by default. Research use only"):
        push_dataset(closed, "someone/walks")
    namesake = replace(data, name="ml-latest-small")  # a custom table, ml-latest-small.csv
    with pytest.raises(PermissionError, match="Its licence is not known"):
        push_dataset(namesake, "someone/walks")
    for name in ("walks", "a b/walks", "-a/walks", "a/b--c", "a/b..c", "a/b.git", "a/b.", "a/b-", f"a/{'b' * 97}"):
        with pytest.raises(ValueError, match="not a repository name"):
            push_dataset(closed, name, redistribute=True)
