"""Other people's trainers, each in an environment of its own, never a dependency."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

__all__ = ["pythae_python"]

PYTHAE = ("pythae==0.1.2", "cloudpickle", "imageio")
"""pythae and what it imports that we do not have; the rest it finds in our own environment."""


def pythae_python(scratch: Path) -> Path | str:
    """Return the Python that knows pythae, or why there is none."""
    folder = scratch / "pythae"
    python = folder / "bin/python"
    if _knows_pythae(python):
        return python
    venv.create(folder, clear=True, symlinks=True)
    ours = sysconfig.get_path("purelib")
    theirs = folder / Path(ours).relative_to(sys.prefix)
    (theirs / "ours.pth").write_text(ours + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--quiet"]
    done = subprocess.run([*pip, *PYTHAE], capture_output=True, text=True)
    if _knows_pythae(python):
        return python
    return (done.stderr.strip().splitlines() or ["it does not import here"])[-1]


def _knows_pythae(python: Path) -> bool:
    if not python.exists():
        return False
    check = [str(python), "-c", "import pythae.trainers"]
    return subprocess.run(check, capture_output=True).returncode == 0
