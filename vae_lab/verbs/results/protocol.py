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
    """Return whether a number has the requested seed, samples and judge.

    More importance samples are accepted, as they make the same bound tighter.

    Args:
        key: The metric.
        entry: Its entry of `metrics.json`.
        protocol: The protocol of the split.
        asked: Arguments of `lab evaluate`; the others have its defaults.
        judges: Words that identify the judge, such as a digest of its weights.
    """
    asked = {**_DEFAULTS, **asked}
    said = str(entry.get("protocol", ""))
    # An evaluation keeps earlier results, so the seed is that of the entry.
    if f"seed {asked['seed']}" not in re.split("[;,] ", said):
        return False
    if key in JUDGED:
        name, _, count = str(protocol.get("judge", "")).partition(", ")
        return not judges.isdisjoint(name.split()) and count == f"{asked['samples']} samples"
    if key == "parzen_log_density":
        return re.search(rf"\baround {asked['samples']} samples\b", said) is not None
    # An exact likelihood needs no samples.
    drawn = protocol.get("importance_samples", asked["importance_samples"])
    return "nll" not in key or drawn >= asked["importance_samples"]
