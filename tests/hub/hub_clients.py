"""Client processes of the local Hub: one publishes, one pulls without this package, one runs failing pushes."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

# Publishes with this package: models, a demo and data by the command, a model by `push`, one by the pipeline itself,
# and a data set.
PUBLISHER = """
import contextlib, io, json, os, sys
from pathlib import Path
from transformers import pipeline
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.cli import push as push_to_hub
from hf_bert4rec.hub.dataset_repository import push_dataset
from hf_bert4rec.hub.upload import push
from tests.published import install_release
request = json.load(sys.stdin)
install_release(Path(request["releases"]))
result = {"printed": []}
for words in request["scripts"]:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        push_to_hub.main(words)
    result["printed"].append(printed.getvalue())
os.environ["HF_BERT4REC_MODEL"] = request["default"]
pipe = pipeline("movie-recommendation")
result["default"] = pipe(request["history"], top_k=5)
pipe.push_to_hub(request["by_pipe"])
os.environ["HF_BERT4REC_MODEL"] = "someone/nothing"
try:
    pipeline("movie-recommendation")
except OSError as error:
    result["unreachable"] = str(error)
push(Path(request["update"]), request["default"])
result["data"] = push_dataset(prepare(DataArguments(**request["data"])), request["data_name"], redistribute=True)
print("\\n" + json.dumps(result))
"""

# Loads models and tables by name with this package blocked, and gets recommendations of each model.
PULLER = """
import json, sys
sys.modules["hf_bert4rec"] = None
from transformers import pipeline
request = json.load(sys.stdin)
result = {}
for label, name, options in request["models"]:
    history = options.pop("history")
    result[label] = pipeline("movie-recommendation", model=name, trust_remote_code=True, **options)(history, top_k=5)
if "data" in request:
    from datasets import load_dataset
    parts = ("train", "validation", "test", "movies")
    tables = {part: load_dataset(request["data"], part, split=part) for part in parts}
    result["data"] = {part: {"features": str(table.features), "rows": table[:]} for part, table in tables.items()}
print("\\n" + json.dumps(result))
"""

# Makes a collection for each of some names, and reports how it ended.
COLLECTOR = """
import json, sys
from hf_bert4rec.hub.upload import push_collection
result = []
for name in json.load(sys.stdin):
    try:
        result.append(push_collection(name, ["model", "dataset", "space"]))
    except Exception as error:
        result.append(f"{type(error).__name__}: {error}")
print("\\n" + json.dumps(result))
"""

# Runs a list of pushes in one process and reports how each ended.
PUSHER = """
import importlib.util, json, os, sys, time, urllib.request
from pathlib import Path
from huggingface_hub import constants
time.sleep = lambda seconds: None  # the client waits between tries
spec = importlib.util.spec_from_file_location("hub_push", "hf_bert4rec/hub/upload.py")
hub_push = importlib.util.module_from_spec(spec)  # without the package, which takes seconds to import
sys.modules["hub_push"] = hub_push
spec.loader.exec_module(hub_push)
check_target, push = hub_push.check_target, hub_push.push
hub = constants.ENDPOINT
result = []
for case in json.load(sys.stdin):
    os.environ.pop("HF_TOKEN", None)
    if case.get("token"):
        os.environ["HF_TOKEN"] = case["token"]
    data = json.dumps(case.get("rules", [])).encode()
    urllib.request.urlopen(urllib.request.Request(hub + "/_rules", data)).close()
    constants.ENDPOINT = case.get("endpoint", hub)
    try:
        if case.get("check"):
            result.append(["checked", check_target(case["name"], case["check"])])
            continue
        result.append(["published", push(Path(case["folder"]), case["name"], **case.get("options", {}))])
    except Exception as error:
        result.append([type(error).__name__, str(error)])
print("\\n" + json.dumps(result))
"""


def run(code: str, request: Any, environment: dict[str, str], folder: Path = ROOT) -> Any:
    """Send `request` as JSON to a process that runs `code`, and return its JSON answer."""
    command = [sys.executable, "-c", code]
    process = subprocess.run(
        command, input=json.dumps(request), cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert not re.search("hf_[a-z]+_token", process.stdout + process.stderr), "the token was printed"
    return json.loads(process.stdout.rsplit("\n", 2)[-2])
