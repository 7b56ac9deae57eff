"""Locks on files and folders, shared by the processes of a machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["claimed", "locked"]


def claimed(descriptor: int, wait: bool = False) -> bool:
    """Lock an open file or folder for as long as it is open, and return whether it was free.

    With `wait`, block until it is free. A child process that inherits the descriptor holds the
    lock too. Without support for locks, as on Windows and some network disks, all is free.
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
