"""Storage of a sweep's trials, shared by processes on any number of machines."""

import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from json import JSONDecodeError
from typing import TYPE_CHECKING

from vae_lab.errors import LabError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

__all__ = ["Turns", "gone", "keeping", "open_storage"]

PATIENCE = 300.0
"""Seconds after which whoever still has the turn is taken for dead; a thousand points take 50."""


@contextmanager
def keeping(storage: str) -> Iterator[None]:
    """Turn errors of a storage into a LabError that names it.

    Raises:
        LabError: If it cannot be read or written.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    # A driver may be missing, and a journal written to by something else is not JSON.
    except (OSError, ImportError, JSONDecodeError, SQLAlchemyError, StorageInternalError) as error:
        reason = " ".join(str(error).split())[:200]
        raise LabError(f"{storage} cannot hold the trials: {reason}") from error


def open_storage(storage: str) -> "BaseStorage":
    """Open a journal file in a folder that exists, or an SQL database by its URL.

    Raises:
        LabError: If the journal is damaged, or not a journal.
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    class Mending(JournalFileSymlinkLock):
        """Removes an incomplete line that a kill or a full disk left at a journal's end.

        The next line would be appended to it, and make the journal unreadable.
        """

        def acquire(self) -> bool:
            held = super().acquire()
            try:
                _cut_torn_line(storage)
            except BaseException:
                self.release()
                raise
            return held

    if "://" in storage:
        return _database(storage)
    try:
        return JournalStorage(JournalFileBackend(storage, Mending(storage)))
    # Optuna replays the journal without checking it.
    except (LookupError, TypeError, ValueError) as error:
        reason = "it is damaged, or no journal of a sweep"
        raise LabError(f"{storage} cannot hold the trials: {reason}.") from error


def _database(url: str, attempts: int = 20) -> "BaseStorage":
    """Open a database, even while another process creates its tables."""
    from optuna.storages import get_storage
    from sqlalchemy.exc import DBAPIError

    for _ in range(attempts):
        try:
            return get_storage(url)
        except DBAPIError as error:
            if not any(word in str(error) for word in ("exists", "UNIQUE", "duplicate")):
                raise
            time.sleep(0.5)
    return get_storage(url)


def _cut_torn_line(path: str) -> None:
    with open(path, "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        if file.read() not in (b"", b"\n"):
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


class Turns:
    """Lets one process at a time change a queue, on whatever machine it runs.

    A study of one name can be created only once in any storage: its creator has the turn.

    Args:
        storage: The shared storage.
        name: Name of the queue.
    """

    def __init__(self, storage: "BaseStorage", name: str) -> None:
        self._storage, self._name = storage, f"{name}, in turn"

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the turn, and release it afterwards."""
        held = self._take()
        try:
            yield
        finally:
            with suppress(KeyError):  # another process gave up waiting
                self._storage.delete_study(held)

    def _take(self) -> int:
        from optuna.exceptions import DuplicatedStudyError
        from optuna.study import StudyDirection

        seen, since = "", 0.0
        while True:
            try:
                held = self._storage.create_new_study([StudyDirection.MINIMIZE], self._name)
                holder = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4()}"
                self._storage.set_study_user_attr(held, "holder", holder)
                return held
            except DuplicatedStudyError:
                time.sleep(0.05)
            with suppress(KeyError):  # the turn has just been released
                other = self._storage.get_study_id_from_name(self._name)
                holder = str(self._storage.get_study_user_attrs(other).get("holder"))
                if holder != seen:
                    seen, since = holder, time.monotonic()
                if time.monotonic() - since > PATIENCE or _died(holder):
                    self._storage.delete_study(other)


def _died(holder: str) -> bool:
    host, _, rest = holder.partition(" ")
    return bool(rest) and gone(host, int(rest.partition(" ")[0]))


def gone(host: str, pid: int) -> bool:
    """Return whether a process has ended; always False for other machines."""
    if host != socket.gethostname():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
