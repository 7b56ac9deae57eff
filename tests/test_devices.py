"""Whatever a model makes lies where the model is.

The device `meta` has shapes and no values. It refuses, as a GPU does, sums, losses and what is put
together of two devices; their products of matrices it lets pass, which a GPU would not.
"""

from functools import partial

import pytest
import torch
from test_models import batch, build, concrete

from vae_lab.conditions import AttributeCondition, ImageCondition, PartialCondition
from vae_lab.contracts import Batch, Bounds, Conditional, Decodes, Encodes, Samples
from vae_lab.corruptions import GaussianNoise, Masking, SaltAndPepper
from vae_lab.likelihoods import DiscretizedLogisticMixture, Gaussian, Laplace
from vae_lab.models import CVAE, VAE, Autoencoder, GaussianMixture
from vae_lab.penalties import Contraction, KLSparsity
from vae_lab.posteriors import BottomUp, GumbelSoftmax
from vae_lab.priors import MixtureOfGaussians, TopDown, Uniform, VampPrior

# Of a mixture torch.distributions checks the values.
KINDS = [kind for kind in concrete() if kind is not GaussianMixture]
PARTS = [
    (VAE, {"importance_samples": 3, "doubly_reparameterised": True}),
    (VAE, {"total_correlation": 1.0, "free_bits": 0.1}),
    *((VAE, {"prior": prior}) for prior in (MixtureOfGaussians, VampPrior)),
    (VAE, {"prior": partial(TopDown, top=2), "posterior": partial(BottomUp, top=2)}),
    (VAE, {"prior": partial(Uniform, classes=2), "posterior": partial(GumbelSoftmax, classes=2)}),
    *((VAE, {"likelihood": kind}) for kind in (DiscretizedLogisticMixture, Gaussian, Laplace)),
    *((Autoencoder, {"corruption": kind}) for kind in (GaussianNoise, Masking, SaltAndPepper)),
    (Autoencoder, {"penalty": Contraction}),
    (Autoencoder, {"penalty": KLSparsity, "activation": "Sigmoid"}),
]
CONDITIONS = [
    (partial(AttributeCondition, attributes=3), (3,)),
    (ImageCondition, (1, 8, 8)),
    (PartialCondition, (2, 8, 8)),
]


def do_all(model, x, y):
    """Let a model do what it can, on `meta`, of images and conditions there."""
    model.to("meta")
    for training in (True, False):
        terms = model.train(training).terms(Batch(x, y))
        assert {term.device.type for term in terms.values()} == {"meta"}
        if "loss" in terms and terms["loss"].requires_grad:
            terms["loss"].mean().backward()
    if isinstance(model, Bounds):
        assert model.log_weights(x, 3, y).is_meta
    if isinstance(model, Samples):
        assert model.sample(len(x), y if isinstance(model, Conditional) else None).is_meta
    if isinstance(model, Encodes) and isinstance(model, Decodes):
        assert model.decode(model.encode(x, y), y).is_meta


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("nets", ["mlp", "conv"])
def test_every_model_stays_on_its_device(kind, nets):
    do_all(build(kind, nets), *(part.to("meta") for part in batch((1, 8, 8))))


@pytest.mark.parametrize(("kind", "settings"), PARTS)
def test_every_part_stays_on_its_model_s_device(kind, settings):
    do_all(build(kind, **settings), *(part.to("meta") for part in batch((1, 8, 8))))


@pytest.mark.parametrize(("condition", "shape"), CONDITIONS)
def test_every_condition_stays_on_its_model_s_device(condition, shape):
    model, y = build(CVAE, condition=condition), torch.empty(8, *shape, device="meta")
    do_all(model, batch((1, 8, 8)).x.to("meta"), y)
