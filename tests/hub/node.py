"""recommender.js in Node, on onnxruntime-node."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hf_bert4rec.hub.space import SPACE_FOLDER

ONNXRUNTIME = Path(__file__).parents[2] / ".node" / "node_modules" / "onnxruntime-node" / "dist" / "index.js"
NODE = shutil.which("node")
NEEDS_NODE = pytest.mark.skipif(
    NODE is None or not ONNXRUNTIME.is_file(),
    reason="no Node or no onnxruntime-node: install Node, then run .ci/node.sh",
)


def run(folder: Path, file: str = "model_quantized.onnx", **request: Any) -> dict[str, Any]:
    """Answers of Node, or its error."""
    assert NODE
    request = {"file": file, "requests": [], "explained": [], "queries": [], "invalid": [], **request}
    script = Path(__file__).with_name("recommend.mjs")
    done = subprocess.run(
        [NODE, str(script), str(SPACE_FOLDER / "recommender.js"), str(ONNXRUNTIME), str(folder)],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)
