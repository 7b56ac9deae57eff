"""Commands in processes of their own, several at a time, none of which outlives this one."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vae_lab.errors import LabError

__all__ = ["LAB", "Workers", "last_words"]

LAB = (sys.executable, "-m", "vae_lab")
"""What calls this very `lab`."""


class Workers:
    """Runs commands, one thread each, until all is done or all is stopped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._running: set[subprocess.Popen[bytes]] = set()

    @property
    def stopped(self) -> bool:
        """Whether what runs was told to end before its time."""
        return self._stopped.is_set()

    def run(self, count: int, work: Callable[[], object]) -> None:
        """Do the same work in so many threads; SIGTERM and a closed terminal end it as Ctrl-C does.

        Args:
            count: How many.
            work: What each does, until there is nothing left to do.

        Raises:
            LabError: If one of them does; the others are stopped.
        """
        with _stoppable(), ThreadPoolExecutor(count) as pool:
            try:
                for future in as_completed([pool.submit(work) for _ in range(count)]):
                    future.result()
            except BaseException:
                self.stop()
                raise

    @contextmanager
    def process(
        self, words: Sequence[str], log: Path, kept: Sequence[int] = (), append: bool = False
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """Start a command, in a session of its own: Ctrl-C is ours to hand on.

        Args:
            words: The command.
            log: File that takes what it prints.
            kept: File descriptors that stay open in it.
            append: Keep what stands in the log.

        Raises:
            LabError: If it cannot be run.
        """
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        # Two pools of threads that spin on the same cores are many times slower than one each.
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "PATH": path}
        with self._lock:
            process = _start(words, environment, log, kept, "ab" if append else "wb")
            self._running.add(process)
            if self.stopped:
                process.terminate()
        try:
            yield process
        except BaseException:
            process.terminate()  # nobody looks after it any more
            raise
        finally:
            process.wait()
            with self._lock:
                self._running.remove(process)

    def stop(self) -> None:
        """Tell what runs to end."""
        self._stopped.set()
        with self._lock:
            for process in self._running:
                process.terminate()


def last_words(status: int, log: Path) -> str:
    """Say why a command has failed: by what ended it, else by the last thing that it said."""
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else f"status {status}"


def _start(
    words: Sequence[str],
    environment: dict[str, str],
    log: Path,
    kept: Sequence[int],
    mode: str,
) -> "subprocess.Popen[bytes]":
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open(mode) as out:
            return subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                pass_fds=kept,
            )
    except OSError as error:
        raise LabError(f"{words[0]} cannot be run: {error}.") from error


@contextmanager
def _stoppable() -> Iterator[None]:
    """Make SIGTERM and a closed terminal end everything as Ctrl-C does."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    # What nohup has had ignored stays so.
    ends = [s for s in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) != signal.SIG_IGN]
    before = {s: signal.signal(s, interrupt) for s in ends}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
