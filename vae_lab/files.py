"""Files: written atomically and hashed; paths expanded; and the user's cache folder."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from vae_lab.errors import LabError

__all__ = ["atomic", "digest", "expanded", "in_bytes", "user_cache", "write_text"]


@contextmanager
def atomic(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file beside `path` for writing, and rename it to `path` once all of it is on disk.

    Missing folders are made. If anything fails, an existing file at `path` is kept.

    Raises:
        LabError: If the file cannot be written.
    """
    path = Path(path)
    part = path.parent / f".{path.name}.{os.getpid()}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise LabError(f"{path} could not be written: {error.strerror or error}.") from error
    finally:
        # If the folder does not exist, there is no part to remove.
        with suppress(OSError):
            part.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Write a text atomically; see `atomic`.

    Characters that UTF-8 cannot encode, as in some folder names, become question marks.

    Raises:
        LabError: If the file cannot be written.
    """
    with atomic(path) as file:
        file.write(text.encode(errors="replace"))


def user_cache() -> Path:
    """Return the user's cache folder, for data that can be downloaded or made again.

    Raises:
        LabError: If the user has no home, as in a container that has no entry for the user's id.
    """
    try:
        # By the XDG specification an empty variable counts as unset.
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise LabError("You have no home folder here: set XDG_CACHE_HOME or HOME.") from error
    return Path(cache) / "vae_lab"


def digest(path: Path) -> str:
    """Return the first 12 hexadecimal digits of a file's SHA-256.

    Raises:
        LabError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:12]
    except OSError as error:
        raise LabError(f"Cannot read {path}: {error.strerror or error}.") from error


def in_bytes(name: str) -> bytes:
    """Encode a file's name as UTF-8; bytes that are not UTF-8 are kept."""
    return name.encode("utf-8", "surrogateescape")


def expanded(path: str) -> Path:
    """Return a path with `~` and variables such as `$HOME` replaced, for paths read from files.

    Otherwise some of the libraries that write there would expand them, and others not.
    """
    return Path(os.path.expanduser(os.path.expandvars(path)))
