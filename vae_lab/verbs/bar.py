"""The progress bar of a long-running verb."""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["bar"]


def bar(total: int, **options: Any) -> "tqdm[Any]":
    """Return a progress bar, which prints one line per minute without a terminal.

    Args:
        total: Amount of work; with 0 nothing is shown.
        **options: Further arguments of tqdm.
    """
    from tqdm import tqdm

    pace: dict[str, Any] = {} if sys.stderr.isatty() else {"delay": 60, "mininterval": 60}
    return tqdm(total=total, disable=not total, leave=False, **pace, **options)
