"""Processes that speak to the Hub on loopback: someone who publishes, a stranger who pulls, pushes that fail."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

# Someone with this package who publishes, in one process: models by the script, one by a function, a pipeline, data.
PUBLISHER = """
import contextlib, io, json, os, sys
from pathlib import Path
from transformers import pipeline
from hf_bert4rec.data.prepare import DataArguments, prepare
from hf_bert4rec.cli import push as push_to_hub
from hf_bert4rec.hub.dataset_repository import push_dataset
from hf_bert4rec.hub.upload import push
asked = json.load(sys.stdin)
told = {"printed": []}
for words in asked["scripts"]:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        push_to_hub.main(words)
    told["printed"].append(printed.getvalue())
os.environ["HF_BERT4REC_MODEL"] = asked["default"]
pipe = pipeline("movie-recommendation")
told["default"] = pipe(asked["history"], top_k=5)
pipe.push_to_hub(asked["by_pipe"])
os.environ["HF_BERT4REC_MODEL"] = "someone/nothing"
try:
    pipeline("movie-recommendation")
except OSError as error:
    told["unreachable"] = str(error)
push(Path(asked["update"]), asked["default"])
told["data"] = push_dataset(prepare(DataArguments(**asked["data"])), asked["data_name"], redistribute=True)
print("\\n" + json.dumps(told))
"""

# A stranger: loads models and tables by name, with this package blocked, and asks each model a history.
PULLER = """
import json, sys
sys.modules["hf_bert4rec"] = None
from transformers import pipeline
asked = json.load(sys.stdin)
told = {}
for label, name, options in asked["models"]:
    history = options.pop("history")
    told[label] = pipeline("movie-recommendation", model=name, trust_remote_code=True, **options)(history, top_k=5)
if "data" in asked:
    from datasets import load_dataset
    parts = ("train", "validation", "test", "movies")
    tables = {part: load_dataset(asked["data"], part, split=part) for part in parts}
    told["data"] = {part: {"features": str(table.features), "rows": table[:]} for part, table in tables.items()}
print("\\n" + json.dumps(told))
"""

# Lives through a list of pushes in one process; each line of the answer says how one ended.
PUSHER = """
import importlib.util, json, os, sys, time, urllib.request
from pathlib import Path
from huggingface_hub import constants
time.sleep = lambda seconds: None  # the client waits between tries
spec = importlib.util.spec_from_file_location("hub_push", "hf_bert4rec/hub/upload.py")
hub_push = importlib.util.module_from_spec(spec)  # alone: the package takes seconds to import, and pushing needs none
sys.modules["hub_push"] = hub_push
spec.loader.exec_module(hub_push)
check_target, push = hub_push.check_target, hub_push.push
hub = constants.ENDPOINT
told = []
for case in json.load(sys.stdin):
    os.environ.pop("HF_TOKEN", None)
    if case.get("token"):
        os.environ["HF_TOKEN"] = case["token"]
    data = json.dumps(case.get("rules", [])).encode()
    urllib.request.urlopen(urllib.request.Request(hub + "/_rules", data)).close()
    constants.ENDPOINT = case.get("endpoint", hub)
    try:
        if case.get("check"):
            told.append(["checked", check_target(case["name"], case["check"])])
            continue
        told.append(["published", push(Path(case["folder"]), case["name"], **case.get("options", {}))])
    except Exception as error:
        told.append([type(error).__name__, str(error)])
print("\\n" + json.dumps(told))
"""


def run(code: str, asked: Any, environment: dict[str, str], folder: Path = ROOT) -> Any:
    """What a process answers to `asked`, as JSON both ways."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, input=json.dumps(asked), cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert not re.search("hf_[a-z]+_token", done.stdout + done.stderr), "the token was told"
    return json.loads(done.stdout.rsplit("\n", 2)[-2])
