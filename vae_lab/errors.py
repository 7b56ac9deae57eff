"""The one exception a user is meant to read."""

import re
from traceback import walk_tb

__all__ = ["Diverged", "LabError", "outgrown", "unwrapped"]

# Torch on a CPU has no class for it.
_OUT_OF_MEMORY = re.compile(r"out of memory|(?:can't|[Cc]annot|[Uu]nable to) allocate")


class LabError(ValueError):
    """Something the user asked for cannot be done; the message says what and how to mend it.

    The command line prints the message alone and exits with status 2. Anything else that escapes
    is a bug of ours and keeps its traceback.
    """


class Diverged(LabError):
    """Training left the finite numbers; what it wrote until then is there to be looked at."""


def outgrown(error: BaseException) -> LabError | None:
    """Return that the machine's memory, or a GPU's, is too small, if that is what an error says."""
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
        return LabError("there is no memory for that: a smaller model, or fewer at once, may fit.")
    return None


def unwrapped(error: Exception) -> BaseException:
    """Return what went wrong in a class, where jsonargparse, which made it, raised that anew."""
    cause: BaseException = error
    while cause.__cause__ and _raised_in(cause).startswith("jsonargparse."):
        cause = cause.__cause__
    return cause


def _raised_in(error: BaseException) -> str:
    """Return the module that raised an error."""
    *_, (frame, _) = walk_tb(error.__traceback__)
    return str(frame.f_globals["__name__"])
