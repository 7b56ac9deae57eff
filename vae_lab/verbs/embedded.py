"""Data embedded in an HTML page."""

import json
from typing import Any

__all__ = ["script_data"]


def script_data(data: dict[str, Any]) -> str:
    """Return data as JSON that a script element of a page can hold."""
    # The element ends at the first "</script", wherever that stands.
    return json.dumps(data, allow_nan=False).replace("<", "\\u003c")
