"""Which source made a number."""

import subprocess
from pathlib import Path

__all__ = ["commit"]


def commit() -> str | None:
    """Return the commit of the source in use, marked where the package was changed since, if known.

    Experiments and pages beside it may change: a run keeps its settings itself.
    """
    here = Path(__file__)
    # A package installed below some other project's checkout is not part of it.
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None
    head = _git(here.parent, "rev-parse", "--short=12", "HEAD")
    changed = _git(here.parent, "status", "--porcelain", "--", ".")
    return head and head + "-dirty" * bool(changed)


def _git(folder: Path, *args: str) -> str | None:
    try:
        done = subprocess.run(["git", *args], cwd=folder, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
