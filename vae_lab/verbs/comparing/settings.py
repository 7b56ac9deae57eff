"""The settings of runs and of their evaluations as dotted keys, and which of them differ."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from vae_lab.runs import Run

__all__ = [
    "differences",
    "flatten",
    "protocol",
    "protocols",
    "settings",
    "settings_of",
    "stopped",
    "union",
]

# Where a run lies, who logs it and what is tried out before it are no settings of the experiment.
_BOOKKEEPING = (
    *("config", "name", "runs", "wandb", "trainer.logger", "pictures"),
    "trainer.num_sanity_val_steps",
)
# What an evaluation was run with that leaves its numbers comparable.
_TOOLS = ("checkpoint", "checkpoint_sha256", "commit", "torch", "device", "threads", "seconds")


def settings(run: Run, over: Sequence[str] = ()) -> dict[str, str]:
    """Return dotted keys and texts of the settings of a run's experiment, but for those `over`."""
    return settings_of(run.config, over)


def settings_of(config: dict[str, Any], over: Sequence[str] = ()) -> dict[str, str]:
    """Return the same of a configuration."""
    return {
        key: text
        for key, text in flatten(config)
        if not any(key == name or key.startswith(f"{name}.") for name in _BOOKKEEPING)
        and not any(f".{key}".endswith(f".{name}") for name in over)
    }


def protocols(run: Run, over: Sequence[str] = ()) -> dict[str, dict[str, str]]:
    """Return for each split what its numbers rest on, but for the settings `over`."""
    apart = {*_TOOLS, *(name.rpartition(".")[2] for name in over)}
    return {
        split: {key: text for key, text in protocol(run, split).items() if key not in apart}
        for split in run.evaluation["protocol"]
    }


def stopped(run: Run) -> bool:
    """Tell whether a run is known not to have come to its end: its numbers are of a part of it."""
    return run.record.get("finished") is False


def differences(runs: Sequence[Run], over: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return for each setting that differs, but for those `over`, one text a run or none."""
    tables = [settings(run, over) for run in runs]
    # What a run without its config.yaml was trained with is unknown, not different.
    known = [table for table in tables if table]
    different = {
        key: [table.get(key, "") for table in tables]
        for key in union(known)
        if len({table.get(key, "") for table in known}) > 1
    }
    different = {_shorten(key, different): cells for key, cells in different.items()}
    different |= _finished(runs)
    return different | _different_protocols([protocols(run, over) for run in runs])


def _finished(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Say which runs came to their end, if one did not."""
    known: dict[object, str] = {True: "yes", False: "no"}
    texts = [known.get(run.record.get("finished"), "") for run in runs]
    return {"finished": texts} if "no" in texts else {}


def protocol(run: Run, split: str) -> dict[str, str]:
    """Return the protocol of a split's evaluation, as texts; empty if there was none."""
    return dict(flatten(run.evaluation["protocol"].get(split)))


def _different_protocols(found: Sequence[dict[str, dict[str, str]]]) -> dict[str, list[str]]:
    different = {}
    for split in union(found):
        tables = [protocol.get(split, {}) for protocol in found]
        for key in union(tables):
            # A run that was not evaluated differs from the others by that alone.
            if len({table[key] for table in tables if key in table}) > 1:
                different[f"evaluation.{split}.{key}"] = [t.get(key, "") for t in tables]
    return different


def union(tables: Sequence[dict[str, Any]]) -> list[str]:
    """Return the keys of all tables, each once, in the order of their first use."""
    return list(dict.fromkeys(key for table in tables for key in table))


def flatten(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted keys and texts; a class is the value of the key that it fills."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "class_path":
                yield key, str(inner).rpartition(".")[2]
            else:
                yield from flatten(
                    inner, key if name == "init_args" else f"{key}.{name}".strip(".")
                )
    elif isinstance(value, list) and value and all(map(_is_class, value)):
        names = [str(inner["class_path"]).rpartition(".")[2] for inner in value]
        # Their order counts: a stack's layers follow one another.
        yield key, ", ".join(names)
        for i, (name, inner) in enumerate(zip(names, value, strict=True)):
            rest = {k: v for k, v in inner.items() if k != "class_path"}
            yield from flatten(rest, f"{key}.{name}" + f"[{i}]" * (names.count(name) > 1))
    elif value is not None:
        yield key, value if isinstance(value, str) else json.dumps(value)


def _is_class(value: Any) -> bool:
    return isinstance(value, dict) and "class_path" in value


def _shorten(key: str, keys: Iterable[str]) -> str:
    """Return the shortest end of a dotted key that no other key shares."""
    parts = key.split(".")
    for n in range(1, len(parts)):
        end = ".".join(parts[-n:])
        if not any(k != key and (k == end or k.endswith(f".{end}")) for k in keys):
            return end
    return key
