"""Random numbers that depend on where training stands, not on what was drawn before."""

import torch

__all__ = ["reseed"]


def reseed(*keys: int) -> None:
    """Start the global random stream afresh at a point named by `keys`.

    A training step that begins with `reseed(seed, rank, epoch, batch)` draws the same numbers
    whether or not a picture was drawn before it, and whether or not the run was interrupted; and
    two ranks never draw the same noise. Seeding costs a few microseconds.
    """
    # The hash of a tuple of integers is fixed; only those of strings vary from run to run.
    seed = hash(keys) & 0xFFFF_FFFF
    torch.default_generator.manual_seed(seed)
    # torch annotates no return type of is_initialized.
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)
