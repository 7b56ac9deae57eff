"""The pictures of runs along their training, as many of them as one page can hold."""

import sys
from base64 import b64encode
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vae_lab.runs import Run

__all__ = ["LIMIT", "SIGNATURE", "Picture", "Timeline", "timeline"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
"""What each PNG begins with."""

LIMIT = 24 * 2**20
"""Bytes of pictures on a page, which base64 makes a third more: what a phone still opens."""


class Picture(NamedTuple):
    """A picture, and when it was drawn."""

    at: int
    epoch: int
    path: Path


Series = list[dict[str, list[Picture]]]
"""For each run the pictures of each kind, the earliest first."""


@dataclass(frozen=True)
class Timeline:
    """What a slider moves through.

    Attributes:
        axis: What pictures are placed by: `step`, or `epoch` if a run does not know its steps.
        stops: Where the slider holds.
        series: The pictures.
        left_out: What had to be left out, in a sentence; empty if nothing had.
    """

    axis: str
    stops: list[int]
    series: Series
    left_out: str

    def data(self) -> dict[str, Any]:
        """Return what the page is told: for each kind, a list of pictures a run."""
        kinds = sorted({kind for pictures in self.series for kind in pictures})
        drawn = {
            kind: [[_embedded(p) for p in pictures.get(kind, ())] for pictures in self.series]
            for kind in kinds
        }
        return {"axis": self.axis, "stops": self.stops, "kinds": drawn}


def timeline(runs: Sequence[Run], limit: int) -> Timeline:
    """Place the pictures of runs side by side along their steps.

    Of more than a page can hold, stops are left out evenly, the last one never; if the last
    pictures alone are too many, so are those of the last runs.

    Args:
        runs: The runs.
        limit: How many bytes the pictures may have.
    """
    axis, series = _placed(runs)
    stops = sorted({p.at for pictures in series for p in _all(pictures)})

    def size(n: int) -> int:
        return sum(map(_size, _shown(series, _evenly(stops, n))))

    if n := bisect_right(range(1, len(stops) + 1), limit, key=size):
        some = f"These are {n} of {len(stops)} {axis}s"
        chosen = _evenly(stops, n)
        left_out = _sentence(some) if n < len(stops) else ""
        return Timeline(axis, chosen, _shown(series, chosen), left_out)
    kept = list(_first(_shown(series, stops[-1:]), limit))
    some = f"These are the last pictures of the first {sum(map(bool, kept))} runs alone"
    return Timeline(axis, stops[-1:], kept, _sentence(some) if stops else "")


def _placed(runs: Sequence[Run]) -> tuple[str, Series]:
    drawn = [_sound(run.drawn) for run in runs]
    ends = [run.epoch_ends for run in runs]
    by_step = all(
        epoch in end
        for kinds, end in zip(drawn, ends, strict=True)
        for epochs in kinds.values()
        for epoch in epochs
    )
    series = [
        {
            kind: [Picture(end[e] if by_step else e, e, path) for e, path in epochs.items()]
            for kind, epochs in kinds.items()
        }
        for kinds, end in zip(drawn, ends, strict=True)
    ]
    return "step" if by_step else "epoch", series


def _sound(drawn: dict[str, dict[int, Path]]) -> dict[str, dict[int, Path]]:
    """Leave out the files that are no pictures, and say so."""
    return {
        kind: {epoch: path for epoch, path in epochs.items() if _is_png(path)}
        for kind, epochs in drawn.items()
    }


def _is_png(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            if file.read(len(SIGNATURE)) == SIGNATURE:
                return True
            reason = "it is no PNG"
    except OSError as error:
        reason = str(error.strerror)
    print(f"lab compare: {path} is left out: {reason}.", file=sys.stderr)
    return False


def _all(pictures: dict[str, list[Picture]]) -> Iterator[Picture]:
    for group in pictures.values():
        yield from group


def _evenly(stops: Sequence[int], n: int) -> list[int]:
    """Return `n` stops, the last one among them."""
    last = len(stops) - 1
    return [stops[last - i * last // max(1, n - 1)] for i in reversed(range(n))]


def _shown(series: Series, stops: Sequence[int]) -> Series:
    """Keep of each run what it shows at some stop: the latest picture until then."""
    return [
        {
            kind: sorted(
                {max(past) for stop in stops if (past := [p for p in group if p.at <= stop])}
            )
            for kind, group in pictures.items()
        }
        for pictures in series
    ]


def _size(pictures: dict[str, list[Picture]]) -> int:
    return sum(p.path.stat().st_size for p in _all(pictures))


def _first(series: Series, limit: int) -> Iterator[dict[str, list[Picture]]]:
    """Yield the pictures of runs as long as they stay within the limit, then none."""
    for pictures in series:
        limit -= _size(pictures)
        yield pictures if limit >= 0 else {}


def _sentence(some: str) -> str:
    return f"{some}, for all would make the page too large; compare fewer runs to see the others."


def _embedded(picture: Picture) -> list[int | str]:
    return [picture.at, picture.epoch, b64encode(picture.path.read_bytes()).decode()]
