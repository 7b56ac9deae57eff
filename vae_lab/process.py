"""Process settings that make small models fast on a CPU, applied before the first torch operation.

- `denormals`: Adam's moments decay into denormal floats after some hundred steps, which the CPU
  computes many times slower; flushing them to zero costs no accuracy.
- `malloc`: glibc hands large buffers back to the kernel after every step and faults them in again
  at the next; keeping them saves thousands of page faults a step.
- `no-cuda`: a CUDA build on a machine without a GPU looks for the driver at every optimiser step;
  hiding the devices ends the search.

`VAE_LAB_TUNE` names the settings wanted, separated by commas (default: all three; `none`: none).
What was applied is stored with each run.
"""

import ctypes
import gc
import os
import platform
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from vae_lab.errors import LabError

__all__ = ["applied", "load", "tune"]

SETTINGS = ("denormals", "malloc", "no-cuda")
GPU_NODES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")

# Constants of glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


_applied: list[str] = []


def tune() -> None:
    """Apply the settings named by `VAE_LAB_TUNE`.

    Raises:
        LabError: If the variable names a setting that does not exist.
    """
    _applied[:] = [name for name in _wanted() if _APPLY[name]()]


def applied() -> list[str]:
    """Return the active settings, for a run's record."""
    return list(_applied)


def load(name: str) -> ModuleType:
    """Import a module with garbage collection switched off, and exempt its objects from it.

    Collecting garbage among the many objects of torch and Lightning, during the import, later and
    at the exit, takes a quarter of a short run.
    """
    if name in sys.modules:
        return sys.modules[name]
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def _wanted() -> list[str]:
    names = os.environ.get("VAE_LAB_TUNE", ",".join(SETTINGS)).split(",")
    names = [name.strip() for name in names if name.strip() not in ("", "none")]
    if unknown := set(names) - set(SETTINGS):
        raise LabError(
            f"VAE_LAB_TUNE names {', '.join(sorted(unknown))}; it knows {', '.join(SETTINGS)}."
        )
    # Denormals last, as it imports torch, which must come after the other two.
    return sorted(names, key=lambda name: name == "denormals")


def _flush_denormals() -> bool:
    import torch

    return torch.set_flush_denormal(True)


def _keep_memory() -> bool:
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    wanted = {M_MMAP_THRESHOLD: 2**30, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 2**26}
    return all([libc.mallopt(option, value) for option, value in wanted.items()])


def _hide_cuda() -> bool:
    if platform.system() != "Linux" or any(Path(node).exists() for node in GPU_NODES):
        return False
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    return os.environ["CUDA_VISIBLE_DEVICES"] == ""


_APPLY = {"denormals": _flush_denormals, "malloc": _keep_memory, "no-cuda": _hide_cuda}
