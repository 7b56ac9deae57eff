"""Batches of resident images, in an order that depends on seed and epoch alone."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Generator, Tensor

from vae_lab.contracts import Batch
from vae_lab.data.pixels import draw, generator, seed_of, shifted
from vae_lab.data.store import Split
from vae_lab.errors import LabError
from vae_lab.words import counted

__all__ = ["Batches"]

# Keys of the two random streams. An epoch's order may have the seed of the train/validation split,
# which permuted another number of images.
ORDER, NOISE = 0, 1


class Batches:
    r"""Iterates over a split; each batch is one index operation on a tensor.

    Batch :math:`k` of an epoch is a pure function of (seed, epoch, rank, :math:`k`). The epoch's
    permutation is drawn from (seed, epoch); step :math:`k` takes the next `batch_size * world`
    images of it, which the ranks share by interleaving. Each image is seen once per epoch, and
    every rank makes the same number of steps: a remainder that would give a rank no image, or a
    single one, joins the last batch.

    Each pass is one epoch, whose number comes from `clock` or `set_epoch`; otherwise epochs count
    up from 0. The state is the epoch and the next batch, from which a run resumes in mid-epoch.

    Args:
        split: The images.
        batch_size: Images per batch on each rank.
        shuffle: Permute the images anew every epoch.
        dynamic: Sample binary images from the grey ones, anew every epoch.
        shift: Largest random shift along both axes in pixels, anew every epoch.
        seed: The run's seed.
        rank: This process among `world` processes.
        world: Number of processes that share the split.
        given: Computes the condition y from the images x; by default y is the labels.
        clock: Returns the epoch; called at the first batch of a pass.

    Raises:
        LabError: If a rank would get no image.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        shuffle: bool = False,
        dynamic: bool = False,
        shift: int = 0,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        given: Callable[[Tensor], Tensor] | None = None,
        clock: Callable[[], int] | None = None,
    ) -> None:
        if len(split.rows) < world:
            raise LabError(
                f"{counted(len(split.rows), 'image')} cannot be shared among {world} processes. "
                "Use fewer processes or more images."
            )
        self.split = split
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.dynamic = dynamic
        self.shift = shift
        self.seed = seed
        self.rank = rank
        self.world = world
        self.given = given
        self.clock = clock
        self.epoch = 0
        self._next = 0  # the batch after the last one yielded
        self._resume = 0  # where the next pass begins
        self._noise = Generator(split.images.device) if dynamic or shift else None

    def __len__(self) -> int:
        whole, rest = divmod(len(self.split.rows), self.batch_size * self.world)
        # A remainder counts as a batch if each rank gets two images, which batch norm needs.
        return max(1, whole + (rest >= min(2, self.batch_size) * self.world))

    def __iter__(self) -> Iterator[Batch]:
        # Runs at the first batch, as Lightning makes iterators before it knows the epoch.
        if self.clock:
            self.set_epoch(self.clock())
        start, self._resume = self._resume, 0
        shares = self._shares()
        for self._next, rows in enumerate(shares[start:], start + 1):
            yield self._batch(rows)
        self.set_epoch(self.epoch + 1)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next pass; another epoch than the current begins at batch 0."""
        if epoch != self.epoch:
            self.epoch, self._next, self._resume = epoch, 0, 0

    def state_dict(self) -> dict[str, int]:
        """Return the epoch, the next batch and the number of batches."""
        return {"epoch": self.epoch, "batch": self._next, "batches": len(self)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken.

        Raises:
            LabError: If it was taken within an epoch with another number of batches.
        """
        within = 0 < state["batch"] < state["batches"]
        if within and state["batches"] != len(self):
            raise LabError(
                "The checkpoint was written in the middle of an epoch of "
                f"{counted(state['batches'], 'batch')}, and an epoch has {len(self)} now. Continue "
                "with the same data, batch size and number of processes, or from a checkpoint at "
                "an epoch's end."
            )
        self.epoch, self._next = state["epoch"], state["batch"]
        self._resume = min(self._next, len(self))

    def _shares(self) -> list[Tensor]:
        """Return this rank's rows, one tensor per step of the epoch."""
        rows = self.split.rows
        if self.shuffle:
            stream = generator(ORDER, self.seed, self.epoch)
            rows = rows[torch.randperm(len(rows), generator=stream).to(rows.device)]
        step, last = self.batch_size * self.world, len(self) - 1
        shares = [rows[k * step : (k + 1) * step] for k in range(last)] + [rows[last * step :]]
        device = self.split.images.device
        return [share[self.rank :: self.world].to(device) for share in shares]

    def _batch(self, rows: Tensor) -> Batch:
        x = self._images(rows)
        return Batch(
            x, self.split.labels.index_select(0, rows) if self.given is None else self.given(x)
        )

    def _images(self, rows: Tensor) -> Tensor:
        pixels = self.split.images.index_select(0, rows)
        if self._noise is None:
            return pixels.float().div_(255)
        self._noise.manual_seed(seed_of(NOISE, self.seed, self.epoch, self.rank, self._next))
        if self.shift:
            pixels = shifted(pixels, self.shift, self._noise)
        if self.dynamic:
            return draw(pixels, self._noise).float()
        return pixels.float().div_(255)
