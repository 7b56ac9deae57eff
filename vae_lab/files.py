"""Files: written atomically, read as YAML, hashed and locked; and the user's cache folder."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from vae_lab.errors import LabError

if TYPE_CHECKING:
    import yaml

__all__ = [
    "atomic",
    "check_names",
    "claimed",
    "digest",
    "expanded",
    "in_bytes",
    "load_yaml",
    "locked",
    "read_yaml",
    "user_cache",
    "write_text",
]


@contextmanager
def atomic(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file beside `path` for writing, and rename it to `path` once all of it is on disk.

    Missing folders are made. If anything fails, what stood at `path` before still stands there.

    Raises:
        LabError: If the disk does not take the file.
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
        # Where the folder is no folder, there is no part to remove either.
        with suppress(OSError):
            part.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Write a text wholly or not at all; see `atomic`.

    What UTF-8 cannot encode, such as some folders' names, becomes question marks.

    Raises:
        LabError: If the disk does not take the file.
    """
    with atomic(path) as file:
        file.write(text.encode(errors="replace"))


def read_yaml(path: Path) -> object:
    """Read a YAML file; an OSError is left to the caller, who knows what the file is for.

    Raises:
        LabError: If it is no YAML, or a key appears twice.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        check_names(text)
        return load_yaml(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        raise LabError(f"{path} is not YAML{f', line {mark.line + 1}' if mark else ''}.") from error


def load_yaml(text: str) -> Any:
    """Load plain values from YAML."""
    import yaml

    return yaml.load(text, _yaml_loader())


def _yaml_loader() -> Any:
    """Return libyaml's loader where PyYAML has it: it is ten times as fast."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_names(text: str) -> None:
    """Refuse a key that appears twice, of which PyYAML would silently take the latter.

    Raises:
        LabError: If there is one.
    """
    import yaml

    with suppress(yaml.YAMLError, RecursionError):  # whoever loads the text reports these
        for mapping in _mappings(yaml.compose(text, _yaml_loader())):
            seen = []
            for name, _ in mapping.value:
                if name.value in seen:
                    line = name.start_mark.line + 1
                    raise LabError(f"{name.value} stands there twice, again in line {line}.")
                seen.append(name.value)


def _mappings(node: "yaml.Node | None") -> Iterator["yaml.MappingNode"]:
    import yaml

    inner = node.value if isinstance(node, yaml.SequenceNode) else []
    if isinstance(node, yaml.MappingNode):
        yield node
        inner = [value for _, value in node.value]
    for part in inner:
        yield from _mappings(part)


def user_cache() -> Path:
    """Return the user's cache folder, for what can be fetched or made again.

    Raises:
        LabError: If the user has no home, as in a container that has no entry for the user's id.
    """
    try:
        # An empty variable is an unset one, says the XDG specification.
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
    """Encode a file's name as UTF-8; bytes in it that are no Unicode stay as they are."""
    return name.encode("utf-8", "surrogateescape")


def expanded(path: str) -> Path:
    """Return a path with `~` and variables such as `$HOME` replaced, for paths read from files.

    Left in, some of the libraries that write there would replace them and others would not.
    """
    return Path(os.path.expanduser(os.path.expandvars(path)))


def claimed(descriptor: int, wait: bool = False) -> bool:
    """Lock an open file or folder for as long as it is open, and return whether it was free.

    With `wait`, block until it is. A child process that inherits the descriptor holds the lock
    too. Where there are no locks, as on Windows and some network disks, everything is free.
    """
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        pass
    return True


@contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[bool]:
    """Lock a folder within the context, and yield whether it was free; see `claimed`."""
    if os.name == "nt":  # which opens no folders
        yield True
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield claimed(descriptor, wait)
    finally:
        os.close(descriptor)
