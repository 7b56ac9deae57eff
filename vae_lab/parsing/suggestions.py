"""Suggestions for names that do not exist."""

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher, get_close_matches
from textwrap import shorten

from vae_lab.parsing.classes import settings

__all__ = ["closest", "instead", "nearest_option", "nearest_setting"]

OWNER = re.compile(
    r"is not accepted\. Got value: Namespace\(class_path='([\w.]+)'|"
    r"given class_path '([\w.]+)':\s+Option '"
)
CHOSEN = re.compile(r"given class_path '([\w.]+)'")

# Names of settings in other programs, and ours.
ELSEWHERE = {
    "seed": "seed_everything",
    "gpu": "trainer.accelerator",
    "cuda": "trainer.accelerator",
    "gpus": "trainer.devices",
    "learning_rate": "model.lr",
    "optimizer": "model.lr",
    "optimiser": "model.lr",
    "resume": "ckpt_path",
    "checkpoint": "ckpt_path",
    "data_dir": "data.root",
    "data_path": "data.root",
    "image_size": "data.resize",
    "z_dim": "model.latent_dim",
    "kl_weight": "model.beta",
    "kld_weight": "model.beta",
    "epoch": "trainer.max_epochs",
    "n_epochs": "trainer.max_epochs",
}
# Settings of other programs' data loaders, and why there are none here.
_LOADERS = ("num_workers", "workers", "pin_memory", "persistent_workers", "prefetch_factor")
NEEDLESS = {
    **dict.fromkeys(_LOADERS, ": all images lie in memory, and no workers load them."),
    "shuffle": ": training images come in another order every epoch.",
    "download": ": images that --data.root lacks are downloaded, once.",
}


def closest(wrong: str, known: Iterable[str]) -> str:
    """Return the most similar known name, or an empty string if none is similar."""
    names = {*known} - {wrong}
    if same := next((name for name in names if name.lower() == wrong.lower()), None):
        return same
    # A wrong first or last part would hide a similar rest.
    parts = (wrong, wrong.partition(".")[0], wrong.rpartition(".")[2])
    return next((near[0] for part in parts if (near := get_close_matches(part, names, 1))), "")


def nearest_setting(
    wrong: str, message: str, nested: Iterable[str], options: Iterable[str], rest: str
) -> str:
    """Suggest a setting of the chosen class, or else an option."""
    place, _, name = wrong.rpartition(".")
    group = place.partition(".")[0]
    kin = place if place == group else ""  # settings of a model's parts have no group
    if f"{kin}.{name}" in nested:
        return " of the class that is chosen there, though others have one."
    if owner := OWNER.search(message):
        path = owner[1] or owner[2]
        # Other programs' names may look like an unrelated setting.
        if name not in ELSEWHERE and (near := closest(name, settings(path))):
            return f"; did you mean '{place}.{near}'?"
        rest = rest.replace("--help", f"--{place}.help {path.rpartition('.')[2]}")
    there = {f"{group}.{own}" for path in CHOSEN.findall(message) for own in settings(path)}
    others = [o for o in options if not o.startswith(f"{group}.") or o in there]
    return nearest_option(wrong, others, rest)


def nearest_option(wrong: str, options: Sequence[str], rest: str) -> str:
    """Suggest the closest group of options, or else the option with the closest end."""
    group, _, name = wrong.partition(".")
    groups = {option for option in options if "." not in option}
    if name and group not in groups and (meant := closest(group, groups)):
        return f"; did you mean {_in_group(meant, name, options)!r}?"
    end = name.rpartition(".")[2] or group
    if (here := ELSEWHERE.get(end)) in options:
        return f"; did you mean {here!r}{', the rate of Adam' * (here == 'model.lr')}?"
    if end in ELSEWHERE:
        return rest  # the chosen class has no such setting
    if end in NEEDLESS and "data" in groups:
        return NEEDLESS[end]
    # Ties go to the first: `epochs` is as close to `min_epochs` as to `max_epochs`.
    ends = {option.rpartition(".")[2]: option for option in reversed(options)}
    nearness = {known: SequenceMatcher(None, end, known).ratio() for known in reversed(ends)}
    near = max(nearness, key=nearness.__getitem__, default="")
    return f"; did you mean {ends[near]!r}?" if nearness.get(near, 0) >= 0.75 else rest


def instead(group: str, options: Iterable[str]) -> str:
    """Return a hint for a value that was given to a whole group of options."""
    if group in ELSEWHERE:
        return f"did you mean {ELSEWHERE[group]!r}?"
    settings = [o for o in options if o.startswith(f"{group}.") and not o.endswith(".help")]
    return shorten(f"there are {', '.join(settings)}.", 200)


def _in_group(group: str, name: str, options: Iterable[str]) -> str:
    """Return the closest setting of a group, or else the group itself."""
    known = {option.partition(".")[2] for option in options if option.startswith(f"{group}.")}
    # Settings of a nested class are not among the options.
    near = name if name.partition(".")[0] in known else closest(name, known)
    return f"{group}.{near}" if near else group
