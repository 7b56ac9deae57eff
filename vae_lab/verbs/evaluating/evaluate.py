"""`lab evaluate`: all metrics that a model supports, each with its protocol."""

import json
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vae_lab.checkpoints import folder_of
from vae_lab.errors import LabError
from vae_lab.files import digest, write_text
from vae_lab.provenance import commit
from vae_lab.runs import Run, checkpoint_of, load_data, load_model
from vae_lab.verbs.bar import bar
from vae_lab.verbs.evaluating.judge import sampled
from vae_lab.verbs.evaluating.report import merged, show
from vae_lab.verbs.options import at_least
from vae_lab.words import counted

# Annotations by these are quoted: were all postponed, jsonargparse would import these to read them.
if TYPE_CHECKING:
    import torch

    from vae_lab.contracts import Batch, Images
    from vae_lab.metrics.measures import Measure

__all__ = ["evaluate"]

TRAIN_LIMIT = 60_000
"""Images at most that neighbours, probes and PCA learn from: MNIST's, validation's included."""


def evaluate(
    run: str,
    split: Literal["test", "val"] = "test",
    importance_samples: int = 5000,
    seed: int = 0,
    limit: int | None = None,
    ais: bool = False,
    ais_images: int = 100,
    ais_chains: int = 16,
    ais_temperatures: int = 1000,
    judge: str | None = None,
    parzen: bool = False,
    samples: int = 10_000,
) -> None:
    """Measure all metrics that a model supports; print them and write them to metrics.json.

    A model with a likelihood bound gets its ELBO, its divergence, by dimension if that is known,
    its importance-sampled log-likelihood and active units; a model that encodes, probes of its
    codes; one that also decodes, its squared error; a classifier, its error; a model that samples,
    a judge's metrics of its samples. Earlier results are kept unless they are measured again, or
    are of another checkpoint or of other images of the same split.

    Args:
        run: Run folder or checkpoint; of an experiment's folder, the newest run.
        split: Split to evaluate; use `val` as long as the result may change the model.
        importance_samples: Posterior samples per image for the log-likelihood; 0 leaves it out.
        seed: Seed of all random numbers.
        limit: Number of images for a quick look; nothing is written.
        ais: Also estimate the log-likelihood by annealed importance sampling, which does not depend
            on the encoder, and bound its error by bidirectional Monte Carlo.
        ais_images: Number of images to anneal, the first ones, and of samples of the model.
        ais_chains: Chains per image.
        ais_temperatures: Steps of each chain from prior to posterior.
        judge: A classifier's run folder or checkpoint, or `inception`. Samples and images are
            compared in its features; a classifier also measures the classes of the samples, and
            how many samples drawn for a class it assigns to that class.
        parzen: Estimate the log-density as Goodfellow et al. (2014) did, for the historic table.
        samples: Number of samples for `judge` and `parzen`.

    Raises:
        LabError: If an argument is out of range, the run cannot be loaded, the model supports no
            metric, or a result is not a finite number.
    """
    at_least(0, importance_samples=importance_samples, seed=seed)
    at_least(1, limit=limit, samples=samples, ais_images=ais_images, ais_chains=ais_chains)
    at_least(1, ais_temperatures=ais_temperatures)
    checkpoint = checkpoint_of(run).absolute()
    folder = folder_of(checkpoint)
    # Read first: hours must not be spent on numbers that cannot be added to a damaged report.
    _ = Run(folder).evaluation
    started = time.perf_counter()
    # Taken before the model is loaded: training may replace the file in the meantime.
    sha256 = digest(checkpoint)
    judged = partial(sampled, n=samples, judge=judge, parzen=parzen)
    annealed = partial(_anneal, count=ais_images, chains=ais_chains, temperatures=ais_temperatures)
    protocol, found = _measure(
        checkpoint, split, importance_samples, seed, limit, judged, annealed if ais else None
    )
    protocol["checkpoint"] = str(checkpoint.relative_to(folder))
    protocol["checkpoint_sha256"] = sha256
    protocol["seconds"] = round(time.perf_counter() - started, 1)
    try:
        if limit is None:
            # Read again: another evaluation may have finished since.
            report = merged(Run(folder).evaluation, protocol, found)
            write_text(folder / "metrics.json", json.dumps(report, indent=2) + "\n")
    finally:
        # What took hours is shown, even if it could not be written.
        show(protocol, found)
    if limit is not None:
        looked = counted(protocol["images"], "image")
        print(f"A quick look at {looked}; metrics.json is left as it was.")


def _measure(
    checkpoint: Path,
    split: str,
    samples: int,
    seed: int,
    limit: int | None,
    judged: Callable[..., tuple[dict[str, Any], dict[str, "Measure"]]],
    annealed: Callable[..., dict[str, "Measure"]] | None,
) -> tuple[dict[str, Any], dict[str, "Measure"]]:
    """Load a model and its images, and return the protocol and what was measured."""
    from vae_lab.contracts import ReadsCodes
    from vae_lab.metrics.annealed import check_annealing

    device = _device()
    model = load_model(checkpoint).to(device)
    if annealed:
        check_annealing(model)
    data = load_data(checkpoint)
    _warn_of_others(folder_of(checkpoint), data)
    # First, as it may refuse the judge.
    jury, samples_found = judged(model, data, split, limit, seed)
    images = data.images(split, limit)
    found = _allowed(model, data, split, images, samples, seed) | samples_found
    if isinstance(model, ReadsCodes):
        found |= _reading(model, data, split, images, seed)
    if not found:
        raise LabError(
            f"{type(model).__name__} can neither bound a likelihood nor classify nor encode "
            "labelled images nor restore them from codes; what samples is measured by a --judge."
        )
    if annealed:
        found |= annealed(model, images, seed)
    protocol = {
        **data.protocol(split),
        "split": split,
        "images": len(images.x),
        "seed": seed,
        **_machinery(device),
        **jury,
        **_likelihood(model, images, samples if "nll" in found else None),
    }
    return protocol, found


def _device() -> "torch.device":
    """Return the accelerator, in full single precision, or the CPU if there is none."""
    import torch

    # A GPU's convolutions round to ten bits of mantissa unless told not to.
    torch.backends.cudnn.allow_tf32 = False
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def _warn_of_others(folder: Path, data: "Images") -> None:
    """Say that splits are drawn from other files by now than the run was trained on."""
    begun = Run(folder).record.get("listing")
    if begun and begun != getattr(data, "listing", None):
        print(
            f"{folder} was trained on other image files: it may have learned from some of these.",
            file=sys.stderr,
        )


def _machinery(device: object) -> dict[str, Any]:
    """Return what computed the numbers; they stay comparable where it differs."""
    import torch

    return {
        "commit": commit(),
        "torch": torch.__version__,
        "device": str(device),
        "threads": torch.get_num_threads(),
    }


def _likelihood(model: Any, images: "Batch", samples: int | None) -> dict[str, Any]:
    """Return what the model's likelihoods are of, and by how many samples they are estimated."""
    from vae_lab.contracts import Bounds, Density
    from vae_lab.metrics.evidence import likelihood_kind

    drawn = {"importance_samples": samples} if samples and isinstance(model, Bounds) else {}
    if not isinstance(model, Bounds | Density):
        return drawn
    return drawn | {"likelihood": likelihood_kind(model, images)}


def _allowed(
    model: Any, data: "Images", split: str, images: "Batch", samples: int, seed: int
) -> dict[str, "Measure"]:
    """Measure what the model's capabilities allow, with a bar while likelihoods are sampled."""
    from vae_lab.metrics.evidence import passes
    from vae_lab.metrics.suite import measure

    total = passes(model) * len(images.x) if samples else 0
    with bar(total, unit="images") as done:
        return measure(model, images, partial(_learned, data, split), samples, seed, done.update)


def _anneal(
    model: Any, images: "Batch", seed: int, count: int, chains: int, temperatures: int
) -> dict[str, "Measure"]:
    from vae_lab.contracts import Batch
    from vae_lab.metrics.annealed import Annealing
    from vae_lab.metrics.evidence import annealing

    some, how = Batch(images.x[:count], images.y[:count]), Annealing(chains, temperatures)
    with bar(len(some.x) * how.moves, desc="annealing", unit_scale=True) as done:
        return annealing(model, some, how, seed, done.update)


def _reading(
    model: Any, data: "Images", split: str, images: "Batch", seed: int
) -> dict[str, "Measure"]:
    from vae_lab.metrics.reading import code_errors, code_meanings

    other = "val" if split == "test" and "val" in data.splits else "train"
    known = data.images(other, len(images.x))
    return code_errors(model, images, known, other) | code_meanings(model, seed)


def _learned(data: "Images", split: str) -> "Batch":
    """Return what metrics may learn from: for test, validation's images too, then of no more use.

    So MNIST's are all 60,000, as in the numbers that the literature gives. A run that trained on
    a limited number of images is measured by no more labels than it had.
    """
    import torch

    from vae_lab.contracts import Batch

    # Large images are fewer: what learns from them holds them in memory, and some of it twice.
    about = data.protocol("train")
    limit = min(TRAIN_LIMIT, 2**29 // math.prod(about["shape"]))
    train = data.images("train", limit)
    room = limit - len(train.x)
    limited = about.get("limit") is not None
    if split == "val" or "val" not in data.splits or limited or not room:
        return train
    return Batch(*map(torch.cat, zip(train, data.images("val", room), strict=True)))
