"""The words of a command line, and of what is counted."""

from collections.abc import Iterable, Iterator
from itertools import pairwise

__all__ = ["counted", "followed"]


def followed(words: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each word with the next one; `--option=value` is two."""
    # An equals sign in any other word is part of a file's name.
    return pairwise(part for word in words for part in word.split("=", word.startswith("--")))


def counted(n: int, noun: str) -> str:
    """Return how many there are of something: 1 dimension, 2 dimensions."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
