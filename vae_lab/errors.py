"""The one exception a user is meant to read."""

import re

__all__ = ["Diverged", "LabError", "outgrown"]

# Neither torch on a CPU nor jsonargparse, which wraps it, has a class for it.
_OUT_OF_MEMORY = re.compile(r"out of memory|(?:can't|[Cc]annot|[Uu]nable to) allocate")


class LabError(ValueError):
    """Something the user asked for cannot be done; the message says what and how to mend it.

    The command line prints the message alone and exits with status 2. Anything else that escapes
    is a bug of ours and keeps its traceback.
    """


class Diverged(LabError):
    """Training left the finite numbers; what it wrote until then is there to be looked at."""


def outgrown(error: Exception) -> LabError | None:
    """Return that the machine's memory, or a GPU's, is too small, if that is what an error says."""
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
        return LabError("there is no memory for that: a smaller model, or fewer at once, may fit.")
    return None
