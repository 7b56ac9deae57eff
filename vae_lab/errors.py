"""The one exception a user is meant to read."""

__all__ = ["LabError"]


class LabError(ValueError):
    """Something the user asked for cannot be done; the message says what and how to mend it.

    The command line prints the message alone and exits with status 2. Anything else that escapes
    is a bug of ours and keeps its traceback.
    """
