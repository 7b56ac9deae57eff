"""What two runs have to agree in if one was broken off and went on."""

import csv
from pathlib import Path

import torch

STATE = ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch", "progress")


def last(name="run", root=Path()):
    path = root / f"runs/{name}/version_0/checkpoints/last.ckpt"
    return torch.load(path, weights_only=True)


def rows(name="run", root=Path()):
    """Return the curves without what a clock said."""
    with (root / f"runs/{name}/version_0/metrics.csv").open() as file:
        found = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if "per_second" not in k} for row in found]


def same(a, b):
    """Tell whether nested values are equal to the bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b
