"""ONNX Runtime Web, which runs ONNX files in a browser."""

import base64
import hashlib
import shutil
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

from vae_lab.errors import LabError
from vae_lab.fetch import fetch
from vae_lab.files import user_cache

__all__ = ["Runtime", "folder", "runtime"]

VERSION = "1.30.0"
URL = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
# The registry's own checksum: the SHA-512 of the whole archive, in base 64.
INTEGRITY = (
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
SCRIPT, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
_PATIENCE = 30
"""Seconds without a byte after which the network is given up."""


class Runtime(NamedTuple):
    """ONNX Runtime Web, for the processor alone.

    Attributes:
        script: The module that a page imports.
        wasm: The WebAssembly that the module runs.
    """

    script: bytes
    wasm: bytes


def runtime() -> Runtime:
    """Return ONNX Runtime Web from the user's cache, fetching it there the first time.

    Raises:
        LabError: If it can neither be found nor downloaded, or its checksum differs.
    """
    paths = [folder() / name for name in (SCRIPT, WASM)]
    if not all(path.is_file() for path in paths):
        print(f"Fetching ONNX Runtime Web {VERSION} (33 MB), once.", file=sys.stderr)
        fetch(_download, folder(), f"ONNX Runtime Web {VERSION} could not be had.")
    try:
        return Runtime(*(path.read_bytes() for path in paths))
    except OSError as error:
        raise LabError(f"Cannot read {error.filename}: {error.strerror}.") from error


def folder() -> Path:
    """Return its folder in the user's cache."""
    return user_cache() / f"onnxruntime-web-{VERSION}"


def _download(target: Path) -> None:
    """Download the two files, and nothing else, to a folder."""
    archive = target / "archive.tgz"
    try:
        with urlopen(URL, timeout=_PATIENCE) as answer, archive.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except URLError as error:
        # What it wraps is for programs to read.
        raise OSError(f"{getattr(error.reason, 'strerror', None) or error.reason}.") from error
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha512").digest()
    if base64.b64encode(found).decode() != INTEGRITY:
        raise OSError("what came is not the archive that was published, by its SHA-512.")
    with tarfile.open(archive) as tar:
        for name in (SCRIPT, WASM):
            member = tar.extractfile(f"package/dist/{name}")
            assert member is not None  # the checksum is that of an archive which holds them
            with (target / name).open("wb") as file:
                shutil.copyfileobj(member, file)
    archive.unlink()
