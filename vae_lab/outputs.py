"""What a command prints, where the output is closed, full or no longer read."""

import os
import sys
from io import TextIOWrapper
from typing import TextIO

from vae_lab.errors import LabError

__all__ = ["ready", "silence", "unwritable"]


def ready() -> None:
    """Open on the null device what the shell has closed: whoever prints does not check."""
    sys.stdout = sys.stdout or os.fdopen(_nowhere(), "w")
    sys.stderr = sys.stderr or os.fdopen(_nowhere(), "w")
    if isinstance(sys.stdout, TextIOWrapper):
        # A folder's name need not be text: it is printed as the bytes that it is.
        sys.stdout.reconfigure(errors="surrogateescape")


def silence(*streams: TextIO) -> None:
    """Throw away what a stream still holds; Python would complain of it again when it exits."""
    for stream in streams:
        os.dup2(_nowhere(), stream.fileno())


def unwritable(error: BaseException) -> LabError | None:
    """Return why nothing can be printed any more, if that is what an error is about."""
    if not isinstance(error, OSError):
        return None
    try:
        print(flush=True)  # an error of something else leaves room for a line
    except OSError as reason:
        silence(sys.stdout)
        return LabError(f"what it prints could not be written: {reason.strerror}.")
    return None


def _nowhere() -> int:
    return os.open(os.devnull, os.O_WRONLY)
