"""Run folders: find one, read what it recorded, load its model and data back.

A run folder `runs/<experiment>/<version>/` holds `config.yaml`, `checkpoints/{best,last}.ckpt`,
`metrics.csv`, `pictures/<kind>_<epoch>.png` and, after an evaluation, `metrics.json`. Nothing here
imports torch until a checkpoint is loaded.
"""

from vae_lab.runs.finding import (
    by_name,
    check,
    check_exists,
    checkpoint_of,
    expand,
    find,
    find_all,
    missing,
    named,
    names_of,
    version_of,
)
from vae_lab.runs.loading import load_data, load_model
from vae_lab.runs.run import Run

__all__ = [
    "Run",
    "by_name",
    "check",
    "check_exists",
    "checkpoint_of",
    "expand",
    "find",
    "find_all",
    "load_data",
    "load_model",
    "missing",
    "named",
    "names_of",
    "version_of",
]
