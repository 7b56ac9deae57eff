"""The one exception a user is meant to read."""

__all__ = ["Diverged", "LabError"]


class LabError(ValueError):
    """Something the user asked for cannot be done; the message says what and how to mend it.

    The command line prints the message alone and exits with status 2. Anything else that escapes
    is a bug of ours and keeps its traceback.
    """


class Diverged(LabError):
    """Training left the finite numbers; what it wrote until then is there to be looked at."""
