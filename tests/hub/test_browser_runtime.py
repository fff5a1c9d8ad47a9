"""The runtime of the demo: downloaded once, checked, and kept completely or not at all."""

import hashlib
import io
import mimetypes
import tarfile
import threading
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hf_bert4rec.cli.demo import serve
from hf_bert4rec.hub import space as runtime


@pytest.fixture
def registry(tmp_path, monkeypatch) -> Iterator[Path]:
    """A registry on loopback with a package of the three files, whose hash is taken for the known one."""
    package = tmp_path / "registry" / "onnxruntime-web" / "-" / f"onnxruntime-web-{runtime.RUNTIME_VERSION}.tgz"
    package.parent.mkdir(parents=True)
    with tarfile.open(package, "w:gz") as archive:
        for name in (*runtime.RUNTIME_FILES, "ort.all.mjs"):
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(name)
            archive.addfile(entry, io.BytesIO(name.encode()))
    monkeypatch.setattr(runtime, "RUNTIME_SHA256", hashlib.sha256(package.read_bytes()).hexdigest())
    monkeypatch.setenv("HF_BERT4REC_CACHE", str(tmp_path / "cache"))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "registry"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://127.0.0.1:{server.server_port}/")
        yield package
        server.shutdown()


def test_the_files_are_downloaded_once(registry, tmp_path):
    folder = runtime.browser_runtime()
    assert folder.parent == tmp_path / "cache"
    assert {path.name: path.read_text() for path in folder.iterdir()} == {name: name for name in runtime.RUNTIME_FILES}
    registry.unlink()  # a second download would fail
    assert runtime.browser_runtime() == folder


def test_another_package_is_refused(registry, tmp_path):
    registry.write_bytes(b"something else")
    with pytest.raises(
        ValueError, match=r"has sha256 [0-9a-f]{64}, expected [0-9a-f]{64}: damaged or replaced, not used"
    ):
        runtime.browser_runtime()
    assert not (tmp_path / "cache").exists()


def test_an_unreachable_registry_is_named(registry, tmp_path):
    registry.unlink()
    with pytest.raises(
        OSError, match=r"127\.0\.0\.1.*\.tgz cannot be downloaded .*404.* another npm registry in NPM_CONFIG_"
    ):
        runtime.browser_runtime()
    assert not (tmp_path / "cache").exists()


def test_a_page_is_served_on_loopback_with_the_types_that_browsers_need(tmp_path, monkeypatch):
    mimetypes.init()
    for ending in (".js", ".mjs"):  # as the registry of Windows may have it
        monkeypatch.setitem(mimetypes.types_map, ending, "text/plain")
    for name in ("index.html", "app.js", "ort.mjs", "ort.wasm"):
        (tmp_path / name).write_text("content")
    with serve(tmp_path, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        names = ("", "app.js", "ort.mjs", "ort.wasm")
        types = [urllib.request.urlopen(f"{address}/{name}").headers.get_content_type() for name in names]
        assert types == ["text/html", "text/javascript", "text/javascript", "application/wasm"]
        with pytest.raises(OSError, match=f"port {server.server_port}: Address already in use; choose another"):
            serve(tmp_path, server.server_port)
        server.shutdown()


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_number_that_is_no_port_is_refused(tmp_path, port):
    with pytest.raises(OSError, match=rf"^port {port}: .*0-65535.; choose another with --port$"):
        serve(tmp_path, port)
