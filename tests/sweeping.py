"""A sweep to try: what stands for a training, and the file that sweeps it."""

from pathlib import Path

import yaml

from vae_lab.verbs.sweeps import file as sweep_file
from vae_lab.verbs.sweeps.study import open_study

# What stands for a training: its curve falls to (x - 3)^2 + size.
TRAINER = """
import os, pathlib, sys, time
given = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:])
x, size = float(given.get("x", 3)), int(given.get("size", 0))
if x < 0:
    sys.exit("x must not be negative")
folder = pathlib.Path(given["runs"], given["name"], "version_0")
folder.mkdir(parents=True)
(folder / "pid").write_text(str(os.getpid()))
with open(folder / "metrics.csv", "w") as file:
    print("step,images,val/loss", file=file, flush=True)
    for step in range(1, int(given.get("epochs", 4)) + 1):
        time.sleep(float(given.get("pause", 0)))
        print(f"{step},{10 * step},{(x - 3) ** 2 + size + 1 / step}", file=file, flush=True)
"""
SWEEP = {
    "program": "trainer.py",
    "method": "grid",
    "metric": {"name": "val/loss", "goal": "minimize"},
    "command": ["${env}", "python", "${program}", "${args}"],
    "parameters": {"x": {"values": [1.0, 2.5]}, "size": {"min": 0, "max": 2}},
}


def written(**changes):
    """Write the file with what differs from the one above, None for what it lacks; its path."""
    Path("trainer.py").write_text(TRAINER)
    given = {k: v for k, v in (SWEEP | changes).items() if v is not None}
    Path("s.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
    return "s.yaml"


def study():
    """Read back what the sweep has kept."""
    return open_study(sweep_file.read("s.yaml"), "runs/s/sweep.journal")
