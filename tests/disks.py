"""What can happen to a disk."""

import subprocess
from contextlib import suppress


def mount(*words):
    """Call `mount`."""
    subprocess.run(["mount", *words], check=True, capture_output=True, timeout=30)


def fill(disk):
    """Leave no byte of a disk free, but what a file called `plug` holds."""
    with suppress(OSError), (disk / "plug").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def read_only(disk):
    mount("-o", "remount,ro", disk)


def writable(disk):
    mount("-o", "remount,rw", disk)
