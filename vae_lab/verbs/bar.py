"""How far a verb's long work is."""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["bar"]


def bar(total: int, **options: Any) -> "tqdm[Any]":
    """Return a bar on the terminal; without one, a line a minute of what takes many.

    Args:
        total: How much there is to do; of nothing, nothing is shown.
        **options: What else tqdm can be told.
    """
    from tqdm import tqdm

    pace: dict[str, Any] = {} if sys.stderr.isatty() else {"delay": 60, "mininterval": 60}
    return tqdm(total=total, disable=not total, leave=False, **pace, **options)
