"""The files of onnxruntime-web that the demo serves: a pinned version, downloaded once and checked."""

import hashlib
import io
import logging
import os
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from ..data.movielens import cache_folder
from ..files import annotate_write_errors

logger = logging.getLogger(__name__)

VERSION = "1.30.0"
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"  # of the package
# The smallest set that runs a model on the CPU: JavaScript, and WebAssembly with SIMD.
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
REGISTRY = "https://registry.npmjs.org"
TIMEOUT = 60.0  # seconds, to connect and between two parts of the answer


def browser_runtime() -> Path:
    """Return the folder with `FILES` in the cache, after downloading the package (33 MB) the first time.

    The package comes from the npm registry, or from the one that NPM_CONFIG_REGISTRY names. OSError if it cannot be
    reached, ValueError if the package has another hash.
    """
    folder = cache_folder() / f"onnxruntime-web-{VERSION}"
    if folder.is_dir():
        return folder
    package = _download()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        annotate_write_errors(folder, "Free some space, then try again"),
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch,
    ):
        unpacked = Path(scratch) / "unpacked"
        unpacked.mkdir()
        with tarfile.open(fileobj=io.BytesIO(package)) as archive:
            for name in FILES:
                file = archive.extractfile(f"package/dist/{name}")
                assert file is not None  # the hash of the package was checked
                (unpacked / name).write_bytes(file.read())
        unpacked.rename(folder)
    return folder


def _download() -> bytes:
    registry = os.environ.get("NPM_CONFIG_REGISTRY", REGISTRY).rstrip("/")
    url = f"{registry}/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
    logger.info("downloading onnxruntime-web %s for the demo, once", VERSION)
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            package: bytes = answer.read()
    except (OSError, ValueError) as error:
        raise OSError(
            f"{url} cannot be downloaded ({error}); the demo needs it: check the network, or name another npm registry "
            "in NPM_CONFIG_REGISTRY"
        ) from error
    if (digest := hashlib.sha256(package).hexdigest()) != SHA256:
        raise ValueError(f"{url} has sha256 {digest}, expected {SHA256}: damaged or replaced, not used")
    return package
