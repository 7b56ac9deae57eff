"""Fresh processes on a terminal of their own, so that progress bars really draw."""

import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
import threading
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench.work import MARKS

__all__ = ["ROOT", "ProgramFailed", "lab", "run"]

ROOT = Path(__file__).parents[2]


class ProgramFailed(RuntimeError):
    """A program under measurement did not end well; the message is what it said last."""


def run(command: list[str], threads: int | None, scratch: Path) -> list[dict[str, Any]]:
    """Run a program in an empty folder and return the marks it left.

    Raises:
        ProgramFailed: If it exits with another status than 0.
    """
    with TemporaryDirectory(dir=scratch) as folder:
        marks = Path(folder, "marks")
        status, said = _on_terminal(command, folder, _environment(marks, threads))
        if status:
            raise ProgramFailed(said.decode(errors="replace")[-2000:])
        return [json.loads(line) for line in marks.read_text().splitlines()]


def _environment(marks: Path, threads: int | None) -> dict[str, str]:
    # A user's Python keeps its bytecode and chooses its own buffering.
    left_out = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "VAE_LAB_TUNE", "OMP_NUM_THREADS")
    env = {key: value for key, value in os.environ.items() if key not in left_out}
    env |= {MARKS: str(marks), "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    return env if threads is None else env | {"OMP_NUM_THREADS": str(threads)}


def _on_terminal(command: list[str], folder: str, env: dict[str, str]) -> tuple[int, bytes]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    said = bytearray()
    reader = threading.Thread(target=_drain, args=(ours, said))
    reader.start()
    try:
        status = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, cwd=folder, env=env
        ).returncode
    finally:
        os.close(theirs)
        reader.join()
        os.close(ours)
    return status, bytes(said)


def _drain(terminal: int, said: bytearray) -> None:
    # Reading fails once the last writer has closed its end.
    with suppress(OSError):
        while part := os.read(terminal, 65536):
            said += part


def lab() -> str:
    """Return the `lab` of this environment."""
    return shutil.which("lab", path=str(Path(sys.executable).parent)) or "lab"
