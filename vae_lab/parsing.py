"""Command-line errors in a sentence or two."""

import sys
from typing import NoReturn

from jsonargparse import ArgumentParser

__all__ = ["LabParser", "say"]


class LabParser(ArgumentParser):
    """An argument parser whose errors are short enough to be read."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        say(self.prog, message)


def say(prog: str, message: str) -> NoReturn:
    """Print an error and exit with status 2."""
    print(f"{prog}: {message}", file=sys.stderr)
    sys.exit(2)
