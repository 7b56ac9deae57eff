"""What an evaluation found: as entries of metrics.json and as a table to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vae_lab.metrics.judged import JUDGED

if TYPE_CHECKING:
    from vae_lab.metrics.measures import Measure

__all__ = ["merged", "show"]

_SUBJECT = (
    *("data", "own", "listing", "binarize", "split_seed", "images", "shape"),
    *("checkpoint", "checkpoint_sha256"),
)
"""Numbers of one split stand side by side in a report only where these agree."""


def merged(
    earlier: dict[str, Any], protocol: dict[str, Any], found: dict[str, Measure]
) -> dict[str, Any]:
    """Add to a report what was found, and drop of the same split what no longer belongs there."""
    split = protocol["split"]
    before, kept = earlier["protocol"].get(split, {}), earlier["metrics"]
    if any(before.get(key) != protocol.get(key) for key in _SUBJECT):
        before = {}
        kept = {key: entry for key, entry in kept.items() if not key.startswith(f"{split}/")}
    if before.get("judge") != protocol.get("judge", before.get("judge")):
        kept = {key: entry for key, entry in kept.items() if not _judged(split, key)}
    new = {f"{split}/{name}": _entry(measure, protocol) for name, measure in found.items()}
    protocols = earlier["protocol"] | {split: before | protocol}
    return {"protocol": protocols, "metrics": kept | new}


def show(protocol: dict[str, Any], found: dict[str, Measure]) -> None:
    """Print what was found as a table."""
    from rich.box import SIMPLE
    from rich.table import Table

    from vae_lab.verbs.terminal import Terminal

    table = Table(box=SIMPLE, caption=_sentence(protocol), caption_justify="left")
    table.add_column("metric", no_wrap=True)
    for header in ("value", "± s.e."):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("how")
    for name, measure in found.items():
        digits = {"dimensions": 0, "classes": 0, "share": 4}.get(measure.unit, 3)
        form = f".{digits}f" if not 0 < abs(measure.value) < 0.01 else ".3g"
        error = measure.standard_error
        table.add_row(
            f"{protocol['split']}/{name}",
            format(measure.value, form),
            "" if error is None else format(error, form),
            f"{measure.unit}: {measure.note}",
        )
    Terminal().print(table)
    for name, measure in found.items():
        if measure.parts:
            Terminal().print(f"{protocol['split']}/{name} by part: {_parted(measure.parts)}")


def _parted(parts: tuple[float, ...]) -> str:
    """Write each part beside its number, counted from 1 as in pictures, the largest first."""
    order = sorted(enumerate(parts, 1), key=lambda part: -part[1])
    return ", ".join(f"{i}: {value:.2f}" for i, value in order)


def _judged(split: str, key: str) -> bool:
    """Tell whether a metric of a split is what a judge made of so many samples."""
    return key in {f"{split}/{prefix}{name}" for name in JUDGED for prefix in ("", "real_")}


def _entry(measure: Measure, protocol: dict[str, Any]) -> dict[str, Any]:
    entry = measure.entry()
    note = entry.pop("note")
    return {**entry, "protocol": f"{note}; {_sentence(protocol)}"}


def _sentence(protocol: dict[str, Any]) -> str:
    """Say what the numbers rest on, without what they merely were made with."""
    tools = {"commit", "torch", "device", "threads", "seconds"}
    noted = {"importance_samples", "judge"}  # with the numbers that they concern
    return ", ".join(
        f"{key} {value}" for key, value in protocol.items() if key not in tools | noted
    )
