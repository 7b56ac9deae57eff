"""`lab neighbours`: samples with the training images that they may copy."""

from vae_lab.verbs.options import at_least
from vae_lab.verbs.picture import origin, save

__all__ = ["neighbours"]


def neighbours(
    run: str,
    n: int = 20,
    y: str | None = None,
    seed: int = 0,
    output: str = "neighbours.png",
) -> None:
    """Draw samples above the nearest training images in Euclidean pixel distance.

    Args:
        run: Run folder or checkpoint; of an experiment's folder, the newest run.
        n: Number of samples.
        y: Name or number of the class to draw.
        seed: Seed of the samples, the same as in `lab sample`.
        output: PNG to write.

    Raises:
        LabError: If the run cannot be loaded, its model cannot draw such samples or n is 0.
    """
    import torch

    from vae_lab import pictures, runs
    from vae_lab.contracts import Samples
    from vae_lab.drawings import DRAWINGS
    from vae_lab.drawings.conditional import given_class
    from vae_lab.metrics.neighbours import nearest
    from vae_lab.randomness import reseed

    at_least(1, n=n)
    model = runs.load_model(run)
    DRAWINGS["samples"].check(model, "`lab neighbours`")
    assert isinstance(model, Samples)  # checked above
    # Grey instead of sampled binary images, as samples are means.
    data = runs.load_data(run).undrawn()
    label, about, train = None, ["train images"], data.loader("train")
    if y is not None:
        label, given = given_class(model, y, n, data.label_names)
        about.append(f"samples of {given}")
    with torch.inference_mode():
        reseed(seed)
        images = model.sample(n, label)
        picture = pictures.neighbours(images, nearest(images, (batch.x for batch in train)))
    save(pictures.signed(picture, origin(run), *about, f"seed {seed}"), output)
