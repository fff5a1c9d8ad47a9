"""Serve a folder's handler on loopback as huggingface-inference-toolkit does: python endpoint.py FOLDER.

The address is printed first. This package cannot be imported in the process.
"""

import importlib.util
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any


def load_handler(folder: str) -> Any:
    sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location("handler.EndpointHandler", Path(folder) / "handler.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["handler.EndpointHandler"] = module
    spec.loader.exec_module(module)
    return module.EndpointHandler(folder)


class Endpoint(BaseHTTPRequestHandler):
    server: Any

    def do_POST(self) -> None:
        try:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if "inputs" not in body:
                raise ValueError(f"Body needs to provide a inputs key, received: {json.dumps(body)}")
            status, answer = 200, self.server.handler(body)
        except Exception as error:
            status, answer = 400, {"error": str(error)}
        data = json.dumps(answer, allow_nan=False).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


if __name__ == "__main__":
    sys.modules["hf_bert4rec"] = None  # type: ignore[assignment]
    server: Any = HTTPServer(("127.0.0.1", 0), Endpoint)
    server.handler = load_handler(sys.argv[1])
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
