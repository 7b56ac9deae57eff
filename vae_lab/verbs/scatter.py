"""`lab scatter`: codes of trained models in the plane."""

from typing import Any, Literal

from vae_lab.verbs.options import at_least
from vae_lab.verbs.picture import Split, named_pictures, save

__all__ = ["scatter"]


def scatter(
    runs: list[str],
    prior: bool = False,
    projection: Literal["pca", "tsne"] = "pca",
    n: int = 2000,
    split: Split = "val",
    output: str = "scatter.png",
) -> None:
    """Draw codes in the plane, those of several runs side by side.

    Side by side they show whether codes still encode the class, which is unnecessary if the model
    is given it: a linear probe is trained on half of the codes and tested on the others.

    Args:
        runs: Run folders or checkpoints; of experiments' folders, the newest runs; or patterns of
            these.
        prior: Draw each run's prior beside its aggregate posterior instead, runs below one another.
        projection: Projection of codes of more than two dimensions; beside a prior always `pca`.
        n: Number of images.
        split: Split of the images.
        output: PNG to write.
    """
    from vae_lab.pictures import beside, stacked

    at_least(1, n=n)
    images = (split, n)
    kind: str = "beside_prior" if prior else "scatter"
    options: dict[str, Any] = {} if prior else {"projection": projection}
    drawn = named_pictures(kind, runs, images, **options)
    save(stacked(drawn) if prior else beside(drawn), output)
