"""Priors: densities that integrate to one, draws that follow them, divergences that are right."""

import math
from functools import partial

import pytest
import torch
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Independent, MixtureSameFamily, Normal, kl_divergence

from vae_lab.errors import LabError
from vae_lab.models import VAE
from vae_lab.nets import MLPEncoder
from vae_lab.posteriors import (
    LOG_VARIANCE_BOUND,
    BottomUp,
    Categorical,
    DiagonalGaussian,
    GumbelSoftmax,
)
from vae_lab.priors import (
    Mixture,
    MixtureOfGaussians,
    StandardNormal,
    TopDown,
    Uniform,
    VampPrior,
)

SHAPE = (1, 2, 2)
DRAWS = 100_000


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def density(make, **settings):
    """Return the density of a two-dimensional code, away from where its weights start."""
    model = VAE(SHAPE, 2, partial(MLPEncoder, hidden=()), prior=make, **settings)
    for name, parameter in model.prior.named_parameters():
        if "logits" not in name:
            torch.nn.init.normal_(parameter, std=0.6)
    model.requires_grad_(False)
    return model.prior_given()


def standard_error(draws):
    """Return the standard error of the mean over the first dimension."""
    return draws.std(0) / math.sqrt(len(draws))


every_real_prior = pytest.mark.parametrize(
    "make",
    [
        StandardNormal,
        partial(MixtureOfGaussians, components=3),
        partial(VampPrior, pseudo_inputs=4),
        partial(TopDown, top=1, hidden=(8,)),
    ],
    ids=["normal", "mixture", "vamp", "top-down"],
)


@every_real_prior
def test_it_integrates_to_one_and_draws_follow_it(make):
    prior = density(make)
    side = torch.linspace(-15, 15, 601)
    grid = torch.cartesian_prod(side, side)
    shares = prior.log_prob(grid).exp() * 0.05**2
    assert shares.sum().item() == pytest.approx(1, abs=1e-3)

    z = prior.sample(DRAWS)
    assert z.shape == (DRAWS, 2)
    first, second, product = grid.T[0], grid.T[1], grid.prod(1)
    moments = torch.stack([first, second, first**2, second**2, product], 1)
    found = torch.stack([z[:, 0], z[:, 1], z[:, 0] ** 2, z[:, 1] ** 2, z.prod(1)], 1)
    expected = (shares[:, None] * moments).sum(0)
    assert ((found.mean(0) - expected).abs() < 4 * standard_error(found)).all()


@every_real_prior
def test_codes_may_have_any_leading_dimensions(make):
    prior, z = density(make), torch.randn(3, 5, 2)
    assert prior.log_prob(z).shape == (3, 5)
    torch.testing.assert_close(prior.log_prob(z)[1, 2], prior.log_prob(z[1, 2]))


def test_a_mixture_is_that_of_torch_even_of_narrow_parts():
    mean, log_variance = 3 * torch.randn(7, 30), torch.empty(7, 30).uniform_(-9, 3)
    log_weights = torch.randn(7).log_softmax(0)
    parts = Independent(Normal(mean.double(), (log_variance.double() / 2).exp()), 1)
    exact = MixtureSameFamily(TorchCategorical(logits=log_weights.double()), parts)
    mixture = Mixture(log_weights, DiagonalGaussian(mean, log_variance))
    z = mixture.sample(200)
    assert mixture.log_prob(z).dtype == torch.float32
    expected = exact.log_prob(z.double()).float()
    torch.testing.assert_close(mixture.log_prob(z), expected, rtol=1e-6, atol=1e-4)


def test_a_mixture_stays_of_single_precision_digits_under_autocast():
    mixture = Mixture(torch.zeros(1), DiagonalGaussian(torch.ones(1, 4), torch.full((1, 4), -8.0)))
    z = mixture.sample(5)
    expected = mixture.log_prob(z)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(mixture.log_prob(z), expected)


def test_the_drawn_divergence_is_the_closed_one():
    mean, log_variance = torch.randn(1, 3), torch.randn(1, 3)
    mixture = Mixture(torch.zeros(1), DiagonalGaussian(mean, log_variance))
    posterior = DiagonalGaussian(torch.randn(4, 3), torch.randn(4, 3))
    z = posterior.sample(DRAWS)
    ratio = posterior.log_prob(z) - mixture.log_prob(z)
    kl = mixture.kl(posterior, z)
    assert kl.shape == (4, 1)
    own = Normal(posterior.mean, (posterior.log_variance / 2).exp())
    expected = kl_divergence(own, Normal(mean, (log_variance / 2).exp())).sum(1)
    assert ((kl[:, 0] - expected).abs() < 4 * standard_error(ratio)).all()


def test_a_normal_prior_draws_the_divergence_of_two_layers():
    family = BottomUp(3, top=1, hidden=(4,)).requires_grad_(False)
    posterior = family(torch.randn(2, 4), 0)
    z = posterior.sample(5)
    prior = StandardNormal(3)
    expected = (posterior.log_prob(z) - prior.log_prob(z)).mean(0)
    torch.testing.assert_close(prior.kl(posterior, z), expected[:, None])


def test_components_start_apart_and_weigh_the_same():
    mixture = MixtureOfGaussians(4, components=5).given(lambda x: None)
    torch.testing.assert_close(mixture.log_weights.exp(), torch.full((5,), 0.2))
    assert torch.pdist(mixture.parts.mean).min() > 0.5


def test_the_vamp_prior_is_the_mean_of_posteriors_and_teaches_the_encoder():
    model = VAE(SHAPE, 2, prior=partial(VampPrior, pseudo_inputs=4))
    pseudo = model.prior.logits.sigmoid()
    assert pseudo.shape == (4, *SHAPE)
    assert pseudo.std() > 0.1
    z = torch.randn(6, 2)
    each = model.posterior(pseudo).log_prob(z[:, None])
    log_prob = model.prior_given().log_prob(z)
    torch.testing.assert_close(log_prob, each.logsumexp(1) - math.log(4))
    log_prob.sum().backward()
    for parameter in (model.prior.logits, *model.encoder.parameters()):
        assert parameter.grad.any()


def test_uniform_probabilities_sum_to_one_and_draws_are_as_frequent():
    prior = Uniform(6, classes=3)
    eye = torch.eye(3)
    codes = torch.stack([torch.cat([a, b]) for a in eye for b in eye])
    torch.testing.assert_close(prior.log_prob(codes).exp(), torch.full((9,), 1 / 9))
    z = prior.sample(DRAWS)
    frequencies = (z[:, None] == codes).all(2).double().mean(0)
    assert frequencies.sum() == 1
    assert ((frequencies - 1 / 9).abs() < 4 * math.sqrt(8 / 81 / DRAWS)).all()


def test_divergence_from_uniform_is_that_of_torch():
    logits = 3 * torch.randn(4, 2, 3)
    expected = kl_divergence(TorchCategorical(logits=logits), TorchCategorical(torch.ones(3)))
    posterior = Categorical(logits)
    kl = Uniform(6, classes=3).kl(posterior, posterior.sample(1))
    torch.testing.assert_close(kl, expected)
    # A choice that is certain leaves the logarithm of how many there were.
    certain = Categorical(torch.tensor([[[0.0, 1000.0, 0.0]]]))
    kl = Uniform(3, classes=3).kl(certain, certain.sample(1))
    torch.testing.assert_close(kl, torch.full((1, 1), math.log(3)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"prior": partial(MixtureOfGaussians, components=0)}, "components is at least 1"),
        ({"prior": partial(VampPrior, pseudo_inputs=0)}, "pseudo_inputs is at least 1"),
        ({"prior": partial(TopDown, top=6)}, "leave the lower none"),
        ({"prior": partial(TopDown, top=0)}, "leave the lower none"),
        ({"prior": partial(TopDown, top=2, hidden=(0,))}, "at least one unit"),
        (
            {"prior": partial(TopDown, top=2), "posterior": partial(BottomUp, top=3)},
            "3 dimensions by the posterior, 2 by the prior",
        ),
        ({"prior": partial(Uniform, classes=4)}, "groups of 4 classes"),
        ({"prior": partial(Uniform, classes=1)}, "groups of 1 classes"),
        ({"prior": partial(Uniform, classes=3)}, "real numbers, those of a Uniform prior one-hot"),
        ({"posterior": partial(GumbelSoftmax, classes=3)}, "one-hot in 3 classes, those"),
        (
            {
                "posterior": partial(GumbelSoftmax, classes=3),
                "prior": partial(Uniform, classes=2),
            },
            "3 classes.*2 classes",
        ),
        ({"prior": VampPrior, "posterior": partial(BottomUp, top=2)}, "BottomUp.*another prior"),
        (
            {"prior": VampPrior, "posterior": partial(GumbelSoftmax, classes=3)},
            "GumbelSoftmax.*another prior",
        ),
    ],
)
def test_what_cannot_be_is_refused(settings, words):
    with pytest.raises(LabError, match=words):
        VAE(SHAPE, 6, **settings)


def test_log_variances_of_learned_components_are_bounded():
    prior = MixtureOfGaussians(2, components=2)
    torch.nn.init.constant_(prior.log_variances, -100.0)
    assert (prior.given(lambda x: None).parts.log_variance == -LOG_VARIANCE_BOUND).all()
