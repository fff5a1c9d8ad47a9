"""A local Hub: publish, pull without this package, update, load an older revision, and work offline."""

import json
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import DatasetCard

from hf_bert4rec.cli import push as push_to_hub
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.leakage import target_hash
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.data.releases import RELEASES
from hf_bert4rec.evaluation.trained_model import weights_sha256
from hf_bert4rec.files import write_json
from hf_bert4rec.hub import staging
from hf_bert4rec.hub.card import update_card
from hf_bert4rec.hub.dataset_repository import dataset_card
from hf_bert4rec.hub.folder import code_files, load_pipeline
from hf_bert4rec.hub.space import RUNTIME_FILES, SPACE_FOLDER, stage_space
from hf_bert4rec.hub.staging import stage_model
from tests.hub.hub_clients import COLLECTOR, PUBLISHER, PULLER, PUSHER, ROOT, run
from tests.hub.hub_contents import Repo, card_problems, commit_of
from tests.hub.hub_server import OVERTAKEN, WRITER, Hub
from tests.model.tiny import ids_of
from tests.published import make_folder, read, write_tables

NAME, CLOSED, BY_PIPE, DATA = "someone/small", "someone/closed", "someone/by-pipe", "someone/walks"
HISTORY = ["Toy Story", 107, "Godfather, The (1972)"]
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


@pytest.fixture(scope="module")
def hub():
    with Hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def folders(model_folder, tmp_path_factory) -> dict[str, Path]:
    """The small model, one said to be of a closed release, and a later version of the first."""
    folder = tmp_path_factory.mktemp("folders")
    closed = make_folder(folder / "closed" / "closed", "ml-100k")
    return {"first": model_folder, "closed": closed, "later": make_folder(folder / "later" / "small", seed=1)}


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> DataArguments:
    return write_tables(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def published(hub, folders, tables, runtime_cache, tmp_path_factory) -> dict[str, Any]:
    """Publish models, a demo and a data set; returns the output of the process."""
    requested = {
        "scripts": [
            [str(folders["first"]), NAME, "--space", "--dataset"],
            [str(folders["closed"]), CLOSED, "--private", "--revision", "v1.0"],
        ],
        "releases": str(tmp_path_factory.mktemp("releases")),
        "default": NAME,
        "history": HISTORY,
        "by_pipe": BY_PIPE,
        "update": str(folders["later"]),
        "data": asdict(tables),
        "data_name": DATA,
    }
    environment = hub.environment(tmp_path_factory.mktemp("home")) | {"HF_BERT4REC_CACHE": str(runtime_cache)}
    return run(PUBLISHER, requested, environment)


@pytest.fixture(scope="module")
def requested(hub, published, folders) -> dict[str, Any]:
    """Models and data to load by name."""
    first = hub.repos["model", NAME].branches["main"][1].sha
    movies = {"movie_id": [100, 101, 102], "title": ["Toy Story (1995)", "The Godfather (1972)", "Amélie (2001)"]}
    models = [
        ["new", NAME, {"history": HISTORY}],
        ["old", NAME, {"revision": first, "history": HISTORY}],
        ["by pipe", BY_PIPE, {"history": HISTORY}],
        ["ids", CLOSED, {"revision": "v1.0", "history": [100, 107]}],
        ["named", CLOSED, {"revision": "v1.0", "history": ["Toy Story", 107], "movies": movies}],
    ]
    return {"models": models, "data": DATA}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Cache of the process that pulls."""
    return tmp_path_factory.mktemp("puller")


@pytest.fixture(scope="module")
def pulled(hub, requested, home) -> dict[str, Any]:
    """What a process without this package gets over the network. The private model needs a token."""
    return run(PULLER, requested, hub.environment(home), home)


@pytest.mark.slow
def test_one_command_publishes_model_and_demo_in_one_commit_each(hub, published, folders):
    assert f"published {hub.url}/{NAME}\n" in published["printed"][0]
    assert f"published {hub.url}/spaces/{NAME}\n" in published["printed"][0]
    assert len(hub.commits("model", NAME)) == 2  # the second is the update
    for repo_type, name in (("space", NAME), ("dataset", NAME), ("dataset", DATA)):
        assert len(hub.commits(repo_type, name)) == 1
    files = hub.repos["model", NAME].branches["main"][1].files
    local = {path.relative_to(folders["first"]).as_posix() for path in folders["first"].rglob("*") if path.is_file()}
    assert set(files) == local | {".gitattributes", "notebook.ipynb"}
    assert files["model.safetensors"] == (folders["first"] / "model.safetensors").read_bytes()
    card = files["README.md"].decode()
    assert f'model="{NAME}"' in card
    assert "Titles and genres are part of it." in card
    assert set(json.loads(files["items.json"])) == {"title", "year", "genres", "count"}


@pytest.mark.slow
def test_model_data_and_demo_are_grouped_in_a_collection(hub, published):
    slug, collection = next(iter(hub.collections.items()))
    assert f"published {hub.url}/collections/{slug}\n" in published["printed"][0]
    assert collection["title"] == "small"
    assert [(item["type"], item["id"]) for item in collection["items"]] == [
        ("model", NAME),
        ("dataset", NAME),
        ("space", NAME),
    ]
    card = hub.repos["model", NAME].branches["main"][1].files["README.md"].decode()
    assert f"datasets:\n- {NAME}\n" in card
    assert f"prepared in [{NAME}](https://huggingface.co/datasets/{NAME})" in card
    data = {"README.md", *(f"data/{name}.parquet" for name in ("train", "validation", "test", "movies"))}
    assert set(hub.files("dataset", NAME)) == {".gitattributes"} | data


@pytest.mark.slow
def test_the_notebook_of_the_card_runs(hub, published, folders):
    files = hub.repos["model", NAME].branches["main"][1].files
    assert f"https://huggingface.co/{NAME}/blob/main/notebook.ipynb" in files["README.md"].decode()
    notebook = files["notebook.ipynb"].decode().replace(f'model=\\"{NAME}\\"', f'model=\\"{folders["first"]}\\"')
    cells = ["".join(cell["source"]) for cell in json.loads(notebook)["cells"] if cell["cell_type"] == "code"]
    assert cells[0].startswith('%pip install --quiet "torch>=')
    names: dict[str, Any] = {}
    exec(cells[1], names)
    history = read(folders["first"] / "training.json")["example"]["history"]
    exec(cells[2].replace("pipe(", "answer = pipe("), names)
    assert names["history"] == history
    assert len(names["answer"]) == 5
    for cell in cells[3:]:
        exec(cell, names)


def test_a_collection_is_completed_by_a_second_push(hub, tmp_path):
    """An account has one collection of a name; items stay in it once."""
    hub.repos["model", "someone/pair"] = hub.repos["space", "someone/pair"] = Repo(private=False)
    hub.repos["dataset", "someone/pair"] = Repo(private=False)
    first, again = run(COLLECTOR, ["someone/pair"] * 2, hub.environment(tmp_path / "home"))
    assert first == again == f"{hub.url}/collections/someone/pair-{'0' * 24}"
    assert len(hub.collections[f"someone/pair-{'0' * 24}"]["items"]) == 3
    refused = run(COLLECTOR, ["other/pair"], hub.environment(tmp_path / "home"))
    assert refused == [
        "PermissionError: the token has no write access there: use another token or name; the collection pair is not "
        "complete, all else was published: push again"
    ]


@pytest.mark.slow
def test_no_pickle_and_no_local_path_is_published(hub, published, folders):
    secrets = [WRITER, str(ROOT), str(Path.home()) + "/", *(str(folder.parent) for folder in folders.values())]
    commits = [hub.repos[key].branches["main"][1] for key in (("model", NAME), ("space", NAME), ("dataset", DATA))]
    commits += [hub.repos["model", BY_PIPE].at("main"), hub.repos["model", CLOSED].at("v1.0")]
    for name, data in ((name, data) for commit in commits for name, data in commit.files.items()):
        assert not name.endswith(PICKLES)
        assert not [secret for secret in secrets if secret.encode() in data], name


@pytest.mark.slow
def test_the_demo_knows_its_model(hub, published):
    files = hub.files("space", NAME)
    page = {path.name for path in SPACE_FOLDER.iterdir()} - {"README.md"} | {"similar.json"}
    page |= {f"ort/{name}" for name in RUNTIME_FILES}
    model = {"config.json", "tokenizer.json", "tokenizer_config.json", "items.json", "onnx/model_quantized.onnx"}
    assert set(files) == {".gitattributes", "README.md"} | page | model
    assert f'<span id="model">{NAME}</span>' in files["index.html"].decode()
    card = files["README.md"].decode()
    assert "sdk: static" in card
    assert f"- {NAME}" in card
    assert "MODEL_NAME" not in card


@pytest.mark.slow
def test_a_closed_release_goes_without_titles(hub, published, pulled):
    assert hub.repos["model", CLOSED].private
    assert set(hub.files("model", CLOSED, "main")) == {".gitattributes"}
    files = hub.files("model", CLOSED, "v1.0")
    assert set(json.loads(files["items.json"])) == {"count"}
    assert b"Titles and genres are not part of it." in files["README.md"]
    card, notebook = (files[name].decode() for name in ("README.md", "notebook.ipynb"))
    assert card.count(f'model="{CLOSED}", revision="v1.0", ') == 2
    assert f"{CLOSED}/blob/v1.0/notebook.ipynb" in card
    cells = "".join(line for cell in json.loads(notebook)["cells"] for line in cell["source"])
    assert f'model="{CLOSED}", revision="v1.0", trust_remote_code=True' in cells
    for name, data in files.items():
        assert b"Casablanca" not in data, f"{name} holds a title"
    assert {movie["title"] for movie in pulled["ids"]} == {None}
    assert ids_of(pulled["named"]) == ids_of(pulled["ids"])


@pytest.mark.slow
def test_the_default_model_and_a_pipeline_that_pushes_itself(hub, published, pulled):
    assert published["default"] == pulled["old"]
    assert "'someone/nothing', cannot be loaded" in published["unreachable"]
    assert "HF_BERT4REC_MODEL" in published["unreachable"]
    assert ids_of(pulled["by pipe"]) == ids_of(published["default"])
    files = hub.files("model", BY_PIPE)
    assert "default" not in json.dumps(json.loads(files["config.json"])["custom_pipelines"])


@pytest.mark.slow
def test_an_update_is_seen_and_the_older_revision_stays(pulled, hub, folders):
    assert ids_of(pulled["new"]) != ids_of(pulled["old"])
    weights = [commit.files["model.safetensors"] for commit in hub.repos["model", NAME].branches["main"][1:]]
    assert weights == [(folders[name] / "model.safetensors").read_bytes() for name in ("first", "later")]


@pytest.mark.slow
def test_downloaded_models_work_offline(hub, requested, pulled, home):
    environment = hub.environment(home, token=None) | {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    assert run(PULLER, requested, environment, home) == pulled


@pytest.mark.slow
def test_a_data_set_comes_back_unchanged(hub, published, pulled, tables):
    data = prepare(tables)
    for part, table in {**data.split_tables, "movies": data.movies}.items():
        assert pulled["data"][part] == {"features": str(table.features), "rows": table[:]}, part
    assert published["data"] == f"{hub.url}/datasets/{DATA}"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "The last movie of every user is held out"),
        ({"split": "last-n", "targets": 2}, "The last 2 movies of every user are held out"),
        ({"split": "temporal", "quantile": 0.8}, "By time: the last movie of a user after a cut"),
    ],
    ids=["leave-one-out", "last-n", "temporal"],
)
def test_the_card_of_a_data_set_has_its_counts(tables, options, words):
    data = prepare(replace(tables, **options))
    card = dataset_card(replace(data, name="ml-latest-small", release=RELEASES["ml-latest-small"]), DATA)
    assert f"histories of 60 users, 40 movies and {sum(map(len, data.histories['item_ids'])):,} interactions" in card
    assert "Histories are ordered by time, ties by the row of the source" in card
    assert f"**Split.** {words}" in card
    assert "Every history has at least 12 interactions." in card
    for part in ("validation", "test"):
        assert f"| {part} | {len(data.split_tables[part]):,} |" in card
        assert target_hash(data.split_tables[part]) in card
    assert "May be redistributed" in card
    assert [each["config_name"] for each in DatasetCard(card).data.configs if "default" in each] == ["train"]
    assert not card_problems(card, "dataset")
    assert "@article{harper2015movielens," in card


def test_the_card_of_a_custom_data_set_names_neither_licence_nor_movies(tables):
    metadata, text = dataset_card(prepare(tables), DATA).split("---\n", 2)[1:]
    assert "license" not in metadata
    assert "The last item of every user is held out" in text
    assert "Only events" not in text
    table_name = re.compile(r'"movies"|movies: `movie_id`')
    assert "movie" not in table_name.sub("", text.replace(DATA, "")).lower()


def test_a_dry_run_lists_files_and_sizes_and_needs_no_token(folders, runtime_cache, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_BERT4REC_CACHE", str(runtime_cache))
    folder = shutil.copytree(folders["closed"], tmp_path / "closed")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model_quantized.onnx").write_bytes(b"onnx")
    monkeypatch.setattr(push_to_hub, "check_folder", lambda folder, pipe: None)
    push_to_hub.main([str(folder), CLOSED, "--dry-run", "--include-titles", "--space"])
    printed = capsys.readouterr().out
    assert "model someone/closed" in printed
    assert "space someone/closed" in printed
    assert "           4  onnx/model_quantized.onnx" in printed
    size = (folders["closed"] / "model.safetensors").stat().st_size
    assert f"{size:>12,}  model.safetensors" in printed
    assert "nothing was sent" in printed


def test_a_demo_without_titles_is_refused(folders):
    with pytest.raises(ValueError, match="add --include-titles"):
        push_to_hub.main([str(folders["closed"]), CLOSED, "--dry-run", "--space"])


def test_data_that_may_not_be_redistributed_are_refused_before_they_are_read(folders):
    with pytest.raises(
        PermissionError, match=r"ml-100k is not published by default\. Research use only.*nothing was sent"
    ):
        push_to_hub.main([str(folders["closed"]), CLOSED, "--dry-run", "--dataset"])


def test_only_known_files_are_published(model_folder, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(model_folder, folder)
    (folder / "notes.txt").write_text("mine")
    (folder / "steering_bert4rec.py").write_text("# code of an older layout")
    (folder / "modeling_bert4rec.py").write_text("# older code")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"onnx")
    stage_model(folder, tmp_path / "staged", NAME)
    assert not (tmp_path / "staged" / "notes.txt").exists()
    assert (tmp_path / "staged" / "onnx" / "model.onnx").is_file()
    assert {path.name for path in (tmp_path / "staged").glob("*.py")} == set(code_files())
    assert "class Bert4RecForMaskedLM" in (tmp_path / "staged" / "modeling_bert4rec.py").read_text(encoding="utf-8")
    assert "`onnx/model.onnx`" in (tmp_path / "staged" / "README.md").read_text(encoding="utf-8")
    assert read(tmp_path / "staged" / "evaluation.json")["model"]["name"] == NAME


@pytest.mark.parametrize("name", ["plots/metrics.png", "model-2.safetensors"])
def test_a_link_out_of_the_folder_is_not_published(name, model_folder, tmp_path, monkeypatch):
    """Its evaluation may be of any files, as it is a stranger's."""
    folder = shutil.copytree(model_folder, tmp_path / "copy")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "id_rsa").write_text("a key")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "secrets" / "id_rsa")
    report = read(folder / "evaluation.json")
    report["model"]["weights_sha256"] = weights_sha256(folder)
    write_json(folder / "evaluation.json", report)
    with pytest.raises(ValueError, match=f"{re.escape(name)} is a link out of the folder: put the file there, if"):
        stage_model(folder, tmp_path / "staged", NAME)
    monkeypatch.setattr(staging, "HF_HUB_CACHE", str(tmp_path / "secrets"))  # where snapshots have links to
    stage_model(folder, tmp_path / "staged", NAME)
    assert (tmp_path / "staged" / name).read_text() == "a key"


def test_plots_of_an_evaluation_that_was_removed_are_not_published(model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "copy")
    (folder / "evaluation.json").unlink()
    stage_model(folder, tmp_path / "staged", NAME)
    assert [path.name for path in (tmp_path / "staged" / "plots").iterdir()] == ["training.png"]


def test_a_published_record_holds_no_paths_and_no_tokens(model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "copy")
    record = read(folder / "training.json")
    record["options"] |= {
        "ratings": "/home/ann/shop/ratings.csv",
        "items": r"C:\Users\ann\items.csv",
        "data_dir": "/home",
    }
    record["command"] = (
        "python training/train.py /home/ann/shop.yaml --ratings=/home/ann/shop/ratings.csv "
        "--items '/home/ann/items.csv' --hub_token hf_secret --push_to_hub_token=hf_secret --seed 1"
    )
    write_json(folder / "training.json", record)
    (folder / "evaluation.json").unlink()
    staged = tmp_path / "staged"
    stage_model(folder, staged, NAME)
    published = read(staged / "training.json")
    assert published["options"]["ratings"] == "ratings.csv"
    assert published["options"]["items"] == "items.csv"
    assert "data_dir" not in published["options"]
    expected = "python training/train.py shop.yaml --ratings=ratings.csv --items items.csv --seed 1"
    assert published["command"] == expected
    assert f".venv/bin/{expected} --output_dir" in (staged / "README.md").read_text(encoding="utf-8")


def test_a_model_without_titles_is_described_as_such(model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "copy")
    items = read(folder / "items.json")
    write_json(folder / "items.json", {**items, "title": [None] * len(items["title"])})
    staged = tmp_path / "staged"
    stage_model(folder, staged, NAME, include_titles=True)
    assert read(staged / "items.json") == {"count": items["count"]}
    assert "Titles and genres are not part of it." in (staged / "README.md").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="staged has no titles, and the demo searches movies by title"):
        stage_space(staged, tmp_path / "space", NAME)
    assert not (tmp_path / "space").exists()


def test_the_card_of_a_model_that_has_grown_is_that_of_the_new_model(model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "copy")
    pipe = load_pipeline(folder, device="cpu")
    pipe.add_items({"movie_id": [7], "title": ["Heat 2"]})
    with torch.no_grad():
        pipe.model.decoder.bias[-1] = 50  # recommended first
    pipe.save_pretrained(folder)
    (folder / "evaluation.json").unlink()
    stage_model(folder, tmp_path / "staged", NAME, include_titles=True)
    training = read(tmp_path / "staged" / "training.json")
    assert (training["num_items"], training["catalogue"], training["example"]["answer"][0]["movie_id"]) == (40, 41, 7)
    update_card(folder)
    for card in (tmp_path / "staged" / "README.md", folder / "README.md"):
        text = card.read_text(encoding="utf-8")
        assert "It has\n41 movies" in text
        assert "60 users, 40 movies and" in text
        assert "Only its 41 items" in text
        assert "[{'movie_id': 7, 'title': 'Heat 2', " in text


OLD_LAYOUT = (
    "configuration explain growth items json layers loss memory modeling moments onnx pipeline requests retrieval "
    "sampling steering time titles tokenization weights"
)


@pytest.mark.slow
def test_code_files_of_an_older_layout_are_deleted_in_the_same_commit(hub, model_folder, tmp_path):
    code = {f"{name}_bert4rec.py": b"# older code" for name in OLD_LAYOUT.split()}
    other = {"config.json": b'{"model_type": "bert4rec"}', "notes.txt": b"mine", "plots/old.png": b"a plot"}
    hub.repos["model", "someone/old"] = Repo(private=False, branches={"main": [commit_of("old", code | other)]})
    stage_model(model_folder, tmp_path / "staged", "someone/old")
    case = {"folder": str(tmp_path / "staged"), "name": "someone/old", "token": WRITER}
    assert run(PUSHER, [case], hub.environment(tmp_path / "home"))[0][0] == "published"
    assert len(hub.repos["model", "someone/old"].branches["main"]) == 2
    files = hub.files("model", "someone/old")
    assert {name for name in files if name.endswith(".py")} == set(code_files())
    assert "plots/old.png" not in files
    assert files["notes.txt"] == b"mine"
    assert (
        files["modeling_bert4rec.py"] == (tmp_path / "staged" / "modeling_bert4rec.py").read_bytes() != b"# older code"
    )


@pytest.mark.slow
def test_files_of_a_demo_in_gradio_are_deleted_in_the_same_commit(hub, tmp_path):
    old = {"README.md": b"sdk: gradio\nMade with hf-bert4rec", "app.py": b"import gradio", "notes.txt": b"mine"}
    old |= {"requirements.txt": b"gradio", "model.txt": b"someone/model", "style.css": b"h3 {}"}
    hub.repos["space", "someone/gradio"] = Repo(private=False, branches={"main": [commit_of("old", old)]})
    folder = shutil.copytree(SPACE_FOLDER, tmp_path / "space")
    case = {"folder": str(folder), "name": "someone/gradio", "token": WRITER, "options": {"repo_type": "space"}}
    assert run(PUSHER, [case], hub.environment(tmp_path / "home"))[0][0] == "published"
    files = hub.files("space", "someone/gradio")
    assert set(files) == {path.name for path in SPACE_FOLDER.iterdir()} | {"notes.txt"}
    assert b"sdk: static" in files["README.md"]


@pytest.mark.slow
def test_one_of_two_concurrent_pushes_is_refused(hub, model_folder, tmp_path):
    name = "someone/busy"
    start = commit_of("first", {"config.json": b'{"model_type": "bert4rec"}'})
    hub.repos["model", name] = Repo(private=False, branches={"main": [start]})
    case = {"folder": str(model_folder), "name": name, "token": WRITER, "rules": [["POST", "/preupload/", OVERTAKEN]]}
    [[kind, message]] = run(PUSHER, [case], hub.environment(tmp_path / "home"))
    assert (kind, "another commit" in message, "nothing of this push was committed" in message) == (
        "RuntimeError",
        True,
        True,
    )
    assert [commit.message for commit in hub.repos["model", name].branches["main"]] == ["first", "someone else's"]
