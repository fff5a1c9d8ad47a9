"""`hf-bert4rec demo`: try a model on a page in the browser, which runs it there.

    hf-bert4rec demo outputs/ml-100k

Serves the page that `hf-bert4rec push --space` publishes, on this computer only. The model needs titles. The first call
downloads onnxruntime-web. Needs `pip install "hf-bert4rec[onnx]"`.
"""

import argparse
import tempfile
from collections.abc import Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ..evaluation.trained_model import find_model
from ..hub.folder import load_pipeline
from ..hub.space import stage_space
from ..hub.verify import check_onnx

HOST, PORT = "127.0.0.1", 7860


class PageHandler(SimpleHTTPRequestHandler):
    """Serves a folder, without a log."""

    # Windows takes types from its registry, where other programs register text/plain, which browsers do not run.
    extensions_map = SimpleHTTPRequestHandler.extensions_map | dict.fromkeys((".js", ".mjs"), "text/javascript")

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")  # another model may be served at the same address later
        super().end_headers()

    def log_message(self, *args: Any) -> None:
        """Log nothing."""


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="hf-bert4rec demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="an exported model, or a name on the Hub")
    parser.add_argument("--port", type=int, default=PORT, help=f"port on this computer (default {PORT}; 0: any)")
    arguments = parser.parse_args(argv)
    model = find_model(arguments.model)
    check_onnx(model, load_pipeline(model, device="cpu"))
    name = arguments.model if model != Path(arguments.model) else model.resolve().name
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory) / "demo"
        stage_space(model, folder, name)
        with serve(folder, arguments.port) as server:
            print(f"{arguments.model} runs at http://{HOST}:{server.server_port}; Ctrl-C ends it", flush=True)
            server.serve_forever()


def serve(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of the folder on loopback, not yet running; OSError if the port cannot be used."""
    try:
        return ThreadingHTTPServer((HOST, port), partial(PageHandler, directory=str(folder)))
    except (OSError, OverflowError) as error:  # the latter for a number that is not a port
        raise OSError(f"port {port}: {getattr(error, 'strerror', error)}; choose another with --port") from error
