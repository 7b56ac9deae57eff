"""Sums of per-image terms, kept on the device until they are read."""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, distributed

from vae_lab.errors import LabError

__all__ = ["Meter", "gathered"]


class Meter:
    """Sums terms over a window of steps and over an epoch.

    A step costs one append; the device is synchronised only when a sum is read.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._pending: dict[str, list[Tensor]] = defaultdict(list)
        self._sums: dict[str, float] = defaultdict(float)
        self.count = 0

    def add(self, terms: dict[str, Tensor]) -> None:
        """Add one step's terms, each of shape (B,).

        Raises:
            LabError: If one has another shape; checked at the first step of a window.
        """
        if not self._pending:
            _check(terms)
        for name, term in terms.items():
            self._pending[name].append(term.detach())

    def window(self) -> tuple[dict[str, float], int]:
        """Return sums and number of images since the last call, and add them to the epoch's.

        Raises:
            LabError: If a term is missing in a step.
        """
        if not self._pending:
            return {}, 0
        # Not every accelerator has double precision.
        windows = {name: _on_cpu(steps).double() for name, steps in self._pending.items()}
        size = max(map(len, windows.values()))
        missing = {name for name, window in windows.items() if len(window) < size}
        if missing := missing | ((self._sums.keys() or windows.keys()) ^ windows.keys()):
            raise LabError(f"Each step gives every term; {min(missing)!r} was missing at some.")
        sums = {name: window.sum().item() for name, window in windows.items()}
        for name, total in sums.items():
            self._sums[name] += total
        self.count += size
        self._pending.clear()
        return sums, size

    def sums(self) -> dict[str, float]:
        """Return the epoch's sums over `count` images."""
        self.window()
        return dict(self._sums)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed epoch needs to end with the same means."""
        pending = {name: _on_cpu(steps) for name, steps in self._pending.items()}
        return {"pending": pending, "sums": dict(self._sums), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was called."""
        self.reset()
        self.add(state["pending"])
        self._sums.update(state["sums"])
        self.count = state["count"]


def gathered(state: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the states of all processes in order of rank; a collective call."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [state]
    states = [state] * distributed.get_world_size()
    distributed.all_gather_object(states, state)
    return states


def _check(terms: dict[str, Tensor]) -> None:
    for name, term in terms.items():
        if not isinstance(term, Tensor) or term.ndim != 1:
            shape = f"shape {tuple(term.shape)}" if isinstance(term, Tensor) else f"{term!r}"
            raise LabError(f"The term {name!r} is a number an image, shape (B,), not {shape}.")


def _on_cpu(steps: list[Tensor]) -> Tensor:
    # Sums of a checkpoint may be on another device; joined, all need one transfer.
    return torch.cat([step.to(steps[-1].device) for step in steps]).cpu()
