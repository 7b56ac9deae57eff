"""Words of a command line, and of messages."""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

__all__ = ["article", "counted", "followed"]


def followed(words: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each word with the next one; `--option=value` counts as two."""
    # An equals sign in any other word is part of a file's name.
    return pairwise(part for word in words for part in word.split("=", word.startswith("--")))


def counted(n: int, noun: str) -> str:
    """Return a number with its noun: 1 dimension, 2 dimensions."""
    ending = "es" if noun.endswith(("s", "tch")) else "s"
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}{ending}"


def article(thing: object, a: str = "a") -> str:
    """Return a class's name with its article, as spoken: an Autoencoder, an R1, a VAE.

    Args:
        thing: An instance, or the name of a class.
        a: The article; `A` at the beginning of a sentence.
    """
    name = thing if isinstance(thing, str) else type(thing).__name__
    spelled = re.match(r"[A-Z][A-Z\d]", name)
    return f"{a}{'n' * (name[0].upper() in ('AEFHILMNORSX' if spelled else 'AEIO'))} {name}"
