"""What the VAE's settings mean."""

import math
import re
from functools import partial

import pytest
import torch
from conftest import QUIET
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from torch.distributions import MultivariateNormal, Normal
from torch.utils.data import DataLoader

from vae_lab.contracts import Batch
from vae_lab.errors import LabError
from vae_lab.losses import gaussian_kl, importance_bound, total_correlation
from vae_lab.models import VAE
from vae_lab.nets import MLPDecoder, MLPEncoder
from vae_lab.posteriors import BottomUp, DiagonalGaussian, GumbelSoftmax
from vae_lab.priors import CodeDensity, MixtureOfGaussians, TopDown, Uniform, VampPrior
from vae_lab.randomness import reseed

# Lightning has much to say of a trainer without validation.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*treespec")


def build(**settings):
    """Return a small VAE of 1 x 8 x 8 images, the same at every call."""
    torch.manual_seed(0)
    nets = {
        "encoder": partial(MLPEncoder, hidden=(32,)),
        "decoder": partial(MLPDecoder, hidden=(32,)),
    }
    return VAE((1, 8, 8), 4, **nets, **settings)


def images(n=8):
    x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(1)).round()
    return Batch(x, torch.zeros(n))


SETTINGS = [
    {},
    {"beta": 4.0},
    {"beta": 0.0},
    {"free_bits": 0.5},
    {"samples": 3},
    {"importance_samples": 5},
    {"importance_samples": 5, "samples": 2, "beta": 0.5},
    {"warmup": 10},
    {"capacity": 5.0},
    {"total_correlation": 3.0},
    {"importance_samples": 5, "doubly_reparameterised": True},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_elbo_is_the_plain_one_whatever_is_trained(settings):
    terms = build(**settings).terms(images())
    torch.testing.assert_close(terms["elbo"], -(terms["reconstruction"] + terms["kl"]))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_reconstruction_and_divergence_have_their_meaning_whatever_is_trained(settings):
    model, batch = build(**settings), images()
    reseed(0)
    terms = model.terms(batch)
    reseed(0)
    posterior = model.posterior(batch.x)
    z = posterior.rsample(model.samples * model.importance_samples)
    log_likelihood = torch.stack(
        [model.likelihood.log_prob(model.decoder(codes), batch.x) for codes in z]
    )
    torch.testing.assert_close(terms["reconstruction"], -log_likelihood.mean(0))
    torch.testing.assert_close(terms["kl"], gaussian_kl(*posterior).sum(1))


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_beta_weighs_the_divergence(beta):
    terms = build(beta=beta).terms(images())
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + beta * terms["kl"])


def test_free_bits_are_charged_even_where_they_are_not_used():
    model = build(free_bits=100.0, beta=2.0)
    terms = model.terms(images())
    # Four dimensions at a hundred nats each, twice: far above what an untrained posterior costs.
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + 800)


@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("k", [2, 7])
def test_the_importance_weighted_loss_averages_bounds_of_k_weights(samples, k):
    model = build(samples=samples, importance_samples=k)
    batch = images()
    reseed(0)
    loss = model.terms(batch)["loss"]
    reseed(0)
    weights = model.log_weights(batch.x, k * samples).view(k, samples, 8)
    torch.testing.assert_close(loss, -importance_bound(weights).mean(0))


@pytest.mark.parametrize("settings", [{}, {"importance_samples": 3}], ids=str)
def test_more_samples_leave_the_expectation_and_lower_the_variance(settings):
    x = images(1).x.repeat(4000, 1, 1, 1)
    losses = {}
    for samples in (1, 16):
        torch.manual_seed(samples)
        with torch.no_grad():
            losses[samples] = build(**settings, samples=samples).terms(Batch(x, x))["loss"]
    one, many = losses[1], losses[16]
    error = math.sqrt((one.var() + many.var()) / 4000)
    assert abs(one.mean() - many.mean()) < 4 * error
    assert one.std() / many.std() == pytest.approx(4, rel=0.1)


def test_the_divergence_is_of_single_precision_under_autocast():
    model, x = build(), images().x
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        features = model.encoder(x)
        kl = model.terms(Batch(x, x))["kl"]
    assert features.dtype == torch.bfloat16
    expected = gaussian_kl(*DiagonalGaussian.from_features(features.double())).sum(1)
    torch.testing.assert_close(kl.double(), expected, rtol=1e-5, atol=1e-6)


class Weights(Callback):
    """Notes the divergence's weight at each step, and after training."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, *args):
        self.seen.append(pl_module.kl_weight)

    def on_train_end(self, trainer, pl_module):
        self.seen.append(pl_module.eval().kl_weight)


def test_the_divergences_weight_rises_with_the_steps_to_beta():
    weights = Weights()
    trainer = Trainer(max_epochs=3, callbacks=[weights], **QUIET)
    trainer.fit(build(beta=3.0, warmup=4), DataLoader([images(), images()], batch_size=None))
    assert weights.seen == [0, 0.75, 1.5, 2.25, 3, 3, 3]


def test_the_warm_up_weighs_what_is_trained_and_not_what_is_validated():
    model = build(warmup=4)
    for training_now, weight in ((True, 0), (False, 1)):
        terms = model.train(training_now).terms(images())
        torch.testing.assert_close(terms["loss"], terms["reconstruction"] + weight * terms["kl"])


def test_the_warm_up_weighs_the_divergence_within_a_bound_of_many_weights():
    warm = build(beta=2.0, warmup=4, importance_samples=3)
    for training_now, beta in ((True, 0.0), (False, 2.0)):
        losses = []
        for model in (warm.train(training_now), build(beta=beta, importance_samples=3)):
            reseed(0)
            losses.append(model.terms(images())["loss"])
        torch.testing.assert_close(*losses)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"beta": beta} for beta in (-1.0, math.nan, math.inf)),
        *({"free_bits": nats} for nats in (-0.1, math.nan, math.inf)),
        {"warmup": -1},
        {"samples": 0},
        {"importance_samples": 0},
        *({"capacity": nats} for nats in (-0.1, math.nan, math.inf)),
        *({"total_correlation": weight} for weight in (-0.1, math.nan, math.inf)),
    ],
    ids=str,
)
def test_what_no_vae_can_be_is_refused(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(LabError, match=rf"{name}.*; got .*{re.escape(str(value))}"):
        build(**wrong)


CHOICES = {
    "posterior": partial(GumbelSoftmax, classes=2),
    "prior": partial(Uniform, classes=2),
}


def test_what_relaxed_codes_say_of_an_image_is_called_no_bound():
    model, x = build(**CHOICES), torch.rand(3, 1, 8, 8)
    assert "elbo" not in model.train().terms(Batch(x, x))
    assert "elbo" in model.eval().terms(Batch(x, x))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"free_bits": 0.5, "importance_samples": 2}, "set importance_samples to 1"),
        ({"capacity": 0.5, "importance_samples": 2}, "set importance_samples to 1"),
        ({"total_correlation": 0.5, "importance_samples": 2}, "set importance_samples to 1"),
        ({"free_bits": 0.5, "capacity": 1.0}, "choose one"),
        ({"free_bits": 0.5, "prior": MixtureOfGaussians}, "Gaussian posterior and a MixtureOf"),
        ({"free_bits": 0.5, "posterior": partial(BottomUp, top=1)}, "BottomUp posterior and a St"),
        ({"total_correlation": 1.0, **CHOICES}, "this is a GumbelSoftmax"),
        ({"total_correlation": 1.0, "posterior": partial(BottomUp, top=1)}, "this is a BottomUp"),
        ({"importance_samples": 2, **CHOICES}, "no importance weights"),
        ({"doubly_reparameterised": True}, "importance_samples of 2 at least"),
    ],
    ids=str,
)
def test_what_has_no_meaning_together_is_refused(settings, words):
    with pytest.raises(LabError, match=words):
        build(**settings)


# what shapes the divergence


@pytest.mark.parametrize("nats", [1.0, 40.0])
def test_capacity_weighs_the_distance_of_the_mean_divergence(nats):
    terms = build(capacity=nats, beta=7.0).terms(images())
    charged = 7 * abs(terms["kl"].mean() - nats)
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + charged)


def test_the_warm_up_raises_the_capacity_and_not_its_weight():
    model = build(capacity=6.0, beta=7.0, warmup=4)
    for training_now, nats in ((True, 0), (False, 6)):
        terms = model.train(training_now).terms(images())
        charged = 7 * abs(terms["kl"].mean() - nats)
        torch.testing.assert_close(terms["loss"], terms["reconstruction"] + charged)


def gaussian_codes(correlation, n=2000, noise=0.8):
    """Return codes of Gaussians around correlated points, and the points."""
    torch.manual_seed(0)
    covariance = torch.tensor([[1.0, correlation], [correlation, 1.0]])
    mean = MultivariateNormal(torch.zeros(2), covariance).sample((n,))
    log_variance = torch.full((n, 2), 2 * math.log(noise))
    return DiagonalGaussian(mean, log_variance).sample(1), mean, log_variance


@pytest.mark.parametrize("correlation", [0.0, 0.6, -0.9])
def test_total_correlation_is_that_of_a_gaussian(correlation):
    estimate = total_correlation(*gaussian_codes(correlation))
    whole = 1 + 0.8**2
    expected = -0.5 * math.log(1 - (correlation / whole) ** 2)
    error = estimate.std() / math.sqrt(estimate.numel())
    # On top of chance: each code lies near its own posterior, which is one of the 2,000.
    assert abs(estimate.mean() - expected) < 4 * error + 4e-3


def test_total_correlation_has_the_gradient_of_the_minibatch_weighted_estimate():
    z, mean, log_variance = gaussian_codes(0.6, n=50)
    mean.requires_grad_()
    normals = Normal(mean, (log_variance / 2).exp())
    log_probs = normals.log_prob(z[0][:, None])
    total = math.log(50 * 60_000)
    joint = log_probs.sum(2).logsumexp(1) - total
    weighted = joint - (log_probs.logsumexp(1) - total).sum(1)
    (expected,) = torch.autograd.grad(weighted.mean(), mean)
    estimate = total_correlation(z, mean, log_variance)[0]
    torch.testing.assert_close(estimate, weighted - math.log(60_000))
    (gradient,) = torch.autograd.grad(estimate.mean(), mean)
    torch.testing.assert_close(gradient, expected)


def test_total_correlation_is_charged_on_top_of_beta():
    terms = build(total_correlation=3.0, beta=2.0, samples=4).terms(images())
    expected = terms["reconstruction"] + 2 * terms["kl"] + 3 * terms["total_correlation"]
    torch.testing.assert_close(terms["loss"], expected)


# the doubly reparameterised gradient


def gradients(repeats=40, **settings):
    """Return gradients of the loss of one image, each a mean over many draws."""
    x = images(1).x.repeat(200, 1, 1, 1)
    model = build(importance_samples=4, **settings)
    found = {"encoder": [], "decoder": []}
    for seed in range(repeats):
        model.zero_grad()
        reseed(seed)
        model.terms(Batch(x, x))["loss"].mean().backward()
        for part, kept in found.items():
            # The prior's and the upper layer's belong to the side that they are trained on.
            parts = [getattr(model, part), model.family if part == "encoder" else model.prior]
            weights = [p for net in parts for p in net.parameters()]
            kept.append(torch.cat([p.grad.flatten() for p in weights]))
    return {part: torch.stack(kept).double() for part, kept in found.items()}


TWO_LAYERS = {
    "posterior": partial(BottomUp, top=2, hidden=(8,)),
    "prior": partial(TopDown, top=2, hidden=(8,)),
}


VAMP = {"prior": partial(VampPrior, pseudo_inputs=3)}


@pytest.mark.parametrize(
    "settings",
    [{}, {"beta": 0.3}, {"samples": 2}, TWO_LAYERS, VAMP],
    ids=["plain", "beta", "samples", "two layers", "vamp"],
)
def test_the_doubly_reparameterised_gradient_is_the_same_with_less_noise(settings):
    plain = gradients(**settings)
    double = gradients(doubly_reparameterised=True, **settings)
    # What is generated is learned as before.
    torch.testing.assert_close(double["decoder"], plain["decoder"])
    plain, double = plain["encoder"], double["encoder"]
    # Both had the same noise, which their difference is nearly free of.
    difference = plain - double
    error = difference.std(0) / math.sqrt(len(difference))
    # Weights behind a unit that is off have no gradient at all.
    alive = error > 0
    assert alive.any()
    assert (difference.mean(0)[alive].abs() < 5 * error[alive]).all()
    assert double.var(0).sum() < 0.9 * plain.var(0).sum()


def test_the_doubly_reparameterised_bound_is_the_same_number():
    found = []
    for switch in (False, True):
        model = build(importance_samples=4, doubly_reparameterised=switch)
        reseed(0)
        found.append(model.terms(images())["loss"])
        reseed(0)
        with torch.no_grad():
            found.append(model.terms(images())["loss"])
    for loss in found[1:]:
        torch.testing.assert_close(loss, found[0])


# a condition


class Shifted(CodeDensity):
    """Normal codes around a number that is given for each image."""

    def __init__(self, centre):
        self.centre = centre

    def log_prob(self, z):
        return Normal(self.centre, 1).log_prob(z).sum(-1)

    def sample(self, n):
        return self.centre + torch.randn(n, 4)


class Conditional(VAE):
    """Adds a condition, one number an image, wherever a VAE is handed one."""

    def posterior(self, x, y=None):
        mean, log_variance = super().posterior(x)
        return DiagonalGaussian(mean + y[:, None], log_variance)

    def prior_given(self, y=None):
        return Shifted(y[:, None])

    def output(self, z, y=None):
        return super().output(z - y[:, None], y)


@pytest.mark.parametrize("k", [1, 3])
def test_a_condition_reaches_every_part(k):
    torch.manual_seed(0)
    nets = {"encoder": partial(MLPEncoder, hidden=()), "decoder": partial(MLPDecoder, hidden=())}
    plain = VAE((1, 8, 8), 4, **nets, importance_samples=k)
    model = Conditional((1, 8, 8), 4, **nets, importance_samples=k)
    model.load_state_dict(plain.state_dict())
    x, y = images().x, torch.linspace(-3, 3, 8)

    # Codes are moved by the condition, and moved back before the decoder sees them.
    found = []
    for each, condition in ((plain, None), (model, y)):
        reseed(0)
        terms = each.terms(Batch(x, condition))
        weights = each.log_weights(x, 3, condition)
        restored = each.decode(each.encode(x, condition), condition)
        # The divergence is drawn where it is not known; the bound of many weights needs none.
        known = terms["reconstruction"] if k == 1 else terms["loss"]
        found.append((known, weights, restored, each.sample(8, condition)))
    torch.testing.assert_close(*found)
    with pytest.raises(TypeError):
        model.terms(Batch(x, None))
