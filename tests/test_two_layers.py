"""VAEs of two stochastic layers, where the likelihood is known."""

import math
from functools import partial

import pytest
import torch
from linear import Linear
from torch.distributions import MultivariateNormal

from vae_lab.contracts import Batch
from vae_lab.losses import importance_bound
from vae_lab.metrics.evidence import bounds
from vae_lab.models import VAE
from vae_lab.nets import MLPDecoder, MLPEncoder
from vae_lab.posteriors import BottomUp
from vae_lab.priors import TopDown
from vae_lab.randomness import reseed

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*treespec")

# two layers, where the likelihood is known


def two_linear_layers():
    """Return a VAE of two linear layers, one dimension each, and p(x) of 1 x 2 x 3 images."""
    torch.manual_seed(0)
    model = VAE(
        (1, 2, 3),
        2,
        partial(MLPEncoder, hidden=()),
        partial(MLPDecoder, hidden=()),
        Linear,
        partial(TopDown, top=1, hidden=()),
        partial(BottomUp, top=1, hidden=()),
    )
    model.double().requires_grad_(False)
    below, decoder = model.prior.net[0], model.decoder[0]
    below.weight.copy_(torch.tensor([[0.7], [0]]))
    below.bias.copy_(torch.tensor([0.4, -0.5]))
    variance = 0.7**2 + math.exp(-0.5)
    loadings = decoder.weight[:, 0]
    covariance = variance * torch.outer(loadings, loadings) + Linear.scale**2 * torch.eye(6)
    return model, MultivariateNormal(0.4 * loadings + decoder.bias, covariance)


def infer_exactly(model):
    """Give the encoder and the layer above it the weights of the exact posterior."""
    decoder, encoder, above = model.decoder[0], model.encoder[1], model.family.net[0]
    variance = 0.7**2 + math.exp(-0.5)
    loadings = decoder.weight[:, 0]
    precision = 1 / variance + loadings.square().sum() / Linear.scale**2
    encoder.weight.zero_()
    encoder.weight[0] = loadings / Linear.scale**2 / precision
    encoder.bias[0] = 0.4 / variance / precision - encoder.weight[0] @ decoder.bias
    encoder.bias[1] = -precision.log()
    above.weight.copy_(torch.tensor([[0.7 / variance], [0]]))
    above.bias.copy_(torch.tensor([-0.7 * 0.4 / variance, math.log(math.exp(-0.5) / variance)]))


def test_every_weight_of_two_layers_is_the_likelihood_where_the_posterior_is_exact():
    model, marginal = two_linear_layers()
    infer_exactly(model)
    x = marginal.sample((5,))
    weights = model.log_weights(x.view(5, 1, 2, 3), 3)
    torch.testing.assert_close(weights, marginal.log_prob(x).expand(3, 5))


def test_bounds_of_two_layers_rise_with_k_towards_the_likelihood():
    model, marginal = two_linear_layers()
    infer_exactly(model)
    model.encoder[1].bias[1] += 0.7
    model.family.net[0].bias[0] += 0.5
    x = marginal.sample((4,))
    exact = marginal.log_prob(x)
    weights = model.log_weights(x.view(4, 1, 2, 3), 20_000)
    bounds = torch.stack([importance_bound(weights.view(k, -1, 4)).mean(0) for k in (1, 5, 50)])
    assert (bounds.diff(dim=0) > 0).all()
    assert (bounds[0] < exact - 0.1).all()
    torch.testing.assert_close(importance_bound(weights), exact, atol=0.03, rtol=0)


def test_the_elbo_of_two_layers_is_the_mean_of_its_weights():
    model, marginal = two_linear_layers()
    x = marginal.sample((4,)).view(4, 1, 2, 3)
    model.samples = 3
    reseed(0)
    elbo = model.terms(Batch(x, x))["elbo"]
    reseed(0)
    torch.testing.assert_close(elbo, model.log_weights(x, 3).mean(0))


def test_active_units_of_two_layers_say_which_mean_of_the_upper_one_is_counted():
    model, marginal = two_linear_layers()
    x = marginal.sample((4,)).view(4, 1, 2, 3)
    said = bounds(model, Batch(x, torch.zeros(4)), 0, 0, lambda n: None)["active_units"]
    assert said.note.endswith("the upper layer's that of the lower one's mean")


def test_samples_of_two_layers_have_the_models_moments():
    model, marginal = two_linear_layers()
    x = model.sample(50_000).flatten(1)
    expected = marginal.covariance_matrix - Linear.scale**2 * torch.eye(6)
    torch.testing.assert_close(x.mean(0), marginal.mean, atol=0.03, rtol=0)
    torch.testing.assert_close(x.T.cov(), expected, atol=0.05, rtol=0.03)
