"""Whether a number was measured as its row asks."""

import re
from collections.abc import Mapping, Set
from inspect import signature
from typing import Any

from vae_lab.metrics.judged import JUDGED
from vae_lab.verbs.evaluating.evaluate import evaluate

__all__ = ["as_asked"]

_DEFAULTS = {name: given.default for name, given in signature(evaluate).parameters.items()}


def as_asked(
    key: str,
    entry: Mapping[str, Any],
    protocol: Mapping[str, Any],
    asked: Mapping[str, Any],
    judges: Set[str],
) -> bool:
    """Tell whether a number rests on the seed, the samples and the judge that are asked for.

    More importance samples than that are as good: they make the same bound tighter.

    Args:
        key: The metric.
        entry: What `metrics.json` says of it.
        protocol: What it says of the split.
        asked: Arguments of `lab evaluate`; its own defaults stand for the others.
        judges: Words by which the judge may be named there, such as a digest of its weights.
    """
    asked = {**_DEFAULTS, **asked}
    said = str(entry.get("protocol", ""))
    # An evaluation keeps what earlier ones measured: only the entry tells by which seed it was.
    if f"seed {asked['seed']}" not in re.split("[;,] ", said):
        return False
    if key in JUDGED:
        name, _, count = str(protocol.get("judge", "")).partition(", ")
        return not judges.isdisjoint(name.split()) and count == f"{asked['samples']} samples"
    if key == "parzen_log_density":
        return re.search(rf"\baround {asked['samples']} samples\b", said) is not None
    # What knows its likelihood exactly draws nothing to estimate it.
    drawn = protocol.get("importance_samples", asked["importance_samples"])
    return "nll" not in key or drawn >= asked["importance_samples"]
