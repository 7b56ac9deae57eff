"""Inversion of decoders: the code whose decoded image is nearest, found by gradients."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR

from vae_lab.arguments import above_zero, at_least, not_negative
from vae_lab.contracts import (
    Batch,
    Decodes,
    DrawsCodes,
    Encodes,
    Generates,
    ReadsCodes,
    group_size,
    require,
)
from vae_lab.errors import LabError
from vae_lab.metrics.codes import squared_error_per_image
from vae_lab.metrics.measures import device_of, encode, full_batches, in_batches, seeded
from vae_lab.nets import evaluating

__all__ = ["Search", "check_invertible", "decoded", "draw_codes", "errors", "invert"]


class Search(NamedTuple):
    """Settings of the search for a code.

    Attributes:
        steps: Steps of Adam.
        restarts: Initial codes per image; the best result is kept.
        penalty: Weight of -log p(z) beside the squared error.
        lr: Initial learning rate of Adam, which decays to zero by a cosine.
    """

    steps: int = 1000
    restarts: int = 4
    penalty: float = 1e-3
    lr: float = 0.1


_Spread = tuple[Tensor, Tensor]
"""Mean and deviation of codes in each dimension."""


class _Source(NamedTuple):
    """A prior of codes: samples (n, D), and the negative log-density (n,) in nats."""

    draw: Callable[[int], Tensor]
    cost: Callable[[Tensor], Tensor]


def check_invertible(model: Any, user: str) -> None:
    """Refuse a model whose codes cannot be found by gradients.

    Raises:
        LabError: If it cannot decode, its codes are discrete, or their distribution is unknown.
    """
    require(model, Decodes, user)
    if group_size(model):
        name = type(model).__name__
        raise LabError(f"{user} moves real codes little by little; those of {name} are discrete.")
    if not isinstance(model, Generates) and not isinstance(model, DrawsCodes):
        require(model, Encodes, f"{user} of a model without a prior")


def invert(
    model: Any,
    images: Batch,
    how: Search,
    seed: int,
    progress: Callable[[int], object] = lambda n: None,
) -> Tensor:
    r"""Find the code of each image by gradients through the decoder, from several starts.

    .. math:: \min_z \|x - G(z)\|^2 - \lambda \log p(z)

    With a standard normal prior the second term is :math:`\frac{\lambda}{2} |z|^2` plus a
    constant, and the sum is :math:`\lambda` times the negative log-posterior for Gaussian pixels of
    variance :math:`\lambda / 2`. A model without a prior gets a normal with the mean and standard
    deviation of its encoder's codes. An InfoGAN's uniform noise is treated as normal too, and may
    leave its range. A categorical part of a code keeps its initial value, so that only restarts
    choose it.

    Args:
        model: A model that `check_invertible` accepts; it is frozen meanwhile.
        images: Target images, and the conditions to decode under.
        how: Steps, restarts, penalty and learning rate.
        seed: Seed of the starts; the caller's random stream is untouched.
        progress: Called with the number of images after each step.

    Returns:
        The best code of each image, on the CPU, shape (N, D).

    Raises:
        LabError: If a setting is out of range.

    References:
        Lipton & Tripathi, Precise Recovery of Latent Vectors from Generative Adversarial
        Networks, 2017. https://arxiv.org/abs/1702.04782
    """
    _check(how)
    spread = _spread(model, images)
    with _still(model), torch.inference_mode(False), torch.enable_grad(), seeded(seed):
        # Clones, as a tensor made in inference mode has no gradient.
        found = [
            _search(model, Batch(part.x.clone(), part.y.clone()), spread, how, progress)
            for part in full_batches(model, images, how.restarts)
        ]
    return torch.cat(found).cpu()


def _search(
    model: Any,
    images: Batch,
    spread: _Spread | None,
    how: Search,
    progress: Callable[[int], object],
) -> Tensor:
    """Return the best codes of a batch of images, shape (B, D)."""
    n, k = len(images.x), how.restarts
    y = torch.cat([images.y] * k)
    source = _source(model, y, spread)
    z = source.draw(n * k).detach().clone().requires_grad_()
    moves = _moves(model, z)
    adam = Adam([z], how.lr)
    schedule = CosineAnnealingLR(adam, how.steps)

    def losses() -> Tensor:
        error: Tensor = (
            (model.decode(z, y).unflatten(0, (k, n)) - images.x).square().flatten(2).sum(2)
        )
        return error + how.penalty * source.cost(z).view(k, n)

    for _ in range(how.steps):
        (gradient,) = torch.autograd.grad(losses().sum(), z)
        z.grad = gradient * moves
        adam.step()
        schedule.step()
        progress(n)
    with torch.no_grad():
        best = losses().argmin(0)
    return z.detach().view(k, n, -1)[best, torch.arange(n, device=z.device)]


def draw_codes(model: Any, images: Batch, seed: int) -> Tensor:
    """Draw a code for each condition as `invert` draws its starts, shape (N, D), on the CPU."""
    spread = _spread(model, images)
    with seeded(seed):
        return in_batches(model, images, lambda x, y: _source(model, y, spread).draw(len(x)))


def decoded(model: Any, z: Tensor, y: Tensor) -> Tensor:
    """Return the images of codes (N, D) under conditions y, on the CPU, shape (N, C, H, W)."""
    return in_batches(model, Batch(z, y), model.decode)


def errors(model: Any, z: Tensor, images: Batch) -> Tensor:
    """Return the squared errors of the decoded codes (N, D), shape (N,)."""
    return squared_error_per_image(images.x.cpu(), decoded(model, z, images.y))


def _spread(model: Any, images: Batch) -> _Spread | None:
    """Return mean and standard deviation of the images' codes, if the model has no prior."""
    if isinstance(model, Generates | DrawsCodes):
        return None
    codes = encode(model, images).to(device_of(model))
    # A single image or a dead dimension has no spread to search in.
    return codes.mean(0), codes.std(0, correction=0).clamp(min=0.1)


def _source(model: Any, y: Tensor, spread: _Spread | None) -> _Source:
    """Return a model's prior given the conditions, or its replacement."""
    if isinstance(model, Generates):
        with torch.no_grad():  # a prior may depend on the encoder
            prior = model.prior_given(y)
        return _Source(prior.sample, lambda z: -prior.log_prob(z))
    if spread is None:
        return _Source(model.draw_codes, _normal_cost)
    mean, width = spread
    return _Source(
        lambda n: mean + width * torch.randn(n, len(mean), device=mean.device),
        lambda z: _normal_cost((z - mean) / width),
    )


def _normal_cost(z: Tensor) -> Tensor:
    return 0.5 * z.square().sum(-1)


def _moves(model: Any, z: Tensor) -> Tensor:
    """Return 1 for each continuous dimension of a code, 0 for each categorical one."""
    moves = torch.ones_like(z[0])
    places = model.places if isinstance(model, ReadsCodes) else {}
    for name, place in places.items():
        if model.codes[name].categorical:
            moves[place] = 0
    return moves


@contextmanager
def _still(model: Any) -> Iterator[None]:
    """Keep a model in evaluation mode, its weights frozen."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        with evaluating(model):
            yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def _check(how: Search) -> None:
    at_least(1, steps=how.steps, restarts=how.restarts)
    not_negative(penalty=how.penalty)
    above_zero(lr=how.lr)
