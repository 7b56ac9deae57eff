"""The words of a command line."""

from collections.abc import Iterable, Iterator
from itertools import pairwise

__all__ = ["followed"]


def followed(words: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each word with the next one; `--option=value` is two."""
    # An equals sign in any other word is part of a file's name.
    return pairwise(part for word in words for part in word.split("=", word.startswith("--")))
