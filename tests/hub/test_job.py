"""The job script trains on a table of a local Hub and publishes the model there."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.hub.hub_contents import Repo, commit_of
from tests.hub.hub_server import Hub
from tests.published import ratings

ROOT = Path(__file__).resolve().parents[2]
JOB = ROOT / "training" / "job.py"
SMALL = "--hidden_size 16 --num_hidden_layers 1 --num_train_epochs 1 --max_position_embeddings 12 --window_stride 6"


def test_its_requirements_are_this_package():
    block = re.match(r"# /// script\n((?:# .*\n)+)# ///\n", JOB.read_text(encoding="utf-8"))
    assert block
    metadata = tomllib.loads(re.sub("^# ", "", block[1], flags=re.M))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert metadata == {"requires-python": project["requires-python"], "dependencies": [f"{project['name']}[train]"]}


def test_a_job_without_arguments_says_which_it_takes():
    done = subprocess.run([sys.executable, str(JOB)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Train on a table of the Hub")


@pytest.mark.slow
def test_a_job_trains_on_a_table_of_the_hub_and_publishes_the_model(tmp_path):
    lines = ["customer,article,rating,timestamp", *(",".join(map(str, row)) for row in ratings())]
    table = {"purchases.csv": "\n".join(lines).encode()}
    with Hub() as hub:
        hub.repos["dataset", "someone/purchases"] = Repo(False, {"main": [commit_of("table", table)]})
        command = [sys.executable, str(JOB), "someone/purchases", "someone/bert4rec-purchases", *SMALL.split()]
        environment = hub.environment(tmp_path / "home") | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert f"published {hub.url}/someone/bert4rec-purchases" in done.stdout
        files = hub.files("model", "someone/bert4rec-purchases")
    assert {"model.safetensors", "handler.py", "notebook.ipynb", "training.json"} <= set(files)
    assert b"40 items" in files["README.md"]
