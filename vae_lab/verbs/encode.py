"""Codes of a data set, for whatever comes after."""

from typing import Any, Literal

__all__ = ["encode"]


def encode(
    run: str,
    split: Literal["train", "val", "test"] = "test",
    limit: int | None = None,
    output: str = "codes.npz",
) -> None:
    """Write codes and labels to an .npz file, as `codes` (N, D) and `labels` (N, ...).

    Args:
        run: Run folder or checkpoint.
        split: Which images to encode.
        limit: Encode only the first images of the split.
        output: File to write.
    """
    import numpy as np
    import torch

    from vae_lab import runs
    from vae_lab.contracts import Encodes, require
    from vae_lab.errors import LabError
    from vae_lab.files import atomic

    if limit is not None and limit < 1:
        raise LabError(f"--limit is at least 1; got {limit}.")

    model: Any = runs.load_model(run)
    require(model, Encodes, "this")
    batch = runs.load_data(run).images(split, limit)
    with torch.inference_mode():
        codes = torch.cat([model.encode(x) for x in torch.split(batch.x, 1000)])
    with atomic(output) as file:
        np.savez(file, codes=codes.numpy(), labels=batch.y.numpy())
    print(f"{output}: {codes.shape[0]:,} codes of {codes.shape[1]} dimensions")
