"""`lab encode`: write the codes of a data set to a file."""

from typing import Any, Literal

from vae_lab.verbs.bar import bar
from vae_lab.verbs.options import at_least
from vae_lab.words import counted

__all__ = ["encode"]


def encode(
    run: str,
    split: Literal["train", "val", "test"] = "val",
    limit: int | None = None,
    output: str = "codes.npz",
) -> None:
    """Write codes and labels to an .npz file, as `codes` (N, D) and `labels` (N, ...).

    Args:
        run: Run folder or checkpoint; of an experiment's folder, the newest run.
        split: Split of the images.
        limit: Number of images to encode, the first ones; by default all.
        output: File to write.
    """
    import numpy as np
    import torch

    from vae_lab import runs
    from vae_lab.contracts import Encodes, require
    from vae_lab.files import atomic

    at_least(1, limit=limit)
    model: Any = runs.load_model(run)
    require(model, Encodes, "`lab encode`")
    data = runs.load_data(run)
    whole = data.protocol(split)["images"]
    codes, labels = [], []
    with (
        torch.inference_mode(),
        bar(min(limit or whole, whole), unit="images") as done,
    ):
        for x, y in data.loader(split, limit):
            codes.append(model.encode(x, y).numpy())
            labels.append(y.numpy())
            done.update(len(x))
    with atomic(output) as file:
        np.savez(file, codes=np.concatenate(codes), labels=np.concatenate(labels))
    made = counted(sum(map(len, codes)), "code")
    print(f"{output}: {made} of {counted(model.latent_dim, 'dimension')}")
