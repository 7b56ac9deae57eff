"""Downloads that leave whole files or none."""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from vae_lab.errors import LabError

__all__ = ["fetch"]


def fetch(download: Callable[[Path], Any], root: Path, missing: str) -> None:
    """Download into a folder beside `root`'s files, then move what came into its place.

    Args:
        download: Fetches the data, with their checksums, below the folder it is given.
        root: Where the data are wanted.
        missing: What to tell the user if that fails: which files to put where.

    Raises:
        LabError: If there is no network, no room, no right to write or a wrong checksum.
    """
    made = [place for place in (root, *root.parents) if not place.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as folder:
            download(Path(folder))
            _move(Path(folder), root)
    # torchvision reports a failed mirror as RuntimeError, the rest are the network's and disk's.
    except (OSError, RuntimeError, ImportError) as error:
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise LabError(f"{missing} The download failed: {reason[0]}") from error
    finally:
        for place in made:
            with suppress(OSError):  # It holds the data, or was never made.
                place.rmdir()


def _move(source: Path, target: Path) -> None:
    """Move what is in `source` into `target`, whole folders where there are none yet."""
    for item in source.iterdir():
        if (place := target / item.name).is_dir():
            _move(item, place)
        else:
            os.replace(item, place)
